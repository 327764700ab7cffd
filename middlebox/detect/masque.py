"""MASQUE: UDP and IP through HTTP (RFC 9298, RFC 9484), as far as it shows.

The one rule: `confirmed` needs the upgrade in clear with its answer. Over TLS and QUIC nothing shows but a server's
name that is for nothing else, which is `probable`.

Sources: RFC 9298 section 3.2 and RFC 9484 section 4.1 (upgrade tokens); Apple, "Prepare your network or web server for
iCloud Private Relay" (names of its servers).
"""

from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.detect.http_heads import is_response_begun, read_head
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_UPGRADES = (b"connect-udp", b"connect-ip")
_RELAY_NAMES = frozenset({"mask.icloud.com", "mask-h2.icloud.com"})


class Masque(Detector):
    """Looks for an upgrade to UDP or IP, and for the names of relays."""

    name: ClassVar[str] = "masque"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("masque",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "All of it inside TLS and QUIC, unless the server's name is known."
    builds_on: ClassVar[tuple[str, ...]] = ("http", "tls", "quic")

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the first request and its answer, or the carrier's facts."""
        names = {talk.facts.get("tls.sni"), talk.facts.get("quic.sni")}
        if not names.isdisjoint(_RELAY_NAMES):
            return Evidence("masque", Confidence.PROBABLE, "the client names a relay that is for MASQUE only")
        if not talk.client or "tls.ja4" in talk.facts:
            return Opinion.NO
        answer = only_news(_judge_upgrade(talk.client, talk.server), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer


def _judge_upgrade(client: bytes, server: bytes) -> Answer:
    request = read_head(client)
    if request is None:
        return Opinion.MORE if is_response_begun(server) and len(client) < STREAM_LIMIT else Opinion.NO
    token = next((token for token in _UPGRADES if request.lists(b"upgrade", token)), None)
    if token is None or not is_response_begun(server):
        return Opinion.NO
    response = read_head(server)
    if response is None:
        more = len(server) < STREAM_LIMIT
        return Evidence("masque", Confidence.PROBABLE, f"an upgrade to {token.decode()} is asked for", more=more)
    if response.words[1] == b"101" and response.lists(b"upgrade", token):
        return Evidence("masque", Confidence.CONFIRMED, f"an upgrade to {token.decode()} is asked for and granted")
    return Opinion.NO
