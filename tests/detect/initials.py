"""Builds QUIC packets for the tests: the samples of the RFCs, Initials with any frames, and other long headers."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from middlebox.detect.quic_packet import CLIENT_LABEL, initial_keys
from tests.detect.hellos import sized

V1, V2 = 1, 0x6B3343CF

RFC_CONNECTION_ID = bytes.fromhex("8394c8f03e515708")
"Of the client in RFC 9001 appendix A and RFC 9369 appendix A."
RFC_CLIENT_FRAMES = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
).ljust(1162, b"\0")
"RFC 9001 appendix A.2: a CRYPTO frame with a ClientHello, then PADDING."
RFC_SERVER_INITIAL = bytes.fromhex(
    "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a"
    "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3"
    "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
    "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4"
    "2158407dd074ee"
)
"RFC 9001 appendix A.3."


def variable(value: int) -> bytes:
    """RFC 9000 section 16."""
    for power, limit in enumerate((1 << 6, 1 << 14, 1 << 30)):
        if value < limit:
            return (value | power << (8 << power) - 2).to_bytes(1 << power)
    return (value | 3 << 62).to_bytes(8)


def crypto(offset: int, content: bytes) -> bytes:
    return b"\6" + variable(offset) + variable(len(content)) + content


def initial(
    frames: bytes,
    destination: bytes = RFC_CONNECTION_ID,
    source: bytes = b"",
    *,
    version: int = V1,
    number: int = 2,
    number_length: int = 4,
    key_id: bytes | None = None,
    label: bytes = CLIENT_LABEL,
    token: bytes = b"",
) -> bytes:
    """A protected Initial packet; its key comes from `key_id`, or else from the destination connection ID."""
    keys = initial_keys(version, destination if key_id is None else key_id, label)
    first = 0xC0 | (0x10 if version == V2 else 0) | number_length - 1
    head = (
        bytes([first]) + version.to_bytes(4) + sized(destination, 1) + sized(source, 1) + variable(len(token)) + token
    )
    head += (number_length + len(frames) + 16 | 0x4000).to_bytes(2)
    plain_number = number.to_bytes(number_length)
    nonce = (int.from_bytes(keys.iv) ^ number).to_bytes(12)
    payload = AESGCM(keys.key).encrypt(nonce, frames, head + plain_number)
    sample = (plain_number + payload)[4:20]
    mask = Cipher(AES(keys.header_key), ECB()).encryptor().update(sample)
    protected_number = bytes(plain ^ hidden for plain, hidden in zip(plain_number, mask[1:], strict=False))
    return bytes([first ^ mask[0] & 0x0F]) + head[1:] + protected_number + payload


def long_header(kind: int, destination: bytes, source: bytes, *, version: int = V1, size: int = 100) -> bytes:
    """A packet that nobody can open: kind 1 is 0-RTT, 2 is Handshake, 3 is Retry (in version 1)."""
    content = bytes(size) if kind == 3 else variable(size) + bytes(size)
    return bytes([0xC0 | kind << 4]) + version.to_bytes(4) + sized(destination, 1) + sized(source, 1) + content


def version_negotiation(destination: bytes, source: bytes, *versions: int) -> bytes:
    return (
        b"\x8a\0\0\0\0" + sized(destination, 1) + sized(source, 1) + b"".join(number.to_bytes(4) for number in versions)
    )
