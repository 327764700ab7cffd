"""AYIYA, "anything in anything": IPv6 in UDP with an identity and a signature, as tunnel brokers used it.

The one rule: the header's own lengths lead to one whole IPv6 packet, or to the end of a message without one.
Source: draft-massar-v6ops-ayiya section 3.
"""

from typing import ClassVar

from middlebox.detect.base import IPV6_IN_IP, UDP
from middlebox.detect.encapsulation import Encapsulation, Found
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Confidence

_FIXED_BYTES = 8
"Lengths and kinds (3 bytes), next header, time in seconds."
_IDENTITY_TYPES, _HASHES, _AUTHENTICATIONS, _OPERATIONS = range(3), range(3), range(4), range(6)
"Types 0 to 2 of identity, hash and so on, as far as they are defined."
_NO_NEXT_HEADER, _IPV4 = 59, 4


def _start(data: bytes) -> int:
    """Where the inner packet begins, 0 if this is no AYIYA header."""
    if len(data) < _FIXED_BYTES or data[3] not in (IPV6_IN_IP, _NO_NEXT_HEADER, _IPV4):
        return 0
    if data[0] & 0x0F not in _IDENTITY_TYPES or data[1] & 0x0F not in _HASHES or data[0] >> 4 not in range(2, 6):
        return 0
    if data[2] >> 4 not in _AUTHENTICATIONS or data[2] & 0x0F not in _OPERATIONS:
        return 0
    return _FIXED_BYTES + (1 << (data[0] >> 4)) + 4 * (data[1] >> 4)


class Ayiya(Encapsulation):
    """Recognises AYIYA by a header that leads to a whole IPv6 packet."""

    __slots__ = ()

    name: ClassVar[str] = "ayiya"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("ayiya",)
    client_begins: ClassVar[bytes] = bytes(size << 4 | kind for size in range(2, 6) for kind in _IDENTITY_TYPES)
    server_begins: ClassVar[bytes] = client_begins
    misses: ClassVar[str] = "Flows of which only heartbeats are seen are never certain."

    def look(self, data: bytes, size: int) -> Found | None:
        """The next header and four small fields rule out nearly everything."""
        start = _start(data)
        if not start:
            return None
        if data[3] != _NO_NEXT_HEADER and is_whole_ip(data[start:], size - start):
            return Confidence.CONFIRMED, "an AYIYA header, and behind it one whole IP packet"
        if start == size:
            return Confidence.POSSIBLE, "an AYIYA header whose lengths fill the datagram"
        return None

    def unwrap(self, data: bytes) -> bytes:
        """The packet behind the signature."""
        start = _start(data)
        return data[start:] if start else b""
