"""The ClientHello of a QUIC connection with its transport parameters, for detectors that build on `quic`.

One rule: work is bounded. A few datagrams are opened, a few kilobytes put together, then it is over.

Protection: RFC 9001 section 5.2; transport parameters: RFC 9000 section 18.
"""

from middlebox.detect.client_hello import ClientHello, parse_client_hello
from middlebox.detect.quic_packet import (
    CLIENT_LABEL,
    VERSIONS,
    CryptoStream,
    InitialKeys,
    crypto_frames,
    initial_keys,
    long_packets,
    open_initial,
)
from middlebox.evidence import Opinion

_MAX_DATAGRAMS = 6
"A ClientHello with post-quantum key shares fills two; copies and a Retry make it a few more."
_MAX_CRYPTO = 8 * 1024
_TRANSPORT_PARAMETERS, _TRANSPORT_PARAMETERS_DRAFT = 57, 0xFFA5
"RFC 9001 section 8.2, and the number that drafts used."


class QuicHello:
    """Puts the ClientHello together from the client's Initial packets."""

    __slots__ = ("_crypto", "_datagrams", "_keys", "hello", "is_over")

    def __init__(self) -> None:
        self.hello: ClientHello | None = None
        self.is_over = False
        "Nothing more is to be expected: the hello is there, or will not be."
        self._datagrams = 0
        self._keys: dict[tuple[int, bytes], InitialKeys] = {}
        "By version and connection ID: that of the client's first packet, and another one after a Retry."
        self._crypto = CryptoStream(_MAX_CRYPTO)

    def read(self, datagram: bytes) -> ClientHello | None:
        """Take in one datagram of the client's; the hello, once it is whole."""
        if self.is_over:
            return self.hello
        self._datagrams += 1
        self.is_over = self._datagrams >= _MAX_DATAGRAMS
        for packet in long_packets(datagram):
            if not packet.is_initial or packet.version not in VERSIONS:
                continue
            name = packet.version, packet.destination_id
            if name not in self._keys:
                self._keys[name] = initial_keys(*name, CLIENT_LABEL)
            for keys in self._keys.values():
                if (payload := open_initial(packet, keys)) is not None:
                    for offset, piece in crypto_frames(payload):
                        self._crypto.put(offset, piece)
                    break
        found = parse_client_hello(self._crypto.contiguous())
        if isinstance(found, ClientHello):
            self.hello = found
        self.is_over = self.is_over or found is not Opinion.MORE
        return self.hello


def transport_parameters(hello: ClientHello) -> dict[int, int | None]:
    """Each parameter with its value, None where that is not one variable-length integer. Empty when malformed."""
    content = hello.extension(_TRANSPORT_PARAMETERS) or hello.extension(_TRANSPORT_PARAMETERS_DRAFT) or b""
    parameters: dict[int, int | None] = {}
    position = 0
    try:
        while position < len(content):
            kind, position = _integer(content, position)
            length, position = _integer(content, position)
            if position + length > len(content):
                return {}
            value = content[position : position + length]
            position += length
            parameters[kind] = _integer(value, 0)[0] if value and 1 << (value[0] >> 6) == length else None
    except IndexError:
        return {}
    return parameters


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """The variable-length integer at `position` and where it ends, RFC 9000 section 16."""
    size = 1 << (data[position] >> 6)
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size]) & ((1 << 8 * size - 2) - 1), position + size
