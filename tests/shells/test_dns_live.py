"""Answers in the server's stead on the wire: a real client (dig) asks a real server (dnsmasq) through the gateway."""

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.shells.network import Network, lab_net, run  # noqa: F401 - a fixture
from tests.shells.process import gateway, wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not (shutil.which("dig") and shutil.which("dnsmasq")), reason="apt-get install bind9-dnsutils dnsmasq-base"
    ),
]
FAMILIES = [pytest.param(socket.AF_INET, id="IPv4"), pytest.param(socket.AF_INET6, id="IPv6")]
TRUE4, TRUE6 = "198.51.100.99", "2001:db8:2::99"


@pytest.fixture(scope="module")
def resolver(lab_net: Network) -> Iterator[Network]:  # noqa: F811
    command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="]
    command += ["--user=root", "--log-facility=/dev/null", f"--address=/example/{TRUE4}", f"--address=/example/{TRUE6}"]
    process = subprocess.Popen(["ip", "netns", "exec", lab_net.server, *command])
    try:
        for family in (socket.AF_INET, socket.AF_INET6):  # IPv6 neighbours answer some 2 s after a link is up
            wait_until(lambda family=family: dig(lab_net, "free.example", "A", family)[0] == "NOERROR", "dnsmasq", 10)
        yield lab_net
    finally:
        process.terminate()
        process.wait()


def dig(network: Network, name: str, kind: str, family: socket.AddressFamily = socket.AF_INET) -> tuple[str, list[str]]:
    """Status and answers that dig shows."""
    server = network.server_address(family)
    options = ["+tries=1", "+time=1", "+noall", "+comments", "+answer"]
    try:
        text = run("ip", "netns", "exec", network.client, "dig", *options, f"@{server}", name, kind)
    except AssertionError:
        return "no answer", []
    status = text.partition("status: ")[2].partition(",")[0]
    answers = [line.split(kind + "\t", 1)[1] for line in text.splitlines() if line and not line.startswith(";")]
    return status, [" ".join(answer.split()) for answer in answers]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_rule_names_is_answered_by_the_gateway_and_other_names_by_the_server(resolver, tmp_path, family):
    with gateway(resolver, tmp_path) as running:
        answers = {
            (name, kind): dig(resolver, f"{name}.example", kind, family)
            for name in ("nxdom", "refus", "addre", "free")
            for kind in ("A", "AAAA", "HTTPS")
        }
        summary = running.stop()
    for kind in ("A", "AAAA", "HTTPS"):
        assert answers["nxdom", kind] == ("NXDOMAIN", [])
        assert answers["refus", kind] == ("REFUSED", [])
    assert answers["addre", "A"] == ("NOERROR", ["203.0.113.7"])
    assert answers["addre", "AAAA"] == ("NOERROR", ["2001:db8::7"])
    assert answers["addre", "HTTPS"] == ("NOERROR", ["1 . ipv4hint=203.0.113.7 ipv6hint=2001:db8::7"])
    assert answers["free", "A"] == ("NOERROR", [TRUE4])
    assert answers["free", "AAAA"] == ("NOERROR", [TRUE6])
    assert (summary["resets_injected"], summary["resets_failed"]) == (9, 0)
