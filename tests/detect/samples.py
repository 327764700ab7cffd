"""Sample exchanges, by the name of the detector that must recognise them. The shared laws loop over these.

Everything here is written by hand or derived from fixed bytes, so a failing law can be read.
"""

import struct

from middlebox.detect import DETECTORS
from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect import (
    samples_classic_vpn,
    samples_clear_proxies,
    samples_covered,
    samples_obfuscated,
    samples_openvpn_wireguard,
    samples_ordinary_tcp,
    samples_ordinary_udp,
    samples_overlays,
)
from tests.detect.captured import samples_from_captures
from tests.detect.conversations import CLIENT, SERVER
from tests.detect.hellos import alpn, client_hello, numbers, records, server_hello, server_name, supported_versions
from tests.detect.initials import RFC_CLIENT_FRAMES, RFC_SERVER_INITIAL, initial
from tests.detect.sample import Sample, lookalike, noise, with_length

QUERY_NAME = b"\x03www\x07example\x03org\x00"
DNS_QUERY = struct.pack("!6H", 0x2B67, 0x0100, 1, 0, 0, 0) + QUERY_NAME + b"\x00\x01\x00\x01"
DNS_REPLY = (
    struct.pack("!6H", 0x2B67, 0x8180, 1, 1, 0, 0)
    + QUERY_NAME
    + b"\x00\x01\x00\x01"
    + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x07"
)

HTTP_REQUEST = b"GET /secret?token=1 HTTP/1.1\r\nUser-Agent: test\r\nHost: www.Example.org:8080\r\n\r\n"
HTTP_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64"

SSH_CLIENT = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
SSH_SERVER = b"SSH-2.0-dropbear_2022.83\r\n"

STUN_COOKIE = b"\x21\x12\xa4\x42"


def key_exchange(padding: int = 6) -> bytes:
    """An SSH_MSG_KEXINIT packet with ten short lists (RFC 4253 section 7.1)."""
    lists = b"".join(struct.pack("!I", 6) + b"x25519" for _ in range(10))
    payload = b"\x14" + bytes(range(16)) + lists + b"\x00" + bytes(4)
    padding += -(4 + 1 + len(payload) + padding) % 8
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


def stun(
    kind: int, *attributes: tuple[int, bytes], transaction: bytes = b"transaction!", cookie: bytes = STUN_COOKIE
) -> bytes:
    """A STUN message (RFC 8489 section 5)."""
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in attributes
    )
    return struct.pack("!HH", kind, len(body)) + cookie + transaction + body


SOFTWARE = (0x8022, b"test!")
MAPPED = (0x0020, b"\x00\x01\x11\x2b\xe1\xba\xa5\x61")
TRANSPORT = (0x0019, b"\x11\x00\x00\x00")
RELAYED = (0x0016, b"\x00\x01\x11\x2c\xe1\xba\xa5\x62")


TLS_HELLO = records(client_hello(server_name(b"example.org"), alpn(b"h2"), supported_versions(0x0304, 0x0303)))
TLS_ANSWER = records(server_hello((43, numbers(0x0304))))

QUIC_CLIENT = initial(RFC_CLIENT_FRAMES)


WIREGUARD_INITIATION = struct.pack("<II", 1, 0x5EED0001) + noise(124) + bytes(16)
WIREGUARD_RESPONSE = struct.pack("<III", 2, 0x5EED0002, 0x5EED0001) + noise(64) + bytes(16)

OPENVPN_RESET = b"\x38client-s\x00" + bytes(4)
OPENVPN_ANSWER = b"\x40server-s\x01" + bytes(4) + b"client-s" + bytes(4)


SAMPLES: dict[str, list[Sample]] = {
    "dns": [
        Sample("dns", UDP, (CLIENT(DNS_QUERY), SERVER(DNS_REPLY)), "dns", Confidence.CONFIRMED),
        Sample(
            "dns-tcp",
            TCP,
            (CLIENT(with_length(DNS_QUERY)), SERVER(with_length(DNS_REPLY))),
            "dns",
            Confidence.CONFIRMED,
        ),
        Sample("dns-unanswered", UDP, (CLIENT(DNS_QUERY),), "dns", Confidence.PROBABLE),
    ],
    "http": [
        Sample("http", TCP, (CLIENT(HTTP_REQUEST), SERVER(HTTP_RESPONSE)), "http", Confidence.CONFIRMED),
        Sample("http-unanswered", TCP, (CLIENT(HTTP_REQUEST),), "http", Confidence.PROBABLE),
        Sample(
            "http2-clear",
            TCP,
            (CLIENT(HTTP2_PREFACE + HTTP2_SETTINGS), SERVER(HTTP2_SETTINGS)),
            "http",
            Confidence.CONFIRMED,
        ),
    ],
    "openvpn": [
        Sample("openvpn", UDP, (CLIENT(OPENVPN_RESET), SERVER(OPENVPN_ANSWER)), "openvpn", Confidence.CONFIRMED),
        Sample(
            "openvpn-tcp",
            TCP,
            (CLIENT(with_length(OPENVPN_RESET)), SERVER(with_length(OPENVPN_ANSWER))),
            "openvpn",
            Confidence.CONFIRMED,
        ),
    ],
    "quic": [
        Sample("quic", UDP, (CLIENT(QUIC_CLIENT), SERVER(RFC_SERVER_INITIAL)), "quic", Confidence.CONFIRMED),
        Sample("quic-unanswered", UDP, (CLIENT(QUIC_CLIENT),), "quic", Confidence.PROBABLE),
    ],
    "ssh": [
        Sample(
            "ssh-client-first",
            TCP,
            (CLIENT(SSH_CLIENT), SERVER(SSH_SERVER), CLIENT(key_exchange()), SERVER(key_exchange(9))),
            "ssh",
            Confidence.CONFIRMED,
        ),
        Sample(
            "ssh-server-first",
            TCP,
            (SERVER(b"Authorised use only\r\n" + SSH_SERVER), CLIENT(SSH_CLIENT), SERVER(key_exchange())),
            "ssh",
            Confidence.CONFIRMED,
        ),
        Sample("ssh-no-exchange", TCP, (SERVER(SSH_SERVER), CLIENT(SSH_CLIENT)), "ssh", Confidence.PROBABLE),
    ],
    "stun": [
        Sample(
            "stun", UDP, (CLIENT(stun(0x0001, SOFTWARE)), SERVER(stun(0x0101, MAPPED))), "stun", Confidence.CONFIRMED
        ),
        Sample("stun-tcp", TCP, (CLIENT(stun(0x0001)), SERVER(stun(0x0101, MAPPED))), "stun", Confidence.CONFIRMED),
        Sample(
            "turn", UDP, (CLIENT(stun(0x0003, TRANSPORT)), SERVER(stun(0x0103, RELAYED))), "turn", Confidence.CONFIRMED
        ),
        Sample(
            "turn-ice-tcp",
            TCP,
            (CLIENT(with_length(stun(0x0003, TRANSPORT))), SERVER(with_length(stun(0x0113, (0x0009, bytes(4)))))),
            "turn",
            Confidence.CONFIRMED,
        ),
        Sample("stun-unanswered", UDP, (CLIENT(stun(0x0001)),), "stun", Confidence.PROBABLE),
    ],
    "tls": [
        Sample("tls", TCP, (CLIENT(TLS_HELLO), SERVER(TLS_ANSWER)), "tls", Confidence.CONFIRMED),
        Sample("tls-unanswered", TCP, (CLIENT(TLS_HELLO),), "tls", Confidence.PROBABLE),
    ],
    "wireguard": [
        Sample(
            "wireguard",
            UDP,
            (CLIENT(WIREGUARD_INITIATION), SERVER(WIREGUARD_RESPONSE)),
            "wireguard",
            Confidence.CONFIRMED,
        ),
    ],
}
"Detector name to its samples. At least one must reach the detector's highest confidence in `packets_needed` packets."


LOOKALIKES: list[Sample] = [
    lookalike("rtp", UDP, *(CLIENT(struct.pack("!BBHII", 0x80, 0, n, n * 160, 0x1234) + bytes(160)) for n in range(4))),
    lookalike("dtls", UDP, CLIENT(b"\x16\xfe\xfd" + bytes(8) + b"\x00\x20\x01" + bytes(31))),
    lookalike("channel-data", UDP, CLIENT(b"\x40\x00\x00\x04data"), SERVER(b"\x40\x00\x00\x04data")),
    lookalike("zeros", UDP, CLIENT(bytes(12)), SERVER(bytes(20)), CLIENT(bytes(64))),
    lookalike(
        "sip",
        TCP,
        CLIENT(b"REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1\r\n\r\n"),
        SERVER(b"SIP/2.0 200 OK\r\n\r\n"),
    ),
    lookalike("icecast", TCP, CLIENT(b"GET /stream HTTP/1.0\r\n\r\n"), SERVER(b"ICY 200 OK\r\nicy-name: x\r\n\r\n")),
    lookalike("http-at-ssh", TCP, CLIENT(HTTP_REQUEST), SERVER(SSH_SERVER + b"Invalid SSH identification string.\r\n")),
]
"Exchanges that no detector may call confirmed: near misses, and protocols without a detector of their own yet."

FAMILIES = (
    samples_classic_vpn,
    samples_openvpn_wireguard,
    samples_overlays,
    samples_clear_proxies,
    samples_obfuscated,
    samples_covered,
    samples_ordinary_tcp,
    samples_ordinary_udp,
)
"Modules with further samples, so that no file becomes too long."

for family in FAMILIES:
    for name, samples in family.SAMPLES.items():
        SAMPLES.setdefault(name, []).extend(samples)
    LOOKALIKES.extend(family.LOOKALIKES)

for kind in DETECTORS:
    if kind.name not in SAMPLES and (captured := samples_from_captures(kind)):
        SAMPLES[kind.name] = captured
