"""RADIUS (RFC 2865, RFC 2866, RFC 5176).

The one rule: the length must be the datagram's and the attributes must fill it; `confirmed` needs an answer with the
request's identifier and a code that fits.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_ANSWERS = {2: 1, 3: 1, 5: 4, 11: 1, 41: 40, 42: 40, 44: 43, 45: 43}
"Code of an answer to code of its request."
_NAMES = {
    1: "Access-Request", 2: "Access-Accept", 3: "Access-Reject", 4: "Accounting-Request", 5: "Accounting-Response",
    11: "Access-Challenge", 12: "Status-Server", 40: "Disconnect-Request", 41: "Disconnect-ACK", 42: "Disconnect-NAK",
    43: "CoA-Request", 44: "CoA-ACK", 45: "CoA-NAK",
}  # fmt: skip
_HEADER_BYTES = 20
"Code, identifier, length, authenticator (RFC 2865 section 3)."
_MAX_BYTES = 4_096
"The longest message (RFC 2865 section 3)."


class Radius(DatagramExchange):
    """Recognises requests for access and accounting, and their answers."""

    name: ClassVar[str] = "radius"
    protocols: ClassVar[tuple[str, ...]] = ("radius",)
    misses: ClassVar[str] = "RADIUS inside TLS or DTLS."
    client_begins: ClassVar[bytes] = bytes(_NAMES)
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "identifier"

    def read(self, message: bytes) -> Seen | None:
        """Header, then attributes to the last byte."""
        if not _HEADER_BYTES <= len(message) <= _MAX_BYTES or int.from_bytes(message[2:4]) != len(message):
            return None
        at, code = _HEADER_BYTES, message[0]
        while at + 2 <= len(message) and message[at + 1] >= 2 and message[at]:
            at += message[at + 1]
        is_answer = code in _ANSWERS
        if at != len(message) or (at == _HEADER_BYTES and not is_answer):
            return None
        key = _ANSWERS.get(code, code), message[1]
        if is_answer:
            return Seen(f"a RADIUS {_NAMES[code]}", answers=key)
        return Seen(f"a RADIUS {_NAMES[code]}", asks=key)
