"""Redis' RESP: a command, as an array of bulk strings or as a line, and a typed reply (redis.io, RESP specification).

The one rule: a line counts only if it begins with a common command, and as `probable` at most, unless it is PING.
"""

import re
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT
from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import first_word_is
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_ARRAY = re.compile(rb"\*\d{1,7}\r\n\$\d{1,5}\r\n[A-Za-z][A-Za-z0-9._-]{0,31}\r\n")
"The first command, whose first string is its name."
_ARRAY_BEGUN = re.compile(
    rb"(?:\*(?:\d{1,7}(?:\r(?:\n(?:\$(?:\d{1,5}(?:\r(?:\n(?:[A-Za-z][A-Za-z0-9._-]{0,31}\r?)?)?)?)?)?)?)?)?)?"
)
_COMMANDS = frozenset({
    b"AUTH", b"CLIENT", b"COMMAND", b"CONFIG", b"DBSIZE", b"ECHO", b"EXISTS", b"GET", b"HELLO", b"INFO", b"KEYS",
    b"MONITOR", b"PING", b"SELECT", b"SET", b"SUBSCRIBE",
})  # fmt: skip
"Commands that people type (redis.io/commands)."
_REPLY = re.compile(rb"[+\-:$*_#,(!=%~>|][^\r\n\x00]{0,256}\r\n")
"Any type of RESP2 and RESP3 begins with one of these signs and ends its first part with CR LF."
_REPLY_BEGUN = re.compile(rb"(?:[+\-:$*_#,(!=%~>|][^\r\n\x00]{0,256}\r?)?")
_HTTP = b"GET /"
"Far more often a request of HTTP than a key with a slash."
_PONG = b"+PONG\r\n"


class Redis(Exchange):
    """Finds a command and the type of its reply."""

    name: ClassVar[str] = "redis"
    protocols: ClassVar[tuple[str, ...]] = ("redis",)
    misses: ClassVar[str] = "Redis inside TLS, and commands typed as lines that are not common."
    client_begins: ClassVar[bytes] = b"*" + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B))
    server_begins: ClassVar[bytes] = b"+-:$*_#,(!=%~>|"
    patience: ClassVar[int] = 2 * STREAM_LIMIT
    "Clients that load many values write them all before they read."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """An array with a command's name and a typed reply; less for a command in a line."""
        replied = _REPLY.match(server)
        if not replied and not _REPLY_BEGUN.fullmatch(server[:300]):
            return Opinion.NO
        if not client.startswith(b"*"):
            return self._judge_line(client, server) if client else Opinion.MORE
        if not _ARRAY.match(client):
            return Opinion.MORE if _ARRAY_BEGUN.fullmatch(client) else Opinion.NO
        if replied:
            return self.confirmed("a typed reply to a command in an array of strings")
        return self.probable("a command in an array of strings")

    def _judge_line(self, client: bytes, server: bytes) -> Answer:
        if client.startswith(_HTTP):
            return Opinion.NO
        asked = first_word_is(client, _COMMANDS)
        if asked and client.upper().startswith(b"PING") and server.startswith(_PONG):
            return self.confirmed("PONG answers PING")
        if asked and _REPLY.match(server) and not server.startswith(_PONG[: len(server)]):
            return Evidence("redis", Confidence.POSSIBLE, "a typed reply to a line that may be a command")
        return Opinion.NO if asked is False else Opinion.MORE
