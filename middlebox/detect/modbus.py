"""Modbus over TCP: a response with the transaction, unit and function of its request (Modbus on TCP/IP V1.0b 3.1.3).

The one rule: there is no mark, so every field of the header must fit, and the response be linked to the request.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.exchange import ANY_BYTE, Exchange
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!HHHBB")
"Transaction, protocol (always 0), length of what follows it, unit, function."
_LENGTH_AT = 6
"Bytes that are not counted in the length."
_LENGTHS = range(2, 255)
"Unit and function, up to 253 bytes of PDU and the unit (Modbus Application Protocol V1.1b3, section 4.1)."
_FUNCTIONS = frozenset((*range(1, 9), 11, 12, *range(15, 18), *range(20, 25), 43))
"Public function codes (section 5)."
_EXCEPTION = 0x80
"Added to the function when the request could not be served (section 7)."


class Modbus(Exchange):
    """Finds the response to a request."""

    name: ClassVar[str] = "modbus"
    protocols: ClassVar[tuple[str, ...]] = ("modbus",)
    misses: ClassVar[str] = (
        "Vendors' own functions, Modbus inside TLS, and connections joined between request and response."
    )
    client_begins: ClassVar[bytes] = ANY_BYTE
    server_begins: ClassVar[bytes] = ANY_BYTE
    patience: ClassVar[int] = 600

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The first request and the first response."""
        if (
            client[2:5] != b"\x00\x00\x00"[: max(len(client) - 2, 0)]
            or server[2:5] != b"\x00\x00\x00"[: max(len(server) - 2, 0)]
        ):
            return Opinion.NO
        if len(client) < _HEADER.size:
            return Opinion.NO if server else Opinion.MORE
        transaction, _, length, unit, function = _HEADER.unpack_from(client)
        if length not in _LENGTHS or function not in _FUNCTIONS:
            return Opinion.NO
        if len(server) < _HEADER.size:
            is_whole = len(client) >= _LENGTH_AT + length
            return (
                Evidence("modbus", Confidence.POSSIBLE, "a header that fits", more=True) if is_whole else Opinion.MORE
            )
        echoed, _, length, same_unit, done = _HEADER.unpack_from(server)
        linked = echoed == transaction and same_unit == unit and done & ~_EXCEPTION == function and length in _LENGTHS
        if not linked or len(client) < _LENGTH_AT + 2:
            return Opinion.NO
        return self.confirmed("a response with the request's transaction, unit and function")
