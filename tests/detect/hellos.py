"""Builds TLS hello messages, records and real handshakes in memory, for the tests of tls and quic."""

import datetime
import ssl
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.detect.conversations import CLIENT, SERVER, Message

Extension = tuple[int, bytes]


def sized(content: bytes, size: int) -> bytes:
    """`content` behind its length in `size` bytes."""
    return len(content).to_bytes(size) + content


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def server_name(name: bytes) -> Extension:
    return 0, sized(b"\0" + sized(name, 2), 2)


def alpn(*names: bytes) -> Extension:
    return 16, sized(b"".join(sized(name, 1) for name in names), 2)


def supported_versions(*versions: int) -> Extension:
    return 43, sized(numbers(*versions), 1)


def signature_algorithms(*algorithms: int) -> Extension:
    return 13, sized(numbers(*algorithms), 2)


def client_hello(
    *extensions: Extension, ciphers: Sequence[int] = (0x1301, 0x1302, 0xC02F), version: int = 0x0303
) -> bytes:
    body = numbers(version) + bytes(range(32)) + sized(b"", 1) + sized(numbers(*ciphers), 2) + sized(b"\0", 1)
    return b"\1" + sized(body + _block(extensions), 3)


def server_hello(*extensions: Extension, cipher: int = 0x1301, version: int = 0x0303) -> bytes:
    return b"\2" + sized(numbers(version) + bytes(32) + sized(b"", 1) + numbers(cipher) + b"\0" + _block(extensions), 3)


def _block(extensions: Sequence[Extension]) -> bytes:
    return sized(b"".join(numbers(kind) + sized(content, 2) for kind, content in extensions), 2) if extensions else b""


def records(content: bytes, *, size: int = 16384, content_type: int = 22, version: int = 0x0301) -> bytes:
    """`content` in TLS records of at most `size` bytes."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(bytes([content_type]) + numbers(version) + sized(piece, 2) for piece in pieces)


@cache
def certificate() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "www.example.org")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500))
    return builder.sign(key, hashes.SHA256()), key


def tls_handshake(folder: Path, version: ssl.TLSVersion, server_version: ssl.TLSVersion | None = None) -> list[Message]:
    """What OpenSSL's client and server say to each other, flight by flight."""
    chain = folder / "chain.pem"
    signed, key = certificate()
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    chain.write_bytes(
        signed.public_bytes(encoding) + key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    )
    client_context, server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    server_context.load_cert_chain(chain)
    for context, wanted in ((client_context, version), (server_context, server_version or version)):
        context.minimum_version = context.maximum_version = wanted
        context.set_alpn_protocols(["h2", "http/1.1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="WWW.Example.org")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    said: list[Message] = []
    for _ in range(4):
        for end, output, message in ((client, to_server, CLIENT), (server, to_client, SERVER)):
            failed = False
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                failed = True
            if data := output.read():
                said.append(message(data))
                output.write(data)
            if failed:
                return said
    return said
