"""Bitcoin's peer-to-peer protocol: messages with the same network's magic both ways (developer reference, P2P Network).

The one rule: both sides must use the same magic, and `version` or another command in its padded field.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_MAGIC_BYTES = 4
_HEADER_BYTES = 24
"Magic, command (12), length (4), checksum (4)."
_COMMAND = re.compile(
    rb"(?=.{12})(?:version|verack|getaddr|addrv?2?|ping|pong|inv|getdata|getheaders|headers|block|tx)\x00+\Z", re.DOTALL
)
_MAX_LENGTH = 4_000_000
"MAX_PROTOCOL_MESSAGE_LENGTH in Bitcoin Core's net.h."
_MAGICS = (b"\xf9\xbe\xb4\xd9", b"\x0b\x11\x09\x07", b"\x0a\x03\xcf\x40", b"\xfa\xbf\xb5\xda", b"\x1c\x16\x3f\x28")
"Main network, testnet3, signet, regtest, testnet4."


def _is_message(data: bytes) -> Fit:
    if data[:_MAGIC_BYTES] not in _MAGICS:
        begun = len(data) < _MAGIC_BYTES and any(magic.startswith(data) for magic in _MAGICS)
        return None if begun else False
    if len(data) < _HEADER_BYTES:
        return None
    return _COMMAND.match(data[4:16]) is not None and int.from_bytes(data[16:20], "little") <= _MAX_LENGTH


class Bitcoin(Exchange):
    """Finds a message from each side."""

    name: ClassVar[str] = "bitcoin"
    protocols: ClassVar[tuple[str, ...]] = ("bitcoin",)
    misses: ClassVar[str] = "The encrypted transport of BIP 324, and other coins."
    client_begins: ClassVar[bytes] = bytes(sorted(magic[0] for magic in _MAGICS))
    server_begins: ClassVar[bytes] = client_begins

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Messages of one network."""
        asked, answered = _is_message(client), _is_message(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            same = client[:_MAGIC_BYTES] == server[:_MAGIC_BYTES]
            return self.confirmed("messages with the same network's magic both ways") if same else Opinion.NO
        return self.probable("a message with a network's magic") if asked or answered else Opinion.MORE
