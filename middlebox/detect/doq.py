"""DNS over QUIC, recognised by the protocol that the client asks for in its first message (RFC 9250 section 4.1.1).

The one rule: `confirmed` when the server has answered, which it must not do for a protocol that it does not speak.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_ALPN = "doq"
_DRAFT_ALPN = "doq-i"
"Drafts of RFC 9250 put their number after this."
_LONG_HEADER = 0x80
_NUMBERS_AT = 5
"Version-independent: a byte of flags, four of version, then two connection ids with their lengths (RFC 8999)."


def _connection_ids(data: bytes) -> tuple[bytes, bytes]:
    """Destination and source of a message with a long header."""
    destination_end = _NUMBERS_AT + 1 + (data[_NUMBERS_AT] if len(data) > _NUMBERS_AT else 0)
    source_end = destination_end + 1 + (data[destination_end] if len(data) > destination_end else 0)
    return data[_NUMBERS_AT + 1 : destination_end], data[destination_end + 1 : source_end]


class Doq(Detector):
    """Looks for DoQ among the protocols that a QUIC client offers."""

    name: ClassVar[str] = "doq"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("doq",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Connections whose first message was not seen."
    builds_on: ClassVar[tuple[str, ...]] = ("quic",)

    __slots__ = ("_client_id", "_version")

    def __init__(self) -> None:
        self._version = self._client_id = b""
        "What the client's first message says; answers are addressed to its number."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the offer, then wait for the server to take it up."""
        offered = talk.facts.get("quic.client_alpns")
        if not isinstance(offered, list):
            return Opinion.NO
        if not all(isinstance(one, str) and (one == _ALPN or one.startswith(_DRAFT_ALPN)) for one in offered):
            return Opinion.NO
        if not talk.from_client:
            version, destination = talk.data[1:5], _connection_ids(talk.data)[0]
            if talk.data[0] < _LONG_HEADER or version != self._version or destination != self._client_id:
                return Opinion.MORE
            reason = "the client offers nothing but DNS over QUIC, and an answer is addressed to it"
            return Evidence("doq", Confidence.CONFIRMED, reason)
        if self._version:
            return Opinion.MORE
        self._version, self._client_id = talk.data[1:5], _connection_ids(talk.data)[1]
        return Evidence("doq", Confidence.PROBABLE, "the client offers nothing but DNS over QUIC", more=True)
