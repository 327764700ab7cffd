"""Whether bytes look encrypted.

The one rule: a few bytes can only be told from text, padding, counters and repetition, never from compressed data.
"""

_LEAST_VARIED = 16
"Bytes looked at. Of 16 random ones 15.5 differ on average, and fewer than 12 differ once in 10,000."
_LEAST_DISTINCT = 12


def is_random(part: bytes) -> bool:
    """Whether the first 16 bytes of `part` differ from each other like random ones, and are not ASCII."""
    head = part[:_LEAST_VARIED]
    return len(head) == _LEAST_VARIED and len(set(head)) >= _LEAST_DISTINCT and not head.isascii()
