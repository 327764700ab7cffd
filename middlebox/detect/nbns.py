"""The NetBIOS name service (RFC 1002 section 4.2), which borrows the format of DNS for names of its own.

The one rule: the name must be sixteen bytes written as 32 letters from A to P; that is what DNS never has.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_HEADER = Struct("!6H")
"Id, flags, and the number of questions, answers, authority and additional records (section 4.2.1.1)."
_PAIR = Struct("!2H")
_REPLY_BIT = 0x8000
_OPCODES = {0: "query", 5: "registration", 6: "release", 7: "wait", 8: "refresh", 9: "refresh", 15: "registration"}
"Section 4.2.1.1; 9 is what many senders use for a refresh, 15 is a registration of more names."
_TYPES = frozenset({0x0A, 0x20, 0x21})
"NULL, NB, NBSTAT (section 4.2.1.3)."
_INTERNET = 1
NAME_BYTES = 34
"Length, 32 letters and the root: a name without a scope."
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOP")
_MAX_NAME_BYTES = 255


def skip_name(message: bytes, at: int) -> int:
    """The offset after a NetBIOS name at `at`, which may have a scope behind it; 0 when there is none."""
    letters = message[at + 1 : at + 33]
    if message[at : at + 1] != b"\x20" or len(letters) < 32 or not _LETTERS.issuperset(letters):
        return 0
    start, at = at, at + 33
    while at < len(message) and at - start < _MAX_NAME_BYTES:
        length = message[at]
        if not length:
            return at + 1
        if length > 63:
            return 0
        at += 1 + length
    return 0


class Nbns(DatagramExchange):
    """Recognises questions about NetBIOS names, and their answers."""

    name: ClassVar[str] = "nbns"
    protocols: ClassVar[tuple[str, ...]] = ("nbns",)
    misses: ClassVar[str] = "Answers that go to another port than the question came from are probable at most."
    repeats: ClassVar[str] = "id and name"

    def read(self, message: bytes) -> Seen | None:
        """Header, then a question or a record for a NetBIOS name."""
        if len(message) < _HEADER.size + NAME_BYTES + _PAIR.size or message[_HEADER.size] != 0x20:
            return None
        number, flags, questions, answers, authority, additional = _HEADER.unpack_from(message)
        operation = _OPCODES.get(flags >> 11 & 0xF)
        if operation is None or questions + answers != 1 or authority or additional > 1:
            return None
        end = skip_name(message, _HEADER.size)
        if not end or end + _PAIR.size > len(message):
            return None
        kind, kind_class = _PAIR.unpack_from(message, end)
        if kind not in _TYPES or kind_class != _INTERNET:
            return None
        key = number, message[_HEADER.size : end]
        if flags & _REPLY_BIT:
            return Seen(f"a NetBIOS name {operation} response", answers=key) if answers else None
        return Seen(f"a NetBIOS name {operation}", asks=key) if questions else None
