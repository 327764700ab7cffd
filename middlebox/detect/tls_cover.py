"""What can be seen of the data inside TLS: for every record after the handshake its direction and its content's length.

One rule: only lengths and types of records are read, never what they hold, and each byte of a stream is looked at once.

Record boundaries stand in clear and survive any offload that merges packets, so they tell more than packet sizes. From
each length the cipher's expansion is taken off: what is left is what the program inside wrote, as a rule.

Layouts: RFC 8446 section 5.2, RFC 5246 section 6.2, RFC 5288 section 3 (explicit nonce).
"""

from middlebox.detect.base import STREAM_LIMIT, Conversation

_HEADER = 5
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_MAX_CIPHERTEXT = (1 << 14) + 2048
"RFC 5246 section 6.2.3."
_MOST_RECORDS = 256
"Ours: records that are looked at in one flow. A stream of empty ones has three thousand in its first 16 KiB."

TLS13_EXPANSION = 17
"Tag of an AEAD and the inner content type, RFC 8446 section 5.2."
TLS12_EXPANSION = 24
"Explicit nonce and tag of AES-GCM, RFC 5288 section 3. ChaCha20-Poly1305 has 8 less, CBC suites more."
FINISHED_RECORDS = (53, 69)
"""Length of a TLS 1.3 record with nothing but a Finished message: 4 bytes of header, a hash (SHA-256 or SHA-384, RFC 8446
section 4.4.4), and the expansion."""


class Cover:
    """Reads the records of both directions and keeps those after the handshake."""

    __slots__ = (
        "_changed", "_positions", "_read", "broken", "client_finished", "data", "expansion", "handshake", "seen",
    )  # fmt: skip

    def __init__(self) -> None:
        self.data: list[int] = []
        "Content bytes of each data record after the handshake, in the order seen: negative from the server."
        self.seen = 0
        "Records of `data` that `read` has returned before."
        self.handshake: list[int] = []
        "TLS 1.3: lengths on the wire of the server's encrypted records before the client's Finished."
        self.client_finished = 0
        "TLS 1.3: length on the wire of the client's Finished record."
        self.expansion = 0
        "Bytes that encryption adds to each record; 0 until the version is known."
        self.broken = False
        "Not TLS records, early data, a client certificate, or a version without encrypted records to look at."
        self._positions = [0, 0]
        self._changed = [False, False]
        "TLS 1.2: whether the side has sent ChangeCipherSpec. Indexed by direction like the positions: the client is 1."
        self._read = 0

    def read(self, talk: Conversation) -> list[int]:
        """Take in what is new in both streams; return the new data records."""
        if talk.midstream:
            self.broken = True
        for side, stream in ((1, talk.client), (0, talk.server)):
            while not self.broken and self._positions[side] + _HEADER <= len(stream):
                position = self._positions[side]
                kind, length = stream[position], int.from_bytes(stream[position + 3 : position + _HEADER])
                if not _CHANGE_CIPHER_SPEC <= kind <= _APPLICATION_DATA or stream[position + 1] != 3:
                    self.broken = True
                elif length > _MAX_CIPHERTEXT or self._read >= _MOST_RECORDS:
                    self.broken = True
                else:
                    self._positions[side] = position + _HEADER + length
                    self._read += 1
                    self._take(side, kind, length, talk)
        new = self.data[self.seen :]
        self.seen = len(self.data)
        return new

    @property
    def exhausted(self) -> bool:
        """Whether a record reaches beyond what is shown of a stream, so that no more can be read of that side."""
        return max(self._positions) >= STREAM_LIMIT

    def _take(self, side: int, kind: int, length: int, talk: Conversation) -> None:
        if kind == _CHANGE_CIPHER_SPEC:
            self._changed[side] = True
        if kind != _APPLICATION_DATA:
            return
        if not self.expansion:
            version = talk.facts.get("tls.version")
            if version not in ("TLS 1.3", "TLS 1.2"):
                self.broken = True
                return
            self.expansion = TLS13_EXPANSION if version == "TLS 1.3" else TLS12_EXPANSION
        if self.expansion == TLS13_EXPANSION and not self.client_finished:
            if not side:
                self.handshake.append(length)
            elif length in FINISHED_RECORDS and self.handshake:
                self.client_finished = length
            else:
                self.broken = True  # early data, or a certificate of the client's
            return
        content = max(length - self.expansion, 1)
        self.data.append(content if side else -content)
