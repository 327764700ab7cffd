"""What names and answers of DNS messages say, for detectors of what DNS carries (RFC 1035 section 4).

The one rule: nothing is checked here that is not needed to read the first question and the answers to it; whether a
datagram is DNS at all, the DNS detector says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812

_HEADER = Struct("!6H")
_PAIR = Struct("!2H")
_RECORD = Struct("!HHIH")
"Type, class, time to live, length of what follows (section 4.1.3)."
_REPLY_BIT = 0x8000
_OPCODE_BITS = 0x7800
_POINTER = 0xC0
_MAX_NAME = 255
_MAX_ANSWERS = 4
"Ours: of one message, those that are looked at."

NULL, CNAME, MX, TXT, KEY, SRV, PRIVATE = 10, 5, 15, 16, 25, 33, 65399
"Types whose answers hold data of the server's choice. PRIVATE is iodine's, of the range for private use."
_NAME_AT = {CNAME: 0, MX: 2, SRV: 6}
"Where in the data of these types a name begins."

_SECOND_LEVEL = frozenset((b"co", b"com", b"net", b"org", b"gov", b"edu", b"ac", b"or", b"ne", b"go"))
"Labels under which a country registers names, as in co.uk."


@dataclass(slots=True, frozen=True)
class Question:
    """The first question of a message."""

    message_id: int
    is_reply: bool
    labels: tuple[bytes, ...]
    "As on the wire, without the root."
    rrtype: int
    end: int
    "Offset of what follows."
    answers: int


def read_question(data: bytes) -> Question | None:
    """The question of an ordinary query or of the reply to one, None when there is none."""
    if len(data) < _HEADER.size + 5:
        return None
    message_id, flags, questions, answers, _authority, _additional = _HEADER.unpack_from(data)
    if questions != 1 or flags & _OPCODE_BITS:
        return None
    read = _read_labels(data, _HEADER.size)
    if read is None or len(data) < read[1] + _PAIR.size:
        return None
    labels, at = read
    rrtype, _rrclass = _PAIR.unpack_from(data, at)
    return Question(message_id, bool(flags & _REPLY_BIT), labels, rrtype, at + _PAIR.size, answers)


def _read_labels(data: bytes, at: int) -> tuple[tuple[bytes, ...], int] | None:
    """The labels of the name at `at` up to its end or the first pointer, and the offset after them."""
    labels: list[bytes] = []
    start = at
    while at < len(data) and at - start <= _MAX_NAME:
        length = data[at]
        if not length:
            return tuple(labels), at + 1
        if length >= _POINTER:
            return tuple(labels), at + 2
        if length > 63:
            return None
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    return None


def read_answers(data: bytes, question: Question) -> Iterator[bytes]:
    """Data of the first answers: text without its lengths, a name without its dots."""
    at = question.end
    try:
        for _ in range(min(question.answers, _MAX_ANSWERS)):
            read = _read_labels(data, at)
            if read is None:
                return
            rrtype, _rrclass, _ttl, length = _RECORD.unpack_from(data, read[1])
            start = read[1] + _RECORD.size
            at = start + length
            yield _content(data, start, at, rrtype)
    except StructError:
        return


def _content(data: bytes, start: int, end: int, rrtype: int) -> bytes:
    if rrtype == TXT:
        strings = []
        while start < min(end, len(data)):
            strings.append(data[start + 1 : min(start + 1 + data[start], end)])
            start += 1 + data[start]
        return b"".join(strings)
    if rrtype in _NAME_AT:
        read = _read_labels(data, start + _NAME_AT[rrtype])
        return b"".join(read[0]) if read else b""
    return data[start:end]


def split_name(labels: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The labels before the registered domain, and the domain, in lower case.

    Good enough to count by: two labels, or three where the second last is one under which countries register.
    """
    lower = tuple(label.lower() for label in labels)
    size = 3 if len(lower) > 2 and len(lower[-1]) == 2 and lower[-2] in _SECOND_LEVEL else 2
    return lower[:-size], lower[-size:]
