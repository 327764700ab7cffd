"""Ethereum's discovery of peers over UDP, version 4: signed packets, and pongs that repeat their ping's hash.

The one rule: a packet's fixed fields and a list that fills the datagram are `probable`; `confirmed` needs a pong
with the hash of a ping.

Layout (devp2p, discv4.md): hash (32), signature (65, the last byte of which is 0 or 1), type (1), data, an RLP list.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_HASH_BYTES = 32
_RECOVERY_AT, _TYPE_AT, _DATA_AT = 96, 97, 98
_PING, _PONG = 1, 2
_TYPES = range(_PING, 7)
"Ping, pong, find node, neighbours, ask for a record, the record."
_SHORT_LIST, _LONG_LIST = 0xC0, 0xF7
"RLP (Ethereum yellow paper, appendix B): up to 55 bytes of content; more, with the length behind."
_STRING_OF_32 = 0xA0


def _list_span(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the content of the list at `at` begins and ends; None when it is not a list that fits."""
    if at >= len(data) or data[at] < _SHORT_LIST:
        return None
    if data[at] <= _LONG_LIST:
        start, length = at + 1, data[at] - _SHORT_LIST
    else:
        start = at + 1 + data[at] - _LONG_LIST
        length = int.from_bytes(data[at + 1 : start])
    return (start, start + length) if start + length <= len(data) else None


class EthereumDiscovery(DatagramExchange):
    """Reads packets of the discovery protocol."""

    name: ClassVar[str] = "ethereum_discovery"
    protocols: ClassVar[tuple[str, ...]] = ("ethereum",)
    misses: ClassVar[str] = "Version 5 of the discovery protocol, which is masked."
    first_bytes: ClassVar[frozenset[int]] = frozenset(range(256))
    repeats: ClassVar[str] = "hash"

    def read(self, message: bytes) -> Seen | None:
        """A packet's type, and the hash by which a pong names its ping."""
        if len(message) <= _DATA_AT or message[_RECOVERY_AT] > 1 or message[_TYPE_AT] not in _TYPES:
            return None
        span = _list_span(message, _DATA_AT)
        if span is None or span[1] != len(message):
            return None
        if message[_TYPE_AT] == _PING:
            return Seen("a signed ping of Ethereum's discovery", asks=message[:_HASH_BYTES])
        if message[_TYPE_AT] == _PONG:
            recipient = _list_span(message, span[0])
            at = recipient[1] if recipient else len(message)
            if message[at : at + 1] != bytes([_STRING_OF_32]):
                return None
            return Seen("a signed pong of Ethereum's discovery", answers=message[at + 1 : at + 1 + _HASH_BYTES])
        return Seen("a signed packet of Ethereum's discovery")
