"""The lengths of TLS records, as far as a detector may see them: what is left to look at once TLS hides the rest.

The one rule: records are counted by their headers, in the order in which the headers were complete, so that neither
TCP segments nor offload change anything. Nothing is ever decrypted.

A record's length includes what encryption adds: a 1 byte type and a 16 byte tag in TLS 1.3 (RFC 8446 section 5.2),
8 bytes of nonce and a 16 byte tag with AES-GCM in TLS 1.2 (RFC 5288 section 3).
"""

from typing import NamedTuple

from middlebox.detect.base import STREAM_LIMIT, Conversation

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
"Content types, RFC 8446 section 5.1 and RFC 6520 section 3."
HEADER_BYTES = 5
MAX_RECORD_BYTES = (1 << 14) + 2048
"Content of a record, RFC 5246 section 6.2.3; TLS 1.3 allows less."
MAX_RECORDS = 96
"Ours: records remembered of one connection. A handshake has about ten; 16 KiB hold few more than these in use."
TLS13_OVERHEAD = 17
"Content type and tag, RFC 8446 section 5.2, with every cipher suite but the two CCM_8 ones."
FINISHED_LENGTHS = frozenset({53, 69})
"Of a TLS 1.3 Finished message: 4 bytes of header, 32 or 48 of hash, TLS13_OVERHEAD (RFC 8446 section 4.4.4)."
_TLS12_OVERHEADS = {40: 24, 32: 16}
"""What AEAD ciphers add in TLS 1.2, by the length of a Finished message, which holds 16 bytes: AES-GCM and AES-CCM
(RFC 5288, RFC 6655), ChaCha20-Poly1305 (RFC 7905). Block ciphers pad, which hides the exact length."""
_MAJOR_VERSION = 3


class Record(NamedTuple):
    """One record, as its header tells it."""

    from_client: bool
    content_type: int
    length: int
    "Bytes after the header."


class TlsRecords:
    """Reads the record headers of both sides of a connection, each byte once."""

    __slots__ = ("_client", "_server", "data", "is_broken", "is_tls13", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        "All records, the handshake's first, at most MAX_RECORDS."
        self.data: list[Record] = []
        """Those of them that are application data after the sender's handshake. The server's begin with its session
        tickets in TLS 1.3, which nothing tells from data: usually one or two, right after the client's Finished."""
        self.is_tls13 = False
        self.is_broken = False
        "One side sent something else than TLS records."
        self._client = _Side()
        self._server = _Side()

    @property
    def overhead(self) -> int | None:
        """Bytes that encryption adds to each record; None when that is not known."""
        return TLS13_OVERHEAD if self.is_tls13 else _TLS12_OVERHEADS.get(self._client.finished_length)

    @property
    def is_open(self) -> bool:
        """Whether both sides have finished their handshake."""
        return self._client.has_finished and self._server.has_finished

    @property
    def is_full(self) -> bool:
        """Whether no further records will be read: too many, or beyond what detectors may see, or broken."""
        is_cut = self._client.is_cut or self._server.is_cut
        return self.is_broken or is_cut or len(self.records) >= MAX_RECORDS

    def update(self, talk: Conversation) -> bool:
        """Take in what is new; True when that completed the header of a record."""
        known = len(self.records)
        version = talk.facts.get("tls.version")
        self.is_tls13 = isinstance(version, str) and version.startswith("TLS 1.3")
        # Both sides, though only one has news: what was said before the first call is read on that call.
        if talk.from_client:
            self._read(self._server, talk.server, midstream=talk.midstream)
            self._read(self._client, talk.client, midstream=talk.midstream)
        else:
            self._read(self._client, talk.client, midstream=talk.midstream)
            self._read(self._server, talk.server, midstream=talk.midstream)
        return len(self.records) > known

    def _read(self, side: "_Side", stream: bytes, *, midstream: bool) -> None:
        at, end = side.position, len(stream) - HEADER_BYTES
        while at <= end and len(self.records) < MAX_RECORDS and not self.is_broken:
            content_type, length = stream[at], stream[at + 3] << 8 | stream[at + 4]
            if (
                not CHANGE_CIPHER_SPEC <= content_type <= HEARTBEAT
                or stream[at + 1] != _MAJOR_VERSION
                or length > MAX_RECORD_BYTES
            ):
                self.is_broken = True
                return
            self._add(Record(side is self._client, content_type, length), side, midstream=midstream)
            at += HEADER_BYTES + length
        side.position = at
        side.is_cut = len(stream) >= STREAM_LIMIT and at > end

    def _add(self, record: Record, side: "_Side", *, midstream: bool) -> None:
        self.records.append(record)
        if record.content_type == CHANGE_CIPHER_SPEC:
            side.changed_cipher = True
        elif record.content_type == HANDSHAKE:
            # In TLS 1.3 a second ClientHello may follow a ChangeCipherSpec (RFC 8446 section D.4).
            if side.changed_cipher and not side.has_finished and not self.is_tls13:
                side.has_finished = True
                side.finished_length = record.length
        elif record.content_type == APPLICATION_DATA:
            if side.has_finished or midstream:
                side.has_finished = True
                self.data.append(record)
            elif record.from_client:
                # All else that a client sends under encryption before its Finished is a certificate or early data.
                side.has_finished = record.length in FINISHED_LENGTHS
                # The server's Finished comes before the client's in TLS 1.3.
                self._server.has_finished = self._server.has_finished or side.has_finished


class _Side:
    """How far one direction has been read."""

    __slots__ = ("changed_cipher", "finished_length", "has_finished", "is_cut", "position")

    def __init__(self) -> None:
        self.position = 0
        "Where the next record begins."
        self.changed_cipher = False
        self.finished_length = 0
        "Bytes of its Finished record in TLS 1.2 and before."
        self.has_finished = False
        "What follows of application data belongs to what TLS carries."
        self.is_cut = False
        "The next header lies beyond what detectors may see."
