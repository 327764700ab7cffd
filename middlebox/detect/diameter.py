"""Diameter over TCP: an answer with the request's identifiers (RFC 6733 section 3).

The one rule: hop-by-hop and end-to-end identifiers must both come back.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_VERSION = 1
_HEADER_BYTES = 20
"Version, length (3), flags, command (3), application, hop-by-hop, end-to-end."
_REQUEST, _RESERVED = 0x80, 0x0F
"Flags (section 3): request; bits that must be 0."
_AVP_HEADER_BYTES = 8
"Code (4), flags, length (3) of the first attribute (section 4.1)."
_AVP_RESERVED = 0x1F
_IDENTIFIERS = slice(12, 20)
_COMMAND = slice(5, 8)


def _is_message(data: bytes) -> Fit:
    if len(data) < _HEADER_BYTES + _AVP_HEADER_BYTES:
        return None
    length, first = int.from_bytes(data[1:4]), int.from_bytes(data[25:28])
    return (
        data[0] == _VERSION
        and length % 4 == 0
        and not data[4] & _RESERVED
        and not data[24] & _AVP_RESERVED
        and _AVP_HEADER_BYTES <= first <= length - _HEADER_BYTES
    )


class Diameter(Exchange):
    """Finds the answer to a request."""

    name: ClassVar[str] = "diameter"
    protocols: ClassVar[tuple[str, ...]] = ("diameter",)
    misses: ClassVar[str] = "Diameter over SCTP or inside TLS."
    client_begins: ClassVar[bytes] = bytes((_VERSION,))
    server_begins: ClassVar[bytes] = bytes((_VERSION,))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Headers of both sides; either may ask first."""
        asked, answered = _is_message(client), _is_message(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            same = client[_IDENTIFIERS] == server[_IDENTIFIERS] and client[_COMMAND] == server[_COMMAND]
            is_answer = (client[4] ^ server[4]) & _REQUEST
            return self.confirmed("an answer with the request's identifiers") if same and is_answer else Opinion.NO
        if (asked and client[4] & _REQUEST) or (answered and server[4] & _REQUEST):
            return self.probable("a request")
        return Opinion.MORE
