"""DHCPv6: options must fill the message, and one must name somebody."""

import pytest

from middlebox.detect.dhcpv6 import Dhcpv6
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import DHCPV6_ADVERTISE, DHCPV6_SOLICIT, DUID


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("cut short", DHCPV6_SOLICIT[:-1]),
        ("one byte longer", DHCPV6_SOLICIT + b"\x00"),
        ("nobody is named", DHCPV6_SOLICIT[:4] + b"\x00\x08\x00\x02\x00\x00"),
        ("a DUID that none has", DHCPV6_SOLICIT.replace(b"\x00\x0a\x00\x03", b"\x00\x0a\x00\x09")),
        ("an option that none has", DHCPV6_SOLICIT[:4] + DUID + b"\x7f\x08\x00\x02\x00\x00"),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Dhcpv6(), [CLIENT(first)])) == [Opinion.NO], why


def test_relays_wrap_messages() -> None:
    addresses = bytes(32)
    forward = b"\x0c\x00" + addresses + b"\x00\x09" + len(DHCPV6_SOLICIT).to_bytes(2) + DHCPV6_SOLICIT
    reply = b"\x0d\x00" + addresses + b"\x00\x09" + len(DHCPV6_ADVERTISE).to_bytes(2) + DHCPV6_ADVERTISE
    evidence = last_evidence(datagrams(Dhcpv6(), [CLIENT(forward), SERVER(reply)]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
