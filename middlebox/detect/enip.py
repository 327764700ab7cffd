"""EtherNet/IP encapsulation (CIP Networks Library volume 2, chapter 2), over TCP or UDP.

The one rule: `confirmed` needs a reply with the request's command and sender context.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP
from middlebox.detect.paired import Paired
from middlebox.evidence import Confidence

_HEADER_BYTES = 24
_COMMANDS = frozenset({0x01, 0x04, 0x63, 0x64, 0x65, 0x66, 0x6F, 0x70, 0x72, 0x73})
_STATUSES = frozenset({0x00, 0x01, 0x02, 0x03, 0x64, 0x65, 0x69})
_REGISTER = b"\x65\x00\x04\x00"
"Register a session, with four bytes of data: how connections over TCP begin."
_MAX_LENGTH = 65511


class Enip(Paired):
    """Recognises EtherNet/IP."""

    __slots__ = ()

    name: ClassVar[str] = "enip"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("enip",)
    client_begins: ClassVar[bytes] = bytes(sorted(_COMMANDS))
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "an EtherNet/IP header of one command"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first header: command, length, session, status, context, options."""
        if data[0] not in _COMMANDS or any(data[1:2]):
            return False
        if len(data) < _HEADER_BYTES:
            return None
        status, options = int.from_bytes(data[8:12], "little"), data[20:24]
        return data[2] | data[3] << 8 <= _MAX_LENGTH and status in _STATUSES and not any(options)

    def alone(self, data: bytes) -> Confidence | None:
        """Only a registration is telling enough; replies, which may have a status, are not."""
        if any(data[8:12]):
            return None
        return Confidence.PROBABLE if data.startswith(_REGISTER) else Confidence.POSSIBLE

    def belong(self, client: bytes, server: bytes) -> bool:
        """Compare command and context."""
        return client[:2] == server[:2] and client[12:20] == server[12:20]
