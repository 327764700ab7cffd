"""TPKT and X.224, below RDP and other protocols: length-framed units over TCP (RFC 1006 section 6, ITU-T X.224).

The one rule: lengths must agree with each other; then the connection request and its confirmation are told apart.
"""

from typing import NamedTuple

TPKT_VERSION = 3
_HEADER_BYTES = 4
"Version, a reserved byte, the length of it all in two bytes (RFC 1006 section 6)."

CONNECTION_REQUEST, CONNECTION_CONFIRM, DATA = 0xE0, 0xD0, 0xF0
"X.224 section 13.1, the upper four bits of the code."
_FIXED_BYTES = {CONNECTION_REQUEST: 6, CONNECTION_CONFIRM: 6, DATA: 2}
"Length of what follows the length indicator without the variable part (X.224 sections 13.3, 13.4 and 13.7)."


class Unit(NamedTuple):
    """One X.224 unit in a TPKT."""

    code: int
    variable: bytes
    "A connection's parameters; a data unit's user data, as far as it is there."
    end: int
    "Offset of what follows the TPKT."


def read_unit(data: bytes, at: int = 0) -> Unit | None:
    """The unit at `at`; None while its headers are incomplete. ValueError when it is none."""
    head = data[at : at + _HEADER_BYTES + 2]
    if head[:2] != b"\x03\x00"[: len(head)]:
        raise ValueError("no X.224 unit")
    if len(head) < _HEADER_BYTES + 2:
        return None
    total, indicator, code = int.from_bytes(head[2:4]), head[4], head[5] & 0xF0
    fixed = _FIXED_BYTES.get(code)
    if fixed is None or indicator < fixed or total < _HEADER_BYTES + 1 + indicator:
        raise ValueError("no X.224 unit")
    start, end = at + _HEADER_BYTES + 1 + fixed, at + total
    is_data = code == DATA
    if indicator != (fixed if is_data else total - _HEADER_BYTES - 1):
        raise ValueError("no X.224 unit")
    return Unit(code, data[start:end], end) if is_data or len(data) >= end else None
