"""MySQL and MariaDB: the server's handshake and the client's response to it.

The one rule: lengths and sequence numbers of both packets must fit. After a request for TLS the name stays. Source:
MySQL Internals, "Connection Phase Packets": Protocol::HandshakeV10 and Protocol::HandshakeResponse41.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_HANDSHAKE = re.compile(rb".[\x00\x01]\x00\x00\x0a([!-~][ -~]{1,80})\x00.{4}[^\x00]{8}\x00", re.DOTALL)
"Length below 512, sequence 0, protocol 10, version, connection, eight bytes of salt without zero, a zero."
_HANDSHAKE_BEGUN = re.compile(rb"(?:.(?:[\x00\x01](?:\x00(?:\x00(?:\x0a(?:[!-~][ -~]{0,80}\x00?)?)?)?)?)?)?", re.DOTALL)
_LONGEST_PREFIX = 5 + 82 + 14
_ERROR = re.compile(rb"..\x00\x00\xff.[\x04-\x05\x07]", re.DOTALL)
"Refused at once: an error packet with a code between 1024 and 1535, or of MariaDB."
_RESPONSE_SEQUENCE = b"\x01"
_PROTOCOL_41 = 0x0200
_LEAST_RESPONSE = 32
"Capabilities, the longest packet, a character set, 23 bytes of filler: all that a request for TLS holds."
_LEAST_OLD_RESPONSE = 6
"Capabilities (2), the longest packet (3), an empty name (Protocol::HandshakeResponse320)."
_LONGEST_RESPONSE = 4096
"Ours: with names, an answer to the salt, and attributes of the connection."
_FILLER = bytes(19)
"MariaDB uses the last four of the 23 bytes."


def _is_handshake(data: bytes) -> Fit:
    if _HANDSHAKE.match(data):
        return True
    return None if len(data) < _LONGEST_PREFIX and _is_begun(data) else False


def _is_begun(data: bytes) -> bool:
    end = data.find(b"\x00", 5)
    return _HANDSHAKE_BEGUN.fullmatch(data if end < 0 else data[: end + 1]) is not None


def _is_response(data: bytes) -> Fit:
    if len(data) < 4:
        return None if data[2:3] in (b"", b"\x00") else False
    length = int.from_bytes(data[:3], "little")
    if data[3:4] != _RESPONSE_SEQUENCE or not _LEAST_OLD_RESPONSE <= length <= _LONGEST_RESPONSE:
        return False
    if len(data) < 6:
        return None
    if not int.from_bytes(data[4:6], "little") & _PROTOCOL_41:
        return True  # so old that nothing in it is fixed
    if length < _LEAST_RESPONSE:
        return False
    return None if len(data) < 4 + _LEAST_RESPONSE else data[13:32] == _FILLER


def _is_telling(response: bytes) -> bool:
    """Whether a response, of which nothing contradicts, is long and new enough to be told from other traffic."""
    length, capabilities = int.from_bytes(response[:3], "little"), int.from_bytes(response[4:6], "little")
    return bool(capabilities & _PROTOCOL_41) and len(response) >= 4 + length > 4 + _LEAST_RESPONSE


class Mysql(Exchange):
    """Finds the handshake and its response."""

    name: ClassVar[str] = "mysql"
    protocols: ClassVar[tuple[str, ...]] = ("mysql",)
    misses: ClassVar[str] = "Connections joined after their start, and MySQL's X protocol."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A handshake, and a response to it."""
        if client[3:4] not in (b"", _RESPONSE_SEQUENCE):
            return Opinion.NO
        greeted, answered = _is_handshake(server), _is_response(client)
        if greeted is False or answered is False:
            return Opinion.NO
        if answered and not server:
            if _is_telling(client):
                return self.probable("a response to a handshake of MySQL")
            return Opinion.MORE if len(client) < 4 + int.from_bytes(client[:3], "little") else Opinion.NO
        if greeted and answered:
            return self.confirmed("the client responds to the server's handshake")
        return self.probable("a handshake of MySQL from the server") if greeted else Opinion.MORE
