"""Tailscale, recognised by DISCO, with which peers look for a path to each other.

The one rule: `confirmed` needs two DISCO keys, one each way. DISCO comes first on every path, so WireGuard in the same
flow is Tailscale's and changes no name.

Layout: `disco/disco.go` of Tailscale.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"
_KEY = slice(6, 38)
_LEAST_DISCO_BYTES = 62
"Magic, the sender's public key of 32 bytes, a nonce of 24; then what is encrypted."
_MAX_WAITING = 16
"Messages without DISCO, until the other side has shown its key."


class Tailscale(Detector):
    """Recognises DISCO messages of both peers."""

    name: ClassVar[str] = "tailscale"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("tailscale",)
    client_begins: ClassVar[bytes] = _DISCO_MAGIC[:1]
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Flows joined between two DISCO messages, which look like plain WireGuard."

    _is_given = False
    _waited = 0

    def __init__(self) -> None:
        self._keys = [b"", b""]
        "DISCO keys of server and client of the flow, indexed by `from_client`."

    def feed(self, talk: Conversation) -> Answer:
        """Wait for a DISCO key each way."""
        message = talk.data
        if not message.startswith(_DISCO_MAGIC) or len(message) < _LEAST_DISCO_BYTES:
            self._waited += 1
            return Opinion.MORE if self._is_given and self._waited <= _MAX_WAITING else Opinion.NO
        self._keys[talk.from_client] = message[_KEY]
        if all(self._keys) and self._keys[0] != self._keys[1]:
            return Evidence("tailscale", Confidence.CONFIRMED, "DISCO messages with a key of its own each way")
        if self._is_given:
            return Opinion.MORE
        self._is_given = True
        return Evidence("tailscale", Confidence.PROBABLE, "a DISCO message", more=True)
