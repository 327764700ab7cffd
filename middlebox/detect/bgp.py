"""BGP-4: messages behind a marker of sixteen ones, from both sides (RFC 4271 section 4.1).

The one rule: marker, length and type of both first messages must be valid.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_MARKER = b"\xff" * 16
_HEADER_BYTES = 19
"Marker, length (2), type."
_MAX_MESSAGE = 65_535
"With the extension of RFC 8654; 4096 before it."
_LEAST_BYTES = {1: 29, 2: 23, 3: 21, 4: 19, 5: 23}
"OPEN, UPDATE, NOTIFICATION, KEEPALIVE (RFC 4271 section 4), ROUTE-REFRESH (RFC 2918): each with its shortest form."


def _is_message(data: bytes) -> Fit:
    if len(data) < _HEADER_BYTES:
        return None if _MARKER.startswith(data[:16]) else False
    least = _LEAST_BYTES.get(data[18])
    return data.startswith(_MARKER) and least is not None and least <= int.from_bytes(data[16:18]) <= _MAX_MESSAGE


class Bgp(Exchange):
    """Finds a message from each side."""

    name: ClassVar[str] = "bgp"
    protocols: ClassVar[tuple[str, ...]] = ("bgp",)
    misses: ClassVar[str] = "BGP inside IPsec, and connections joined within a message."
    client_begins: ClassVar[bytes] = b"\xff"
    server_begins: ClassVar[bytes] = b"\xff"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Either side may begin."""
        return self.weigh(
            _is_message(client),
            _is_message(server),
            question="a message behind BGP's marker from the client",
            answer="a message behind BGP's marker from the server",
            link="messages behind BGP's marker both ways",
        )
