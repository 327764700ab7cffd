"""The five rules by which a censor was seen to tell fully encrypted traffic, as a pure function.

A first client payload that no rule exempts is suspect. The one rule of this module: it answers bit for bit as the
variant asked for does, with its quirks, so that results can be compared with theirs.

Published: Wu and others, "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security
2023, algorithm 1. Variants: artifacts/utils/detect.py of that paper's artifact; OpenGFW, analyzer/tcp/fet.go; nDPI's
fully_encrypted_heuristic.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

_PRINTABLE = bytes(range(0x20, 0x7F))
_LEAST_PRINTABLE_START = 6


class Exemption(IntEnum):
    """The rule that exempts a payload."""

    BITS_SET = 1
    "At most 3.4 or at least 4.6 bits set per byte. An empty payload has none."
    PRINTABLE_START = 2
    "The first six bytes are printable. Of fewer than six, none says so."
    MOSTLY_PRINTABLE = 3
    "More than half of the bytes are printable."
    PRINTABLE_RUN = 4
    "A long run of printable bytes."
    KNOWN_PROTOCOL = 5
    "It begins like TLS or HTTP."


@dataclass(slots=True, frozen=True)
class Variant:
    """What implementations disagree about."""

    least_run: int
    "Printable bytes in a row that exempt."
    known_start: re.Pattern[bytes] | None
    "What TLS and HTTP begin with; None: left to other detectors."


PUBLISHED = Variant(21, re.compile(rb"[\x16\x17]\x03[\x00-\x09]|(?i:GET |PUT |POST |HEAD )"))
"Algorithm 1: a run of more than 20; methods in any case, with the space."
ARTIFACT = Variant(22, re.compile(rb"[\x16\x17]\x03[\x00-\x0f]|GET |PUT |POST |HEAD "))
"Its loop does not count the byte that begins a run, so its `> 20` holds from 22 on; upper case only."
NDPI = Variant(20, None)
"A run of 20 is enough; flows that any protocol was recognised in are not asked about."
OPENGFW = Variant(21, re.compile(rb"\x16\x03[\x00-\x03]|GET|HEA|POS|PUT|DEL|CON|OPT|TRA|PAT"))
"Handshake records only; more methods, by three letters, upper case only."


def find_exemption(payload: bytes, variant: Variant = PUBLISHED) -> Exemption | None:
    """The first rule that exempts the payload; None: it is suspect."""
    bits, count = int.from_bytes(payload).bit_count(), len(payload)
    if 10 * bits <= 34 * count or 10 * bits >= 46 * count:
        return Exemption.BITS_SET
    if count >= _LEAST_PRINTABLE_START and not payload[:_LEAST_PRINTABLE_START].translate(None, _PRINTABLE):
        return Exemption.PRINTABLE_START
    if 2 * len(payload.translate(None, _PRINTABLE)) < count:
        return Exemption.MOSTLY_PRINTABLE
    if re.search(rb"[\x20-\x7e]{%d}" % variant.least_run, payload):
        return Exemption.PRINTABLE_RUN
    if variant.known_start is not None and variant.known_start.match(payload):
        return Exemption.KNOWN_PROTOCOL
    return None


def printable_share(payload: bytes) -> float:
    """The share of printable bytes, 0.37 for noise."""
    return 1 - len(payload.translate(None, _PRINTABLE)) / len(payload) if payload else 0.0
