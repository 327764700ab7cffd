"""uTP, the transport of BitTorrent over UDP (BEP 29).

The one rule: `confirmed` needs an answer that carries the connection id of a SYN and acknowledges its number, or both
directions with ids that differ by one and numbers that acknowledge each other. What is carried is BitTorrent when its
handshake is in clear.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.bittorrent import PEER_START
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!BBHIIIHH")
"Type and version, first extension, connection id, timestamp, its difference, window, number, acknowledgement."
_DATA, _FIN, _STATE, _RESET, _SYN = 0x01, 0x11, 0x21, 0x31, 0x41
"Types with version 1, the only one in use."
_TYPES = frozenset({_DATA, _FIN, _STATE, _RESET, _SYN})
_MAX_EXTENSION = 3
"1 is selective acknowledgement; 2 and 3 are used by libtorrent."
_MAX_EXTENSION_BYTES = 64
_MAX_EXTENSIONS = 8
"Ours: in one packet."
_MAX_BEHIND = 1024
"Packets in flight, by which an acknowledgement may be behind the number that the other side has reached."
_LEAST_EACH_WAY = 2
_ONE_WAY = 3
"Packets that follow another one with the same id and the next number, or the same when they only acknowledge."
_MAX_FOREIGN = 3
_MAX_PACKETS = 8


class Utp(Detector):
    """Recognises connections from their SYN, or from numbers that acknowledge each other."""

    name: ClassVar[str] = "utp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("utp", "bittorrent")
    client_begins: ClassVar[bytes] = bytes(_TYPES)
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Whether it carries BitTorrent, when that is encrypted; version 0 of the header."

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._syn: dict[bool, tuple[int, int]] = {}
        "Connection id and number of the SYN, by who sent it."
        self._last: dict[bool, tuple[int, int]] = {}
        "Connection id and number of the newest packet of each side."
        self._packets = 0
        self._fitting = [0, 0]
        "Packets in a row that acknowledge what the other side sent. Server and client, indexed by `from_client`."
        self._given: Confidence | None = None
        self._foreign = self._row = 0

    def feed(self, talk: Conversation) -> Answer:
        """Read one header; compare it with what the other side sent."""
        header = _read(talk.data)
        if header is None and self._is_begun:
            self._foreign += 1
            return Opinion.MORE if self._foreign <= _MAX_FOREIGN else Opinion.NO
        if header is None:
            return Opinion.NO
        if not self._is_begun:
            self._begin()
        kind, connection, number, acknowledged, start = header
        mine, other = talk.from_client, not talk.from_client
        self._packets += 1
        if talk.data.startswith(PEER_START, start):
            confidence = Confidence.CONFIRMED if self._given is Confidence.CONFIRMED else Confidence.PROBABLE
            return Evidence("bittorrent", confidence, "a peer's handshake inside uTP")
        if self._given is Confidence.CONFIRMED:
            return Opinion.MORE if self._packets < _MAX_PACKETS else Opinion.NO
        if self._syn.get(other) == (connection, acknowledged) and kind in (_STATE, _DATA):
            reason = "an answer with the SYN's connection id acknowledges its number"
            return self._evidence(Confidence.CONFIRMED, reason)
        last, before = self._last.get(other), self._last.get(mine)
        is_next = before is not None and connection == before[0] and (number - before[1]) & 0xFFFF <= 1
        self._row = self._row + 1 if is_next else 0
        self._last[mine] = connection, number
        if self._row == _ONE_WAY and last is None and self._given is None:
            return self._evidence(Confidence.PROBABLE, "one way, packets of one connection id, numbered one by one")
        if kind == _SYN:
            self._syn[mine] = connection, number
            if self._given is None:
                return self._evidence(Confidence.POSSIBLE, "a SYN of uTP")
        elif last is not None:
            self._fitting[mine] = self._fitting[mine] + 1 if _acknowledges(last, connection, acknowledged) else 0
            if min(self._fitting) >= _LEAST_EACH_WAY:
                reason = "both directions acknowledge each other's numbers under connection ids that differ by one"
                return self._evidence(Confidence.CONFIRMED, reason)
        return Opinion.MORE if self._packets < _MAX_PACKETS else Opinion.NO

    def _evidence(self, confidence: Confidence, reason: str) -> Evidence:
        self._given = confidence
        return Evidence("utp", confidence, reason, more=True)


def _acknowledges(last: tuple[int, int], connection: int, acknowledged: int) -> bool:
    """Whether the ids differ by one, and the acknowledgement is what the other side has reached, or little less."""
    behind = (last[1] - acknowledged) & 0xFFFF
    return (last[0] - connection) & 0xFFFF in (1, 0xFFFF) and behind <= _MAX_BEHIND


def _read(message: bytes) -> tuple[int, int, int, int, int] | None:
    """Type, connection id, number, acknowledgement and where the payload begins; None when this is no packet."""
    if len(message) < _HEADER.size or message[0] not in _TYPES or message[1] > _MAX_EXTENSION:
        return None
    kind, extension, connection, _time, _difference, _window, number, acknowledged = _HEADER.unpack_from(message)
    at = _HEADER.size
    for _ in range(_MAX_EXTENSIONS):
        if not extension or at + 2 > len(message):
            break
        extension, length = message[at], message[at + 1]
        if extension > _MAX_EXTENSION or not 0 < length <= _MAX_EXTENSION_BYTES:
            return None
        at += 2 + length
    else:
        return None
    if at > len(message) or (kind in (_SYN, _STATE, _RESET) and at != len(message)):
        return None
    return kind, connection, number, acknowledged, at
