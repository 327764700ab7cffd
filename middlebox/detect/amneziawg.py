"""AmneziaWG: WireGuard with other type numbers, random bytes before its messages, and junk before its handshake.

The one rule: `confirmed` needs the response to name the initiation's sender index, at the place that is counted from
the end of both messages, and both messages to end with the sixteen zeros of an unused mac2. What is prepended (S1 to
S4) and what replaces the types (H1 to H4) is never guessed.

Layout: README of amneziawg-go; the WireGuard paper, section 5.4. Junk and signature packets (Jc, I1 to I5) come from
the initiator only and before the initiation, so the first message of the other side is the response.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.random_bytes import is_random
from middlebox.detect.wireguard import MAX_COUNTER, Side
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_INITIATION_BYTES, _RESPONSE_BYTES, _LEAST_DATA_BYTES = 148, 92, 32
_SENDER = slice(-_INITIATION_BYTES + 4, -_INITIATION_BYTES + 8)
_EPHEMERAL = slice(-_INITIATION_BYTES + 8, -_INITIATION_BYTES + 40)
_RECEIVER = slice(-_RESPONSE_BYTES + 8, -_RESPONSE_BYTES + 12)
"Fields of both messages, counted from the end (section 5.4.2 and 5.4.3)."
_NO_COOKIE = bytes(16)
"The last field, mac2, is zero unless the other side is under load (section 5.4.7)."
_PLAIN_TYPES = frozenset(range(1, 5))
_OTHER_TYPES = _PLAIN_TYPES | {0xC1, 0xC2, 0xC3, 0xC4}
"First bytes of plain WireGuard, and with those of Cloudflare WARP: they have detectors of their own."
_LEAST_DISTINCT = 3
"Different bytes in an index: small numbers and zeros have fewer."
_QUIC_LONG_HEADER = 0xC0
"What a signature packet may imitate (RFC 9000 section 17.2)."
_MAY_BE_CALLED = frozenset({"unknown", "quic"})
"Names that the flow may have so far; signature packets may have given the second one."
_MAX_BEFORE_RESPONSE = 24
"Ours: up to 5 signature packets and 4 to 12 of junk are recommended, then the initiation."
_MAX_ANSWERS = 2
_DATA_EACH_WAY = 3
_MAX_ONE_WAY = 6


class AmneziaWg(Detector):
    """Links a response to an initiation wherever they stand in their datagrams."""

    name: ClassVar[str] = "amneziawg"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("amneziawg",)
    facts: ClassVar[tuple[str, ...]] = ("amneziawg.junk_packets",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = (
        "Version 3 with header protection, signature packets that imitate anything but QUIC, "
        "more than two dozen packets of junk, and data joined later when random bytes precede it."
    )

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._opened_by_client = False
        self._initiations: dict[bytes, bytes] = {}
        "Sender index to the message that may be an initiation."
        self._junk = 0
        self._answers = 0
        self._sides = (Side(), Side())
        "Data of server and client, indexed by `from_client`."

    def feed(self, talk: Conversation) -> Answer:
        """Remember what may be an initiation; compare the other side's first messages with it."""
        message = talk.data
        if (
            talk.protocol not in _MAY_BE_CALLED
            and talk.confidence is not None
            and talk.confidence > Confidence.POSSIBLE
        ):
            return Opinion.NO
        if not self._is_begun:
            is_plain = message[0] in _PLAIN_TYPES and not any(message[1:4])
            if is_plain or not (message[0] >= _QUIC_LONG_HEADER or is_random(message) or _may_be_data(message)):
                return Opinion.NO
            self._begin()
            self._opened_by_client = talk.from_client
        data = self._feed_data(message, talk.from_client)
        if data is not None:
            return data
        if talk.from_client == self._opened_by_client:
            return self._feed_opener(message)
        self._answers += 1
        return self._link(message) or (Opinion.NO if self._answers > _MAX_ANSWERS else Opinion.MORE)

    def _feed_opener(self, message: bytes) -> Answer:
        if len(message) >= _INITIATION_BYTES and message.endswith(_NO_COOKIE) and is_random(message[_EPHEMERAL]):
            self._initiations[message[_SENDER]] = message
        else:
            if not is_random(message) and message[0] < _QUIC_LONG_HEADER:
                return Opinion.NO
            self._junk += not self._initiations
        return Opinion.NO if self._junk + len(self._initiations) > _MAX_BEFORE_RESPONSE else Opinion.MORE

    def _link(self, message: bytes) -> Answer | None:
        initiation = self._initiations.get(message[_RECEIVER]) if len(message) >= _RESPONSE_BYTES else None
        if initiation is None or len(set(message[_RECEIVER])) < _LEAST_DISTINCT:
            return None
        is_bare = len(initiation) == _INITIATION_BYTES and len(message) == _RESPONSE_BYTES
        if (is_bare and initiation[0] in _PLAIN_TYPES) or not message.endswith(_NO_COOKIE):
            return None
        before = len(initiation) - _INITIATION_BYTES, len(message) - _RESPONSE_BYTES
        reason = "the response names the initiation's index, behind {} and {} bytes that WireGuard does not have"
        if before == (0, 0):
            reason = "the response names the initiation's index, under types that WireGuard does not have"
        facts = {"amneziawg.junk_packets": self._junk}
        return Evidence("amneziawg", Confidence.CONFIRMED, reason.format(*before), facts)

    def _feed_data(self, message: bytes, from_client: bool) -> Answer | None:
        """Data both ways under one type that is not WireGuard's; None when this is none."""
        if not _may_be_data(message):
            return None
        side, other = self._sides[from_client], self._sides[not from_client]
        if not side.add_data(message[:8], int.from_bytes(message[8:16], "little")):
            return Opinion.NO
        if side.in_a_row < _DATA_EACH_WAY or other.in_a_row < _DATA_EACH_WAY:
            return Opinion.NO if side.in_a_row > _MAX_ONE_WAY and not other.in_a_row else Opinion.MORE
        if side.receiver[:4] != other.receiver[:4] or side.receiver == other.receiver:
            return Opinion.NO
        reason = "data both ways under one type that WireGuard does not have, each with an index and advancing counters"
        return Evidence("amneziawg", Confidence.PROBABLE, reason)


def _may_be_data(message: bytes) -> bool:
    """Whether a type, an index, a counter and a ciphertext may stand at the beginning."""
    return (
        len(message) >= _LEAST_DATA_BYTES
        and message[0] not in _OTHER_TYPES
        and int.from_bytes(message[8:16], "little") <= MAX_COUNTER
        and len(set(message[4:8])) >= _LEAST_DISTINCT
        and is_random(message[16:32])
    )
