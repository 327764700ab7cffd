"""RTP (RFC 3550): media in packets that are numbered one by one.

The one rule: one source each way whose numbers follow each other; `confirmed` when both ways do. The encrypted form
(SRTP) has the same header. No port and no signalling is needed.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!BBHII")
"Version and flags, marker and payload type, number, timestamp, source (RFC 3550 section 5.1)."
VERSIONS = range(0x80, 0xC0)
"First bytes with version 2."
CONTROL_TYPES = range(192, 224)
"Second bytes that belong to RTCP when both share a flow (RFC 5761 section 4)."
_PADDING, _EXTENSION, _SOURCES = 0x20, 0x10, 0x0F
_MAX_STEP = 3
"Numbers rise by one; losses and what another source sends between leave small gaps."
_MAX_TIME_STEP = 1 << 24
"In units of at most 90,000 a second: three minutes."
_LEAST_ROW = 3
"Packets in a row: their numbers follow each other by chance once in 10^8, and their sources are the same, too."
_MAX_FOREIGN = 6
"Packets of other kinds: RTCP, STUN, or another source."


class _Side:
    """The newest packet of one side, and how many in a row led to it."""

    __slots__ = ("number", "row", "source", "time")

    def __init__(self) -> None:
        self.number = self.time = self.source = -1
        self.row = 0

    def add(self, number: int, time: int, source: int) -> None:
        step, time_step = (number - self.number) & 0xFFFF, (time - self.time) & 0xFFFFFFFF
        follows = source == self.source and step <= _MAX_STEP and time_step < _MAX_TIME_STEP
        if not follows or step:
            self.row = self.row + 1 if follows else 1
        self.number, self.time, self.source = number, time, source


class Rtp(Detector):
    """Recognises a source whose packets are numbered one by one."""

    name: ClassVar[str] = "rtp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("rtp",)
    client_begins: ClassVar[bytes] = bytes(VERSIONS)
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = "RTP behind STUN or DTLS in the same flow keeps their name; RTP over TCP and inside TURN."

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._sides = (_Side(), _Side())
        "Server and client of the flow, indexed by `from_client`."
        self._foreign = 0
        self._is_given = False

    def feed(self, talk: Conversation) -> Answer:
        """Count how many packets follow each other."""
        message = talk.data
        if message[0] not in VERSIONS or not _is_packet(message):
            return self._pass_over() if self._is_begun else Opinion.NO
        if not self._is_begun:
            self._begin()
        _flags, _kind, number, time, source = _HEADER.unpack_from(message)
        side, other = self._sides[talk.from_client], self._sides[not talk.from_client]
        side.add(number, time, source)
        if side.row >= _LEAST_ROW <= other.row:
            return Evidence(
                "rtp", Confidence.CONFIRMED, "both sides number their packets one by one, each as one source"
            )
        if side.row >= _LEAST_ROW and not self._is_given:
            self._is_given = True
            return Evidence("rtp", Confidence.PROBABLE, "one source numbers its packets one by one", more=True)
        return Opinion.MORE if side.row > 1 or self._is_given else self._pass_over(is_first=side.row == 1)

    def _pass_over(self, *, is_first: bool = False) -> Opinion:
        self._foreign += 1
        is_begun = any(side.row for side in self._sides)
        return Opinion.MORE if (is_begun or is_first) and self._foreign <= _MAX_FOREIGN else Opinion.NO


def _is_packet(message: bytes) -> bool:
    """Whether header, sources, extension and padding fit into the message."""
    if len(message) < _HEADER.size or message[1] in CONTROL_TYPES:
        return False
    at = _HEADER.size + 4 * (message[0] & _SOURCES)
    if message[0] & _EXTENSION:
        if len(message) < at + 4:
            return False
        at += 4 + 4 * int.from_bytes(message[at + 2 : at + 4])
    # SRTP encrypts the padding's length.
    return at <= len(message)
