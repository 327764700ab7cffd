"""What ndpiReader (nDPI's own program, Debian package libndpi-bin) says of the same captures."""

import csv
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from middlebox.accuracy.names import names_for
from middlebox.accuracy.truth import FlowKey, LabelledCapture, flow_key
from middlebox.packet import TRANSPORT_NAMES

_PROGRAM = "ndpiReader"
_TIMEOUT_SECONDS = 60


@dataclass(slots=True, frozen=True)
class Ndpi:
    """Its version, and its name for every flow, by capture."""

    version: str
    names: dict[str, dict[FlowKey, str]]


def ask_ndpi(captures: Sequence[LabelledCapture]) -> Ndpi | None:
    """Run ndpiReader, as shipped, over every capture; None where it is not installed."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    version = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    names: dict[str, dict[FlowKey, str]] = {}
    with TemporaryDirectory() as directory:
        table = Path(directory) / "flows.csv"
        for capture in captures:
            table.unlink(missing_ok=True)
            try:
                command = [program, "-q", "-i", str(capture.path), "-C", str(table)]
                subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                continue
            if table.is_file():
                names[capture.name] = _read(table)
    return Ndpi(version.removeprefix("Welcome to ").strip(), names)


def _read(table: Path) -> dict[FlowKey, str]:
    found: dict[FlowKey, str] = {}
    with table.open(encoding="utf-8", errors="replace", newline="") as lines:
        for row in csv.DictReader(lines):
            if not row.get("protocol") or not row.get("ndpi_proto"):
                continue
            number = int(row["protocol"])
            transport = TRANSPORT_NAMES.get(number, str(number))
            key = flow_key(transport, row["src_ip"], int(row["src_port"]), row["dst_ip"], int(row["dst_port"]))
            found[key] = row["ndpi_proto"]
    return found


def is_right(name: str, accept: frozenset[str]) -> bool:
    """Whether nDPI's name is one of those that count as right."""
    ours = names_for(name)
    return ours is not None and not ours.isdisjoint(accept)
