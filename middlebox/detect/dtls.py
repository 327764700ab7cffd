"""DTLS over UDP, versions 1.0 to 1.3 (RFC 4347, RFC 6347, RFC 9147), and the older one that Cisco AnyConnect speaks.

The one rule: records must fill their datagrams to the byte, and `confirmed` needs a handshake message of each side that
fits the other's, or data in both directions.

STUN and media may share the flow (RFC 7983): a few datagrams of others may come first.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.client_hello import ClientHello, ServerHello
from middlebox.detect.dtls_packet import (
    ALERT,
    APPLICATION_DATA,
    HELLO_VERIFY_REQUEST,
    VERSIONS,
    Hello,
    message_type,
    parse_hello,
    parse_records,
)
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_STUN_COOKIE = b"\x21\x12\xa4\x42"
_STUN_COOKIE_AT = 4
"RFC 8489 section 5."
_MAX_FOREIGN = 6
"Datagrams of other kinds in a row: connectivity checks before the handshake, media beside it."
_MAX_PACKETS = 12
"Ours: datagrams in which what was begun must be answered."


class Dtls(Detector):
    """Links hello messages, or data that flows both ways."""

    name: ClassVar[str] = "dtls"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("dtls",)
    facts: ClassVar[tuple[str, ...]] = ("dtls.version", "dtls.sni")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "DTLS 1.3 and DTLS with connection ids, when the handshake was missed."

    __slots__ = ("_data", "_foreign", "_given", "_hellos", "_is_begun", "_packets", "_verified")

    def __init__(self) -> None:
        self._given: Evidence | None = None
        self._is_begun = False
        self._foreign = 0
        self._packets = 0
        self._hellos: list[Hello | None] = [None, None]
        "The last hello of the server and of the client."
        self._verified: set[bool] = set()
        "Sides that have asked for a cookie or sent an alert."
        self._data: set[bool] = set()
        "Sides that have sent application data."

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one or more whole records."""
        answer = only_news(self._judge(talk), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge(self, talk: Conversation) -> Answer:
        records = parse_records(talk.data, talk.size)
        self._packets += 1
        if not records:
            self._foreign += 1
            may_go_on = self._is_begun or talk.data.startswith(_STUN_COOKIE, _STUN_COOKIE_AT)
            return Opinion.MORE if may_go_on and self._foreign <= _MAX_FOREIGN else Opinion.NO
        self._is_begun, self._foreign = True, 0
        for record in records:
            if record.content_type == APPLICATION_DATA and record.epoch:
                self._data.add(talk.from_client)
            elif record.content_type == ALERT or message_type(record) == HELLO_VERIFY_REQUEST:
                self._verified.add(talk.from_client)
            else:
                hello = parse_hello(record)
                if hello is not None:
                    self._hellos[talk.from_client] = hello
        return self._evidence(VERSIONS[records[0].version])

    def _evidence(self, version: str) -> Answer:
        for asks_as_client in (True, False):
            asked, answered = self._hellos[asks_as_client], self._hellos[not asks_as_client]
            if asked is None or not isinstance(asked.hello, ClientHello):
                continue
            facts: dict[str, object] = {"dtls.sni": asked.hello.sni} if asked.hello.sni else {}
            if answered is not None and isinstance(answered.hello, ServerHello):
                if answered.hello.cipher not in asked.hello.ciphers:
                    return Opinion.NO
                facts["dtls.version"] = _version_name(answered, answered.hello)
                reason = "the ServerHello chose from what the ClientHello offered"
                return Evidence("dtls", Confidence.CONFIRMED, reason, facts)
            if (not asks_as_client) in self._verified:
                reason = "a HelloVerifyRequest or an alert answers the ClientHello"
                return Evidence("dtls", Confidence.CONFIRMED, reason, facts, more=self._packets < _MAX_PACKETS)
            reason = "a well-formed ClientHello"
            return Evidence("dtls", Confidence.PROBABLE, reason, facts, more=self._packets < _MAX_PACKETS)
        if len(self._data) == 2:
            reason = "encrypted application data both ways, in records that fill their datagrams"
            return Evidence("dtls", Confidence.CONFIRMED, reason, {"dtls.version": version})
        reason = "records that fill their datagram"
        return Evidence("dtls", Confidence.PROBABLE, reason, more=self._packets < _MAX_PACKETS)


def _version_name(answer: Hello, hello: ServerHello) -> str:
    """The version that the server chose: DTLS 1.3 says it in an extension."""
    chosen = hello.version if hello.version in VERSIONS else answer.version
    return VERSIONS.get(chosen, f"0x{chosen:04x}")
