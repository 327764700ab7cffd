"""Every action as a policy file asks for it: real clients and servers, `middlebox run` as it is, a real NFQUEUE."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shells.network import Network, lab_net, run  # noqa: F401 - a fixture
from tests.shells.process import CommandLine, wait_until
from tests.shells.test_dns_live import TRUE4, dig, resolver  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not (shutil.which("dig") and shutil.which("dnsmasq") and shutil.which("curl")),
        reason="apt-get install bind9-dnsutils dnsmasq-base curl",
    ),
]
SIZE = 400_000
RATE = 1_000_000


@contextmanager
def site(network: Network, folder: Path, port: int) -> Iterator[None]:
    """A web site on a port of the server."""
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(bytes(SIZE))
    serve = [sys.executable, "-m", "http.server", "--directory", str(folder), str(port)]
    web = subprocess.Popen(["ip", "netns", "exec", network.server, *serve], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: fetch(network, port)[0] == 0, f"the site on port {port}", 10)
        yield
    finally:
        web.terminate()
        web.wait()


def fetch(network: Network, port: int, host: str = "free.example") -> tuple[int, float]:
    """Exit status of curl, and how long it took."""
    url = f"http://{network.server_address(socket.AF_INET)}:{port}/file"
    command = ["curl", "-s", "-o", "/dev/null", "--max-time", "8", "-H", f"Host: {host}", "-w", "%{time_total}", url]
    done = subprocess.run(
        ["ip", "netns", "exec", network.client, *command], capture_output=True, text=True, check=False, timeout=20
    )
    return done.returncode, float(done.stdout or 0)


def decisions(running: CommandLine) -> list[dict]:
    lines = running.events_path.read_text().splitlines()
    return [event["middlebox"] for event in map(json.loads, lines) if event["event_type"] == "decision"]


def test_names_are_answered_as_the_policy_says(resolver: Network, tmp_path: Path) -> None:  # noqa: F811
    policy = """
policy: names
rules:
  - {rule: gone, when: {dns.rrname|domain: gone.example}, action: dns, dns: nxdomain}
  - {rule: moved, when: {dns.rrname: moved.example}, action: dns, dns: {address: 203.0.113.7}}
"""
    with CommandLine(resolver, tmp_path / "run", policy) as running:
        assert dig(resolver, "www.gone.example", "A") == ("NXDOMAIN", [])
        assert dig(resolver, "moved.example", "A") == ("NOERROR", ["203.0.113.7"])
        assert dig(resolver, "moved.example", "AAAA") == ("NOERROR", [])
        assert dig(resolver, "free.example", "A") == ("NOERROR", [TRUE4])
        running.stop()
        assert [(about["rule"], about["verdict"]) for about in decisions(running)] == [
            ("gone", "dns"),
            ("moved", "dns"),
            ("moved", "dns"),
        ]


def test_throttled_by_host_name(lab_net: Network, tmp_path: Path) -> None:  # noqa: F811
    policy = """
policy: slow
rules:
  - {rule: slow-site, when: {server_name: slow.example}, action: throttle, rate: 1Mbit/s}
"""
    with site(lab_net, tmp_path / "site", 8081), CommandLine(lab_net, tmp_path / "run", policy):
        status, free = fetch(lab_net, 8081)
        slow_status, slow = fetch(lab_net, 8081, "slow.example")
    assert (status, slow_status) == (0, 0)
    print(f"\n{SIZE} bytes: {free:.2f} s, at 1 Mbit/s {slow:.2f} s")
    expected = SIZE * 8 / RATE - 1  # the first second's bytes are in the bucket
    assert free < 0.5
    assert expected * 0.85 < slow < expected * 1.15 + 0.5


def test_a_residual_block_refuses_the_next_connections_and_ends(lab_net: Network, tmp_path: Path) -> None:  # noqa: F811
    policy = """
policy: residual
rules:
  - rule: forbidden
    when: {server_name: forbidden.example}
    action: reset
    residual: {scope: [client, server, server_port], seconds: 4}
"""
    with (
        site(lab_net, tmp_path / "one", 8082),
        site(lab_net, tmp_path / "two", 8083),
        CommandLine(lab_net, tmp_path / "run", policy),
    ):
        assert fetch(lab_net, 8082)[0] == 0
        assert fetch(lab_net, 8082, "forbidden.example")[0] != 0
        assert fetch(lab_net, 8082)[0] != 0, "the next connection, for an innocent site of the same server"
        assert fetch(lab_net, 8083)[0] == 0, "another port"
        wait_until(lambda: fetch(lab_net, 8082)[0] == 0, "the end of the block", 10)


def test_a_sampled_rule_hits_some_connections_and_a_monitored_one_none(lab_net: Network, tmp_path: Path) -> None:  # noqa: F811
    policy = """
policy: sampled
seed: 1
rules:
  - {rule: trial, mode: monitor, when: {server_name: free.example}, action: drop}
  - {rule: some, when: {server_name: half.example}, action: sample, probability: 0.5, then: reset}
"""
    tries = 24
    with site(lab_net, tmp_path / "site", 8084), CommandLine(lab_net, tmp_path / "run", policy) as running:
        assert fetch(lab_net, 8084)[0] == 0
        failed = sum(fetch(lab_net, 8084, "half.example")[0] != 0 for _ in range(tries))
        running.stop()
        told = decisions(running)
    assert 4 <= failed <= 20  # beyond that one run in 2,000
    assert sum(about["rule"] == "some" for about in told) == failed
    assert [about["would"] for about in told if about["rule"] == "trial"] == ["drop"]
