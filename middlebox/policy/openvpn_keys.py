"""Whether both resets of an OpenVPN handshake were made with an approved key: tls-auth, tls-crypt or tls-crypt-v2.

One rule: both sides must show the key. A reset of the client can be recorded and sent again by anybody, but only who
holds the key can answer it, since the authenticated answer repeats the session id that the client has just chosen.

Layouts and keys: `ssl_pkt.c` (swap_hmac), `tls_crypt.c`, `crypto.c` (key_direction_state_init) and
`doc/tls-crypt-v2.txt` of OpenVPN 2.6.
"""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_CLIENT_RESET, _SERVER_RESET, _CLIENT_RESET_V3 = 7, 8, 10
"Opcodes: the high 5 bits of the first byte (ssl_pkt.h)."
_HEADER = 9
"Opcode and session id: what no wrap hides."
_SESSION_ID = 8
_REPLAY = 8
"Replay id and time, 4 bytes each (packet_id.h, long form)."
_PACKET_ID = 4
_MAX_ACKS = 8
"RELIABLE_ACK_SIZE in reliable.h."

STATIC_KEY_BYTES = 256
"Two keys of 128 bytes, each 64 for a cipher and 64 for an HMAC (struct key2 in crypto.h)."
SERVER_KEY_BYTES = 128
"One such key (tls-crypt-v2.txt)."
_HALF = 64
_AES_KEY = _TAG = _CRYPT_HMAC_KEY = 32
_IV = 16
"tls-crypt: AES-256-CTR and HMAC-SHA256, whose first 16 bytes are the counter's start."
_LENGTH = 2
"At the end of a wrapped client key; counts all of it, itself included."

_DIGESTS = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
"What `auth` may name for tls-auth, by the bytes of its HMAC, which are as many as of its key."

MAX_CLOCK_SECONDS = 86_400
"""How far the time in a reset may be from when it was seen. It is when the sender began its session by its own clock.
Clocks without NTP drift by seconds a day and a wrong time zone makes hours, so a day forgives every clock that is set
at all (a client whose clock is further off fails to check its server's certificate anyway), and yet ends the use of a
recording within a day."""


class Outcome(Enum):
    """What a pair of resets says about a key."""

    PROVEN = "proven"
    OTHER_KEY = "the client used another key"
    UNANSWERED = "the client has the key; no answer of a server was seen"
    OTHER_ANSWER = "the client has the key, but the server did not use it, or answered something else"
    OLD = "made with the key, but at another time than it was seen"


@dataclass(slots=True, frozen=True)
class _Opened:
    """An authenticated control packet."""

    opcode: int
    session_id: bytes
    time: int
    rest: bytes
    "From the list of acknowledgements on, in clear."


_Reader = Callable[[bytes], _Opened | None]
"Opens a control packet, or says that it was not made with its key."


@dataclass(slots=True, frozen=True)
class _Pair:
    """How the two sides of a tunnel protect their packets, and what of the client's reset is the packet."""

    client: _Reader
    server: _Reader
    reset: bytes


class TlsAuthKey:
    """A static key that authenticates control packets, in whichever of its directions."""

    def __init__(self, key: bytes) -> None:
        first, second = (key[at + _HALF : at + 2 * _HALF] for at in (0, 2 * _HALF))
        # Client 1 and server 0 as usual, the other way round, and both without a direction: then all use the first.
        self._directions = ((second, first), (first, second), (first, first))

    def pairs(self, reset: bytes) -> Iterator[_Pair]:
        """The ways in which both sides may use this key."""
        for client, server in self._directions:
            yield _Pair(_hmac_reader(client), _hmac_reader(server), reset)


class TlsCryptKey:
    """A static key that encrypts control packets."""

    def __init__(self, key: bytes) -> None:
        self._server, self._client = _crypt_reader(key[: 2 * _HALF]), _crypt_reader(key[2 * _HALF :])

    def pairs(self, reset: bytes) -> Iterator[_Pair]:
        """The one way: the server sends with the first key, the client with the second."""
        yield _Pair(self._client, self._server, reset)


class TlsCryptV2Key:
    """A server key that opens the client keys which clients bring along."""

    def __init__(self, key: bytes) -> None:
        self._cipher_key, self._hmac_key = key[:_AES_KEY], key[_HALF : _HALF + _CRYPT_HMAC_KEY]

    def pairs(self, reset: bytes) -> Iterator[_Pair]:
        """The way that the wrapped client key at the end of the reset gives, if this key opens it."""
        length = int.from_bytes(reset[-_LENGTH:])
        wrapped = reset[-length:]
        if not _TAG + STATIC_KEY_BYTES + _LENGTH <= length <= len(reset) - _HEADER:
            return
        tag, hidden = wrapped[:_TAG], wrapped[_TAG:-_LENGTH]
        clear = _decrypt(self._cipher_key, tag, hidden)
        if hmac.compare_digest(hmac.digest(self._hmac_key, wrapped[-_LENGTH:] + clear, "sha256"), tag):
            yield from TlsCryptKey(clear[:STATIC_KEY_BYTES]).pairs(reset[:-length])


OpenVpnKey = TlsAuthKey | TlsCryptKey | TlsCryptV2Key


def examine(key: OpenVpnKey, reset: bytes, answer: bytes | None, seen: float) -> Outcome:
    """What a client's reset and the server's answer to it say about `key`.

    Args:
        key: The approved key.
        reset: The client's reset, from its opcode on.
        answer: The server's reset.
        seen: When the client's reset was seen, in seconds since the epoch.
    """
    outcome = Outcome.OTHER_KEY
    opcode = _CLIENT_RESET_V3 if isinstance(key, TlsCryptV2Key) else _CLIENT_RESET
    for pair in key.pairs(reset):
        asked = pair.client(pair.reset)
        if asked is None or asked.opcode != opcode:
            continue
        if abs(asked.time - seen) > MAX_CLOCK_SECONDS:
            return Outcome.OLD
        if answer is None:
            return Outcome.UNANSWERED
        answered = pair.server(answer)
        if answered is not None and _answers(answered, asked):
            # A server answers with the time at which it does (reset_packet_id_send in packet_id.h).
            return Outcome.PROVEN if abs(answered.time - seen) <= MAX_CLOCK_SECONDS else Outcome.OLD
        outcome = Outcome.OTHER_ANSWER  # yet the other directions of the key are still to be tried
    return outcome


def _answers(answered: _Opened, asked: _Opened) -> bool:
    """Whether a packet is the server's reset and acknowledges the client's, whose session id it must repeat."""
    acks = answered.rest[0] if answered.rest else 0
    at = 1 + acks * _PACKET_ID
    is_reset = answered.opcode == _SERVER_RESET and 1 <= acks <= _MAX_ACKS
    return is_reset and answered.rest[at : at + _SESSION_ID] == asked.session_id


def _hmac_reader(key: bytes) -> _Reader:
    """tls-auth: HMAC, replay id and time follow the session id; the HMAC covers the last two first."""

    def read(packet: bytes) -> _Opened | None:
        for size, digest in _DIGESTS.items():
            at = _HEADER + size
            rest = packet[at + _REPLAY :]
            if not _has_reset_size(rest):
                continue
            covered = packet[at : at + _REPLAY] + packet[:_HEADER] + rest
            if hmac.compare_digest(hmac.digest(key[:size], covered, digest), packet[_HEADER:at]):
                return _opened(packet, packet[at : at + _REPLAY], rest)
        return None

    return read


def _has_reset_size(rest: bytes) -> bool:
    """Whether a reset ends where its list of acknowledgements says, so that not every digest need be tried."""
    acks = rest[0] if rest else 0
    return len(rest) == 1 + acks * _PACKET_ID + bool(acks) * _SESSION_ID + _PACKET_ID


def _crypt_reader(key: bytes) -> _Reader:
    """tls-crypt: replay id, time and tag follow the session id; what comes after is encrypted."""
    cipher_key, hmac_key = key[:_AES_KEY], key[_HALF : _HALF + _CRYPT_HMAC_KEY]

    def read(packet: bytes) -> _Opened | None:
        at = _HEADER + _REPLAY
        tag = packet[at : at + _TAG]
        if len(tag) < _TAG:
            return None
        rest = _decrypt(cipher_key, tag, packet[at + _TAG :])
        if not hmac.compare_digest(hmac.digest(hmac_key, packet[:at] + rest, "sha256"), tag):
            return None
        return _opened(packet, packet[_HEADER:at], rest)

    return read


def _opened(packet: bytes, replay: bytes, rest: bytes) -> _Opened:
    return _Opened(packet[0] >> 3, packet[1:_HEADER], int.from_bytes(replay[_REPLAY // 2 :]), rest)


def _decrypt(key: bytes, tag: bytes, hidden: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(tag[:_IV])).decryptor().update(hidden)
