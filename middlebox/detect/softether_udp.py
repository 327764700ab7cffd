"""SoftEther over UDP: its acceleration channel, and what it asks its NAT traversal servers.

The one rule: `confirmed` needs packets of both sides that begin with the very bytes which the sender's last packet
announced as the next initialisation vector, or an address told in answer to the one byte that asks for it.

Source: SoftEther's UdpAccel.c and Network.c; the place of the vector in version 2 (ChaCha20-Poly1305) was seen on the
wire.
"""

import re
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_IV_1_BYTES = 20
"Version 1: the vector is the end of the packet before, which is the encrypted check."
_IV_2_BYTES = 12
"Version 2: the vector is the first encrypted bytes of the packet before."
_LEAST_BYTES = 51
"Vector, cookie, two ticks, size, flag and tag of version 2; version 1 has 63 and more."
_SAMPLE_BYTES, _LEAST_DIFFERENT = 24, 18
"A vector and the next one: of 24 random bytes fewer than 18 differ once in 10^5."
_MAX_UNLINKED = 4
"Packets in which the first link must show. A lost packet breaks one link, not the next."
_QUERIES = (b"A", b"B")
"One byte asks the traversal server which address it sees."
_ADDRESS = re.compile(rb"IP=[0-9.]{7,15},PORT=[0-9]{1,5}\0?")
_PACK_HOST_NAME = b"\x00\x00\x00\x0ahost_name"
_PACK_NAME_AT = 4
"A registration: the number of elements, then the length and name of the first."


class SoftetherUdp(Detector):
    """Links initialisation vectors."""

    name: ClassVar[str] = "softether_udp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("softether",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = "SoftEther's UDP channel without encryption, and its tunnels over ICMP and DNS."

    __slots__ = ("_announced", "_asked", "_given", "_linked", "_unlinked")

    def __init__(self) -> None:
        self._announced: list[tuple[bytes, bytes]] = [(b"", b""), (b"", b"")]
        "What the last packet of the server and of the client announced, in either version."
        self._linked = [False, False]
        self._unlinked = 0
        self._asked = False
        self._given = False

    def feed(self, talk: Conversation) -> Answer:
        """Look whether a packet begins with what the last one of its side announced."""
        data = talk.data
        if len(data) < _LEAST_BYTES:
            return self._feed_short(data, from_client=talk.from_client)
        if data.startswith(_PACK_HOST_NAME, _PACK_NAME_AT):
            return Evidence("softether", Confidence.PROBABLE, "a registration at a NAT traversal server")
        if len(data) < talk.size or len(set(data[:_SAMPLE_BYTES])) < _LEAST_DIFFERENT:
            return self._pass_over() if self._given else Opinion.NO
        first, second = self._announced[talk.from_client]
        self._announced[talk.from_client] = (data[-_IV_1_BYTES:], data[_IV_2_BYTES : 2 * _IV_2_BYTES])
        if not first or (data[:_IV_1_BYTES] != first and data[:_IV_2_BYTES] != second):
            return self._pass_over()
        self._linked[talk.from_client] = True
        if all(self._linked):
            reason = "packets both ways begin with the vectors that the packets before them announced"
            return Evidence("softether", Confidence.CONFIRMED, reason)
        if self._given:
            return Opinion.MORE
        self._given = True
        reason = "a packet begins with the vector that the packet before it announced"
        return Evidence("softether", Confidence.PROBABLE, reason, more=True)

    def _feed_short(self, data: bytes, *, from_client: bool) -> Answer:
        if data in _QUERIES and from_client and not self._given:
            self._asked = True
            return self._pass_over()
        if _ADDRESS.fullmatch(data):
            if self._asked and not from_client:
                reason = "an address is told in answer to the query of one byte"
                return Evidence("softether", Confidence.CONFIRMED, reason)
            return Evidence("softether", Confidence.PROBABLE, "an address as NAT traversal servers tell it")
        return self._pass_over() if self._given else Opinion.NO

    def _pass_over(self) -> Opinion:
        self._unlinked += 1
        return Opinion.MORE if self._unlinked <= _MAX_UNLINKED * (1 + 2 * self._given) else Opinion.NO
