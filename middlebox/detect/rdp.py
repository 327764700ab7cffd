"""RDP: an X.224 connection request with Microsoft's cookie or negotiation, and its confirmation ([MS-RDPBCGR] 2.2.1).

The one rule: other protocols begin with the same X.224 units, so only what Microsoft put into them counts, or the T.125
connection that follows them. After the confirmation comes TLS; the connection keeps this name.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.tpkt import CONNECTION_CONFIRM, CONNECTION_REQUEST, DATA, Unit, read_unit
from middlebox.evidence import Answer, Opinion

_COOKIE = (b"Cookie: mstshash=", b"Cookie: msts=")
"[MS-RDPBCGR] 2.2.1.1: the user's name, or a routing token of a load balancer."
_REQUEST, _RESPONSE, _FAILURE = b"\x01", b"\x02", b"\x03"
_NEGOTIATION_BYTES = 8
"Type, flags, length (always 8), protocols ([MS-RDPBCGR] 2.2.1.1.1)."
_CONNECT_INITIAL = b"\x7f\x65"
"T.125 MCS Connect-Initial, which old clients send after a request without anything (ITU-T T.125 section 7)."


def _has_negotiation(unit: Unit, *kinds: bytes) -> bool:
    """Whether the parameters end with a negotiation structure of one of these kinds."""
    for start in (-_NEGOTIATION_BYTES, unit.variable.find(b"\r\n") + 2):
        structure = unit.variable[start:][:_NEGOTIATION_BYTES]
        if structure[:1] in kinds and structure[2:4] == b"\x08\x00" and len(structure) == _NEGOTIATION_BYTES:
            return True
    return False


class Rdp(Exchange):
    """Finds the connection request and the confirmation that fits it."""

    name: ClassVar[str] = "rdp"
    protocols: ClassVar[tuple[str, ...]] = ("rdp",)
    misses: ClassVar[str] = "RDP over UDP, through a gateway (HTTPS), or inside TLS from the first byte."
    client_begins: ClassVar[bytes] = b"\x03"
    server_begins: ClassVar[bytes] = b"\x03"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A request of Microsoft's making, then any confirmation."""
        try:
            request, reply = read_unit(client), read_unit(server)
            if (request and request.code != CONNECTION_REQUEST) or (reply and reply.code != CONNECTION_CONFIRM):
                return Opinion.NO
            is_old = bool(request and reply) and self._begins_conference(client, request)
        except ValueError:
            return Opinion.NO
        asked = request is not None and (
            request.variable.startswith(_COOKIE) or _has_negotiation(request, _REQUEST) or is_old
        )
        if asked and reply:
            return self.confirmed("a connection confirmation answers the connection request")
        if asked:
            return self.probable("a connection request with a cookie or a negotiation of RDP")
        if reply and _has_negotiation(reply, _RESPONSE, _FAILURE):
            return self.probable("a connection confirmation with a negotiation of RDP")
        begun = request is None or not request.variable or request.variable.startswith(b"Cookie: ")
        return Opinion.MORE if begun else Opinion.NO

    @staticmethod
    def _begins_conference(client: bytes, request: Unit | None) -> bool:
        following = read_unit(client, request.end) if request else None
        return following is not None and following.code == DATA and following.variable.startswith(_CONNECT_INITIAL)
