"""Who may import what: the rows of docs/architecture.md that the linter cannot express.

Every module is read, not imported, and each of its import statements is held against the table below.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import middlebox

ROOT = Path(middlebox.__file__).parent

OUTSIDE_THE_CORE = ("middlebox.shells", "middlebox.lab", "middlebox.accuracy", "middlebox.__main__")
"The only modules that may have a clock, a socket, randomness, programs, Scapy or the kernel queue."

NOT_IN_THE_CORE = (
    "asyncio", "importlib", "multiprocessing", "netfilterqueue", "random", "scapy", "secrets", "signal", "socket",
    "subprocess", "threading", "time", "uuid", *OUTSIDE_THE_CORE,
)  # fmt: skip
NOT_BELOW_THE_ENGINE = (*NOT_IN_THE_CORE, "io", "os", "pathlib", "pydantic", "sys", "typer", "yaml")
"What the engine must not reach through any chain of our own modules: it works on bytes, not on files."

BUFFERS = {"middlebox.policy.geoip": "from io import BytesIO"}
"The library that reads databases wants a file: this module may have one of bytes in memory, and no other."

_FACTS = ("middlebox.evidence", "middlebox.verdict", "middlebox.protocols")
_MATCHING = (
    *_FACTS,
    "middlebox.policy.rule",
    "middlebox.policy.geoip",
    "middlebox.policy.approval",
    "middlebox.policy.fields",
    "middlebox.policy.rule_index",
    "middlebox.policy.schedule",
)
_CONTRACT = ("middlebox.detect.base",)

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "middlebox.evidence": (),
    "middlebox.verdict": (),
    "middlebox.protocols": (),
    "middlebox.packet": (),
    "middlebox.fragments": ("middlebox.packet",),
    "middlebox.stream": ("middlebox.packet",),
    "middlebox.flow": (
        "middlebox.packet", "middlebox.stream", "middlebox.host_scores", "middlebox.policy.rule", *_FACTS, *_CONTRACT,
    ),
    "middlebox.residual": ("middlebox.policy.rule", *_FACTS),
    "middlebox.host_scores": ("middlebox.policy.rule", *_FACTS),
    "middlebox.dns_answer": ("middlebox.packet", "middlebox.policy.rule", "middlebox.detect.dns"),
    "middlebox.memories": ("middlebox.flow", *_CONTRACT),
    "middlebox.detect": ("middlebox.detect", "middlebox.evidence", "middlebox.protocols"),
    "middlebox.policy.rule": (*_FACTS, "middlebox.policy.geoip"),
    "middlebox.policy.geoip": (),
    "middlebox.policy.openvpn_keys": (),
    "middlebox.policy.wireguard_keys": (),
    "middlebox.policy.approval": (*_MATCHING, "middlebox.policy.openvpn_keys", "middlebox.policy.wireguard_keys"),
    "middlebox.policy.fields": (*_MATCHING, *_CONTRACT),
    "middlebox.policy.match": _MATCHING,
    "middlebox.policy": ("middlebox.policy", "middlebox.detect", *_FACTS),
    "middlebox.policy.explain": ("middlebox.policy", "middlebox.events", "middlebox.flow", *_FACTS),
    "middlebox.events": ("middlebox.flow", "middlebox.policy.match", *_MATCHING),
    "middlebox.engine": (
        "middlebox.events", "middlebox.detect", "middlebox.flow", "middlebox.fragments", "middlebox.memories",
        "middlebox.packet", "middlebox.stream", "middlebox.policy.match", "middlebox.residual",
        "middlebox.host_scores", "middlebox.dns_answer", *_MATCHING,
    ),
}  # fmt: skip
"Of our own modules. The row with the longest fitting name counts; modules without a row are shells."


def modules() -> Iterator[tuple[str, str]]:
    """Name and source of every module of the package."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("middlebox", *path.relative_to(ROOT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text(encoding="utf-8")


MODULES = dict(modules())


def imports_of(name: str, source: str) -> set[str]:
    """What a module imports, wherever the statement stands, with relative names resolved."""
    found = set()
    package = name if name not in MODULES or _is_package(name) else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            found.add("importlib")
    return found


def _is_package(name: str) -> bool:
    return (ROOT.parent / Path(*name.split("."))).is_dir()


def is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether `name` is one of `prefixes` or inside one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def breaches(name: str, source: str) -> list[str]:
    """One sentence for every import that the module must not have."""
    if is_below(name, OUTSIDE_THE_CORE) or name == "middlebox":
        return []
    imported = imports_of(name, source)
    found = [f"{name} imports {module}: not in the core" for module in imported if is_below(module, NOT_IN_THE_CORE)]
    rows = [row for row in MAY_IMPORT if is_below(name, (row,))]
    if not rows:
        return [f"{name} has no row in the table of imports"]
    allowed = MAY_IMPORT[max(rows, key=len)]
    ours = {module for module in imported if is_below(module, ("middlebox",))} - {"middlebox"}
    found += [f"{name} imports {module}: may import {allowed}" for module in ours if not is_below(module, allowed)]
    return sorted(found)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_keeps_to_its_row(name: str) -> None:
    assert breaches(name, MODULES[name]) == []


def test_every_row_is_about_something() -> None:
    for row in MAY_IMPORT:
        assert any(is_below(name, (row,)) for name in MODULES), row


def reach_of(name: str) -> set[str]:
    """Every module, ours or not, that importing `name` brings in through modules of ours."""
    reached: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        if module in MODULES:
            packages = {module.rsplit(".", depth)[0] for depth in range(1, module.count("."))}
            source = MODULES[module]
            if module in BUFFERS:
                source = source.replace(f"{BUFFERS[module]}\n", "")
            waiting |= (imports_of(module, source) | packages) - reached
    return reached


def test_the_engine_reaches_no_file_clock_or_socket_by_any_way() -> None:
    assert {module for module in reach_of("middlebox.engine") if is_below(module, NOT_BELOW_THE_ENGINE)} == set()


def test_the_engine_reaches_its_parts() -> None:
    assert {"middlebox.packet", "middlebox.stream", "middlebox.policy.match", "middlebox.policy.approval"} < reach_of(
        "middlebox.engine"
    )


def test_only_cryptography_maxminddb_and_the_standard_library_stand_below_the_engine() -> None:
    foreign = {module.partition(".")[0] for module in reach_of("middlebox.engine")} - set(sys.stdlib_module_names)
    assert foreign <= {"middlebox", "cryptography", "maxminddb"}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("middlebox.packet", "import time"),
        ("middlebox.packet", "from middlebox.verdict import Verdict"),
        ("middlebox.flow", "def late():\n    from scapy.all import IP"),
        ("middlebox.flow", "if True:\n    import socket as s"),
        ("middlebox.flow", "from middlebox.detect.tls import Tls"),
        ("middlebox.flow", "from .detect import tls"),
        ("middlebox.stream", "__import__('random')"),
        ("middlebox.detect.made_up", "from middlebox.flow import Flow"),
        ("middlebox.detect.made_up", "from middlebox import engine"),
        ("middlebox.detect.made_up", "from middlebox.policy.rule import Rule"),
        ("middlebox.detect.tls", "from ..shells import nfqueue"),
        ("middlebox.policy.match", "from middlebox.detect.base import Detector"),
        ("middlebox.policy.match", "from middlebox.flow import Flow"),
        ("middlebox.policy.load", "from middlebox.engine import Engine"),
        ("middlebox.engine", "import middlebox.shells.eventlog"),
        ("middlebox.engine", "import netfilterqueue"),
        ("middlebox.engine", "from middlebox.policy.load import load_policy"),
        ("middlebox.made_up", "import struct"),
    ],
)
def test_a_breach_is_found(name: str, source: str) -> None:
    assert breaches(name, source) != []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("middlebox.packet", "import struct"),
        ("middlebox.detect.made_up", "from middlebox.detect.base import Detector\nfrom .tls import Tls"),
        ("middlebox.engine", "from middlebox import events\nfrom middlebox.detect import DETECTORS"),
        ("middlebox.policy.load", "import yaml\nfrom middlebox.detect import DETECTORS"),
        ("middlebox.shells.made_up", "import socket, time, netfilterqueue\nfrom middlebox.engine import Engine"),
        ("middlebox.__main__", "import time\nfrom middlebox.shells import nfqueue"),
    ],
)
def test_what_is_allowed_is_no_breach(name: str, source: str) -> None:
    assert breaches(name, source) == []
