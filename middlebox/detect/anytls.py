"""AnyTLS, recognised by the record lengths of its default padding scheme and the frames with which its server answers.

After the TLS handshake the client writes the hash of its password and 30 bytes of padding (64 bytes in all), then a
record padded to 100 to 400 bytes, then one of 400 to 500. The server's first record holds frames without payload:
its settings (`v=2`, 10 bytes), or that the stream is open (7 bytes), or both.

The one rule: the three lengths and the answer must all fit; HTTP/2 clients also begin with 64 bytes now and then.

Source: anytls/anytls-go, docs/protocol.md ("Authentication", "paddingScheme", default scheme) and its frame header of
seven bytes.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_FIRST_BYTES = 64
"SHA-256 of the password (32), length of the padding (2), padding (`0=30-30`)."
_SECOND_BYTES = range(100, 401)
"`1=100-400` of the default scheme."
_THIRD_BYTES = range(400, 501)
"`2=400-500,...` of the default scheme."
_CLIENT_RECORDS = 3
_SERVER_BYTES = (7, 10, 17)
"A frame header; settings with the version; both."


class AnyTls(Detector):
    """Recognises AnyTLS with its default padding scheme."""

    name: ClassVar[str] = "anytls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("anytls",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 7
    misses: ClassVar[str] = "Sessions whose server sent another padding scheme than the default one."
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_answer", "_client", "_cover")

    def __init__(self) -> None:
        self._cover = Cover()
        self._client: list[int] = []
        "The client's records so far."
        self._answer = 0
        "Bytes of the first record that the server sent after the client's first."

    def feed(self, talk: Conversation) -> Answer:
        """Compare each record with the scheme as it comes."""
        for size in self._cover.read(talk):
            if size > 0:
                self._client.append(size)
                if len(self._client) <= _CLIENT_RECORDS and not _fits(self._client):
                    return Opinion.NO
            elif self._client and not self._answer:
                self._answer = -size
                if self._answer not in _SERVER_BYTES:
                    return Opinion.NO
        if len(self._client) < _CLIENT_RECORDS or not self._answer:
            return Opinion.NO if self._cover.is_hopeless(talk) else Opinion.MORE
        reason = (
            f"client records of {', '.join(map(str, self._client[:_CLIENT_RECORDS]))} bytes follow the default padding "
            f"scheme, and a frame of {self._answer} bytes answers"
        )
        return Evidence("anytls", Confidence.PROBABLE, reason)


def _fits(client: list[int]) -> bool:
    """Whether the newest of the client's first records has a length that the scheme gives it."""
    if len(client) == 1:
        return client[0] == _FIRST_BYTES
    return client[-1] in (_SECOND_BYTES if len(client) == 2 else _THIRD_BYTES)
