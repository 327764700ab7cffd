"""LogMeIn Hamachi: its connection to the mediation server over TCP, and its tunnels between peers over UDP.

The one rule: the format is not published and no capture was at hand, so nothing is more than `probable`.

Source: the dissectors of nDPI (TCP magic, layout of UDP data) and libprotoident (the two messages that open UDP).
"""

import struct
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_TCP_HEADER_BYTES = 16
_TCP_MAGIC = b"\x7b\x7a\x0d\xad"
_TCP_MAGIC_AT = 12
_LEAST_TCP_LENGTH, _MAX_TCP_LENGTH = 297, 1 << 14
"Of the first message, which the four bytes in front of it count."
_OPENING_BYTES = 76
_OPENING = bytes(8)
"Each peer opens with such a message."
_DATA = struct.Struct("!IIH")
"A number of the tunnel, a counter, and another number; both numbers stay within a direction."
_LEAST_DATA_BYTES = 46
_MAX_COUNTER = 0xFFFF
_MAX_PACKETS = 8
"Ours: datagrams in which both sides must have sent data."


class Hamachi(Detector):
    """Recognises the first message over TCP; over UDP the opening of both peers and data after it."""

    name: ClassVar[str] = "hamachi"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("hamachi",)
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Tunnels that were open before."

    __slots__ = ("_data", "_opened", "_packets")

    def __init__(self) -> None:
        self._opened: set[bool] = set()
        "Sides that have sent an opening."
        self._data: dict[bool, tuple[int, int, int]] = {}
        "The last data header of each side."
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """TCP: the client's first message. UDP: each datagram."""
        if talk.client or talk.server:
            return _judge_stream(talk.client)
        data = talk.data
        self._packets += 1
        if talk.size == _OPENING_BYTES and data.startswith(_OPENING):
            self._opened.add(talk.from_client)
            return Opinion.MORE if self._packets <= _MAX_PACKETS else Opinion.NO
        if not self._opened or talk.size < _LEAST_DATA_BYTES or len(data) < _DATA.size:
            return Opinion.NO
        tunnel, counter, other = _DATA.unpack_from(data)
        last = self._data.get(talk.from_client)
        self._data[talk.from_client] = tunnel, counter, other
        if not tunnel or not 0 < counter <= _MAX_COUNTER:
            return Opinion.NO
        if last is None:
            return Opinion.MORE
        if (tunnel, other) != (last[0], last[2]) or counter <= last[1]:
            return Opinion.NO
        if len(self._opened) == 2:
            reason = "both peers open with 76 bytes that begin with zeros, then data counts on under one number"
            return Evidence("hamachi", Confidence.PROBABLE, reason)
        return Opinion.MORE if self._packets <= _MAX_PACKETS else Opinion.NO


def _judge_stream(client: bytes) -> Answer:
    if not client or client[:2] != bytes(2)[: len(client)]:
        return Opinion.NO
    if len(client) < _TCP_HEADER_BYTES:
        return Opinion.MORE
    length = int.from_bytes(client[:4])
    is_magic = client.startswith(_TCP_MAGIC, _TCP_MAGIC_AT)
    if not is_magic or not _LEAST_TCP_LENGTH <= length <= _MAX_TCP_LENGTH:
        return Opinion.NO
    return Evidence("hamachi", Confidence.PROBABLE, "a first message with Hamachi's magic number")
