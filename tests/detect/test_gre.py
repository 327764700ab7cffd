"""GRE: headers that add up, what they carry, and the inner packet whatever is around it."""

import pytest

from middlebox.detect.gre import Gre
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_classic_vpn import PPP_LCP, ethernet, gre, ip4, pptp_data

INNER = ip4(b"a ping, or so")
TAG = b"\0\x07\x08\0"


def finding(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Gre(), messages))


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("plain", gre(0x0800, INNER)),
        ("all options", gre(0x0800, INNER, 0xB000, bytes(12))),
        ("ethernet", gre(0x6558, ethernet(INNER))),
        ("tagged ethernet", gre(0x6558, ethernet(TAG + INNER, 0x8100))),
        ("twice tagged", gre(0x6558, ethernet(b"\0\7\x81\0" + TAG + INNER, 0x88A8))),
        ("erspan I", gre(0x88BE, ethernet(INNER))),
        ("erspan II", gre(0x88BE, bytes(8) + ethernet(INNER), 0x1000, bytes(4))),
        ("erspan III", gre(0x22EB, bytes(12) + ethernet(INNER), 0x1000, bytes(4))),
        ("erspan III with more", gre(0x22EB, bytes(11) + b"\1" + bytes(8) + ethernet(INNER), 0x1000, bytes(4))),
    ],
)
def test_the_inner_packet_is_found(name: str, packet: bytes) -> None:
    assert Gre().unwrap(packet) == INNER, name
    evidence = finding(CLIENT(packet), SERVER(packet))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED, name


@pytest.mark.parametrize(
    "packet", [gre(0x8847, INNER), gre(0x6558, ethernet(bytes(28), 0x0806)), gre(0x6558, b"short"), b"\0\0", b""]
)
def test_where_there_is_no_ip_inside_there_is_none_to_find(packet: bytes) -> None:
    assert Gre().unwrap(packet) == b""


def test_a_short_packet_in_a_padded_frame_counts() -> None:
    padded = gre(0x6558, ethernet(ip4() + bytes(18)))
    evidence = finding(CLIENT(padded), SERVER(padded))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize("cut", [gre(0x0800, INNER)[:-1], gre(0x0800, INNER + b"\0")])
def test_inner_packets_that_do_not_fill_their_datagrams_confirm_nothing(cut: bytes) -> None:
    evidence = finding(CLIENT(cut), SERVER(cut))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


def test_what_is_carried_is_named() -> None:
    for kind, name in ((0x0800, "ipv4"), (0x88BE, "erspan"), (0x8200, "0x8200")):
        evidence = finding(CLIENT(gre(kind, bytes(60))))
        assert evidence
        assert evidence.facts == {"gre.carries": name}


@pytest.mark.parametrize(
    "packet",
    [pptp_data(1, 1, None, PPP_LCP), gre(0x0800, INNER, 0x4000), gre(0x0800, INNER, 0x0008), gre(0x0100, INNER),
     gre(0x0800, b"", 0x2000, b"\0\0")],
)  # fmt: skip
def test_other_versions_and_bits_are_rejected_at_once(packet: bytes) -> None:
    assert list(datagrams(Gre(), [CLIENT(packet)])) == [Opinion.NO]
