"""OpenVPN joined after its handshake, recognised by the packet ids of its data.

The one rule: `confirmed` needs both directions, under the same key id and peer id, each with packet ids of its own that
rise. Peers put the id that the server gave the client into both directions; another protocol's counter has neither the
opcode nor the same four bytes both ways.

Layout: `ssl.c` (tls_prepend_opcode_v2) and `crypto.c` of OpenVPN, AEAD ciphers: the header, a packet id, a tag of 16
bytes, then what is encrypted. What CBC ciphers send shows no packet id: see `openvpn_cbc`. Version 1 of the header has
no peer id; its single byte and a counter are not enough to tell it from the protocols of games.
"""

from dataclasses import replace
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.detect.random_bytes import is_random
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_DATA_V1, _DATA_V2 = 6, 9
"Opcodes of data, in the high 5 bits of the first byte, above the key id (ssl_pkt.h). V2 has a peer id of 3 bytes, too."
FIRST_BYTES = range(3 << 3, 12 << 3)
"Of all packets after the handshake's resets: opcodes 3 to 11."
_HEADER_BYTES = 4
_MAX_PEER_ID = 0xFFFF
"The server counts its clients (max-clients, 1024 by default); text and magic numbers are larger."
_NO_PEER_ID = 0xFFFFFF
"A client that was not given one."
_PACKET_ID_BYTES, _EPOCH_ID_BYTES = 4, 8
"Since 2.7 with the epoch data format: 2 bytes of epoch and 6 of counter (crypto_epoch.h)."
_TAG_BYTES = 16
_MAX_STEP = 64
"Default replay window (packet_id.h, DEFAULT_SEQ_BACKTRACK): what is lost or overtaken in one go stays below it."
_LEAST_ADVANCES = 2
"Packet ids that rise twice in a row by small steps under the same four bytes: by chance once in 10^15."
_MAX_STRIKES = 2
"Messages that do not continue a side's row: a renegotiation changes the key id once."
_MAX_COPIES = 8
LENGTH_BYTES = 2
"Over TCP, a length that does not count itself precedes each packet."
_MAX_FRAME = 2048
"Packets keep to the tunnel's MTU, 1500 and some overhead."


class Frames:
    """Cuts one TCP direction into packets by the length before each. Every byte is read once."""

    __slots__ = ("_at", "_first_bytes", "is_broken")

    def __init__(self, first_bytes: range = range(256)) -> None:
        self._at = 0
        self._first_bytes = first_bytes
        "With which packets begin."
        self.is_broken = False
        "A length was met that no packet has: the rest is not looked at."

    def read(self, stream: bytes) -> list[bytes]:
        """The packets that have become complete."""
        packets = []
        while not self.is_broken and len(stream) - self._at >= LENGTH_BYTES:
            start = self._at + LENGTH_BYTES
            end = start + int.from_bytes(stream[self._at : start])
            is_foreign = len(stream) > start and stream[start] not in self._first_bytes
            self.is_broken = is_foreign or not start < end <= min(start + _MAX_FRAME, STREAM_LIMIT)
            if self.is_broken or len(stream) < end:
                break
            packets.append(stream[start:end])
            self._at = end
        return packets


def data_header(message: bytes) -> bytes:
    """Opcode, key id and, in version 2, peer id of a data packet; empty when it is none."""
    opcode = message[0] >> 3
    if opcode == _DATA_V1:
        return message[:1]
    if opcode != _DATA_V2:
        return b""
    peer_id = int.from_bytes(message[1:_HEADER_BYTES])
    return message[:_HEADER_BYTES] if peer_id <= _MAX_PEER_ID or peer_id == _NO_PEER_ID else b""


class Side:
    """The row of data packets that one side has sent."""

    __slots__ = ("advances", "copies", "epoch_id", "header", "packet_id", "strikes")

    def __init__(self) -> None:
        self.header = b""
        self.packet_id = self.epoch_id = 0
        "Of the last packet, in either format."
        self.advances = self.strikes = 0
        self.copies = 0
        "Packets that were seen before, or overtaken."

    def add(self, message: bytes) -> None:
        """Count a data packet, or a strike when it does not continue the row."""
        header, number = message[:_HEADER_BYTES], message[_HEADER_BYTES:]
        packet_id, epoch_id = int.from_bytes(number[:_PACKET_ID_BYTES]), int.from_bytes(number[:_EPOCH_ID_BYTES])
        steps = (packet_id - self.packet_id, epoch_id - self.epoch_id)
        if header != self.header:
            self.strikes += bool(self.header)
            self.header, self.advances = header, 0
        elif any(0 < step <= _MAX_STEP for step in steps):
            self.advances += 1
        elif all(abs(step) > _MAX_STEP for step in steps):
            self.strikes += 1
            self.advances = 0
        else:
            self.copies += 1
            self.strikes += self.copies > _MAX_COPIES
            return
        self.packet_id, self.epoch_id = packet_id, epoch_id


class OpenVpnData(Detector):
    """Recognises data packets with an AEAD cipher, by their header and rising packet ids."""

    name: ClassVar[str] = "openvpn_data"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 6
    misses: ClassVar[str] = (
        "Data without a peer id, fewer than three packets, and TCP connections joined in the middle of a packet."
    )

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._sides = (Side(), Side())
        "Server and client of the flow, indexed by `from_client`."
        self._frames = (Frames(FIRST_BYTES), Frames(FIRST_BYTES))
        self._is_given = False

    def feed(self, talk: Conversation) -> Answer:
        """Count how often packet ids rise under one header."""
        is_stream = bool(talk.client or talk.server)
        if not self._is_begun:
            # A TCP connection that is not joined later begins with a handshake, which is `openvpn`'s.
            if not talk.midstream if is_stream else not data_header(talk.data):
                return Opinion.NO
            self._begin()
        if not is_stream:
            return self._feed_packet(talk.data, talk.from_client)
        frames = self._frames[talk.from_client]
        strongest: Evidence | None = None
        for packet in frames.read(talk.client if talk.from_client else talk.server):
            answer = self._feed_packet(packet, talk.from_client)
            if answer is Opinion.NO:
                return replace(strongest, more=False) if strongest else Opinion.NO
            if isinstance(answer, Evidence):
                strongest = answer
        return strongest or (Opinion.NO if frames.is_broken else Opinion.MORE)

    def _feed_packet(self, message: bytes, from_client: bool) -> Answer:
        header = data_header(message)
        least = _HEADER_BYTES + _PACKET_ID_BYTES + _TAG_BYTES
        if len(header) < _HEADER_BYTES or len(message) <= least or not is_random(message[-_TAG_BYTES:]):
            return Opinion.NO
        side, other = self._sides[from_client], self._sides[not from_client]
        side.add(message)
        if side.strikes > _MAX_STRIKES:
            return Opinion.NO
        if side.advances >= _LEAST_ADVANCES <= other.advances:
            if header == other.header:
                reason = "data both ways under one key id and peer id, each with rising packet ids"
                return Evidence("openvpn", Confidence.CONFIRMED, reason)
            return self._probable("data both ways, each with key id, peer id and rising packet ids")
        if side.advances >= _LEAST_ADVANCES and not other.header:
            return self._probable("data one way under one key id and peer id, with rising packet ids")
        return Opinion.MORE

    def _probable(self, reason: str) -> Answer:
        if self._is_given:
            return Opinion.MORE
        self._is_given = True
        return Evidence("openvpn", Confidence.PROBABLE, reason, more=True)
