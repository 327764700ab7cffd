"""DNP3: link frames whose checksum is right, from both sides (IEEE 1815-2012 section 9.2).

The one rule: the checksum of the header must be right.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit, begins_with
from middlebox.evidence import Answer

_START = b"\x05\x64"
_HEADER_BYTES = 10
"Start, length, control, destination (2), source (2), checksum (2)."
_CHECKED_BYTES = 8
_LEAST_LENGTH = 5
"Control and addresses are counted (section 9.2.4.1.2)."
_POLYNOMIAL = 0xA6BC
"x^16 + x^13 + x^12 + x^11 + x^10 + x^8 + x^6 + x^5 + x^2 + 1, lowest bit first (section 9.2.4.2)."


def _checksum(header: bytes) -> int:
    rest = 0
    for byte in header:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (_POLYNOMIAL if rest & 1 else 0)
    return rest ^ 0xFFFF


def _is_frame(data: bytes) -> Fit:
    if len(data) < _HEADER_BYTES:
        return begins_with(data[:2], _START) and None
    return (
        data.startswith(_START)
        and data[2] >= _LEAST_LENGTH
        and _checksum(data[:_CHECKED_BYTES]) == int.from_bytes(data[_CHECKED_BYTES:_HEADER_BYTES], "little")
    )


class Dnp3(Exchange):
    """Finds a frame from each side."""

    name: ClassVar[str] = "dnp3"
    protocols: ClassVar[tuple[str, ...]] = ("dnp3",)
    misses: ClassVar[str] = "DNP3 over UDP or inside TLS."
    client_begins: ClassVar[bytes] = _START[:1]
    server_begins: ClassVar[bytes] = _START[:1]

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Either side may begin."""
        return self.weigh(
            _is_frame(client),
            _is_frame(server),
            question="a link frame of DNP3 from the client",
            answer="a link frame of DNP3 from the server",
            link="link frames of DNP3 both ways",
        )
