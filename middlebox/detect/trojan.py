"""Trojan without TLS around it, as it leaves a front that ends TLS: a clear header, then what it carries.

The one rule: the client's whole header is `probable`; `confirmed` needs behind it one half of a common protocol, and
the other half from the server, which sends nothing before it.

Layout (trojan-gfw.github.io, "The Trojan Protocol"): hex of the password's SHA-224 (56), CR LF, command (1), kind of
address (1), address, port (2), CR LF. Kinds of addresses are those of SOCKS5 (RFC 1928 section 5).
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.detect.vless import find_half
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HASH_BYTES = 56
_HASH = re.compile(rb"[0-9a-f]{1,56}")
_HASH_IN_WHOLE = re.compile(rb"[0-9a-f]{56}\r\n[\x01\x03\x7f]")
"CONNECT, UDP ASSOCIATE, and 0x7f, with which trojan-go begins a multiplexed connection."
_ADDRESS_AT = _HASH_BYTES + 2 + 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LENGTHS = {_IPV4: 4, _IPV6: 16}
_END = b"\r\n"
_HALF_BYTES = 9
"Bytes of the server that are waited for: more than any common protocol needs to be told."


class Trojan(Detector):
    """Reads the client's header and compares what follows it with what the server says."""

    __slots__ = ("_given",)

    name: ClassVar[str] = "trojan"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("trojan",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Trojan inside TLS, where it is meant to be: nothing tells it from other tls-in-tls there."

    def __init__(self) -> None:
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides have said so far."""
        answer = only_news(_judge(talk.client, talk.server), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer


def _judge(client: bytes, server: bytes) -> Answer:
    if not client:
        return Opinion.NO if server else Opinion.MORE
    if len(client) < _ADDRESS_AT:
        begun = _HASH.match(client)
        return Opinion.MORE if begun and begun.end() == min(len(client), _HASH_BYTES) else Opinion.NO
    if not _HASH_IN_WHOLE.match(client):
        return Opinion.NO
    end = _header_end(client)
    if isinstance(end, Opinion):
        return end
    carried = client[end:]
    if carried and find_half(carried, server):
        reason = "behind a hash of 56 hex digits and an address, the client begins what the server answers"
        return Evidence("trojan", Confidence.CONFIRMED, reason)
    waits = len(server) < _HALF_BYTES
    return Evidence("trojan", Confidence.PROBABLE, "a hash of 56 hex digits, a command and an address", more=waits)


def _header_end(client: bytes) -> int | Opinion:
    """Where the header ends."""
    kind = client[_ADDRESS_AT : _ADDRESS_AT + 1]
    if not kind:
        return Opinion.MORE
    at = _ADDRESS_AT + 1
    if kind[0] == _NAME:
        if len(client) <= at:
            return Opinion.MORE
        at += 1 + client[at]
    elif kind[0] in _LENGTHS:
        at += _LENGTHS[kind[0]]
    else:
        return Opinion.NO
    end = at + 2 + len(_END)
    seen = client[at + 2 : end]
    if seen != _END[: len(seen)]:
        return Opinion.NO
    return end if len(client) >= end else Opinion.MORE
