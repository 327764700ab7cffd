"""Traffic that is encrypted from its first byte on, over TCP: Shadowsocks, VMess and their like.

Nothing in it can be read, so this goes by three things, each worth more than the one before:

1. The five published rules on the first client payload: `possible`, on that very packet.
2. Both directions are noise without a header: needed for all that follows.
3. `probable` when, in addition, one of these holds: writes have a length that comes from one proxy's buffers; the
   client begins with as much noise as only obfs4 does; the sizes of the first bursts are those of a TLS handshake that
   something carries (the model `inner_tls`); or most of the latest flows to the same service were noise and none was
   anything else. Encrypted BitTorrent, file transfers and home-made protocols pass the first two as well, but carry no
   handshake, and meet a service only now and then, or share their first bytes.

The one rule: noise alone is never more than `possible`.

Sources: Wu and others, USENIX Security 2023 (the rules); Xue and others, USENIX Security 2024 (TLS handshakes inside);
Wails and others, "On Precisely Detecting Censorship Circumvention in Real-World Networks", NDSS 2024, section VI
(several flows to one service instead of one).
"""

from collections import deque
from enum import Enum
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.five_rules import Exemption, find_exemption, printable_share
from middlebox.detect.models import inner_tls
from middlebox.detect.randomness import HEAD_BYTES, Framing, bits_per_byte, heads_vary, is_framed, seems_random
from middlebox.detect.size_patterns import (
    BURSTS,
    LARGEST_SEGMENT_BYTES,
    LEAST_BURSTS,
    WINDOW_PACKETS,
    burst_features,
    bursts,
    split,
)
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
_FLOWS_REMEMBERED, _FLOWS_NEEDED = 8, 5
"""Ours: so many of the latest flows to one service. The paper needed at most 38 flows to find a bridge without a single
false alarm; it had no other evidence than a classifier's score."""
_HANDSHAKES_NEEDED = 2
"Ours: of those flows, so many must look somewhat like a TLS handshake when none does so clearly."

_LONGEST_CHUNK = 0x3FFF
"The longest payload of a Shadowsocks AEAD chunk (SIP004); shadowsocks-libev reads as much at a time without AEAD, too."
_CHUNK_OVERHEAD = 2 + 16 + 16
"Length, its tag, the payload's tag."
_SHADOWSOCKS_WRITES = frozenset(
    {_LONGEST_CHUNK + salt for salt in (0, 8, 12, 16)}
    | {_LONGEST_CHUNK + _CHUNK_OVERHEAD + salt for salt in (0, 16, 24, 32)}
)
"A full chunk, alone or behind the salt or nonce with which a direction begins."
_V2RAY_WRITE, _V2RAY_WRITES_NEEDED = 2_048, 2
"V2Ray moves data in buffers of this size (common/buf/buffer.go), and a VMess chunk fills one."
_VMESS_ANSWER_BYTES = 2 + 16 + 4 + 16
"VMess's answer header: its length and tag, four bytes and a tag. sing-box sends it on its own (sing-vmess)."
_VMESS_REQUESTS = range(16 + 18 + 8 + 38 + 4 + 16, 16 + 18 + 8 + 41 + 256 + 15 + 4 + 16 + 1)
"Authentication, length, nonce, then with a tag: the header's fixed part, an address, padding and a checksum."
_SHADOWSOCKS_HELLO = 517 + _CHUNK_OVERHEAD
"""The ClientHello that most libraries fill up to 517 bytes, in a chunk of its own. sing-box sends the request header of
Shadowsocks 2022 (SIP022) before it, as a packet of its own."""
_SHADOWSOCKS_2022_REQUESTS = range(16 + 27 + 7 + 2 + 16, 32 + 27 + 259 + 2 + 900 + 16 + 1)
"Salt, fixed header with a tag, then with a tag: an address and up to 900 bytes of padding (SIP022 section 3.1.3)."
_OBFS4_FIRST_FLIGHT = range(2_400, 8_193)
"""An obfs4 client begins with 149 to 8192 bytes at random (obfs4-spec.txt section 4). The first requests of other
proxies, with a ClientHello of 1.8 kB inside, end below the first number."""
_OBFS4_LEAST_ANSWER = 141


class Kind(Enum):
    """What one flow to a service looked like."""

    UNKNOWN = "unknown"
    "Too short to tell, or not finished."
    ORDINARY = "ordinary"
    NOISE = "noise"


class Flow:
    """What is remembered of one flow to a service."""

    __slots__ = ("client_head", "kind", "resembles_tls", "server_head")

    def __init__(self) -> None:
        self.kind = Kind.UNKNOWN
        self.resembles_tls = False
        "Its bursts look somewhat like a TLS handshake."
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

    def noisy_flows(self) -> list[Flow]:
        """Those that were noise; none when any was ordinary, or when their first bytes are alike."""
        if any(flow.kind is Kind.ORDINARY for flow in self.flows):
            return []
        noisy = [flow for flow in self.flows if flow.kind is Kind.NOISE]
        vary = heads_vary([one.client_head for one in noisy]) and heads_vary([one.server_head for one in noisy])
        return noisy if vary else []


class FullyEncrypted(Detector):
    """Applies the five rules, then looks at both directions and at earlier flows to the same service."""

    name: ClassVar[str] = "fully_encrypted"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("fully-encrypted", "shadowsocks", "vmess")
    facts: ClassVar[tuple[str, ...]] = ("fully-encrypted.popcount", "fully-encrypted.printable")
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = (
        "Proxies that imitate another protocol, flows joined in their middle, and the first four flows to a service "
        "when they carry something else than TLS, or several things at once."
    )
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Service

    __slots__ = ("_flow", "_framing", "_packets", "_service", "_was_from_client")

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()
        self._flow = self._service.begin()
        self._framing = Framing()
        self._packets = 0
        self._was_from_client = True

    def feed(self, talk: Conversation) -> Answer:
        """Judge the first payload by the five rules, then both directions, then the bursts."""
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
            return self._feed_both_sides(talk)
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

    def _feed_both_sides(self, talk: Conversation) -> Answer:
        if not _is_noise(talk):
            return self._ordinary()
        self._flow.kind = Kind.NOISE
        self._flow.client_head, self._flow.server_head = talk.client[:HEAD_BYTES], talk.server[:HEAD_BYTES]
        noisy = len(self._service.noisy_flows())
        if noisy < _FLOWS_NEEDED:
            return self._feed_lengths(talk, burst_has_ended=True)
        seen = len(self._service.flows)
        reason = f"{noisy} of the last {seen} flows to this service were noise from the first byte on, both ways"
        return Evidence("fully-encrypted", Confidence.PROBABLE, reason)

    def _feed_lengths(self, talk: Conversation, *, burst_has_ended: bool) -> Answer:
        found = _from_writes(talk.sizes)
        if found is None and burst_has_ended:
            found = _from_first_flights(talk.sizes) or self._from_bursts(split(talk.sizes))
        if found is None:
            return Opinion.MORE if len(talk.sizes) < WINDOW_PACKETS else Opinion.NO
        return found if _is_noise(talk) else self._ordinary()

    def _from_bursts(self, sizes: list[int]) -> Evidence | None:
        runs = bursts(sizes)
        complete = min(len(runs) - 1, BURSTS)
        if complete < LEAST_BURSTS:
            return None
        score = inner_tls.BIAS + sum(inner_tls.WEIGHTS[feature] for feature in burst_features(sizes, complete))
        if score >= (inner_tls.EARLY_THRESHOLD if complete < inner_tls.EARLY_BURSTS else inner_tls.THRESHOLD):
            reason = f"noise both ways, in bursts like those of a TLS handshake: {_listed(runs[:complete])} bytes"
            return Evidence("fully-encrypted", Confidence.PROBABLE, reason)
        if score < inner_tls.WEAK_THRESHOLD:
            return None
        self._flow.resembles_tls = True
        alike = sum(flow.resembles_tls for flow in self._service.noisy_flows())
        if alike < _HANDSHAKES_NEEDED:
            return None
        reason = f"{alike} of the last {len(self._service.flows)} flows to this service were noise in bursts like TLS"
        return Evidence("fully-encrypted", Confidence.PROBABLE, reason)

    def _ordinary(self) -> Opinion:
        self._flow.kind = Kind.ORDINARY
        return Opinion.NO


def _is_noise(talk: Conversation) -> bool:
    return seems_random(talk.client) and seems_random(talk.server)


def _from_writes(sizes: list[int]) -> Evidence | None:
    """Evidence from what was written at once: packets of one side up to the first that is not a full segment."""
    full = max(map(abs, sizes))
    written, of_v2ray, sign = 0, 0, 0
    for size in sizes:
        written = written + abs(size) if sign == (size > 0) else abs(size)
        sign = size > 0
        if abs(size) == full and full <= LARGEST_SEGMENT_BYTES:
            continue
        if written in _SHADOWSOCKS_WRITES:
            reason = f"noise both ways, and a write of {written} bytes: a full chunk of Shadowsocks"
            return Evidence("shadowsocks", Confidence.PROBABLE, reason)
        of_v2ray += written == _V2RAY_WRITE
        written = 0
    if of_v2ray < _V2RAY_WRITES_NEEDED:
        return None
    reason = f"noise both ways, and {of_v2ray} writes of {_V2RAY_WRITE} bytes: V2Ray's buffers"
    return Evidence("vmess", Confidence.PROBABLE, reason)


def _from_first_flights(sizes: list[int]) -> Evidence | None:
    """Evidence from the first packets of each side, once the client has answered or the server goes on."""
    runs = bursts(sizes)
    if len(runs) < LEAST_BURSTS:
        return None
    answer = next(-size for size in sizes if size < 0)
    if sizes[0] in _VMESS_REQUESTS and answer == _VMESS_ANSWER_BYTES:
        reason = f"the client begins with {sizes[0]} bytes of noise, the server with {answer}: VMess's answer header"
        return Evidence("vmess", Confidence.PROBABLE, reason)
    if sizes[0] in _SHADOWSOCKS_2022_REQUESTS and sizes[1] == _SHADOWSOCKS_HELLO:
        reason = f"{sizes[0]} bytes of noise, then {sizes[1]}: a ClientHello of 517 in a Shadowsocks chunk"
        return Evidence("shadowsocks", Confidence.PROBABLE, reason)
    if runs[0] in _OBFS4_FIRST_FLIGHT and -runs[1] >= _OBFS4_LEAST_ANSWER:
        reason = f"the client begins with {runs[0]} bytes of noise, the server with {-runs[1]}, as in obfs4"
        return Evidence("fully-encrypted", Confidence.PROBABLE, reason)
    return None


def _listed(runs: list[int]) -> str:
    """Bursts as people read them, the server's with a minus."""
    return ", ".join(map(str, runs))
