"""Memcached: a text command and the word that answers it, or binary headers with the same opcode and opaque value.

The one rule: the answer must be one of those the command can have. Source: memcached's doc/protocol.txt and
protocol-binary.
"""

import re
from struct import Struct
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT
from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import first_word_is
from middlebox.evidence import Answer, Opinion

_COMMAND = re.compile(
    rb"(?:(gets?|gats?) [!-~]|((?:set|add|replace|append|prepend|cas) [!-~]{1,250} \d{1,10} -?\d{1,10} \d{1,8}[ \r])"
    rb"|(stats)[ \r]|(version)\r|(delete|touch) [!-~]|(incr|decr) [!-~]|(m[gsdn]) ?[!-~\r])"
)
_ANSWERS: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        rb"VALUE [!-~]{1,250} \d+ \d+|END\r\n",
        rb"(?:STORED|NOT_STORED|EXISTS|NOT_FOUND)\r\n",
        rb"STAT [!-~]|END\r\n|RESET\r\n",
        rb"VERSION \d",
        rb"(?:DELETED|TOUCHED|NOT_FOUND)\r\n",
        rb"\d{1,20} *\r\n|NOT_FOUND\r\n",
        rb"(?:HD|EN|VA|NS|NF|EX|MN)[ \r]",
    )
)
"What answers each of the groups above."
_STORES = 2
"Group of the commands with five words, which are telling."
_WORDS = frozenset({
    b"GET", b"GETS", b"GAT", b"GATS", b"SET", b"ADD", b"REPLACE", b"APPEND", b"PREPEND", b"CAS", b"STATS", b"VERSION",
    b"DELETE", b"TOUCH", b"INCR", b"DECR", b"MG", b"MS", b"MD", b"MN",
})  # fmt: skip
"The same commands, while they are incomplete."
_LONGEST_COMMAND = 300
"A key has at most 250 bytes."
_ANSWER_BEGUN = re.compile(rb"[A-Z_0-9]{0,11}[ -~]{0,256}\r?")
_HEADER = Struct("!BBHBBHII")
"Magic, opcode, key length, extras length, data type, vbucket or status, body length, opaque; then 8 bytes CAS."
_HEADER_BYTES = 24
_REQUEST, _RESPONSE = 0x80, 0x81
_MAX_OPCODE = 0x4F
_MAX_KEY = 250


class Memcached(Exchange):
    """Finds a command and its answer."""

    name: ClassVar[str] = "memcached"
    protocols: ClassVar[tuple[str, ...]] = ("memcached",)
    misses: ClassVar[str] = "Memcached over UDP, the server's side alone, and the client's but for commands that store."
    client_begins: ClassVar[bytes] = b"\x80acdfgimprstv"
    server_begins: ClassVar[bytes] = b"\x81VENSRODTMHF0123456789"
    patience: ClassVar[int] = 2 * STREAM_LIMIT
    "A value comes with its command, and may have a mebibyte."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Binary or text."""
        if client[:1] == b"\x80" or server[:1] == b"\x81":
            return self._judge_binary(client, server)
        command = _COMMAND.match(client)
        if command is None or command.lastindex is None:
            begun = first_word_is(client, _WORDS) is not False and len(client) < _LONGEST_COMMAND
            return Opinion.MORE if begun and not server and b"\n" not in client else Opinion.NO
        if _ANSWERS[command.lastindex - 1].match(server):
            return self.confirmed("an answer that fits the command")
        if not _ANSWER_BEGUN.fullmatch(server[:300]):
            return Opinion.NO
        return self.probable("a command that stores a value") if command.lastindex == _STORES else Opinion.MORE

    def _judge_binary(self, client: bytes, server: bytes) -> Answer:
        if (client and client[0] != _REQUEST) or (server and server[0] != _RESPONSE):
            return Opinion.NO
        if len(client) < _HEADER_BYTES:
            return Opinion.NO if server else Opinion.MORE
        _, opcode, key, extras, kind, _, body, opaque = _HEADER.unpack_from(client)
        if kind or opcode > _MAX_OPCODE or key > _MAX_KEY or key + extras > body:
            return Opinion.NO
        if len(server) < _HEADER_BYTES:
            return Opinion.MORE
        _, replied, key, extras, kind, _, body, echoed = _HEADER.unpack_from(server)
        fits = replied == opcode and echoed == opaque and not kind and key + extras <= body
        return self.confirmed("a binary response with the request's opcode and opaque value") if fits else Opinion.NO
