"""Finger: one line from the client, and the table with which servers have answered since 4.3BSD (RFC 1288 section 2).

The one rule: the query may be anything, so the answer must be that table.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_QUERY = re.compile(rb"[ -~]{0,300}\r?\n")
_QUERY_BEGUN = re.compile(rb"[ -~]{0,300}\r?")
_TABLE = re.compile(
    rb"\s{0,8}(?:Login(?: name)?: [!-~]{1,64}\s{1,40}(?:Name|In real life): |Login {2,12}Name {2,40}(?:Tty|TTY) )"
)
"One user, in the forms of BSD and System V, or the list of all."
_TABLE_BEGUN = re.compile(rb"\s{0,8}(?:Log[ -~\t]{0,140})?|\s{0,8}Lo?")


class Finger(Exchange):
    """Finds the table that answers a line."""

    name: ClassVar[str] = "finger"
    protocols: ClassVar[tuple[str, ...]] = ("finger",)
    misses: ClassVar[str] = "Servers that answer in words of their own."
    client_begins: ClassVar[bytes] = bytes(range(0x20, 0x7F)) + b"\r\n"
    server_begins: ClassVar[bytes] = b"\r\n \tL"
    patience: ClassVar[int] = 1024

    def judge(self, client: bytes, server: bytes) -> Answer:
        """One line, then the table."""
        if not (_QUERY.fullmatch(client) or (not server and _QUERY_BEGUN.fullmatch(client))):
            return Opinion.NO
        if _TABLE.match(server):
            return self.confirmed("a table of users answers a line")
        return Opinion.MORE if _TABLE_BEGUN.fullmatch(server) else Opinion.NO
