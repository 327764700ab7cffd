"""SCTP (RFC 9260 section 3), as a transport: what it carries is not looked at.

The one rule: chunks of known types fill the packet.
"""

from typing import ClassVar

from middlebox.detect.numbered import Numbered
from middlebox.evidence import Confidence

_HEADER_BYTES, _CHUNK_HEADER_BYTES = 12, 4
_CHUNK_TYPES = frozenset({*range(16), 0x40, 0x80, 0x81, 0x82, 0x84, 0xC0, 0xC1, 0xC2})
"IANA's chunk types, with those for authentication, forward TSN, padding and reconfiguration."
_MAX_CHUNKS = 64
"Ours: chunks of one packet that are read."


class Sctp(Numbered):
    """Names SCTP."""

    __slots__ = ()

    name: ClassVar[str] = "sctp"
    transports: ClassVar[tuple[int, ...]] = (132,)
    protocols: ClassVar[tuple[str, ...]] = ("sctp",)

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """Walk through the chunks."""
        at, chunks = _HEADER_BYTES, 0
        while at + _CHUNK_HEADER_BYTES <= len(data) and chunks < _MAX_CHUNKS:
            length = data[at + 2] << 8 | data[at + 3]
            if data[at] not in _CHUNK_TYPES or length < _CHUNK_HEADER_BYTES:
                return None
            chunks += 1
            at += length + -length % 4
        if not chunks:
            return None
        if size <= at < size + 4 or chunks == _MAX_CHUNKS:  # the last chunk's padding may be left out
            return Confidence.CONFIRMED, f"{chunks} SCTP chunks fill the packet"
        return Confidence.PROBABLE, "a packet that begins with an SCTP chunk"
