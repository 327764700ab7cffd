"""The Simple Service Discovery Protocol of UPnP (UPnP Device Architecture 2.0, chapter 1).

The one rule: a first line that HTTP has, too, counts only with a header field that only SSDP has.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_SEARCH, _NOTIFY, _RESPONSE = b"M-SEARCH * HTTP/1.1\r\n", b"NOTIFY * HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"
_FIELDS = (b"\r\nst:", b"\r\nnt:", b"\r\nusn:")
"Search target, notification target, unique service name."
_MAX_BYTES = 2048
_ASKED = "search"


class Ssdp(DatagramExchange):
    """Recognises searches, their responses, and announcements."""

    name: ClassVar[str] = "ssdp"
    protocols: ClassVar[tuple[str, ...]] = ("ssdp",)
    misses: ClassVar[str] = "A search to the multicast address and its responses are different flows, each probable."
    client_begins: ClassVar[bytes] = b"MNH"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "form"

    def read(self, message: bytes) -> Seen | None:
        """First line and header fields."""
        if not message.startswith((_SEARCH, _NOTIFY, _RESPONSE)):
            return None
        head = message[:_MAX_BYTES].lower()
        if message.startswith(_SEARCH):
            return Seen("an SSDP search", asks=_ASKED)
        if not any(field in head for field in _FIELDS):
            return None
        if message.startswith(_NOTIFY):
            return Seen("an SSDP announcement")
        return Seen("an SSDP response", answers=_ASKED)
