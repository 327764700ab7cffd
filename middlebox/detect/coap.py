"""The Constrained Application Protocol (RFC 7252) over UDP.

The one rule: one message has the form of many others and is `possible` at most; `confirmed` needs a response that
repeats the token of a request, or acknowledges its message id.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.evidence import Confidence

_VERSION = range(0x40, 0x80)
"First bytes with version 1 (section 3)."
_CONFIRMABLE, _NOT_CONFIRMABLE, _ACKNOWLEDGEMENT = 0, 1, 2
_METHODS = range(1, 8)
"Codes 0.01 to 0.07: GET to iPATCH (section 5.8, RFC 8132)."
_RESPONSES = frozenset({*range(65, 70), 95, *range(128, 144), *range(160, 166), 168})
"Codes 2.01 to 2.05, 2.31, 4.xx and 5.xx (section 12.1.2, RFC 7959)."
_HEADER_BYTES = 4
_MAX_TOKEN = 8
_PAYLOAD_MARK = 0xFF
_EXTENDED = {13: 1, 14: 2}
"Nibbles that announce one or two more bytes (section 3.1)."
_MAX_OPTION = 2053
"The largest number that IANA has given out for general use; 65000 and more are experiments."
_MAX_OPTIONS = 32


class Coap(DatagramExchange):
    """Recognises requests to small devices, and their responses."""

    name: ClassVar[str] = "coap"
    protocols: ClassVar[tuple[str, ...]] = ("coap",)
    misses: ClassVar[str] = "CoAP over TCP or DTLS; requests without an answer, and without a path, are not told."
    client_begins: ClassVar[bytes] = bytes(_VERSION)
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "token"

    def read(self, message: bytes) -> Seen | None:
        """Header, token, options, and a payload only behind its mark."""
        if len(message) < _HEADER_BYTES:
            return None
        kind, token_bytes, code = message[0] >> 4 & 3, message[0] & 0xF, message[1]
        options = _read_options(message, _HEADER_BYTES + token_bytes) if token_bytes <= _MAX_TOKEN else None
        if options is None:
            return None
        token = message[_HEADER_BYTES : _HEADER_BYTES + token_bytes]
        key = token or message[2:4]
        if code in _METHODS and kind in (_CONFIRMABLE, _NOT_CONFIRMABLE) and options:
            return Seen("a CoAP request", asks=key, confidence=Confidence.POSSIBLE)
        if code in _RESPONSES and (token or kind == _ACKNOWLEDGEMENT):
            return Seen("a CoAP response", answers=key, confidence=None)
        return None


def _read_options(message: bytes, at: int) -> int | None:
    """How many options there are; None when their numbers, lengths or the payload's mark do not fit."""
    number = count = 0
    while at < len(message):
        if message[at] == _PAYLOAD_MARK:
            return count if at + 1 < len(message) else None
        fields = [message[at] >> 4, message[at] & 0xF]
        at += 1
        for index, nibble in enumerate(fields):
            more = _EXTENDED.get(nibble, 0)
            if nibble == 15 or at + more > len(message):
                return None
            if more:
                fields[index] = int.from_bytes(message[at : at + more]) + (13 if more == 1 else 269)
                at += more
        number += fields[0]
        at += fields[1]
        count += 1
        if number > _MAX_OPTION or count > _MAX_OPTIONS or at > len(message):
            return None
    return count if at == len(message) else None
