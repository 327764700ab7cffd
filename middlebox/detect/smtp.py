"""SMTP and LMTP: a reply code beside the client's EHLO, HELO or LHLO (RFC 5321 section 3.1, RFC 2033 section 4.1).

The one rule: FTP greets with the same 220, so the code alone says nothing; the command tells, or the server's own word.
After STARTTLS (RFC 3207) the connection keeps this name.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import DIGITS, first_letters, first_line, first_word_is, reply_code
from middlebox.evidence import Answer, Opinion

_COMMANDS = frozenset({b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT"})
"No other protocol with reply codes has these. The last two begin connections that are joined mid-way."
_OTHERS = frozenset({b"AUTH", b"BDAT", b"DATA", b"EXPN", b"HELP", b"NOOP", b"QUIT", b"RSET", b"STARTTLS", b"VRFY"})
"Those of RFC 5321 section 4.1.1, 3030, 3207 and 4954 that other protocols have, too."
_LINE = re.compile(
    rb"(?:(?:EHLO|HELO|LHLO) [!-~]{1,255}|(?:MAIL FROM|RCPT TO): ?[!-~][ -~]{0,500})\r?\n", re.IGNORECASE
)
"Without the server's side: the command with what must follow it."


class Smtp(Exchange):
    """Finds the server's reply code and the client's command."""

    name: ClassVar[str] = "smtp"
    protocols: ClassVar[tuple[str, ...]] = ("smtp",)
    misses: ClassVar[str] = "SMTP inside TLS from the first byte (port 465), which is tls, and its message part alone."
    client_begins: ClassVar[bytes] = first_letters(_COMMANDS | _OTHERS)
    server_begins: ClassVar[bytes] = DIGITS

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A command of SMTP and any reply; or a greeting that names the protocol and any command."""
        code = reply_code(server)
        asked = first_word_is(client, _COMMANDS)
        names_itself = b"SMTP" in first_line(server)
        if code == b"" or (asked is False and first_word_is(client, _OTHERS) is False):
            return Opinion.NO
        if asked:
            if code:
                return self.confirmed("a reply code beside a mail command")
            return self.probable("the client begins with a mail command") if _LINE.match(client) else Opinion.MORE
        if asked is False and first_word_is(client, _OTHERS) and first_line(server):
            named = "the greeting says SMTP, and a command of it follows"
            return self.confirmed(named) if names_itself else Opinion.NO
        return self.probable("the greeting says SMTP") if names_itself else Opinion.MORE
