"""Counts how the sequence numbers of IPsec packets advance; shared by ipsec (over UDP), esp and ah.

The one rule: only a number that grows under the same Security Parameters Index, in small steps, counts.

Layout: RFC 4303 section 2 (ESP) and RFC 4302 section 2 (AH).
"""

import struct
from typing import NamedTuple

from middlebox.evidence import Answer, Confidence, Evidence, Opinion

LEAST_SPI = 256
"Smaller ones are reserved (RFC 4303 section 2.1)."
MAX_STEP = 1024
"Ours: larger jumps are not one flow's loss. Replay windows are 32 to 4096 packets, loss is seldom a fifth of that."
_MAX_INDICES = 8
"Ours: security associations remembered per direction. A pair of gateways has one for each pair of networks."
_LOOKED_AT = 12
"Ours: packets in which both directions may begin to advance."
_ESP = struct.Struct("!II")
_LEAST_ESP_BYTES = 20
"SPI, sequence number and a payload of at least one block of 4 with an 8 byte ICV (RFC 4303 section 2)."
_ALIGNMENT = 4
"Payload, padding and trailer end on such a boundary (RFC 4303 section 2.4), and so does every ICV in use."
_AH = struct.Struct("!BBHII")
_LEAST_AH_BYTES = 24
"A header with an ICV of 96 bits, the shortest there is (RFC 4302 section 2.2)."


class Position(NamedTuple):
    """Where in which security association a packet stands."""

    spi: int
    sequence: int


def parse_esp(data: bytes, size: int) -> Position | None:
    """SPI and sequence number of the ESP packet of `size` bytes that `data` begins, or None."""
    if len(data) < _ESP.size or size < _LEAST_ESP_BYTES or size % _ALIGNMENT:
        return None
    index, sequence = _ESP.unpack_from(data)
    return Position(index, sequence) if index >= LEAST_SPI and sequence else None


def parse_ah(data: bytes, size: int) -> tuple[Position, int, int] | None:
    """SPI and sequence number, what follows (an IP protocol number), and where; None when this is no AH."""
    if len(data) < _AH.size:
        return None
    next_header, words, reserved, index, sequence = _AH.unpack_from(data)
    length = (words + 2) * 4  # RFC 4302 section 2.2
    if reserved or not sequence or index < LEAST_SPI or not _LEAST_AH_BYTES <= length <= size:
        return None
    return Position(index, sequence), next_header, length


class Associations:
    """How far the security associations of both directions have come."""

    __slots__ = ("_known", "advances")

    def __init__(self) -> None:
        self._known: tuple[dict[int, int], dict[int, int]] = ({}, {})
        "Highest sequence number by SPI: the server's, the client's."
        self.advances = [0, 0]
        "How often a number grew, in packets of the server and of the client."

    def add(self, position: Position, *, from_client: bool, max_step: int = MAX_STEP) -> bool:
        """Take in a packet; False when it neither continues nor begins an association."""
        known = self._known[from_client]
        highest = known.get(position.spi)
        if highest is None:
            known[position.spi] = position.sequence
            if len(known) > _MAX_INDICES:
                del known[next(iter(known))]
            return True
        step = position.sequence - highest
        if 0 < step <= max_step:
            known[position.spi] = position.sequence
            self.advances[from_client] += 1
        return -max_step <= step <= max_step

    @property
    def both(self) -> int:
        """Advances of the direction that has fewer."""
        return min(self.advances)

    def indices(self, *, from_client: bool) -> set[int]:
        """The SPIs that one side has used."""
        return set(self._known[from_client])


class Judge:
    """What esp and ah say, whose packets an IP protocol number of their own announces."""

    __slots__ = ("_associations", "_given", "_name", "_packets")

    def __init__(self, name: str) -> None:
        self._name = name
        self._associations = Associations()
        self._given: Confidence | None = None
        self._packets = 0

    def judge(self, position: Position | None, *, from_client: bool) -> Answer:
        """Evidence as soon as there is more of it than before."""
        self._packets += 1
        if position is not None:
            self._associations.add(position, from_client=from_client)
        if self._associations.both:
            reason = f"{self._name} both ways, each with sequence numbers that advance under one SPI"
            return Evidence("ipsec", Confidence.CONFIRMED, reason)
        if position is not None and self._given is not Confidence.PROBABLE:
            self._given = Confidence.PROBABLE
            reason = f"{self._name} by its IP protocol number, with a well-formed header"
            return Evidence("ipsec", Confidence.PROBABLE, reason, more=True)
        if self._given is None:
            self._given = Confidence.POSSIBLE
            reason = f"{self._name} by its IP protocol number alone"
            return Evidence("ipsec", Confidence.POSSIBLE, reason, more=True)
        return Opinion.MORE if self._packets < _LOOKED_AT else Opinion.NO
