"""XMPP: both sides open an XML stream in the namespace that they share (RFC 6120 sections 4.2 and 4.8).

The one rule: only the stream's namespace tells it from other XML. After STARTTLS the connection keeps this name.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_STREAM = re.compile(
    rb"\s{0,8}(?:<\?xml [^>]{0,100}\?>\s{0,8})?<(?:[A-Za-z]{1,10}:)?stream\s[^>]{0,1000}"
    rb"http://etherx\.jabber\.org/streams"
)
_OPENINGS = (b"<?xml ", b"<stream")
_LONGEST_HEADER = 1200


def _is_stream(data: bytes) -> Fit:
    if _STREAM.match(data):
        return True
    text = data.lstrip()[:8]
    begun = any(known.startswith(text[: len(known)]) for known in _OPENINGS)
    return None if begun and len(data) < _LONGEST_HEADER else False


class Xmpp(Exchange):
    """Finds a stream's header from both sides."""

    name: ClassVar[str] = "xmpp"
    protocols: ClassVar[tuple[str, ...]] = ("xmpp",)
    misses: ClassVar[str] = "XMPP inside TLS from the first byte, HTTP (BOSH) or WebSocket."
    client_begins: ClassVar[bytes] = b"< \r\n"
    server_begins: ClassVar[bytes] = b"< \r\n"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A stream header from each side."""
        return self.weigh(
            _is_stream(client),
            _is_stream(server),
            question="a stream header of XMPP from the client",
            answer="a stream header of XMPP from the server",
            link="stream headers of XMPP both ways",
        )
