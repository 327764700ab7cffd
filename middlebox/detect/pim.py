"""Protocol Independent Multicast, version 2 (RFC 7761 section 4.9).

The one rule: version and type are known, and for certainty the checksum fits, which over IPv6 includes the addresses.
"""

from typing import ClassVar

from middlebox.detect.icmp import checksum_fits
from middlebox.detect.numbered import Numbered
from middlebox.evidence import Confidence

_VERSION, _MAX_TYPE, _REGISTER = 2, 13, 1
_REGISTER_SUMMED_BYTES = 8
"Of a register message only the header is summed (section 4.9)."
_RESERVED_AT, _LEAST_BYTES = 1, 4
_MAX_SUMMED_BYTES = 2048


class Pim(Numbered):
    """Names PIM."""

    __slots__ = ()

    name: ClassVar[str] = "pim"
    transports: ClassVar[tuple[int, ...]] = (103,)
    protocols: ClassVar[tuple[str, ...]] = ("pim",)

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """Check the header, and the checksum where there are no addresses in it."""
        kind = data[0] & 0x0F
        if len(data) < _LEAST_BYTES or data[0] >> 4 != _VERSION or kind > _MAX_TYPE:
            return None
        summed = data[:_REGISTER_SUMMED_BYTES] if kind == _REGISTER else data
        if len(data) == size <= _MAX_SUMMED_BYTES and (checksum_fits(summed) or checksum_fits(data)):
            return Confidence.CONFIRMED, f"a PIM message of type {kind} whose checksum fits"
        return Confidence.PROBABLE, f"a PIM message of type {kind}"
