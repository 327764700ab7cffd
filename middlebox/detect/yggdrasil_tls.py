"""Yggdrasil within TLS 1.3, told by the lengths of the first encrypted records.

The one rule: an Ed25519 certificate, nothing negotiated, and then from both sides a first record that is exactly as
long as Yggdrasil's metadata. Lengths are a fingerprint, so this is `probable`.
Sources: yggdrasil-go, src/core/version.go (metadata), link_tls.go (certificate); RFC 8446 sections 4.3.1, 4.4 and 5.2.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_RECORD_HEADER_BYTES = 5
_APPLICATION_DATA = 23
_OVERHEAD = 1 + 16
"Content type and tag: what encryption adds to a record in the suites that Go offers."
_NO_EXTENSIONS = 4 + 2 + _OVERHEAD
"EncryptedExtensions with nothing in it: neither a name was acknowledged nor an application protocol agreed upon."
_SIGNATURE = 4 + 2 + 2 + 64 + _OVERHEAD
"CertificateVerify with an Ed25519 signature. ECDSA's are longer by its encoding, RSA's by far."
_FINISHED = frozenset({4 + 32 + _OVERHEAD, 4 + 48 + _OVERHEAD})
"Finished, with SHA-256 or SHA-384."
_METADATA = frozenset({38 + _OVERHEAD, 59 + _OVERHEAD, 123 + _OVERHEAD})
"The metadata of 0.4; of 0.5 without and with a signature."
_MAX_RECORDS = 12
"Records that are looked at from each side: a handshake with certificates of both takes five."
_PATIENCE_BYTES = 4096
"Hellos, two certificates of 400 bytes, metadata: half of it is enough."


def _lengths(stream: bytes) -> list[int]:
    """Lengths of the encrypted records, the last of which may still be coming."""
    lengths, at = [], 0
    for _ in range(_MAX_RECORDS):
        if at + _RECORD_HEADER_BYTES > len(stream):
            break
        length = stream[at + 3] << 8 | stream[at + 4]
        if stream[at] == _APPLICATION_DATA:
            lengths.append(length)
        at += _RECORD_HEADER_BYTES + length
    return lengths


def _after_handshake(lengths: list[int]) -> int | None:
    """Length of the first record after Finished; None while it has not come, -1 if there will be none."""
    for position, length in enumerate(lengths[:-1]):
        if length in _FINISHED:
            return lengths[position + 1]
    return None if len(lengths) < _MAX_RECORDS // 2 else -1


def _wait_for_more(talk: Conversation) -> Opinion:
    return Opinion.MORE if len(talk.client) + len(talk.server) < _PATIENCE_BYTES else Opinion.NO


class YggdrasilTls(Detector):
    """Recognises peerings over TLS."""

    __slots__ = ()

    name: ClassVar[str] = "yggdrasil_tls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("yggdrasil",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 6
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)
    statistical: ClassVar[bool] = True
    misses: ClassVar[str] = "Versions whose metadata has another length, and peerings over WebSocket."

    def feed(self, talk: Conversation) -> Answer:
        """Compare the lengths, as soon as they are there."""
        server = _lengths(talk.server)
        if not server:
            return _wait_for_more(talk)
        if server[0] != _NO_EXTENSIONS:
            return Opinion.NO
        client = _lengths(talk.client)
        told, answered = _after_handshake(client), _after_handshake(server)
        if told is None or answered is None:
            return _wait_for_more(talk)
        if told != answered or told not in _METADATA or _SIGNATURE not in server[:4]:
            return Opinion.NO
        reason = f"after a handshake with an Ed25519 certificate both sides first send a record of {told} bytes"
        return Evidence("yggdrasil", Confidence.PROBABLE, reason)
