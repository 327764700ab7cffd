"""Tailscale, recognised by DISCO between peers and by DERP where its upgrade of HTTP is in clear.

The one rule: `confirmed` needs both sides: two DISCO keys, one each way, or a relay that sends its greeting after the
upgrade that the client asked for. DISCO comes first on every path, so WireGuard in the same flow changes no name.

Layout: `disco/disco.go` and `derp/derp.go` of Tailscale.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"
_KEY = slice(6, 38)
_LEAST_DISCO_BYTES = 62
"Magic, the sender's public key of 32 bytes, a nonce of 24; then what is encrypted."
_DERP_REQUEST = b"GET /derp"
_DERP_UPGRADE = b"upgrade: derp"
_SWITCHING = b"HTTP/1.1 101 "
_DERP_MAGIC = b"DERP\xf0\x9f\x94\x91"
"First bytes of the relay's first frame (type 1, server key)."
_MAX_HEAD_BYTES = 4096
"Ours: of a request's or response's header fields."
_MAX_WAITING = 16
"Messages without DISCO, until the other side has shown its key."


class Tailscale(Detector):
    """Recognises peers that look for a path to each other, and clients of a relay."""

    name: ClassVar[str] = "tailscale"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("tailscale",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "DERP inside TLS, and flows joined after their last DISCO message, which look like plain WireGuard."
    )

    def __init__(self) -> None:
        self._keys = [b"", b""]
        "DISCO keys of server and client of the flow, indexed by `from_client`."
        self._waited = 0
        self._is_given = False

    def feed(self, talk: Conversation) -> Answer:
        """UDP: one DISCO key each way. TCP: the upgrade to DERP and the relay's greeting."""
        if talk.client or talk.server:
            return self._feed_stream(talk.client, talk.server)
        message = talk.data
        if not message.startswith(_DISCO_MAGIC) or len(message) < _LEAST_DISCO_BYTES:
            self._waited += 1
            return Opinion.MORE if self._is_given and self._waited <= _MAX_WAITING else Opinion.NO
        self._keys[talk.from_client] = message[_KEY]
        if all(self._keys) and self._keys[0] != self._keys[1]:
            return Evidence("tailscale", Confidence.CONFIRMED, "DISCO messages with a key of its own each way")
        return self._probable("a DISCO message")

    def _feed_stream(self, client: bytes, server: bytes) -> Answer:
        head = client[:_MAX_HEAD_BYTES]
        if not head.startswith(_DERP_REQUEST[: len(head)]) or (server and not client):
            return Opinion.NO
        end = head.find(b"\r\n\r\n")
        if end < 0:
            return Opinion.NO if len(client) >= _MAX_HEAD_BYTES else Opinion.MORE
        if _DERP_UPGRADE not in head[:end].lower():
            return Opinion.NO
        response = server[:_MAX_HEAD_BYTES]
        is_upgraded = response.startswith(_SWITCHING[: len(response)])
        if is_upgraded and _DERP_MAGIC in response:
            return Evidence("tailscale", Confidence.CONFIRMED, "a relay answers the upgrade to DERP with its greeting")
        if not is_upgraded or len(server) >= _MAX_HEAD_BYTES:
            return Opinion.NO
        return self._probable("a client asks for an upgrade of HTTP to DERP")

    def _probable(self, reason: str) -> Answer:
        if self._is_given:
            return Opinion.MORE
        self._is_given = True
        return Evidence("tailscale", Confidence.PROBABLE, reason, more=True)
