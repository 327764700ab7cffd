"""TLS inside TLS: the handshake with a web site that a proxy (Trojan, VLESS, VMess, ...) carries under its own cover.

After the cover's handshake an ordinary client asks and is answered. Through a proxy it first shakes hands once more,
and the lengths of that handshake show in the lengths of the cover's records: a ClientHello, the server's flight with
its certificates, a client message whose length the specifications fix to the byte, since a Finished message is as
long as the hash (64 bytes in TLS 1.3 with SHA-256, 80 with SHA-384, 93 or 126 in TLS 1.2, and so on), and then either
the request at once, or the few bytes of session tickets, or of the server's own Finished.

All four must fit. Two findings differ in the third one:

- strong: exactly such a length; or, where the ClientHello has the customary 517 bytes and a surplus, that length
  with the same surplus, which a proxy's framing adds to each message; or both sides' messages are padded like those of
  XTLS Vision.
- weak: a length near to these, as random padding leaves it, or the request in the same record.

A strong one is `probable`. Strong and weak ones are remembered for the service: a proxy is asked for many sites, so
what some flows show also tells of those that carry no TLS.

The one rule: nothing but lengths, directions and the service's own history goes in. `probable` at most. As soon as what
was sent cannot be a handshake any more, the flow is let go.

Method: Xue and others, "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes", USENIX Security
2024 (what comes after the cover's handshake, bursts, early exclusion), here with record lengths in place of packet
sizes, which an offload merges; Wails and others, NDSS 2024, section VI (history of a host).
"""

from collections import deque
from enum import IntEnum
from typing import ClassVar, NamedTuple

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_FINISHED_TLS13 = (64, 74, 80)
"""ChangeCipherSpec (6) and Finished of a 32 or 48 byte hash in a record with 26 more (RFC 8446 sections 4.4.4, 5.2 and
D.4), and the longer one without ChangeCipherSpec; 58, the shorter one, is too common a length."""
_FINISHED_TLS12 = (85, 93, 118, 126)
"""ClientKeyExchange with a key on X25519 or P-256 (42 or 75), ChangeCipherSpec (6), Finished (45 with AES-GCM, 37
with ChaCha20-Poly1305); RFC 5246 section 7.4.9, RFC 8422 section 5.7."""
_NEAR_FINISHED = range(66, 151)
"One of these and what random padding adds."
_WITH_REQUEST = range(140, 421)
"One of these and a request in the same record."
_PADDED_HELLO = 517
"A ClientHello padded to 512 bytes (RFC 7685) and its record header: OpenSSL, NSS and Chrome before its new key shares."
_HELLO = range(160, 2_101)
"From TLS 1.2 with few extensions to post-quantum key shares, and a proxy's header."
_LEAST_HELLO_TLS13 = 215
"With a key share and the extensions that TLS 1.3 requires."
_FLIGHT = range(550, 9_001)
"From a small certificate to a chain of RSA certificates."
_MOST_SURPLUS, _SURPLUS_STEP = 60, 2
"""Bytes of framing a message (Shadowsocks 34, HTTP/2 9, WebSocket 2 to 8), and by how much a shorter message may have
less: lengths up to 125 need 2 bytes less in WebSocket, up to 127 one less in gRPC."""
_MOST_HEADER = 220
"A proxy's header in the same record as the ClientHello: Trojan's has 68 bytes or more, VMess's some 130 and padding."
_REQUEST_BYTES = 20
"A record behind the Finished that can hold a request, or the preface of HTTP/2 (24)."
_TICKETS_TLS13 = (range(50, 341), range(460, 682, 2))
"The server's answer to a Finished: a session ticket or the first HTTP/2 frames; or two equal tickets in one record."
_ANSWERS_TLS12 = (range(40, 131), range(190, 351))
"ChangeCipherSpec and Finished (43 or 51), perhaps with HTTP/2 frames; the same after a session ticket."
_TICKET = range(200, 346)
"One session ticket of OpenSSL, which is told from the response that follows when it has a record of its own."
_VISION = range(905, 1_422)
"XTLS Vision pads messages below 900 to 900 to 1399, and adds 5 bytes or, once, 21 (Xray-core, proxy.go, XtlsPadding)."

_ALERT = 2
"Content of an alert: the side that sends it is about to close."
_LEAST_BYTES = 9
"Shorter records are not counted: headers of WebSocket or AnyTLS frames that are written on their own."
_HTTP2_FRAMES = frozenset({9, 13, 17})
"SETTINGS acknowledgement, WINDOW_UPDATE, PING with their headers (RFC 9113 section 6)."
_HTTP2_PAIRS = frozenset({18, 22, 26, 30, 34})
"Two of them in one record."
_HTTP2_FRAMING = (9, 22)
"The header of a DATA frame, also with a WINDOW_UPDATE in the same record."
_HTTP2_AND_PROXY_HEADER = 27
"The former and VLESS's header, the shortest: version, user (16), addons' length (VLESS, request)."
_TURNS, _TURNS_HTTP2 = 4, 7
"""The client's turns that are looked at: a handshake may come after a WebSocket upgrade, a CONNECT request or a SOCKS
greeting; among the streams of HTTP/2 it may come after a few others."""
_LAST_TURN_WITH_TICKETS = 4
"Of all turns, counted from 0, that may begin with the cover's session tickets."
_COVER_TICKET, _SHORT_COVER_TICKET = 320, 80
"Two equal records up to the former, or one up to the latter, in front of an answer."
_MOST_ASKED, _MOST_ANSWERED = 2_000, 700
"Bytes of a turn before the handshake: upgrades and greetings are short."
_MOST_ANSWERED_HTTP2 = 4_000
"The same where other streams may have been used before."
_MOST_TURN_BYTES = 9_000
"More in one turn is a transfer, not a handshake."
_MOST_PACKETS = 56
"Packets with payload after which no handshake is expected. In the paper 25 after the cover's; records may need more."

_REMEMBERED = 8
"Ours: flows to a service that are remembered."
_WEAK_NEEDED, _SHARE = 2, 6
"Ours: weak findings that stand for a strong one; the least share of findings among the flows remembered, one in six."


class Finding(IntEnum):
    """What one flow showed."""

    NOTHING = 0
    WEAK = 1
    STRONG = 2


class Service:
    """What the latest flows to one server showed."""

    __slots__ = ("flows",)

    def __init__(self) -> None:
        self.flows: deque[list[Finding]] = deque(maxlen=_REMEMBERED + 1)
        "One finding each, in a list so that the flow can still change it. The newest flow is the one at work."

    def begin(self) -> list[Finding]:
        """Note a new flow."""
        finding = [Finding.NOTHING]
        self.flows.append(finding)
        return finding

    def telling(self) -> int:
        """How many of the flows before the newest one showed a handshake; 0 when that is too little."""
        earlier = [flow[0] for flow in self.flows][:-1]
        showing = sum(finding > Finding.NOTHING for finding in earlier)
        is_enough = showing >= _WEAK_NEEDED or Finding.STRONG in earlier
        return showing if is_enough and showing * _SHARE >= len(earlier) else 0


class _Candidate(NamedTuple):
    """Three lengths that could be a handshake's, as long as what follows is not known."""

    hello: int
    flight: int
    finished: int
    finding: Finding
    is_tls13: bool
    "What the length of the Finished says of the inner version."
    has_request: bool
    "The Finished may be together with a request."


class TlsInTls(Detector):
    """Recognises a TLS handshake inside TLS by the lengths of records, and services that carry them."""

    name: ClassVar[str] = "tls_in_tls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls-in-tls",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 10
    misses: ClassVar[str] = (
        "Flows without TLS inside until the server is known, several connections in one cover when none of the first "
        "few shakes hands, resumed handshakes, and padding that follows no published scheme."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Service

    __slots__ = ("_candidate", "_cover", "_finding", "_is_http2", "_service", "_turns", "_turns_of_client")

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()
        self._finding: list[Finding] | None = None
        "This flow's place in the service's history; None until the flow carries data."
        self._cover = Cover()
        self._turns: list[list[int]] = []
        "Records of each turn, the client's and the server's in alternation."
        self._turns_of_client = 0
        self._is_http2 = False
        self._candidate: _Candidate | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Look at the new records, one after the other."""
        earlier = reason = ""
        for size in self._cover.read(talk):
            if self._finding is None:
                self._finding = self._service.begin()
                earlier = self._look_back()
            reason = self._take(size)
            if reason or self._is_no_handshake():
                break
        if reason:
            return Evidence("tls-in-tls", Confidence.PROBABLE, reason)
        over = self._is_no_handshake() or self._cover.is_hopeless(talk) or len(talk.sizes) >= _MOST_PACKETS
        if earlier:
            return Evidence("tls-in-tls", Confidence.PROBABLE, earlier, more=not over)
        return Opinion.NO if over else Opinion.MORE

    def _look_back(self) -> str:
        """What the service's history says of this flow, in words."""
        telling = self._service.telling()
        flows = len(self._service.flows) - 1
        return (
            f"{telling} of the last {flows} flows to this server carried a TLS handshake inside TLS" if telling else ""
        )

    def _take(self, size: int) -> str:
        """Take in one record; what it shows, in words, when that is strong."""
        turns = self._turns
        if abs(size) == _ALERT:
            return self._conclude() if turns and turns[-1][0] < 0 else ""
        if abs(size) < _LEAST_BYTES:
            return ""
        if abs(size) in _HTTP2_FRAMES or (self._is_http2 and abs(size) in _HTTP2_PAIRS):
            self._is_http2 = True
            return ""
        if turns and (turns[-1][0] > 0) == (size > 0):
            turns[-1].append(size)
            return self._judge_request(size) if size > 0 and len(turns[-1]) == 2 else ""
        reason = self._conclude() if size > 0 else ""
        turns.append([size])
        if size < 0:
            return self._judge_ticket(-size) or self._judge_padding()
        self._turns_of_client += 1
        self._candidate = self._judge_finished(size)
        return reason or self._accept_at_once()

    def _judge_finished(self, size: int) -> _Candidate | None:
        """What the client's newest record could end, if it ends a handshake that its turn before began."""
        if len(self._turns) < 3:
            return None
        asked, flight = self._turns[-3][-1], self._answered(-2)
        if asked not in _HELLO or flight not in _FLIGHT or not self._is_first_request():
            return None
        surplus = asked - _PADDED_HELLO
        if 0 <= surplus <= _MOST_SURPLUS:
            for lengths, is_tls13 in ((_FINISHED_TLS13, True), (_FINISHED_TLS12, False)):
                if any(0 <= one + surplus - size <= _SURPLUS_STEP for one in lengths):
                    return _Candidate(asked, flight, size, Finding.STRONG, is_tls13, False)
            # A stream's first message has the proxy's header as well.
            if (
                self._is_http2
                and surplus >= _HTTP2_AND_PROXY_HEADER
                and any(size - one in _HTTP2_FRAMING for one in _FINISHED_TLS13)
            ):
                return _Candidate(asked, flight, size, Finding.STRONG, True, False)
        # Later requests in HTTP/2 are short, too, and under TLS 1.2 the lengths are not exact.
        if self._is_http2 or not self._cover.is_tls13:
            return None
        if size in _FINISHED_TLS13 and asked >= _LEAST_HELLO_TLS13:
            return _Candidate(asked, flight, size, Finding.STRONG, True, False)
        if size in _FINISHED_TLS12:
            return _Candidate(asked, flight, size, Finding.STRONG, False, False)
        if size in _NEAR_FINISHED:
            return _Candidate(asked, flight, size, Finding.WEAK, True, False)
        if size in _WITH_REQUEST and 0 <= surplus <= _MOST_HEADER:
            return _Candidate(asked, flight, size, Finding.WEAK, True, True)
        return None

    def _answered(self, index: int) -> int:
        """Bytes of a turn of the server's, without the cover's session tickets in front of its first answers."""
        answer = self._turns[index]
        if len(self._turns) + index > _LAST_TURN_WITH_TICKETS:
            return -sum(answer)
        if len(answer) >= 2 and answer[0] == answer[1] and -answer[0] <= _COVER_TICKET:
            return -sum(answer[2:])
        return -sum(answer[1:] if -answer[0] <= _SHORT_COVER_TICKET else answer)

    def _is_first_request(self) -> bool:
        """Whether what was said before the last three turns is short enough to have prepared a connection only."""
        return self._is_http2 or all(
            sum(turn) <= _MOST_ASKED if turn[0] > 0 else self._answered(index - len(self._turns)) <= _MOST_ANSWERED
            for index, turn in enumerate(self._turns[:-3])
        )

    def _accept_at_once(self) -> str:
        """With the customary hello and no surplus, chance is out of the question."""
        candidate = self._candidate
        if candidate is None or candidate.hello != _PADDED_HELLO:
            return ""
        return self._accept() if candidate.finished in _FINISHED_TLS13 + _FINISHED_TLS12 else ""

    def _judge_request(self, size: int) -> str:
        """A second record of the client's behind the Finished."""
        if self._candidate is None or size < _REQUEST_BYTES:
            return ""
        return self._drop() if self._candidate.has_request else self._accept()

    def _judge_ticket(self, size: int) -> str:
        """The first record of the server's answer, where the request was sent with the Finished."""
        if self._candidate is None or not self._candidate.has_request:
            return ""
        return self._accept() if size in _TICKET else self._drop()

    def _conclude(self) -> str:
        """The server's whole answer to the Finished."""
        candidate = self._candidate
        if candidate is None:
            return ""
        answer = -sum(self._turns[-1])
        answers = _TICKETS_TLS13 if candidate.is_tls13 else _ANSWERS_TLS12
        return self._accept() if any(answer in one for one in answers) else self._drop()

    def _accept(self) -> str:
        """Note the candidate; its lengths, in words, when it is strong."""
        candidate, self._candidate = self._candidate, None
        if candidate is None or self._finding is None:
            return ""
        self._finding[0] = max(self._finding[0], candidate.finding)
        if candidate.finding is Finding.WEAK:
            return ""
        return (
            f"records of {candidate.hello}, {candidate.flight} and {candidate.finished} bytes are those of a TLS "
            "handshake: ClientHello, flight, Finished"
        )

    def _drop(self) -> str:
        self._candidate = None
        return ""

    def _judge_padding(self) -> str:
        """Whether the client's last two messages and the server's newest one are padded as XTLS Vision does."""
        if self._finding is None or len(self._turns) < 4:
            return ""
        hello, finished, answer = self._turns[-4][-1], self._turns[-2][0], -self._turns[-1][0]
        if not all(size in _VISION for size in (hello, finished, answer)):
            return ""
        self._finding[0] = Finding.STRONG
        return f"records of {hello}, {finished} and {answer} bytes are padded like a handshake in XTLS Vision"

    def _is_no_handshake(self) -> bool:
        """Whether no handshake is to be expected any more."""
        turns = self._turns
        if not turns or abs(sum(turns[-1])) > _MOST_TURN_BYTES:
            return bool(turns)
        if turns[-1][0] < 0:
            return self._answer_excludes()
        if self._candidate is not None or turns[-1][0] in _VISION:
            return False
        if self._turns_of_client >= (_TURNS_HTTP2 if self._is_http2 else _TURNS):
            return True
        return not self._is_http2 and len(turns) >= 2 and self._answered(-2) > _MOST_ANSWERED

    def _answer_excludes(self) -> bool:
        """Whether the server's turn, as far as it goes, can neither be a flight nor belong to what comes before one."""
        asked, answered = self._turns[-2][-1] if len(self._turns) >= 2 else 0, self._answered(-1)
        if self._candidate is not None or asked in _VISION:
            return answered > _MOST_TURN_BYTES
        if self._is_http2:
            may_be_flight = 0 <= asked - _PADDED_HELLO <= _MOST_SURPLUS
            return not may_be_flight and answered > _MOST_ANSWERED_HTTP2
        return asked not in _HELLO and answered > _MOST_ANSWERED
