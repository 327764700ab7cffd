"""UltraSurf, as far as TLS shows it: Chrome's ClientHello without a server's name.

The one rule: a browser that is given an address in place of a name sends the same, so it stays `possible`.

Source: UltraSurf's flows in nDPI's captures, where this is all that differs from a browser's visit: TLS 1.3, HTTP/2 is
offered, Chrome's cipher suites, no name, and no certificate to be seen.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_FINGERPRINT = re.compile(r"t13i15\d\dh2_8daaf6152771_[0-9a-f]{12}")
"JA4: TLS 1.3, no name, 15 cipher suites, HTTP/2; then the hash of Chrome's cipher suites."


class UltraSurf(Detector):
    """Compares the ClientHello's fingerprint."""

    name: ClassVar[str] = "ultrasurf"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("ultrasurf",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.POSSIBLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Versions with another ClientHello, and what it does beside TLS."
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ()

    def feed(self, talk: Conversation) -> Answer:
        """Judge the ClientHello, whose fingerprint is there as soon as TLS is recognised."""
        fingerprint = talk.facts.get("tls.ja4")
        if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
            return Opinion.NO
        return Evidence("ultrasurf", Confidence.POSSIBLE, "Chrome's ClientHello, without a server's name")
