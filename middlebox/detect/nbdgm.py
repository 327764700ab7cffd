"""NetBIOS datagrams (RFC 1002 section 4.4): browser announcements and logons of Windows networks.

The one rule: both names must be NetBIOS names, and the length must be that of the datagram.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.detect.nbns import skip_name
from middlebox.evidence import Confidence

_DIRECT = frozenset({0x10, 0x11, 0x12})
"Direct unique, direct group, broadcast (section 4.4.1). Errors and queries are hardly ever sent."
_HEADER_BYTES = 14
"Type, flags, id, source address and port, length, offset of this fragment (section 4.4.2)."
_LENGTH = slice(10, 12)


class Nbdgm(DatagramExchange):
    """Recognises a datagram between two NetBIOS names."""

    name: ClassVar[str] = "nbdgm"
    protocols: ClassVar[tuple[str, ...]] = ("nbdgm",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Nothing is answered in the same flow, so nothing is confirmed."
    client_begins: ClassVar[bytes] = bytes(_DIRECT)
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = ""

    def read(self, message: bytes) -> Seen | None:
        """Header, source name, destination name; what follows is not looked at."""
        if len(message) <= _HEADER_BYTES or int.from_bytes(message[_LENGTH]) != len(message) - _HEADER_BYTES:
            return None
        source_end = skip_name(message, _HEADER_BYTES)
        if not source_end or not skip_name(message, source_end):
            return None
        return Seen("a datagram between two NetBIOS names")
