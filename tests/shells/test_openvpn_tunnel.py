"""A real OpenVPN tunnel with tls-crypt-v2 through the gateway: the approved key passes, another one at the same address
does not, with the same policy in force."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shells.network import Network, lab_net  # noqa: F401 - a fixture
from tests.shells.process import CommandLine, wait_until

SERVER = "198.51.100.2"
PORT = "1194"
REFUSED_SECONDS = 8
"Handshakes between namespaces take less than one second."

POLICY = f"""
policy: headquarters
approved:
  - {{name: hq, protocol: openvpn, tls_crypt_v2_key: keys/server.key, server: {SERVER}, why: Our own.}}
rules:
  - {{rule: approved-vpn, when: {{approved: true}}, action: pass}}
  - {{rule: unapproved-vpn, when: {{category: vpn, confidence: confirmed}}, action: drop}}
"""


def run(directory: Path, *command: str) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True)


def make_certificates(directory: Path) -> None:
    """An authority, and a certificate for each end."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(directory, "openssl", "req", "-x509", *curve, "-keyout", "ca.key", "-subj", "/CN=ca", "-out", "ca.crt")
    for name in ("server", "client"):
        run(directory, "openssl", "req", *curve, "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out", "request")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt")
        run(directory, "openssl", "x509", "-req", "-in", "request", *signing)


def make_keys(directory: Path, name: str) -> None:
    """A tls-crypt-v2 server key, and a client key made with it."""
    run(directory, "openvpn", "--genkey", "tls-crypt-v2-server", f"{name}-server")
    command = ("--tls-crypt-v2", f"{name}-server", "--genkey", "tls-crypt-v2-client", f"{name}-client")
    run(directory, "openvpn", *command)


@contextmanager
def openvpn(namespace: str, directory: Path, log: Path, *options: str) -> Iterator[None]:
    """A running OpenVPN that writes to `log`."""
    command = ("ip", "netns", "exec", namespace, "openvpn", "--ca", "ca.crt", "--dev-type", "tun", *options)
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def tunnel(network: Network, directory: Path, keys: str) -> Iterator[Path]:
    """Server and client that use those keys; the client's log."""
    logs = directory / f"{keys}-server.log", directory / f"{keys}-client.log"
    server = (
        *("--dev", "tunS", "--proto", "udp", "--local", SERVER, "--port", PORT, "--dh", "none"),
        *("--cert", "server.crt", "--key", "server.key", "--topology", "subnet", "--tls-crypt-v2", f"{keys}-server"),
        *("--server", "203.0.113.0", "255.255.255.128"),
    )
    client = (
        *("--client", "--dev", "tunC", "--proto", "udp", "--remote", SERVER, PORT, "--nobind"),
        *("--cert", "client.crt", "--key", "client.key", "--tls-crypt-v2", f"{keys}-client"),
    )
    with openvpn(network.server, directory, logs[0], *server):
        wait_until(lambda: "Initialization Sequence Completed" in logs[0].read_text(), "the server", 10)
        with openvpn(network.client, directory, logs[1], *client):
            yield logs[1]


def is_up(log: Path) -> bool:
    return "Initialization Sequence Completed" in log.read_text()


@pytest.mark.lab
def test_only_the_approved_key_gets_through(lab_net: Network, tmp_path: Path) -> None:  # noqa: F811
    make_certificates(tmp_path)
    for name in ("approved", "other"):
        make_keys(tmp_path, name)
    state = tmp_path / "gateway"
    (state / "keys").mkdir(parents=True)
    key = state / "keys" / "server.key"
    key.write_bytes((tmp_path / "approved-server").read_bytes())
    key.chmod(0o600)
    with CommandLine(lab_net, state, POLICY) as running:
        with tunnel(lab_net, tmp_path, "other") as log, pytest.raises(AssertionError, match="waited"):
            wait_until(lambda: is_up(log), "a tunnel that must not come", REFUSED_SECONDS)
        with tunnel(lab_net, tmp_path, "approved") as log:
            wait_until(lambda: is_up(log), "the approved tunnel", 10)
        running.stop()
        decisions = [event["middlebox"] for event in running.events("decision")]
        secret = key.read_text().splitlines()[1][:40]
        assert secret not in running.events_path.read_text()
    found = [(about["verdict"], about["rule"], about["approved"]) for about in decisions]
    assert found[0] == ("drop", "unapproved-vpn", None)
    assert found[-1] == ("pass", "approved-vpn", "hq")
    assert set(found) == {found[0], found[-1]}
