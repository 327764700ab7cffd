"""Tor, recognised by its cells: fixed-length messages that leave their length in every TLS record.

After the TLS handshake a client sends a VERSIONS cell, the only one with a short length at the start, and from then on
cells of 514 bytes; the server answers with VERSIONS and CERTS, then cells of 514 bytes, too (tor-spec, "Cell packet
format", "Negotiating and initializing connections"). Records hold whole cells, so their contents are multiples of 514.

The one rule: one fitting length is chance; needed are the VERSIONS cell and cells from both sides. The random name
`www.<base32>.com` or `.net` in the ClientHello is a second, weaker cue: with it fewer cells are enough.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_CELL_BYTES = (514, 512)
"Link protocols 4 and up, and up to 3 (tor-spec, `CELL_LEN(v)`)."
_VERSIONS_CELLS = (7, 9, 11, 13)
"Circuit ID (2), command (1), length (2), and one to four versions of two bytes."
_CELL_RECORDS_NEEDED, _WITH_NAME = 4, 2
"Records of whole cells, some from each side. By chance one length in 514 fits."
_MOST_OTHERS = 4
"Records that are no cells: the server's VERSIONS, CERTS and AUTH_CHALLENGE, and session tickets in front."
_RANDOM_NAME = re.compile(r"www\.[a-z2-7]{4,25}\.(?:com|net)")
'`crypto_random_hostname(4, 25, "www.", ".net")` and `.com` in Tor\'s src/lib/tls/tortls.c.'
_TLS12_CHACHA = 8
"What ChaCha20-Poly1305 adds less than AES-GCM (RFC 7905 section 2: no explicit nonce)."


class Tor(Detector):
    """Recognises a connection to a Tor relay, by a client or another relay."""

    name: ClassVar[str] = "tor"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tor",)
    facts: ClassVar[tuple[str, ...]] = ("tor.versions",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 9
    misses: ClassVar[str] = "Tor inside pluggable transports, and connections joined after their first cells."
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_cells", "_cover", "_others", "_versions")

    def __init__(self) -> None:
        self._cover = Cover()
        self._versions = 0
        "Link protocol versions that the client offers; 0 before its VERSIONS cell."
        self._cells = [0, 0]
        "Records of whole cells from the server and from the client."
        self._others = 0

    def feed(self, talk: Conversation) -> Answer:
        """Count the records of whole cells."""
        for size in self._cover.read(talk):
            if not self._take(size):
                return Opinion.NO
        is_named = bool(_RANDOM_NAME.fullmatch(str(talk.facts.get("tls.sni"))))
        needed = _WITH_NAME if is_named else _CELL_RECORDS_NEEDED
        if not all(self._cells) or sum(self._cells) < needed:
            return Opinion.NO if self._cover.is_hopeless(talk) else Opinion.MORE
        name = ", and the name in the ClientHello looks like one that Tor makes up" if is_named else ""
        reason = f"a VERSIONS cell, then {sum(self._cells)} records of whole cells from both sides{name}"
        return Evidence("tor", Confidence.PROBABLE, reason, {"tor.versions": self._versions})

    def _take(self, size: int) -> bool:
        """Take in one record; False when this is not Tor."""
        length = abs(size)
        expansions = (0,) if self._cover.is_tls13 else (0, _TLS12_CHACHA)
        if not self._versions:
            if size < 0:
                self._others += 1
                return self._others <= _MOST_OTHERS
            versions = next((length + more for more in expansions if length + more in _VERSIONS_CELLS), 0)
            self._versions = (versions - 5) // 2
            return self._versions > 0
        if any((length + more) % cell == 0 for more in expansions for cell in _CELL_BYTES):
            self._cells[size > 0] += 1
            return True
        self._others += 1
        return size < 0 and self._others <= _MOST_OTHERS
