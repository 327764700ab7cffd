"""Builds TLS sessions in which only the lengths matter, for the tests of what hides inside TLS."""

from collections.abc import Iterable, Sequence

from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import alpn, client_hello, numbers, records, server_hello, server_name, supported_versions
from tests.detect.sample import noise

TLS13_OVERHEAD, TLS12_OVERHEAD = 17, 24
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"


def record(length: int, content_type: int = 23) -> bytes:
    """One record whose content, encrypted, has `length` bytes."""
    return bytes([content_type, 3, 3]) + length.to_bytes(2) + noise(length)


def hello(name: bytes = b"www.example.org", *protocols: bytes) -> bytes:
    extensions = [server_name(name), supported_versions(0x0304, 0x0303)]
    return records(client_hello(*extensions, *([alpn(*protocols)] if protocols else [])))


def handshake(
    *, name: bytes = b"www.example.org", server: Sequence[int] = (23, 895, 96, 53), finished: int = 53
) -> tuple[Message, ...]:
    """A TLS 1.3 handshake with encrypted server records of these lengths."""
    answer = records(server_hello((43, numbers(0x0304)))) + CHANGE_CIPHER_SPEC
    return (
        CLIENT(hello(name)),
        SERVER(answer + b"".join(record(length) for length in server)),
        CLIENT(CHANGE_CIPHER_SPEC + record(finished)),
    )


def handshake12() -> tuple[Message, ...]:
    """A TLS 1.2 handshake."""
    return (
        CLIENT(records(client_hello(server_name(b"www.example.org"), ciphers=(0xC02F,)))),
        SERVER(records(server_hello(cipher=0xC02F)) + record(900, 22)),
        CLIENT(record(37, 22) + CHANGE_CIPHER_SPEC + record(40, 22)),
        SERVER(CHANGE_CIPHER_SPEC + record(40, 22)),
    )


def data(sizes: Iterable[int], overhead: int = TLS13_OVERHEAD) -> tuple[Message, ...]:
    """Records with contents of these sizes: positive from the client, negative from the server."""
    return tuple((size > 0, record(abs(size) + overhead)) for size in sizes)


def session(*sizes: int) -> tuple[Message, ...]:
    """A TLS 1.3 connection that carries these sizes."""
    return handshake() + data(sizes)
