"""A WebSocket tunnel inside TLS, known by the lengths of its upgrade and by what it is used for.

A server that adds nothing to the handshake of RFC 6455 answers with exactly 129 bytes, and a client that adds nothing
asks in 120 to 240: proxies do (V2Ray, sing-box), while browsers send cookies, an origin and extensions, and web servers
a date and their name. Applications that talk this tersely exist, but exchange short messages in frames that are written
at once; what carries other connections soon moves kilobytes in one turn, or writes the header of each frame, 2 to 8
bytes, into a record of its own, because it passes on what it reads.

The one rule: the upgrade, and one of these two.

Source: RFC 6455 sections 4.1 and 4.2.2.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_REQUEST_BYTES = range(120, 241)
"Request line, Host, Upgrade, Connection, a key (24) and version; perhaps a short User-Agent."
_ANSWER_BYTES = 129
"""`HTTP/1.1 101 Switching Protocols` (34 with its CR LF), `Upgrade: websocket` (20), `Connection: Upgrade` (21),
`Sec-WebSocket-Accept` with 28 characters (52), the empty line (2)."""
_TRANSFER_BYTES = 8_192
"Ours: bytes that one side sends in one turn. The messages of applications are shorter."
_SHORT_FRAME = 125
"Bytes of a message up to which a frame's header has 2 bytes; beyond, and up to 64 KiB, it has 4 (section 5.2)."
_HEADERS = {True: (6, 8), False: (2, 4)}
"Lengths of the headers in front of short and longer messages: the client's have a mask of 4 bytes."
_FRAMES_NEEDED = 3
"Ours: frames of each side whose headers stand alone."
_TICKETS = 2
"Session tickets that may come before the answer: in TLS 1.3 only, where they look like data."
_MOST_RECORDS = 80
"Ours: so many records without a transfer are an application's."


class TlsWebSocket(Detector):
    """Recognises WebSocket tunnels inside TLS."""

    name: ClassVar[str] = "tls_websocket"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("websocket-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 13
    misses: ClassVar[str] = "Upgrades with any further header, and tunnels that only carry short messages."
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_cover", "_frames", "_header", "_is_upgraded", "_turn")

    def __init__(self) -> None:
        self._cover = Cover()
        self._is_upgraded = False
        self._turn = 0
        "Bytes of the turn at work, with its sign."
        self._header = 0
        "The newest record, which may be a frame's header, with its sign."
        self._frames = [0, 0]
        "Frames of the server and of the client whose header stands alone."

    def feed(self, talk: Conversation) -> Answer:
        """Look for the upgrade in the first records, then for a transfer."""
        fresh = self._cover.read(talk)
        if not self._is_upgraded and self._is_no_upgrade():
            return Opinion.NO
        for size in fresh:
            self._turn = self._turn + size if (self._turn > 0) == (size > 0) else size
            if self._is_upgraded and abs(self._turn) >= _TRANSFER_BYTES:
                reason = (
                    f"a bare WebSocket upgrade, answered in {_ANSWER_BYTES} bytes, then {abs(self._turn)} in one turn"
                )
                return Evidence("websocket-tunnel", Confidence.PROBABLE, reason)
            if self._is_upgraded and self._counts_frames(size):
                reason = (
                    f"a bare WebSocket upgrade, answered in {_ANSWER_BYTES} bytes, then headers apart from their frames"
                )
                return Evidence("websocket-tunnel", Confidence.PROBABLE, reason)
        if self._cover.is_hopeless(talk) or len(self._cover.data) >= _MOST_RECORDS:
            return Opinion.NO
        return Opinion.MORE

    def _is_no_upgrade(self) -> bool:
        """Whether the first records exclude an upgrade. Notes it when there is one."""
        asked, answered, tickets = 0, False, 0
        for size in self._cover.data:
            if answered:
                # A server that goes on by itself has answered something else.
                self._is_upgraded = size > 0
                return size < 0
            if size > 0:
                if asked or size not in _REQUEST_BYTES:
                    return True
                asked = size
            elif asked and -size == _ANSWER_BYTES:
                answered = True
            else:
                tickets += 1
        return tickets > (_TICKETS if self._cover.is_tls13 else 0)

    def _counts_frames(self, size: int) -> bool:
        """Count a record that fits the frame header before it; True when both sides have enough of these."""
        header, self._header = self._header, size
        if (header > 0) != (size > 0) or abs(header) != _HEADERS[size > 0][abs(size) > _SHORT_FRAME]:
            return False
        self._header = 0
        self._frames[size > 0] += 1
        return min(self._frames) >= _FRAMES_NEEDED
