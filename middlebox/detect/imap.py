"""IMAP: the untagged greeting "* OK" and a tagged command (RFC 9051 sections 7.1 and 6).

The one rule: the command must be one of IMAP's; a tag may be nearly anything. After STARTTLS the name stays.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import first_line
from middlebox.evidence import Answer, Opinion

_TAG = rb"[!$-'+-Z^-z|}~.]{1,32}"
"RFC 9051 section 9, `tag`, of which clients use a few letters and digits; some send a lone dot."
_COMMAND = re.compile(
    _TAG
    + rb" (?:CAPABILITY|NOOP|LOGOUT|STARTTLS|AUTHENTICATE|LOGIN|ID|SELECT|EXAMINE|STATUS|LIST|LSUB|NAMESPACE|ENABLE"
    rb"|UID|FETCH|SEARCH|STORE|IDLE|APPEND)[ \r\n]",
    re.IGNORECASE,
)
_COMMAND_BEGUN = re.compile(rb"(?:" + _TAG + rb"(?: [A-Za-z]{0,12})?)?")
_UNTAGGED = re.compile(
    rb"\* (?:OK|PREAUTH|BYE|CAPABILITY|ID|LIST|LSUB|FLAGS|SEARCH|STATUS|\d{1,10} (?:EXISTS|RECENT|FETCH))[ \r\n]",
    re.IGNORECASE,
)
"A greeting, or what else a server says when the connection is joined mid-way (RFC 9051 section 7)."
_UNTAGGED_BEGUN = re.compile(rb"(?:\*(?: (?:[A-Z]{0,10}|\d{1,10}(?: [A-Z]{0,6})?))?)?", re.IGNORECASE)


class Imap(Exchange):
    """Finds the server's untagged response and the client's tagged command."""

    name: ClassVar[str] = "imap"
    protocols: ClassVar[tuple[str, ...]] = ("imap",)
    misses: ClassVar[str] = "IMAP inside TLS from the first byte (port 993), which is tls."
    client_begins: ClassVar[bytes] = bytes(byte for byte in range(0x21, 0x7F) if byte not in b'"#%()*\\]{')
    server_begins: ClassVar[bytes] = b"*"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A greeting and a command of IMAP."""
        asked, greeted = _COMMAND.match(client), _UNTAGGED.match(server)
        if not asked and not _COMMAND_BEGUN.fullmatch(client[:64]):
            return Opinion.NO
        if not greeted and not _UNTAGGED_BEGUN.fullmatch(server[:32]):
            return Opinion.NO
        if asked and greeted:
            return self.confirmed("an untagged response beside a tagged command")
        return self.probable("the greeting says IMAP") if greeted and b"IMAP" in first_line(server) else Opinion.MORE
