"""Nebula, recognised by the index that one side announces in clear and the other addresses.

The one rule: `confirmed` needs that index, or data both ways that keeps its indices while its counters advance.
Layout: nebula, header/header.go (16 bytes: version and type, subtype, two zeros, remote index, counter); the first
message of the handshake carries its protobuf (nebula.proto, NebulaHandshakeDetails) in clear (Noise IX).
"""

from dataclasses import dataclass
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER_BYTES = 16
_VERSION = 1
_HANDSHAKE, _MESSAGE, _RECEIVE_ERROR, _CONTROL = 0, 1, 2, 6
"Message types; lighthouse, test and close lie between."
_MAX_SUBTYPE = 1
_TAG_BYTES = 16
"Of AES-GCM or ChaCha20-Poly1305: every message but handshakes and errors ends with one."
_LEAST_FIRST_BYTES, _LEAST_SECOND_BYTES = _HEADER_BYTES + 64, _HEADER_BYTES + 96
"Two Curve25519 keys; in the second message two tags come on top."
_INITIATOR_INDEX = 2 << 3
"Tag of the field in the protobuf: number 2, a varint."
_MAX_COUNTER_STEP = 1024 * 8
"nebula's replay window is 1024 messages (connection_state.go, ReplayWindow); a larger leap is not one flow's loss."
_EACH_WAY = 2
_LEAST_DIFFERENT_BYTES = 3
"Indices are drawn at random, so their four bytes are hardly ever alike."
_MAX_STRANGERS = 4


def _varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@dataclass(slots=True)
class _Side:
    """What one side has sent."""

    first_message: bytes = b""
    "Its handshake's first message."
    index: bytes = b""
    "To which its messages go."
    counter: int = -1
    in_a_row: int = 0


class Nebula(Detector):
    """Recognises Nebula from its handshake, and from data when the handshake was before our time."""

    __slots__ = ("_given", "_sides", "_strangers")

    name: ClassVar[str] = "nebula"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("nebula",)
    client_begins: ClassVar[bytes] = bytes(range(_VERSION << 4, (_VERSION + 1) << 4))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Flows that hold nothing but a lighthouse's answers to others."

    def __init__(self) -> None:
        self._given: Confidence | None = None
        self._sides = (_Side(), _Side())
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look at one header."""
        data = talk.data
        if len(data) < _HEADER_BYTES or data[0] >> 4 != _VERSION or data[2] or data[3] or data[1] > _MAX_SUBTYPE:
            return self._pass_over()
        kind, index, counter = data[0] & 0x0F, data[4:8], int.from_bytes(data[8:16])
        side, other = self._sides[talk.from_client], self._sides[not talk.from_client]
        if kind == _HANDSHAKE:
            return self._feed_handshake(data, talk.size, index, counter, side, other)
        if kind > _CONTROL or len(set(index)) < _LEAST_DIFFERENT_BYTES or not counter:
            return self._pass_over()
        if kind != _RECEIVE_ERROR and talk.size < _HEADER_BYTES + _TAG_BYTES:
            return self._pass_over()
        if index != side.index or abs(counter - side.counter) > _MAX_COUNTER_STEP:
            side.index, side.counter, side.in_a_row = index, counter, 1
        elif counter > side.counter:
            side.counter = counter
            side.in_a_row += 1
        if side.in_a_row >= _EACH_WAY <= other.in_a_row and side.index != other.index:
            return self._found(Confidence.CONFIRMED, "messages both ways, each with its index and advancing counters")
        if side.in_a_row > _EACH_WAY and not other.in_a_row and self._given is None:
            return self._found(Confidence.PROBABLE, "messages one way, with a constant index and advancing counters")
        return self._go_on(progress=side.in_a_row > 1)

    def _feed_handshake(self, data: bytes, size: int, index: bytes, counter: int, side: _Side, other: _Side) -> Answer:
        if counter == 1 and index == bytes(4) and size >= _LEAST_FIRST_BYTES:
            side.first_message = data
            if self._given is not None:
                return self._go_on(progress=True)
            return self._found(Confidence.PROBABLE, "the first message of a handshake")
        if counter != 2 or index == bytes(4) or size < _LEAST_SECOND_BYTES:
            return self._pass_over()
        announced = bytes((_INITIATOR_INDEX,)) + _varint(int.from_bytes(index))
        if announced in other.first_message:
            return self._found(Confidence.CONFIRMED, "the handshake's answer goes to the index in its first message")
        if self._given is None:
            return self._found(Confidence.PROBABLE, "the second message of a handshake")
        return self._go_on(progress=False)

    def _found(self, confidence: Confidence, reason: str) -> Evidence:
        self._given, self._strangers = confidence, 0
        return Evidence("nebula", confidence, reason, more=confidence is not Confidence.CONFIRMED)

    def _go_on(self, *, progress: bool) -> Opinion:
        if progress:
            self._strangers = 0
            return Opinion.MORE
        self._strangers += 1
        return Opinion.MORE if self._strangers <= _MAX_STRANGERS else Opinion.NO

    def _pass_over(self) -> Opinion:
        """What is no Nebula ends the matter, unless some was seen: hole punching sends single bytes."""
        is_begun = self._given is not None or self._sides[0].index or self._sides[1].index
        return self._go_on(progress=False) if is_begun else Opinion.NO
