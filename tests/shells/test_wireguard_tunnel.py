"""A real WireGuard tunnel that was open before the gateway started: refused, and freed by proof if it is approved."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shells.network import Network, lab_net  # noqa: F401 - a fixture
from tests.shells.process import CommandLine, wait_until

INSIDE_CLIENT, INSIDE_SERVER = "203.0.113.2", "203.0.113.1"
PORT = 51820
ECHO_PORT = 7
NEW_HANDSHAKE_SECONDS = 15
"Keepalive-Timeout and Rekey-Timeout together: who gets no answer for so long begins anew (WireGuard paper, 6.1, 6.2)."

POLICY = """
policy: headquarters
approved: [{{name: hq, protocol: wireguard, public_key: "{public_key}"}}]
rules:
  - {{rule: approved-vpn, when: {{approved: true}}, action: pass}}
  - {{rule: unapproved-vpn, when: {{category: vpn, confidence: confirmed}}, action: reset}}
"""


def wg(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["wg", *arguments], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Tunnel:
    """An echo through a tunnel from client to server."""

    def __init__(self, network: Network) -> None:
        self._server = network.on_server(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._server.bind((INSIDE_SERVER, ECHO_PORT))
        self._client = network.on_client(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for end in (self._client, self._server):
            end.settimeout(0.3)

    def is_up(self) -> bool:
        try:
            self._client.sendto(b"anyone?", (INSIDE_SERVER, ECHO_PORT))
            question, client = self._server.recvfrom(100)
            self._server.sendto(question, client)
            return self._client.recv(100) == b"anyone?"
        except TimeoutError:
            return False

    def close(self) -> None:
        self._client.close()
        self._server.close()


@contextmanager
def tunnel(network: Network, directory: Path) -> Iterator[tuple[Tunnel, str]]:
    """A tunnel made by wireguard-go, and its server's public key."""
    ends = {"client": (network.client, INSIDE_CLIENT), "server": (network.server, INSIDE_SERVER)}
    private = {name: wg("genkey") for name in ends}
    public = {name: wg("pubkey", stdin=key) for name, key in private.items()}
    endpoint = f"Endpoint = {network.server_address(socket.AF_INET)}:{PORT}\n"
    processes = []
    try:
        for name, (namespace, address) in ends.items():
            other = "server" if name == "client" else "client"
            # Its control socket lies in the file system, which all namespaces and all test runs share.
            interface = f"wg-{name[0]}{os.getpid()}"
            inside = ("ip", "netns", "exec", namespace)
            processes.append(subprocess.Popen([*inside, "wireguard-go", "-f", interface], stderr=subprocess.DEVNULL))
            link = Path(f"/var/run/wireguard/{interface}.sock")
            wait_until(link.exists, f"wireguard-go on {interface}")
            config = directory / f"{name}.conf"
            config.write_text(
                f"[Interface]\nPrivateKey = {private[name]}\n{f'ListenPort = {PORT}' if name == 'server' else ''}\n"
                f"[Peer]\nPublicKey = {public[other]}\nAllowedIPs = {ends[other][1]}/32\n"
                + (endpoint if name == "client" else "")
            )
            for command in (
                ("wg", "setconf", interface, str(config)),
                ("ip", "address", "add", f"{address}/24", "dev", interface),
                ("ip", "link", "set", interface, "up"),
            ):
                subprocess.run([*inside, *command], check=True, capture_output=True)
        made = Tunnel(network)
        try:
            yield made, public["server"]
        finally:
            made.close()
    finally:
        for process in processes:
            process.terminate()
            process.wait(5)


@pytest.mark.lab
@pytest.mark.parametrize("approved", [True, False], ids=["approved", "unapproved"])
def test_tunnel_open_before_the_gateway_starts(lab_net: Network, tmp_path, approved):  # noqa: F811
    with tunnel(lab_net, tmp_path) as (echo, server_key):
        wait_until(echo.is_up, "the tunnel, without a gateway")
        key = server_key if approved else wg("pubkey", stdin=wg("genkey"))
        with CommandLine(lab_net, tmp_path, POLICY.format(public_key=key)) as running:
            wait_until(lambda: not echo.is_up(), "the refusal")
            refused_at = time.monotonic()
            if approved:
                wait_until(echo.is_up, "the next handshake to free the tunnel", NEW_HANDSHAKE_SECONDS + 10)
                assert time.monotonic() - refused_at > 5, "it was refused until then"
            else:
                while time.monotonic() - refused_at < NEW_HANDSHAKE_SECONDS + 5:
                    assert not echo.is_up()
            running.stop()
        decisions = [event["middlebox"] for event in running.events("decision")]
    expected = [("reset", "unapproved-vpn", None), ("pass", "approved-vpn", "hq")][: 2 if approved else 1]
    assert [(about["verdict"], about["rule"], about["approved"]) for about in decisions] == expected
