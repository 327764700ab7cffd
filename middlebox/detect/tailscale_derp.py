"""Tailscale's relays (DERP), where the upgrade from HTTP is in clear.

The one rule: `confirmed` needs the relay's greeting after the upgrade that the client asked for.

Layout: `derp/derp.go` of Tailscale. Relays are asked over TLS as a rule; in clear where a proxy adds it.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_REQUEST = b"GET /derp"
_UPGRADE = b"upgrade: derp"
_SWITCHING = b"HTTP/1.1 101 "
_MAGIC = b"DERP\xf0\x9f\x94\x91"
"First bytes of the relay's first frame (type 1, server key)."
_MAX_HEAD_BYTES = 4096
"Ours: of a request's or response's header fields."


class TailscaleDerp(Detector):
    """Recognises a client's upgrade to DERP and the relay's greeting."""

    name: ClassVar[str] = "tailscale_derp"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tailscale",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    builds_on: ClassVar[tuple[str, ...]] = ("http",)
    misses: ClassVar[str] = "DERP inside TLS."

    def __init__(self) -> None:
        self._is_given = False

    def feed(self, talk: Conversation) -> Answer:
        """Look for the upgrade in the client's first request, then for the greeting."""
        request, response = talk.client[:_MAX_HEAD_BYTES], talk.server[:_MAX_HEAD_BYTES]
        end = request.find(b"\r\n\r\n")
        if not request.startswith(_REQUEST) or (end < 0 and len(request) == _MAX_HEAD_BYTES):
            return Opinion.NO
        if end < 0:
            return Opinion.MORE
        is_upgraded = response.startswith(_SWITCHING[: len(response)])
        if _UPGRADE not in request[:end].lower() or not is_upgraded:
            return Opinion.NO
        if _MAGIC in response:
            return Evidence("tailscale", Confidence.CONFIRMED, "a relay answers the upgrade to DERP with its greeting")
        if len(response) == _MAX_HEAD_BYTES:
            return Opinion.NO
        if self._is_given:
            return Opinion.MORE
        self._is_given = True
        return Evidence("tailscale", Confidence.PROBABLE, "a client asks for an upgrade of HTTP to DERP", more=True)
