"""NTP: time, control and private messages, and what has only their sizes."""

import pytest

from middlebox.detect.ntp import Ntp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import NTP_CONTROL, NTP_REPLY, NTP_REQUEST, dns, noise


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("one byte longer", NTP_REQUEST + b"\x00"),
        ("cut short", NTP_REQUEST[:-4]),
        ("a stratum that none has", NTP_REQUEST[:1] + b"\x11" + NTP_REQUEST[2:]),
        ("a delay of minutes", NTP_REQUEST[:4] + b"\x01" + NTP_REQUEST[5:]),
        ("a server without a time", NTP_REPLY[:40] + bytes(8)),
        ("random bytes", b"\x23" + noise(47, 4)),
        ("a control message with a status", NTP_CONTROL[:4] + b"\x06\x18" + NTP_CONTROL[6:]),
        ("a control message of another length", NTP_CONTROL + bytes(4)),
        ("dns whose id begins like a control message", dns(0x1602, 0x0100, b"\x03www\x03org\x00")),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Ntp(), [CLIENT(first)])) == [Opinion.NO], why


def test_extensions_and_digests_may_follow() -> None:
    for more in (
        bytes(20),
        bytes(24),
        b"\x01\x04\x00\x24" + noise(32, 1),
        b"\x01\x04\x00\x24" + noise(32, 1) + bytes(20),
    ):
        assert last_evidence(datagrams(Ntp(), [CLIENT(NTP_REQUEST + more)])), more


def test_ntpdc_is_private() -> None:
    asked, answered = b"\x17\x00\x03\x2a" + bytes(4), b"\x97\x00\x03\x2a\x00\x01\x00\x48" + noise(72, 1)
    evidence = last_evidence(datagrams(Ntp(), [CLIENT(asked), SERVER(answered)]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert list(datagrams(Ntp(), [CLIENT(answered[:-1])])) == [Opinion.NO]
