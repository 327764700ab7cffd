"""Multicast DNS (RFC 6762), told from DNS by what only it sends.

The one rule: id and flags must be those of multicast (section 18), and the first name must be of the local link; the
wire format is DNS's, whose parser is used.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.detect.dns import is_multicast, parse_message
from middlebox.evidence import Confidence

_RESPONSE_BIT = 0x80


class Mdns(DatagramExchange):
    """Recognises queries and announcements of the local link."""

    name: ClassVar[str] = "mdns"
    protocols: ClassVar[tuple[str, ...]] = ("mdns",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = (
        "Queries with an id of their own (RFC 6762 section 6.7) look like DNS, also in the bytes, and are called dns."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("dns",)
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = ""

    def read(self, message: bytes) -> Seen | None:
        """The header first, which most other traffic does not have."""
        # Records may be cut off by the capture; what comes first is enough.
        if not is_multicast(message) or parse_message(message, cut=True) is None:
            return None
        return Seen("a multicast DNS response" if message[2] & _RESPONSE_BIT else "a multicast DNS query")
