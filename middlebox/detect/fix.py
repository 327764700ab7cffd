"""FIX, which stock exchanges speak: fields 8, 9 and 35 begin every message (FIX session layer, Standard Header).

The one rule: the three must come in this order, from both sides.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_HEADER = re.compile(rb"8=(?:FIXT?\.\d\.\d(?:SP\d)?|O|FIXCOMP)\x019=\d{1,6}\x01(?:35=[0-9A-Za-z]{1,3}\x01|x)")
"Version, length, type. Interactive Brokers has short and compressed forms of its own."
_HEADER_BEGUN = re.compile(
    rb"8?|8=[A-Z]{0,7}[.\dSP]{0,8}(?:\x01(?:9|9=\d{0,6}(?:\x01(?:3|35|35=[0-9A-Za-z]{0,3})?)?)?)?"
)


def _is_message(data: bytes) -> Fit:
    if _HEADER.match(data):
        return True
    return None if _HEADER_BEGUN.fullmatch(data[:40]) else False


class Fix(Exchange):
    """Finds a message from each side."""

    name: ClassVar[str] = "fix"
    protocols: ClassVar[tuple[str, ...]] = ("fix",)
    misses: ClassVar[str] = "FIX inside TLS, and binary encodings (SBE, FAST)."
    client_begins: ClassVar[bytes] = b"8"
    server_begins: ClassVar[bytes] = b"8"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Either side may begin."""
        return self.weigh(
            _is_message(client),
            _is_message(server),
            question="a header of FIX from the client",
            answer="a header of FIX from the server",
            link="headers of FIX both ways",
        )
