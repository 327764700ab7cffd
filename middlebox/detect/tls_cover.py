"""What TLS records tell of the program inside: for each one after the handshake, who wrote how many bytes.

The one rule: only lengths go in. What encryption adds is taken off, so that the lengths are those which the program
inside wrote, and can be compared with what its protocol's specification says.
"""

from middlebox.detect.base import Conversation
from middlebox.detect.tls_records import APPLICATION_DATA, FINISHED_LENGTHS, TLS13_OVERHEAD, TlsRecords

_TLS12_OVERHEAD = 24
"Nonce and tag of AES-GCM, RFC 5288 section 3. ChaCha20-Poly1305 adds 8 less, the old CBC suites some 40 more."
_VERSIONS = ("TLS 1.3", "TLS 1.2")
"In older ones no cipher suite has a fixed overhead."


class Cover:
    """The contents of a TLS connection's records, as far as their lengths go."""

    __slots__ = ("_records", "_seen", "data")

    def __init__(self) -> None:
        self._records = TlsRecords()
        self._seen = 0
        self.data: list[int] = []
        "Bytes of each data record, in order: positive from the client, negative from the server."

    def read(self, talk: Conversation) -> list[int]:
        """Take in what is new; the new records, in order."""
        self._records.update(talk)
        fresh = self._records.data[self._seen :]
        if not fresh:
            return []
        self._seen += len(fresh)
        overhead = TLS13_OVERHEAD if self.is_tls13 else _TLS12_OVERHEAD
        contents = [max(length - overhead, 1) * (1 if mine else -1) for mine, _, length in fresh]
        self.data += contents
        return contents

    def is_hopeless(self, talk: Conversation) -> bool:
        """Whether nothing more can be learned of this connection."""
        return talk.midstream or self._records.is_full or talk.facts.get("tls.version", "TLS 1.3") not in _VERSIONS

    @property
    def is_tls13(self) -> bool:
        """Whether TLS 1.3 is spoken; False as long as that is not known."""
        return self._records.is_tls13

    def finished_lengths(self) -> tuple[int, int]:
        """TLS 1.3: lengths of the records that end the server's and the client's handshake; zeros before that."""
        server = 0
        for mine, content_type, length in self._records.records:
            if content_type == APPLICATION_DATA:
                if mine:
                    return server, length if length in FINISHED_LENGTHS else 0
                server = length
        return 0, 0
