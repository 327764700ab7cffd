"""WhatsApp's chat connection: a prologue and framed messages (WhatsApp Encryption Overview, "Transport Security").

The one rule: the prologue alone is four bytes, so a frame must follow it, and one come back. Layout of the prologue:
the captures, and the sources of go.mau.fi/whatsmeow (socket/framesocket.go) and the older yowsup.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_PROLOGUE = b"WA"
"Then two bytes of version: 01 05 before there was Noise, 05 02 and 06 03 since."
_VERSIONS = range(1, 10)
_ROUTING = b"ED\x00\x01"
"In front of the prologue: where the server should route it. A frame with that information follows."
_LENGTH_BYTES = 3
_MAX_ROUTING = 512
_CLIENT_HELLO, _SERVER_HELLO = 0x12, 0x1A
"First byte of the handshake's protobuf message: fields 2 and 3."
_OLD_STREAM = 0xF8
"A list, in the tokens of the time before Noise."


def _is_client(data: bytes) -> Fit:
    """Whether prologue and first frame are there."""
    at = 0
    if data.startswith(_ROUTING[: len(data)]):
        frame = data[len(_ROUTING) :][:_LENGTH_BYTES]
        if len(frame) < _LENGTH_BYTES:
            return None
        at = len(_ROUTING) + _LENGTH_BYTES + int.from_bytes(frame)
        if at > _MAX_ROUTING:
            return False
    head = data[at : at + 8]
    if not head.startswith(_PROLOGUE[: len(head)]) or (len(head) > 2 and head[2] not in _VERSIONS):
        return False
    return None if len(head) < 8 else head[7] in (_CLIENT_HELLO, _OLD_STREAM) and head[4] == 0


def _is_server(data: bytes) -> Fit:
    if len(data) < _LENGTH_BYTES + 1:
        return None if data[:1] == b"\x00"[: len(data)] else False
    return data[0] == 0 and data[_LENGTH_BYTES] in (_SERVER_HELLO, _OLD_STREAM)


class Whatsapp(Exchange):
    """Finds the prologue with a frame behind it, and a frame in answer."""

    name: ClassVar[str] = "whatsapp"
    protocols: ClassVar[tuple[str, ...]] = ("whatsapp",)
    misses: ClassVar[str] = "WhatsApp inside TLS, its calls (STUN and RTP) and its files (HTTPS)."
    client_begins: ClassVar[bytes] = b"WE"
    server_begins: ClassVar[bytes] = b"\x00"
    patience: ClassVar[int] = 2048

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The handshake's first message of each side."""
        asked, answered = _is_client(client), _is_server(server)
        if asked is False or answered is False or (server and not client):
            return Opinion.NO
        if asked and answered:
            return self.confirmed("a framed answer to the prologue and its frame")
        return self.probable("a prologue of WhatsApp and a frame") if asked else Opinion.MORE
