"""IPv6 packets as the payload of IP packets, protocol number 41.

The one rule: the protocol number says what should follow, and `confirmed` needs one whole packet there.
Sources: RFC 4213 section 3.5 (in IPv4), RFC 2473 section 3 (in IPv6).
"""

from typing import ClassVar

from middlebox.detect.base import IPV6_IN_IP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.ip_in_ip import look_for_ip


class SixInFour(Encapsulation):
    """Recognises IPv6 in IP."""

    __slots__ = ()

    name: ClassVar[str] = "six_in_four"
    transports: ClassVar[tuple[int, ...]] = (IPV6_IN_IP,)
    protocols: ClassVar[tuple[str, ...]] = ("6in4",)
    misses: ClassVar[str] = "Nothing known. IPv6 in IPv6 has the same protocol number and goes by the same name."

    def look(self, data: bytes, size: int) -> Found | None:
        """Protocol 41 promises IPv6."""
        return look_for_ip(data, size, 6)

    def unwrap(self, data: bytes) -> bytes:
        """All of it."""
        return data
