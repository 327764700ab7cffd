"""Traffic that is encrypted from its first byte on, over TCP: Shadowsocks, VMess, obfs4 and their like.

Nothing in it can be read, so this goes by three things, each worth more than the one before:

1. The five published rules on the first client payload: `possible`, on that very packet.
2. Both directions are noise, without a header and without lengths in front of messages: needed for all that follows.
3. `probable` when, in addition, one of these holds: packets have lengths that come from one proxy's buffers or headers;
   the sizes of the first bursts are those of a TLS handshake that something carries (the model `inner_tls`) or of obfs4
   (`obfs4_bursts`); those of the latest flows to the same service are so, taken together; or both sides use one table
   of lengths, which is obfs4's. Encrypted BitTorrent, files and home-made protocols pass the first two as well, but
   not the third.

The one rule: noise alone is never more than `possible`, however many flows of it there are.

Sources: Wu and others, USENIX Security 2023 (the rules); Xue and others, USENIX Security 2024 (TLS handshakes inside);
Wails and others, NDSS 2024 (several flows to one service instead of one); obfs4-spec.txt, sections 4 and 5.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.five_rules import Exemption, find_exemption, printable_share
from middlebox.detect.models import inner_tls, obfs4_bursts
from middlebox.detect.noisy_service import Kind, Service, sum_of_scores
from middlebox.detect.proxy_lengths import find_proxy_headers, find_proxy_writes
from middlebox.detect.randomness import HEAD_BYTES, Framing, bits_per_byte, is_framed, seems_random
from middlebox.detect.size_patterns import BURSTS, LEAST_BURSTS, WINDOW_PACKETS, burst_score, bursts, split
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES_EACH_WAY = 64
"Ours: fewer bytes say too little about being noise. A Shadowsocks salt and the first chunk's length have 34 or more."
_LEAST_NONCE_BYTES = 8
"ChaCha20's in Shadowsocks' stream ciphers; those of the others are longer."
_CHANCE_EXEMPTIONS = (Exemption.BITS_SET, Exemption.MOSTLY_PRINTABLE)
"Rules that exempt one short piece of noise in ten."
_MOST_PRINTABLE = 0.75
"Ours: of a short payload that is given another chance; eight bytes of noise exceed it once in 200 times."
_MAX_WAITING_PACKETS = 32
"Ours: packets that may pass before both sides have said so much. An upload is answered late."
_OBFS4_OPENINGS, _OBFS4_LEAST_ANSWER = range(149, 8_193), 141
"Of both handshake messages: fixed fields and padding at random (obfs4-spec.txt section 4)."
_MODELS = (("inner_tls", inner_tls), ("obfs4_bursts", obfs4_bursts))
_LIKE = {"inner_tls": "a TLS handshake that something carries", "obfs4_bursts": "obfs4"}


class FullyEncrypted(Detector):
    """Applies the five rules, then looks at both directions, at lengths, and at earlier flows to the same service."""

    name: ClassVar[str] = "fully_encrypted"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("fully-encrypted", "shadowsocks", "vmess", "obfs4")
    facts: ClassVar[tuple[str, ...]] = ("fully-encrypted.popcount", "fully-encrypted.printable")
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = (
        "Proxies that imitate another protocol, flows joined in their middle, and the first flows to a service when "
        "they carry something else than TLS, or several things at once."
    )
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Service

    __slots__ = ("_flow", "_framing", "_is_past_handshake", "_packets", "_service", "_was_from_client")

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()
        self._flow = self._service.begin()
        self._framing = Framing()
        self._packets = 0
        self._was_from_client = True
        self._is_past_handshake = False
        "Both sides have spoken as obfs4 would, and the client has spoken again: lengths come from a table now."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the first payload by the five rules, then both directions, then the lengths."""
        self._packets += 1
        burst_has_ended = talk.from_client is not self._was_from_client
        self._was_from_client = talk.from_client
        if self._framing.has_ended_framed(talk):
            return self._ordinary()
        if self._packets == 1:
            return self._feed_first(talk)
        if self._flow.kind is not Kind.NOISE:
            if len(talk.client) < _LEAST_BYTES_EACH_WAY or len(talk.server) < _LEAST_BYTES_EACH_WAY:
                return Opinion.MORE if self._packets < _MAX_WAITING_PACKETS else Opinion.NO
            if not _is_noise(talk):
                return self._ordinary()
            self._flow.kind = Kind.NOISE
            self._flow.client_head, self._flow.server_head = talk.client[:HEAD_BYTES], talk.server[:HEAD_BYTES]
            burst_has_ended = True
        return self._feed_lengths(talk, burst_has_ended=burst_has_ended)

    def _feed_first(self, talk: Conversation) -> Answer:
        payload = talk.data
        if talk.midstream or not talk.from_client:
            return Opinion.NO
        exemption = find_exemption(payload)
        if exemption is None:
            if is_framed(payload):
                self._flow.kind = Kind.ORDINARY
            facts: dict[str, object] = {
                "fully-encrypted.popcount": round(bits_per_byte(payload), 3),
                "fully-encrypted.printable": round(printable_share(payload), 3),
            }
            reason = "none of the five rules exempts the client's first payload"
            more = self._flow.kind is not Kind.ORDINARY
            return Evidence("fully-encrypted", Confidence.POSSIBLE, reason, facts, more)
        # A nonce that is sent on its own is often exempt by chance, and now and then a longer payload is.
        least = _LEAST_NONCE_BYTES if exemption in _CHANCE_EXEMPTIONS else _LEAST_BYTES_EACH_WAY
        is_text = exemption is Exemption.KNOWN_PROTOCOL or printable_share(payload) > _MOST_PRINTABLE
        if len(payload) >= least and not is_text and seems_random(payload):
            return Opinion.MORE
        return self._ordinary()

    def _feed_lengths(self, talk: Conversation, *, burst_has_ended: bool) -> Answer:
        found = find_proxy_writes(talk.sizes)
        if burst_has_ended:
            found = found or find_proxy_headers(talk.sizes) or self._from_models(split(talk.sizes))
        found = found or self._from_table(talk)
        if found is None:
            return Opinion.MORE if len(talk.sizes) < WINDOW_PACKETS else Opinion.NO
        return found if _is_noise(talk) else self._ordinary()

    def _from_models(self, sizes: list[int]) -> Evidence | None:
        """Evidence from the bursts of this flow, and of the latest ones to the service."""
        runs = bursts(sizes)
        complete = min(len(runs) - 1, BURSTS)
        for name, model in _MODELS:
            score = self._flow.scores[name] = burst_score(model.WEIGHTS, model.BIAS, sizes, complete)
            least = model.EARLY_THRESHOLD if complete < model.EARLY_BURSTS else model.THRESHOLD
            if complete >= LEAST_BURSTS and score >= least:
                listed = ", ".join(map(str, runs[:complete]))
                reason = f"noise both ways, in bursts like those of {_LIKE[name]}: {listed} bytes"
                return Evidence("fully-encrypted", Confidence.PROBABLE, reason)
        noisy = self._service.noisy_flows()
        flows = len(noisy)
        for name, model in _MODELS:
            threshold = model.SERVICE_THRESHOLDS.get(min(flows, max(model.SERVICE_THRESHOLDS)))
            if threshold is not None and sum_of_scores(noisy, name, model.MOST_SCORE) >= threshold:
                reason = (
                    f"the last {flows} flows to this service were noise, and their bursts together like {_LIKE[name]}"
                )
                protocol = "obfs4" if model is obfs4_bursts else "fully-encrypted"
                return Evidence(protocol, Confidence.PROBABLE, reason)
        return None

    def _from_table(self, talk: Conversation) -> Evidence | None:
        """Evidence from the lengths of single packets, once a handshake like obfs4's is over."""
        if not self._is_past_handshake:
            runs = bursts(talk.sizes)
            if len(runs) != LEAST_BURSTS or runs[0] not in _OBFS4_OPENINGS or -runs[1] < _OBFS4_LEAST_ANSWER:
                return None
            self._is_past_handshake = True
        self._service.lengths.add(talk.size, from_client=talk.from_client)
        if not (common := self._service.lengths.common()):
            return None
        reason = f"noise both ways, and {common} lengths of packets that both sides used: obfs4's table"
        return Evidence("obfs4", Confidence.PROBABLE, reason)

    def _ordinary(self) -> Opinion:
        self._flow.kind = Kind.ORDINARY
        return Opinion.NO


def _is_noise(talk: Conversation) -> bool:
    return seems_random(talk.client) and seems_random(talk.server)
