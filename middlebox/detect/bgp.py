"""BGP-4 (RFC 4271 section 4).

The one rule: sixteen bytes of ones, a length and a type begin each message; `confirmed` needs that from both sides.
"""

from typing import ClassVar

from middlebox.detect.paired import Paired

_MARKER = b"\xff" * 16
_HEADER_BYTES = 19
_LENGTHS = {1: range(29, 4097), 2: range(23, 65536), 3: range(21, 65536), 4: range(19, 20), 5: range(19, 65536)}
"By type: open, update, notification, keepalive, route refresh. Extended messages reach 65535 (RFC 8654)."


class Bgp(Paired):
    """Recognises BGP sessions."""

    __slots__ = ()

    name: ClassVar[str] = "bgp"
    protocols: ClassVar[tuple[str, ...]] = ("bgp",)
    client_begins: ClassVar[bytes] = _MARKER[:1]
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "a BGP header"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first header."""
        marker = data[: len(_MARKER)]
        if marker != _MARKER[: len(marker)]:
            return False
        if len(data) < _HEADER_BYTES:
            return None
        return data[16] << 8 | data[17] in _LENGTHS.get(data[18], ())
