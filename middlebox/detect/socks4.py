"""SOCKS 4 and 4a over TCP, recognised by a request that ends where its fields end, and the reply to it.

The one rule: a request alone is `probable`, and only the eight bytes that answer it confirm: the request is so short
that other protocols may begin like it.

Sources: "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A" (openssh.com/txt/socks4.protocol and
socks4a.protocol).
"""

import re
from struct import Struct
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_REQUEST = Struct("!BBHI")
"Version 4, command, port, IPv4 address. A user id and a zero byte follow."
_COMMANDS = {1: "connect", 2: "bind"}
_MAX_USER = 255
_USER = re.compile(rb"[!-~ ]{0,255}")
"The user id is text."
_NAME = re.compile(rb"[0-9A-Za-z_.:-]{1,255}")
"SOCKS 4a: a host name, or an address as text."
_LEAST_ROUTABLE = 0x01000000
_LAST_MARK = 0xFF
"SOCKS 4a: the addresses 0.0.0.1 to 0.0.0.255 say that a name follows. All others below 1.0.0.0 go nowhere."
_FIRST_MULTICAST = 0xE0000000
"A TCP connection has no group of receivers."

_REPLY = Struct("!BBHI")
_REPLY_CODES = frozenset({90, 91, 92, 93})
"Granted, refused, no identd, another user (the same document)."


def _read_request(data: bytes) -> tuple[int, int, bool] | None:
    """End, command and whether it is 4a of a request; the end is 0 while bytes are missing. None: no request."""
    if data[0] != 4 or (len(data) > 1 and data[1] not in _COMMANDS):
        return None
    if len(data) < _REQUEST.size + 1:
        return 0, 0, False
    _version, command, port, address = _REQUEST.unpack_from(data)
    is_4a = 0 < address <= _LAST_MARK
    if not port or address >= _FIRST_MULTICAST or (address < _LEAST_ROUTABLE and not is_4a):
        return None
    at = _REQUEST.size
    for pattern in (_USER, _NAME) if is_4a else (_USER,):
        end = data.find(0, at, at + _MAX_USER + 1)
        if not pattern.fullmatch(data, at, end if end >= 0 else len(data)):
            # The empty beginning of a name that is yet to come is no mismatch.
            return (0, command, is_4a) if at == len(data) else None
        if end < 0:
            return 0, command, is_4a
        at = end + 1
    return at, command, is_4a


class Socks4(Detector):
    """Finds a SOCKS 4 request, then its reply."""

    name: ClassVar[str] = "socks4"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("socks4",)
    client_begins: ClassVar[bytes] = b"\x04"
    server_begins: ClassVar[bytes] = b"\x04\x00"
    facts: ClassVar[tuple[str, ...]] = ("socks4.version", "socks4.command")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Connections joined after their start, and SOCKS inside TLS."

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given = False

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far; either of them may be the one that asks."""
        asking, answering = talk.client, talk.server
        if not asking or (asking[0] != 4 and answering):
            asking, answering = answering, asking
        request = _read_request(asking) if asking else None
        if request is None:
            return Opinion.NO
        end, command, is_4a = request
        if not end:
            return Opinion.NO if answering else Opinion.MORE
        if answering and (answering[0] != 0 or (len(answering) > 1 and answering[1] not in _REPLY_CODES)):
            return Opinion.NO
        facts = {"socks4.version": "4a" if is_4a else "4", "socks4.command": _COMMANDS[command]}
        if len(answering) >= _REPLY.size:
            return Evidence("socks4", Confidence.CONFIRMED, "a SOCKS 4 reply answers the request", facts)
        # What follows a request waits for the reply.
        if len(asking) > end:
            return Opinion.NO
        if self._given:
            return Opinion.MORE
        self._given = True
        reason = "the first message is a SOCKS 4 request, to its last byte"
        return Evidence("socks4", Confidence.PROBABLE, reason, facts, more=True)
