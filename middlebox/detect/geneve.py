"""Geneve: options and a packet behind a header that says their lengths and kinds.

The one rule: every reserved bit is zero, the options fill the space that the header gives them, and `confirmed` needs a
whole packet inside. Source: RFC 8926 sections 3.4 and 3.5.
"""

from typing import ClassVar

from middlebox.detect.base import UDP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.inner_packet import ARP, ETHERNET, IPV4, IPV6, ip_packet, is_whole
from middlebox.evidence import Confidence

_HEADER_BYTES = 8
_OPTION_HEADER_BYTES = 4
_KINDS = frozenset({ARP, ETHERNET, IPV4, IPV6})
"The protocol type is an EtherType; these are what implementations send."
_RESERVED_FLAGS = 0x3F
"Of the second byte: all but the control and the critical bit."
_RESERVED_OPTION_BITS = 0xE0


def _start(data: bytes) -> int:
    """Where the inner packet begins, 0 if this is no Geneve header."""
    # Version 0 leaves the two highest bits clear, so the first byte is the options' length in words.
    if len(data) < _HEADER_BYTES or data[0] & 0xC0 or data[1] & _RESERVED_FLAGS or data[7]:
        return 0
    if data[2] << 8 | data[3] not in _KINDS:
        return 0
    end = _HEADER_BYTES + 4 * data[0]
    at = _HEADER_BYTES
    while at < end:  # 63 steps at most
        if len(data) < at + _OPTION_HEADER_BYTES or data[at + 3] & _RESERVED_OPTION_BITS:
            return 0
        at += _OPTION_HEADER_BYTES + 4 * data[at + 3]
    return end if at == end <= len(data) else 0


class Geneve(Encapsulation):
    """Recognises Geneve by its header, its options and the whole packet behind them."""

    __slots__ = ()

    name: ClassVar[str] = "geneve"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("geneve",)
    client_begins: ClassVar[bytes] = bytes(range(0x40))
    server_begins: ClassVar[bytes] = client_begins
    misses: ClassVar[str] = "Geneve that carries neither Ethernet nor IP, or whose packets are encrypted."

    def look(self, data: bytes, size: int) -> Found | None:
        """Header first: it rules out nearly everything."""
        start = _start(data)
        if not start:
            return None
        if is_whole(data[2] << 8 | data[3], data[start:], size - start):
            return Confidence.CONFIRMED, "a Geneve header, and behind its options one whole packet"
        if data[2] << 8 | data[3] != ETHERNET and len(data) == size:
            return None  # IP that is whole, but is none
        return Confidence.PROBABLE, "a Geneve header, and behind it a packet that is cut short or of unknown kind"

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet behind the options."""
        start = _start(data)
        return ip_packet(data[2] << 8 | data[3], data[start:]) if start else b""
