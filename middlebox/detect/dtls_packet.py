"""Records and hello messages of DTLS; shared by dtls and openconnect_dtls.

The one rule: records must fill their datagram to the byte.

Layout: RFC 6347 section 4.1 (records, DTLS 1.0 and 1.2) and section 4.2 (handshake), RFC 9147 (DTLS 1.3, whose hellos
look the same).
"""

import struct
from typing import NamedTuple

from middlebox.detect.client_hello import ClientHello, ServerHello, parse_client_hello, parse_server_hello

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY_REQUEST, CERTIFICATE, CLIENT_KEY_EXCHANGE = 1, 2, 3, 11, 16
"Handshake types, RFC 6347 section 4.3.2."
OLD_VERSION = 0x0100
"Of OpenSSL before 0.9.8f, which Cisco AnyConnect still speaks."
VERSIONS = {0xFEFF: "DTLS 1.0", 0xFEFD: "DTLS 1.2", 0xFEFC: "DTLS 1.3", OLD_VERSION: "DTLS 0.9"}
_RECORD = struct.Struct("!BHHHIH")
"Content type, version, epoch, sequence number in two parts, length."
_MESSAGE = struct.Struct("!B3sH3s3s")
"Handshake type, length, message number, offset and length of this fragment."
_MAX_RECORDS = 16
"Ours: records read of one datagram. A flight has about six."
_MAX_EPOCH = 1 << 12
"Ours: epochs count handshakes and key updates."
_MAX_FRAGMENT = 1500
"Bytes of a hello that are read: a fragment should fit into one packet (RFC 6347 section 4.1.1.1). The rest is cut."
_RANDOM_BYTES, _VERSION_BYTES = 32, 2
_TLS12 = b"\x03\x03"
_UNIFIED_BITS, _UNIFIED = 0xE0, 0x20
"First byte of the encrypted records of DTLS 1.3 (RFC 9147 section 4), which may follow others in a datagram."


class Record(NamedTuple):
    """One record of a datagram."""

    content_type: int
    version: int
    epoch: int
    sequence: int
    content: bytes
    "As far as captured."


class Hello(NamedTuple):
    """A ClientHello or ServerHello."""

    hello: ClientHello | ServerHello
    version: int
    "What stands in its version field."
    session: bytes
    "The session id."


def parse_records(data: bytes, size: int) -> list[Record]:
    """All records of a datagram of `size` bytes; none when they do not fill it."""
    records: list[Record] = []
    at = 0
    while at < size and len(records) < _MAX_RECORDS:
        if records and data[at : at + 1] and data[at] & _UNIFIED_BITS == _UNIFIED:
            return records
        if len(data) < at + _RECORD.size:
            return records if len(data) < size else []
        content_type, version, epoch, high, low, length = _RECORD.unpack_from(data, at)
        start = at + _RECORD.size
        at = start + length
        if (
            not CHANGE_CIPHER_SPEC <= content_type <= APPLICATION_DATA
            or version not in VERSIONS
            or epoch >= _MAX_EPOCH
            or at > size
        ):
            return []
        records.append(Record(content_type, version, epoch, high << 32 | low, data[start:at]))
    return records


def message_type(record: Record) -> int:
    """Handshake type of a record in clear, 0 when it holds none."""
    content = record.content
    if record.content_type != HANDSHAKE or record.epoch or len(content) < _MESSAGE.size:
        return 0
    kind, length, _, offset, fragment = _MESSAGE.unpack_from(content)
    end = int.from_bytes(offset) + int.from_bytes(fragment)
    return kind if end <= int.from_bytes(length) and _MESSAGE.size + int.from_bytes(fragment) <= len(content) else 0


def message_body(record: Record) -> bytes:
    """What follows the header of the record's first handshake message, or of the fragment of one."""
    length = int.from_bytes(record.content[_MESSAGE.size - 3 : _MESSAGE.size])
    return record.content[_MESSAGE.size : _MESSAGE.size + length]


def parse_hello(record: Record) -> Hello | None:
    """The hello that a record in clear holds, or as much of it as its first fragment has."""
    kind = message_type(record)
    if kind not in (CLIENT_HELLO, SERVER_HELLO):
        return None
    _, total, _, offset, _ = _MESSAGE.unpack_from(record.content)
    if offset != bytes(3):
        return None
    body = message_body(record)[:_MAX_FRAGMENT]
    session_at = _VERSION_BYTES + _RANDOM_BYTES
    session_end = session_at + 1 + int.from_bytes(body[session_at : session_at + 1])
    length = length_in_whole = int.from_bytes(total)
    rest = body[session_end:]
    if kind == CLIENT_HELLO:
        cookie_bytes = 1 + int.from_bytes(rest[:1])
        rest, length = rest[cookie_bytes:], length - cookie_bytes
    # The same message as TLS would send it, so that one parser reads both.
    message = bytes((kind,)) + max(length, 0).to_bytes(3) + _TLS12 + body[_VERSION_BYTES:session_end] + rest
    is_cut = len(body) < length_in_whole
    hello = parse_client_hello(message, cut=is_cut) if kind == CLIENT_HELLO else parse_server_hello(message)
    if not isinstance(hello, ClientHello | ServerHello):
        return None
    return Hello(hello, int.from_bytes(body[:_VERSION_BYTES]), body[session_at + 1 : session_end])
