"""Whole packets and frames, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.inner_packet import ARP, ETHERNET, IPV4, IPV6, frame_type, ip_packet, is_whole, is_whole_ip
from tests.detect.samples_overlays import ARP as ARP_REQUEST
from tests.detect.samples_overlays import INNER, INNER6, frame
from tests.packets import ipv4


def test_whole_packets_are_whole() -> None:
    with_options = ipv4("10.0.0.1", "10.0.0.2", 17, bytes(8), options=b"\x94\x04\x00\x00")
    for packet in (INNER, INNER6, with_options):
        assert is_whole_ip(packet, len(packet))


def test_a_packet_of_which_only_the_beginning_was_captured_is_whole() -> None:
    assert is_whole_ip(INNER[:24], len(INNER))
    assert is_whole_ip(INNER6[:40], len(INNER6))


@pytest.mark.parametrize(
    ("why", "packet"),
    [
        ("cut short", INNER[:-1]),
        ("longer than it says", INNER + b"\x00"),
        ("a checksum of zero", INNER[:10] + b"\x00\x00" + INNER[12:]),
        ("another address", INNER[:12] + b"\x0b" + INNER[13:]),
        ("a header of 16 bytes", b"\x44" + INNER[1:]),
        ("a header longer than the packet", b"\x4f" + INNER[1:20]),
        ("version 5", b"\x55" + INNER[1:]),
        ("all zeros", bytes(20)),
        ("IPv6 cut short", INNER6[:-1]),
        ("IPv6 with an unknown next header", INNER6[:6] + b"\xc8" + INNER6[7:]),
        ("IPv6 without a whole header", INNER6[:39]),
        ("nothing", b""),
    ],
)
def test_damaged_packets_are_not_whole(why: str, packet: bytes) -> None:
    assert not is_whole_ip(packet, len(packet)), why


def test_only_frames_may_be_padded_and_only_to_sixty_bytes() -> None:
    short = ipv4("10.0.0.1", "10.0.0.2", 17, bytes(8))
    padded = short + bytes(46 - len(short))
    assert not is_whole_ip(padded, len(padded))
    assert is_whole(ETHERNET, frame(padded), 60)
    assert not is_whole(ETHERNET, frame(padded + b"\x00"), 61)


def test_tags_are_skipped_and_endless_tags_are_no_frame() -> None:
    tag = b"\x00\x07\x81\x00"
    once, endless = frame(b"\x00\x07\x08\x00" + INNER, kind=0x8100), frame(tag * 20, kind=0x8100)
    assert frame_type(once) == (IPV4, 18)
    assert ip_packet(ETHERNET, once) == INNER
    assert frame_type(endless)[0] == 0
    assert frame_type(b"short") == (0, 14)


def test_the_type_must_name_the_version() -> None:
    assert is_whole(ETHERNET, frame(INNER6, kind=IPV6), 14 + len(INNER6))
    assert not is_whole(ETHERNET, frame(INNER6, kind=IPV4), 14 + len(INNER6))
    assert not is_whole(IPV6, INNER, len(INNER))


def test_arp_is_whole_but_no_ip() -> None:
    assert is_whole(ETHERNET, frame(ARP_REQUEST, kind=ARP), 14 + len(ARP_REQUEST))
    assert is_whole(ARP, ARP_REQUEST, len(ARP_REQUEST))
    assert not is_whole(ARP, ARP_REQUEST[:4], 4)
    assert ip_packet(ETHERNET, frame(ARP_REQUEST, kind=ARP)) == b""


@given(st.binary(max_size=80), st.sampled_from([ARP, ETHERNET, IPV4, IPV6, 0]))
def test_any_bytes_get_an_answer(data: bytes, kind: int) -> None:
    assert is_whole(kind, data, len(data)) in (True, False)
    assert isinstance(ip_packet(kind, data), bytes)
