"""POP3: +OK from the server and a command of the client (RFC 1939, RFC 2449, RFC 2595).

The one rule: Redis answers +OK, too, so only commands that Redis lacks count. After STLS the connection keeps this
name.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import first_letters, first_line, first_word_is
from middlebox.evidence import Answer, Opinion

_COMMANDS = frozenset({b"USER", b"APOP", b"CAPA", b"STLS", b"STAT", b"LIST", b"UIDL", b"RETR", b"AUTH", b"QUIT"})
_SHARED = frozenset({b"AUTH", b"QUIT"})
"Redis has them, too (redis.io/commands)."
_MECHANISM = re.compile(
    rb"AUTH(?: (?:PLAIN|LOGIN|NTLM|ANONYMOUS|EXTERNAL|GSSAPI|OAUTHBEARER|XOAUTH2|"
    rb"[A-Z]{4,8}-(?:MD5|SHA-?1|SHA-?256))\b|\r?\n)",
    re.IGNORECASE,
)
"AUTH as RFC 5034 section 4 has it: alone, or with a mechanism's name. After Redis' AUTH comes a password."
_STATUS = re.compile(rb"(?:\+OK|-ERR)[ \r\n]")
_STATUS_BEGUN = re.compile(rb"(?:\+(?:OK?)?|-(?:E(?:RR?)?)?)?")


class Pop3(Exchange):
    """Finds the server's status and the client's command."""

    name: ClassVar[str] = "pop3"
    protocols: ClassVar[tuple[str, ...]] = ("pop3",)
    misses: ClassVar[str] = "POP3 inside TLS from the first byte (port 995), which is tls, and the client's side alone."
    client_begins: ClassVar[bytes] = first_letters(_COMMANDS)
    server_begins: ClassVar[bytes] = b"+-"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A status beside a command that only POP3 has."""
        asked = first_word_is(client, _COMMANDS)
        status = _STATUS.match(server)
        if asked is False or not (status or _STATUS_BEGUN.fullmatch(server)):
            return Opinion.NO
        if asked and first_word_is(client, _SHARED):
            if not first_line(client):
                return Opinion.MORE
            asked = bool(_MECHANISM.match(client)) or b"POP" in first_line(server)
            if not asked:
                return Opinion.MORE if b"\n" not in server else Opinion.NO
        if asked and status:
            return self.confirmed("+OK or -ERR beside a command of mail readers")
        return self.probable("the greeting says POP") if status and b"POP" in first_line(server) else Opinion.MORE
