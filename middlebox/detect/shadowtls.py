"""ShadowTLS version 3, recognised by the four bytes that it adds to every record of a genuine TLS 1.3 handshake.

The relay lets a real server do the handshake and adds a 4-byte HMAC to each encrypted record from that server, so that
its client knows it (protocol document of version 3, "Server: relay handshake"). The client's Finished is genuine. Both
Finished messages are as long as the hash of the cipher suite, so two records that hold nothing else are equally long;
here the server's is four bytes longer. A server that puts other messages into that record makes it longer by six at
least, since EncryptedExtensions has six.

The one rule: only a server that sends its Finished in a record of its own can be judged. What happens after the
handshake is not looked at.

Source: ihciah/shadow-tls, docs/protocol-v3-en.md.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_TAG_BYTES = 4
"HMAC-SHA1, cut to this length, in front of the content."


class ShadowTls(Detector):
    """Recognises ShadowTLS version 3 on top of a TLS 1.3 handshake."""

    name: ClassVar[str] = "shadowtls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("shadowtls",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = (
        "Versions 1 and 2, and servers that send their whole handshake in one record: there the four bytes do not show."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_cover",)

    def __init__(self) -> None:
        self._cover = Cover()

    def feed(self, talk: Conversation) -> Answer:
        """Compare the two Finished records as soon as the client's is there."""
        self._cover.read(talk)
        server, client = self._cover.finished_lengths()
        if client:
            if server != client + _TAG_BYTES:
                return Opinion.NO
            reason = (
                f"the server's Finished record has {server} bytes, the client's {client}: "
                "four were added to a genuine handshake"
            )
            return Evidence("shadowtls", Confidence.PROBABLE, reason)
        if server or self._cover.data or self._cover.is_hopeless(talk):
            return Opinion.NO
        return Opinion.MORE
