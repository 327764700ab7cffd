"""VNC's Remote Framebuffer protocol: both sides name their version in twelve bytes (RFC 6143 section 7.1.1).

The one rule: both must.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_VERSION = re.compile(rb"RFB \d{3}\.\d{3}\n")
_VERSION_BYTES = 12
_MODEL = b"RFB 000.000\n"


def _is_version(data: bytes) -> Fit:
    if len(data) >= _VERSION_BYTES:
        return _VERSION.match(data) is not None
    return None if _VERSION.match(data + _MODEL[len(data) :]) else False


class Vnc(Exchange):
    """Finds both version messages."""

    name: ClassVar[str] = "vnc"
    protocols: ClassVar[tuple[str, ...]] = ("vnc",)
    misses: ClassVar[str] = "VNC inside TLS, SSH or WebSocket, and connections joined after their start."
    client_begins: ClassVar[bytes] = b"R"
    server_begins: ClassVar[bytes] = b"R"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A version from each side."""
        return self.weigh(
            _is_version(client),
            _is_version(server),
            question="a version message of RFB from the client",
            answer="a version message of RFB from the server",
            link="version messages of RFB both ways",
        )
