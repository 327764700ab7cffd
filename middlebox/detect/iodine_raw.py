"""iodine's raw mode, joined after its login: no DNS any more, but its own four bytes before each message.

The one rule: both sides must send them, for the same user.

Source: iodine 0.7, doc/proto_00000502.txt ("Raw UDP") and src/common.h.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MARK = b"\x10\xd1\x9e"
_COMMANDS = frozenset({0x10, 0x20, 0x30})
"Login, data, ping: high half of the fourth byte."
_USER_BITS = 0x0F
_PATIENCE = 6
"Messages in which both sides must have spoken."


class IodineRaw(Detector):
    """Compares the users that both sides' messages are for."""

    name: ClassVar[str] = "iodine_raw"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("dns-tunnel",)
    client_begins: ClassVar[bytes] = _MARK[:1]
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Flows of which only one side is seen."

    __slots__ = ("_messages", "_users")

    def __init__(self) -> None:
        self._users: dict[bool, int] = {}
        "Of the last message of each side."
        self._messages = 0

    def feed(self, talk: Conversation) -> Answer:
        """Judge one datagram."""
        data = talk.data
        if data[:3] != _MARK or len(data) < 4 or data[3] & ~_USER_BITS not in _COMMANDS:
            return Opinion.NO
        user = data[3] & _USER_BITS
        self._users[talk.from_client] = user
        self._messages += 1
        if self._users.get(not talk.from_client) == user:
            reason = "messages of iodine's raw mode both ways, for the same user"
            return Evidence("dns-tunnel", Confidence.CONFIRMED, reason)
        return Opinion.MORE if self._messages < _PATIENCE else Opinion.NO
