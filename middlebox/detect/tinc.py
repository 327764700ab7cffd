"""tinc: greetings in clear over TCP, and encrypted packets over UDP between the same two hosts.

The one rule: `confirmed` needs a greeting from both sides; UDP is tinc's only between hosts that have greeted each
other, and certain only when its lengths, or the node names' hashes in it, are as tinc makes them.
Sources: tinc 1.0 protocol_auth.c (send_id), protocol.h; net_packet.c (legacy packets; SPTPS packets of tinc 1.1).
"""

from dataclasses import dataclass, field
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector, Scope
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_ID = b"0 "
"Request number of ID, which opens every meta connection."
_PROTOCOL = b"17"
"Major version since tinc 1.0 (2003); 1.1 puts a minor one behind it."
_MAX_LINE_BYTES = 256
"Ours: names are what people type, and few characters long."
_INVITED = b"?"
"tinc 1.1: instead of a name, before the key of who was invited."
_LEAST_DATAGRAM_BYTES = 16
_HEAD_BYTES, _LEAST_DIFFERENT_BYTES = 16, 12
"Of the first bytes of a datagram as many must differ: they are encrypted, or begin with a hash."
_BLOCK_BYTES, _MAC_BYTES = 8, 4
"Legacy packets: cipher blocks (Blowfish; AES has 16) and a code of four bytes (net_setup.c, defaults)."
_LEAST_LENGTHS = 2
_LEGACY_EACH_WAY = 3
_IDS_BYTES, _SEQUENCE = 12, slice(12, 16)
"SPTPS packets: hashes of the receiver's and the sender's name, zero for the receiver itself, then a number."
_SPTPS_EACH_WAY = 2
_MAX_STEP = 1024
_PROBABLE_DATAGRAMS = 2
_MAX_STRANGERS = 4


class Meta:
    """What all flows between two hosts share."""

    __slots__ = ("has_greeted",)

    def __init__(self) -> None:
        self.has_greeted = False


@dataclass(slots=True)
class _Side:
    """What the datagrams of one side have in common."""

    datagrams: int = 0
    are_blocks: bool = True
    "All have a length that legacy packets have."
    lengths: set[int] = field(default_factory=set)
    heads: set[bytes] = field(default_factory=set)
    "First four bytes."
    ids: bytes = b""
    sequence: int = 0
    in_a_row: int = 0
    "Datagrams with the same hashes and an advancing number."

    def add(self, data: bytes, size: int) -> None:
        """Take one datagram."""
        self.datagrams += 1
        self.are_blocks = self.are_blocks and size % _BLOCK_BYTES == _MAC_BYTES and data[:4] not in self.heads
        self.heads.add(data[:4])
        self.lengths.add(size)
        ids, sequence = data[:_IDS_BYTES], int.from_bytes(data[_SEQUENCE])
        advances = ids == self.ids and 0 < sequence - self.sequence <= _MAX_STEP
        self.ids, self.sequence = ids, sequence
        self.in_a_row = self.in_a_row + 1 if advances else 1


def _greeting(stream: bytes) -> bool | None:
    """Whether a side begins with tinc's greeting; None while that is open."""
    if not stream.startswith(_ID):
        return None if _ID.startswith(stream) else False
    end = stream.find(b"\n", 0, _MAX_LINE_BYTES)
    if end < 0:
        return None if len(stream) < _MAX_LINE_BYTES and stream.isascii() else False
    words = stream[:end].split(b" ")
    if len(words) != 3:
        return False
    name, (version, _, minor) = words[1], words[2].partition(b".")
    is_name = name.replace(b"_", b"").isalnum() or name.startswith(_INVITED)
    return is_name and version == _PROTOCOL and (not minor or minor.isdigit())


class Tinc(Detector):
    """Recognises tinc's meta connections, and the UDP flows that belong to them."""

    __slots__ = ("_given", "_meta", "_sides", "_strangers")

    name: ClassVar[str] = "tinc"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("tinc",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    remembers: ClassVar[Scope | None] = Scope.PAIR
    memory: ClassVar[type] = Meta
    misses: ClassVar[str] = "UDP flows whose meta connection takes another way or was open before."

    def __init__(self, meta: Meta | None = None) -> None:
        self._meta = meta if meta is not None else Meta()
        self._given: Confidence | None = None
        self._sides: tuple[_Side, _Side] | None = None
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """TCP: look for greetings. UDP: only after greetings over TCP."""
        if talk.client or talk.server:
            return self._feed_meta(talk)
        return self._feed_datagram(talk) if self._meta.has_greeted else Opinion.NO

    def _feed_meta(self, talk: Conversation) -> Answer:
        greetings = (_greeting(talk.client), _greeting(talk.server))
        if False in greetings:
            return Opinion.NO
        if greetings == (True, True):
            self._meta.has_greeted = True
            return Evidence("tinc", Confidence.CONFIRMED, "both sides greet with their name and protocol 17")
        if self._given is None and True in greetings:
            self._given = Confidence.PROBABLE
            return Evidence("tinc", Confidence.PROBABLE, "one side greets with its name and protocol 17", more=True)
        return Opinion.MORE

    def _feed_datagram(self, talk: Conversation) -> Answer:
        data = talk.data
        if len(data) < _LEAST_DATAGRAM_BYTES or len(set(data[:_HEAD_BYTES])) < _LEAST_DIFFERENT_BYTES - (
            _IDS_BYTES // 2 if data[:6] == bytes(6) else 0
        ):
            self._strangers += 1
            return Opinion.MORE if self._sides is not None and self._strangers <= _MAX_STRANGERS else Opinion.NO
        self._strangers = 0
        if self._sides is None:
            self._sides = (_Side(), _Side())
        server, client = self._sides
        self._sides[talk.from_client].add(data, talk.size)
        if min(server.in_a_row, client.in_a_row) >= _SPTPS_EACH_WAY:
            reason = "between hosts with a tinc meta connection, node hashes and advancing numbers both ways"
            return Evidence("tinc", Confidence.CONFIRMED, reason)
        are_blocks = server.are_blocks and client.are_blocks
        has_lengths = len(server.lengths | client.lengths) >= _LEAST_LENGTHS
        if are_blocks and has_lengths and min(server.datagrams, client.datagrams) >= _LEGACY_EACH_WAY:
            reason = "between hosts with a tinc meta connection, datagrams both ways of cipher blocks and a short code"
            return Evidence("tinc", Confidence.CONFIRMED, reason)
        total = server.datagrams + client.datagrams
        if self._given is None and total >= _PROBABLE_DATAGRAMS:
            self._given = Confidence.PROBABLE
            reason = "encrypted datagrams between hosts with a tinc meta connection"
            return Evidence("tinc", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE if are_blocks or total <= 2 * _MAX_STRANGERS else Opinion.NO
