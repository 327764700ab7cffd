"""Protocols that nobody documents: both ends of home-made framings, clear, binary and encrypted.

Rule of this file: each message is answered by one message, so that either end knows when to read.
"""

import base64
import json
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEY = bytes(range(32))
VARIANTS = 4
"Each custom TCP protocol has that many ports, each with a framing of its own, counted from `FIRST_PORT`."
FIRST_PORT = 7000


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """That many bytes.

    Raises:
        EOFError: The other side has ended the connection.
    """
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(65536, size - len(parts)))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        line += read_exactly(connection, 1)
    return bytes(line)


class Wire:
    """One end of a connection that speaks a home-made protocol."""

    def __init__(self, connection: socket.socket, numbers: random.Random, variant: int, *, opens: bool) -> None:
        self.connection, self.numbers, self.variant, self.opens = connection, numbers, variant, opens
        self.greet()

    def greet(self) -> None:
        """What is exchanged first; most say nothing."""

    def body(self, size: int) -> bytes:
        """A message of about that size."""
        return self.numbers.randbytes(size)

    def send(self, size: int) -> None:
        """Send one message of about that size."""
        raise NotImplementedError

    def receive(self) -> int:
        """Receive one message; its size."""
        raise NotImplementedError


class Length16(Wire):
    """Two bytes of length, then random bytes."""

    def send(self, size: int) -> None:
        """See Wire."""
        body = self.body(min(size, 60_000))
        match self.variant:
            case 0:
                frame = struct.pack(">H", len(body)) + body
            case 1:
                frame = struct.pack("<H", len(body)) + body
            case 2:
                frame = struct.pack(">H", len(body) + 2) + body
            case _:
                frame = struct.pack(">BH", self.numbers.randint(1, 6), len(body)) + body
        self.connection.sendall(frame)

    def receive(self) -> int:
        """See Wire."""
        match self.variant:
            case 1:
                size = int.from_bytes(read_exactly(self.connection, 2), "little")
            case 2:
                size = int.from_bytes(read_exactly(self.connection, 2), "big") - 2
            case 3:
                size = int.from_bytes(read_exactly(self.connection, 3)[1:], "big")
            case _:
                size = int.from_bytes(read_exactly(self.connection, 2), "big")
        read_exactly(self.connection, size)
        return size


class Length32(Wire):
    """Four bytes of length, then random bytes; variants add a magic number, a type, a counter."""

    _count = 0

    def send(self, size: int) -> None:
        """See Wire."""
        body, self._count = self.body(size), self._count + 1
        match self.variant:
            case 0:
                frame = struct.pack(">I", len(body)) + body
            case 1:
                frame = struct.pack("<II", len(body), self._count) + body
            case 2:
                frame = struct.pack(">4sI", b"GAME", len(body)) + body
            case _:
                frame = struct.pack(">BBHI", 1, self.numbers.randint(0, 9), self._count & 0xFFFF, len(body)) + body
        self.connection.sendall(frame)

    def receive(self) -> int:
        """See Wire."""
        match self.variant:
            case 0:
                size = int.from_bytes(read_exactly(self.connection, 4), "big")
            case 1:
                size = int.from_bytes(read_exactly(self.connection, 8)[:4], "little")
            case _:
                size = int.from_bytes(read_exactly(self.connection, 8)[4:], "big")
        read_exactly(self.connection, size)
        return size


class Masked(Wire):
    """Random from the first byte: a nonce, then everything under a stream cipher, the lengths too."""

    def greet(self) -> None:
        """Exchange nonces, each before the first message of its side."""
        self._sending: bytes | None = None
        self._out = self._in = None

    def _cipher(self, nonce: bytes) -> Callable[[bytes], bytes]:
        return Cipher(algorithms.ChaCha20(_KEY, nonce[:16].ljust(16, b"\0")), None).encryptor().update

    def _nonce_size(self) -> int:
        return (16, 8, 16, 12)[self.variant]

    def send(self, size: int) -> None:
        """See Wire."""
        prefix = b""
        if self._out is None:
            prefix = self.numbers.randbytes(self._nonce_size())
            self._out = self._cipher(prefix)  # type: ignore[assignment]
        padding = self.numbers.randint(0, 255) if self.variant == 2 else 0
        plain = struct.pack(">HH", size & 0xFFFF, padding) + self.body(size & 0xFFFF) + bytes(padding)
        self.connection.sendall(prefix + self._out(plain))  # type: ignore[misc]

    def receive(self) -> int:
        """See Wire."""
        if self._in is None:
            self._in = self._cipher(read_exactly(self.connection, self._nonce_size()))  # type: ignore[assignment]
        size, padding = struct.unpack(">HH", self._in(read_exactly(self.connection, 4)))  # type: ignore[misc]
        self._in(read_exactly(self.connection, size + padding))  # type: ignore[misc]
        return int(size)


class KeyExchange(Wire):
    """Public keys first, then sealed frames: what messengers and games do without TLS."""

    def greet(self) -> None:
        """Exchange X25519 keys, bare or in a small frame."""
        secret = X25519PrivateKey.from_private_bytes(self.numbers.randbytes(32))
        ours = secret.public_key().public_bytes_raw()
        prefix = (b"", b"\x01\x00", b"", b"HELO")[self.variant]
        suffix = self.numbers.randbytes((0, 16, 32, 8)[self.variant])
        if self.opens:
            self.connection.sendall(prefix + ours + suffix)
        theirs = read_exactly(self.connection, len(prefix) + 32 + len(suffix))[len(prefix) :][:32]
        if not self.opens:
            self.connection.sendall(prefix + ours + suffix)
        self._seal = ChaCha20Poly1305(secret.exchange(X25519PublicKey.from_public_bytes(theirs)))
        self._sent = 0

    def send(self, size: int) -> None:
        """See Wire."""
        self._sent += 1
        sealed = self._seal.encrypt(self._sent.to_bytes(12, "big"), self.body(min(size, 60_000)), None)
        self.connection.sendall(len(sealed).to_bytes(2, "big") + sealed)

    def receive(self) -> int:
        """See Wire."""
        size = int.from_bytes(read_exactly(self.connection, 2), "big")
        read_exactly(self.connection, size)
        return size


def varint(value: int) -> bytes:
    """Protocol Buffers' integers."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def protobuf(numbers: random.Random, size: int) -> bytes:
    """A message as Protocol Buffers encode it, without a schema."""
    out = bytearray()
    while len(out) < size:
        field = numbers.randint(1, 15)
        match numbers.randrange(4):
            case 0:
                out += varint(field << 3) + varint(numbers.getrandbits(numbers.choice([5, 12, 30])))
            case 1:
                out += varint(field << 3 | 5) + numbers.randbytes(4)
            case 2:
                word = "".join(numbers.choices("abcdefghijklmnop ", k=numbers.randint(1, 60))).encode()
                out += varint(field << 3 | 2) + varint(len(word)) + word
            case _:
                blob = numbers.randbytes(numbers.randint(1, max(1, min(size, 400))))
                out += varint(field << 3 | 2) + varint(len(blob)) + blob
    return bytes(out)


class Protobuf(Length32):
    """Length-prefixed Protocol Buffers."""

    def body(self, size: int) -> bytes:
        """See Wire."""
        return protobuf(self.numbers, size)


class Msgpack(Length32):
    """Length-prefixed MessagePack."""

    def body(self, size: int) -> bytes:
        """See Wire."""
        import msgpack  # the lab's libraries are imported where a job needs them

        numbers = self.numbers
        message = {
            "id": numbers.getrandbits(32),
            "method": numbers.choice(["get", "put", "list", "ping"]),
            "params": [numbers.random() for _ in range(numbers.randint(0, 8))],
            "data": numbers.randbytes(size),
        }
        packed: bytes = msgpack.packb(message)
        return packed


class Lines(Wire):
    """One line a message: JSON, commands, base64."""

    def line(self, size: int) -> bytes:
        """A line without its end."""
        numbers = self.numbers
        message = {"jsonrpc": "2.0", "id": numbers.getrandbits(16), "method": "update", "params": {}}
        message["params"] = {f"k{index}": numbers.random() for index in range(max(1, size // 24))}
        return json.dumps(message).encode()

    def send(self, size: int) -> None:
        """See Wire."""
        self.connection.sendall(self.line(min(size, 4000)) + (b"\n" if self.variant % 2 else b"\r\n"))

    def receive(self) -> int:
        """See Wire."""
        return len(_read_line(self.connection))


class Commands(Lines):
    """Words and numbers, as chat and sensor protocols have them."""

    def line(self, size: int) -> bytes:
        """See Lines."""
        numbers = self.numbers
        words = [numbers.choice(["SET", "MOVE", "SAY", "temp", "state", "ok", "login", "pos"]) for _ in range(2)]
        words += [str(numbers.randint(0, 9999)) for _ in range(max(1, size // 6))]
        return " ".join(words).encode()


class Base64Lines(Lines):
    """Random bytes in base64."""

    def line(self, size: int) -> bytes:
        """See Lines."""
        return base64.b64encode(self.numbers.randbytes(size))


TCP: dict[str, type[Wire]] = {
    "custom-tcp-length16": Length16,
    "custom-tcp-length32": Length32,
    "custom-tcp-random": Masked,
    "custom-tcp-key-exchange": KeyExchange,
    "custom-tcp-protobuf": Protobuf,
    "custom-tcp-msgpack": Msgpack,
    "custom-tcp-json": Lines,
    "custom-tcp-text": Commands,
    "custom-tcp-base64": Base64Lines,
}


@dataclass(slots=True)
class Datagrams:
    """What one side of a home-made UDP protocol sends.

    Args:
        kind: Which protocol.
        numbers: Decides sizes and bytes.
        variant: A flavour, fixed for one flow.
        count: Datagrams sent so far.
    """

    kind: str
    numbers: random.Random
    variant: int
    count: int = 0

    def next(self, size: int) -> bytes:
        """The next datagram, of about that size."""
        self.count += 1
        numbers = self.numbers
        match self.kind:
            case "custom-udp-counter":
                header = (
                    struct.pack(">I", self.count),
                    struct.pack("<HH", self.count & 0xFFFF, size),
                    struct.pack(">4sBH", b"\xfe\xed\x01\x02", 1, self.count & 0xFFFF),
                    struct.pack("<IQ", self.variant, self.count),
                )[self.variant]
                return header + numbers.randbytes(size)
            case "custom-udp-key-exchange":
                if self.count == 1:
                    return (b"", b"\x01", b"\x00\x00\x00\x01", b"hi")[self.variant] + numbers.randbytes(
                        (32, 64, 96, 48)[self.variant]
                    )
                return self.count.to_bytes(8, ("little", "big")[self.variant % 2]) + numbers.randbytes(size + 16)
            case "custom-udp-protobuf":
                return protobuf(numbers, size)
            case _:
                return numbers.randbytes(max(1, size))


INSIDE_TLS: tuple[type[Wire], ...] = (Length16, Protobuf, Masked, Lines)
"What `custom-tls` carries: programs of one vendor that talk to their servers over TLS, but not HTTP."

UDP = ("custom-udp-random", "custom-udp-counter", "custom-udp-key-exchange", "custom-udp-protobuf")
