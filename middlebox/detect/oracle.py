"""Oracle's TNS: a CONNECT packet with a connect descriptor, and the listener's answer.

The one rule: only a descriptor in parentheses makes a packet a CONNECT. Oracle has not published TNS; the layout is
that of the captures and of Wireshark's packet-tns.c.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_HEADER_BYTES = 8
"Length (2), checksum (2, zero), type, flags, header checksum (2, zero)."
_CONNECT, _ACCEPT, _REFUSE, _REDIRECT, _RESEND = 1, 2, 4, 5, 11
_ANSWERS = frozenset((_ACCEPT, _REFUSE, _REDIRECT, _RESEND))
_DESCRIPTOR = b"(DESCRIPTION="
_DATA = b"(CONNECT_DATA="
_DESCRIPTOR_WITHIN = 512
"Ours: the descriptor begins after some 26 to 74 bytes."


def _read_kind(data: bytes) -> int | None:
    """The packet's type; None while the header is incomplete, 0 when it is none."""
    if len(data) < _HEADER_BYTES:
        return None if data[2:4] == b"\x00\x00"[: max(len(data) - 2, 0)] else 0
    if data[2:4] != b"\x00\x00" or data[6:8] != b"\x00\x00" or int.from_bytes(data[:2]) < _HEADER_BYTES:
        return 0
    return data[4]


class Oracle(Exchange):
    """Finds CONNECT and what answers it."""

    name: ClassVar[str] = "oracle"
    protocols: ClassVar[tuple[str, ...]] = ("oracle",)
    misses: ClassVar[str] = "TNS inside TLS, and connections joined after their start."
    client_begins: ClassVar[bytes] = bytes(range(0x04))
    server_begins: ClassVar[bytes] = bytes(range(0x40))
    patience: ClassVar[int] = 2048

    def judge(self, client: bytes, server: bytes) -> Answer:
        """CONNECT with a descriptor, then an answer of one of the listener's kinds."""
        asked, answered = _read_kind(client), _read_kind(server)
        if (
            asked not in (None, _CONNECT)
            or (answered is not None and answered not in _ANSWERS)
            or (server and not asked)
        ):
            return Opinion.NO
        if not asked:
            return Opinion.MORE
        head = client[_HEADER_BYTES:_DESCRIPTOR_WITHIN].upper()
        if _DESCRIPTOR not in head and _DATA not in head:
            return Opinion.MORE if len(client) < min(int.from_bytes(client[:2]), 256) and not server else Opinion.NO
        if answered:
            return self.confirmed("the listener answers a CONNECT with a descriptor")
        return self.probable("a CONNECT with a descriptor")
