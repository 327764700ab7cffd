"""IGMP, which its protocol number names: hosts join and leave multicast groups.

The one rule: a known type, and a checksum that fits.
Sources: RFC 1112, RFC 2236, RFC 3376 section 4; IANA's IGMP type numbers.
"""

from typing import ClassVar

from middlebox.detect.base import IGMP, Conversation, Detector
from middlebox.detect.icmp import checksum_fits
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 8
_TYPES = frozenset({0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x1E, 0x1F, 0x22, 0x30, 0x31, 0x32, *range(0xFC, 0x100)})
"Query, reports, leave; DVMRP, PIM version 1, tracing and RGMP (RFC 3488), which share the number."
_MAX_SUMMED_BYTES = 2048


class Igmp(Detector):
    """Names IGMP."""

    __slots__ = ()

    name: ClassVar[str] = "igmp"
    transports: ClassVar[tuple[int, ...]] = (IGMP,)
    protocols: ClassVar[tuple[str, ...]] = ("igmp",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Messages of types that are not assigned."

    def feed(self, talk: Conversation) -> Answer:
        """One message is enough."""
        data = talk.data
        if len(data) < _LEAST_BYTES or data[0] not in _TYPES:
            return Opinion.NO
        if len(data) == talk.size <= _MAX_SUMMED_BYTES and checksum_fits(data):
            return Evidence("igmp", Confidence.CONFIRMED, f"an IGMP message of type {data[0]:#04x} whose checksum fits")
        return Evidence("igmp", Confidence.PROBABLE, f"an IGMP message of type {data[0]:#04x}")
