"""STUN (RFC 8489) and TURN (RFC 8656) over UDP and TCP.

The one rule: a message counts only when its length and its attributes agree with every byte of it; media,
DTLS and ChannelData that share the flow prove nothing.
"""

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!HHI12s")
"Type, length, magic cookie, transaction id (RFC 8489 section 5)."
_PAIR = Struct("!2H")
"Type and length of an attribute (section 14); number and length of ChannelData (RFC 8656 section 12.4)."
_COOKIE = 0x2112A442
_CLASS_BITS = 0x0110
"The two bits of a message type that hold its class (RFC 8489 section 5)."
_REQUEST, _INDICATION, _SUCCESS, _ERROR = 0x0000, 0x0010, 0x0100, 0x0110
_METHODS = {
    1: "binding", 2: "shared-secret", 3: "allocate", 4: "refresh", 6: "send", 7: "data", 8: "create-permission",
    9: "channel-bind", 10: "connect", 11: "connection-bind", 12: "connection-attempt",
}  # fmt: skip
"RFC 8489 section 18.2 with RFC 3489, RFC 8656 section 18 and RFC 6062 section 6."
_TURN_METHODS = frozenset({3, 4, 6, 7, 8, 9, 10, 11, 12})
_TURN_ATTRIBUTES = frozenset({0x000C, 0x000D, 0x0012, 0x0016, 0x0018, 0x0019, 0x001A, 0x0022})
"CHANNEL-NUMBER, LIFETIME, XOR-PEER-ADDRESS, XOR-RELAYED-ADDRESS and so on (RFC 8656 section 18)."
_CLASSIC_ATTRIBUTES = frozenset(range(0x0001, 0x000C))
"All that RFC 3489 section 11.2 knows, when there was no cookie yet."
_CHANNELS = range(0x4000, 0x8000)
"First two bytes of ChannelData (RFC 8656 section 12); older drafts used the upper half too."
_FRAME = Struct("!H")
"ICE over TCP puts a length before each message (RFC 6544 section 3, RFC 4571 section 2)."
_COOKIE_BYTES = _COOKIE.to_bytes(4)
_MAX_WAITING = 16
"Unanswered requests remembered per flow: agents try a handful of addresses at once."
_MAX_FOREIGN = 8
"Datagrams of other kinds that may come before a flow's STUN is given up: media may start before its checks end."
_MAX_ATTRIBUTES = 128
"Ours: of one message."
_MAX_STREAM_MESSAGES = 64
"STUN messages read of one TCP direction: an allocation with its permissions and channels takes about ten."


@dataclass(slots=True, frozen=True)
class Message:
    """What the detector needs of one STUN message."""

    method: int
    message_class: int
    transaction: bytes
    "Cookie and transaction id: what a response repeats."
    is_classic: bool
    is_turn: bool


def parse_message(data: bytes) -> Message | None:
    """The STUN message that `data` is from its first to its last byte, or None."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, _transaction = _HEADER.unpack_from(data)
    if kind & 0xC000 or length % 4 or _HEADER.size + length != len(data):
        return None
    method = kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    attributes, at = set(), _HEADER.size
    for _ in range(_MAX_ATTRIBUTES):
        if at >= len(data):
            break
        attribute, size = _PAIR.unpack_from(data, at)
        attributes.add(attribute)
        at += _PAIR.size + size + -size % 4
    is_classic = cookie != _COOKIE
    if at != len(data) or (is_classic and (method not in (1, 2) or not attributes <= _CLASSIC_ATTRIBUTES)):
        return None
    is_turn = not is_classic and (method in _TURN_METHODS or not _TURN_ATTRIBUTES.isdisjoint(attributes))
    return Message(method, kind & _CLASS_BITS, data[4:20], is_classic, is_turn)


class _Exchange:
    """The messages of one flow, and the strongest thing they show."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bool, int, bytes], Message] = {}
        self._shown: Message | None = None
        self._strength = (False, False, False)
        "Has the magic cookie, is linked, is TURN."

    @property
    def linked(self) -> bool:
        """Whether a response was seen to repeat its request's transaction id."""
        return self._strength[1]

    def add(self, message: Message, *, from_client: bool) -> None:
        """Take one message. A response is linked when the other side sent the request."""
        key = (message.method, message.transaction)
        request = None
        if message.message_class in (_SUCCESS, _ERROR):
            request = self._waiting.get((not from_client, *key))
        elif message.message_class == _REQUEST and len(self._waiting) < _MAX_WAITING:
            self._waiting[from_client, *key] = message
        is_turn = message.is_turn or (request is not None and request.is_turn)
        strength = (not message.is_classic, request is not None, is_turn)
        if self._shown is None or strength > self._strength:
            self._shown, self._strength = message, strength

    def evidence(self, *, can_go_on: bool) -> Evidence | None:
        """What the messages so far show. A flow that is `stun` may still prove to be `turn`."""
        if self._shown is None:
            return None
        _has_cookie, linked, is_turn = self._strength
        protocol = "turn" if is_turn else "stun"
        method = _METHODS.get(self._shown.method, f"{self._shown.method:#05x}")
        more = can_go_on and not (linked and is_turn)
        if self._shown.is_classic:
            confidence, reason = Confidence.POSSIBLE, f"a well-formed {method} message, but without a magic cookie"
        elif linked:
            confidence, reason = Confidence.CONFIRMED, f"the {method} response repeats the request's transaction id"
        else:
            confidence, reason = Confidence.PROBABLE, f"a well-formed {method} message with the magic cookie"
        return Evidence(protocol, confidence, reason, {"stun.method": method}, more)


class _StreamSide:
    """The messages that one TCP direction begins with. Every byte is read once."""

    __slots__ = ("_position", "ended", "messages")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ended = False
        "Something else follows, or too much of the same."
        self._position = 0

    def read(self, stream: bytes) -> None:
        """Take in what is new in `stream`, which only ever grows."""
        while not self.ended and len(stream) - self._position >= _FRAME.size + _PAIR.size + len(_COOKIE_BYTES):
            at = self._position
            start = at if stream.startswith(_COOKIE_BYTES, at + _PAIR.size) else at + _FRAME.size
            is_stun = stream.startswith(_COOKIE_BYTES, start + _PAIR.size)
            kind, length = _PAIR.unpack_from(stream, start if is_stun else at)
            if is_stun:
                end = start + _HEADER.size + length
                self.ended = start > at and _FRAME.unpack_from(stream, at)[0] != end - start
            else:
                end = at + _PAIR.size + length + -length % 4
                self.ended = kind not in _CHANNELS or not self.messages
            if self.ended or len(stream) < end:
                return
            if is_stun:
                message = parse_message(stream[start:end])
                if message is not None:
                    self.messages.append(message)
                self.ended = message is None or len(self.messages) >= _MAX_STREAM_MESSAGES
            self._position = end


class Stun(Detector):
    """Finds a request, then the response that repeats its transaction id."""

    name: ClassVar[str] = "stun"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("stun", "turn")
    facts: ClassVar[tuple[str, ...]] = ("stun.method",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "STUN inside TLS or DTLS, flows that begin with media, and proof for messages without the magic cookie."
    )

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."
        self._exchange = _Exchange()
        "UDP: what this flow has shown."
        self._foreign = 0
        "UDP: datagrams that were not STUN."
        self._client, self._server = _StreamSide(), _StreamSide()
        "TCP: what each side began with."

    def feed(self, talk: Conversation) -> Answer:
        """UDP: each datagram is one message. TCP: the messages that both sides began with."""
        is_stream = talk.client or talk.server
        found = self._feed_stream(talk.client, talk.server) if is_stream else self._feed_datagram(talk)
        answer = only_news(found, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _feed_datagram(self, talk: Conversation) -> Answer:
        message = parse_message(talk.data)
        if message is not None:
            self._exchange.add(message, from_client=talk.from_client)
            return self._exchange.evidence(can_go_on=True) or Opinion.NO
        self._foreign += 1
        done = self._exchange.linked or self._foreign > _MAX_FOREIGN
        return Opinion.NO if done or self._exchange.evidence(can_go_on=True) is None else Opinion.MORE

    def _feed_stream(self, client: bytes, server: bytes) -> Answer:
        self._client.read(client)
        self._server.read(server)
        messages = [
            (message, side is self._client) for side in (self._client, self._server) for message in side.messages
        ]
        exchange = _Exchange()
        # Requests first: ICE agents ask each other, and which side's bytes came first is not known here.
        for message, sent_by_client in sorted(messages, key=lambda item: item[0].message_class != _REQUEST):
            exchange.add(message, from_client=sent_by_client)
        ended = self._client.ended or self._server.ended
        both_ended = self._client.ended and self._server.ended
        evidence = exchange.evidence(can_go_on=not ended or not (exchange.linked or both_ended))
        return evidence or (Opinion.NO if ended else Opinion.MORE)
