"""The Network Time Protocol (RFC 5905), and its control messages (RFC 9327).

The one rule: `confirmed` needs an answer that repeats the 8 bytes in which the other side wrote when it sent.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_PACKET_BYTES = 48
"Section 7.3: the header, without extension fields and message authentication."
_MAC_BYTES = range(20, 29, 4)
"A key id of 4 and an MD5 (16), SHA1 (20) or SHA256 (cut to 20, RFC 8573: 16) digest."
_MAX_STRATUM = 16
_MAX_POLL = 17
_MODES = {1: "symmetric active", 2: "symmetric passive", 3: "client", 4: "server", 5: "broadcast"}
_CLIENT, _SERVER, _CONTROL, _PRIVATE = 3, 4, 6, 7
_VERSIONS = range(1, 5)
_ORIGIN, _TRANSMIT = slice(24, 32), slice(40, 48)
"Timestamps: what the other side had sent, and when this was sent."
_CONTROL_HEADER_BYTES = 12
_RESPONSE_BIT, _OPERATION_BITS = 0x80, 0x1F
_OPERATIONS = frozenset({*range(1, 13), 31})
"RFC 9327 section 2."
_PRIVATE_IMPLEMENTATION = (0, 2, 3)
"ntpdc's, by version (ntp_request.h): any, before 4, since 4."


class Ntp(DatagramExchange):
    """Recognises requests for the time, and the answers that repeat their timestamp."""

    name: ClassVar[str] = "ntp"
    protocols: ClassVar[tuple[str, ...]] = ("ntp",)
    misses: ClassVar[str] = "Version 5, and answers to clients that send a timestamp of zero are probable at most."
    client_begins: ClassVar[bytes] = bytes(
        leap << 6 | version << 3 | mode for leap in (0, 1, 2, 3) for version in _VERSIONS for mode in range(1, 8)
    )
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "timestamp"

    def read(self, message: bytes) -> Seen | None:
        """Mode by mode: time, control, or ntpdc's private messages."""
        mode = message[0] & 7
        if mode == _CONTROL:
            return _read_control(message)
        if mode == _PRIVATE:
            return _read_private(message)
        more = len(message) - _PACKET_BYTES
        if more < 0 or more % 4 or message[1] > _MAX_STRATUM or message[2] > _MAX_POLL:
            return None
        # Root delay and dispersion are below 256 s; a server's precision is a negative power of two.
        if message[4] or message[8] or (mode == _SERVER and 0 < message[3] < 0x80):
            return None
        if more and more not in _MAC_BYTES and not _has_extensions(message):
            return None
        transmit, origin = message[_TRANSMIT], message[_ORIGIN]
        if mode != _CLIENT and not any(transmit):
            return None
        asks = transmit if any(transmit) else None
        return Seen(f"an NTP {_MODES[mode]} message", asks=asks, answers=origin if any(origin) else None)


def _has_extensions(message: bytes) -> bool:
    """Whether extension fields (section 7.5) with their lengths follow the header, up to the end or a MAC."""
    at = _PACKET_BYTES
    while len(message) - at > _MAC_BYTES[-1] or (at < len(message) and len(message) - at not in _MAC_BYTES):
        length = int.from_bytes(message[at + 2 : at + 4])
        if length < 16 or length % 4 or at + length > len(message):
            return False
        at += length
    return True


def _read_control(message: bytes) -> Seen | None:
    """RFC 9327 section 2: operation, sequence, status, association, offset, count, then as much data, padded."""
    if len(message) < _CONTROL_HEADER_BYTES or message[0] >> 6:
        return None
    count, operation = int.from_bytes(message[10:12]), message[1] & _OPERATION_BITS
    if operation not in _OPERATIONS or not 0 <= len(message) - _CONTROL_HEADER_BYTES - count <= 3:
        return None
    key = operation, message[2:4]
    if message[1] & _RESPONSE_BIT:
        return Seen("an NTP control response", answers=key)
    # A request has neither error nor status nor offset.
    return Seen("an NTP control request", asks=key) if message[1] == operation and message[4:6] == b"\x00\x00" else None


def _read_private(message: bytes) -> Seen | None:
    """Messages of ntpdc (ntp_request.h): response and more bits before the version, sequence, implementation, code."""
    if len(message) < 8 or message[2] not in _PRIVATE_IMPLEMENTATION or not message[3]:
        return None
    size, items = int.from_bytes(message[6:8]) & 0xFFF, int.from_bytes(message[4:6]) & 0xFFF
    if message[0] & _RESPONSE_BIT:
        return Seen("an NTP private response", answers=message[2:4]) if len(message) == 8 + size * items else None
    # A request is padded to a fixed size with room for a MAC.
    return Seen("an NTP private request", asks=message[2:4]) if not size and not items else None
