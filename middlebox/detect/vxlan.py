"""VXLAN: an Ethernet frame, or with the Generic Protocol Extension an IP packet, behind eight bytes.

The one rule: every reserved bit is zero, and `confirmed` needs a whole packet inside.
Sources: RFC 7348 section 5; draft-ietf-nvo3-vxlan-gpe section 3; draft-smith-vxlan-group-policy section 2.1.
"""

from typing import ClassVar

from middlebox.detect.base import UDP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.inner_packet import ETHERNET, IPV4, IPV6, frame_type, ip_packet, is_whole
from middlebox.evidence import Confidence

_HEADER_BYTES = 8
_VALID, _NEXT_PROTOCOL, _GROUP = 0x08, 0x04, 0x80
"Flags: the network identifier is valid (all kinds), a next protocol is given (GPE), a group is given (group policy)."
_FLAGS = frozenset({_VALID, _VALID | _NEXT_PROTOCOL, _VALID | _GROUP})
_GPE_KINDS = {1: IPV4, 2: IPV6, 3: ETHERNET}
"Next protocols of the Generic Protocol Extension. 4, NSH, is not read."
_GROUP_FLAGS = 0x48
"Of the group policy's second byte: don't learn, and policy applied."
_LEAST_ETHERTYPE, _MOST_LENGTH = 0x0600, 1500
"IEEE 802.3 section 3.2.6: what is less than the first is a length, as spanning tree and its like have it."


def _kind(data: bytes) -> int:
    """EtherType of what follows the header, 0 if this is no VXLAN header."""
    if len(data) < _HEADER_BYTES or data[0] not in _FLAGS or data[7]:
        return 0
    if data[0] & _NEXT_PROTOCOL:
        return 0 if data[1] or data[2] else _GPE_KINDS.get(data[3], 0)
    if data[0] & _GROUP:
        return ETHERNET if not data[1] & ~_GROUP_FLAGS else 0
    return ETHERNET if data[1:4] == b"\x00\x00\x00" else 0


class Vxlan(Encapsulation):
    """Recognises VXLAN by its header and the whole packet behind it."""

    __slots__ = ()

    name: ClassVar[str] = "vxlan"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("vxlan",)
    client_begins: ClassVar[bytes] = bytes(_FLAGS)
    server_begins: ClassVar[bytes] = client_begins
    misses: ClassVar[str] = "VXLAN whose frames are encrypted (IPsec, MACsec) or carry network service headers."

    def look(self, data: bytes, size: int) -> Found | None:
        """Header first: it rules out nearly everything."""
        kind = _kind(data)
        if not kind:
            return None
        inner = data[_HEADER_BYTES:]
        if is_whole(kind, inner, size - _HEADER_BYTES):
            return Confidence.CONFIRMED, "a VXLAN header, and behind it one whole packet"
        if kind == ETHERNET and _is_plausible_frame(inner, size - _HEADER_BYTES):
            return Confidence.PROBABLE, "a VXLAN header, and behind it what looks like an Ethernet frame"
        return None

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet in the frame."""
        return ip_packet(_kind(data), data[_HEADER_BYTES:])


def _is_plausible_frame(frame: bytes, size: int) -> bool:
    """Whether the addresses and the type of a frame could be real, though what follows was cut off or is unknown."""
    kind, at = frame_type(frame)
    if not kind or frame[6] & 1 or frame[6:12] == bytes(6) or frame[:6] == bytes(6):
        return False
    if kind <= _MOST_LENGTH:
        return kind <= size - at
    return kind >= _LEAST_ETHERTYPE and (kind in _KNOWN or len(frame) < size)


_KNOWN = frozenset({0x8847, 0x8848, 0x8863, 0x8864, 0x88CC, 0x88E5, 0x888E, 0x8809, 0x22F3, 0x9000})
"MPLS, PPPoE, LLDP, MACsec, 802.1X, slow protocols, TRILL, loopback test (IANA, IEEE 802 Numbers)."
