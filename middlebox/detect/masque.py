"""MASQUE (RFC 9298, RFC 9484), as far as it can be seen: the names of the services that are known to speak it.

A proxy that is asked with HTTP/3's CONNECT-UDP or CONNECT-IP looks like any web server. What is left is the name in the
ClientHello of the few public services that do nothing else. The one rule: only such names, written out below.

Sources: Apple, "Prepare your network or web server for iCloud Private Relay"; Cloudflare, "WARP with firewall".
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_NAMES = frozenset({"mask.icloud.com", "mask-h2.icloud.com", "mask.apple-dns.net"})
"iCloud Private Relay."
_LABEL = "masque"
"What Cloudflare's client asks for has this word in its first label."
_PATIENCE = 3
"Datagrams until a QUIC ClientHello that is spread over several has come."


class Masque(Detector):
    """Recognises well-known MASQUE services by their names."""

    name: ClassVar[str] = "masque"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("masque",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Every MASQUE proxy without a well-known name: its HTTP/3 looks like any other."
    builds_on: ClassVar[tuple[str, ...]] = ("quic", "tls")

    __slots__ = ("_waited",)

    def __init__(self) -> None:
        self._waited = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look at the name as soon as there is one."""
        name = talk.facts.get("quic.sni") or talk.facts.get("tls.sni")
        if isinstance(name, str):
            if name in _NAMES or _LABEL in name.partition(".")[0].split("-"):
                reason = f"the ClientHello asks for {name}, a service that speaks MASQUE only"
                return Evidence("masque", Confidence.PROBABLE, reason)
            return Opinion.NO
        self._waited += 1
        return Opinion.MORE if self._waited < _PATIENCE and talk.protocol == "quic" else Opinion.NO
