"""SOCKS 5 over TCP, recognised by its negotiation: the methods offered, the one chosen, and what then follows it.

The one rule: two bytes that answer three prove little, so `confirmed` takes a message after them that is whole and
fits the chosen method, or the relay's reply.

Sources: RFC 1928 (greeting, request, reply), RFC 1929 (user name and password), RFC 1961 (GSS-API).
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_VERSION = 5
_METHODS = {0: "none", 1: "gssapi", 2: "password"}
"RFC 1928 section 3. 3 to 0x7f are IANA's, 0x80 to 0xfe private."
_NONE, _GSSAPI, _PASSWORD = 0, 1, 2
_NO_METHOD = 0xFF
_MAX_METHODS = 16
"Ours: IANA has assigned ten, and programs offer four at most."
_AUTH_VERSION = 1
"Of both sub-negotiations: RFC 1929 section 2, RFC 1961 section 3.1."
_COMMANDS = {1: "connect", 2: "bind", 3: "udp-associate"}
"RFC 1928 section 4."
_TOR_COMMANDS = {0xF0: "resolve", 0xF1: "resolve-ptr"}
"Tor's extensions (socks-extensions, section 2)."
_ALL_COMMANDS = _COMMANDS | _TOR_COMMANDS
_ADDRESS_BYTES = {1: 4, 4: 16}
"IPv4 and IPv6 (section 5)."
_NAME = 3
"A host name follows, with its length before it."


def _is_address(data: bytes, at: int) -> bool | None:
    """Whether a reserved zero byte, an address and a port begin at `at`; None while bytes are missing."""
    if len(data) < at + 3:
        return None if not any(data[at : at + 1]) else False
    if data[at]:
        return False
    size = 1 + data[at + 2] if data[at + 1] == _NAME else _ADDRESS_BYTES.get(data[at + 1])
    if size is None:
        return False
    return True if len(data) >= at + 2 + size + 2 else None


def _is_request(data: bytes) -> bool | None:
    """Whether `data` begins with a request (section 4); None while bytes are missing."""
    if data[0] != _VERSION or (len(data) > 1 and data[1] not in _ALL_COMMANDS):
        return False
    return _is_address(data, 2)


def _is_password(data: bytes) -> bool | None:
    """Whether `data` begins with a user name and password (RFC 1929 section 2); None while bytes are missing."""
    if data[0] != _AUTH_VERSION or data[1:2] == b"\0":
        return False
    password = 2 + data[1] if len(data) > 1 else len(data)
    return True if len(data) > password and len(data) > password + data[password] else None


def _is_token(data: bytes) -> bool | None:
    """Whether `data` begins with a GSS-API message (RFC 1961 section 3.3); None while bytes are missing."""
    if data[0] != _AUTH_VERSION or data[1:2] not in (b"", b"\x01"):
        return False
    return True if len(data) > 4 and int.from_bytes(data[2:4]) else None


_AFTER = {_NONE: _is_request, _PASSWORD: _is_password, _GSSAPI: _is_token}
"What the client says next, by the method that was chosen."


class Socks5(Detector):
    """Follows a SOCKS 5 negotiation up to the client's first message under the chosen method."""

    name: ClassVar[str] = "socks5"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("socks5",)
    client_begins: ClassVar[bytes] = bytes((_VERSION,))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ("socks5.method", "socks5.command")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = "Connections joined after their start, SOCKS inside TLS, and what UDP associations carry."

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far; either of them may be the one that asks."""
        asking, answering = talk.client, talk.server
        if not asking:
            asking, answering = answering, asking
        if asking[0] != _VERSION:
            return Opinion.NO
        # A capture may begin with the answer, so that what looks like the client is the relay.
        if talk.midstream and len(answering) >= 2 and _methods(asking) is None:
            asking, answering = answering, asking
        answer = only_news(_judge(asking, answering), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer


def _methods(data: bytes) -> bytes | None:
    """The methods that a greeting offers (section 3), empty while bytes are missing, None when it is no greeting."""
    count = data[1] if len(data) > 1 else 1
    methods = data[2 : 2 + count]
    if data[0] != _VERSION or not 0 < count <= _MAX_METHODS:
        return None
    if len(set(methods)) < len(methods) or _NO_METHOD in methods:
        return None
    return methods if len(data) >= 2 + count else b""


def _judge(asking: bytes, answering: bytes) -> Answer:
    methods = _methods(asking)
    if methods is None or not methods:
        return Opinion.NO if methods is None or answering else Opinion.MORE
    if len(answering) < 2:
        if answering and answering[0] != _VERSION:
            return Opinion.NO
        ends = len(asking) == 2 + len(methods)
        reason = "the first message offers SOCKS 5 methods, to its last byte"
        return Evidence("socks5", Confidence.POSSIBLE, reason, more=True) if ends else Opinion.MORE
    chosen, following = answering[1], asking[2 + len(methods) :]
    if answering[0] != _VERSION or chosen not in (*methods, _NO_METHOD):
        return Opinion.NO
    facts: dict[str, object] = {"socks5.method": _METHODS.get(chosen, f"0x{chosen:02x}")}
    reason = "the answer chooses one of the offered SOCKS 5 methods"
    if chosen == _NO_METHOD:
        return Evidence("socks5", Confidence.PROBABLE, "the answer accepts none of the offered SOCKS 5 methods", facts)
    fits = _AFTER[chosen](following) if following and chosen in _AFTER else None
    if fits is False:
        return Opinion.NO
    if not fits:
        more = chosen in _AFTER
        return Evidence("socks5", Confidence.PROBABLE, reason, facts, more)
    if chosen == _NONE:
        facts["socks5.command"] = _ALL_COMMANDS[following[1]]
    reason = f"{reason}, and the next message fits it"
    return Evidence("socks5", Confidence.CONFIRMED, reason, facts)
