"""GRE version 0 over IP (protocol 47), alone or with the packets it carries in clear: IP, Ethernet, mirrored frames.

The one rule: the IP protocol number with a header that adds up makes it probable; `confirmed` needs both directions to
carry inner packets that fill their datagrams to the byte.

Layout: RFC 2784 and RFC 2890 (header), RFC 1701 (older senders), RFC 7637 section 3.2 (Ethernet),
draft-foschiano-erspan-03 (ERSPAN). Version 1 belongs to PPTP.
"""

import struct
from typing import ClassVar, NamedTuple

from middlebox.detect.base import GRE, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = struct.Struct("!HH")
"Flags with version, and protocol type."
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE = 0x8000, 0x4000, 0x2000, 0x1000
_FORBIDDEN = 0x4FFF
"Routing (obsolete), strict source route, recursion control, reserved bits and the version: all zero."
_LEAST_PROTOCOL_TYPE = 0x0600
"Protocol types are Ethernet types (RFC 2784 section 2.4); smaller numbers are lengths. NHRP has 2001."
IPV4_TYPE, IPV6_TYPE = 0x0800, 0x86DD
_ETHERNET, _ERSPAN_2, _ERSPAN_3 = 0x6558, 0x88BE, 0x22EB
_VLANS = frozenset({0x8100, 0x88A8})
_ETHERNET_BYTES, _VLAN_BYTES, _MAX_VLANS = 14, 4, 2
_LEAST_ETHERNET_PAYLOAD = 46
"Shorter packets are padded to this (IEEE 802.3 section 3.2.8)."
_ERSPAN_2_BYTES, _ERSPAN_3_BYTES, _ERSPAN_3_OPTION = 8, 12, 8
_NAMES = {
    IPV4_TYPE: "ipv4", IPV6_TYPE: "ipv6", _ETHERNET: "ethernet", _ERSPAN_2: "erspan", _ERSPAN_3: "erspan-3",
    0x2001: "nhrp", 0x8847: "mpls", 0x8848: "mpls", 0x883E: "wccp", 0x880B: "ppp", 0: "keepalive",
}  # fmt: skip
_MAX_WAITING = 6
"Datagrams in which the other direction may answer: mirrored traffic (ERSPAN) goes one way only."


class GrePacket(NamedTuple):
    """One GRE packet of version 0."""

    kind: int
    "Protocol type."
    payload: int
    "Where what it carries begins."
    has_sequence: bool


def parse_gre(data: bytes) -> GrePacket | None:
    """Read the header at the start of `data`; None when it is not one of version 0."""
    if len(data) < _HEADER.size:
        return None
    flags, kind = _HEADER.unpack_from(data)
    if flags & _FORBIDDEN or (kind < _LEAST_PROTOCOL_TYPE and kind not in _NAMES):
        return None
    start = _HEADER.size + 4 * bool(flags & _CHECKSUM) + 4 * bool(flags & _KEY) + 4 * bool(flags & _SEQUENCE)
    return GrePacket(kind, start, bool(flags & _SEQUENCE)) if start <= len(data) else None


def inner_packet(data: bytes, packet: GrePacket) -> bytes:
    """The IP packet that a GRE packet carries; empty when there is none."""
    kind, at = packet.kind, packet.payload
    if kind == _ERSPAN_3:
        at += _ERSPAN_3_BYTES + _ERSPAN_3_OPTION * bool(data[at + 11 : at + 12] and data[at + 11] & 1)
    elif kind == _ERSPAN_2 and packet.has_sequence:  # type I has no header of its own, and no sequence number
        at += _ERSPAN_2_BYTES
    if kind in (_ETHERNET, _ERSPAN_2, _ERSPAN_3):
        kind = int.from_bytes(data[at + _ETHERNET_BYTES - 2 : at + _ETHERNET_BYTES])
        at += _ETHERNET_BYTES
        for _ in range(_MAX_VLANS):
            if kind not in _VLANS:
                break
            kind = int.from_bytes(data[at + 2 : at + _VLAN_BYTES])
            at += _VLAN_BYTES
    return data[at:] if kind in (IPV4_TYPE, IPV6_TYPE) else b""


def ip_length(packet: bytes) -> int:
    """The length that an IP packet gives itself; 0 when it is none."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return packet[2] << 8 | packet[3]
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        return 40 + (packet[4] << 8 | packet[5])
    return 0


def is_filled(packet: bytes, room: int) -> bool:
    """Whether an IP packet says that it takes all the room it has, or less in an Ethernet frame that was padded."""
    length = ip_length(packet)
    return length == room or 0 < length < room == _LEAST_ETHERNET_PAYLOAD


class Gre(Detector):
    """Recognises GRE by its header, and by inner packets both ways."""

    name: ClassVar[str] = "gre"
    transports: ClassVar[tuple[int, ...]] = (GRE,)
    protocols: ClassVar[tuple[str, ...]] = ("gre",)
    facts: ClassVar[tuple[str, ...]] = ("gre.carries",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Proof where no IP is inside, or only one direction is seen, as of mirrored traffic (ERSPAN)."
    )
    unwraps: ClassVar[bool] = True

    __slots__ = ("_filled", "_given", "_packets")

    def __init__(self) -> None:
        self._given = False
        self._packets = 0
        self._filled = [False, False]
        "Whether the server and the client have sent an IP packet that fills its datagram."

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one GRE packet."""
        packet = parse_gre(talk.data)
        self._packets += 1
        if packet is None:
            return Opinion.MORE if self._given and self._packets < _MAX_WAITING else Opinion.NO
        inner = inner_packet(talk.data, packet)
        if inner and is_filled(inner, talk.size - (len(talk.data) - len(inner))):
            self._filled[talk.from_client] = True
        facts = {"gre.carries": _NAMES.get(packet.kind, f"{packet.kind:#06x}")}
        if all(self._filled):
            return Evidence("gre", Confidence.CONFIRMED, "GRE with whole IP packets inside, both ways", facts)
        if not self._given:
            self._given = True
            return Evidence("gre", Confidence.PROBABLE, "GRE by its IP protocol number and header", facts, more=True)
        return Opinion.MORE if self._packets < _MAX_WAITING else Opinion.NO

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet inside, out of its Ethernet frame where there is one."""
        packet = parse_gre(data)
        return inner_packet(data, packet) if packet else b""
