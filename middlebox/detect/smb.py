"""SMB 1, 2 and 3, in the frames of NetBIOS sessions or direct TCP ([MS-CIFS] 2.2.3.1, [MS-SMB2] 2.2.1, RFC 1002 4.3).

The one rule: the reply must name the request's command or message; a NetBIOS session, that it is granted or refused.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_SESSION_MESSAGE, _SESSION_REQUEST, _KEEPALIVE = 0x00, 0x81, 0x85
_SESSION_REPLIES = (0x82, 0x83, 0x84)
"Positive, negative, retarget (RFC 1002 sections 4.3.3 to 4.3.5)."
_REPLY_LENGTHS = {0x82: 0, 0x83: 1, 0x84: 6}
_FRAME_BYTES = 4
_NAME_BYTES = 68
"Two encoded names, called and calling, without scopes (RFC 1002 section 4.3.2)."
_NAME_MARK = 0x20
"Length of an encoded name."

_SMB1, _SMB2, _SMB3_SEALED, _SMB3_PACKED = b"\xffSMB", b"\xfeSMB", b"\xfdSMB", b"\xfcSMB"
"[MS-SMB2] 2.2.1, 2.2.41 (encrypted) and 2.2.42 (compressed)."
_SMB1_HEADER_BYTES, _SMB2_HEADER_BYTES = 32, 64
_SMB1_REPLY = 0x80
"In the flags: sent by a server ([MS-CIFS] 2.2.3.1)."
_SMB2_REPLY = 0x01
"In the flags: sent by a server ([MS-SMB2] 2.2.1.2)."
_MAX_SMB1_COMMAND, _MAX_SMB2_COMMAND = 0xFF, 0x12


class _Frame:
    """A NetBIOS session message with SMB in it, as far as its header goes."""

    __slots__ = ("command", "is_reply", "mark", "number")

    def __init__(self, data: bytes) -> None:
        self.mark = data[4:8]
        self.number = self.command = b""
        self.is_reply: bool | None = None
        "None: the header does not tell."
        if self.mark == _SMB1:
            self.command, self.number = data[8:9], data[34:36]
            self.is_reply = bool(data[13] & _SMB1_REPLY)
        elif self.mark == _SMB2:
            self.command, self.number = data[16:18], data[28:36]
            self.is_reply = bool(data[20] & _SMB2_REPLY)


def _read_frame(data: bytes) -> _Frame | None:
    """The SMB header in the first frame; None while it is incomplete. ValueError when there is none."""
    mark = data[4:8]
    if data[:1] != b"\x00"[: len(data)] or not any(known.startswith(mark) for known in _MARKS):
        raise ValueError
    if len(data) < 8:
        return None
    header = _SMB1_HEADER_BYTES if mark == _SMB1 else _SMB2_HEADER_BYTES if mark == _SMB2 else 8
    if int.from_bytes(data[1:4]) < header:
        raise ValueError
    if len(data) < _FRAME_BYTES + header:
        return None
    if mark == _SMB2 and (data[8:10] != b"\x40\x00" or data[16] > _MAX_SMB2_COMMAND):
        raise ValueError
    return _Frame(data)


_MARKS = (_SMB1, _SMB2, _SMB3_SEALED, _SMB3_PACKED)


class Smb(Exchange):
    """Finds a request, then the reply with the same command or number."""

    name: ClassVar[str] = "smb"
    protocols: ClassVar[tuple[str, ...]] = ("smb",)
    facts: ClassVar[tuple[str, ...]] = ("smb.version",)
    misses: ClassVar[str] = "SMB over QUIC, and what a connection is used for."
    client_begins: ClassVar[bytes] = bytes((_SESSION_MESSAGE, _SESSION_REQUEST, _KEEPALIVE))
    server_begins: ClassVar[bytes] = bytes((_SESSION_MESSAGE, *_SESSION_REPLIES, _KEEPALIVE))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """NetBIOS sessions are asked for first where there are some; otherwise SMB begins at once."""
        try:
            if client[:1] == b"\x81" or (server and server[0] in _SESSION_REPLIES):
                return self._judge_session(client, server)
            request = _read_frame(client) if client else None
            reply = _read_frame(server) if server else None
        except ValueError:
            return Opinion.NO
        if (request and request.is_reply) or (reply and reply.is_reply is False):
            return Opinion.NO
        if request and reply:
            if request.mark == reply.mark and (request.command, request.number) != (reply.command, reply.number):
                # Joined in the middle: more than one request may be on its way.
                return self._evidence(Confidence.PROBABLE, "SMB headers both ways", reply)
            return self._evidence(Confidence.CONFIRMED, "a reply to the request's command and number", reply)
        if request or reply:
            return self._evidence(Confidence.PROBABLE, "an SMB header", request or reply)
        return Opinion.MORE

    def _judge_session(self, client: bytes, server: bytes) -> Answer:
        if client and (client[0] != _SESSION_REQUEST or client[1:5] != b"\x00\x00\x44\x20"[: max(len(client) - 1, 0)]):
            raise ValueError
        length = int.from_bytes(server[1:4])
        if server and (
            server[0] not in _SESSION_REPLIES or (len(server) >= _FRAME_BYTES and length != _REPLY_LENGTHS[server[0]])
        ):
            raise ValueError
        asked = len(client) >= _FRAME_BYTES + _NAME_BYTES and client[_FRAME_BYTES + _NAME_BYTES // 2] == _NAME_MARK
        if asked and len(server) >= _FRAME_BYTES:
            return self.confirmed("a NetBIOS session request and its answer")
        return self.probable("a NetBIOS session request") if asked else Opinion.MORE

    def _evidence(self, confidence: Confidence, reason: str, frame: _Frame | None) -> Evidence:
        mark = frame.mark if frame else b""
        version = "1" if mark == _SMB1 else "2" if mark == _SMB2 else "3"
        return Evidence("smb", confidence, reason, {"smb.version": version}, more=confidence < Confidence.CONFIRMED)
