"""GTP, the tunnels of mobile networks: user packets (GTP-U), control (GTP-C), charging (GTP').

The one rule: the length field ends with the datagram, and `confirmed` needs a whole user packet inside, or an answer
that repeats the number of a question from the other side.
Sources: 3GPP TS 29.281 sections 5.1, 5.2 and 6.1 (GTPv1-U), TS 29.060 sections 6 and 7.1 (GTPv1-C), GSM 09.60 section 6
(version 0), TS 29.274 sections 5.1, 6.1 and 8.2.1 (GTPv2-C), TS 32.295 sections 6.1 and 6.2 (GTP').
"""

from dataclasses import dataclass
from typing import ClassVar

from middlebox.detect.base import INNER_PROTOCOLS, UDP, Conversation, Detector
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 6
"The short header of GTP'."
_USER_PACKET = 255
"Message type G-PDU, in versions 0 and 1."
_V0_BYTES, _V1_BYTES, _V1_OPTIONAL_BYTES, _V2_BYTES, _V2_TUNNEL_BYTES, _PRIME_BYTES = 20, 8, 4, 4, 4, 6
"Header lengths. Version 1's optional fields are there together or not at all."
_V1_TYPES = frozenset({
    *range(1, 8), *range(16, 38), *range(48, 63), 70, *range(96, 106), *range(112, 122), 128, 240, 241, 254, 255,
})  # fmt: skip
"TS 29.060 table 1 and TS 29.281 table 6.1-1."
_PRIME_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 240, 241})
"TS 32.295 table 6.2.2."
_V2_TYPES = frozenset({
    *range(1, 4), *range(25, 29), *range(32, 74), *range(95, 104), *range(128, 143), *range(149, 161), *range(162, 184),
    *range(200, 202), *range(211, 213), *range(231, 240),
})  # fmt: skip
"TS 29.274 table 6.1-1."
_ECHO_REQUEST, _ECHO_RESPONSE = 1, 2
_ODD_PAIRS = frozenset({_ECHO_REQUEST})
"Requests with an odd number whose response has the next one; of the others each request is even."
_V2_ODD_REQUESTS = frozenset({1, *range(95, 104, 2), 149, 151, 153, 155, 157, 159, *range(163, 184, 2), 211, 231, 233})
"Bearer requests, and delete and modify messages that came later (TS 29.274 table 6.1-1)."
_MAX_EXTENSIONS = 4
"Ours: extension headers of one user packet; one (PDU session) is usual."
_MAX_ELEMENTS = 64
"Ours: information elements read of one control message."
_MAX_WAITING = 8
"Requests of one side that wait for their answers. Of more, the oldest is forgotten."
_MAX_STRANGERS = 4
"Datagrams in a row that are no GTP, after one that was."


@dataclass(slots=True, frozen=True)
class Message:
    """What the detector needs of one message."""

    version: str
    kind: int
    number: int
    "Its sequence number, -1 without one."
    start: int
    "Where a user packet begins; for others where the header ends."
    is_strict: bool
    "Other checks than the length have held: elements that fill the message, or fixed bytes."


def parse(data: bytes, size: int) -> Message | None:
    """The message that fills a datagram of `size` bytes, or None."""
    if len(data) < _LEAST_BYTES:
        return None
    version, length = data[0] >> 5, data[2] << 8 | data[3]
    if version == 2:
        return _parse_v2(data, size, length)
    if not data[0] & 0x10:
        if data[0] & 0x0E != 0x0E or data[1] not in _PRIME_TYPES or version > 1:
            return None
        header = _V0_BYTES if version == 0 and not data[0] & 1 else _PRIME_BYTES
        if size != header + length or len(data) < header:
            return None
        return Message("prime", data[1], data[4] << 8 | data[5], header, is_strict=False)
    if version == 1:
        return _parse_v1(data, size, length)
    # Spare bits and bytes are ones in version 0 (GSM 09.60 section 6).
    is_v0 = version == 0 and data[0] & 0x0E == 0x0E and data[9:12] == b"\xff\xff\xff" and data[1] in _V1_TYPES
    if is_v0 and len(data) >= _V0_BYTES and size == _V0_BYTES + length:
        return Message("0", data[1], data[4] << 8 | data[5], _V0_BYTES, is_strict=True)
    return None


def _parse_v1(data: bytes, size: int, length: int) -> Message | None:
    if data[0] & 0x08 or data[1] not in _V1_TYPES or size != _V1_BYTES + length or len(data) < _V1_BYTES:
        return None
    start, number = _V1_BYTES, -1
    if data[0] & 0x07:
        start += _V1_OPTIONAL_BYTES
        if len(data) < start:
            return None
        if data[0] & 0x02:
            number = data[8] << 8 | data[9]
        following = data[11] if data[0] & 0x04 else 0
        for _ in range(_MAX_EXTENSIONS):
            if not following:
                break
            if len(data) <= start or not data[start] or len(data) < start + 4 * data[start]:
                return None
            start += 4 * data[start]
            following = data[start - 1]
    return Message("1", data[1], number, start, is_strict=False)


def _parse_v2(data: bytes, size: int, length: int) -> Message | None:
    has_tunnel = bool(data[0] & 0x08)
    header = _V2_BYTES + _V2_TUNNEL_BYTES + (_V2_TUNNEL_BYTES if has_tunnel else 0)
    end = _V2_BYTES + length
    # A second message may follow in the same datagram (piggybacking, section 5.5.1).
    fits = end < size if data[0] & 0x10 else end == size
    if data[0] & 0x03 or data[1] not in _V2_TYPES or not fits or len(data) < header or end < header:
        return None
    at = header
    for _ in range(_MAX_ELEMENTS):
        if at + 4 > min(end, len(data)):
            break
        at += 4 + (data[at + 1] << 8 | data[at + 2])
    if at > end or (at < end <= len(data)):
        return None
    return Message("2", data[1], int.from_bytes(data[header - 4 : header - 1]), header, is_strict=at == end > header)


def _request_of(message: Message) -> int | None:
    """Type of the request that this message may answer; None if it is no response."""
    odd = _V2_ODD_REQUESTS if message.version == "2" else _ODD_PAIRS
    request = message.kind - 1
    return request if request in odd or (request % 2 == 0 and request >= 4 and message.kind not in odd) else None


class Gtp(Detector):
    """Recognises GTP by user packets that are whole, or by answers that repeat a number."""

    __slots__ = ("_given", "_strangers", "_waiting")

    name: ClassVar[str] = "gtp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("gtp",)
    client_begins: ClassVar[bytes] = bytes(range(0x60))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ("gtp.version", INNER_PROTOCOLS)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Control messages of which only one direction is seen are never certain."
    unwraps: ClassVar[bool] = True

    def __init__(self) -> None:
        self._given: Confidence | None = None
        self._strangers = 0
        self._waiting: dict[tuple[bool, str, int, int], None] = {}

    def feed(self, talk: Conversation) -> Answer:
        """Look at one message."""
        message = parse(talk.data, talk.size)
        if message is None:
            self._strangers += 1
            return Opinion.NO if self._given is None or self._strangers > _MAX_STRANGERS else Opinion.MORE
        self._strangers = 0
        confidence, reason = self._judge(message, talk)
        if self._given is not None and confidence <= self._given:
            return Opinion.MORE
        self._given = confidence
        return Evidence("gtp", confidence, reason, {"gtp.version": message.version}, more=True)

    def _judge(self, message: Message, talk: Conversation) -> tuple[Confidence, str]:
        if message.kind == _USER_PACKET:
            if is_whole_ip(talk.data[message.start :], talk.size - message.start):
                return Confidence.CONFIRMED, "a GTP header, and behind it one whole IP packet"
            return Confidence.POSSIBLE, "a GTP header of a user packet whose length fits"
        request = _request_of(message)
        if (not talk.from_client, message.version, request, message.number) in self._waiting:
            return Confidence.CONFIRMED, f"GTP message {message.kind} repeats the number of the other side's {request}"
        if len(self._waiting) >= _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[talk.from_client, message.version, message.kind, message.number] = None
        if message.is_strict:
            return Confidence.PROBABLE, f"GTP message {message.kind}, whose elements fill it"
        return Confidence.POSSIBLE, f"GTP message {message.kind}, whose length fits"

    def unwrap(self, data: bytes) -> bytes:
        """The user packet."""
        message = parse(data, len(data))
        return data[message.start :] if message is not None and message.kind == _USER_PACKET else b""
