"""FTP's control connection: a reply code beside the client's login (RFC 959 section 5.4, RFC 4217).

The one rule: SMTP greets with the same 220, so the code alone says nothing; the command tells, or the server's own
word. After AUTH TLS the connection keeps this name. Data connections carry nothing but a file.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.text_line import DIGITS, first_letters, first_line, first_word_is, reply_code
from middlebox.evidence import Answer, Opinion

_COMMANDS = frozenset({
    b"USER", b"PASS", b"ACCT", b"AUTH", b"ADAT", b"PBSZ", b"PROT", b"HOST", b"FEAT", b"OPTS", b"CLNT", b"SYST", b"TYPE",
    b"PASV", b"EPSV", b"PORT", b"EPRT", b"CWD", b"CDUP", b"PWD", b"XPWD", b"RETR", b"STOR", b"APPE", b"NLST", b"MLSD",
    b"MLST", b"SIZE", b"MDTM", b"SITE",
})  # fmt: skip
"No other protocol with reply codes has these as the first command (RFC 959, 2228, 2389, 2428, 3659, 7151)."
_OTHERS = frozenset({b"HELP", b"LIST", b"MODE", b"NOOP", b"QUIT", b"STAT"})
"Those that SMTP or NNTP have, too."
_LOGIN = re.compile(
    rb"USER [^\r\n]{1,256}\r?\nPASS [^\r\n]{0,256}\r?\n(?:AUTH|CWD|EPRT|EPSV|FEAT|OPTS|PASV|PORT|PWD|SYST|TYPE)[ \r\n]",
    re.IGNORECASE,
)
"Without the server's side: a login as POP3 has it, too, and then what only FTP has."


class Ftp(Exchange):
    """Finds the server's reply code and the client's command."""

    name: ClassVar[str] = "ftp"
    protocols: ClassVar[tuple[str, ...]] = ("ftp",)
    misses: ClassVar[str] = "Data connections, and FTP inside TLS from the first byte (port 990), which is tls."
    client_begins: ClassVar[bytes] = first_letters(_COMMANDS | _OTHERS)
    server_begins: ClassVar[bytes] = DIGITS

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A command of FTP and any reply; or a greeting that names the protocol and any command."""
        code = reply_code(server)
        asked = first_word_is(client, _COMMANDS)
        line = first_line(server)
        names_itself = b"FTP" in line and b"SMTP" not in line
        if code == b"" or (asked is False and first_word_is(client, _OTHERS) is False):
            return Opinion.NO
        if asked:
            if code:
                return self.confirmed("a reply code beside a file transfer command")
            is_login = _LOGIN.match(client)
            return self.probable("a login, and then a file transfer command") if is_login else Opinion.MORE
        if asked is False and first_word_is(client, _OTHERS) and line:
            named = "the greeting says FTP, and a command of it follows"
            return self.confirmed(named) if names_itself else Opinion.NO
        return self.probable("the greeting says FTP") if names_itself else Opinion.MORE
