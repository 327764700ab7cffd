"""The DTLS channel of AnyConnect and OpenConnect (draft-mavrogiannopoulos-openconnect-04 section 2.2).

The one rule: its keys come from a TLS connection, not from its own handshake, and only what shows that counts: a
session resumed that was never begun, a session id beside nothing but pre-shared keys whose identity is "psk", an
application id, or the DTLS version that OpenSSL had before there was a standard.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector, Scope
from middlebox.detect.client_hello import ClientHello, ServerHello
from middlebox.detect.dtls_packet import (
    CERTIFICATE,
    CLIENT_KEY_EXCHANGE,
    OLD_VERSION,
    Hello,
    Record,
    message_body,
    message_type,
    parse_hello,
    parse_records,
)
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_APPLICATION_ID = 48018
"Extension type (draft section 2.2.3; OpenConnect's DTLS_APP_ID_EXT)."
_PSK_IDENTITY = b"\x00\x03psk"
"All that a ClientKeyExchange holds with a plain pre-shared key (RFC 4279 section 2); the identity is the draft's."
_SESSION_BYTES = 32
"X-DTLS-Session-ID and X-DTLS-App-ID are as long as TLS allows."
_PSK_SUITES = frozenset(
    {
        *range(0x008A, 0x0096), *range(0x00A8, 0x00BA), *range(0xC033, 0xC03C), *range(0xC064, 0xC072),
        *range(0xC08E, 0xC09C), *range(0xC0A4, 0xC0AC), *range(0xCCAB, 0xCCAF), *range(0xD001, 0xD006),
    }
)  # fmt: skip
"Cipher suites with pre-shared keys (IANA, TLS Cipher Suites)."
_SIGNALLING_SUITES = frozenset({0x00FF, 0x5600})
"Renegotiation (RFC 5746) and fallback (RFC 7507): no ciphers."
_MAX_PACKETS = 10
"Ours: datagrams in which its handshake must show."


class DtlsMemory:
    """What two hosts have done before."""

    __slots__ = ("has_full_handshake",)

    def __init__(self) -> None:
        self.has_full_handshake = False
        "A certificate was shown: what is resumed later may be that session."


class OpenconnectDtls(Detector):
    """Looks at DTLS handshakes for keys that they did not make."""

    name: ClassVar[str] = "openconnect_dtls"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("openconnect",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = "Flows joined after their handshake, but for those of the oldest version."
    builds_on: ClassVar[tuple[str, ...]] = ("dtls",)
    remembers: ClassVar[Scope | None] = Scope.PAIR
    memory: ClassVar[type] = DtlsMemory

    __slots__ = ("_asked", "_given", "_is_psk_only", "_memory", "_old", "_packets")

    def __init__(self, memory: object = None) -> None:
        self._memory = memory if isinstance(memory, DtlsMemory) else DtlsMemory()
        self._given: Evidence | None = None
        self._asked: Hello | None = None
        "The last ClientHello."
        self._is_psk_only = False
        self._old: set[bool] = set()
        "Sides that have sent records of the oldest version."
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look at each record of the handshake."""
        self._packets += 1
        answer: Answer = Opinion.MORE
        for record in parse_records(talk.data, talk.size):
            if record.version == OLD_VERSION:
                self._old.add(talk.from_client)
            answer = self._judge(record)
            if isinstance(answer, Evidence):
                break
        if answer is Opinion.MORE and self._packets >= _MAX_PACKETS:
            return Opinion.NO
        answer = only_news(answer, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge(self, record: Record) -> Answer:
        if self._old:
            reason = "DTLS of the version before the standard's, which only AnyConnect still speaks"
            if len(self._old) == 2:
                return Evidence("openconnect", Confidence.CONFIRMED, reason + ", both ways")
            return Evidence("openconnect", Confidence.PROBABLE, reason, more=True)
        kind = message_type(record)
        if kind == CERTIFICATE:
            self._memory.has_full_handshake = True
            return Opinion.NO
        if kind == CLIENT_KEY_EXCHANGE and self._is_psk_only and message_body(record) == _PSK_IDENTITY:
            reason = 'a session id, only pre-shared keys on offer, and the identity "psk"'
            return Evidence("openconnect", Confidence.CONFIRMED, reason)
        hello = parse_hello(record)
        if hello is None:
            return Opinion.MORE
        if isinstance(hello.hello, ClientHello):
            return self._judge_offer(hello, hello.hello)
        return self._judge_choice(hello, hello.hello)

    def _judge_offer(self, hello: Hello, offer: ClientHello) -> Answer:
        self._asked = hello
        ciphers = set(offer.ciphers) - _SIGNALLING_SUITES
        self._is_psk_only = len(hello.session) == _SESSION_BYTES and ciphers <= _PSK_SUITES
        if offer.extension(_APPLICATION_ID) is not None:
            reason = "the ClientHello has the application id extension of AnyConnect"
            return Evidence("openconnect", Confidence.PROBABLE, reason, more=True)
        if self._is_psk_only:
            reason = "a first ClientHello with a session id that offers pre-shared keys only"
            return Evidence("openconnect", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE if len(hello.session) == _SESSION_BYTES else Opinion.NO

    def _judge_choice(self, hello: Hello, _choice: ServerHello) -> Answer:
        if self._asked is None or not isinstance(self._asked.hello, ClientHello):
            return Opinion.NO
        if self._asked.hello.extension(_APPLICATION_ID) is not None:
            reason = "the ServerHello answers a ClientHello with the application id extension of AnyConnect"
            return Evidence("openconnect", Confidence.CONFIRMED, reason)
        ciphers = set(self._asked.hello.ciphers) - _SIGNALLING_SUITES
        if hello.session == self._asked.session and len(ciphers) == 1 and not self._memory.has_full_handshake:
            reason = "a session is resumed, with one cipher on offer, that these hosts have not begun"
            return Evidence("openconnect", Confidence.PROBABLE, reason, more=self._is_psk_only)
        return Opinion.MORE if self._is_psk_only else Opinion.NO
