"""A throw-away network for kernel tests: client - gateway - server, three network namespaces joined by veth.

Documentation addresses only, no default route: nothing can leave. A socket belongs to the namespace in which it was
made, so tests hold plain sockets of both ends and need no helper programs.
"""

import ctypes
import ipaddress
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

CLONE_NEWNET = 0x40000000  # linux/sched.h
PROGRAMS = ("ip", "iptables", "ip6tables", "iptables-save", "nft", "sysctl")

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()


@dataclass(frozen=True)
class Network:
    """The three namespaces and the addresses of the two ends."""

    client: str
    gateway: str
    server: str

    @staticmethod
    def client_address(family: socket.AddressFamily) -> str:
        return "192.0.2.2" if family == socket.AF_INET else "2001:db8:1::2"

    @staticmethod
    def server_address(family: socket.AddressFamily) -> str:
        return "198.51.100.2" if family == socket.AF_INET else "2001:db8:2::2"

    def on_client(self, action: Callable[[], T]) -> T:
        return inside(self.client, action)

    def on_server(self, action: Callable[[], T]) -> T:
        return inside(self.server, action)

    def on_gateway(self, *command: str, stdin: str = "") -> str:
        """Run a program in the gateway's namespace; its output."""
        return run("ip", "netns", "exec", self.gateway, *command, stdin=stdin)

    def firewall_rules(self) -> str:
        """Every rule of the gateway, to see that nothing was left behind."""
        return "".join(
            self.on_gateway(*command)
            for command in (("iptables", "-S"), ("ip6tables", "-S"), ("nft", "list", "tables", "inet"))
        )

    def tcp_pair(
        self, family: socket.AddressFamily = socket.AF_INET, ports: tuple[int, int] = (0, 0)
    ) -> tuple[socket.socket, socket.socket]:
        """An established TCP connection from client to server, both ends with a time limit; 0: any free port."""

        def bound(address: str, port: int) -> socket.socket:
            end = socket.socket(family, socket.SOCK_STREAM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind((address, port))
            return end

        def listen() -> socket.socket:
            listener = bound(self.server_address(family), ports[1])
            listener.listen()
            return listener

        with self.on_server(listen) as listener:
            listener.settimeout(5)
            client = self.on_client(lambda: bound(self.client_address(family), ports[0]))
            client.settimeout(5)
            client.connect(listener.getsockname()[:2])
            server, _ = listener.accept()
            server.settimeout(5)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client, server

    def udp_pair(self, family: socket.AddressFamily = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
        """Two UDP sockets, each connected to the other."""

        def bound(address: str) -> Callable[[], socket.socket]:
            def make() -> socket.socket:
                made = socket.socket(family, socket.SOCK_DGRAM)
                made.bind((address, 0))
                made.settimeout(5)
                return made

            return make

        client = self.on_client(bound(self.client_address(family)))
        server = self.on_server(bound(self.server_address(family)))
        client.connect(server.getsockname()[:2])
        server.connect(client.getsockname()[:2])
        return client, server


def run(*command: str, stdin: str = "") -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def inside(namespace: str, action: Callable[[], T]) -> T:
    """Call `action` in a thread of its own that lives in the namespace; its result or its exception."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            with Path(f"/run/netns/{namespace}").open() as handle:
                if _libc.setns(handle.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns to {namespace}")
            outcome.append(action())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def requirement() -> str | None:
    """Why kernel tests cannot run here; None: they can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"kernel tests need {', '.join(missing)}: apt-get install iproute2 iptables nftables procps"
    if os.geteuid() != 0:
        return "kernel tests need root, to make network namespaces and packet queues: sudo make test"
    return None


@contextmanager
def throw_away_network() -> Iterator[Network]:
    """Make the network, and remove it whatever happens."""
    tag = f"mbx{os.getpid()}x{next(_serial)}"
    network = Network(f"{tag}c", f"{tag}g", f"{tag}s")
    names = (network.client, network.gateway, network.server)
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        _join(network.client, network.gateway, "inner", "192.0.2", "2001:db8:1:")
        _join(network.server, network.gateway, "outer", "198.51.100", "2001:db8:2:")
        network.on_gateway("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        yield network
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _join(end: str, gateway: str, interface: str, prefix4: str, prefix6: str) -> None:
    """Connect one end with the gateway, whose interface is `interface`. Offloads stay on, as on a real machine."""
    run("ip", "link", "add", "eth0", "netns", end, "type", "veth", "peer", "name", interface, "netns", gateway)
    for namespace, device, host in ((gateway, interface, 1), (end, "eth0", 2)):
        run("ip", "-n", namespace, "address", "add", f"{prefix4}.{host}/24", "dev", device)
        run("ip", "-n", namespace, "address", "add", f"{prefix6}:{host}/64", "dev", device, "nodad")
        run("ip", "-n", namespace, "link", "set", device, "up")
    other4 = ipaddress.ip_network("198.51.100.0/24" if prefix4 == "192.0.2" else "192.0.2.0/24")
    run("ip", "-n", end, "route", "add", str(other4), "via", f"{prefix4}.1")
    run("ip", "-n", end, "route", "add", "2001:db8::/32", "via", f"{prefix6}:1")


@pytest.fixture(scope="module")
def lab_net() -> Iterator[Network]:
    """The network for the tests of one file."""
    if reason := requirement():
        pytest.skip(reason)
    with throw_away_network() as network:
        yield network
