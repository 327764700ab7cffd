"""WebSocket in clear, and tunnels through it: frames that carry another protocol's connection, or noise.

The one rule: a WebSocket is `confirmed` by the accept value that was computed from the client's key; that it is a
tunnel is `confirmed` only when both sides' frames carry one protocol that needs no frames. Frames of noise are
`probable`, and only without a subprotocol or compression, which would explain them.

Source: RFC 6455 sections 1.3 (the accept value), 5.2 (frames), 9.1 (extensions use the reserved bits).
"""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.http_heads import Head, is_response_begun, read_head
from middlebox.detect.inner import name_of
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"Section 1.3."
_TEXT_FRAME, _BINARY = 1, 2
"Opcodes (section 5.2); 0 continues a message, from 8 on they control the connection."
_FIRST_CONTROL = 8
_KNOWN_OPCODES = frozenset({0, 1, 2, 8, 9, 10})
_COMPRESSED, _RESERVED = 0x40, 0x30
"The reserved bits, of which compression uses one (RFC 7692 section 6)."
_MASK_BIT = 0x80
_MEDIUM, _LONG = 126, 127
"Lengths that say that two or eight bytes of length follow."
_MAX_FRAME = 1 << 24
"Ours: a longer frame is taken for something that is no frame."

_LEAST_NOISE = 24
"Bytes of a frame below which it tells nothing about noise."
_MOST_NOISE = 256
"Bytes of a frame that are looked at."
_TEXT = bytes(range(0x20, 0x7F))
_MAX_TEXT_SHARE = 0.6
"Printable bytes among random ones are 37 %."
_LEAST_DIFFERENT_SHARE = 0.85
"Of the different values that as many random bytes would have."
_NOISY_FRAMES = 3
"Of both sides together, before it is said."
_NOISY_BYTES = 96
"Or this many in the first frame of each side."
_PATIENCE = 8
"Data frames of each side that are looked at."
_BURIED = {
    "tls": re.compile(rb"\x16\x03[\x01-\x03][\x00-\x40][\x00-\xff][\x01\x02]\x00[\x00-\xff]{2}\x03\x03"),
    "http": re.compile(rb"(?:GET|POST|HEAD|CONNECT) [!-~]{1,200} HTTP/1\.|HTTP/1\.[01] \d\d\d "),
}
"Beginnings of connections behind a header of the tunnel's own: a hello in its record, a request line, a status line."
_TUNNEL_AGENTS = (b"Go-http-client/", b"Mozilla/")
"""What tunnels call themselves when they call themselves anything: by the library they are written with, or a browser.
But browsers also send Origin (section 4.1, 8), so a browser that does not is none."""


@dataclass(slots=True, frozen=True)
class Frame:
    """What the beginning of a data frame tells."""

    opcode: int
    is_compressed: bool
    is_masked: bool
    size: int
    inner: str | None
    "The protocol that its content begins like."
    buried: str | None
    "The protocol that begins later in it."
    is_noise: bool
    is_reply: bool
    "It may be how SOCKS 5 answers a greeting (RFC 1928 section 3)."

    @property
    def explains_noise(self) -> bool:
        """Whether the connection is for something that is no noise."""
        return self.opcode == _TEXT_FRAME or self.is_compressed or (self.size >= _LEAST_NOISE and not self.is_noise)


class _Side:
    """Reads the frames of one direction, each once."""

    __slots__ = ("at", "frames")

    def __init__(self) -> None:
        self.at = 0
        "Offset of the next frame; 0 before the handshake, and once something came that is no frame."
        self.frames: list[Frame] = []
        "Data frames so far, at most _PATIENCE."

    def read(self, stream: bytes) -> None:
        """Take in the frames that have come, or as much of their beginnings as is looked at."""
        while self.at and len(self.frames) < _PATIENCE and len(stream) >= self.at + 2:
            first, second = stream[self.at], stream[self.at + 1]
            opcode = first & 0x0F
            if opcode not in _KNOWN_OPCODES or first & _RESERVED:
                self.at = 0  # no frames any more
                return
            size, start = second & ~_MASK_BIT, self.at + 2
            if size >= _MEDIUM:
                width = 2 if size == _MEDIUM else 8
                size, start = int.from_bytes(stream[start : start + width]), start + width
            is_masked = bool(second & _MASK_BIT)
            content_at = start + 4 * is_masked
            if size > _MAX_FRAME:
                self.at = 0
                return
            seen = min(size, _MOST_NOISE)
            if len(stream) < content_at + seen:
                return
            if opcode < _FIRST_CONTROL:
                content = _unmask(stream[content_at : content_at + seen], stream[start:content_at])
                is_reply = len(content) == 2 and content[0] == 5
                compressed = bool(first & _COMPRESSED)
                inner = name_of(content) if opcode == _BINARY else None
                buried = _find_buried(content) if opcode == _BINARY and not inner else None
                noise = _is_noise(content)
                self.frames.append(Frame(opcode, compressed, is_masked, size, inner, buried, noise, is_reply))
            self.at = content_at + size


def _unmask(content: bytes, key: bytes) -> bytes:
    if not key:
        return content
    mask = (key * (len(content) // 4 + 1))[: len(content)]
    return (int.from_bytes(content) ^ int.from_bytes(mask)).to_bytes(len(content))


def _find_buried(content: bytes) -> str | None:
    return next((name for name, pattern in _BURIED.items() if pattern.search(content)), None)


def _is_noise(content: bytes) -> bool:
    """Whether bytes look encrypted: many different ones, and few of them text."""
    if len(content) < _LEAST_NOISE:
        return False
    text = len(content) - len(content.translate(None, _TEXT))
    expected = 256 * (1 - (255 / 256) ** len(content))
    return text <= _MAX_TEXT_SHARE * len(content) and len(set(content)) >= _LEAST_DIFFERENT_SHARE * expected


class WebSocket(Detector):
    """Checks the accept value of the handshake, then looks at what the first frames carry."""

    name: ClassVar[str] = "websocket"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("websocket", "websocket-tunnel")
    facts: ClassVar[tuple[str, ...]] = ("websocket.protocol", "websocket.inner")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "WebSockets inside TLS, the drafts before RFC 6455, and tunnels that write text or compress."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("http",)

    __slots__ = ("_client", "_given", "_may_be_tunnel", "_protocol", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Side(), _Side()
        self._protocol: bytes | None = None
        "The subprotocol that was agreed, empty for none."
        self._may_be_tunnel = False
        "The handshake leaves open which program the client is."
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the handshake, then the frames."""
        if self._protocol is None:
            opinion = self._read_handshake(talk.client, talk.server)
            if opinion is not None:
                return opinion
        self._client.read(talk.client)
        self._server.read(talk.server)
        answer = only_news(self._judge(), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _read_handshake(self, client: bytes, server: bytes) -> Opinion | None:
        """None once both sides have agreed on a WebSocket."""
        if not is_response_begun(server) or not client.startswith(b"GET "[: len(client)]):
            return Opinion.NO
        request = read_head(client)
        if request is None:
            return Opinion.NO if server else Opinion.MORE
        key = request.headers.get(b"sec-websocket-key")
        if key is None or not request.lists(b"upgrade", b"websocket"):
            return Opinion.NO
        response = read_head(server)
        if response is None:
            return Opinion.MORE
        accept = b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        if response.words[1] != b"101" or response.headers.get(b"sec-websocket-accept") != accept:
            return Opinion.NO
        self._protocol = _agreed_protocol(response)
        agent = request.headers.get(b"user-agent", b"")
        self._may_be_tunnel = b"origin" not in request.headers and (not agent or agent.startswith(_TUNNEL_AGENTS))
        self._client.at, self._server.at = request.end, response.end
        return None

    def _judge(self) -> Answer:
        facts: dict[str, object] = {}
        if self._protocol:
            facts["websocket.protocol"] = self._protocol.decode("ascii", "replace")[:64]
        asked, answered = self._client.frames, self._server.frames
        inner = asked[0].inner if asked else None
        if inner and answered:
            if answered[0].inner == inner or (inner == "socks5" and answered[0].is_reply):
                reason = f"the first binary frames of both sides carry {inner}, which needs no frames"
                return Evidence("websocket-tunnel", Confidence.CONFIRMED, reason, facts | {"websocket.inner": inner})
        elif inner:
            reason = f"the client's first binary frame carries {inner}, which needs no frames"
            return Evidence(
                "websocket-tunnel", Confidence.PROBABLE, reason, facts | {"websocket.inner": inner}, more=True
            )
        buried = asked[0].buried if asked and answered else None
        if buried and answered[0].buried == buried:
            reason = f"the first binary frames of both sides carry {buried} behind a header"
            return Evidence("websocket-tunnel", Confidence.PROBABLE, reason, facts | {"websocket.inner": buried})
        # Subprotocols are for what is said in frames. Clients must mask theirs (section 5.3), which some tunnels omit.
        is_explained = bool(self._protocol) and not (asked and not asked[0].is_masked)
        is_explained = is_explained or any(frame.explains_noise for frame in (*asked, *answered))
        if not is_explained and _are_noisy(asked, answered):
            if not self._may_be_tunnel:
                reason = "binary frames carry nothing but noise"
                return Evidence("websocket-tunnel", Confidence.POSSIBLE, reason, facts)
            reason = "binary frames carry nothing but noise, for a client that is neither a browser nor says what it is"
            return Evidence("websocket-tunnel", Confidence.PROBABLE, reason, facts)
        may_go_on = len(asked) < _PATIENCE > len(answered) and self._client.at > 0 < self._server.at
        waits_for_frames = not asked or not answered
        reason = "the answer accepts the client's WebSocket key"
        more = may_go_on and (waits_for_frames or not is_explained)
        return Evidence("websocket", Confidence.CONFIRMED, reason, facts, more)


def _are_noisy(asked: list[Frame], answered: list[Frame]) -> bool:
    """Whether frames carry enough noise to speak of it: those of both sides, or many of the client's."""
    if len(asked) >= _PATIENCE and not answered:
        return all(frame.is_noise for frame in asked)
    noisy = [[frame for frame in frames if frame.is_noise] for frames in (asked, answered)]
    if not noisy[0] or not noisy[1]:
        return False
    return len(noisy[0]) + len(noisy[1]) >= _NOISY_FRAMES or all(frames[0].size >= _NOISY_BYTES for frames in noisy)


def _agreed_protocol(response: Head) -> bytes:
    return response.headers.get(b"sec-websocket-protocol", b"")
