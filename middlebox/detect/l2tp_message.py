"""Messages of L2TP, versions 2 and 3; shared by l2tp (over UDP) and l2tp_ip.

The one rule: a control message counts only when its length is that of its datagram and its first attribute names a
message that exists.

Layout: RFC 2661 sections 3.1 and 4.1 (version 2), RFC 3931 sections 3.2 and 5.1 (version 3).
"""

import struct
from typing import NamedTuple

_CONTROL_2, _CONTROL_3 = b"\xc8\x02", b"\xc8\x03"
"Type, length and sequence bits with the version. Nothing else may be set."
_VERSION_2 = struct.Struct("!HHHHHH")
"Flags, length, tunnel, session, Ns, Nr."
_VERSION_3 = struct.Struct("!HHIHH")
"Flags, length, control connection, Ns, Nr. As long as the other."
_HEADER_BYTES = 12
_ATTRIBUTE = struct.Struct("!HHH")
"Flags with length, vendor, type."
_ATTRIBUTE_LENGTH = 0x03FF
_RESERVED_BITS = 0x3C00
_MESSAGE_TYPE, _ASSIGNED_TUNNEL, _ASSIGNED_CONNECTION = 0, 9, 61
"Attribute types (RFC 2661 section 4.4, RFC 3931 section 5.4)."
MAX_MESSAGE_TYPE = 28
"Message types up to MSE (RFC 3301)."
_MAX_ATTRIBUTES = 24
"Ours: attributes looked at in one message. A start of a control connection has about twelve."


class Control(NamedTuple):
    """A control message."""

    version: int
    connection: int
    "Tunnel or control connection that it goes to."
    kind: int
    "0: an acknowledgment without content."
    assigned: int
    "Under which number its sender wants to be answered, 0 when it does not say."


def parse_control(data: bytes, size: int) -> Control | None:
    """The control message of `size` bytes that `data` begins, or None."""
    if len(data) < _HEADER_BYTES or not data.startswith((_CONTROL_2, _CONTROL_3)):
        return None
    version = data[1]
    if version == 2:
        _, length, connection, _, _, _ = _VERSION_2.unpack_from(data)
    else:
        _, length, connection, _, _ = _VERSION_3.unpack_from(data)
    if length != size:
        return None
    if length == _HEADER_BYTES:
        return Control(version, connection, 0, 0)
    kind = assigned = 0
    at = _HEADER_BYTES
    for number in range(_MAX_ATTRIBUTES):
        if len(data) < at + _ATTRIBUTE.size:
            break
        flags, vendor, attribute = _ATTRIBUTE.unpack_from(data, at)
        end = at + (flags & _ATTRIBUTE_LENGTH)
        if flags & _RESERVED_BITS or end < at + _ATTRIBUTE.size or end > size:
            return None
        value = int.from_bytes(data[at + _ATTRIBUTE.size : min(end, at + _ATTRIBUTE.size + 4)])
        if number == 0:
            if vendor or attribute != _MESSAGE_TYPE or not 0 < value <= MAX_MESSAGE_TYPE:
                return None
            kind = value
        elif not vendor and attribute in (_ASSIGNED_TUNNEL, _ASSIGNED_CONNECTION):
            assigned = value
        at = end
    return Control(version, connection, kind, assigned) if kind else None


class Exchange:
    """Links control messages: one side announces a number, the other side uses it."""

    __slots__ = ("_assigned",)

    _MAX_ASSIGNED = 4

    def __init__(self) -> None:
        self._assigned: tuple[list[int], list[int]] = ([], [])
        "What the server and the client have announced, the last few."

    def add(self, control: Control, *, from_client: bool) -> bool:
        """Take in a message; True when it goes to a number that the other side has announced."""
        if control.assigned:
            mine = self._assigned[from_client]
            mine.append(control.assigned)
            del mine[: -self._MAX_ASSIGNED]
        return control.connection != 0 and control.connection in self._assigned[not from_client]
