"""Yggdrasil: what peers tell each other first, in clear over TCP, or within TLS as records of a telling length.

The one rule: `confirmed` needs the metadata of both sides in clear; record lengths are `probable` at most.
Source: yggdrasil-go, src/core/version.go (metadata), link_tls.go and tls.go (TLS 1.3, self-signed Ed25519).
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

META = b"meta"
_VERSION_MAJOR = 0
_V4_BYTES = 38
"Version 0.4: `meta`, a byte each of major and minor version, an Ed25519 key."
_V5_FIRST = b"\x00\x00\x00\x02\x00\x00"
"Since 0.5, behind the length: major version, two bytes, 0."
_V5_LENGTHS = range(4 + 2 + 48, 4 + 2 + 256)
"Whole metadata since 0.5: key and versions, and mostly a priority and a signature."


def metadata(stream: bytes) -> str | None:
    """The version whose metadata a side begins with: empty while that is open, None if it does not."""
    start = stream[: len(META)]
    if start != META:
        return "" if META.startswith(start) else None
    if len(stream) < len(META) + 2 + len(_V5_FIRST):
        return ""
    if int.from_bytes(stream[4:6]) + 6 in _V5_LENGTHS and stream[6:12] == _V5_FIRST:
        return "0.5"
    if stream[4] == _VERSION_MAJOR and stream[5] == 4:
        return "" if len(stream) < _V4_BYTES else "0.4"
    return None


class Yggdrasil(Detector):
    """Recognises peerings over plain TCP."""

    __slots__ = ("_given",)

    name: ClassVar[str] = "yggdrasil"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("yggdrasil",)
    client_begins: ClassVar[bytes] = META[:1]
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Peerings over TLS (see yggdrasil_tls), QUIC, WebSocket and SOCKS."

    def __init__(self) -> None:
        self._given = False

    def feed(self, talk: Conversation) -> Answer:
        """Both sides begin with their metadata, without waiting for the other."""
        client, server = metadata(talk.client), metadata(talk.server)
        if client is None or server is None:
            return Opinion.NO
        if client and server:
            return Evidence("yggdrasil", Confidence.CONFIRMED, f"both sides begin with metadata of version {client}")
        if (client or server) and not self._given:
            self._given = True
            reason = f"one side begins with metadata of version {client or server}"
            return Evidence("yggdrasil", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE
