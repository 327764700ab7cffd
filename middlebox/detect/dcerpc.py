"""DCE/RPC over TCP: a request and the answer with the same call ID (The Open Group C706 section 12.6, [MS-RPCE] 2.2.2).

The one rule: version, data representation and fragment length must be valid in both headers, and the kinds fit.
"""

from typing import ClassVar, NamedTuple

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_VERSION = 5
_HEADER_BYTES = 16
_REQUEST, _RESPONSE, _FAULT, _BIND, _BIND_ACK, _BIND_NAK, _ALTER, _ALTER_ANSWER, _AUTH = 0, 2, 3, 11, 12, 13, 14, 15, 16
_ANSWERS = {_REQUEST: (_RESPONSE, _FAULT), _BIND: (_BIND_ACK, _BIND_NAK), _ALTER: (_ALTER_ANSWER, _FAULT)}
"Kinds of messages and of what answers them (C706 section 12.6.4)."
_REPRESENTATIONS = (b"\x10\x00\x00\x00", b"\x00\x00\x00\x00")
"Little-endian or big-endian numbers, ASCII, IEEE floats (C706 section 14.1)."


class _Header(NamedTuple):
    kind: int
    call: bytes


def _read_header(data: bytes) -> _Header | None:
    if len(data) < _HEADER_BYTES:
        if data[0] != _VERSION or (len(data) > 1 and data[1] > 1):
            raise ValueError
        return None
    representation = data[4:8]
    length = int.from_bytes(data[8:10], "little" if representation == _REPRESENTATIONS[0] else "big")
    if data[0] != _VERSION or data[1] > 1 or representation not in _REPRESENTATIONS or length < _HEADER_BYTES:
        raise ValueError
    return _Header(data[2], data[12:16])


class Dcerpc(Exchange):
    """Finds an answer with the request's call ID."""

    name: ClassVar[str] = "dcerpc"
    protocols: ClassVar[tuple[str, ...]] = ("dcerpc",)
    misses: ClassVar[str] = "DCE/RPC inside SMB or HTTP, and its connectionless variant over UDP."
    client_begins: ClassVar[bytes] = bytes((_VERSION,))
    server_begins: ClassVar[bytes] = bytes((_VERSION,))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Headers of both sides."""
        try:
            request = _read_header(client) if client else None
            reply = _read_header(server) if server else None
        except ValueError:
            return Opinion.NO
        if request and request.kind not in _ANSWERS:
            return Opinion.NO
        if reply and reply.kind not in (_RESPONSE, _FAULT, _BIND_ACK, _BIND_NAK, _ALTER_ANSWER):
            return Opinion.NO
        if request and reply:
            if request.call == reply.call and reply.kind in _ANSWERS[request.kind]:
                return self.confirmed("an answer with the request's call ID")
            return self.probable("headers of DCE/RPC both ways")
        return self.probable("a header of DCE/RPC") if request or reply else Opinion.MORE
