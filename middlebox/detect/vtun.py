"""vtun: a conversation of 50-byte lines in clear over TCP, then frames over it, or over UDP between the same hosts.

The one rule: `confirmed` needs the server's greeting and the client's answer to it; UDP is vtun's only between hosts
that have had that conversation, and only when each datagram begins with its own length.
Sources: vtun 3.0 auth.c (lines), lib.c (print_p, VTUN_MESG_SIZE), udp_proto.c and vtun.h (frames and their flags).
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector, Scope
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LINE_BYTES = 50
"VTUN_MESG_SIZE: every line is filled with zeros to this length."
_GREETING, _HOST = b"VTUN server ver ", b"HOST: "
_LENGTH_MASK, _BAD_FRAME, _FLAGS = 0x0FFF, 0x8000, frozenset({0x0000, 0x1000, 0x2000, 0x4000})
"A frame's length, and above it: data, close, echo request, echo reply."
_FRAME_HEADER_BYTES = 2
_EACH_WAY = 2
_MAX_STRANGERS = 4


class Control:
    """What all flows between two hosts share."""

    __slots__ = ("has_greeted",)

    def __init__(self) -> None:
        self.has_greeted = False


def _is_line(stream: bytes, start: bytes) -> bool | None:
    """Whether a stream begins with a line that starts so; None while that is open."""
    line = stream[:_LINE_BYTES]
    if not line.startswith(start):
        return None if start.startswith(line) else False
    text, _, rest = line.partition(b"\n")
    if not text.isascii() or any(rest):
        return False
    return None if len(line) < _LINE_BYTES else rest != b""


class Vtun(Detector):
    """Recognises vtun's control conversation, and the UDP flows that belong to it."""

    __slots__ = ("_control", "_fitting", "_given", "_strangers")

    name: ClassVar[str] = "vtun"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("vtun",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    remembers: ClassVar[Scope | None] = Scope.PAIR
    memory: ClassVar[type] = Control
    misses: ClassVar[str] = "Flows joined after the conversation."

    def __init__(self, control: Control | None = None) -> None:
        self._control = control if control is not None else Control()
        self._given = False
        self._fitting = [0, 0]
        "Datagrams of server and client that begin with their length."
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """TCP: look for the two lines. UDP: only after those over TCP."""
        if talk.client or talk.server:
            return self._feed_control(talk)
        return self._feed_datagram(talk) if self._control.has_greeted else Opinion.NO

    def _feed_control(self, talk: Conversation) -> Answer:
        greeting, host = _is_line(talk.server, _GREETING), _is_line(talk.client, _HOST)
        if greeting is False or host is False:
            return Opinion.NO
        if greeting and host:
            self._control.has_greeted = True
            return Evidence("vtun", Confidence.CONFIRMED, "the client answers vtun's greeting with a host's name")
        if greeting and not self._given:
            self._given = True
            return Evidence("vtun", Confidence.PROBABLE, "vtun's greeting from the server", more=True)
        return Opinion.MORE

    def _feed_datagram(self, talk: Conversation) -> Answer:
        data = talk.data
        header = data[0] << 8 | data[1] if len(data) >= _FRAME_HEADER_BYTES else _BAD_FRAME
        flags, length = header & ~_LENGTH_MASK, header & _LENGTH_MASK
        if flags not in _FLAGS or length != talk.size - _FRAME_HEADER_BYTES or (flags and length):
            self._strangers += 1
            return Opinion.MORE if any(self._fitting) and self._strangers <= _MAX_STRANGERS else Opinion.NO
        self._strangers = 0
        self._fitting[talk.from_client] += 1
        if min(self._fitting) >= _EACH_WAY:
            reason = "between hosts with a vtun conversation, datagrams both ways that begin with their length"
            return Evidence("vtun", Confidence.CONFIRMED, reason)
        if not self._given:
            self._given = True
            reason = "a datagram that begins with its length, between hosts with a vtun conversation"
            return Evidence("vtun", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE
