"""simple-obfs, the Shadowsocks plugin that plays an HTTP upgrade or a TLS handshake in front of its data.

The one rule: `confirmed` needs both halves of the play, and an answer that no real client could have accepted.

- HTTP: a WebSocket request of "curl/7.x" that names no WebSocket version (RFC 6455 section 4.1 demands one), answered
  by a Sec-WebSocket-Accept of 16 random bytes, where the digest of the client's key has 20 (section 4.2.2).
- TLS: a ClientHello with a fixed list of 28 ciphers, whose first extension is a session ticket that carries the first
  data; answered by a ServerHello that chose ChaCha20-Poly1305, a ChangeCipherSpec and a record in the place of
  Finished that is too long or too short for one.

Layouts: src/obfs_http.c and src/obfs_tls.c of shadowsocks/simple-obfs.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MAX_HEADERS = 1_024
"The plugin writes its headers into 512 bytes; other implementations of it add a little."
_HEADERS_END = b"\r\n\r\n"
_REQUEST_LINE = b"GET /"
_USER_AGENT = re.compile(rb"\r\nUser-Agent: curl/7\.\d{1,3}\.\d{1,3}\r\n", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nUpgrade: websocket\r\n", re.IGNORECASE)
_KEY = re.compile(rb"\r\nSec-WebSocket-Key: [A-Za-z0-9+/_-]{22}==\r\n", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nSec-WebSocket-Version:", re.IGNORECASE)
_SWITCHING = b"HTTP/1.1 101 "
_FALSE_ACCEPT = re.compile(rb"\r\nSec-WebSocket-Accept: [A-Za-z0-9+/]{22}==\r\n", re.IGNORECASE)
"Base64 of 16 bytes ends in two equals signs; that of a SHA-1 digest, 20 bytes, in one."

_HELLO_START = b"\x16\x03\x01"
_CIPHERS_AT = 5 + 4 + 2 + 32 + 1 + 32
"Record header, message header, version, random, session id with its length."
_CIPHERS = bytes.fromhex(
    "0038c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff"
)
"The list of OpenSSL 1.1.0, with its length."
_TICKET_AT = _CIPHERS_AT + len(_CIPHERS) + 2 + 2
"Compression methods, then the extensions' length."
_SESSION_TICKET, _SERVER_NAME = b"\x00\x23", b"\x00\x00"
_SESSION_ID = slice(44, 76)
"In both hellos."
_SERVER_HELLO_START = bytes.fromhex("160301005b020000570303")
_CHACHA20_POLY1305 = b"\xcc\xa8"
_CIPHER_AT, _CHANGE_AT = 76, 96
_CHANGE_CIPHER_SPEC = bytes.fromhex("140303000101160303")
"And the start of the record that follows."
_FINISHED_BYTES = 32
"A Finished message of 16 bytes and a tag of 16 (RFC 7905: no explicit nonce)."


def _feed_http(client: bytes, server: bytes) -> Answer:
    if not client.startswith(_REQUEST_LINE):
        return Opinion.NO
    end = client.find(_HEADERS_END, 0, _MAX_HEADERS)
    if end < 0:
        return Opinion.MORE if len(client) < _MAX_HEADERS and not server else Opinion.NO
    headers = client[: end + 2]
    if _VERSION.search(headers) or not all(one.search(headers) for one in (_UPGRADE, _KEY, _USER_AGENT)):
        return Opinion.NO
    end = server.find(_HEADERS_END, 0, _MAX_HEADERS)
    if end >= 0 and server.startswith(_SWITCHING) and _FALSE_ACCEPT.search(server[: end + 2]):
        reason = "the server's Sec-WebSocket-Accept is 16 bytes long and cannot be the digest of the client's key"
        return Evidence("simple-obfs", Confidence.CONFIRMED, reason, {"simple-obfs.mode": "http"})
    if end >= 0 or len(server) >= _MAX_HEADERS or server[: len(_SWITCHING)] != _SWITCHING[: len(server)]:
        return Opinion.NO
    reason = "curl asks for a WebSocket without naming a version"
    return Evidence("simple-obfs", Confidence.PROBABLE, reason, {"simple-obfs.mode": "http"}, more=True)


def _feed_tls(client: bytes, server: bytes) -> Answer:
    ciphers = client[_CIPHERS_AT:_TICKET_AT]
    if ciphers[: len(_CIPHERS)] != _CIPHERS[: len(ciphers)]:
        return Opinion.NO
    ticket, rest = client[_TICKET_AT : _TICKET_AT + 4], client[_TICKET_AT + 4 :]
    if ticket[:2] != _SESSION_TICKET[: len(ticket)]:
        return Opinion.NO
    ticket_bytes = int.from_bytes(ticket[2:])
    if len(ticket) < 4 or len(rest) < ticket_bytes + 2:
        return Opinion.MORE
    if ticket_bytes == 0 or rest[ticket_bytes : ticket_bytes + 2] != _SERVER_NAME:
        return Opinion.NO
    record = server[_CHANGE_AT : _CHANGE_AT + len(_CHANGE_CIPHER_SPEC) + 2]
    answers = (
        server.startswith(_SERVER_HELLO_START[: len(server)])
        and server[_SESSION_ID] == client[_SESSION_ID][: max(len(server) - _SESSION_ID.start, 0)]
        and server[_CIPHER_AT : _CIPHER_AT + 2] == _CHACHA20_POLY1305[: max(len(server) - _CIPHER_AT, 0)]
        and record[: len(_CHANGE_CIPHER_SPEC)] == _CHANGE_CIPHER_SPEC[: len(record)]
    )
    if not answers:
        return Opinion.NO
    if len(record) < len(_CHANGE_CIPHER_SPEC) + 2:
        reason = "the session ticket comes first in a ClientHello with the plugin's list of ciphers"
        return Evidence("simple-obfs", Confidence.PROBABLE, reason, {"simple-obfs.mode": "tls"}, more=True)
    finished_bytes = int.from_bytes(record[-2:])
    if finished_bytes == _FINISHED_BYTES:
        return Opinion.NO
    reason = f"the server resumes a session with a Finished of {finished_bytes} bytes, which has {_FINISHED_BYTES}"
    return Evidence("simple-obfs", Confidence.CONFIRMED, reason, {"simple-obfs.mode": "tls"})


class SimpleObfs(Detector):
    """Looks for the two plays of simple-obfs in what was taken for HTTP or TLS."""

    name: ClassVar[str] = "simple_obfs"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("simple-obfs",)
    facts: ClassVar[tuple[str, ...]] = ("simple-obfs.mode",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "The plugins of ShadowsocksR, which play other handshakes, and what is inside."
    builds_on: ClassVar[tuple[str, ...]] = ("http", "tls")

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far, however it was cut into segments."""
        judge = _feed_tls if talk.client.startswith(_HELLO_START) else _feed_http
        answer = only_news(judge(talk.client, talk.server), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer
