"""Which versions of which programs a run used, for the report.

Rule of this file: a program that does not tell its version is left out; no report is worth a failed run.
"""

import re
from concurrent.futures import ThreadPoolExecutor

from middlebox.lab.hosts import CancelledError, Host
from middlebox.lab.lab import Lab

_VERSION = re.compile(r"\d+\.\d[\w.+~:-]*")

_SERVERS: dict[str, tuple[str, ...]] = {
    "nginx": ("nginx", "-v"),
    "dnsmasq": ("dnsmasq", "--version"),
    "sshd": ("ssh", "-V"),
}
_CLIENTS: dict[str, tuple[str, ...]] = {
    "curl": ("curl", "--version"),
    "dig": ("dig", "-v"),
    "openvpn": ("openvpn", "--version"),
    "wireguard": ("wireguard-go", "--version"),
}


def read_versions(lab: Lab) -> dict[str, str]:
    """Program to version, for the scenario's programs, the gateway and the kernel."""
    used: set[str] = {service.program for service in lab.scenario.services.values()}
    used |= {step.client.program for step in lab.scenario.steps}
    asked: dict[str, tuple[Host, tuple[str, ...]]] = {
        "kernel": (lab.gateway, ("uname", "-r")),
        "middlebox": (lab.gateway, (lab.gateway.python, "-m", "middlebox", "--version")),
        "iptables": (lab.gateway, ("iptables", "--version")),
    }
    asked |= {name: (lab.server, command) for name, command in _SERVERS.items() if name in used}
    asked |= {name: (lab.client, command) for name, command in _CLIENTS.items() if name in used}
    if "aioquic" in used:
        script = "import aioquic; print(aioquic.__version__)"
        asked["aioquic"] = (lab.client, (lab.client.python, "-c", script))
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda item: (item[0], _version(*item[1])), asked.items())
        return {name: version for name, version in found if version}


def _version(host: Host, command: tuple[str, ...]) -> str | None:
    try:
        done = host.run(*command)
    except CancelledError:
        return None
    match = _VERSION.search(done.output + done.errors)
    return match[0] if match else None
