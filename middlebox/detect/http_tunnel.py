"""Tunnels over plain HTTP: upgrades without a WebSocket, pieces in an endless body, polling under a session's name.

The one rule: an upgrade that lacks what WebSockets need is `confirmed` only once bytes follow that are no frames of
one; of everything else, only what its own program writes counts.

Sources: RFC 9110 section 7.8 (Upgrade), RFC 6455 section 4.2.1 (the key is required); the transport "httpupgrade" of
V2Ray and sing-box; httptunnel 3.3, tunnel.c and tunnel.h (pieces of a type and a length, a target with the time of
day); Tor's meek (X-Session-Id); the transport "xhttp" of Xray (x_padding).
"""

import re
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.detect.http_heads import Head, is_response_begun, read_head
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_OLD_WEBSOCKET = frozenset({b"sec-websocket-key1", b"sec-websocket-draft", b"websocket-protocol"})
"Headers of the drafts before RFC 6455, which had no such key (draft-ietf-hybi-thewebsocketprotocol-00 section 1.3)."
_OLD_FRAMES = (b"\x00", b"\x80", b"\xff")
"What their frames begin with."
_FRAME_BEGINNINGS = frozenset((0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0xC2))
"First bytes of RFC 6455 frames: text, binary and control, the first two compressed or not (section 5.2, RFC 7692)."
_MASK_BIT = 0x80
_CONTENT_WANTED = 16
"Bytes of one side after the upgrade, to tell whether they are frames."

_CRAP_TARGET = re.compile(rb"/index\.html\?crap=\d{6,12}$")
"What htc asks for, with the seconds since 1970 so that no cache answers."
_DATA, _PADDING = 2, 3
"Types of httptunnel's pieces that have a length of two bytes after them. The server's first is one of these."
_ONE_BYTE_PIECES = frozenset({0x45, 0x46, 0x47})
"Pieces without a length: padding, close, disconnect."

_X_PADDING = re.compile(rb"x_padding=X{32,}")
"Xray fills 100 to 1000 letters into the target or the referrer."
_MEEK_SESSION = re.compile(rb"[0-9A-Za-z+/=]{8,64}")
"meek-client makes it of random bytes, in base64."


class HttpTunnel(Detector):
    """Looks at the first request of a connection and its answer for what tunnels write there."""

    name: ClassVar[str] = "http_tunnel"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("http-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ("http_tunnel.kind",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = "Tunnels whose requests and bodies look like any other's, and everything inside TLS."
    builds_on: ClassVar[tuple[str, ...]] = ("http",)

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the request's head as soon as it is whole, then the answer."""
        if not is_response_begun(talk.server):
            return Opinion.NO
        request = read_head(talk.client)
        if request is None:
            return Opinion.NO if talk.server or len(talk.client) >= STREAM_LIMIT else Opinion.MORE
        answer = only_news(_judge(request, talk), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer


def _judge(request: Head, talk: Conversation) -> Answer:
    _method, target, _version = request.words
    if _CRAP_TARGET.search(target):
        return _judge_httptunnel(request, talk.client, talk.server)
    has_key = b"sec-websocket-key" in request.headers or not _OLD_WEBSOCKET.isdisjoint(request.headers)
    if request.lists(b"upgrade", b"websocket") and not has_key:
        return _judge_upgrade(request, talk.client, talk.server)
    if _X_PADDING.search(target) or _X_PADDING.search(request.headers.get(b"referer", b"")):
        return _judge_padding(talk.server)
    if request.words[0] == b"POST" and _MEEK_SESSION.fullmatch(request.headers.get(b"x-session-id", b"")):
        reason = "a POST under a session's name, as meek's client polls"
        return _evidence("meek", Confidence.PROBABLE, reason)
    return Opinion.NO


def _evidence(kind: str, confidence: Confidence, reason: str, *, more: bool = False) -> Evidence:
    return Evidence("http-tunnel", confidence, reason, {"http_tunnel.kind": kind}, more)


def _judge_httptunnel(request: Head, client: bytes, server: bytes) -> Answer:
    if request.words[0] != b"GET":
        reason = "the target is what httptunnel's client writes, with the time of day"
        return _evidence("httptunnel", Confidence.PROBABLE, reason)
    response = read_head(server)
    pieces = None if response is None else _are_pieces(server[response.end :])
    if pieces:
        reason = "the target is httptunnel's, and the answer's body is made of its pieces"
        return _evidence("httptunnel", Confidence.CONFIRMED, reason)
    reason = "the target is what httptunnel's client writes, with the time of day"
    return _evidence("httptunnel", Confidence.PROBABLE, reason, more=pieces is None and len(server) < STREAM_LIMIT)


def _are_pieces(body: bytes) -> bool | None:
    """Whether a body begins with one of httptunnel's pieces that have a length; None while bytes are missing."""
    at = 0
    while at < len(body) and body[at] in _ONE_BYTE_PIECES:
        at += 1
    piece = body[at : at + 3]
    if piece and piece[0] not in (_DATA, _PADDING):
        return False
    return True if len(piece) == 3 and any(piece[1:]) else None


def _judge_upgrade(request: Head, client: bytes, server: bytes) -> Answer:
    response = read_head(server)
    if response is None:
        return Opinion.MORE
    if response.words[1] != b"101" or b"sec-websocket-accept" in response.headers:
        return Opinion.NO
    said = [client[request.end :], server[response.end :]]
    are_frames = [_are_frames(one, masked=masked) for one, masked in zip(said, (True, False), strict=True)]
    if False in are_frames:
        reason = "an upgrade to WebSocket without its key is accepted, and what follows are no frames"
        return _evidence("httpupgrade", Confidence.CONFIRMED, reason)
    if None not in are_frames:
        return Opinion.NO
    reason = "an upgrade to WebSocket without its key is accepted"
    return _evidence("httpupgrade", Confidence.PROBABLE, reason, more=True)


def _are_frames(content: bytes, *, masked: bool) -> bool | None:
    """Whether one side's content may be WebSocket frames; None while too little of it is there."""
    if len(content) < _CONTENT_WANTED:
        return None
    if content.startswith(_OLD_FRAMES):
        return True
    after = 2 + (4 if masked else 0) + (content[1] & ~_MASK_BIT)
    has_successor = after >= _CONTENT_WANTED or content[after] in _FRAME_BEGINNINGS
    return content[0] in _FRAME_BEGINNINGS and bool(content[1] & _MASK_BIT) == masked and has_successor


def _judge_padding(server: bytes) -> Answer:
    response = read_head(server)
    if response is not None and b"x-padding" in response.headers:
        reason = "request and answer carry the padding of Xray's xhttp"
        return _evidence("xhttp", Confidence.CONFIRMED, reason)
    reason = "the request carries the padding of Xray's xhttp"
    return _evidence("xhttp", Confidence.PROBABLE, reason, more=response is None and len(server) < STREAM_LIMIT)
