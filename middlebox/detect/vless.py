"""VLESS without TLS around it: a clear header on either side, then whatever it carries.

The one rule: `confirmed` needs the server's header, and behind both headers two halves of one protocol; a client header
whose fields fit is `probable`.

Layout (Xray, proxy/vless/encoding/encoding.go): version 0 (1), user id (16), length of additions (1) and those, command
(1), then unless the command is 3 (mux) a port (2), the kind of address (1: IPv4, 2: name, 3: IPv6) and the address. The
server begins with version 0, length of additions, and those.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_USER_ID = slice(1, 17)
_ADDITIONS_AT = 17
_MAX_ADDITIONS = 64
"Ours: the one known addition is the name of a flow control, 18 bytes."
_TCP, _UDP, _MUX = 1, 2, 3
_IPV4, _NAME, _IPV6 = 1, 2, 3
_HOST_NAME = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+\.?")
_USER_ID_VERSIONS = range(4, 6)
"A user id is a UUID, drawn at random (version 4) or made from a text (5); RFC 9562 section 4."
_HALVES = (
    (re.compile(rb"\x16\x03[\x00-\x04]..\x01", re.DOTALL), re.compile(rb"[\x15\x16]\x03[\x00-\x04]")),
    (re.compile(rb"[A-Z]{3,10} [!-~]"), re.compile(rb"HTTP/1\.\d ")),
    (re.compile(rb"SSH-"), re.compile(rb"SSH-")),
)
"What a client begins with, and how a server answers it: TLS, HTTP, SSH."
_HALF_BYTES = 9
"Bytes of the server's half that are waited for."


def find_half(client: bytes, server: bytes) -> bool:
    """Whether `client` begins a common protocol that `server` answers."""
    return any(asks.match(client) and answers.match(server) for asks, answers in _HALVES)


def _header_end(client: bytes) -> int | Opinion:
    """Where a client's header ends."""
    if client[:1] != b"\x00":
        return Opinion.NO
    if len(client) <= _ADDITIONS_AT:
        return Opinion.MORE
    additions = client[_ADDITIONS_AT]
    if additions > _MAX_ADDITIONS or client[7] >> 4 not in _USER_ID_VERSIONS or client[9] >> 6 != 0b10:
        return Opinion.NO
    rest = client[_ADDITIONS_AT + 1 + additions :]
    if not rest:
        return Opinion.MORE
    command = rest[0]
    start = len(client) - len(rest)
    if command == _MUX:
        return start + 1
    if command not in (_TCP, _UDP):
        return Opinion.NO
    if len(rest) < 5:
        return Opinion.MORE
    kind, port = rest[3], rest[1:3]
    length = {_IPV4: 4, _NAME: 1 + rest[4], _IPV6: 16}.get(kind, 0)
    if not length or port == b"\x00\x00":
        return Opinion.NO
    if len(rest) < 4 + length:
        return Opinion.MORE
    if kind == _NAME and not _HOST_NAME.fullmatch(rest[5 : 4 + length]):
        return Opinion.NO
    return start + 4 + length


def _names_host(client: bytes) -> bool:
    """Whether a complete header has a host name as its address."""
    fields = client[_ADDITIONS_AT + 1 + client[_ADDITIONS_AT] :]
    return fields[0] != _MUX and fields[3] == _NAME


class Vless(Detector):
    """Reads the clear headers of VLESS."""

    name: ClassVar[str] = "vless"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("vless",)
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = (
        "VLESS inside TLS, with encryption of its own, or carrying something else than TLS, HTTP or SSH."
    )

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far, however it was cut into segments."""
        answer = only_news(self._judge(talk.client, talk.server), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    @staticmethod
    def _judge(client: bytes, server: bytes) -> Answer:
        end = _header_end(client)
        if server and server[0] != 0:
            return Opinion.NO
        if isinstance(end, Opinion):
            return end if not server or end is Opinion.NO else Opinion.NO
        start = 2 + server[1] if len(server) > 1 else 2
        answered = len(server) >= start + _HALF_BYTES
        if answered and find_half(client[end:], server[start:]):
            reason = "both sides have a VLESS header, and what follows are two halves of one protocol"
            return Evidence("vless", Confidence.CONFIRMED, reason)
        if answered:
            return Opinion.NO
        # Only a host name is long enough to be sure of the header alone.
        level = Confidence.PROBABLE if _names_host(client) else Confidence.POSSIBLE
        return Evidence("vless", level, "a VLESS header with a user id and an address", more=True)
