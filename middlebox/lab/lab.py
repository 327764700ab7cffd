"""One run's lab: its hosts, its directory, its keys, its payloads. What services and clients work with.

Rule of this file: everything a run writes lies in its own directory.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from middlebox.lab import topology
from middlebox.lab.hosts import Host, LabError
from middlebox.lab.keys import Authority, WireguardKey, new_wireguard_key, write_private, write_ssh_key
from middlebox.lab.scenario import AioquicServer, Nginx, Scenario, WireguardServer
from middlebox.shells.errors import InputError

_DIRECTORIES = ("conf", "fetched", "keys", "logs", "nginx", "pids", "www")
_STATE = "keys/state.json"
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


@dataclass(slots=True, frozen=True)
class WireguardKeys:
    """The keys of both ends of one WireGuard service."""

    server: WireguardKey
    client: WireguardKey


@dataclass(slots=True)
class RunDirectory:
    """What the programs of a run need: keys, configurations, files to fetch; and what they leave: logs.

    Args:
        path: The directory as this process sees it.
        inside: The same directory as the hosts' programs see it.
    """

    path: Path
    inside: str
    wireguard: dict[str, WireguardKeys] = field(default_factory=dict)
    "By name of the service."
    digests: dict[int, str] = field(default_factory=dict)
    "SHA-256 of the file to fetch, by its size in kilobytes."

    def at(self, relative: str) -> str:
        """A path in the run's directory as programs see it."""
        return f"{self.inside}/{relative}"

    def write(self, relative: str, text: str) -> str:
        """Write a text file; its path as programs see it."""
        (self.path / relative).write_text(text, encoding="utf-8")
        return self.at(relative)

    def fill(self, scenario: Scenario) -> None:
        """Make keys, certificates and the files to fetch."""
        for name in _DIRECTORIES:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        keys = self.path / "keys"
        authority = Authority(keys)
        addresses = [topology.SERVER_ADDRESSES.ipv4, topology.SERVER_ADDRESSES.ipv6]
        web = [each for each in scenario.services.values() if isinstance(each, Nginx | AioquicServer)]
        names = sorted({name for service in web for name in service.names} | {"server.lab.example"})
        authority.issue("server", server_names=names, addresses=addresses)
        authority.issue("client")
        for name, service in scenario.services.items():
            if isinstance(service, WireguardServer):
                self.wireguard[name] = WireguardKeys(new_wireguard_key(), new_wireguard_key())
        host_key = write_ssh_key(keys / "ssh_host")
        self.write("keys/known_hosts", "".join(f"{address} {host_key}\n" for address in addresses))
        self.write("keys/authorized_keys", write_ssh_key(keys / "ssh_client") + "\n")
        for kilobytes in sorted({getattr(step.client, "kilobytes", 1) for step in scenario.steps}):
            content = os.urandom(kilobytes * 1000)
            (self.path / "www" / f"{kilobytes}k.bin").write_bytes(content)
            self.digests[kilobytes] = hashlib.sha256(content).hexdigest()

    def save(self) -> None:
        """Write down the keys and digests, for another process that uses this directory."""
        keys = {name: asdict(each) for name, each in self.wireguard.items()}
        write_private(self.path / _STATE, json.dumps({"wireguard": keys, "digests": self.digests}).encode())

    def load(self) -> None:
        """Take over what another process saved.

        Raises:
            LabError: It has not done so yet.
        """
        try:
            state = json.loads((self.path / _STATE).read_text(encoding="utf-8"))
        except OSError:
            raise LabError("the server has not made its keys yet") from None
        for name, keys in state["wireguard"].items():
            self.wireguard[name] = WireguardKeys(WireguardKey(**keys["server"]), WireguardKey(**keys["client"]))
        self.digests = {int(kilobytes): digest for kilobytes, digest in state["digests"].items()}

    def fetched_matches(self, relative: str, kilobytes: int) -> bool:
        """Whether a fetched file is what the server has."""
        path = self.path / relative
        if not path.exists():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.digests[kilobytes]

    def fill_in(self, template: str, source: str) -> str:
        """A policy with `${service.public_key}` replaced by the key of that WireGuard service.

        Raises:
            InputError: The template names something else.
        """
        known = {f"{name}.public_key": keys.server.public for name, keys in self.wireguard.items()}
        lines = template.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if line.lstrip().startswith("#"):
                continue
            for match in _PLACEHOLDER.finditer(line):
                if match[1] not in known:
                    names = ", ".join(known) or "none: the scenario has no WireGuard service"
                    where = f"{source}:{number}:{match.start() + 1}"
                    raise InputError(f'{where}: error: "{match[0]}" stands for nothing; known: {names}')
            lines[number - 1] = _PLACEHOLDER.sub(lambda match: known[match[1]], line)
        return "".join(lines)


@dataclass(slots=True, frozen=True)
class Lab:
    """What services and clients work with."""

    scenario: Scenario
    hosts: Mapping[str, Host]
    files: RunDirectory

    @property
    def client(self) -> Host:
        """The client."""
        return self.hosts[topology.CLIENT]

    @property
    def gateway(self) -> Host:
        """The gateway."""
        return self.hosts[topology.GATEWAY]

    @property
    def server(self) -> Host:
        """The server."""
        return self.hosts[topology.SERVER]

    def tunnel(self, service: str) -> topology.TunnelAddresses:
        """The addresses inside the tunnel of a service."""
        return topology.tunnel_addresses(self.scenario.tunnel_number(service))
