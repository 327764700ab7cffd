"""S7 and S7comm-plus, which Siemens' controllers speak, over ISO transport (RFC 1006, RFC 905).

The one rule: the transport's connection is anybody's (RDP has it, too); S7's own number must begin both sides' data.
"""

from typing import ClassVar

from middlebox.detect.paired import Paired

_TPKT, _TPKT_BYTES = b"\x03\x00", 4
_CONNECT, _DATA = frozenset({0xE0, 0xD0}), 0xF0
"Connection request and confirm; data."
_DATA_HEADER_BYTES = 3
_S7 = {0x32: frozenset({1, 2, 3, 7}), 0x72: frozenset({1, 2, 3, 0xFE})}
"Protocol numbers, and what may follow: kinds of messages, or versions of S7comm-plus."
_MAX_PACKETS = 3
"The connection takes one of each side."


class S7comm(Paired):
    """Recognises S7."""

    __slots__ = ()

    name: ClassVar[str] = "s7comm"
    protocols: ClassVar[tuple[str, ...]] = ("s7comm",)
    client_begins: ClassVar[bytes] = _TPKT[:1]
    server_begins: ClassVar[bytes] = client_begins
    packets_needed: ClassVar[int] = 4
    what: ClassVar[str] = "S7 over ISO transport"

    def begins(self, data: bytes) -> bool | None:
        """Go through the first packets until there is data."""
        at = 0
        for _ in range(_MAX_PACKETS):
            header = data[at : at + len(_TPKT)]
            if header != _TPKT[: len(header)]:
                return False
            if len(data) < at + _TPKT_BYTES + _DATA_HEADER_BYTES + 2:
                return None
            inner = at + _TPKT_BYTES
            if data[inner + 1] == _DATA:
                return data[inner + 4] in _S7.get(data[inner + 3], ())
            if data[inner + 1] not in _CONNECT:
                return False
            at += data[at + 2] << 8 | data[at + 3]
        return False
