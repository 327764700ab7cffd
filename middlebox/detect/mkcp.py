"""mKCP, the KCP of V2Ray and Xray over UDP, recognised by its checksum: without a seed it is scrambled, not encrypted.

The one rule: a datagram counts only when its own length and checksum come out right; `confirmed` needs that from both
sides with the same conversation number.

Layout, from V2Ray's transport/internet/kcp (cryptreal.go, crypt.go, segment.go) and its headers package: an optional
disguise header; then FNV-1a (4 bytes) over the rest, length (2) and a segment; all of it XORed, each byte with the one
four places before it. A segment begins with conversation (2), command (1) and option (1). All numbers big-endian.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_CHECKSUM_BYTES, _LENGTH_BYTES, _STEP = 4, 2, 4
_PREFIX_BYTES = _CHECKSUM_BYTES + _LENGTH_BYTES
_LEAST_SEGMENT_BYTES, _LONGEST_SEGMENT_BYTES = 16, 1_500
"A command without data: conversation, command, option, three numbers of 4. The largest MTU that can be set is 1460."
_COMMANDS = 4
"Acknowledgement, data, terminate, ping are 0 to 3 (segment.go)."
_DISGUISES: tuple[tuple[str, int, bytes], ...] = (
    ("none", 0, b""),
    ("srtp", 4, b"\xb5\xe8"),
    ("wireguard", 4, b"\x04\x00\x00\x00"),
    ("utp", 4, b""),
    ("wechat-video", 13, b"\xa1\x08"),
    ("dtls", 13, b"\x17\xfe\xfd"),
)
"Name, length and first bytes of each disguise header (transport/internet/headers). That of uTP begins at random."
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
_MAX_FOREIGN = 4
"Datagrams without a right checksum that are passed over once one was right."


def _fnv(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value


def _conversation(scrambled: bytes) -> bytes | None:
    """The conversation number of a scrambled datagram; None when it is none."""
    length = len(scrambled) - _PREFIX_BYTES
    if not _LEAST_SEGMENT_BYTES <= length <= _LONGEST_SEGMENT_BYTES:
        return None
    # The length and the command are looked at first: they rule out almost everything else at no cost.
    if scrambled[4] ^ scrambled[0] != length >> 8 or scrambled[5] ^ scrambled[1] != length & 0xFF:
        return None
    if scrambled[8] ^ scrambled[4] >= _COMMANDS:
        return None
    shifted = int.from_bytes(scrambled[:-_STEP])
    clear = (int.from_bytes(scrambled[_STEP:]) ^ shifted).to_bytes(len(scrambled) - _STEP)
    return clear[2:4] if _fnv(clear) == int.from_bytes(scrambled[:_CHECKSUM_BYTES]) else None


class Mkcp(Detector):
    """Undoes the scrambling and checks the sum that each datagram carries."""

    name: ClassVar[str] = "mkcp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("kcptun",)
    facts: ClassVar[tuple[str, ...]] = ("kcptun.disguise",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "mKCP with a seed, which is truly encrypted."

    def __init__(self) -> None:
        self._disguise: tuple[str, int, bytes] | None = None
        self._seen: dict[bool, bytes] = {}
        "The conversation number that each side used, by `from_client`."
        self._foreign = 0

    def feed(self, talk: Conversation) -> Answer:
        """Check the newest datagram's sum; the disguise of the first one that is right is that of all."""
        found = None
        for disguise in _DISGUISES if self._disguise is None else (self._disguise,):
            _, length, start = disguise
            if talk.data.startswith(start) and (found := _conversation(talk.data[length:])):
                self._disguise = disguise
                break
        if found is None or self._disguise is None:
            self._foreign += 1
            return Opinion.MORE if self._seen and self._foreign <= _MAX_FOREIGN else Opinion.NO
        if self._seen.get(talk.from_client) == found:
            return Opinion.MORE
        is_first = not self._seen
        self._seen[talk.from_client] = found
        name = self._disguise[0]
        facts = {"kcptun.disguise": name}
        if self._seen.get(not talk.from_client) == found:
            reason = f"both sides send mKCP segments of one conversation whose checksums are right (header: {name})"
            return Evidence("kcptun", Confidence.CONFIRMED, reason, facts)
        if is_first:
            reason = f"an mKCP segment whose length and checksum are right (header: {name})"
            return Evidence("kcptun", Confidence.PROBABLE, reason, facts, more=True)
        return Opinion.MORE
