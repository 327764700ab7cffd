"""UDP that is encrypted from the first byte of every datagram on: Hysteria's obfuscation, kcptun, Shadowsocks over UDP.

Each datagram begins with its own salt or nonce, so nothing repeats and nothing can be read. What remains are sizes:

- Hysteria 2 with Salamander hides QUIC behind a salt of 8 bytes, Hysteria 1 (xplus) behind one of 16, and leaves sizes
  alone: both sides begin with a datagram that QUIC had to fill up to 1200 bytes (RFC 9000 section 14.1).
- kcptun sends 10 datagrams, then 3 of forward error correction, each as long as the longest of the 10. A datagram that
  only acknowledges has 52 bytes.
- mKCP with a seed: commands of 44 bytes, and acknowledgements of 45 and 4 more for each range, nothing else so short.

The one rule: every datagram must be noise and their first bytes must differ; that alone is `possible`, the sizes of
one of these make it `probable`.

Sources: apernet/hysteria (PROTOCOL.md; v1: obfs/xplus.go), xtaci/kcp-go (sess.go, fec.go), xtaci/kcptun (defaults);
V2Ray, transport/internet/kcp (segment.go, and crypt.go for nonce and tag).
"""

from collections.abc import Sequence
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.randomness import HEAD_BYTES, bits_per_byte, heads_vary, is_framed, seems_random
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 8 + 1 + 4 + 16
"Hysteria's shortest: a salt of 8 and a QUIC packet with a header byte, 4 bytes of ciphertext and a tag."
_MAX_BYTES = 1_500
"Ours: longer datagrams are fragmented on their way; none of these protocols does that."
_LOOKED_AT_BYTES = 256
_DATAGRAMS_NEEDED = 2
"Ours: one from each side."
_MAX_ONE_SIDED = 6
"Ours: datagrams from one side only before this gives up; streams of media are one-sided."
_MAX_DATAGRAMS = 40
"Ours: more than three rounds of kcptun's error correction for one side."

_QUIC_LEAST_BYTES = 1_200
"RFC 9000 section 14.1: a datagram with an Initial packet is filled up to this, on either side."
_SALTS = {8: "Hysteria 2, Salamander", 16: "Hysteria 1, xplus"}
_QUIC_FIRST_BYTES = frozenset({1200, 1232, 1242, 1250, 1252, 1280, 1350, 1357})
"How long usual QUIC clients make their first datagram. Hysteria's quic-go: 1252, 1280; sing-box's: 1250."
_SMALL_BYTES = 100
_SHAPE_DATAGRAMS = 8
"Ours: the server's first full datagram comes within so many, and the client's first small one within so many more."

_DATA_SHARDS, _PARITY_SHARDS = 10, 3
"kcptun's defaults (-datashard, -parityshard)."
_KCP_LEAST_BYTES = 16 + 4 + 6 + 2 + 24
"Nonce, checksum, error correction's header, size, and KCP's header of a segment without data: 52."

_COMMAND_BYTES = 12 + 16 + 16
"A GCM nonce, its tag, and an mKCP command: conversation, command, option and three numbers."
_ACKNOWLEDGEMENTS = range(_COMMAND_BYTES + 1, _COMMAND_BYTES + 10, 4)
"One byte more with a count, then 4 for each number: 45, 49, 53."
_SHORT_DATAGRAMS = 6
"Ours: so many, all of these lengths, cannot be chance: one length in three would do."


class EncryptedDatagrams(Detector):
    """Makes sure that all datagrams are noise, then looks for the sizes of Hysteria and kcptun."""

    name: ClassVar[str] = "encrypted_datagrams"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("fully-encrypted", "hysteria", "kcptun")
    facts: ClassVar[tuple[str, ...]] = ("fully-encrypted.popcount",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 7
    misses: ClassVar[str] = (
        "kcptun with other shards than 10 and 3, mKCP with both a seed and a disguise, "
        "Hysteria joined after its handshake or on changing ports, "
        "and what is inside: Shadowsocks over UDP stays `possible`."
    )
    statistical: ClassVar[bool] = True

    __slots__ = ("_has_told", "_heads", "_sizes")

    def __init__(self) -> None:
        self._heads: list[bytes] = []
        self._sizes: list[int] = []
        "Positive from the client, negative from the server."
        self._has_told = False

    def feed(self, talk: Conversation) -> Answer:
        """Check that the newest datagram is noise, then all sizes."""
        data = talk.data
        if not _LEAST_BYTES <= len(data) <= _MAX_BYTES or not seems_random(data[:_LOOKED_AT_BYTES]):
            return Opinion.NO
        if not self._sizes and is_framed(data):
            return Opinion.NO
        self._heads.append(data[:HEAD_BYTES])
        self._sizes.append(len(data) if talk.from_client else -len(data))
        count = len(self._sizes)
        is_one_sided = min(self._sizes) > 0 or max(self._sizes) < 0
        if is_one_sided or count < _DATAGRAMS_NEEDED:
            return Opinion.MORE if count < _MAX_ONE_SIDED else Opinion.NO
        if not heads_vary(self._heads) or count > _MAX_DATAGRAMS:
            return Opinion.NO
        if (salt := _quic_salt(self._sizes)) is not None:
            reason = f"noise, with the sizes of a QUIC handshake behind a salt of {salt} bytes ({_SALTS[salt]})"
            return Evidence("hysteria", Confidence.PROBABLE, reason)
        if _has_parity(self._sizes):
            reason = f"noise; ten datagrams, then three as long as their longest; none below {_KCP_LEAST_BYTES} bytes"
            return Evidence("kcptun", Confidence.PROBABLE, reason)
        if _has_mkcp_commands(self._sizes):
            reason = "noise, whose short datagrams all have the length of an mKCP command or acknowledgement"
            return Evidence("kcptun", Confidence.PROBABLE, reason)
        if self._has_told:
            return Opinion.MORE
        self._has_told = True
        facts = {"fully-encrypted.popcount": round(bits_per_byte(data), 3)}
        reason = f"the first {count} datagrams, from both sides, are noise and have no header in common"
        return Evidence("fully-encrypted", Confidence.POSSIBLE, reason, facts, more=True)


def _quic_salt(sizes: Sequence[int]) -> int | None:
    """How many bytes of salt are in front of what has the sizes of a QUIC handshake; None: it has not.

    The client repeats the length of its first datagram; all that either side sends meanwhile is as full as an Initial
    must be, or so short that it only acknowledges.
    """
    salt = next((salt for salt in _SALTS if sizes[0] - salt in _QUIC_FIRST_BYTES), None)
    if salt is None or sizes.count(sizes[0]) < 2:
        return None
    full = _QUIC_LEAST_BYTES + salt
    answer = next((place for place, size in enumerate(sizes) if size < -_SMALL_BYTES), len(sizes))
    if answer == len(sizes) or answer >= _SHAPE_DATAGRAMS or -sizes[answer] < full:
        return None
    if any(_SMALL_BYTES < abs(size) < full for size in sizes[:answer]):
        return None
    return salt if any(0 < size <= _SMALL_BYTES for size in sizes[: answer + _SHAPE_DATAGRAMS]) else None


def _has_parity(sizes: Sequence[int]) -> bool:
    """Whether one side's newest 13 datagrams end a round of kcptun's error correction."""
    if min(map(abs, sizes)) != _KCP_LEAST_BYTES:
        return False
    shards = _DATA_SHARDS + _PARITY_SHARDS
    mine = [abs(size) for size in sizes if (size > 0) == (sizes[-1] > 0)]
    if not mine or len(mine) % shards:
        return False
    data, parity = mine[-shards:-_PARITY_SHARDS], mine[-_PARITY_SHARDS:]
    # When most datagrams are as long as the longest, as in a download, the three prove nothing.
    return set(parity) == {max(data)} and 2 * data.count(max(data)) <= _DATA_SHARDS


def _has_mkcp_commands(sizes: Sequence[int]) -> bool:
    """Whether all short datagrams have lengths of mKCP's control segments, and both kinds are among them."""
    short = [abs(size) for size in sizes if abs(size) <= _ACKNOWLEDGEMENTS[-1]]
    kinds = set(short)
    return (
        len(short) >= _SHORT_DATAGRAMS
        and kinds <= {_COMMAND_BYTES, *_ACKNOWLEDGEMENTS}
        and _COMMAND_BYTES in kinds
        and len(kinds) > 1
    )
