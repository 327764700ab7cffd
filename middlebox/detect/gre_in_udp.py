"""GRE version 0 in UDP datagrams (RFC 8086), on any port.

The one rule: nothing counts but an inner IP packet that fills its datagram to the byte, and both directions must have
one to be `confirmed`.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.gre import inner_packet, is_filled, parse_gre
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 24
"A GRE and an IPv4 header."
_ZERO_BITS = 0x4F
"Of the first byte: routing present, strict source route, recursion control (RFC 2784 section 2.3), as RFC 8086 wants."
_MAX_WAITING = 6
"Datagrams in which the other direction may answer: NVGRE and the like may use another flow for each."


class GreInUdp(Detector):
    """Recognises GRE by the IP packets in it."""

    name: ClassVar[str] = "gre_in_udp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("gre",)
    client_begins: ClassVar[bytes] = bytes(first for first in range(256) if not first & _ZERO_BITS)
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "GRE in UDP that carries no IP, or is itself inside DTLS."
    unwraps: ClassVar[bool] = True

    __slots__ = ("_packets", "_said")

    def __init__(self) -> None:
        self._packets = 0
        self._said: set[bool] = set()
        "Directions that have sent an inner packet."

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one GRE packet."""
        data = talk.data
        if len(data) < _LEAST_BYTES or data[0] & _ZERO_BITS or data[1]:
            return Opinion.NO
        inner = self.unwrap(data)
        if not inner or not is_filled(inner, talk.size - (len(data) - len(inner))):
            return Opinion.NO
        self._packets += 1
        is_news = talk.from_client not in self._said
        self._said.add(talk.from_client)
        if len(self._said) == 2:
            return Evidence("gre", Confidence.CONFIRMED, "GRE in UDP with whole IP packets inside, both ways")
        if is_news:
            reason = "GRE in UDP with an IP packet that fills the datagram"
            return Evidence("gre", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE if self._packets < _MAX_WAITING else Opinion.NO

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet inside, out of its Ethernet frame where there is one."""
        packet = parse_gre(data)
        return inner_packet(data, packet) if packet else b""
