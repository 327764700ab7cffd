"""The data of PPTP: PPP in GRE version 1 over IP (protocol 47, RFC 2637 section 4).

The one rule: `confirmed` needs an acknowledgment of a sequence number that the other side has sent.
"""

import struct
from typing import ClassVar, NamedTuple

from middlebox.detect.base import GRE, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = struct.Struct("!HHHH")
"Flags with version, protocol type, payload length, call id (section 4.1)."
_NUMBER = struct.Struct("!I")
_FIXED_MASK, _FIXED = 0xEF7F, 0x2001
"All bits but S and A are given: a key, no checksum, no routing, version 1."
_SEQUENCE, _ACKNOWLEDGMENT = 0x1000, 0x0080
_PPP = 0x880B
_MAX_REMEMBERED = 32
"Sequence numbers remembered per side: acknowledgments follow within a window of 64 or fewer (section 4.2)."
_MAX_WAITING = 16
"Packets in which the other side may acknowledge."


class _Packet(NamedTuple):
    """An enhanced GRE header."""

    sequence: int | None
    acknowledgment: int | None


def _parse(data: bytes, size: int) -> _Packet | None:
    if len(data) < _HEADER.size:
        return None
    flags, kind, length, _call = _HEADER.unpack_from(data)
    if kind != _PPP or flags & _FIXED_MASK != _FIXED:
        return None
    at = _HEADER.size
    numbers: list[int | None] = [None, None]
    for place, bit in enumerate((_SEQUENCE, _ACKNOWLEDGMENT)):
        if flags & bit:
            if len(data) < at + _NUMBER.size:
                return None
            (numbers[place],) = _NUMBER.unpack_from(data, at)
            at += _NUMBER.size
    # A packet without payload is a bare acknowledgment; some senders leave its length from the packet before.
    return _Packet(*numbers) if at + length == size or at == size else None


class PptpData(Detector):
    """Links acknowledgments to sequence numbers."""

    name: ClassVar[str] = "pptp_data"
    transports: ClassVar[tuple[int, ...]] = (GRE,)
    protocols: ClassVar[tuple[str, ...]] = ("pptp",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "What PPP carries, and proof where only one direction is seen."

    __slots__ = ("_given", "_packets", "_sent")

    def __init__(self) -> None:
        self._sent: tuple[list[int], list[int]] = ([], [])
        "Sequence numbers of the server and of the client."
        self._given = False
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one packet."""
        packet = _parse(talk.data, talk.size)
        self._packets += 1
        if packet is None:
            return Opinion.MORE if self._given and self._packets < _MAX_WAITING else Opinion.NO
        mine, others = self._sent[talk.from_client], self._sent[not talk.from_client]
        if packet.acknowledgment is not None and packet.acknowledgment in others:
            reason = "PPTP data acknowledges a sequence number that the other side sent"
            return Evidence("pptp", Confidence.CONFIRMED, reason)
        if packet.sequence is not None:
            mine.append(packet.sequence)
            del mine[:-_MAX_REMEMBERED]
        if not self._given:
            self._given = True
            reason = "PPP in GRE version 1, by the IP protocol number and the header"
            return Evidence("pptp", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE if self._packets < _MAX_WAITING else Opinion.NO
