"""TLS hello messages, for every detector that meets them: what is in a ClientHello and a ServerHello, and JA4.

One rule: these functions see handshake bytes only, already taken out of records or CRYPTO frames, and any bytes
are an answer: a hello, `Opinion.MORE` (a prefix of one) or `Opinion.NO` (cannot become one). They never raise.

Layouts: RFC 8446 sections 4.1.2, 4.1.3 and 4.2; SSL 2.0 compatible hello: RFC 5246 appendix E.2.
JA4: FoxIO's public description, technical_details/JA4.md of its repository.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from middlebox.evidence import Opinion

CLIENT_HELLO, SERVER_HELLO = 1, 2
"Handshake message types, RFC 8446 section 4."

SERVER_NAME, SIGNATURE_ALGORITHMS, ALPN, SUPPORTED_VERSIONS, ENCRYPTED_CLIENT_HELLO = 0, 13, 16, 43, 0xFE0D
"Extension types, RFC 8446 section 4.2; RFC 7301; RFC 9849."

MESSAGE_HEADER = 4
"Type and 24-bit length in front of every handshake message, RFC 8446 section 4."

_RANDOM_LENGTH = 32
_MAX_SESSION_ID = 32
_MAJOR_VERSION = 3
_NAME_LIST_HEADER, _NAME_HEADER = 2, 3
"In a server_name extension: the list's length; then before each name its type (1) and length (2); RFC 6066 section 3."
_HOST_NAME = 0
_MAX_HOST_NAME = 255
"RFC 1035 section 2.3.4. What is longer names no host, and is not let into events."
_MAX_ALPNS = 128
"Ours: application protocols that are listed, so that events stay small. Clients offer less than ten."
_NOT_PRINTABLE = re.compile(r"[^ -~]")
_EXTENSION_HEADER = struct.Struct("!HH")
_HASH_CHARACTERS = 12
_NO_HASH = "0" * _HASH_CHARACTERS
_MOST_COUNTED = 99
"JA4 counts have two digits."
_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}

_SSLV2_HEADER = 11
"Length (2), type, version (2), lengths of cipher specs, session id and challenge (2 each); RFC 5246 appendix E.2."
_SSLV2_CIPHER = 3
_SSLV2_SESSION_IDS = (0, 16)
_SSLV2_CHALLENGES = range(16, 33)


@dataclass(slots=True, frozen=True)
class ClientHello:
    """What a client offers."""

    legacy_version: int
    versions: tuple[int, ...]
    "From supported_versions without GREASE; empty where that extension is missing."
    ciphers: tuple[int, ...]
    extensions: tuple[tuple[int, bytes], ...]
    "Type and content, in the order of the wire."
    complete: bool = True
    "False when the message was cut and only its first extensions are here."

    def extension(self, wanted: int) -> bytes | None:
        """The content of the first extension of this type."""
        return next((content for kind, content in self.extensions if kind == wanted), None)

    @property
    def sni(self) -> str | None:
        """The host name asked for, as `host_name` writes it."""
        content = self.extension(SERVER_NAME) or b""
        # The outer list length is not looked at: receivers differ in what they do when it is wrong.
        position = _NAME_LIST_HEADER
        while len(content) > position + _NAME_HEADER:
            start = position + _NAME_HEADER
            end = start + int.from_bytes(content[position + 1 : start])
            if content[position] == _HOST_NAME:
                return host_name(content[start:end])
            position = end  # of a type that does not exist yet; Go's servers step over it, too
        return None

    @property
    def alpns(self) -> tuple[str, ...]:
        """The first application protocols offered, in order, without GREASE."""
        return tuple(_text(name) for name in _alpn_names(self.extension(ALPN))[:_MAX_ALPNS])

    def could_be_answered_by(self, server: "ServerHello") -> bool:
        """Whether the server chose a cipher and a version that this client offered."""
        return server.cipher in self.ciphers and (
            server.version in self.versions or 0x0300 <= server.version <= self.legacy_version
        )


@dataclass(slots=True, frozen=True)
class ServerHello:
    """What a server chose."""

    version: int
    "The negotiated version: from supported_versions where that is present."
    cipher: int
    alpns: tuple[str, ...]
    "The chosen application protocol; TLS 1.3 hides it."


def parse_client_hello(message: bytes, *, cut: bool = False) -> ClientHello | Opinion:
    """Read a ClientHello from the start of `message`.

    A prefix is refused at the first length that cannot be right; what extensions hold is judged once all have come.
    With `cut`, no more bytes will come: a prefix that reaches the extensions gives what it shows.
    """
    if message[:1] != bytes([CLIENT_HELLO])[: len(message)]:
        return Opinion.NO
    cursor = _Cursor(message)
    try:
        cursor.skip_header()
        legacy_version = cursor.number(2)
        cursor.take(_RANDOM_LENGTH)
        cursor.vector(1, at_most=_MAX_SESSION_ID)
        ciphers = cursor.vector(2, at_least=2, unit=2)
        cursor.vector(1, at_least=1)
        if not cursor.at_end:
            cursor.announce_extensions()
        if not cursor.is_complete and not cut:
            return Opinion.MORE
        extensions = tuple(cursor.extensions())
    except _IncompleteError:
        return Opinion.MORE
    except _InconsistentError:
        return Opinion.NO
    offered = next((content for kind, content in extensions if kind == SUPPORTED_VERSIONS), b"")
    versions = (version for version in _numbers(offered[1:]) if not is_grease(version))
    # With supported_versions, servers must ignore the legacy version (RFC 8446 section 4.2.1), and they do.
    if legacy_version >> 8 != _MAJOR_VERSION and not offered and cursor.is_complete:
        return Opinion.NO
    return ClientHello(legacy_version, tuple(versions), _numbers(ciphers), extensions, cursor.is_complete)


def parse_server_hello(message: bytes) -> ServerHello | Opinion:
    """Read a ServerHello or HelloRetryRequest from the start of `message`."""
    if message[:1] != bytes([SERVER_HELLO])[: len(message)]:
        return Opinion.NO
    cursor = _Cursor(message)
    try:
        cursor.skip_header()
        version = cursor.number(2)
        # TLS 1.3 until draft 21 put 0x7f and its draft number here, and had no session id and no compression.
        is_old_draft = version >> 8 == 0x7F
        if version >> 8 != _MAJOR_VERSION and not is_old_draft:
            return Opinion.NO
        cursor.take(_RANDOM_LENGTH)
        if not is_old_draft:
            cursor.vector(1, at_most=_MAX_SESSION_ID)
        cipher = cursor.number(2)
        if not is_old_draft:
            cursor.take(1)
        if not cursor.at_end:
            cursor.announce_extensions()
        if not cursor.is_complete:
            return Opinion.MORE
        extensions = dict(cursor.extensions())
    except _IncompleteError:
        return Opinion.MORE
    except _InconsistentError:
        return Opinion.NO
    chosen = extensions.get(SUPPORTED_VERSIONS, b"")
    if len(chosen) == 2:
        version = int.from_bytes(chosen)
    return ServerHello(version, cipher, tuple(_text(name) for name in _alpn_names(extensions.get(ALPN))[:_MAX_ALPNS]))


def parse_sslv2_client_hello(stream: bytes) -> ClientHello | Opinion:
    """Read the hello of SSL 2.0, with which old clients also offer SSL 3.0 and TLS, from the start of a stream."""
    if not stream:
        return Opinion.MORE
    if not stream[0] & 0x80 or stream[2:3] not in (b"", bytes([CLIENT_HELLO])):
        return Opinion.NO
    if stream[3:4] not in (b"", b"\x00", b"\x03") or (stream[3:4] == b"\x00" and stream[4:5] not in (b"", b"\x02")):
        return Opinion.NO
    if len(stream) < _SSLV2_HEADER:
        return Opinion.MORE
    announced = int.from_bytes(stream[:2]) & 0x7FFF
    version, ciphers_length, session_id_length, challenge_length = _numbers(stream[3:_SSLV2_HEADER])
    end = _SSLV2_HEADER + ciphers_length + session_id_length + challenge_length
    if (
        end != announced + 2
        or ciphers_length % _SSLV2_CIPHER
        or not ciphers_length
        or session_id_length not in _SSLV2_SESSION_IDS
        or challenge_length not in _SSLV2_CHALLENGES
    ):
        return Opinion.NO
    if len(stream) < end:
        return Opinion.MORE
    specs = stream[_SSLV2_HEADER : _SSLV2_HEADER + ciphers_length]
    ciphers = (int.from_bytes(specs[start : start + _SSLV2_CIPHER]) for start in range(0, len(specs), _SSLV2_CIPHER))
    return ClientHello(version, (), tuple(ciphers), ())


def client_facts(hello: ClientHello, prefix: str, ja4_transport: str) -> dict[str, object]:
    """The facts that TLS and QUIC share, named below `prefix`. A cut hello has no JA4: it would be a wrong one."""
    facts: dict[str, object] = {}
    if sni := hello.sni:
        facts[f"{prefix}.sni"] = sni
    if alpns := hello.alpns:
        facts[f"{prefix}.client_alpns"] = list(alpns)
    if hello.complete:
        facts[f"{prefix}.ja4"] = ja4(hello, ja4_transport)
    facts[f"{prefix}.ech"] = hello.extension(ENCRYPTED_CLIENT_HELLO) is not None
    return facts


def host_name(name: bytes) -> str | None:
    r"""A name as facts have it: lower case, without a final dot, what is not printable ASCII as \xnn."""
    return _text(name).lower().removesuffix(".") or None if len(name) <= _MAX_HOST_NAME else None


def ja4(hello: ClientHello, transport: str) -> str:
    """The JA4 fingerprint; `transport` is its first letter: t for TLS over TCP, q for QUIC."""
    version = _JA4_VERSIONS.get(max(hello.versions, default=hello.legacy_version), "00")
    ciphers = [cipher for cipher in hello.ciphers if not is_grease(cipher)]
    kinds = [kind for kind, _ in hello.extensions if not is_grease(kind)]
    counts = f"{min(len(ciphers), _MOST_COUNTED):02}{min(len(kinds), _MOST_COUNTED):02}"
    destination = "d" if SERVER_NAME in kinds else "i"
    sorted_kinds = _hexadecimal(sorted(kind for kind in kinds if kind not in (SERVER_NAME, ALPN)))
    algorithms = _numbers((hello.extension(SIGNATURE_ALGORITHMS) or b"")[2:])
    in_order = _hexadecimal(algorithm for algorithm in algorithms if not is_grease(algorithm))
    described = f"{sorted_kinds}_{in_order}" if sorted_kinds and in_order else sorted_kinds
    head = f"{transport}{version}{destination}{counts}{_ja4_alpn(hello)}"
    return f"{head}_{_short_hash(_hexadecimal(sorted(ciphers)))}_{_short_hash(described)}"


def is_grease(value: int) -> bool:
    """Whether this is a reserved value that clients mix in so that servers stay tolerant (RFC 8701)."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _ja4_alpn(hello: ClientHello) -> str:
    """First and last character of the first ALPN name, of its hexadecimal form where these are not alphanumeric."""
    names = _alpn_names(hello.extension(ALPN))
    if not names:
        return "00"
    ends = bytes([names[0][0], names[0][-1]])
    return ends.decode("ascii") if ends.isalnum() else names[0].hex()[0] + names[0].hex()[-1]


def _short_hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS] if text else _NO_HASH


def _hexadecimal(values: Iterable[int]) -> str:
    return ",".join(f"{value:04x}" for value in values)


def _text(name: bytes) -> str:
    """A name as text that steers no terminal and breaks no line."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", name.decode("latin-1"))


def _numbers(content: bytes) -> tuple[int, ...]:
    """The 16-bit numbers in `content`; an odd last byte is left out."""
    count = len(content) // 2
    return struct.unpack_from(f">{count}H", content)


def _alpn_names(content: bytes | None) -> list[bytes]:
    """The names in an ALPN extension (RFC 7301 section 3.1) that are whole and not GREASE."""
    names, position, content = [], 2, content or b""
    while position < len(content):
        name = content[position + 1 : position + 1 + content[position]]
        position += 1 + content[position]
        if name and not (len(name) == 2 and is_grease(int.from_bytes(name))):
            names.append(name)
    return names


class _IncompleteError(Exception):
    """The bytes end before the field does, but nothing is wrong yet."""


class _InconsistentError(Exception):
    """A field does not fit into the message that holds it."""


class _Cursor:
    """Reads fields of one handshake message, of which perhaps only a prefix is there."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = MESSAGE_HEADER

    def skip_header(self) -> None:
        self._end += int.from_bytes(self.take(MESSAGE_HEADER)[1:])

    @property
    def at_end(self) -> bool:
        return self._position == self._end

    @property
    def is_complete(self) -> bool:
        return len(self._data) >= self._end

    def take(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if self._position > self._end:
            raise _InconsistentError
        if self._position > len(self._data):
            raise _IncompleteError
        return self._data[start : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int, *, at_least: int = 0, at_most: int = 0xFFFF, unit: int = 1) -> bytes:
        """A length of `size` bytes and as many bytes as it says."""
        length = self.number(size)
        if not at_least <= length <= at_most or length % unit:
            raise _InconsistentError
        return self.take(length)

    def announce_extensions(self) -> None:
        """The length in front of the extensions: they fill the rest of the message exactly."""
        if self.number(2) != self._end - self._position:
            raise _InconsistentError

    def extensions(self) -> Iterable[tuple[int, bytes]]:
        """All extensions, or those that are whole when the message is cut."""
        data, position, end = self._data, self._position, self._end
        while position + _EXTENSION_HEADER.size <= min(end, len(data)):
            kind, length = _EXTENSION_HEADER.unpack_from(data, position)
            position += _EXTENSION_HEADER.size
            if position + length > end:
                raise _InconsistentError
            if position + length > len(data):
                return
            yield kind, data[position : position + length]
            position += length
        if position != end and end - position < _EXTENSION_HEADER.size:
            raise _InconsistentError
