"""OPC UA's binary protocol (OPC 10000-6 section 7.1).

The one rule: each side begins with a message type of its own, and a size that it may have.
"""

from typing import ClassVar

from middlebox.detect.paired import Paired

_HEADER_BYTES = 8
_TYPES = frozenset({b"HEL", b"ACK", b"ERR", b"RHE", b"OPN", b"MSG", b"CLO"})
_CHUNKS = frozenset(b"FCA")
"Final, intermediate, aborted."
_SIZES = range(_HEADER_BYTES, 1 << 24)


class OpcUa(Paired):
    """Recognises OPC UA."""

    __slots__ = ()

    name: ClassVar[str] = "opc_ua"
    protocols: ClassVar[tuple[str, ...]] = ("opc-ua",)
    client_begins: ClassVar[bytes] = b"HAEROMC"
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "an OPC UA message"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first header."""
        if data[0] not in b"HAEROMC":
            return False
        if len(data) < _HEADER_BYTES:
            return None
        return data[:3] in _TYPES and data[3] in _CHUNKS and int.from_bytes(data[4:8], "little") in _SIZES
