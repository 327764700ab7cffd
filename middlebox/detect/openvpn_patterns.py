"""OpenVPN whose bytes are scrambled, recognised by what that leaves: first bytes that differ as before, and sizes.

The one rule: the two resets must have the sizes that belong together, and no later packet may be outside the pattern.
XOR patches mask the first byte of every packet with one value (xormask, xorptrpos, reverse and obfuscate of the patch
that Tunnelblick ships), so the opcodes still differ by the same bits. Any other change that keeps lengths leaves which
packets have the same opcode, and that acknowledgements come in a few small sizes.

Source: "OpenVPN is Open to VPN Fingerprinting" (USENIX Security 2022), sections 6.1 and 6.2. Its set of opcodes is
seeded with both resets, since plain OpenVPN shows only two more in a handshake. Acknowledgements have grown by 4 bytes
each, up to 8 ids, since OpenVPN 2.6 (reliable.c), so one size has become a set of sizes.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.detect.openvpn_data import LENGTH_BYTES, Frames
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_CLIENT_RESET, _SERVER_RESET, _CONTROL, _ACK, _DATA_V1, _DATA_V2, _CLIENT_RESET_V3, _CONTROL_WITH_KEY = (
    opcode << 3 for opcode in (7, 8, 4, 5, 6, 9, 10, 11)
)
"First bytes with key id 0 (ssl_pkt.h)."
RESET_BYTES = frozenset(14 + wrap for wrap in (0, 24, 28, 36, 40, 56, 72))
"""A client's reset: opcode 1, session id 8, no acknowledgement 1, packet id 4, and the wrap: none, tls-auth (HMAC of 16
to 64 bytes, replay id 4, time 4) or tls-crypt (replay id 4, time 4, tag 32)."""
_CRYPT_RESET_BYTES = 54
_RESET_WITH_KEY_BYTES = range(_CRYPT_RESET_BYTES + 290, _CRYPT_RESET_BYTES + 1025)
"tls-crypt-v2 appends the wrapped client key to it (tls-crypt-v2.txt)."
_ANNOUNCEMENT_BYTES = 6
"What the server may then append to its own (ssl_pkt.h, early negotiation flags)."
ACKED_RESET_BYTES = 12
"The server's reset is that much longer: it acknowledges one packet id (4) and repeats the session id (8)."
ACK_BYTES = frozenset(range(8, 37, 4))
"An acknowledgement of 1 to 8 ids is that much longer than a reset, which has a packet id of its own instead."
_PLAIN = frozenset({_CLIENT_RESET, _CLIENT_RESET_V3})
_LEAST_XOR = 4
"Packets that fit when the first bytes differ by the right bits: by chance once in 10^9."
_LEAST_CLASSES = 12
"Packets that fit when only equality is left."
_SYMBOLS = range(4, 11)
"Different first bytes, both resets counted (section 6.1, algorithm 1)."
_LEAST_ACKS = 3
_LONG_BYTES = 400
"A certificate, or a ClientHello with today's key shares, makes one control packet of each side longer than this."
_MAX_PACKETS = 24


class OpenVpnPatterns(Detector):
    """Recognises the handshake behind a first byte that was changed."""

    name: ClassVar[str] = "openvpn_patterns"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 4
    statistical: ClassVar[bool] = True
    misses: ClassVar[str] = "Scrambling that changes lengths or the first byte in a new way each time, and lost resets."

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._frames = (Frames(), Frames())
        self._opened_by_client = True
        self._reset = self._answer = -1
        "First bytes of both resets."
        self._reset_bytes = 0
        self._shortest = 0
        "What the reset would measure without a wrapped key."
        self._packets: list[tuple[bool, int, int]] = []
        "Those after both resets: by whom, first byte, size."

    def feed(self, talk: Conversation) -> Answer:
        """UDP: each datagram is one packet. TCP: the length before each packet is not scrambled."""
        is_stream = bool(talk.client or talk.server)
        stream = talk.client if talk.from_client else talk.server
        if not self._is_begun:
            if is_stream and len(stream) < LENGTH_BYTES:
                return Opinion.MORE
            size = int.from_bytes(stream[:LENGTH_BYTES]) if is_stream else len(talk.data)
            if talk.midstream or not _may_be_reset(size):
                return Opinion.NO
            self._begin()
        if not is_stream:
            return self._feed_packet(talk.data[0], len(talk.data), from_client=talk.from_client)
        frames = self._frames[talk.from_client]
        for packet in frames.read(stream):
            answer = self._feed_packet(packet[0], len(packet), from_client=talk.from_client)
            if answer is not Opinion.MORE:
                return answer
        return Opinion.NO if frames.is_broken else Opinion.MORE

    def _feed_packet(self, first: int, size: int, *, from_client: bool) -> Answer:
        if self._reset < 0:
            self._reset, self._reset_bytes, self._opened_by_client = first, size, from_client
            self._shortest = _CRYPT_RESET_BYTES if size in _RESET_WITH_KEY_BYTES else size
            # Not scrambled: `openvpn` sees more.
            return Opinion.MORE if _may_be_reset(size) and first not in _PLAIN else Opinion.NO
        if self._answer < 0:
            if from_client == self._opened_by_client:
                is_repeated = (first, size) == (self._reset, self._reset_bytes)
                return Opinion.MORE if is_repeated else Opinion.NO
            self._answer = first
            longer = size - self._shortest
            has_key = self._shortest != self._reset_bytes
            is_answer = longer == ACKED_RESET_BYTES or (has_key and longer == ACKED_RESET_BYTES + _ANNOUNCEMENT_BYTES)
            return Opinion.MORE if is_answer and first != self._reset else Opinion.NO
        self._packets.append((from_client, first, size))
        if self._differs_like_opcodes():
            if len(self._packets) + 2 < _LEAST_XOR:
                return Opinion.MORE
            reason = "two resets and what follows: sizes are OpenVPN's, and first bytes differ like its opcodes"
            return Evidence("openvpn", Confidence.PROBABLE, reason)
        if not self._has_classes():
            return Opinion.NO
        if len(self._packets) + 2 >= _LEAST_CLASSES and self._has_both_kinds():
            reason = "first bytes repeat like opcodes, and resets and acknowledgements have OpenVPN's sizes"
            return Evidence("openvpn", Confidence.PROBABLE, reason)
        return Opinion.MORE if len(self._packets) < _MAX_PACKETS else Opinion.NO

    def _differs_like_opcodes(self) -> bool:
        """Whether one mask turns all first bytes into a handshake's opcodes, and acknowledgements have their sizes."""
        reset = _CLIENT_RESET if self._shortest == self._reset_bytes else _CLIENT_RESET_V3
        mask = self._reset ^ reset
        if self._answer ^ mask != _SERVER_RESET:
            return False
        for _, first, size in self._packets:
            opcode, longer = first ^ mask, size - self._shortest
            if opcode == _ACK:
                fits = longer in ACK_BYTES
            else:
                fits = opcode in (_CONTROL, _CONTROL_WITH_KEY, _DATA_V1, _DATA_V2, reset)
            if not fits:
                return False
        return True

    def _has_classes(self) -> bool:
        """Whether the resets' first bytes stay theirs, and the others are few."""
        firsts = {first for _, first, _ in self._packets}
        return self._reset not in firsts and self._answer not in firsts and len(firsts) + 2 <= _SYMBOLS[-1]

    def _has_both_kinds(self) -> bool:
        """Whether one first byte has acknowledgements' sizes only, and another comes long from both sides."""
        by_first: dict[int, list[tuple[bool, int]]] = {}
        for from_client, first, size in self._packets:
            by_first.setdefault(first, []).append((from_client, size - self._shortest))
        acks = [
            all(longer in ACK_BYTES for _, longer in kind) and len(kind) >= _LEAST_ACKS for kind in by_first.values()
        ]
        long = [{who for who, longer in kind if longer > _LONG_BYTES} == {True, False} for kind in by_first.values()]
        return any(acks) and any(long) and len(by_first) + 2 >= _SYMBOLS[0]


def _may_be_reset(size: int) -> bool:
    """Whether a client's reset may have this size."""
    return size in RESET_BYTES or size in _RESET_WITH_KEY_BYTES
