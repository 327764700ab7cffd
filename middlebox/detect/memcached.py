"""Memcached: a text command and the word that answers it, or binary headers with the same opcode and opaque value.

The one rule: the answer must be one of those the command can have. Source: memcached's doc/protocol.txt and
protocol-binary.
"""

import re
from struct import Struct
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_COMMAND = re.compile(
    rb"(?:(gets?|gats?) [!-~]|((?:set|add|replace|append|prepend|cas) [!-~]{1,250} \d+ -?\d+ \d+)"
    rb"|(stats)[ \r]|(version)\r|(flush_all)[ \r]|(delete|touch) [!-~]|(incr|decr) [!-~]|(m[gsdn]) ?[!-~\r])"
)
_ANSWERS: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        rb"VALUE [!-~]{1,250} \d+ \d+|END\r\n",
        rb"(?:STORED|NOT_STORED|EXISTS|NOT_FOUND)\r\n",
        rb"STAT [!-~]|END\r\n|RESET\r\n",
        rb"VERSION \d",
        rb"OK\r\n",
        rb"(?:DELETED|TOUCHED|NOT_FOUND)\r\n",
        rb"\d{1,20} *\r\n|NOT_FOUND\r\n",
        rb"(?:HD|EN|VA|NS|NF|EX|MN)[ \r]",
    )
)
"What answers each of the groups above."
_VERBS = re.compile(rb"[a-z_]{0,9}")
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
    misses: ClassVar[str] = (
        "Memcached over UDP, either side alone, and requests longer than a kilobyte without an answer."
    )
    client_begins: ClassVar[bytes] = b"\x80acdfgimprstv"
    server_begins: ClassVar[bytes] = b"\x81VENSRODTMHF0123456789"
    patience: ClassVar[int] = 1024

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Binary or text."""
        if client[:1] == b"\x80" or server[:1] == b"\x81":
            return self._judge_binary(client, server)
        command = _COMMAND.match(client)
        if command is None or command.lastindex is None:
            begun = _VERBS.fullmatch(client) or (b"\n" not in client and len(client) < 300)
            return Opinion.MORE if begun and not server else Opinion.NO
        if _ANSWERS[command.lastindex - 1].match(server):
            return self.confirmed("an answer that fits the command")
        return Opinion.MORE if _ANSWER_BEGUN.fullmatch(server[:300]) else Opinion.NO

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
