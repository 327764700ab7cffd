"""IRC: the client registers, the server speaks with a prefix, in numbers or NOTICE (RFC 2812 sections 2.3, 3.1 and 5).

The one rule: one command of registration alone may be FTP's or POP3's; NICK beside USER, or the server's word, is not.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.detect.text_line import first_letters, first_word_is
from middlebox.evidence import Answer, Opinion

_COMMANDS = frozenset({b"NICK", b"USER", b"PASS", b"CAP", b"JOIN", b"PONG", b"PING", b"PRIVMSG", b"SERVER", b"MODE"})
"The first three are RFC 2812 section 3.1, CAP is IRCv3's; the others come where a connection is joined mid-way."
_SERVER_SAYS = re.compile(
    rb"(?::[!-~]{1,128} )?(?:NOTICE (?:AUTH|\*|[!-~]{1,32}) |CAP [!-~]{1,32} [A-Z]|PING :|ERROR :)"
    rb"|:[!-~]{1,128} (?:\d{3}|JOIN|MODE|PRIVMSG|PONG|NICK|QUIT|PART) "
)
"With the server's name in front, as RFC 2812 section 2.3.1 asks for, or without, as some do before registration."
_SERVER_BEGUN = re.compile(rb"(?::[!-~]{0,128}(?: (?:[A-Z]{0,7}|\d{0,3}))?|[A-Z]{0,6})(?: [!-~]{0,32})?")
_REGISTRATION = re.compile(
    rb"(?:(?:CAP|PASS) [^\r\n]{1,128}\r?\n){0,3}"
    rb"(?:NICK [^\r\n ]{1,64}\r?\n(?:USER [^\r\n]{1,256}|JOIN #[^\r\n]{1,64})\r?\n"
    rb"|USER [^\r\n]{1,256}\r?\nNICK [^\r\n ]{1,64}\r?\n)",
    re.IGNORECASE,
)


def _is_server(data: bytes) -> Fit:
    return True if _SERVER_SAYS.match(data) else None if _SERVER_BEGUN.fullmatch(data[:200]) else False


class Irc(Exchange):
    """Finds the client's registration and what the server says to it."""

    name: ClassVar[str] = "irc"
    protocols: ClassVar[tuple[str, ...]] = ("irc",)
    misses: ClassVar[str] = "IRC inside TLS or WebSocket."
    client_begins: ClassVar[bytes] = first_letters(_COMMANDS) + b": "
    server_begins: ClassVar[bytes] = b":NCPE"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A command of registration beside a server's message."""
        asked, answered = first_word_is(client.lstrip(b" "), _COMMANDS), _is_server(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            return self.confirmed("a server's message beside a command of registration")
        if asked and _REGISTRATION.match(client):
            return self.probable("nickname and user, as IRC registers them")
        if answered and server.startswith(b":"):
            return self.probable("a message with a server's name in front")
        return Opinion.MORE
