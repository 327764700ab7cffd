"""RTMP: a handshake of two fixed-size messages, then the command `connect` (Adobe RTMP 1.0 sections 5.2 and 7.2.1.1).

The one rule: random bytes must come back from the other side, or `connect` follow; sizes alone prove nothing.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_VERSION = b"\x03"
_HELLO_BYTES = 1536
"C1, S1, C2 and S2 (section 5.2.3): time, four bytes, 1528 random bytes."
_ECHO = slice(8, _HELLO_BYTES)
"What C2 and S2 repeat of S1 and C1 (section 5.2.4)."
_FIRST_CHUNK_BYTES = 12
"Basic header, time (3), length (3), type, stream (section 5.3.1)."
_COMMAND_TYPE = 0x14
_CONNECT = b"\x02\x00\x07connect"
"AMF0 string (section 7.2.1.1)."
_RELEASE_AT = 5
_RELEASES = (*range(0x20), 0x80)
"""First of the four bytes after the time: zero, or the release of a Flash player that signs its bytes, or 0x80 of those
that imitate one. TPKT, which begins with 3, too, has 0xE0 or 0xF0 here."""
_BEGIN, _SECOND, _AFTER = 1, 1 + _HELLO_BYTES, 1 + 2 * _HELLO_BYTES


class Rtmp(Exchange):
    """Finds the echo of the handshake's random bytes, or the command that follows."""

    name: ClassVar[str] = "rtmp"
    protocols: ClassVar[tuple[str, ...]] = ("rtmp",)
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = "RTMP with encryption (RTMPE, RTMPS) or inside HTTP (RTMPT)."
    client_begins: ClassVar[bytes] = _VERSION
    server_begins: ClassVar[bytes] = _VERSION
    patience: ClassVar[int] = 3 * _AFTER

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The client's random bytes in the server's second message; with signatures in their place, `connect`."""
        if not client or (len(client) > _RELEASE_AT and client[_RELEASE_AT] not in _RELEASES):
            return Opinion.NO
        if len(client) < _SECOND:
            return Opinion.NO if server else Opinion.MORE
        asked, echoed = client[_BEGIN:_SECOND], server[_SECOND:_AFTER]
        if len(echoed) == _HELLO_BYTES and echoed[_ECHO] == asked[_ECHO]:
            return self.confirmed("the server repeats the client's random bytes")
        command = client[_AFTER:]
        if server and command[7:8] == bytes((_COMMAND_TYPE,)) and command[_FIRST_CHUNK_BYTES:].startswith(_CONNECT):
            return self.confirmed("the command connect follows the handshake")
        if len(command) >= _FIRST_CHUNK_BYTES + len(_CONNECT):
            return Opinion.NO
        return Opinion.MORE
