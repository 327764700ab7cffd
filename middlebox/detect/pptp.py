"""The control connection of PPTP over TCP (RFC 2637). Its data has a file of its own, pptp_data.

The one rule: `confirmed` needs a reply that fits the other side's request: start for start, or the same identifier.

Every control message begins with its length, the type 1 and a cookie that no other protocol has (section 1.4).
"""

import struct
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = struct.Struct("!HHIHH")
"Length, PPTP message type, cookie, control type, zero (section 2.1)."
_CONTROL = 1
_COOKIE = 0x1A2B3C4D
_COOKIE_END = 8
_LENGTHS = {1: 156, 2: 156, 3: 16, 4: 16, 5: 16, 6: 20, 7: 168, 8: 32, 9: 220, 10: 24, 11: 28, 12: 16, 13: 148, 14: 40,
            15: 24}  # fmt: skip
"Bytes of each control message by its type (sections 2.1 to 2.15)."
_REPLIES = {1: 2, 3: 4, 5: 6, 7: 8, 9: 10}
"Start, Stop, Echo, Outgoing Call, Incoming Call: request and reply."
_ECHOES = (5, 6)
"Their identifier must be the same (sections 2.5 and 2.6)."
_MAX_MESSAGES = 8
"Control messages read of one direction: a tunnel is set up with four."


class _Side:
    """The control messages that one direction begins with. Every byte is read once."""

    __slots__ = ("_position", "is_foreign", "messages")

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []
        "Type, and the identifier of echoes."
        self.is_foreign = False
        self._position = 0

    def read(self, stream: bytes) -> None:
        """Take in what is new in `stream`, which only ever grows."""
        while not self.is_foreign and len(self.messages) < _MAX_MESSAGES:
            at = self._position
            if len(stream) < at + _HEADER.size:
                prefix = stream[at : at + _COOKIE_END]
                # The header's first bytes tell it from nearly all others before it is whole.
                expected = b"\0" + prefix[1:2] + _CONTROL.to_bytes(2) + _COOKIE.to_bytes(4)
                self.is_foreign = not expected.startswith(prefix)
                return
            length, message_type, cookie, control, zero = _HEADER.unpack_from(stream, at)
            if (message_type, cookie, zero) != (_CONTROL, _COOKIE, 0) or _LENGTHS.get(control) != length:
                self.is_foreign = True
                return
            if len(stream) < at + length:
                return
            identifier = stream[at + _HEADER.size : at + _HEADER.size + 4] if control in _ECHOES else b""
            self.messages.append((control, identifier))
            self._position = at + length


class Pptp(Detector):
    """Finds a control request, then the reply that fits it."""

    name: ClassVar[str] = "pptp"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("pptp",)
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Control connections joined in the middle of a message."

    __slots__ = ("_client", "_given", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Side(), _Side()
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Judge the control messages that both sides began with."""
        self._client.read(talk.client)
        self._server.read(talk.server)
        answer = only_news(self._judge(), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge(self) -> Answer:
        for asking, answering in ((self._client, self._server), (self._server, self._client)):
            for control, identifier in asking.messages:
                if (_REPLIES.get(control), identifier) in answering.messages:
                    reason = "a PPTP control reply answers the other side's request"
                    return Evidence("pptp", Confidence.CONFIRMED, reason)
        said = len(self._client.messages) + len(self._server.messages)
        may_go_on = said < _MAX_MESSAGES and not (self._client.is_foreign or self._server.is_foreign)
        if said:
            return Evidence("pptp", Confidence.PROBABLE, "a PPTP control message", more=may_go_on)
        return Opinion.MORE if may_go_on else Opinion.NO
