"""Modbus over TCP (MODBUS Messaging on TCP/IP Implementation Guide 1.0b section 3.1; Application Protocol 1.1b3).

The one rule: `confirmed` needs an answer with the request's transaction, unit and function.
"""

from typing import ClassVar

from middlebox.detect.paired import Paired
from middlebox.evidence import Confidence

_HEADER_BYTES = 8
"Transaction, protocol (0), length, unit, function."
_LENGTHS = range(2, 255)
"Unit and function at least, 253 bytes of message and a unit at most."
_FUNCTIONS = frozenset({*range(1, 9), 11, 12, 15, 16, 17, *range(20, 25), 43, 90})
"Public codes, and 90, with which Schneider's controllers are programmed."
_ERROR = 0x80


class Modbus(Paired):
    """Recognises Modbus."""

    __slots__ = ()

    name: ClassVar[str] = "modbus"
    protocols: ClassVar[tuple[str, ...]] = ("modbus",)
    what: ClassVar[str] = "a Modbus header of one transaction"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first header."""
        if any(data[2:4]):
            return False
        if len(data) < _HEADER_BYTES:
            return None
        return data[4] << 8 | data[5] in _LENGTHS and data[7] & ~_ERROR in _FUNCTIONS

    def alone(self, data: bytes) -> Confidence | None:
        """Two zeros, a length and two small numbers: other protocols have these as well."""
        return None

    def belong(self, client: bytes, server: bytes) -> bool:
        """Compare transaction, unit and function."""
        is_same = client[:2] == server[:2] and client[6] == server[6]
        return is_same and not client[7] & _ERROR and client[7] == server[7] & ~_ERROR
