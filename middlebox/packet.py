"""Raw IP bytes to a `Packet`, a `Fragment` or `Undecodable`. Reads headers only and never raises.

A packet may be shorter than its header says (a capture's snap length, a queue that copies only the first
kilobytes of an offloaded packet). That is no fault as long as the headers are whole: `payload` then holds
what was captured and `size` what was sent.
"""

import struct

ICMP, IGMP, TCP, UDP, GRE, ESP, AH, ICMPV6 = 1, 2, 6, 17, 47, 50, 51, 58
"IP protocol numbers (IANA, Assigned Internet Protocol Numbers)."

TRANSPORT_NAMES = {
    ICMP: "ICMP", IGMP: "IGMP", 4: "IP-IN-IP", TCP: "TCP", UDP: "UDP", 41: "IPV6-IN-IP", GRE: "GRE", ESP: "ESP",
    AH: "AH", ICMPV6: "IPV6-ICMP", 132: "SCTP",
}  # fmt: skip
"IP protocol numbers to the names events use. Others are written as their number."

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
"TCP flags (RFC 9293 section 3.1)."

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6 = 0, 43, 44, 60, 135, 139, 140
"IPv6 extension headers whose length is counted in 8 octets (RFC 8200 section 4, RFC 7045 section 4)."

_LENGTH_IN_EIGHT_OCTETS = frozenset({HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6})
_MAX_EXTENSION_HEADERS = 16
"Ours: real packets carry one or two. The bound keeps a crafted chain cheap."

_ECHO = frozenset({(ICMP, 8), (ICMP, 0), (ICMPV6, 128), (ICMPV6, 129)})
"Echo request and reply (RFC 792, RFC 4443): their identifier tells one ping from another."

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBB")
_PORTS = struct.Struct("!HH")


class Packet:
    """One decoded packet. Addresses are raw bytes: 4 for IPv4, 16 for IPv6."""

    __slots__ = (
        "acknowledgment", "destination", "destination_port", "flags", "key", "length", "payload", "protocol",
        "reverse_key", "sequence", "size", "source", "source_port",
    )  # fmt: skip

    protocol: int
    "IP protocol number of what follows the last IP header."
    source: bytes
    destination: bytes
    source_port: int
    "0 where the transport has no ports."
    destination_port: int
    payload: bytes
    "What follows the TCP or UDP header; for other transports what follows the IP header. As far as captured."
    size: int
    "Length of the payload on the wire, at least len(payload)."
    length: int
    "Length of the whole IP packet on the wire."
    flags: int
    "TCP flags, 0 for other transports."
    sequence: int
    acknowledgment: int
    key: bytes
    "The flow as seen from the sender: protocol, addresses, ports. See `flow_key`."
    reverse_key: bytes
    "The flow as seen from the receiver."


class Fragment:
    """One fragment of an IP packet, to be put together by `middlebox.fragments`."""

    __slots__ = ("header", "identity", "more", "offset", "payload", "whole")

    identity: tuple[object, ...]
    "What fragments of one packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5)."
    offset: int
    "Position of the payload in the whole packet, in bytes."
    more: bool
    "False for the last fragment."
    payload: bytes
    whole: bool
    "False when the capture holds only a part of the payload."
    header: bytes
    "IPv4: the header. IPv6: the unfragmentable part, with `next header` already set past the fragment header."


class Undecodable:
    """Why a packet could not be read."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason
        "A fixed phrase, so that it can be counted."


def decode(raw: bytes) -> Packet | Fragment | Undecodable:
    """Decode one IP packet, beginning at its IP header."""
    if not raw:
        return Undecodable("empty packet")
    version = raw[0] >> 4
    if version == 4:
        return _decode_ipv4(raw)
    if version == 6:
        return _decode_ipv6(raw)
    return Undecodable("IP version is neither 4 nor 6")


def _decode_ipv4(raw: bytes) -> Packet | Fragment | Undecodable:
    if len(raw) < _IPV4.size:
        return Undecodable("IPv4 header cut short")
    first, _, total, identification, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(raw)
    header_length = (first & 0x0F) * 4
    if total == 0:
        total = len(raw)  # segmentation offload leaves the field empty in captures made on the sender
    if header_length < _IPV4.size or header_length > total:
        return Undecodable("IPv4 header length is wrong")
    if len(raw) < header_length:
        return Undecodable("IPv4 header cut short")
    if fragment & 0x3FFF:  # more-fragments flag or an offset (RFC 791 section 3.1)
        part = Fragment()
        part.identity = (4, source, destination, protocol, identification)
        part.offset = (fragment & 0x1FFF) * 8
        part.more = bool(fragment & 0x2000)
        part.payload = raw[header_length:total]
        part.whole = len(raw) >= total
        part.header = raw[:header_length]
        return part
    return _decode_transport(raw, protocol, source, destination, header_length, total)


def _decode_ipv6(raw: bytes) -> Packet | Fragment | Undecodable:
    if len(raw) < 40:
        return Undecodable("IPv6 header cut short")
    payload_length = raw[4] << 8 | raw[5]
    total = 40 + payload_length if payload_length else len(raw)  # 0: jumbogram (RFC 2675) or offload
    source, destination = raw[8:24], raw[24:40]
    header, header_at, offset = raw[6], 6, 40
    for _ in range(_MAX_EXTENSION_HEADERS):
        if header == FRAGMENT:
            if len(raw) < offset + 8:
                return Undecodable("IPv6 extension header cut short")
            position = raw[offset + 2] << 8 | raw[offset + 3]
            if position & 0xFFF9:  # not an atomic fragment (RFC 6946)
                part = Fragment()
                part.identity = (6, source, destination, raw[offset + 4 : offset + 8])
                part.offset = position & 0xFFF8
                part.more = bool(position & 1)
                part.payload = raw[offset + 8 : total]
                part.whole = len(raw) >= total
                part.header = raw[:header_at] + raw[offset : offset + 1] + raw[header_at + 1 : offset]
                return part
            length = 8
        elif header in _LENGTH_IN_EIGHT_OCTETS:
            if len(raw) < offset + 2:
                return Undecodable("IPv6 extension header cut short")
            length = (raw[offset + 1] + 1) * 8
        else:
            return _decode_transport(raw, header, source, destination, offset, total)
        if len(raw) < offset + length:
            return Undecodable("IPv6 extension header cut short")
        header, header_at, offset = raw[offset], offset, offset + length
    return Undecodable("too many IPv6 extension headers")


def _decode_transport(
    raw: bytes, protocol: int, source: bytes, destination: bytes, offset: int, total: int
) -> Packet | Undecodable:
    packet = Packet()
    packet.protocol = protocol
    packet.source = source
    packet.destination = destination
    packet.source_port = packet.destination_port = 0
    packet.flags = packet.sequence = packet.acknowledgment = 0
    packet.length = total
    discriminator = b""
    end = total
    if protocol == TCP:
        if len(raw) < offset + 20 or total < offset + 20:
            return Undecodable("TCP header cut short")
        (
            packet.source_port,
            packet.destination_port,
            packet.sequence,
            packet.acknowledgment,
            data_offset,
            packet.flags,
        ) = _TCP.unpack_from(raw, offset)
        discriminator = raw[offset : offset + 4]
        header_length = (data_offset >> 4) * 4
        if header_length < 20 or offset + header_length > total:
            return Undecodable("TCP data offset is wrong")
        offset += header_length
    elif protocol == UDP:
        if len(raw) < offset + 8 or total < offset + 8:
            return Undecodable("UDP header cut short")
        packet.source_port, packet.destination_port = _PORTS.unpack_from(raw, offset)
        discriminator = raw[offset : offset + 4]
        length = raw[offset + 4] << 8 | raw[offset + 5]
        if length >= 8:  # 0: jumbogram or offload
            end = min(total, offset + length)
        offset += 8
    elif (protocol in (ICMP, ICMPV6)) and len(raw) >= offset + 6 and (protocol, raw[offset]) in _ECHO:
        discriminator = raw[offset + 4 : offset + 6]
    packet.payload = raw[offset:end]
    packet.size = max(end - offset, 0)
    packet.key = flow_key(protocol, source, destination, discriminator)
    if protocol in (TCP, UDP):
        discriminator = discriminator[2:] + discriminator[:2]
    packet.reverse_key = flow_key(protocol, destination, source, discriminator)
    return packet


def flow_key(protocol: int, source: bytes, destination: bytes, discriminator: bytes) -> bytes:
    """Identify a flow as seen from `source`.

    `discriminator` is the four bytes of source and destination port as they stand in the header, the two of
    an ICMP echo identifier, or empty. For TCP and UDP over IPv4 without options this is the same as
    `raw[9:10] + raw[12:24]`, over IPv6 without extension headers `raw[6:7] + raw[8:44]`: the engine's fast
    path relies on it, and a test holds it to that.
    """
    return bytes((protocol,)) + source + destination + discriminator
