"""TLS over TCP, recognised by its two hello messages (RFC 8446 section 4.1, RFC 5246 section 7.4.1).

One rule: the answer is a function of what both sides have said so far, never of how TCP segments or TLS records cut
it up. Each side is read once, byte after byte, and what is read is kept.

A whole ClientHello is `probable` and gives its facts at once, so that rules can act on the first packet. A ServerHello
that chose a cipher and a version out of those offered, or an alert record, makes it `confirmed`. Whichever side sends
the ClientHello is the TLS client: in active FTP over TLS that is the side that accepted the connection.

The fact tls.certificate_sha256 is the digest of the server's own certificate, up to TLS 1.2. It is what was shown: no
signature is checked, so it says who the server claims to be.

The fact tls.ech says that an encrypted_client_hello extension is there. Browsers send it filled with noise when they
do not use it (GREASE, RFC 9849 section 6.2), so it does not show that the visible name is a false one.

An SSL 2.0 compatible hello is `possible` until a TLS server answers: its header is short, but its four lengths must
add up. A connection joined in its middle is `probable` when both sides begin with an application data record:
noise has about one chance in 2^35 for that, but nothing links the two sides.
"""

from dataclasses import replace
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.detect.certificate import CertificateReader
from middlebox.detect.client_hello import (
    CLIENT_HELLO,
    MESSAGE_HEADER,
    ClientHello,
    ServerHello,
    client_facts,
    parse_client_hello,
    parse_server_hello,
    parse_sslv2_client_hello,
)
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_RECORD_HEADER = 5
_ALERT, _HANDSHAKE, _APPLICATION_DATA = 21, 22, 23
"Record content types, RFC 8446 section 5.1."
_MAJOR_VERSION = b"\x03"
"First byte of every record version. In alerts and data it must be this: little else tells those from noise."
_MAX_MAJOR_VERSION = 0x0F
"""In handshake records it must be ignored (RFC 8446 section 5.1), and Go's servers ignore it up to this number. DTLS
counts down from 0xfe."""
_MAX_PLAINTEXT = 1 << 14
"Content of a record, RFC 8446 section 5.1."
_MAX_CIPHERTEXT = _MAX_PLAINTEXT + 2048
"Content of an application data record, RFC 5246 section 6.2.3; TLS 1.3 allows less."
_MAX_RECORDS = 2_048
"Ours: of one side before its hello is whole. Enough for 1.8 kB, a hello with post-quantum keys, byte by byte."
_ALERT_LENGTH = 2
_WARNING, _FATAL = 1, 2
"Levels of an alert, RFC 8446 section 6. After a warning the handshake may go on."
_MAX_ALERTS = 16
"Of one side before its hello: the most that Go's TLS takes in a row (conn.go, maxUselessRecords). BoringSSL takes 4."

_LAST_WITH_CLEAR_CERTIFICATE = 0x0303
"TLS 1.2. Later versions encrypt it (RFC 8446 section 4.4.2)."
_VERSION_NAMES = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
"As Suricata's EVE spells them."


class Tls(Detector):
    """Recognises TLS 1.0 to 1.3 and SSL 3.0, and SSL 2.0 compatible hellos, on any port."""

    name: ClassVar[str] = "tls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls",)
    client_begins: ClassVar[bytes] = bytes((_HANDSHAKE, _ALERT, _APPLICATION_DATA, *range(0x80, 0x100)))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = (
        "tls.sni",
        "tls.version",
        "tls.client_alpns",
        "tls.server_alpns",
        "tls.ja4",
        "tls.ech",
        "tls.certificate_sha256",
    )
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "TLS that starts after another protocol's greeting (STARTTLS), names behind Encrypted Client Hello "
        "or behind the first 16 kB, and connections joined in the middle of a record."
    )

    __slots__ = ("_certificate", "_client", "_given", "_server")

    def __init__(self) -> None:
        self._client = _Side()
        self._server = _Side()
        self._given: Evidence | None = None
        self._certificate: CertificateReader | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides have said; facts of the ClientHello come with the packet that completes it."""
        self._client.read(talk.client, midstream=talk.midstream)
        self._server.read(talk.server, midstream=talk.midstream)
        answer = only_news(self._with_certificate(self._judge(), talk), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _with_certificate(self, answer: Answer, talk: Conversation) -> Answer:
        """Add the server's certificate to evidence of a whole exchange, where TLS 1.2 or before shows it."""
        server, stream = (self._server, talk.server)
        if isinstance(self._client.hello, ServerHello):
            server, stream = (self._client, talk.client)
        hello = server.hello
        is_whole = isinstance(answer, Evidence) and answer.confidence is Confidence.CONFIRMED
        if not is_whole or not isinstance(hello, ServerHello) or hello.version > _LAST_WITH_CLEAR_CERTIFICATE:
            return answer
        assert isinstance(answer, Evidence)
        if self._certificate is None:
            self._certificate = CertificateReader()
        found = self._certificate.read(stream)
        if isinstance(found, Opinion):
            return replace(answer, more=found is Opinion.MORE)
        return replace(answer, facts={**answer.facts, "tls.certificate_sha256": found})

    def _judge(self) -> Answer:
        for asking, answering in ((self._client, self._server), (self._server, self._client)):
            if isinstance(asking.hello, ClientHello):
                return _judge_exchange(asking, asking.hello, answering)
        if self._client.is_foreign or self._server.is_foreign:
            return Opinion.NO
        for side in (self._client, self._server):
            if isinstance(side.hello, ServerHello):
                facts = _server_facts(side.hello)
                return Evidence("tls", Confidence.PROBABLE, "a ServerHello without a ClientHello", facts, more=True)
        if self._client.in_application_data and self._server.in_application_data:
            return Evidence("tls", Confidence.PROBABLE, "both sides begin with a TLS application data record")
        return Opinion.MORE


def _judge_exchange(asking: "_Side", hello: ClientHello, answering: "_Side") -> Answer:
    """Evidence from the ClientHello of one side and whatever the other side answers."""
    if isinstance(answering.hello, ServerHello) and hello.could_be_answered_by(answering.hello):
        facts = asking.facts | _server_facts(answering.hello)
        return Evidence("tls", Confidence.CONFIRMED, "the ServerHello chose from what the ClientHello offered", facts)
    if answering.sent_alert:
        reason = "a TLS alert answers the ClientHello"
        return Evidence("tls", Confidence.CONFIRMED, reason, asking.facts, more=not answering.is_settled)
    if answering.is_foreign or answering.hello is not None:
        return Opinion.NO
    if asking.is_sslv2:
        return Evidence("tls", Confidence.POSSIBLE, "an SSL 2.0 compatible hello whose lengths add up", more=True)
    seen = "a well-formed ClientHello" if hello.complete else "the start of a very long ClientHello"
    return Evidence("tls", Confidence.PROBABLE, seen, asking.facts, more=True)


def _server_facts(hello: ServerHello) -> dict[str, object]:
    facts: dict[str, object] = {"tls.version": _version_name(hello.version)}
    if hello.alpns:
        facts["tls.server_alpns"] = list(hello.alpns)
    return facts


def _version_name(version: int) -> str:
    if version >> 8 == 0x7F:
        return f"TLS 1.3 draft-{version & 0xFF}"
    return _VERSION_NAMES.get(version, f"0x{version:04x}")


class _Side:
    """Reads one direction until its first handshake message, fatal alert or application data record is whole.

    Warnings are read over, before the hello and between its records: BoringSSL and Go forgive them there.
    """

    __slots__ = (
        "_alert",
        "_alerts",
        "_content",
        "_left",
        "_position",
        "_records",
        "_type",
        "facts",
        "hello",
        "in_application_data",
        "is_foreign",
        "is_sslv2",
        "sent_alert",
        "sent_fatal_alert",
    )

    def __init__(self) -> None:
        self.hello: ClientHello | ServerHello | None = None
        self.facts: dict[str, object] = {}
        "What the ClientHello tells, once there is one."
        self.is_sslv2 = False
        self.sent_alert = False
        self.sent_fatal_alert = False
        self.in_application_data = False
        self.is_foreign = False
        "This side does not speak TLS."
        self._position = 0
        "Where in the stream reading goes on."
        self._type = 0
        self._left = 0
        "Content type of the record being read, and how many of its bytes are still to come."
        self._content = bytearray()
        "Handshake bytes, taken out of their records."
        self._alert = bytearray()
        "The alert that is being read."
        self._alerts = self._records = 0

    def read(self, stream: bytes, *, midstream: bool) -> None:
        """Take in what is new in `stream`, which only ever grows."""
        if self.is_settled or not stream:
            return
        if self._position == 0 and stream[0] & 0x80:
            self.is_sslv2 = True
            self._settle(parse_sslv2_client_hello(stream))
        else:
            self._read_records(stream, midstream)
        if len(stream) >= STREAM_LIMIT and not self.is_settled:
            # Whatever comes later will not be shown.
            self.in_application_data = self._type == _APPLICATION_DATA
            self._settle(parse_client_hello(bytes(self._content), cut=True))
            self.is_foreign = self.hello is None and not self.in_application_data

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is read."""
        return self.hello is not None or self.sent_fatal_alert or self.in_application_data or self.is_foreign

    @property
    def _has_message(self) -> bool:
        """Whether the first handshake message is whole. Cheap, so that a thousand tiny records cost little."""
        length = int.from_bytes(self._content[1:MESSAGE_HEADER])
        return len(self._content) >= MESSAGE_HEADER + length

    def _read_records(self, stream: bytes, midstream: bool) -> None:
        while self._position < len(stream) and not self.is_settled and not self._has_message:
            if not self._left:
                if self._records >= _MAX_RECORDS:
                    self.is_foreign = True
                    break
                if self._take_whole_records(stream):
                    continue
            if self._left:
                self._take(stream[self._position : self._position + self._left])
            elif not self._start_record(stream[self._position : self._position + _RECORD_HEADER], midstream):
                break
        if self._content and not self.is_settled:
            parse = parse_client_hello if self._content[0] == CLIENT_HELLO else parse_server_hello
            self._settle(parse(bytes(self._content)))

    def _take_whole_records(self, stream: bytes) -> bool:
        """Take in the handshake records that are there as a whole; False when there is none.

        They come by the thousand when somebody cuts a hello into records of one byte, so this is no loop over `_take`.
        """
        content, at, last = self._content, self._position, len(stream) - _RECORD_HEADER
        before, needed = at - len(content), MESSAGE_HEADER
        for _ in range(_MAX_RECORDS - self._records):
            if at > last or stream[at] != _HANDSHAKE or stream[at + 1] > _MAX_MAJOR_VERSION:
                break
            start = at + _RECORD_HEADER
            end = start + (stream[at + 3] << 8 | stream[at + 4])
            if end > len(stream) or end - start > _MAX_PLAINTEXT:
                break
            content += stream[start:end]
            at = end
            if len(content) >= needed:
                needed = MESSAGE_HEADER + int.from_bytes(content[1:MESSAGE_HEADER])
                if len(content) >= needed:
                    break
        if at == self._position:
            return False
        self._records += (at - len(content) - before) // _RECORD_HEADER
        self._position, self._type = at, _HANDSHAKE
        return True

    def _start_record(self, header: bytes, midstream: bool) -> bool:
        """Judge a record header, or the first bytes of one; True when it is whole."""
        # Application data cannot come between the records of a hello.
        may_be_data = midstream and not self._content
        allowed = (_HANDSHAKE, _ALERT, _APPLICATION_DATA) if may_be_data else (_HANDSHAKE, _ALERT)
        self._type = header[0]
        major_version = header[1:2] or _MAJOR_VERSION
        is_version = (
            major_version[0] <= _MAX_MAJOR_VERSION if self._type == _HANDSHAKE else major_version == _MAJOR_VERSION
        )
        length = int.from_bytes(header[3:].ljust(2, b"\0"))
        most = _MAX_CIPHERTEXT if self._type == _APPLICATION_DATA else _MAX_PLAINTEXT
        if self._type not in allowed or not is_version or length > most:
            self.is_foreign = True
        if self.is_foreign or len(header) < _RECORD_HEADER:
            return False
        self.is_foreign = self._type == _ALERT and length != _ALERT_LENGTH
        self._position += _RECORD_HEADER
        self._records += 1
        self._left = length
        return True

    def _take(self, piece: bytes) -> None:
        """Take in content of the current record."""
        self._position += len(piece)
        self._left -= len(piece)
        if self._type == _APPLICATION_DATA:
            self.in_application_data = not self._left
            return
        if self._type == _HANDSHAKE:
            self._content += piece
            return
        self._alert += piece
        if not self._left:
            level = self._alert[0]
            self._alert.clear()
            self.sent_alert = self.sent_alert or level in (_WARNING, _FATAL)
            self.sent_fatal_alert = level == _FATAL
            self._alerts += 1
            self.is_foreign = level not in (_WARNING, _FATAL) or self._alerts > _MAX_ALERTS

    def _settle(self, result: ClientHello | ServerHello | Opinion) -> None:
        if isinstance(result, Opinion):
            self.is_foreign = result is Opinion.NO
            return
        self.hello = result
        if isinstance(result, ClientHello) and not self.is_sslv2:
            self.facts = client_facts(result, "tls", "t")
