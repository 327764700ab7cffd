"""Traffic that is encrypted from its first byte on, over TCP: Shadowsocks, VMess and their like.

Nothing in it can be read, so this goes by three things, each worth more than the one before:

1. The five published rules on the first client payload: `possible`, on that very packet.
2. Both directions are noise without a header: needed for all that follows.
3. `probable` when, in addition, most of the latest flows to the same service were like that, and none was anything
   else. Encrypted BitTorrent, file transfers and home-made protocols pass the first two as well, but meet a service
   only now and then, or share their first bytes.

The one rule: noise alone is never more than `possible`.

Sources: Wu and others, USENIX Security 2023 (the rules); Wails and others, "On Precisely Detecting Censorship
Circumvention in Real-World Networks", NDSS 2024, section VI (several flows to one service instead of one).
"""

from collections import deque
from enum import Enum
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.five_rules import Exemption, find_exemption, printable_share
from middlebox.detect.randomness import HEAD_BYTES, bits_per_byte, heads_vary, seems_random, starts_with_its_length
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES_EACH_WAY = 64
"Ours: fewer bytes say too little about being noise. A Shadowsocks salt and the first chunk's length have 34 or more."
_MAX_WAITING_PACKETS = 32
"Ours: packets that may pass before both sides have said so much. An upload is answered late."
_FLOWS_REMEMBERED, _FLOWS_NEEDED = 8, 5
"""Ours: so many of the latest flows to one service. The paper needed at most 38 flows to find a bridge without a single
false alarm; it had no other evidence than a classifier's score."""


class Kind(Enum):
    """What one flow to a service looked like."""

    UNKNOWN = "unknown"
    "Too short to tell, or not finished."
    ORDINARY = "ordinary"
    NOISE = "noise"


class Flow:
    """What is remembered of one flow to a service."""

    __slots__ = ("client_head", "kind", "server_head")

    def __init__(self) -> None:
        self.kind = Kind.UNKNOWN
        self.client_head = b""
        "Its first bytes, which must differ from flow to flow: what has a header does not carry noise only."
        self.server_head = b""


class Service:
    """The latest flows to one address and port."""

    __slots__ = ("flows",)

    def __init__(self) -> None:
        self.flows: deque[Flow] = deque(maxlen=_FLOWS_REMEMBERED)

    def begin(self) -> Flow:
        """Note a new flow."""
        flow = Flow()
        self.flows.append(flow)
        return flow

    def noisy_flows(self) -> int:
        """How many were noise; 0 when any was ordinary, or when their first bytes are alike."""
        if any(flow.kind is Kind.ORDINARY for flow in self.flows):
            return 0
        noisy = [flow for flow in self.flows if flow.kind is Kind.NOISE]
        alike = not (heads_vary([one.client_head for one in noisy]) and heads_vary([one.server_head for one in noisy]))
        return 0 if alike else len(noisy)


class FullyEncrypted(Detector):
    """Applies the five rules, then looks at both directions and at earlier flows to the same service."""

    name: ClassVar[str] = "fully_encrypted"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("fully-encrypted",)
    facts: ClassVar[tuple[str, ...]] = ("fully-encrypted.popcount", "fully-encrypted.printable")
    reaches: ClassVar[Confidence] = Confidence.POSSIBLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = (
        "Proxies that imitate another protocol, flows joined in their middle, and the first flows to a service "
        "when they carry something else than TLS."
    )
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Service

    __slots__ = ("_flow", "_packets", "_service")

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()
        self._flow = self._service.begin()
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """Judge the first payload by the five rules, then both directions."""
        self._packets += 1
        if self._packets == 1:
            return self._feed_first(talk)
        if len(talk.client) < _LEAST_BYTES_EACH_WAY or len(talk.server) < _LEAST_BYTES_EACH_WAY:
            return Opinion.MORE if self._packets < _MAX_WAITING_PACKETS else Opinion.NO
        if not (seems_random(talk.client) and seems_random(talk.server)):
            return self._ordinary()
        return self._feed_noise(talk)

    def _feed_first(self, talk: Conversation) -> Answer:
        payload = talk.data
        if talk.midstream or not talk.from_client:
            return Opinion.NO
        exemption = find_exemption(payload)
        if exemption is None:
            if starts_with_its_length(payload):
                self._flow.kind = Kind.ORDINARY
            facts: dict[str, object] = {
                "fully-encrypted.popcount": round(bits_per_byte(payload), 3),
                "fully-encrypted.printable": round(printable_share(payload), 3),
            }
            reason = "none of the five rules exempts the client's first payload"
            more = self._flow.kind is not Kind.ORDINARY
            return Evidence("fully-encrypted", Confidence.POSSIBLE, reason, facts, more)
        if exemption is not Exemption.KNOWN_PROTOCOL and seems_random(payload):
            return Opinion.MORE  # exempt by chance, as a nonce of 8 bytes that is sent on its own often is
        return self._ordinary()

    def _feed_noise(self, talk: Conversation) -> Answer:
        self._flow.kind = Kind.NOISE
        self._flow.client_head, self._flow.server_head = talk.client[:HEAD_BYTES], talk.server[:HEAD_BYTES]
        noisy = self._service.noisy_flows()
        if noisy < _FLOWS_NEEDED:
            return Opinion.NO
        seen = len(self._service.flows)
        reason = f"{noisy} of the last {seen} flows to this service were noise from the first byte on, both ways"
        return Evidence("fully-encrypted", Confidence.PROBABLE, reason)

    def _ordinary(self) -> Opinion:
        self._flow.kind = Kind.ORDINARY
        return Opinion.NO
