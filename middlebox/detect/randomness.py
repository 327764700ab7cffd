"""Whether bytes look like the output of a cipher, for detectors of what has no header.

The one rule: bounds are so wide that true noise passes each test all but about once in 100,000 times, so what fails is
structure. Compressed files pass when short and fail from some kilobytes on.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import Literal

from middlebox.detect.base import STREAM_LIMIT, Conversation

_DEVIATIONS = 4.5
"Standard deviations that are still called chance: two-sided, once in 150,000."
_SLACK_PAIRS = 4.0
"Added to the bound on equal pairs, whose count is skewed when few are expected."
_MOST_LOOKED_AT = 4_096
"Bytes that are counted: more would cost time, not noise that passes."
_MOST_FRAMES = 8
"Ours: messages in a row that are followed."
_FORMS: tuple[tuple[int, int, Literal["big", "little"], int], ...] = (
    *((before, size, order, 0) for before in range(5) for size in (2, 3, 4) for order in ("big", "little")),
    *((0, size, order, 4) for size in (2, 4) for order in ("big", "little")),
)
"Bytes before a length field, its size and order, bytes behind it that it does not count (a counter, a checksum)."
HEAD_BYTES = 8
"Bytes at the start of each message in which a header would show."


def bits_per_byte(data: bytes) -> float:
    """The average number of set bits, 4 for noise; 0 for nothing."""
    return int.from_bytes(data).bit_count() / len(data) if data else 0.0


def seems_random(data: bytes) -> bool:
    """Whether the share of set bits and the number of equal bytes are those of noise of this length."""
    data = data[:_MOST_LOOKED_AT]
    count = len(data)
    if not count or abs(bits_per_byte(data) - 4) > _DEVIATIONS * sqrt(2 / count):
        return False
    # How often two of the bytes are the same: a chi-square test that also holds for few bytes.
    expected = count * (count - 1) / 512
    pairs = sum(times * (times - 1) for times in Counter(data).values()) / 2
    return abs(pairs - expected) <= _DEVIATIONS * sqrt(expected) + _SLACK_PAIRS


def is_framed(said: bytes) -> bool:
    """Whether what one side said at a stretch is cut into messages that tell their lengths near their start.

    The number may stand behind a few bytes (a type, a magic number), and count itself and those or not.
    """
    end = len(said)
    for before, size, order, behind in _FORMS:
        length = int.from_bytes(said[before : before + size], order)
        # The first message alone rules out nearly every form, and so saves the walk along the others.
        if not 0 < length <= end:
            continue
        for counts_all in (False, True):
            if _is_chain(said, before, size, order, behind, counts_all=counts_all):
                return True
    return False


def _is_chain(
    said: bytes, before: int, size: int, order: Literal["big", "little"], behind: int, *, counts_all: bool
) -> bool:
    position, header = 0, before + size
    for _ in range(_MOST_FRAMES):
        field = said[position + before : position + header]
        if len(field) < size:
            return False
        length = int.from_bytes(field, order)
        position += length if counts_all else header + behind + length
        if position == len(said):
            return length > 0
        if position > len(said) or length == 0:
            return False
    return False


class Framing:
    """Looks whether what each side says at a stretch is framed, over TCP."""

    __slots__ = ("_began_at", "_was_from_client")

    def __init__(self) -> None:
        self._was_from_client: bool | None = None
        "Who spoke last."
        self._began_at = 0
        "Where in that side's stream the stretch began."

    def has_ended_framed(self, talk: Conversation) -> bool:
        """Whether the newest packet ended a stretch of the other side that was framed."""
        if talk.from_client is self._was_from_client:
            return False
        said = (talk.client if self._was_from_client else talk.server)[self._began_at :]
        is_whole = self._was_from_client is not None and self._began_at + len(said) < STREAM_LIMIT
        self._was_from_client = talk.from_client
        self._began_at = len(talk.client if talk.from_client else talk.server) - len(talk.data)
        return is_whole and is_framed(said)


def heads_vary(heads: Sequence[bytes]) -> bool:
    """Whether no place in the first bytes of several messages holds the same byte more often than chance would.

    A header with a type, a version or an address fails this; a nonce or a ciphertext does not.
    """
    expected = pairs = 0.0
    for place in range(HEAD_BYTES):
        column = [head[place] for head in heads if len(head) > place]
        expected += len(column) * (len(column) - 1) / 512
        if len(set(column)) < len(column):  # counting takes ten times as long
            pairs += sum(times * (times - 1) for times in Counter(column).values()) / 2
    return pairs <= expected + _DEVIATIONS * sqrt(expected) + _SLACK_PAIRS
