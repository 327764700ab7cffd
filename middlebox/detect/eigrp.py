"""EIGRP (RFC 7868 section 6.3).

The one rule: version 2, a known operation, and for certainty a checksum that fits.
"""

from typing import ClassVar

from middlebox.detect.icmp import checksum_fits
from middlebox.detect.numbered import Numbered
from middlebox.evidence import Confidence

_HEADER_BYTES, _VERSION = 20, 2
_OPERATIONS = frozenset({1, 2, 3, 4, 5, 6, 10, 11})
_MAX_SUMMED_BYTES = 2048


class Eigrp(Numbered):
    """Names EIGRP."""

    __slots__ = ()

    name: ClassVar[str] = "eigrp"
    transports: ClassVar[tuple[int, ...]] = (88,)
    protocols: ClassVar[tuple[str, ...]] = ("eigrp",)

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """Check the header and the checksum over all of it."""
        if len(data) < _HEADER_BYTES or data[0] != _VERSION or data[1] not in _OPERATIONS:
            return None
        if len(data) == size <= _MAX_SUMMED_BYTES and checksum_fits(data):
            return Confidence.CONFIRMED, f"an EIGRP packet of operation {data[1]} whose checksum fits"
        return Confidence.PROBABLE, f"an EIGRP packet of operation {data[1]}"
