"""Real tunnels and proxies between namespaces, through the real gateway: what they are called, and how surely.

Captures show that detectors read recorded packets. These tests show that the same holds for the packets that the kernel
hands over while the programs talk, and that what was fetched really came through the tunnel: the site that has it all
is at an address to which the client has no other way.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from middlebox.lab import topology
from middlebox.lab.hosts import Completed, Host, Patience, Process
from middlebox.lab.install import LIVE, find_missing, package_names
from middlebox.lab.keys import Authority, write_ssh_key
from middlebox.lab.netns import NamespaceDriver

pytestmark = pytest.mark.lab

SERVER = topology.SERVER_ADDRESSES.ipv4
SITE = str(topology.TUNNELS[200])
"Where the files are: an address of the server that no route of the client leads to, but through a tunnel."
INSIDE_SERVER, INSIDE_CLIENT = str(topology.TUNNELS[1]), str(topology.TUNNELS[2])
HTTPS_PORT, SSH_PORT = 8443, 22
LOCAL_PORT = 1080
"Where programs on the client offer their SOCKS proxy."
THROUGH_LOCAL = ("--socks5-hostname", f"127.0.0.1:{LOCAL_PORT}")
PASSWORD = "of-the-lab"

FILES = {"small": 2_000, "middle": 30_000, "large": 150_000}
START_SECONDS, TUNNEL_SECONDS, FETCH_SECONDS = 15.0, 15.0, 8.0

POLICY = f"""
policy: see-everything
mode: monitor
home: [{topology.CLIENT_NETWORKS.ipv4}]
rules:
  - {{rule: saw-it, when: {{category: [vpn, proxy, anonymity, tunnel], confidence: possible}}, action: log}}
"""
HIDDEN = {"vpn", "proxy", "anonymity", "tunnel"}


class Live:
    """Client, gateway and server in namespaces, with a web site and an SSH server, and what one test does there."""

    def __init__(self, hosts: dict[str, Host], directory: Path) -> None:
        self.client, self.gateway, self.server = hosts["client"], hosts["gateway"], hosts["server"]
        self.directory = directory
        self._started: list[Process] = []
        self._serial = 0

    def path(self, relative: str) -> str:
        return str(self.directory / relative)

    def write(self, relative: str, text: str, mode: int = 0o600) -> str:
        """Write a configuration; its path."""
        path = self.directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def start(self, host: Host, *command: str) -> Process:
        """Start a program that runs until the test ends."""
        self._serial += 1
        process = host.start(f"{self._serial}-{host.name}-{Path(command[0]).name}", *command)
        self._started.append(process)
        return process

    def serve(self, host: Host, port: int, *command: str, transport: str = "tcp") -> None:
        """Start a program and wait until it listens."""
        process = self.start(host, *command)
        process.wait_ready(lambda: host.listens(transport, port), f"{command[0]} on port {port}", START_SECONDS)

    def stop(self) -> None:
        """End what the test started."""
        while self._started:
            self._started.pop().stop()

    def keep_running(self) -> None:
        """Let what was started so far run until the namespaces go."""
        self._started.clear()

    def fetch(self, url: str, *options: str, seconds: float = FETCH_SECONDS) -> Completed:
        """Fetch a file on the client."""
        fixed = ("--silent", "--show-error", "--fail", "--cacert", self.path("keys/ca.crt"))
        return self.client.run("curl", *fixed, "--output", self.path("fetched"), *options, url, seconds=seconds)

    def wait_for_tunnel(self, device: str) -> None:
        """Lead the client's way to the site through a tunnel's device, and wait until something comes back.

        The way is laid anew each time: a device whose address is still being set may lose it.
        """
        route, url = ("ip", "route", "replace", SITE, "dev", device), f"http://{SITE}/small"
        self.client.patience.until(
            lambda: self.client.succeeds(*route) and self.fetch(url, seconds=2.0).status == 0,
            f"the tunnel {device}",
            TUNNEL_SECONDS,
        )

    def browse(self, *options: str, names: tuple[str, ...] = tuple(FILES), at: str = SITE) -> None:
        """Fetch files in clear and by HTTPS, one after the other; all must arrive whole."""
        for base in (f"http://{at}", f"https://{at}:{HTTPS_PORT}"):
            for name in names:
                done = self.fetch(f"{base}/{name}", *options)
                assert done.status == 0, f"{base}/{name}: {done.errors}"
                fetched, served = self.directory / "fetched", self.directory / "www" / name
                assert fetched.read_bytes() == served.read_bytes()

    def watch(self, talk: Callable[["Live"], None]) -> list[dict[str, Any]]:
        """Let programs talk through a gateway that only watches; what it wrote about each flow."""
        events = Path(self.path(f"events-{self._serial}.jsonl"))
        policy = self.write("policy.yaml", POLICY)
        command = (self.gateway.python, "-m", "middlebox", "run", policy, "--events", str(events))
        gateway = self.start(self.gateway, *command)
        gateway.wait_ready(
            lambda: events.exists() and '"event_type":"policy"' in events.read_text(), "the gateway", START_SECONDS
        )
        talk(self)
        assert gateway.is_running(), gateway.last_words()
        assert gateway.stop() == 0, gateway.log()
        records = [json.loads(line) for line in events.read_text().splitlines()]
        assert [record for record in records if record["event_type"] == "error"] == []
        assert [each["stats"]["internal_errors"] for each in records if each["event_type"] == "stats"][-1:] == [0]
        return [record for record in records if record["event_type"] == "flow"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The namespaces, with the servers that several tests use. The kernel removes all of it at the end."""
    if os.geteuid() != 0:
        pytest.skip("the lab makes network namespaces, which needs root: sudo make test")
    if missing := find_missing(LIVE):
        pytest.skip(f"not installed: {package_names(missing)}: {sys.executable} -m middlebox.lab.install live")
    directory = tmp_path_factory.mktemp("live")
    for name in ("keys", "logs", "pids", "nginx", "www"):
        (directory / name).mkdir()
    for name, size in FILES.items():
        (directory / "www" / name).write_bytes(os.urandom(size))
    driver = NamespaceDriver(Patience(threading.Event()))
    driver.prepare()
    try:
        driver.open(directory)
        made = Live(driver.hosts, directory)
        start_site(made)
        start_sshd(made)
        made.keep_running()
        yield made
    finally:
        driver.close()
        for host in driver.hosts.values():
            host.reap()


@pytest.fixture
def live(world: Live) -> Iterator[Live]:
    """The namespaces, for one test."""
    try:
        yield world
    finally:
        world.stop()


def start_site(live: Live) -> None:
    live.server.must("ip", "address", "add", f"{SITE}/32", "dev", "lo")
    Authority(live.directory / "keys").issue("site", server_names=["site.lab.example"], addresses=[SITE, SERVER])
    temporary = "".join(
        f"{kind}_temp_path {live.path('nginx')}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = live.write(
        "nginx.conf",
        f"daemon off; user root; pid {live.path('nginx/pid')}; error_log stderr; events {{}}\n"
        f"http {{ access_log off;\n{temporary}server {{ listen 80; listen {HTTPS_PORT} ssl http2;\n"
        f"ssl_certificate {live.path('keys/site.crt')}; ssl_certificate_key {live.path('keys/site.key')};\n"
        f"root {live.path('www')}; }} }}\n",
    )
    live.serve(live.server, HTTPS_PORT, "nginx", "-e", "stderr", "-c", configuration)


def start_sshd(live: Live) -> None:
    live.write("keys/known_hosts", f"{SERVER} {write_ssh_key(live.directory / 'keys' / 'host')}\n")
    live.write("keys/authorized", write_ssh_key(live.directory / "keys" / "user") + "\n")
    configuration = live.write(
        "sshd.conf",
        f"Port {SSH_PORT}\nListenAddress {SERVER}\nHostKey {live.path('keys/host')}\n"
        f"AuthorizedKeysFile {live.path('keys/authorized')}\nPermitRootLogin prohibit-password\nStrictModes no\n"
        "UsePAM no\nUseDNS no\nPidFile none\n",
    )
    live.server.must("mkdir", "-p", "/run/sshd")
    live.serve(live.server, SSH_PORT, "/usr/sbin/sshd", "-D", "-e", "-f", configuration)


def ssh(live: Live) -> tuple[str, ...]:
    options = (f"UserKnownHostsFile={live.path('keys/known_hosts')}", "BatchMode=yes", "ExitOnForwardFailure=yes")
    command = ("ssh", "-F", "/dev/null", "-i", live.path("keys/user"))
    return (*command, *(word for option in options for word in ("-o", option)), f"root@{SERVER}")


def named(flows: list[dict[str, Any]], port: int) -> list[tuple[str, str]]:
    """Name and level of every flow to that port of the server."""
    return [
        (flow["app_proto"], flow["middlebox"]["confidence"])
        for flow in flows
        if (flow["dest_ip"], flow["dest_port"]) == (SERVER, port)
    ]


# --- proxies ----------------------------------------------------------------------------------------


def test_microsocks_is_confirmed_as_socks5(live: Live) -> None:
    live.serve(live.server, 1080, "microsocks", "-i", SERVER, "-p", "1080")
    flows = live.watch(lambda live: live.browse("--socks5-hostname", f"{SERVER}:1080"))
    assert named(flows, 1080) == [("socks5", "confirmed")] * 2 * len(FILES)


def test_tinyproxy_is_confirmed_as_http_connect(live: Live) -> None:
    configuration = live.write("tinyproxy.conf", f"Port 8888\nListen {SERVER}\nTimeout 60\nMaxClients 20\n")
    live.serve(live.server, 8888, "tinyproxy", "-d", "-c", configuration)
    flows = live.watch(lambda live: live.browse("--proxytunnel", "--proxy", f"http://{SERVER}:8888"))
    assert named(flows, 8888) == [("http-connect", "confirmed")] * 2 * len(FILES)


def test_shadowsocks_is_probable(live: Live) -> None:
    common = ("-s", SERVER, "-p", "8388", "-k", PASSWORD, "-m", "aes-256-gcm")
    live.serve(live.server, 8388, "ss-server", *common)

    def talk(live: Live) -> None:
        live.serve(live.client, LOCAL_PORT, "ss-local", *common, "-b", "127.0.0.1", "-l", str(LOCAL_PORT))
        live.browse(*THROUGH_LOCAL)

    found = named(live.watch(talk), 8388)
    assert len(found) == 2 * len(FILES)
    assert {name for name, _ in found} <= {"shadowsocks", "fully-encrypted"}
    # Which of its short flows are more than possible is chance, as their bytes are; most fetches in clear are.
    assert [level for _, level in found].count("probable") >= 2
    assert {level for _, level in found} <= {"probable", "possible"}


def test_socks_inside_stunnel_is_probable(live: Live) -> None:
    site = f"cert={live.path('keys/site.crt')}\nkey={live.path('keys/site.key')}\n"
    foreground = "foreground = yes\npid =\n[socks]\n"
    at_server = live.write("stunnel-server.conf", f"{foreground}accept={SERVER}:443\nconnect=127.0.0.1:1081\n{site}")
    at_client = live.write(
        "stunnel-client.conf",
        f"{foreground}client=yes\naccept=127.0.0.1:{LOCAL_PORT}\nconnect={SERVER}:443\nsni=site.lab.example\n"
        f"CAfile={live.path('keys/ca.crt')}\nverifyChain=yes\n",
    )
    live.serve(live.server, 1081, "microsocks", "-i", "127.0.0.1", "-p", "1081")
    live.serve(live.server, 443, "stunnel4", at_server)

    def talk(live: Live) -> None:
        live.serve(live.client, LOCAL_PORT, "stunnel4", at_client)
        live.browse(*THROUGH_LOCAL)

    assert named(live.watch(talk), 443) == [("tls-tunnel", "probable")] * 2 * len(FILES)


def test_ssh_that_forwards_is_probable(live: Live) -> None:
    def talk(live: Live) -> None:
        live.serve(live.client, LOCAL_PORT, *ssh(live), "-N", "-D", f"127.0.0.1:{LOCAL_PORT}")
        live.browse(*THROUGH_LOCAL)

    assert named(live.watch(talk), SSH_PORT) == [("ssh-tunnel", "probable")]


# --- tunnels ----------------------------------------------------------------------------------------


def test_iodine_is_confirmed_as_dns_tunnel(live: Live) -> None:
    domain = "t.lab.example"
    server = ("iodined", "-f", "-c", "-P", PASSWORD, "-l", SERVER, "-p", "53", f"{INSIDE_SERVER}/27", domain)
    live.serve(live.server, 53, *server, transport="udp")

    def talk(live: Live) -> None:
        client = ("iodine", "-f", "-r", "-I", "4", "-m", "700", "-d", "dns9", "-P", PASSWORD, SERVER, domain)
        live.start(live.client, *client)
        live.wait_for_tunnel("dns9")

    assert named(live.watch(talk), 53) == [("dns-tunnel", "confirmed")]


def test_tinc_is_confirmed(live: Live) -> None:
    port = 655
    ends = {"server": (live.server, INSIDE_SERVER), "client": (live.client, INSIDE_CLIENT)}
    for name, (host, address) in ends.items():
        connect = "" if name == "server" else "ConnectTo = server\n"
        live.write(f"tinc/{name}/tinc.conf", f"Name = {name}\nInterface = tinc9\nAddressFamily = ipv4\n{connect}")
        up = f"#!/bin/sh\nip address add {address}/24 dev $INTERFACE\nip link set $INTERFACE up\n"
        live.write(f"tinc/{name}/tinc-up", up, 0o700)
        where = f"Address = {SERVER}\nSubnet = {SITE}/32\n" if name == "server" else ""
        live.write(f"tinc/{name}/hosts/{name}", f"{where}Subnet = {address}/32\n")
        host.must("tincd", "--config", live.path(f"tinc/{name}"), "--generate-keys=2048")
    hosts = [live.directory / "tinc" / end / "hosts" for end in ends]
    for name, (here, there) in zip(ends, (hosts, hosts[::-1]), strict=True):
        (there / name).write_bytes((here / name).read_bytes())

    def command(name: str) -> tuple[str, ...]:
        pid_file = f"--pidfile={live.path(f'tinc/{name}/pid')}"
        return ("tincd", "--config", live.path(f"tinc/{name}"), "--no-detach", "--debug=1", pid_file)

    live.serve(live.server, port, *command("server"))

    def talk(live: Live) -> None:
        live.start(live.client, *command("client"))
        live.wait_for_tunnel("tinc9")
        live.browse()

    assert named(live.watch(talk), port) == [("tinc", "confirmed")] * 2  # its control connection, and its packets


def test_fastd_is_confirmed(live: Live) -> None:
    port = 10000
    keys = {}
    for name in ("server", "client"):
        lines = live.server.must("fastd", "--generate-key").splitlines()
        keys[name] = [line.split()[-1] for line in lines if line.startswith(("Secret:", "Public:"))]
    ends = (("server", "client", INSIDE_SERVER), ("client", "server", INSIDE_CLIENT))
    configurations = {
        name: live.write(
            f"fastd-{name}.conf",
            f'method "salsa2012+umac"; mode tun; interface "fastd9"; mtu 1400; secret "{keys[name][0]}";\n'
            f'on up "ip address add {address}/24 dev fastd9; ip link set fastd9 up";\n'
            + (f"bind {SERVER}:{port};\n" if name == "server" else "")
            + f'peer "{other}" {{ key "{keys[other][1]}"; '
            + (f"remote {SERVER}:{port}; }}\n" if name == "client" else "}\n"),
        )
        for name, other, address in ends
    }
    live.serve(live.server, port, "fastd", "--config", configurations["server"], transport="udp")

    def talk(live: Live) -> None:
        live.start(live.client, "fastd", "--config", configurations["client"])
        live.wait_for_tunnel("fastd9")
        live.browse()

    assert named(live.watch(talk), port) == [("fastd", "confirmed")]


# --- ordinary traffic -------------------------------------------------------------------------------


def test_https_and_http_are_not_called_a_tunnel(live: Live) -> None:
    flows = live.watch(lambda live: live.browse(at=SERVER))
    assert named(flows, HTTPS_PORT) == [("tls", "confirmed")] * len(FILES)
    assert named(flows, 80) == [("http", "confirmed")] * len(FILES)
    assert {flow["middlebox"]["category"] for flow in flows}.isdisjoint(HIDDEN)


def test_ssh_for_commands_is_not_called_a_tunnel(live: Live) -> None:
    def talk(live: Live) -> None:
        for _ in range(3):
            assert live.client.must(*ssh(live), "ls", "-lR", live.path("logs"))
        assert live.client.must(*ssh(live), "cat", live.path("www/large"), "| base64")

    flows = live.watch(talk)
    assert named(flows, SSH_PORT) == [("ssh", "confirmed")] * 4
