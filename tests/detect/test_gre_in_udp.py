"""GRE in UDP: only an inner packet that fills its datagram counts."""

import pytest

from middlebox.detect.gre_in_udp import GreInUdp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_classic_vpn import ethernet, gre, ip4


@pytest.mark.parametrize(
    "first", [gre(0x0800, ip4())[:-1], gre(0x0800, ip4() + b"\0"), gre(0x8847, ip4()), ip4(), bytes(40), b"\0\0\x08\0"]
)
def test_other_first_datagrams_are_rejected_at_once(first: bytes) -> None:
    assert list(datagrams(GreInUdp(), [CLIENT(first)])) == [Opinion.NO]


def test_ethernet_inside_confirms_and_is_unwrapped() -> None:
    packet = gre(0x6558, ethernet(ip4()))
    evidence = last_evidence(datagrams(GreInUdp(), [CLIENT(packet), SERVER(packet)]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert GreInUdp().unwrap(packet) == ip4()
