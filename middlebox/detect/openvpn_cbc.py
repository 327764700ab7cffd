"""OpenVPN data with a block cipher in CBC mode, recognised by its sizes: static keys, and TLS mode joined later.

The one rule: sizes on a lattice count only where nothing but the opcode is the same in two packets. An HMAC, an IV and
whole cipher blocks leave one remainder in every size, and no header, counter or length to see.

Layout: `crypto.c` of OpenVPN (openvpn_encrypt_v1): [opcode, key id, peer id] HMAC, IV, blocks. In static-key mode there
is no opcode. The defaults were HMAC-SHA1 with BF-CBC, later AES-256-CBC.
"""

from itertools import pairwise
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.detect.openvpn_data import FIRST_BYTES, Frames, data_header
from middlebox.detect.random_bytes import is_random
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HMAC_BYTES = 20, 32
"HMAC-SHA1, the default, and SHA256. Other lengths leave the remainders of one of these (SHA512, SHA384, MD5, none)."
_BLOCKS = 16, 8
"AES, BF and 3DES. The IV is as long as a block, so it changes no remainder."
_PING_BYTES = {16: 32, 8: 24}
"By block: a packet id of 4 bytes and the 16 of OpenVPN's ping (ping.c), padded."
_HEAD_BYTES = 12
"Copies are told by these: an HMAC never comes twice."

_LEAST_PACKETS_STATIC = 12
"""Without an opcode, and only in steps of 16: by chance once in 10^13. tinc 1.0 with Blowfish steps by 8 with the same
remainder, and formats that align to 4 bytes are on that lattice often."""
_ACKNOWLEDGEMENT_BYTES = frozenset({100, 116})
"""Static keys: at least 8 bytes of packet id and 40 to 64 of IP and TCP without data fill four or five blocks behind
the HMAC and the IV. In tinc 1.0 with AES, whose sizes are on this lattice, too, they take 84."""
_ACKNOWLEDGEMENTS_SHARE = 4
"One packet in so many at least must be of that size: what a tunnel carries is mostly TCP."
_LEAST_PACKETS_DATA = 6
"With an opcode: 6 remainders by 8 and a first byte that stays."
_LEAST_EACH_WAY = 2
_LEAST_SIZES = 3
"Different sizes: a stream of equal packets is on every lattice."
_LEAST_PINGS = 3
_LEAST_PING_SECONDS = 5.0
"Between two pings one way: --ping and --keepalive are set to 10 s as a rule, and what is sent meanwhile replaces one."
_MAX_STRIKES = 2
"Packets off the lattice: of a renegotiation, whose control packets have other sizes, or of something else."
_MAX_PACKETS = 28
"Then no evidence is to come that did not come before."


class OpenVpnCbc(Detector):
    """Recognises packets without any structure but an opcode, whose sizes step by the cipher's block."""

    name: ClassVar[str] = "openvpn_cbc"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 6
    statistical: ClassVar[bool] = True
    misses: ClassVar[str] = (
        "Static keys over TCP, or with other choices than HMAC-SHA1 and AES-CBC, and their first dozen packets; "
        "with an opcode, the first five."
    )

    _is_begun = False
    "The first message may be one: only then is anything else allocated. Nearly every flow ends before."

    def _begin(self) -> None:
        self._is_begun = True
        self._header: bytes | None = None
        "What every packet begins with: opcode to peer id, or nothing. None before the first packet."
        self._frames = (Frames(FIRST_BYTES), Frames(FIRST_BYTES))
        self._sizes: list[int] = []
        "Of all packets on the lattice, copies left out."
        self._times: list[float] = []
        self._each_way = [0, 0]
        self._beginnings: set[bytes] = set()
        "First two bytes of every random part, and the two after them with a mark."
        self._copies: set[bytes] = set()
        self._strikes = 0

    def feed(self, talk: Conversation) -> Answer:
        """Judge the sizes of all packets so far."""
        is_stream = bool(talk.client or talk.server)
        if not self._is_begun:
            if not (talk.midstream if is_stream else _may_be_first(talk.data)):
                return Opinion.NO
            self._begin()
        if not is_stream:
            return self._feed_packet(talk.data, talk)
        frames = self._frames[talk.from_client]
        for packet in frames.read(talk.client if talk.from_client else talk.server):
            answer = self._feed_packet(packet, talk)
            if answer is not Opinion.MORE:
                return answer
        # Random frames without an opcode are of any protocol that encrypts.
        return Opinion.NO if frames.is_broken or self._header == b"" else Opinion.MORE

    def _feed_packet(self, message: bytes, talk: Conversation) -> Answer:
        if self._header is None:
            self._header = data_header(message)
            if not _may_be_size(len(message), self._header):
                self._header = b""
        header = self._header
        random_part = message[len(header) :]
        if not (message.startswith(header) and is_random(random_part) and self._is_on_lattice(len(message))):
            self._strikes += 1
            return Opinion.NO if self._strikes > _MAX_STRIKES or not self._sizes else Opinion.MORE
        if random_part[:_HEAD_BYTES] in self._copies:
            return Opinion.MORE
        self._copies.add(random_part[:_HEAD_BYTES])
        # A number that stays or rises slowly strikes at once; random ones are the same once in 65,536.
        beginnings = {random_part[:2], b"." + random_part[2:4]}
        self._strikes += not beginnings.isdisjoint(self._beginnings)
        self._beginnings |= beginnings
        self._sizes.append(len(message))
        self._times.append(talk.now)
        self._each_way[talk.from_client] += 1
        return self._judge(header) if self._strikes <= _MAX_STRIKES else Opinion.NO

    def _is_on_lattice(self, size: int) -> bool:
        if not self._sizes:
            return _may_be_size(size, self._header or b"")
        return size % _BLOCKS[-1] == self._sizes[0] % _BLOCKS[-1]

    def _judge(self, header: bytes) -> Answer:
        count, sizes = len(self._sizes), set(self._sizes)
        block = _BLOCKS[0] if len({size % _BLOCKS[0] for size in sizes}) == 1 else _BLOCKS[-1]
        if min(self._each_way) >= _LEAST_EACH_WAY and len(sizes) >= _LEAST_SIZES:
            if header and count >= _LEAST_PACKETS_DATA:
                return _evidence(f"data packets with one opcode, all else random, sizes in steps of {block}")
            acknowledgements = sum(size in _ACKNOWLEDGEMENT_BYTES for size in self._sizes)
            carries_tcp = _ACKNOWLEDGEMENTS_SHARE * acknowledgements >= count
            if not header and carries_tcp and block == _BLOCKS[0] and count >= _LEAST_PACKETS_STATIC:
                return _evidence("datagrams without a header, sizes in steps of 16 behind an HMAC of 20 bytes")
        if header and count == _LEAST_PINGS and 0 in self._each_way and self._are_pings(len(header)):
            return _evidence("packets of a ping's size with one opcode, all else random, seconds apart", more=True)
        return Opinion.MORE if count < _MAX_PACKETS else Opinion.NO

    def _are_pings(self, header_bytes: int) -> bool:
        """Whether the few packets so far are all of a ping's size, and slow."""
        sizes = {header_bytes + hmac + block + _PING_BYTES[block] for hmac in _HMAC_BYTES for block in _BLOCKS}
        gaps = [later - earlier for earlier, later in pairwise(self._times)]
        return set(self._sizes) <= sizes and len(set(self._sizes)) == 1 and min(gaps) >= _LEAST_PING_SECONDS


def _may_be_first(message: bytes) -> bool:
    """Whether a datagram fits with the header that it may have, or without one."""
    size, header = len(message), data_header(message)
    return _may_be_size(size, b"") or (bool(header) and _may_be_size(size, header))


def _may_be_size(size: int, header: bytes) -> bool:
    """Whether some HMAC and whole blocks behind `header` make this size. Without a header only the default HMAC."""
    hmacs = _HMAC_BYTES if header else _HMAC_BYTES[:1]
    return any((size - len(header) - hmac) % _BLOCKS[-1] == 0 for hmac in hmacs)


def _evidence(reason: str, *, more: bool = False) -> Evidence:
    return Evidence("openvpn", Confidence.PROBABLE, reason, more=more)
