"""Telnet: option negotiation, one side's request answered by the other about the same option (RFC 854, RFC 855).

The one rule: only an answer about the same option confirms; three bytes that begin with FF are common in anything.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_IAC, _SE = 255, 240
"Interpret as command; end of subnegotiation (RFC 854, TELNET command structure)."
_WILL, _WONT, _DO, _DONT = 251, 252, 253, 254
_FITTING = {_WILL: (_DO, _DONT), _WONT: (_DO, _DONT), _DO: (_WILL, _WONT), _DONT: (_WILL, _WONT)}
"What one side may say about an option after or before the other said this."
_COMMANDS = re.compile(
    rb"(?:\xff[\xfb-\xfe][\x00-\x31\x8a-\x8c\xff]|\xff\xfa[\x00-\x31][^\xff]{0,128}\xff\xf0|\xff[\xf0-\xf9])"
)
"Negotiations of assigned options (IANA, Telnet Options), subnegotiations, and other commands."
_MOST_COMMANDS = 24
"Ours: commands looked at on each side."
_ENOUGH = 2
"Ours: negotiations one after the other that are telling without the other side."


def _negotiations(data: bytes) -> list[tuple[int, int]]:
    """Verb and option of the negotiations with which `data` begins."""
    found, at = [], 0
    for _ in range(_MOST_COMMANDS):
        match = _COMMANDS.match(data, at)
        if match is None:
            break
        if data[at + 1] >= _WILL:
            found.append((data[at + 1], data[at + 2]))
        at = match.end()
    return found


class Telnet(Exchange):
    """Finds an option that both sides negotiate."""

    name: ClassVar[str] = "telnet"
    protocols: ClassVar[tuple[str, ...]] = ("telnet",)
    misses: ClassVar[str] = "Connections without option negotiation, or where text comes before it."
    client_begins: ClassVar[bytes] = b"\xff"
    server_begins: ClassVar[bytes] = b"\xff"
    patience: ClassVar[int] = 512

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The same option, asked for by one side and answered by the other."""
        asked, answered = _negotiations(client), _negotiations(server)
        if (len(client) >= 3 and not asked) or (len(server) >= 3 and not answered):
            return Opinion.NO
        if any((fitting, option) in answered for verb, option in asked for fitting in _FITTING[verb]):
            return self.confirmed("one side answers the other's negotiation of an option")
        if len(asked) >= _ENOUGH or len(answered) >= _ENOUGH:
            return self.probable("negotiations of options, one after the other")
        return Opinion.MORE
