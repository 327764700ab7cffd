"""DNP3 (IEEE 1815 clause 9), over TCP or UDP.

The one rule: a header counts when its checksum fits; `confirmed` needs one from each side, with addresses exchanged.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP
from middlebox.detect.paired import Paired

_START = b"\x05\x64"
_HEADER_BYTES, _SUMMED_BYTES, _LEAST_LENGTH = 10, 8, 5
_POLYNOMIAL = 0xA6BC
"x^16 + x^13 + x^12 + x^11 + x^10 + x^8 + x^6 + x^5 + x^2 + 1, lowest bit first (clause 9.2.4.3)."


def _checksum(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ _POLYNOMIAL if crc & 1 else crc >> 1
    return ~crc & 0xFFFF


class Dnp3(Paired):
    """Recognises DNP3."""

    __slots__ = ()

    name: ClassVar[str] = "dnp3"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("dnp3",)
    client_begins: ClassVar[bytes] = _START[:1]
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "a DNP3 header whose checksum fits"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first header."""
        start = data[: len(_START)]
        if start != _START[: len(start)]:
            return False
        if len(data) < _HEADER_BYTES:
            return None
        sums = int.from_bytes(data[_SUMMED_BYTES:_HEADER_BYTES], "little") == _checksum(data[:_SUMMED_BYTES])
        return data[2] >= _LEAST_LENGTH and sums

    def belong(self, client: bytes, server: bytes) -> bool:
        """Compare destination and source."""
        return client[4:6] == server[6:8] and client[6:8] == server[4:6]
