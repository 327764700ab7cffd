"""MongoDB's wire protocol: a reply whose responseTo is the request's ID (MongoDB manual, "MongoDB Wire Protocol").

The one rule: lengths, numbers and operation codes of both headers must fit each other.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_HEADER = Struct("<IIII")
"Message length, request ID, the ID it responds to, operation code."
_REPLY, _INSERT, _QUERY, _COMMAND, _COMMAND_REPLY, _COMPRESSED, _MESSAGE = 1, 2002, 2004, 2010, 2011, 2012, 2013
_REQUESTS = frozenset({_INSERT, _QUERY, _COMMAND, _COMPRESSED, _MESSAGE})
_REPLIES = frozenset({_REPLY, _COMMAND_REPLY, _COMPRESSED, _MESSAGE})
_MAX_MESSAGE = 48_000_000
"maxMessageSizeBytes, which servers announce."
_TOP_BYTES = (b"", b"\x00", b"\x01", b"\x02")
"Of a length up to that, once it is there."
_NOTHING = (0, 0xFFFF_FFFF)
"What a request responds to."


class Mongodb(Exchange):
    """Finds a request and the reply to its number."""

    name: ClassVar[str] = "mongodb"
    protocols: ClassVar[tuple[str, ...]] = ("mongodb",)
    misses: ClassVar[str] = "MongoDB inside TLS."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Both headers."""
        if len(client) < _HEADER.size:
            return Opinion.MORE if client[3:4] in _TOP_BYTES and not server else Opinion.NO
        length, number, responds_to, operation = _HEADER.unpack_from(client)
        if not _HEADER.size < length <= _MAX_MESSAGE or operation not in _REQUESTS or responds_to not in _NOTHING:
            return Opinion.NO
        if len(server) < _HEADER.size:
            return self.probable("a request")
        length, _, responds_to, operation = _HEADER.unpack_from(server)
        if _HEADER.size < length <= _MAX_MESSAGE and operation in _REPLIES and responds_to == number:
            return self.confirmed("a reply to the request's number")
        return Opinion.NO
