"""TLS inside TLS: the handshake with a web site that a proxy (Trojan, VLESS, VMess, ...) carries under its own cover.

After the cover's handshake an ordinary client asks and is answered. Through a proxy it first shakes hands once more,
and the lengths of that handshake show in the lengths of the cover's records: a ClientHello, the server's flight with
its certificates, then a client message whose length the specifications fix to the byte, since a Finished message is
as long as the hash: 64 bytes in TLS 1.3 with SHA-256, 80 or 74 with SHA-384, 93 or 126 in TLS 1.2, and so on.

Three findings, from strong to weak:

- strong: a client record of exactly such a length follows a flight; or the ClientHello has the customary 517 bytes and
  the Finished its length with the same surplus, which a proxy's framing adds to each message; or the padding that XTLS
  Vision gives to both sides' handshake messages shows.
- weak: the same with a length that is only near, as random padding leaves it.
- the service's history: earlier flows to the same server carried such handshakes. A proxy is asked for many sites, so
  what is found in one flow also tells of those without TLS inside.

The one rule: nothing but lengths, directions and the service's own history goes in. `probable` at most. As soon as what
was sent cannot be a handshake any more, the flow is let go.

Method: Xue and others, "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes", USENIX Security 2024
(windows after the cover's handshake, bursts, early exclusion), here with record lengths in place of packet sizes, which
an offload merges; Wails and others, NDSS 2024, section VI (history of a host).
"""

from collections import deque
from enum import IntEnum
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_FINISHED_BYTES = (64, 74, 80, 85, 93, 118, 126)
"""What a client sends after the server's flight, records' headers included.
TLS 1.3 (RFC 8446 sections 4.4.4, 5.2 and D.4): ChangeCipherSpec (6), then Finished of 32 or 48 bytes hash in a record
with 26 more: 64 and 80; without ChangeCipherSpec, 74 (a SHA-256 Finished alone, 58, is too common a length).
TLS 1.2 (RFC 5246 section 7.4.9): ClientKeyExchange with a key on X25519 or P-256 (42 or 75), ChangeCipherSpec (6),
Finished (45 with AES-GCM, 37 with ChaCha20-Poly1305): 93 and 126, 85 and 118."""
_NEAR_FINISHED_BYTES = range(58, 151)
"The same with what proxies pad and frame; a length beyond may hold the request as well."
_PADDED_HELLO_BYTES = 517
"A ClientHello padded to 512 bytes (RFC 7685) and its record header: OpenSSL, NSS and Chrome before its new key shares."
_HELLO_BYTES = range(160, 2_601)
"From TLS 1.2 with few extensions to post-quantum key shares, and a proxy's header."
_FLIGHT_BYTES = range(550, 9_001)
"From a small certificate to a chain of RSA certificates."
_MOST_SURPLUS, _SURPLUS_STEP = 60, 2
"""Bytes of framing a message (Shadowsocks 34, HTTP/2 9, WebSocket 2 to 8), and by how much a shorter message may have
less: lengths up to 125 need 2 bytes less in WebSocket, up to 127 one less in gRPC."""
_VISION_BYTES = range(905, 1_422)
"XTLS Vision pads messages below 900 to 900 to 1399, and adds 5 bytes or, once, 21 (proxy.go, XtlsPadding)."

_LEAST_BYTES = 9
"Shorter records are not counted: alerts, and headers of WebSocket or AnyTLS frames that are written on their own."
_HTTP2_FRAMES = frozenset({9, 13, 17})
"SETTINGS acknowledgement, WINDOW_UPDATE, PING with their headers (RFC 9113 section 6)."
_BURSTS, _BURSTS_HTTP2 = 5, 8
"""The client's turns that are looked at: a handshake may come after a WebSocket upgrade, a CONNECT request or a SOCKS
greeting; among the streams of HTTP/2 it may come after a few others."""
_MOST_BURST_BYTES = 9_000
"More in one turn is a transfer, not a handshake."
_MOST_PACKETS = 40
"Packets with payload after which no handshake is expected: 25 after the cover's, as in the paper, and some before."

_REMEMBERED, _RECENT = 8, 4
"Ours: flows to a service that are remembered; one strong finding counts as long as it is among the latest few."
_WEAK_NEEDED = 2
"Ours: flows of those remembered with at least a weak finding."


class Finding(IntEnum):
    """What one flow showed."""

    NOTHING = 0
    WEAK = 1
    STRONG = 2


class Service:
    """What the latest flows to one server showed."""

    __slots__ = ("flows",)

    def __init__(self) -> None:
        self.flows: deque[list[Finding]] = deque(maxlen=_REMEMBERED)
        "One finding each, in a list so that the flow can still change it."

    def begin(self) -> list[Finding]:
        """Note a new flow."""
        finding = [Finding.NOTHING]
        self.flows.append(finding)
        return finding

    def telling(self) -> int:
        """How many of the flows before the newest one showed a handshake; 0 when that is too little."""
        earlier = [flow[0] for flow in self.flows][:-1]
        showing = sum(finding > Finding.NOTHING for finding in earlier)
        return showing if showing >= _WEAK_NEEDED or Finding.STRONG in earlier[-_RECENT:] else 0


class TlsInTls(Detector):
    """Recognises a TLS handshake inside TLS by the lengths of records, and services that carry them."""

    name: ClassVar[str] = "tls_in_tls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls-in-tls",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = (
        "Flows without TLS inside until the server is known, several connections in one cover when none of the first "
        "few shakes hands, resumed handshakes, and padding that follows no published scheme."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Service

    __slots__ = ("_bursts", "_cover", "_finding", "_has_asked", "_is_http2", "_service", "_turns")

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()
        self._finding: list[Finding] | None = None
        "This flow's place in the service's history; None until the flow carries data."
        self._cover = Cover()
        self._bursts: list[list[int]] = []
        "Records of each turn, the client's and the server's in alternation."
        self._turns = 0
        "How many of them are the client's."
        self._is_http2 = False
        self._has_asked = False
        "The history was looked at."

    def feed(self, talk: Conversation) -> Answer:
        """Look at the new records, one after the other."""
        reason = ""
        for size in self._cover.read(talk):
            if self._finding is None:
                self._finding = self._service.begin()
            reason = self._take(size) or reason
            if reason or self._is_no_handshake():
                break
        if reason:
            return Evidence("tls-in-tls", Confidence.PROBABLE, reason)
        over = self._is_no_handshake() or self._cover.is_hopeless(talk) or len(talk.sizes) >= _MOST_PACKETS
        if self._finding is not None and not self._has_asked:
            self._has_asked = True
            if telling := self._service.telling():
                earlier = len(self._service.flows) - 1
                reason = f"{telling} of the last {earlier} flows to this server carried a TLS handshake inside TLS"
                return Evidence("tls-in-tls", Confidence.PROBABLE, reason, more=not over)
        return Opinion.NO if over else Opinion.MORE

    def _take(self, size: int) -> str:
        """Take in one record; what it completes, in words, when that is strong."""
        if abs(size) < _LEAST_BYTES:
            return ""
        if abs(size) in _HTTP2_FRAMES:
            self._is_http2 = True
            return ""
        is_turn = not self._bursts or (self._bursts[-1][0] > 0) != (size > 0)
        if not is_turn:
            self._bursts[-1].append(size)
            return ""
        self._bursts.append([size])
        if size > 0:
            self._turns += 1
            return self._judge_finished(size) if len(self._bursts) >= 3 else ""
        return self._judge_padding() if len(self._bursts) >= 4 else ""

    def _judge_finished(self, size: int) -> str:
        """Whether the client's newest record ends a handshake that its turn before began."""
        hello, flight = self._bursts[-3][-1], -sum(self._bursts[-2])
        if hello not in _HELLO_BYTES or flight not in _FLIGHT_BYTES:
            return ""
        surplus = hello - _PADDED_HELLO_BYTES
        fits = 0 <= surplus <= _MOST_SURPLUS and any(
            0 <= finished + surplus - size <= _SURPLUS_STEP for finished in _FINISHED_BYTES
        )
        if not fits and (self._is_http2 or not self._cover.is_tls13 or size not in _NEAR_FINISHED_BYTES):
            return ""  # later requests in HTTP/2 are short, too, and without TLS 1.3 the lengths are not exact
        assert self._finding is not None
        if fits or size in _FINISHED_BYTES:
            self._finding[0] = Finding.STRONG
            return f"records of {hello}, {flight} and {size} bytes are a TLS handshake's: ClientHello, flight, Finished"
        self._finding[0] = max(self._finding[0], Finding.WEAK)
        return ""

    def _judge_padding(self) -> str:
        """Whether the client's last two messages and the server's newest one are padded as XTLS Vision does."""
        hello, finished, answer = self._bursts[-4][-1], self._bursts[-2][0], -self._bursts[-1][0]
        if not all(size in _VISION_BYTES for size in (hello, finished, answer)):
            return ""
        assert self._finding is not None
        self._finding[0] = Finding.STRONG
        return f"records of {hello}, {finished} and {answer} bytes are padded like a handshake in XTLS Vision"

    def _is_no_handshake(self) -> bool:
        """Whether no handshake is to be expected any more."""
        if not self._bursts:
            return False
        most = _BURSTS_HTTP2 if self._is_http2 else _BURSTS
        return self._turns > most or abs(sum(self._bursts[-1])) > _MOST_BURST_BYTES
