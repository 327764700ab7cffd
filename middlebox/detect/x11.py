"""The X Window System: the client names byte order and version 11, the server answers (X protocol, Connection Setup).

The one rule: both messages must name version 11 in the client's byte order, with lengths that fit.
"""

from typing import ClassVar, Literal

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_BIG, _LITTLE = b"B", b"l"
_VERSION = 11
_HEADER_BYTES = 12
"Byte order, unused, major and minor version, lengths of the authorisation's name and data, unused."
_AUTHORISATIONS = (0, 18, 19)
"Lengths of names: none, MIT-MAGIC-COOKIE-1, XDM-AUTHORIZATION-1."
_MAX_DATA = 256
_FAILED, _SUCCESS, _AUTHENTICATE = 0, 1, 2
_REPLY_BYTES = 8
"State, length of a reason, versions, length of the rest in four bytes."

Order = Literal["big", "little"]


def _order(client: bytes) -> Order:
    return "big" if client[:1] == _BIG else "little"


def _is_setup(client: bytes) -> Fit:
    order = _order(client)
    if len(client) < _HEADER_BYTES:
        return None if client[2:4] in ((_VERSION).to_bytes(2, order), b"", b"\x00", b"\x0b") else False
    version, minor, name, data = (int.from_bytes(client[at : at + 2], order) for at in (2, 4, 6, 8))
    return version == _VERSION and minor <= 1 and name in _AUTHORISATIONS and data <= _MAX_DATA


def _is_reply(server: bytes, order: Order) -> Fit:
    if len(server) < _REPLY_BYTES:
        return None
    version, minor = int.from_bytes(server[2:4], order), int.from_bytes(server[4:6], order)
    return version == _VERSION and minor <= 1 and int.from_bytes(server[6:8], order) > 0


class X11(Exchange):
    """Finds the connection setup and its reply."""

    name: ClassVar[str] = "x11"
    protocols: ClassVar[tuple[str, ...]] = ("x11",)
    misses: ClassVar[str] = "X over SSH, which keeps that name, and connections joined after their start."
    client_begins: ClassVar[bytes] = _BIG + _LITTLE
    server_begins: ClassVar[bytes] = bytes((_FAILED, _SUCCESS, _AUTHENTICATE))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A setup, and a reply in its byte order."""
        asked = _is_setup(client)
        return self.weigh(
            asked,
            _is_reply(server, _order(client)) if asked else (False if server else None),
            question="a connection setup of version 11",
            answer="",
            link="a reply to the connection setup",
        )
