"""PostgreSQL's protocol 3: a request for encryption or a start-up message, and the server's answer.

The one rule: an answer of one byte counts only after a complete request for encryption, which is eight fixed bytes. TLS
after it keeps this name. Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol", Message Formats.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_TLS_REQUEST, _GSS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"\x00\x00\x00\x08\x04\xd2\x16\x30"
_CANCEL_REQUEST = b"\x00\x00\x00\x10\x04\xd2\x16\x2e"
_YES_NO = b"SNG"
"Answers to a request for encryption; G means that GSSAPI comes."
_VERSION_3 = b"\x00\x03\x00"
"Major version 3, minor versions below 256 (3.0, and 3.2 since PostgreSQL 18)."
_MAX_STARTUP = 10_000
"MAX_STARTUP_PACKET_LENGTH in PostgreSQL's postmaster."
_AUTHENTICATION, _ERROR, _NEGOTIATE = b"R", b"E", b"v"
_MAX_AUTHENTICATION = 1024
"Ours: bytes of a first Authentication message; it names a method, or a few SASL mechanisms."
_MAX_ERROR = 30_000


class Postgresql(Exchange):
    """Finds the client's first request and the server's answer."""

    name: ClassVar[str] = "postgresql"
    protocols: ClassVar[tuple[str, ...]] = ("postgresql",)
    misses: ClassVar[str] = "Connections joined after their start, protocol 2, and TLS without a request before it."
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = b"SNGREv"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The answer that fits the kind of request."""
        head = client[:8]
        if head in (_TLS_REQUEST, _GSS_REQUEST):
            if server and server[0] in _YES_NO:
                return self.confirmed("one letter answers the request for encryption")
            return Opinion.NO if server else self.probable("a request for encryption")
        if head == _CANCEL_REQUEST:
            return Opinion.NO if server else self.probable("a request to cancel")
        if not client:
            return Opinion.MORE if server[1:3] in (b"", b"\x00", b"\x00\x00") else Opinion.NO
        if len(head) < 8:
            known = (_TLS_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST)
            begun = any(request.startswith(head) for request in known) or head[:2] == b"\x00\x00"[: len(head)]
            return Opinion.MORE if begun and not server else Opinion.NO
        length = int.from_bytes(head[:4])
        is_startup = 8 < length <= _MAX_STARTUP and head[4:7] == _VERSION_3 and b"user\x00" in client[8:length]
        if not is_startup:
            begun = head[4:7] == _VERSION_3 and len(client) < length <= _MAX_STARTUP and not server
            return Opinion.MORE if begun else Opinion.NO
        if len(server) < 5:
            return self.probable("a start-up message")
        limit = _MAX_AUTHENTICATION if server[:1] == _AUTHENTICATION else _MAX_ERROR
        fits = server[:1] in (_AUTHENTICATION, _ERROR, _NEGOTIATE) and 8 <= int.from_bytes(server[1:5]) <= limit
        return self.confirmed("the server answers the start-up message") if fits else Opinion.NO
