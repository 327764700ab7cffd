"""VRRP versions 2 and 3 (RFC 3768 section 5.1, RFC 5798 section 5.1).

The one rule: an advertisement whose count of addresses fits its length.
"""

from typing import ClassVar

from middlebox.detect.numbered import Numbered
from middlebox.evidence import Confidence

_ADVERTISEMENTS = frozenset({0x21, 0x31})
"Version 2 or 3, type 1, which is the only one."
_HEADER_BYTES, _AUTHENTICATION_BYTES = 8, 8
"Version 2 ends with eight bytes for authentication."
_ADDRESS_BYTES = (4, 16)


class Vrrp(Numbered):
    """Names VRRP."""

    __slots__ = ()

    name: ClassVar[str] = "vrrp"
    transports: ClassVar[tuple[int, ...]] = (112,)
    protocols: ClassVar[tuple[str, ...]] = ("vrrp",)

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """Check the header."""
        if len(data) < _HEADER_BYTES or data[0] not in _ADVERTISEMENTS:
            return None
        rest = size - _HEADER_BYTES - (_AUTHENTICATION_BYTES if data[0] >> 4 == 2 else 0)
        if data[3] and rest in [data[3] * length for length in _ADDRESS_BYTES]:
            return Confidence.CONFIRMED, f"a VRRP version {data[0] >> 4} advertisement of {data[3]} addresses"
        return Confidence.PROBABLE, f"a VRRP version {data[0] >> 4} advertisement"
