"""DHCP and BOOTP: options that fit, and those that do not."""

import pytest

from middlebox.detect.dhcp import Dhcp
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import dhcp


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("an operation that none has", b"\x03" + dhcp(1, 1)[1:]),
        ("an address of 17 bytes", dhcp(1, 1)[:2] + b"\x11" + dhcp(1, 1)[3:]),
        ("too many hops", dhcp(1, 1)[:3] + b"\x11" + dhcp(1, 1)[4:]),
        ("a type that none has", dhcp(1, 99)),
        ("an option that is cut", dhcp(1, 1)[:245]),
        ("another cookie", dhcp(1, 1).replace(b"\x63\x82", b"\x63\x83")),
        ("cut short", dhcp(1, 1)[:235]),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Dhcp(), [CLIENT(first)])) == [Opinion.NO], why


def test_bootp_has_no_cookie() -> None:
    bootp = dhcp(1, 1)[:236] + bytes(64)
    assert last_evidence(datagrams(Dhcp(), [CLIENT(bootp)]))
    assert list(datagrams(Dhcp(), [CLIENT(bootp + bytes(4))])) == [Opinion.NO]
