"""NNTP: the greeting 200 or 201 and a command of news readers or news servers (RFC 3977 section 5.1, RFC 4643, 4644).

The one rule: FTP and SMTP have the same shape, so only commands that they lack count.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import DIGITS, first_letters, first_line, first_word_is, reply_code
from middlebox.evidence import Answer, Opinion

_COMMANDS = frozenset({
    b"MODE", b"AUTHINFO", b"CAPABILITIES", b"GROUP", b"LISTGROUP", b"LIST", b"ARTICLE", b"HEAD", b"BODY", b"STAT",
    b"NEWGROUPS", b"NEWNEWS", b"OVER", b"XOVER", b"HDR", b"XHDR", b"IHAVE", b"CHECK", b"TAKETHIS", b"POST", b"DATE",
    b"HELP", b"QUIT",
})  # fmt: skip
_OWN = frozenset({b"AUTHINFO", b"CAPABILITIES", b"GROUP", b"LISTGROUP", b"IHAVE", b"TAKETHIS", b"XOVER", b"NEWNEWS"})
"Commands that no other protocol with reply codes has."
_GREETINGS = frozenset({b"200", b"201"})
"Posting allowed or not (RFC 3977 section 5.1.1). FTP and SMTP never greet with these."


class Nntp(Exchange):
    """Finds the server's greeting and the client's command."""

    name: ClassVar[str] = "nntp"
    protocols: ClassVar[tuple[str, ...]] = ("nntp",)
    misses: ClassVar[str] = "NNTP inside TLS, and servers that refuse with 400 or 502 before a command."
    client_begins: ClassVar[bytes] = first_letters(_COMMANDS)
    server_begins: ClassVar[bytes] = DIGITS

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Any command after a greeting of news, or a command of its own beside any reply."""
        code, asked = reply_code(server), first_word_is(client, _COMMANDS)
        if code == b"" or asked is False:
            return Opinion.NO
        if asked and code and (code in _GREETINGS or first_word_is(client, _OWN)):
            return self.confirmed("a reply code beside a command of news readers")
        if asked and code:
            return Opinion.NO
        return self.probable("the greeting says NNTP") if b"NNTP" in first_line(server) else Opinion.MORE
