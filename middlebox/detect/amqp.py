"""AMQP 0-9-1 and 1.0: the protocol header and what answers it (AMQP 0-9-1 section 4.2.2, OASIS AMQP 1.0 section 2.2).

The one rule: the answer is a header, too, or the first method of a connection.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_HEADER = re.compile(
    rb"AMQP(?:\x00\x00\x09\x01|[\x00\x02\x03]\x01\x00\x00|\x01\x01[\x00\x08\x09][\x00-\x0a]|\x00\x00\x09\x00)"
)
"Versions 0-9-1; 1.0 plain, over TLS and with SASL; 0-8 to 0-10."
_HEADER_BYTES = 8
_MARK = b"AMQP"
_METHOD_OF_CHANNEL_0 = b"\x01\x00\x00"
_CONNECTION_START = b"\x00\x0a\x00\x0a"
"Class 10, method 10 (AMQP 0-9-1 section 1.4.2.1), after the frame's length."


def _is_header(data: bytes) -> Fit:
    if len(data) < _HEADER_BYTES:
        return None if data[:4] == _MARK[: len(data)] else False
    return _HEADER.match(data) is not None


def _is_answer(data: bytes) -> Fit:
    if data[:1] != b"\x01":
        return _is_header(data)
    if data[:3] != _METHOD_OF_CHANNEL_0[: len(data)]:
        return False
    return None if len(data) < 11 else data[7:11] == _CONNECTION_START


class Amqp(Exchange):
    """Finds the client's protocol header and the server's answer."""

    name: ClassVar[str] = "amqp"
    protocols: ClassVar[tuple[str, ...]] = ("amqp",)
    misses: ClassVar[str] = (
        "AMQP inside TLS from the first byte or WebSocket, and connections joined after their start."
    )
    client_begins: ClassVar[bytes] = b"A"
    server_begins: ClassVar[bytes] = b"A\x01"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A header, and a header or Connection.Start."""
        return self.weigh(
            _is_header(client),
            _is_answer(server),
            question="a protocol header of AMQP from the client",
            answer="a protocol header or Connection.Start of AMQP from the server",
            link="the server answers the protocol header of AMQP",
        )
