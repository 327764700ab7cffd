"""Cloudflare WARP: WireGuard whose three reserved bytes are not zero, or whose types are C1 to C4.

The one rule: as in WireGuard, `confirmed` needs an index that one side announced and the other addressed, or data both
ways that keeps its header while its counters advance; and somewhere a byte that plain WireGuard would have as zero.

Layout: the WireGuard paper, section 5.4; the client id in the reserved bytes: documentation of `reserved` in clients
that can talk to WARP (wgcf, sing-box); types C1 to C4: seen in traffic of Cloudflare's own client, with messages that
are longer than WireGuard's.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.random_bytes import is_random
from middlebox.detect.wireguard import MAX_COUNTER, Side
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_INITIATION, _RESPONSE, _DATA = 1, 2, 4
_OWN = 0xC0
"Added to the type by Cloudflare's client."
_QUIC_VERSIONS = frozenset({b"\x00\x00\x00\x01", b"\x6b\x33\x43\xcf"})
"A long header of QUIC has a first byte from C0 on, too, and then its version (RFC 9000 section 17.2, RFC 9369)."
_INITIATION_BYTES, _RESPONSE_BYTES, _LEAST_DATA_BYTES = 148, 92, 32
_TAG_BYTES = 16
_NO_COOKIE = bytes(16)
"The last field of an initiation, mac2, is zero unless the server is under load (section 5.4.7)."
_DATA_EACH_WAY = 2
_DATA_ONE_WAY = 4
_MAX_FOREIGN = 4


class CloudflareWarp(Detector):
    """Recognises WARP by linked indices, as WireGuard, under headers that WireGuard does not have."""

    name: ClassVar[str] = "cloudflare_warp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("cloudflare-warp",)
    client_begins: ClassVar[bytes] = bytes(own + kind for own in (0, _OWN) for kind in (_INITIATION, _RESPONSE, _DATA))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "WARP with zero reserved bytes, which is called wireguard, and WARP over MASQUE (QUIC)."

    _is_begun = False
    "A header was seen that plain WireGuard does not have: only then is anything else allocated."

    def _begin(self) -> None:
        self._sides = (Side(), Side())
        "Server and client of the flow, indexed by `from_client`."
        self._announced: tuple[set[bytes], set[bytes]] = (set(), set())
        self._is_begun = True
        self._given: Confidence | None = None
        self._foreign = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look for an index that the other side announced, or for data that keeps its header."""
        message = talk.data
        kind, reserved = message[0], message[1:4]
        is_own = kind > _OWN
        kind -= _OWN if is_own else 0
        may_be = kind in (_INITIATION, _RESPONSE, _DATA) and len(message) >= _LEAST_DATA_BYTES
        if not may_be or (is_own and message[1:5] in _QUIC_VERSIONS):
            return self._pass_over()
        is_marked = is_own or any(reserved)
        if not self._is_begun:
            if not is_marked:
                return Opinion.NO  # WireGuard's
            self._begin()
        mine, others = self._announced[talk.from_client], self._announced[not talk.from_client]
        if kind == _DATA:
            return self._feed_data(message, talk.from_client, others)
        if not is_random(message[16:32]) or not self._has_length(kind, len(message), is_own=is_own):
            return self._pass_over()
        mine.add(message[4:8])
        if kind == _RESPONSE:
            return self._link("the response", message[8:12], others) or Opinion.MORE
        if self._given is None and message.endswith(_NO_COOKIE):
            return self._evidence(Confidence.POSSIBLE, "a handshake initiation with reserved bytes")
        return Opinion.MORE

    def _has_length(self, kind: int, length: int, *, is_own: bool) -> bool:
        exact = _INITIATION_BYTES if kind == _INITIATION else _RESPONSE_BYTES
        return length >= exact if is_own else length == exact

    def _feed_data(self, message: bytes, from_client: bool, others: set[bytes]) -> Answer:
        counter = int.from_bytes(message[8:16], "little")
        if counter > MAX_COUNTER or not is_random(message[-_TAG_BYTES:]):
            return self._pass_over()
        linked = self._link("data", message[4:8], others)
        if linked is not None:
            return linked
        side, other = self._sides[from_client], self._sides[not from_client]
        if not side.add_data(message[:8], counter):
            return self._pass_over()
        if side.in_a_row >= _DATA_EACH_WAY <= other.in_a_row and side.receiver != other.receiver:
            reason = "data both ways, each with constant reserved bytes and index and advancing counters"
            return self._evidence(Confidence.CONFIRMED, reason)
        if side.in_a_row == _DATA_ONE_WAY and not other.in_a_row and self._given is not Confidence.PROBABLE:
            reason = "data one way, with constant reserved bytes and index and advancing counters"
            return self._evidence(Confidence.PROBABLE, reason)
        return Opinion.MORE

    def _link(self, what: str, receiver: bytes, others: set[bytes]) -> Answer | None:
        if receiver not in others:
            return None
        reason = f"{what} goes to the index that the other side announced, under a header that is not WireGuard's"
        return self._evidence(Confidence.CONFIRMED, reason)

    def _pass_over(self) -> Opinion:
        if not self._is_begun:
            return Opinion.NO
        self._foreign += 1
        return Opinion.MORE if self._foreign <= _MAX_FOREIGN else Opinion.NO

    def _evidence(self, confidence: Confidence, reason: str) -> Evidence:
        self._given = confidence
        return Evidence("cloudflare-warp", confidence, reason, more=confidence < Confidence.CONFIRMED)
