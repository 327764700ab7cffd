"""Link-layer frames to IP packets: what stands between a capture's record and the engine's first byte.

Every function takes a frame and answers with the IP packet inside it, or with the reason why there is none:
a short fixed phrase, so that it can be counted. None of them raises, whatever the bytes.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

IPV4, IPV6 = 0x0800, 0x86DD
_ARP = 0x0806
_PPPOE_DISCOVERY, _PPPOE_SESSION = 0x8863, 0x8864
"EtherTypes (IANA, IEEE 802 Numbers)."

_VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200, 0x9300})
"IEEE 802.1Q and 802.1ad tags, and the values that QinQ equipment used before 802.1ad."

_MPLS = frozenset({0x8847, 0x8848})
"MPLS unicast and upstream-assigned labels (RFC 5332 section 3)."

_FIRST_ETHERTYPE = 0x0600
"Below this the field is the length of an IEEE 802.3 frame (RFC 894, IEEE 802.3 section 3.2.6)."

_SNAP = b"\xaa\xaa\x03\x00\x00\x00"
"LLC and SNAP headers that announce an EtherType (RFC 1042)."

_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057
"PPP protocol numbers (RFC 1332 section 2, RFC 5072 section 2)."

_PPP_ADDRESS_AND_CONTROL = b"\xff\x03"
"The HDLC bytes that PPP may leave out (RFC 1662 section 3.1)."

_IPV4_FAMILY = 2
_IPV6_FAMILIES = frozenset({10, 24, 28, 30})
"AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS: the loopback header holds the recording system's number."

_CUT_SHORT = "frame cut short"

_TYPE = struct.Struct("!H")

Unwrapped = bytes | str
"The IP packet, or why there is none."


@dataclass(slots=True, frozen=True)
class LinkLayer:
    """One link type that captures may have (www.tcpdump.org/linktypes.html)."""

    name: str
    unwrap: Callable[[bytes], Unwrapped]


def from_ethernet(frame: bytes) -> Unwrapped:
    """Unwrap an Ethernet frame, with any stack of VLAN tags, MPLS labels or a PPPoE session."""
    return _by_ethertype(frame, 12)


def from_raw_ip(frame: bytes) -> Unwrapped:
    """Answer with the frame itself: the link type has no header."""
    return frame


def from_ppp(frame: bytes) -> Unwrapped:
    """Unwrap a PPP frame, with or without its HDLC address and control bytes."""
    return _by_ppp_protocol(frame, 2 if frame.startswith(_PPP_ADDRESS_AND_CONTROL) else 0)


def from_cisco_hdlc(frame: bytes) -> Unwrapped:
    """Unwrap a Cisco HDLC frame: address, control, EtherType (RFC 1547 section 4.3.1)."""
    return _by_ethertype(frame, 2)


def from_linux_cooked_v1(frame: bytes) -> Unwrapped:
    """Unwrap a frame of the `any` device: 16-byte header that ends in the EtherType."""
    return _by_ethertype(frame, 14)


def from_linux_cooked_v2(frame: bytes) -> Unwrapped:
    """Unwrap a frame of the `any` device: 20-byte header that begins with the EtherType."""
    if len(frame) < 20:
        return _CUT_SHORT
    return _behind_ethertype(frame, _TYPE.unpack_from(frame)[0], 20)


def from_loopback(frame: bytes) -> Unwrapped:
    """Unwrap a BSD loopback frame: the address family as a four-byte number in either byte order."""
    if len(frame) < 4:
        return _CUT_SHORT
    family = min(int.from_bytes(frame[:4], "little"), int.from_bytes(frame[:4], "big"))
    if family == _IPV4_FAMILY or family in _IPV6_FAMILIES:
        return frame[4:]
    return f"address family {family}"


def _by_ethertype(frame: bytes, type_at: int) -> Unwrapped:
    if len(frame) < type_at + 2:
        return _CUT_SHORT
    return _behind_ethertype(frame, _TYPE.unpack_from(frame, type_at)[0], type_at + 2)


def _behind_ethertype(frame: bytes, ethertype: int, offset: int) -> Unwrapped:
    """Unwrap what an EtherType announces; `offset` is the first byte behind it."""
    while ethertype in _VLAN_TAGS or (ethertype < _FIRST_ETHERTYPE and frame.startswith(_SNAP, offset)):
        header_length = 4 if ethertype in _VLAN_TAGS else 8
        offset += header_length
        if len(frame) < offset:
            return _CUT_SHORT
        ethertype = _TYPE.unpack_from(frame, offset - 2)[0]
    if ethertype in (IPV4, IPV6):
        return frame[offset:]
    if ethertype == _PPPOE_SESSION:
        return _by_ppp_protocol(frame, offset + 6)  # version, type, code, session, length (RFC 2516 section 4)
    if ethertype in _MPLS:
        return _below_mpls_labels(frame, offset)
    if ethertype < _FIRST_ETHERTYPE:
        return "IEEE 802.2 frame"
    if ethertype == _ARP:
        return "ARP"
    if ethertype == _PPPOE_DISCOVERY:
        return "PPPoE discovery"
    return f"EtherType 0x{ethertype:04x}"


def _by_ppp_protocol(frame: bytes, offset: int) -> Unwrapped:
    if len(frame) <= offset:
        return _CUT_SHORT
    protocol = frame[offset]
    offset += 1
    if not protocol & 1:  # an odd first byte is a whole compressed protocol number (RFC 1661 section 6.5)
        if len(frame) <= offset:
            return _CUT_SHORT
        protocol = protocol << 8 | frame[offset]
        offset += 1
    if protocol in (_PPP_IPV4, _PPP_IPV6):
        return frame[offset:]
    return f"PPP protocol 0x{protocol:04x}"


def _below_mpls_labels(frame: bytes, offset: int) -> Unwrapped:
    while len(frame) > offset + 4:
        bottom_of_stack = frame[offset + 2] & 1  # RFC 3032 section 2.1
        offset += 4
        if bottom_of_stack:
            # The stack does not say what it carries; IP shows itself by its version (RFC 4928 section 2).
            return frame[offset:] if frame[offset] >> 4 in (4, 6) else "MPLS without IP"
    return _CUT_SHORT


ETHERNET = 1
"The link type that nearly all captures have."

LINK_LAYERS: Mapping[int, LinkLayer] = {
    0: LinkLayer("BSD loopback", from_loopback),
    ETHERNET: LinkLayer("Ethernet", from_ethernet),
    9: LinkLayer("PPP", from_ppp),
    12: LinkLayer("raw IP", from_raw_ip),
    14: LinkLayer("raw IP", from_raw_ip),
    50: LinkLayer("PPP", from_ppp),
    101: LinkLayer("raw IP", from_raw_ip),
    104: LinkLayer("Cisco HDLC", from_cisco_hdlc),
    108: LinkLayer("OpenBSD loopback", from_loopback),
    113: LinkLayer("Linux cooked v1", from_linux_cooked_v1),
    228: LinkLayer("raw IPv4", from_raw_ip),
    229: LinkLayer("raw IPv6", from_raw_ip),
    276: LinkLayer("Linux cooked v2", from_linux_cooked_v2),
}
"Link types that can be read, by number. 12 and 14 are what some systems write for 101."


def supported_link_types() -> str:
    """Name all link types that can be read, for messages."""
    return ", ".join(dict.fromkeys(layer.name for layer in LINK_LAYERS.values()))
