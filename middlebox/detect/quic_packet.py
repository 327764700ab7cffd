"""QUIC packets on the wire: long headers, the protection of Initial packets, and their CRYPTO frames.

One rule: any bytes are an answer, and work is bounded by the length of the datagram. Nothing here remembers a flow.

Layouts: RFC 8999, RFC 9000 sections 16, 17.2 and 19; protection: RFC 9001 section 5; version 2: RFC 9369 section 3.
"""

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

MAX_COALESCED = 8
"Packets looked at in one datagram. Real ones hold up to four, one for each encryption level."

LONG_HEADER = 0x80
_MAX_CONNECTION_ID = 20
"RFC 9000 section 17.2."
_RETRY = 3
"Packet type of version 1, which the others are turned into: Initial 0, 0-RTT 1, Handshake 2; RFC 9000 section 17.2."
_SAMPLE_OFFSET, _SAMPLE_LENGTH = 4, 16
"Where the header protection sample is, counted from the packet number, RFC 9001 section 5.4.2."

_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO, _GOOGLE_CRYPTO, _CONNECTION_CLOSE = 0, 1, 2, 3, 6, 8, 0x1C
"Frames that an Initial may hold, RFC 9000 section 17.2.2; T050 and its kin number CRYPTO differently."

_WITH_CONTENT = re.compile(rb"[^\0\1]")
"The next frame that is neither PADDING nor PING, which are one byte each."

_SALT_DRAFT_22 = bytes.fromhex("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")
_SALT_DRAFT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
_SALT_DRAFT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
_SALT_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_SALT_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
"draft-ietf-quic-tls sections 5.2 of the numbered drafts; RFC 9001 section 5.2; RFC 9369 section 3.3.1."

_V2 = 0x6B3343CF
_DRAFT = 0xFF000000
VERSIONS: dict[int, tuple[str, bytes]] = {
    1: ("1", _SALT_V1),
    _V2: ("2", _SALT_V2),
    _DRAFT + 22: ("draft-22", _SALT_DRAFT_22),
    **{_DRAFT + number: (f"draft-{number}", _SALT_DRAFT_23) for number in range(23, 29)},
    **{_DRAFT + number: (f"draft-{number}", _SALT_DRAFT_29) for number in range(29, 33)},
    **{_DRAFT + number: (f"draft-{number}", _SALT_V1) for number in range(33, 35)},
    0xFACEB001: ("mvfst-22", _SALT_DRAFT_22),
    0xFACEB002: ("mvfst-27", _SALT_DRAFT_23),
    int.from_bytes(b"Q050"): ("Q050", bytes.fromhex("504574efd066fe2f9d945cfcdbd3a7f0d3b56b45")),
    int.from_bytes(b"T050"): ("T050", bytes.fromhex("7ff579e5acd072915580304c43a2367c60488310")),
    int.from_bytes(b"T051"): ("T051", bytes.fromhex("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d")),
}
"Version number to its name and the salt of its Initial keys."
NEGOTIATION = 0


@dataclass(slots=True)
class LongPacket:
    """One packet with a long header, still protected."""

    datagram: bytes
    start: int
    version: int
    destination_id: bytes
    source_id: bytes
    is_initial: bool = False
    number_offset: int = 0
    "Where the packet number begins."
    end: int = 0


def long_packets(datagram: bytes) -> Iterator[LongPacket]:
    """The packets with long headers that a datagram begins with."""
    start = 0
    for _ in range(MAX_COALESCED):
        try:
            packet = _parse_long_header(datagram, start)
        except IndexError:
            return
        if packet is None:
            return
        yield packet
        start = packet.end


def _parse_long_header(datagram: bytes, start: int) -> LongPacket | None:
    """Read one long header; None where it cannot be one, IndexError where the datagram ends too early."""
    first = datagram[start]
    if not first & LONG_HEADER:
        return None
    version = int.from_bytes(datagram[start + 1 : start + 5])
    destination_end = start + 6 + datagram[start + 5]
    source_end = destination_end + 1 + datagram[destination_end]
    destination_id, source_id = datagram[start + 6 : destination_end], datagram[destination_end + 1 : source_end]
    if len(destination_id) > _MAX_CONNECTION_ID or len(source_id) > _MAX_CONNECTION_ID or source_end > len(datagram):
        return None
    packet = LongPacket(datagram, start, version, destination_id, source_id, end=len(datagram))
    if version not in VERSIONS:
        return packet
    # The fixed bit is not looked at: peers may agree to send it at random (RFC 9287).
    # RFC 9369 section 3.2: version 2 counts its packet types from one place further on.
    packet_type = ((first >> 4) - (version == _V2)) & 3
    if packet_type == _RETRY:
        return packet
    position = source_end
    packet.is_initial = packet_type == 0
    if packet.is_initial:
        token_length, position = _variable_integer(datagram, position)
        position += token_length
    length, packet.number_offset = _variable_integer(datagram, position)
    packet.end = packet.number_offset + length
    return packet if length >= _SAMPLE_OFFSET + _SAMPLE_LENGTH and packet.end <= len(datagram) else None


def _variable_integer(data: bytes, position: int) -> tuple[int, int]:
    """The value at `position` and where it ends, RFC 9000 section 16. IndexError where the data ends too early."""
    size = 1 << (data[position] >> 6)
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size]) & ((1 << 8 * size - 2) - 1), position + size


class CryptoStream:
    """Puts CRYPTO frames in order (RFC 9000 section 19.6), whatever order they come in."""

    __slots__ = ("_bytes", "_filled", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        "Frames that reach beyond so many bytes are left out."
        self._bytes = bytearray()
        self._filled = bytearray()
        "For each byte, whether it has come."

    def __len__(self) -> int:
        """Bytes that are kept, holes included."""
        return len(self._bytes)

    def put(self, offset: int, piece: bytes) -> None:
        """Take in one frame."""
        end = offset + len(piece)
        if end > self._limit:
            return
        missing = bytes(max(0, end - len(self._bytes)))
        self._bytes += missing
        self._filled += missing
        self._bytes[offset:end] = piece
        self._filled[offset:end] = b"\1" * len(piece)

    def contiguous(self) -> bytes:
        """What has come, up to the first hole."""
        hole = self._filled.find(0)
        return bytes(self._bytes if hole < 0 else self._bytes[:hole])

    def clear(self) -> None:
        """Begin anew."""
        self._bytes.clear()
        self._filled.clear()


def crypto_frames(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and content of each CRYPTO frame, up to the first frame that an Initial may not hold."""
    position = 0

    def next_integer() -> int:
        nonlocal position
        value, position = _variable_integer(payload, position)
        return value

    try:
        while position < len(payload):
            kind = next_integer()
            if kind in (_PADDING, _PING):
                if content := _WITH_CONTENT.search(payload, position):
                    position = content.start()
                else:
                    return
            elif kind in (_ACK, _ACK_ECN):
                next_integer()
                next_integer()
                ranges = next_integer()
                for _ in range(1 + 2 * ranges + (3 if kind == _ACK_ECN else 0)):
                    next_integer()
            elif kind in (_CRYPTO, _GOOGLE_CRYPTO):
                offset, length = next_integer(), next_integer()
                yield offset, payload[position : position + length]
                position += length
            elif kind == _CONNECTION_CLOSE:
                next_integer()
                next_integer()
                reason_length = next_integer()
                position += reason_length
            else:
                return
    except IndexError:
        return


@dataclass(slots=True, frozen=True)
class InitialKeys:
    """What protects the Initial packets of one direction."""

    key: bytes
    iv: bytes
    header_key: bytes


CLIENT_LABEL, SERVER_LABEL = b"client in", b"server in"
"Whose packets the keys are for, RFC 9001 section 5.2."


def initial_keys(version: int, connection_id: bytes, label: bytes) -> InitialKeys:
    """Derive the keys that the client's first destination connection ID gives, in a known version."""
    prefix = b"quicv2 " if version == _V2 else b"quic "
    initial_secret = hmac.digest(VERSIONS[version][1], connection_id, "sha256")
    secret = _expand_label(initial_secret, label, 32)
    return InitialKeys(
        _expand_label(secret, prefix + b"key", 16),
        _expand_label(secret, prefix + b"iv", 12),
        _expand_label(secret, prefix + b"hp", 16),
    )


def _expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-256 and no context (RFC 8446 section 7.1), for at most one block of output."""
    label = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


def open_initial(packet: LongPacket, keys: InitialKeys) -> bytes | None:
    """Remove header protection and encryption (RFC 9001 sections 5.4.1 and 5.3); None when the key does not fit."""
    datagram, number_offset = packet.datagram, packet.number_offset
    sample = datagram[number_offset + _SAMPLE_OFFSET : number_offset + _SAMPLE_OFFSET + _SAMPLE_LENGTH]
    # ECB of a single block, as RFC 9001 section 5.4.3 has it: nothing is kept secret with it.
    mask = Cipher(AES(keys.header_key), ECB()).encryptor().update(sample)  # noqa: S305
    first = datagram[packet.start] ^ mask[0] & 0x0F
    payload_offset = number_offset + (first & 3) + 1
    masked_number = datagram[number_offset:payload_offset]
    number = bytes(byte ^ masked for byte, masked in zip(masked_number, mask[1:], strict=False))
    nonce = (int.from_bytes(keys.iv) ^ int.from_bytes(number)).to_bytes(len(keys.iv))
    header = bytes([first]) + datagram[packet.start + 1 : number_offset] + number
    try:
        return AESGCM(keys.key).decrypt(nonce, datagram[payload_offset : packet.end], header)
    except InvalidTag:
        return None
