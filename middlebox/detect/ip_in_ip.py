"""IPv4 packets as the payload of IP packets, protocol number 4.

The one rule: the protocol number says what should follow, and `confirmed` needs one whole packet there.
Sources: RFC 2003 section 3 (in IPv4), RFC 2473 section 3 (in IPv6).
"""

from typing import ClassVar

from middlebox.detect.base import IP_IN_IP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Confidence


def look_for_ip(data: bytes, size: int, version: int) -> Found | None:
    """What a datagram shows that should be one packet of this IP version."""
    if not data or data[0] >> 4 != version:
        return None
    if is_whole_ip(data, size):
        return Confidence.CONFIRMED, f"one whole IPv{version} packet behind the IP header"
    return Confidence.PROBABLE, f"behind the IP header an IPv{version} packet that is damaged or cut short"


class IpInIp(Encapsulation):
    """Recognises IPv4 in IP."""

    __slots__ = ()

    name: ClassVar[str] = "ip_in_ip"
    transports: ClassVar[tuple[int, ...]] = (IP_IN_IP,)
    protocols: ClassVar[tuple[str, ...]] = ("ip-in-ip",)
    misses: ClassVar[str] = "Minimal encapsulation (RFC 2004), which has a protocol number of its own."

    def look(self, data: bytes, size: int) -> Found | None:
        """Protocol 4 promises IPv4."""
        return look_for_ip(data, size, 4)

    def unwrap(self, data: bytes) -> bytes:
        """All of it."""
        return data
