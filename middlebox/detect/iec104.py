"""IEC 60870-5-104 telecontrol.

The one rule: the first frame of each side is one that the standard knows, to the bit.
"""

from typing import ClassVar

from middlebox.detect.paired import Paired

_START = 0x68
_HEADER_BYTES, _CONTROL_BYTES, _LEAST_DATA_BYTES = 6, 4, 10
_UNNUMBERED = frozenset({0x07, 0x0B, 0x13, 0x23, 0x43, 0x83})
"STARTDT, STOPDT and TESTFR, to act and to confirm (clause 5.1)."
_SUPERVISORY = 0x01
_DATA_TYPES = range(1, 128)


class Iec104(Paired):
    """Recognises IEC 104."""

    __slots__ = ()

    name: ClassVar[str] = "iec104"
    protocols: ClassVar[tuple[str, ...]] = ("iec104",)
    client_begins: ClassVar[bytes] = bytes((_START,))
    server_begins: ClassVar[bytes] = client_begins
    what: ClassVar[str] = "a frame of IEC 60870-5-104"

    def begins(self, data: bytes) -> bool | None:
        """Look at the first frame."""
        if data[0] != _START:
            return False
        if len(data) < _HEADER_BYTES:
            return None
        length, control = data[1], data[2:6]
        if control[0] in _UNNUMBERED:
            return length == _CONTROL_BYTES and not any(control[1:])
        if control[0] == _SUPERVISORY:
            return length == _CONTROL_BYTES and not control[1] and not control[2] & 1
        if control[0] & 1 or control[2] & 1 or length < _LEAST_DATA_BYTES:
            return False
        return None if len(data) == _HEADER_BYTES else data[6] in _DATA_TYPES
