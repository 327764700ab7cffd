"""Cassandra's native protocol: OPTIONS or STARTUP, and the answer on its stream (native_protocol_v4.spec section 2).

The one rule: version, stream and opcodes must fit each other.
"""

import re
from struct import Struct
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!BBHBI")
"Version, flags, stream, opcode, length."
_VERSIONS = (3, 4, 5)
"1 and 2 have a stream of one byte and are no longer in use."
_RESPONSE = 0x80
_ERROR, _STARTUP, _READY, _AUTHENTICATE, _OPTIONS, _SUPPORTED = 0, 1, 2, 3, 5, 6
_ANSWERS = {_STARTUP: (_ERROR, _READY, _AUTHENTICATE), _OPTIONS: (_ERROR, _SUPPORTED)}
_OPTION = re.compile(rb"\x00[\x01-\x0f]\x00[\x05-\x20][A-Z_]{5,32}\x00", re.DOTALL)
"STARTUP: how many options, and the first one's name (section 4.1.1)."
_LONGEST_OPTION = 37
_MAX_BODY = 1 << 16
"Ours: far more than these messages need."


class Cassandra(Exchange):
    """Finds the first request and its answer."""

    name: ClassVar[str] = "cassandra"
    protocols: ClassVar[tuple[str, ...]] = ("cassandra",)
    misses: ClassVar[str] = "Connections joined after their start, versions 1 and 2, and what is inside TLS."
    client_begins: ClassVar[bytes] = bytes(_VERSIONS)
    server_begins: ClassVar[bytes] = bytes(version | _RESPONSE for version in _VERSIONS)

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Both headers."""
        if len(client) < _HEADER.size:
            return Opinion.NO if len(client) > 1 and client[1] > 0x1F else Opinion.MORE
        _, flags, stream, opcode, length = _HEADER.unpack_from(client)
        if opcode not in _ANSWERS or length > _MAX_BODY or flags > 0x1F or (opcode == _OPTIONS and length):
            return Opinion.NO
        if opcode == _STARTUP and not _OPTION.match(client, _HEADER.size):
            return Opinion.MORE if len(client) < _HEADER.size + _LONGEST_OPTION and not server else Opinion.NO
        if len(server) < _HEADER.size:
            level = Confidence.PROBABLE if opcode == _STARTUP else Confidence.POSSIBLE
            return Evidence("cassandra", level, "a first request", more=True)
        _, _, answered, kind, length = _HEADER.unpack_from(server)
        if answered == stream and kind in _ANSWERS[opcode] and length <= _MAX_BODY:
            return self.confirmed("an answer on the request's stream")
        # An unsupported version is refused on stream 0 with another one.
        return Opinion.NO
