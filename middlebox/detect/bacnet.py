"""BACnet over IP (ASHRAE 135 annexes J and U).

The one rule: the link header's length is the datagram's; `confirmed` needs that from both sides.
"""

from typing import ClassVar

from middlebox.detect.base import UDP
from middlebox.detect.paired import Paired

_HEADER_BYTES = 4
_TYPES = {0x81: range(0x0D), 0x82: range(0x0D)}
"IPv4 and IPv6, and their functions."
_WITH_NETWORK_HEADER = {0x81: {0x0A: 4, 0x0B: 4, 0x09: 4, 0x04: 10}, 0x82: {}}
"Functions behind whose own fields a network header stands, which begins with its version, 1."


class Bacnet(Paired):
    """Recognises BACnet/IP."""

    __slots__ = ()

    name: ClassVar[str] = "bacnet"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("bacnet",)
    client_begins: ClassVar[bytes] = bytes(_TYPES)
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "a BACnet message that fills the datagram"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first datagram."""
        if len(data) < _HEADER_BYTES or data[1] not in _TYPES.get(data[0], ()):
            return False
        if data[2] << 8 | data[3] != len(data):
            return False
        at = _WITH_NETWORK_HEADER[data[0]].get(data[1])
        return at is None or data[at : at + 1] == b"\x01"
