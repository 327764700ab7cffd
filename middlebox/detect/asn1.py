"""The few BER headers that LDAP and Kerberos are recognised by (ITU-T X.690 section 8.1).

The one rule: tags of one byte and definite lengths of at most four bytes; whatever else there is belongs to neither.
"""

from typing import NamedTuple

INTEGER, OCTET_STRING, ENUMERATED, SEQUENCE = 0x02, 0x04, 0x0A, 0x30
"X.680 section 8.6: universal tags, the last one constructed."

_LONG_FORM = 0x80
_MAX_LENGTH_BYTES = 4


class Element(NamedTuple):
    """The header of one element."""

    tag: int
    start: int
    "Offset of its contents."
    end: int
    "Offset of what follows it; may lie beyond what was seen so far."


def read_element(data: bytes, at: int = 0) -> Element | None:
    """The element whose header is at `at`; None while that is incomplete. ValueError when the length has another form.

    A sender may use more length bytes than it needs, as Microsoft's do.
    """
    if len(data) < at + 2:
        return None
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length >= _LONG_FORM:
        count = length - _LONG_FORM
        if not 1 <= count <= _MAX_LENGTH_BYTES:
            raise ValueError("a form of length that is not read")
        if len(data) < start + count:
            return None
        length = int.from_bytes(data[start : start + count])
        start += count
    return Element(tag, start, start + length)
