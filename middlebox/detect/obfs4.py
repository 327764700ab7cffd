"""obfs4, recognised by the lengths with which its bursts end: at most 100 different ones, the same on both sides.

An obfs4 server draws a table of lengths from a seed once and for all, sends the seed to each client, and both pad every
burst (iat-mode 0 and 1) or every packet (2) so that it ends with a length of the table. So the lengths of packets that
are not full are few, and those of the client turn up at the server, in one flow and over all flows to a bridge.

The one rule: only lengths that both sides have used count, and they must be more than chance would give; it needs
noise both ways from the first byte on, and is `probable` at most.

Sources: obfs4-spec.txt sections 4 and 5, and transports/obfs4/obfs4.go and common/probdist/weighted_dist.go of obfs4.
"""

from math import exp
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.randomness import seems_random
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_SEGMENT_BYTES = 1_448
"The longest packet that obfs4 writes (framing.MaximumSegmentLength), which the lengths of its table stay below."
_FIRST_FLIGHT = range(149, 8_193)
"Of a client: a representative of 32 bytes, padding, a mark and a MAC of 16 each (section 4)."
_LOOKED_AT_BYTES = 256
"Of the first flight, while it lasts."
_LEAST_ANSWER = 141
"Of a server: as much, an authenticator and the seed."
_LEAST_LENGTH = 64
"Ours: shorter packets are left out, for example the last ones of both sides when a proxy closes TLS."
_MAX_LENGTHS = 128
"Ours: different lengths remembered of each side. An obfs4 table has at most 100."
_COMMON_NEEDED = 3
_CHANCE = 1e-4
"Ours: that independent lengths would have so many in common must be less likely than this."
_MAX_PACKETS = 32


class Bridge:
    """The lengths of packets that were not full, over all flows to one service."""

    __slots__ = ("lengths",)

    def __init__(self) -> None:
        self.lengths: tuple[set[int], set[int]] = (set(), set())
        "Of the server and of the client, indexed by `from_client`."

    def add(self, length: int, *, from_client: bool) -> None:
        """Note a length."""
        mine = self.lengths[from_client]
        if len(mine) < _MAX_LENGTHS:
            mine.add(length)

    def common(self) -> int:
        """How many lengths both sides used, 0 when that may be chance."""
        server, client = self.lengths
        common = len(server & client)
        if common < _COMMON_NEEDED:
            return 0
        # Poisson: the chance of fewer than `common` when the lengths of both sides were drawn independently.
        expected = len(server) * len(client) / (_SEGMENT_BYTES - _LEAST_LENGTH)
        term, fewer = exp(-expected), 0.0
        for number in range(common):
            fewer += term
            term *= expected / (number + 1)
        return common if 1 - fewer < _CHANCE else 0


class Obfs4(Detector):
    """Compares the lengths of both sides' packets that are not full, in this and earlier flows to a service."""

    name: ClassVar[str] = "obfs4"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("obfs4",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 12
    misses: ClassVar[str] = (
        "The first flows to a bridge in iat-mode 0 and 1, bridges with a biased table, and segments of other lengths "
        "than Ethernet's. `fully_encrypted` finds most of those without the name."
    )
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Bridge

    __slots__ = ("_bridge", "_is_answered", "_is_open")

    def __init__(self, bridge: Bridge | None = None) -> None:
        self._bridge = bridge if bridge is not None else Bridge()
        self._is_answered = False
        "Both handshake messages have passed; from now on lengths come from the table."
        self._is_open = False

    def feed(self, talk: Conversation) -> Answer:
        """Wait for both handshake messages, then note the length of each packet."""
        if self._is_open:
            return self._feed_table(talk)
        if talk.midstream or not talk.client:
            return Opinion.NO
        if not talk.server:
            may_be_mine = len(talk.client) in range(_FIRST_FLIGHT[-1] + 1) and seems_random(
                talk.client[:_LOOKED_AT_BYTES]
            )
            return Opinion.MORE if may_be_mine else Opinion.NO
        if not self._is_answered:
            self._is_answered = True
            if len(talk.client) not in _FIRST_FLIGHT:
                return Opinion.NO
        if not talk.from_client:
            return Opinion.MORE if len(talk.sizes) <= _MAX_PACKETS else Opinion.NO
        if len(talk.server) < _LEAST_ANSWER or not _is_noise(talk):
            return Opinion.NO
        self._is_open = True
        return self._feed_table(talk)

    def _feed_table(self, talk: Conversation) -> Answer:
        if len(talk.sizes) > _MAX_PACKETS:
            return Opinion.NO
        if not _LEAST_LENGTH <= talk.size < _SEGMENT_BYTES:
            return Opinion.MORE
        self._bridge.add(talk.size, from_client=talk.from_client)
        common = self._bridge.common()
        if not common:
            return Opinion.MORE
        if not _is_noise(talk):
            return Opinion.NO
        reason = f"noise both ways, and {common} lengths of packets that both sides used: obfs4's table"
        return Evidence("obfs4", Confidence.PROBABLE, reason)


def _is_noise(talk: Conversation) -> bool:
    return seems_random(talk.client) and seems_random(talk.server)
