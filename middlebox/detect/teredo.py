"""Teredo: IPv6 packets in UDP, with an address that names the server, or an address of a link.

The one rule: the indications before it and the IPv6 packet fill the datagram, and one of the two addresses is such as
Teredo uses; IPv6 in UDP alone proves nothing.
Source: RFC 4380 sections 2.6, 4, 5.1.1 and 5.2.1.
"""

from typing import ClassVar

from middlebox.detect.base import UDP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Confidence

_ORIGIN, _AUTHENTICATION = b"\x00\x00", b"\x00\x01"
"Indications, told from IPv6 by their first byte (section 5.1.1)."
_ORIGIN_BYTES = 8
"Itself, port and address."
_AUTHENTICATION_BYTES = 13
"Itself, two lengths, nonce and confirmation; client id and authentication value come in between."
_PREFIX = b"\x20\x01\x00\x00"
"2001::/32 (section 2.6)."
_OLD_PREFIX = b"\x3f\xfe\x83\x1f"
"3ffe:831f::/32, with which clients began before the protocol was published (section 2.6 of its drafts)."
_LINK = b"\xfe\x80\x00\x00\x00\x00\x00\x00"
"Link-local: router solicitations and advertisements, and bubbles through the server (sections 5.2.1 and 5.2.3)."
_ALL_ROUTERS = bytes.fromhex("ff020000000000000000000000000002")
_DISCOVERY = bytes.fromhex("ff0200000000000000000000000000fd")
"ff02::fd, for bubbles on the local link (section 2.8 gives the IPv4 group that they go to)."
_PREFIXES = frozenset({_PREFIX, _OLD_PREFIX})


def _start(data: bytes) -> int:
    """Where the IPv6 packet begins, -1 if something else is there."""
    at = 0
    if data[:2] == _AUTHENTICATION and len(data) >= 4:
        at = _AUTHENTICATION_BYTES + data[2] + data[3]
    if data[at : at + 2] == _ORIGIN:
        at += _ORIGIN_BYTES
    return at if len(data) >= at + 40 and data[at] >> 4 == 6 else -1


class Teredo(Encapsulation):
    """Recognises Teredo by what stands before the IPv6 packet and by the packet's addresses."""

    __slots__ = ()

    name: ClassVar[str] = "teredo"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("teredo",)
    client_begins: ClassVar[bytes] = b"\x00" + bytes(range(0x60, 0x70))
    server_begins: ClassVar[bytes] = client_begins
    misses: ClassVar[str] = "Servers that hand out addresses with a prefix of their own."

    def look(self, data: bytes, size: int) -> Found | None:
        """The first byte already rules out nearly everything."""
        if not data or (data[0] and data[0] >> 4 != 6):
            return None
        start = _start(data)
        if start < 0 or not is_whole_ip(data[start:], size - start):
            return None
        source, destination = data[start + 8 : start + 24], data[start + 24 : start + 40]
        if source[:4] in _PREFIXES or destination[:4] in _PREFIXES:
            return Confidence.CONFIRMED, "an IPv6 packet with a Teredo address fills the datagram"
        if source[:8] == _LINK and (start or destination[:8] == _LINK or destination in (_ALL_ROUTERS, _DISCOVERY)):
            return Confidence.CONFIRMED, "an IPv6 packet of a Teredo link fills the datagram"
        return None

    def unwrap(self, data: bytes) -> bytes:
        """The IPv6 packet."""
        start = _start(data)
        return data[start:] if start >= 0 else b""
