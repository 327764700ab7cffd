"""DNSCrypt over UDP and TCP: the certificate that is asked for in clear, and the encrypted queries after it.

The one rule: an encrypted query is noise, so nothing is said of it before the response, which begins with a fixed
mark and repeats the query's nonce.

Source: the DNSCrypt specification, version 2 (draft-denis-dprive-dnscrypt): sections on client and resolver queries,
certificates, and anonymised queries.
"""

from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.detect.dns_names import TXT, read_question
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_VERSION_LABEL, _PROVIDER_LABEL = b"2", b"dnscrypt-cert"
"First labels of the name under which certificates are found; the second is a custom only."
_CERTIFICATE = b"DNSC"
_CERTIFICATE_VERSIONS = (b"\x00\x01\x00\x00", b"\x00\x02\x00\x00")
"Construction of the cipher, and a minor version of zero."

_RESPONSE_MARK = b"r6fnvWj8"
_NONCE_AT, _NONCE_BYTES = 8 + 32, 12
"In a query: after the certificate's client mark and the client's public key."
_RESPONSE_NONCE_AT = len(_RESPONSE_MARK)
_BLOCK = 64
"Queries are padded to a multiple of this."
_LEAST_QUERY = _NONCE_AT + _NONCE_BYTES + 16 + _BLOCK
"With a tag and a block."
_RELAY_MARK = b"\xff" * 8 + b"\x00\x00"
"An anonymised query begins with this, and with the server's address and port (18 bytes)."
_RELAY_BYTES = len(_RELAY_MARK) + 18
_LENGTH_BYTES = 2
"Over TCP each message follows its length."
_PATIENCE = 3
"Messages without an answer that fits."


class DnsCrypt(Detector):
    """Finds a certificate that answers a query for it, or a response that repeats a query's nonce."""

    name: ClassVar[str] = "dnscrypt"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("dnscrypt",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Encrypted queries without an answer, and answers whose query was not seen (probable)."

    __slots__ = ("_certificate_asked", "_messages", "_nonces")

    def __init__(self) -> None:
        self._nonces: set[bytes] = set()
        "UDP: of queries, at most _PATIENCE."
        self._messages = 0
        self._certificate_asked = False

    def feed(self, talk: Conversation) -> Answer:
        """UDP: each datagram is one message. TCP: the first message of each side."""
        if talk.client or talk.server:
            return self._feed_stream(talk.client, talk.server)
        self._messages += 1
        return self._feed_message(talk.data)

    def _feed_message(self, data: bytes) -> Answer:
        if data.startswith(_RESPONSE_MARK):
            return self._judge_response(data)
        question = read_question(data)
        if question is not None and question.rrtype == TXT and question.labels[:1] == (_VERSION_LABEL,):
            return self._judge_certificate(data, question.labels, is_reply=question.is_reply)
        if len(data) < _LEAST_QUERY or self._messages > _PATIENCE or self._certificate_asked:
            return Opinion.NO
        at = _NONCE_AT + (_RELAY_BYTES if data.startswith(_RELAY_MARK) else 0)
        self._nonces.add(data[at : at + _NONCE_BYTES])
        return Opinion.MORE

    def _judge_response(self, data: bytes) -> Answer:
        nonce = data[_RESPONSE_NONCE_AT : _RESPONSE_NONCE_AT + _NONCE_BYTES]
        if nonce in self._nonces and len(nonce) == _NONCE_BYTES:
            reason = "the response has DNSCrypt's mark and repeats the query's nonce"
            return Evidence("dnscrypt", Confidence.CONFIRMED, reason)
        return Evidence(
            "dnscrypt", Confidence.PROBABLE, "a response with DNSCrypt's mark, to a query that was not seen"
        )

    def _judge_certificate(self, data: bytes, labels: tuple[bytes, ...], *, is_reply: bool) -> Answer:
        if not is_reply:
            self._certificate_asked = True
            if len(labels) > 1 and labels[1].lower() == _PROVIDER_LABEL and self._messages == 1:
                reason = "a query for a DNSCrypt provider's certificate"
                return Evidence("dnscrypt", Confidence.PROBABLE, reason, more=True)
            return Opinion.MORE if self._messages <= _PATIENCE else Opinion.NO
        at = data.find(_CERTIFICATE)
        if at < 0 or not data.startswith(_CERTIFICATE_VERSIONS, at + len(_CERTIFICATE)):
            return Opinion.NO
        if self._certificate_asked:
            return Evidence("dnscrypt", Confidence.CONFIRMED, "a DNSCrypt certificate answers the query for it")
        return Evidence("dnscrypt", Confidence.PROBABLE, "a DNSCrypt certificate, to a query that was not seen")

    def _feed_stream(self, client: bytes, server: bytes) -> Answer:
        """The server's first bytes after its length are the mark; the client's first message was a query."""
        if not client or len(server) >= STREAM_LIMIT:
            return Opinion.NO
        if len(client) < _LENGTH_BYTES:
            return Opinion.NO if server else Opinion.MORE
        size = int.from_bytes(client[:_LENGTH_BYTES])
        if not _LEAST_QUERY <= size <= STREAM_LIMIT or size % _BLOCK:
            return Opinion.NO
        mark = server[_LENGTH_BYTES : _LENGTH_BYTES + len(_RESPONSE_MARK)]
        if not _RESPONSE_MARK.startswith(mark):
            return Opinion.NO
        end = _LENGTH_BYTES + len(_RESPONSE_MARK) + _NONCE_BYTES
        if len(server) < end:
            return Opinion.MORE
        at = _LENGTH_BYTES + _NONCE_AT + (_RELAY_BYTES if client.startswith(_RELAY_MARK, _LENGTH_BYTES) else 0)
        if server[end - _NONCE_BYTES : end] != client[at : at + _NONCE_BYTES]:
            return Opinion.NO
        reason = "the response has DNSCrypt's mark and repeats the query's nonce"
        return Evidence("dnscrypt", Confidence.CONFIRMED, reason)
