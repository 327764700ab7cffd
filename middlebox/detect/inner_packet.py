"""Whether bytes are one whole IP packet or Ethernet frame: what encapsulations carry, and what makes them certain.

The one rule: an IPv4 packet counts when its header checksum and its length fit, an IPv6 packet when its length fits and
its next header is a known one. Random bytes pass either about once in four thousand million.
"""

import struct

IPV4, IPV6, ARP, MPLS, ETHERNET = 0x0800, 0x86DD, 0x0806, 0x8847, 0x6558
"EtherTypes (IANA, IEEE 802 Numbers). The last one, Transparent Ethernet Bridging, is a whole frame (RFC 1701)."
_VERSIONS = {IPV4: 4, IPV6: 6}
_TAGS = frozenset({0x8100, 0x88A8, 0x9100})
"IEEE 802.1Q and 802.1ad tags, and the older number for an outer tag: four bytes each, the inner EtherType last."
_MAX_TAGS = 3
"Ours: one or two are usual."
_ETHERNET_HEADER_BYTES, _LEAST_FRAME_BYTES = 14, 60
"IEEE 802.3 section 3.2: shorter frames are padded to 60 bytes (64 with the checksum that captures leave out)."
_ARP_HEADER = bytes.fromhex("000108000604")
"Ethernet and IPv4, with their address lengths (RFC 826)."
_NEXT_HEADERS = frozenset({
    0, 1, 2, 4, 6, 17, 41, 43, 44, 46, 47, 50, 51, 58, 59, 60, 88, 89, 94, 97, 98, 103, 108, 112, 115, 132, 135, 136,
    137, 139, 140,
})  # fmt: skip
"Protocol numbers that are seen after an IPv6 header (IANA, Assigned Internet Protocol Numbers)."


def is_whole_ip(packet: bytes, size: int, *, may_be_padded: bool = False) -> bool:
    """Whether `packet`, of which `size` bytes were sent, is one IP packet from its first to its last byte."""
    if len(packet) < 20:
        return False
    version = packet[0] >> 4
    if version == 4:
        header_bytes = (packet[0] & 0x0F) * 4
        if header_bytes < 20 or len(packet) < header_bytes:
            return False
        total = packet[2] << 8 | packet[3]
        words = struct.unpack_from(f"!{header_bytes // 2}H", packet)
        if total < header_bytes or sum(words) % 0xFFFF or not any(words):  # RFC 1071: ones' complement sum
            return False
    elif version == 6:
        if len(packet) < 40 or packet[6] not in _NEXT_HEADERS:
            return False
        total = 40 + (packet[4] << 8 | packet[5])
    else:
        return False
    return total == size or (may_be_padded and total < size <= _LEAST_FRAME_BYTES - _ETHERNET_HEADER_BYTES)


def frame_type(frame: bytes) -> tuple[int, int]:
    """EtherType of an Ethernet frame and where what it stands for begins; 0 when the frame is too short."""
    at = _ETHERNET_HEADER_BYTES
    for _ in range(_MAX_TAGS):
        if len(frame) < at:
            return 0, at
        kind = frame[at - 2] << 8 | frame[at - 1]
        if kind not in _TAGS:
            return kind, at
        at += 4
    return 0, at


def is_whole(kind: int, packet: bytes, size: int) -> bool:
    """Whether `packet`, of which `size` bytes were sent, is whole as what the EtherType `kind` says it is."""
    at = 0
    if kind == ETHERNET:
        kind, at = frame_type(packet)
    if kind == ARP:
        return packet[at : at + len(_ARP_HEADER)] == _ARP_HEADER
    version = _VERSIONS.get(kind)
    if version is None or len(packet) <= at or packet[at] >> 4 != version:
        return False
    return is_whole_ip(packet[at:] if at else packet, size - at, may_be_padded=at > 0)


def ip_packet(kind: int, packet: bytes) -> bytes:
    """The IP packet in what the EtherType `kind` stands for; empty when there is none."""
    if kind == ETHERNET:
        kind, at = frame_type(packet)
        packet = packet[at:]
    return packet if kind in (IPV4, IPV6) else b""
