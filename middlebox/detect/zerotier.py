"""ZeroTier, recognised by the 40-bit addresses of its nodes, which change places in the answer.

The one rule: `confirmed` needs both addresses of one side's packet in the other side's, exchanged.
Layout: ZeroTierOne, node/Packet.hpp (packet header and HELLO) and node/Identity.hpp (serialised identity).
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_BYTES = 28
"Id 8, destination 5, source 5, flags 1, authentication code 8, verb 1."
_DESTINATION, _SOURCE, _FLAGS, _VERB, _IDENTITY = slice(8, 13), slice(13, 18), 18, 27, slice(41, 46)
"Offsets; an identity, which begins with its address, stands in HELLO behind version and time."
_FRAGMENT_INDICATOR = 0xFF
"Stands where a packet has its source address, which therefore never begins with it."
_CIPHERS = frozenset({0, 1, 2, 3})
"Bits 3 to 5 of the flags: Poly1305 only, Salsa20/12 with Poly1305, none, AES-GMAC-SIV."
_HELLO = 1
_VERB_MASK = 0x1F
_LEAST_HELLO_BYTES = 41 + 5 + 1 + 64 + 1
"Up to the end of the identity: address, type, public key, length of the private key, which is 0."
_NODE_FLAGS = frozenset({0, 1})
"Identity types: Curve25519 with Ed25519, and the one with P-384."
_LEAST_VERSION, _MOST_VERSION = 4, 40
"Protocol versions in HELLO: 4 dates from 2015 (1.0.6), 13 is that of 1.14."
_MAX_PAIRS = 8
"Pairs of addresses remembered per side: a root or relay speaks to one node for several others."
_MAX_STRANGERS = 3
"Datagrams in a row that link nothing. Many random ones could be ours by their form, so few are waited for."


def _is_address(address: bytes) -> bool:
    """Whether this could be a node's address, a hash of its key: never constant, never beginning with FF."""
    return address[0] != _FRAGMENT_INDICATOR and len(set(address)) >= 3


class ZeroTier(Detector):
    """Recognises ZeroTier by HELLO, and by addresses that change places."""

    __slots__ = ("_has_said_hello", "_pairs", "_strangers")

    name: ClassVar[str] = "zerotier"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("zerotier",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "The fallback over TCP, which looks like TLS."

    def __init__(self) -> None:
        self._has_said_hello = False
        self._strangers = 0
        self._pairs: tuple[dict[bytes, None], dict[bytes, None]] = ({}, {})
        "Destination and source of each side's packets, indexed by `from_client`."

    def feed(self, talk: Conversation) -> Answer:
        """Look for HELLO, and for the other side's addresses the other way round."""
        data = talk.data
        if len(data) < _LEAST_BYTES or data[_FLAGS] >> 3 & 7 not in _CIPHERS:
            return self._pass_over()
        destination, source = data[_DESTINATION], data[_SOURCE]
        if destination == source or not (_is_address(destination) and _is_address(source)):
            return self._pass_over()
        if source + destination in self._pairs[not talk.from_client]:
            return Evidence("zerotier", Confidence.CONFIRMED, "both node addresses come back exchanged")
        pairs = self._pairs[talk.from_client]
        if len(pairs) >= _MAX_PAIRS:
            del pairs[next(iter(pairs))]
        pairs[destination + source] = None
        if not _is_hello(data):
            return self._pass_over()
        self._strangers = 0
        if self._has_said_hello:
            return Opinion.MORE
        self._has_said_hello = True
        reason = "HELLO: the identity in it has the address that sent it"
        return Evidence("zerotier", Confidence.PROBABLE, reason, more=True)

    def _pass_over(self) -> Opinion:
        """What links nothing ends the matter at once, or after a few when there are addresses to wait for."""
        self._strangers += 1
        is_begun = self._pairs[0] or self._pairs[1]
        return Opinion.MORE if is_begun and self._strangers <= _MAX_STRANGERS else Opinion.NO


def _is_hello(data: bytes) -> bool:
    return (
        len(data) >= _LEAST_HELLO_BYTES
        and data[_VERB] & _VERB_MASK == _HELLO
        and data[_IDENTITY] == data[_SOURCE]
        and data[46] in _NODE_FLAGS
        and _LEAST_VERSION <= data[28] <= _MOST_VERSION
    )
