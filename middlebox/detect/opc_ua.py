"""OPC UA over TCP: Hello and Acknowledge, or messages of one secure channel (OPC 10000-6 sections 6.7.2, 7.1.2).

The one rule: message type, chunk type and size of both first messages must be valid.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_HEADER_BYTES = 8
"Type (3), chunk type, size (4, little-endian)."
_HELLO, _ACKNOWLEDGE, _ERROR = b"HELF", b"ACKF", b"ERRF"
_CHANNEL_MESSAGES = (b"OPN", b"MSG", b"CLO")
_CHUNKS = (b"F", b"C", b"A")
"Final, continued, aborted (section 6.7.2.2)."
_CHANNEL = slice(8, 12)
_MAX_MESSAGE = 1 << 26
"Ours."


def _is_message(data: bytes) -> Fit:
    kind = data[:4]
    if len(kind) < 4:
        known = (_HELLO, _ACKNOWLEDGE, _ERROR, *_CHANNEL_MESSAGES)
        return None if any(name[: len(kind)] == kind[:3] for name in known) else False
    if kind not in (_HELLO, _ACKNOWLEDGE, _ERROR) and (kind[:3] not in _CHANNEL_MESSAGES or kind[3:] not in _CHUNKS):
        return False
    if len(data) < _CHANNEL.stop:
        return None
    return _HEADER_BYTES < int.from_bytes(data[4:8], "little") <= _MAX_MESSAGE


class OpcUa(Exchange):
    """Finds the acknowledgement of a Hello, or messages of one channel both ways."""

    name: ClassVar[str] = "opc_ua"
    protocols: ClassVar[tuple[str, ...]] = ("opc-ua",)
    misses: ClassVar[str] = "OPC UA over HTTPS or WebSocket, and OPC Classic, which is DCE/RPC."
    client_begins: ClassVar[bytes] = b"HOMC"
    server_begins: ClassVar[bytes] = b"AEOMC"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The first message of each side."""
        asked, answered = _is_message(client), _is_message(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            if client.startswith(_HELLO):
                return self.confirmed("the server acknowledges the client's Hello, or refuses it")
            same = client[_CHANNEL] == server[_CHANNEL]
            return self.confirmed("messages of one secure channel both ways") if same else Opinion.NO
        return self.probable("a message of OPC UA") if asked or answered else Opinion.MORE
