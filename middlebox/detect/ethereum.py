"""Ethereum's peer-to-peer transport RLPx: messages that begin with a point of the curve secp256k1 (devp2p, rlpx.md).

The one rule: random bytes are never a point of the curve, so what looks encrypted is told apart for certain.
"""

from typing import ClassVar

from middlebox.detect.base import ANY_BYTE
from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_PRIME = 2**256 - 2**32 - 977
"SEC 2 section 2.4.1: y^2 = x^3 + 7 in this field."
_UNCOMPRESSED = 0x04
"SEC 1 section 2.3.3: both coordinates follow, 32 bytes each."
_SIZE_BYTES = 2
"In front since EIP-8; without it before."
_SIZES = range(0x60, 0x400)
"Ours: bytes of an encrypted message, which has 65 of key, 48 around the content, and up to 300 of padding (EIP-8)."


def _is_point(data: bytes) -> bool:
    x, y = int.from_bytes(data[:32]), int.from_bytes(data[32:])
    return x < _PRIME and y < _PRIME and (y * y - x * x * x - 7) % _PRIME == 0


def _is_message(data: bytes) -> Fit:
    """Whether a public key begins the data, behind a size or not."""
    if len(data) <= _SIZE_BYTES:
        return None if not data or data[0] in (0, 1, 2, 3, _UNCOMPRESSED) else False
    has_size = data[_SIZE_BYTES] == _UNCOMPRESSED and int.from_bytes(data[:_SIZE_BYTES]) in _SIZES
    if not has_size and data[0] != _UNCOMPRESSED:
        return False
    longest = _SIZE_BYTES + 65 if has_size else 65
    if len(data) < longest:
        return None
    return (has_size and _is_point(data[3:67])) or (data[0] == _UNCOMPRESSED and _is_point(data[1:65]))


class Ethereum(Exchange):
    """Finds a public key at the beginning of both sides."""

    name: ClassVar[str] = "ethereum"
    protocols: ClassVar[tuple[str, ...]] = ("ethereum",)
    misses: ClassVar[str] = "Connections joined after their start."
    client_begins: ClassVar[bytes] = ANY_BYTE[:5]
    server_begins: ClassVar[bytes] = ANY_BYTE[:5]
    patience: ClassVar[int] = 1024

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A key from each side."""
        return self.weigh(
            _is_message(client),
            _is_message(server),
            question="a public key of secp256k1 begins the client's message",
            answer="a public key of secp256k1 begins the server's message",
            link="public keys of secp256k1 begin both sides' messages",
        )
