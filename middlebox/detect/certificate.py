"""The first certificate of a TLS server, which TLS 1.2 and before send in clear (RFC 5246 section 7.4.2).

One rule: every byte of the stream is read once, and what is kept is no more than the stream's limit.
"""

import hashlib

from middlebox.detect.base import STREAM_LIMIT
from middlebox.evidence import Opinion

_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_ALERT, _HANDSHAKE = 21, 22
"Record content types (RFC 5246 section 6.2.1)."
_SERVER_HELLO, _CERTIFICATE, _SUPPLEMENTAL_DATA = 2, 11, 23
"Handshake messages; only supplemental data (RFC 4680) may stand between the other two."
_LENGTH = 3
"Bytes of the length of the list and of each certificate in it."


class CertificateReader:
    """Reads the server's side until its first certificate is whole."""

    __slots__ = ("_content", "_left", "_position", "_skipped")

    def __init__(self) -> None:
        self._position = self._left = 0
        "Where in the stream reading goes on, and how much is missing of the record there."
        self._skipped = False
        "That record is an alert."
        self._content = bytearray()
        "Handshake bytes, taken out of their records, from the message that is being read."

    def read(self, stream: bytes) -> str | Opinion:
        """SHA-256 of the certificate in hex; MORE while it may still come, NO when it does not."""
        while self._position < len(stream):
            if not self._left and not self._start_record(stream):
                break
            piece = stream[self._position : self._position + self._left]
            self._position += len(piece)
            self._left -= len(piece)
            if not self._skipped:
                self._content += piece
            answer = self._judge()
            if answer is not Opinion.MORE:
                return answer
        return Opinion.NO if self._left < 0 or len(stream) >= STREAM_LIMIT else Opinion.MORE

    def _start_record(self, stream: bytes) -> bool:
        """Read a record's header, once it is whole; `_left` is below zero when no more handshake comes in clear."""
        header = stream[self._position : self._position + _RECORD_HEADER]
        if header[0] not in (_ALERT, _HANDSHAKE):
            self._left = -1
            return False
        if len(header) < _RECORD_HEADER:
            return False
        self._skipped = header[0] == _ALERT
        self._left = header[3] << 8 | header[4]
        self._position += _RECORD_HEADER
        return True

    def _judge(self) -> str | Opinion:
        """Go over the messages that are whole to the certificate."""
        content = self._content
        while len(content) >= _MESSAGE_HEADER:
            length = int.from_bytes(content[1:_MESSAGE_HEADER])
            if content[0] == _CERTIFICATE:
                begin = _MESSAGE_HEADER + 2 * _LENGTH
                if length <= 2 * _LENGTH:
                    return Opinion.NO  # an empty list
                if len(content) < begin:
                    return Opinion.MORE
                size = int.from_bytes(content[begin - _LENGTH : begin])
                if not 0 < size <= length - 2 * _LENGTH:
                    return Opinion.NO
                if len(content) < begin + size:
                    return Opinion.MORE
                return hashlib.sha256(content[begin : begin + size]).hexdigest()
            if content[0] not in (_SERVER_HELLO, _SUPPLEMENTAL_DATA):
                return Opinion.NO
            if len(content) < _MESSAGE_HEADER + length:
                return Opinion.MORE
            del content[: _MESSAGE_HEADER + length]
        return Opinion.MORE
