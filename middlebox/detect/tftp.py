"""TFTP (RFC 1350, options of RFC 2347).

The one rule: a request must be text in whole fields with one of the modes that exist; a transfer must have blocks that
are acknowledged one by one. Server and client move to a new port after the request, so these are two flows.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_READ, _WRITE, _DATA, _ACKNOWLEDGE, _ERROR, _OPTIONS = range(1, 7)
_MODES = frozenset({b"netascii", b"octet", b"mail"})
_OPTION_NAMES = frozenset({b"blksize", b"tsize", b"timeout", b"windowsize", b"multicast"})
"RFC 2348, RFC 2349, RFC 7440, RFC 2090."
_BLOCK_BYTES = range(4, 65_469)
"Header, and up to the largest block size (RFC 2348)."
_ACKNOWLEDGE_BYTES = 4
_MAX_ERROR = 8
_MAX_FIELDS_BYTES = 512


class Tftp(DatagramExchange):
    """Recognises requests by their fields, and transfers by acknowledged blocks."""

    name: ClassVar[str] = "tftp"
    protocols: ClassVar[tuple[str, ...]] = ("tftp",)
    misses: ClassVar[str] = "A transfer is another flow than its request; of one block alone nothing is said."
    client_begins: ClassVar[bytes] = b"\x00"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "block number"

    def read(self, message: bytes) -> Seen | None:
        """One packet by its opcode."""
        if len(message) < 4 or message[0]:
            return None
        opcode = message[1]
        if opcode in (_READ, _WRITE):
            return _read_request(message)
        if opcode == _DATA and len(message) in _BLOCK_BYTES:
            return _transfer("block of data", asks=message[2:4])
        if opcode == _ACKNOWLEDGE and len(message) == _ACKNOWLEDGE_BYTES:
            return _transfer("acknowledgement", answers=message[2:4])
        if opcode == _ERROR and message[2] == 0 and message[3] <= _MAX_ERROR and message.endswith(b"\x00"):
            return _transfer("error")
        if opcode == _OPTIONS and message.endswith(b"\x00") and message[2:].split(b"\x00")[0].lower() in _OPTION_NAMES:
            return Seen("a TFTP option acknowledgement", b"\x00\x00", _REQUESTED)
        return None


_REQUESTED = "request"


def _transfer(what: str, *, asks: bytes | None = None, answers: bytes | str | None = None) -> Seen:
    return Seen(f"a TFTP {what}", asks, answers, None)


def _read_request(message: bytes) -> Seen | None:
    """File name, mode, then options and their values, each ended by a zero."""
    if not message.endswith(b"\x00") or len(message) > _MAX_FIELDS_BYTES:
        return None
    fields = message[2:-1].split(b"\x00")
    if len(fields) < 2 or len(fields) % 2 or not fields[0] or fields[1].lower() not in _MODES:
        return None
    return Seen("a TFTP request for a file", asks=_REQUESTED)
