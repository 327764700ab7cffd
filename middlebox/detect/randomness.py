"""Whether bytes look like the output of a cipher: pure functions over bytes, for detectors of what has no header.

The one rule: bounds are so wide that true noise passes each test all but about once in 100,000 times, so what fails is
structure. Compressed files pass when short and fail from some kilobytes on.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

_DEVIATIONS = 4.5
"Standard deviations that are still called chance: two-sided, once in 150,000."
_SLACK_PAIRS = 4.0
"Added to the bound on equal pairs, whose count is skewed when few are expected."
_MOST_LOOKED_AT = 4_096
"Bytes that are counted: more would cost time, not noise that passes."
_LENGTH_FIELDS = ((2, "big"), (2, "little"), (4, "big"), (4, "little"), (3, "big"))
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


def starts_with_its_length(message: bytes) -> bool:
    """Whether the message begins with a number that is its own length, or that of what follows the number."""
    for size, order in _LENGTH_FIELDS:
        number = int.from_bytes(message[:size], "big" if order == "big" else "little")
        if len(message) > size and number in (len(message), len(message) - size):
            return True
    return False


def heads_vary(heads: Sequence[bytes]) -> bool:
    """Whether no place in the first bytes of several messages holds the same byte more often than chance would.

    A header with a type, a version or an address fails this; a nonce or a ciphertext does not.
    """
    expected = pairs = 0.0
    for place in range(HEAD_BYTES):
        column = [head[place] for head in heads if len(head) > place]
        expected += len(column) * (len(column) - 1) / 512
        pairs += sum(times * (times - 1) for times in Counter(column).values()) / 2
    return pairs <= expected + _DEVIATIONS * sqrt(expected) + _SLACK_PAIRS
