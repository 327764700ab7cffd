"""Frames of every link type, and frames that are not what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.shells.link import LINK_LAYERS, supported_link_types
from tests.shells.capture_files import MAC_ADDRESSES, ethernet, udp_packet

IPV4 = udp_packet(b"four")
IPV6 = udp_packet(b"six", client="2001:db8:1::2", server="2001:db8:2::2")
VLAN = b"\x81\x00\x00\x05"
SERVICE_VLAN = b"\x88\xa8\x00\x07"
PPPOE = b"\x11\x00\x00\x01\x00\x20"

FRAMES = [
    pytest.param(1, ethernet(IPV4), IPV4, id="Ethernet"),
    pytest.param(1, ethernet(IPV6), IPV6, id="Ethernet IPv6"),
    pytest.param(1, ethernet(IPV4, VLAN), IPV4, id="VLAN"),
    pytest.param(1, ethernet(IPV6, SERVICE_VLAN, VLAN), IPV6, id="QinQ"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x64" + PPPOE + b"\x00\x21" + IPV4, IPV4, id="PPPoE"),
    pytest.param(1, MAC_ADDRESSES + VLAN + b"\x88\x64" + PPPOE + b"\x00\x57" + IPV6, IPV6, id="PPPoE in a VLAN"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x64" + PPPOE + b"\x21" + IPV4, IPV4, id="PPPoE, protocol compressed"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x47" + b"\0\0\0\x40" + b"\0\0\x11\x40" + IPV4, IPV4, id="two MPLS labels"),
    pytest.param(1, MAC_ADDRESSES + b"\x00\x50\xaa\xaa\x03\0\0\0\x08\x00" + IPV4, IPV4, id="802.3 with SNAP"),
    pytest.param(0, b"\x02\0\0\0" + IPV4, IPV4, id="loopback, little endian"),
    pytest.param(0, b"\0\0\0\x02" + IPV4, IPV4, id="loopback, big endian"),
    pytest.param(0, b"\x1e\0\0\0" + IPV6, IPV6, id="loopback of macOS"),
    pytest.param(108, b"\0\0\0\x18" + IPV6, IPV6, id="loopback of OpenBSD"),
    pytest.param(9, b"\xff\x03\x00\x21" + IPV4, IPV4, id="PPP"),
    pytest.param(9, b"\x00\x57" + IPV6, IPV6, id="PPP without address and control"),
    pytest.param(104, b"\x0f\x00\x08\x00" + IPV4, IPV4, id="Cisco HDLC"),
    pytest.param(113, b"\0\0\0\x01\0\x06" + bytes(8) + b"\x08\x00" + IPV4, IPV4, id="Linux cooked v1"),
    pytest.param(113, b"\0\0\0\x01\0\x06" + bytes(8) + VLAN + b"\x86\xdd" + IPV6, IPV6, id="Linux cooked v1, VLAN"),
    pytest.param(276, b"\x86\xdd" + bytes(18) + IPV6, IPV6, id="Linux cooked v2"),
    *(pytest.param(number, IPV4, IPV4, id=f"raw IP {number}") for number in (12, 14, 101, 228)),
    pytest.param(229, IPV6, IPV6, id="raw IPv6"),
]

NOT_IP = [
    pytest.param(1, MAC_ADDRESSES + b"\x08\x06" + bytes(28), "ARP", id="ARP"),
    pytest.param(1, MAC_ADDRESSES + VLAN + b"\x08\x06" + bytes(28), "ARP", id="ARP in a VLAN"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\xcc" + bytes(28), "EtherType 0x88cc", id="LLDP"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x63" + PPPOE, "PPPoE discovery", id="PPPoE discovery"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x64" + PPPOE + b"\xc0\x21", "PPP protocol 0xc021", id="LCP"),
    pytest.param(1, MAC_ADDRESSES + b"\x00\x26\x42\x42\x03", "IEEE 802.2 frame", id="spanning tree"),
    pytest.param(1, MAC_ADDRESSES + b"\x88\x47\0\0\x11\x40" + bytes(20), "MPLS without IP", id="pseudowire"),
    pytest.param(1, MAC_ADDRESSES + VLAN[:3], "frame cut short", id="half a VLAN tag"),
    pytest.param(1, MAC_ADDRESSES[:7], "frame cut short", id="half a header"),
    pytest.param(0, b"\x07\0\0\0" + IPV4, "address family 7", id="loopback with AppleTalk"),
    pytest.param(113, bytes(15), "frame cut short", id="half a cooked header"),
    pytest.param(276, b"\x08\x00" + bytes(17), "frame cut short", id="half a cooked v2 header"),
]


@pytest.mark.parametrize(("link_type", "frame", "packet"), FRAMES)
def test_ip_packet_is_unwrapped(link_type: int, frame: bytes, packet: bytes) -> None:
    assert LINK_LAYERS[link_type].unwrap(frame) == packet


@pytest.mark.parametrize(("link_type", "frame", "reason"), NOT_IP)
def test_frame_without_ip_gives_the_reason(link_type: int, frame: bytes, reason: str) -> None:
    assert LINK_LAYERS[link_type].unwrap(frame) == reason


@given(st.sampled_from(sorted(LINK_LAYERS)), st.binary(max_size=64))
def test_no_frame_raises(link_type: int, frame: bytes) -> None:
    assert isinstance(LINK_LAYERS[link_type].unwrap(frame), bytes | str)


@pytest.mark.parametrize(("link_type", "frame", "packet"), FRAMES)
def test_frame_cut_anywhere_gives_the_rest_of_the_packet_or_a_reason(
    link_type: int, frame: bytes, packet: bytes
) -> None:
    for length in range(len(frame)):
        unwrapped = LINK_LAYERS[link_type].unwrap(frame[:length])
        assert isinstance(unwrapped, str) or packet.startswith(unwrapped)


def test_endless_tags_end() -> None:
    tags_and_snap = VLAN + b"\x00\x50\xaa\xaa\x03\0\0\0"
    assert LINK_LAYERS[1].unwrap(MAC_ADDRESSES + tags_and_snap * 30_000) == "frame cut short"
    assert LINK_LAYERS[1].unwrap(MAC_ADDRESSES + VLAN * 60_000) == "frame cut short"


def test_supported_link_types_are_named_once() -> None:
    names = supported_link_types().split(", ")
    assert "Ethernet" in names
    assert len(names) == len(set(names))
