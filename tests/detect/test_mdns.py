"""Multicast DNS: what it alone has, and DNS that is close to it."""

import pytest

from middlebox.detect.dns import Dns
from middlebox.detect.mdns import Mdns
from tests.detect.conversations import CLIENT, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import PRINTER, dns


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("an id of its own", dns(4, 0, PRINTER)),
        ("recursion wanted", dns(0, 0x0100, PRINTER)),
        ("a name of the world", dns(0, 0, b"\x07example\x03org\x00")),
        ("cut within the name", dns(0, 0, PRINTER)[:30]),
        ("no name", bytes(12)),
    ],
)
def test_near_misses_are_dns(why: str, first: bytes) -> None:
    assert last_evidence(datagrams(Mdns(), [CLIENT(first)])) is None, why


def test_dns_waits_for_no_answer() -> None:
    evidence = last_evidence(datagrams(Dns(), [CLIENT(dns(0, 0, PRINTER))]))
    assert evidence
    assert not evidence.more
