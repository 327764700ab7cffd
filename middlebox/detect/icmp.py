"""ICMP and ICMPv6, which their protocol numbers name: control messages, and echo.

The one rule: the type must be a known one, and where the checksum can be computed (not for ICMPv6, which includes the
addresses) it must fit. What echo may carry besides is for icmp_tunnel to say.
Sources: RFC 792, RFC 4443, IANA's ICMP and ICMPv6 parameters.
"""

import struct
from typing import ClassVar

from middlebox.detect.base import ICMP, ICMPV6, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 4
"Type, code, checksum."
_V4_TYPES = frozenset({0, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 30, 40, 42, 43})
_V6_TYPES = frozenset({1, 2, 3, 4, *range(128, 162), 200, 201})
_LAST_V6_ERROR, _QUOTED_AT = 4, 8
_MAX_SUMMED_BYTES = 2048
"Ours: of longer messages, as a fragmented ping makes them, the checksum is not computed."


def checksum_fits(message: bytes) -> bool:
    """Whether the ones' complement sum over the message is what RFC 1071 asks for."""
    if len(message) % 2:
        message += b"\x00"
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    return total % 0xFFFF == 0 and total > 0


def _quotes_ipv6(message: bytes) -> bool:
    """Whether an error quotes the beginning of an IPv6 packet (RFC 4443 section 2.4 c)."""
    return message[0] <= _LAST_V6_ERROR and len(message) >= _QUOTED_AT + 40 and message[_QUOTED_AT] >> 4 == 6


class Icmp(Detector):
    """Names ICMP and ICMPv6."""

    __slots__ = ()

    name: ClassVar[str] = "icmp"
    transports: ClassVar[tuple[int, ...]] = (ICMP, ICMPV6)
    protocols: ClassVar[tuple[str, ...]] = ("icmp",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Messages of types that are not assigned."

    def feed(self, talk: Conversation) -> Answer:
        """One message is enough."""
        data = talk.data
        if len(data) < _LEAST_BYTES:
            return Opinion.NO
        if data[0] in _V4_TYPES and talk.size <= _MAX_SUMMED_BYTES and len(data) == talk.size and checksum_fits(data):
            return Evidence("icmp", Confidence.CONFIRMED, f"an ICMP message of type {data[0]} whose checksum fits")
        if data[0] in _V6_TYPES and (data[0] not in _V4_TYPES or _quotes_ipv6(data)):
            return Evidence("icmp", Confidence.CONFIRMED, f"an ICMPv6 message of type {data[0]}")
        if data[0] in _V4_TYPES or data[0] in _V6_TYPES:
            return Evidence("icmp", Confidence.PROBABLE, f"an ICMP or ICMPv6 message of type {data[0]}")
        return Opinion.NO
