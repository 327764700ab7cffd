"""OSPF versions 2 and 3 (RFC 2328 appendix A.3, RFC 5340 appendix A.3).

The one rule: version, type and length agree with the packet.
"""

from typing import ClassVar

from middlebox.detect.numbered import Numbered
from middlebox.evidence import Confidence

_LEAST_BYTES = {2: 24, 3: 16}
"Header by version."
_TYPES = range(1, 6)
"Hello, database description, and link state request, update and acknowledgment."
_MOST_TRAILING_BYTES = 1024
"Cryptographic authentication and link-local signalling stand behind the length (RFC 2328 appendix D, RFC 5613)."


class Ospf(Numbered):
    """Names OSPF."""

    __slots__ = ()

    name: ClassVar[str] = "ospf"
    transports: ClassVar[tuple[int, ...]] = (89,)
    protocols: ClassVar[tuple[str, ...]] = ("ospf",)

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """Check the header."""
        least = _LEAST_BYTES.get(data[0], size + 1)
        if len(data) < least or data[1] not in _TYPES:
            return None
        length = data[2] << 8 | data[3]
        if least <= length <= size <= length + _MOST_TRAILING_BYTES:
            return Confidence.CONFIRMED, f"an OSPF version {data[0]} packet of type {data[1]} whose length fits"
        return Confidence.PROBABLE, f"an OSPF version {data[0]} packet of type {data[1]}"
