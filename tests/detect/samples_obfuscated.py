"""Sample exchanges: obfuscated proxies without a cover protocol."""

import struct

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import client_hello, records
from tests.detect.sample import Sample, lookalike, noise


def exchange(*sizes: int, seed: int = 0) -> tuple[Message, ...]:
    """Messages of noise: positive sizes from the client, negative ones from the server."""
    return tuple((size > 0, noise(abs(size), seed=1000 * seed + number)) for number, size in enumerate(sizes, start=1))


def fnv(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 % (1 << 32)
    return value


def mkcp(command: int, conversation: int = 0x6548, body: bytes = bytes(12), header: bytes = b"") -> bytes:
    """An mKCP segment, scrambled as without a seed, behind a disguise header."""
    segment = struct.pack("!HBB", conversation, command, 0) + body
    rest = struct.pack("!H", len(segment)) + segment
    clear = struct.pack("!I", fnv(rest)) + rest
    scrambled = bytearray(clear)
    for place in range(4, len(scrambled)):
        scrambled[place] ^= scrambled[place - 4]
    return header + bytes(scrambled)


MKCP_DATA = mkcp(1, body=bytes(12) + struct.pack("!H", 100) + noise(100))
MKCP_ACKNOWLEDGEMENT = mkcp(0, body=struct.pack("!IIIBI", 768, 1, 77, 1, 0))

OBFS_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: curl/7.43.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nContent-Length: 200\r\n\r\n"
)
OBFS_RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nServer: nginx/1.9.3\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: 8PHy8/T19vf4+fr7/P3+/w==\r\n\r\n"
)
WEBSOCKET_RESPONSE = OBFS_RESPONSE.replace(b"8PHy8/T19vf4+fr7/P3+/w==", b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=")

OBFS_CIPHERS = [
    0xC02C, 0xC030, 0x009F, 0xCCA9, 0xCCA8, 0xCCAA, 0xC02B, 0xC02F, 0x009E, 0xC024, 0xC028, 0x006B, 0xC023, 0xC027,
    0x0067, 0xC00A, 0xC014, 0x0039, 0xC009, 0xC013, 0x0033, 0x009D, 0x009C, 0x003D, 0x003C, 0x0035, 0x002F, 0x00FF,
]  # fmt: skip
SESSION_ID = b"\x20" + noise(32)
NAME = (0, b"\x00\x12\x00\x00\x0fwww.example.org")


def with_session_id(hello: bytes) -> bytes:
    """A hello message whose empty session id is replaced by one of 32 bytes."""
    body = hello[4:38] + SESSION_ID + hello[39:]
    return hello[:1] + len(body).to_bytes(3) + body


OBFS_HELLO = records(with_session_id(client_hello((35, noise(200)), NAME, (23, b""), ciphers=OBFS_CIPHERS)))
OBFS_SERVER_HELLO = (
    records(b"\x02\x00\x00\x57\x03\x03" + noise(32, 1) + SESSION_ID + b"\xcc\xa8\x00\x00\x00" + noise(15, 2))
    + records(b"\x01", content_type=20, version=0x0303)
    + records(noise(179), version=0x0303)
)

USER_ID = bytes.fromhex("8a4c0b13f2a94b6d9d1e5b7c3f60a2e1")
VLESS_REQUEST = b"\x00" + USER_ID + b"\x00\x01\x01\xbb\x02\x0fwww.example.org"
CLEAR_REQUEST, CLEAR_RESPONSE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
VMESS_REQUEST, VMESS_ANSWER = noise(111), noise(40)

HYSTERIA = exchange(1258, 1258, -1288, -1163, 1258, -51, 43, 77)
"Sizes of sing-box 1.14's Hysteria 2 with Salamander, from a recording in the project's lab."
KCPTUN = exchange(60, 256, -52, -274, 84, 52, -52, 60, 84, 257, 52, 60, -489, 693, 693, 693, 693)
MKCP_WITH_SEED = exchange(289, -49, -49, -443, 49, 44, 49, 122, -49, -44)


TROJAN_HEADER = b"0123456789abcdef" * 3 + b"01234567\r\n\x01\x03\x0bexample.org\x00\x50\r\n"
"The hash of a password, then: connect to example.org, port 80."


SAMPLES: dict[str, list[Sample]] = {
    "encrypted_datagrams": [
        Sample("hysteria-salamander", UDP, HYSTERIA, "hysteria", Confidence.PROBABLE),
        Sample("kcptun", UDP, KCPTUN, "kcptun", Confidence.PROBABLE),
        Sample("mkcp-with-seed", UDP, MKCP_WITH_SEED, "kcptun", Confidence.PROBABLE),
        Sample("shadowsocks-udp", UDP, exchange(111, -115, 111, -300), "fully-encrypted", Confidence.POSSIBLE),
    ],
    "fully_encrypted": [
        Sample("shadowsocks", TCP, exchange(200, -222, 90), "fully-encrypted", Confidence.POSSIBLE),
        Sample(
            "shadowsocks-with-tls",
            TCP,
            exchange(633, -903, 114, -289, 139, -289),
            "fully-encrypted",
            Confidence.PROBABLE,
        ),
        Sample("shadowsocks-full-chunk", TCP, exchange(200, -222, 90, -16417), "shadowsocks", Confidence.PROBABLE),
        Sample("shadowsocks-2022", TCP, exchange(811, 551, -2888, 382), "shadowsocks", Confidence.PROBABLE),
        Sample("vmess-sing-box", TCP, exchange(125, 227, -38, -236, 222), "vmess", Confidence.PROBABLE),
        Sample("vmess-v2ray", TCP, exchange(280, -600, 90, -2048, 90, -2048), "vmess", Confidence.PROBABLE),
        Sample("pproxy", TCP, exchange(32, 50, 113, -32, -270), "shadowsocks", Confidence.PROBABLE),
        Sample("obfs4-opening", TCP, exchange(5063, -5970, 641, -1167), "fully-encrypted", Confidence.PROBABLE),
        Sample(
            "obfs4-table",
            TCP,
            exchange(807, -300, 185, -523, 523, -185, 878, -878, 283, -283, 1169),
            "obfs4",
            Confidence.PROBABLE,
        ),
    ],
    "mkcp": [
        Sample("mkcp", UDP, (CLIENT(MKCP_DATA), SERVER(MKCP_ACKNOWLEDGEMENT)), "kcptun", Confidence.CONFIRMED),
        Sample("mkcp-unanswered", UDP, (CLIENT(MKCP_DATA), CLIENT(MKCP_DATA)), "kcptun", Confidence.PROBABLE),
        Sample(
            "mkcp-wechat",
            UDP,
            (
                SERVER(mkcp(3, header=b"\xa1\x08\x00\x00\x17\xe5\x00\x10\x11\x18\x30\x22\x30")),
                CLIENT(mkcp(3, header=b"\xa1\x08\x00\x00\x06\x58\x00\x10\x11\x18\x30\x22\x30")),
            ),
            "kcptun",
            Confidence.CONFIRMED,
        ),
    ],
    "simple_obfs": [
        Sample(
            "simple-obfs-http",
            TCP,
            (CLIENT(OBFS_REQUEST + noise(200)), SERVER(OBFS_RESPONSE + noise(250))),
            "simple-obfs",
            Confidence.CONFIRMED,
        ),
        Sample(
            "simple-obfs-tls",
            TCP,
            (CLIENT(OBFS_HELLO), SERVER(OBFS_SERVER_HELLO)),
            "simple-obfs",
            Confidence.CONFIRMED,
        ),
        Sample("simple-obfs-tls-unanswered", TCP, (CLIENT(OBFS_HELLO),), "simple-obfs", Confidence.PROBABLE),
    ],
    "trojan": [
        Sample(
            "trojan-clear",
            TCP,
            (CLIENT(TROJAN_HEADER + CLEAR_REQUEST), SERVER(CLEAR_RESPONSE)),
            "trojan",
            Confidence.CONFIRMED,
        ),
        Sample("trojan-unanswered", TCP, (CLIENT(TROJAN_HEADER + CLEAR_REQUEST),), "trojan", Confidence.PROBABLE),
    ],
    "vless": [
        Sample(
            "vless-http",
            TCP,
            (CLIENT(VLESS_REQUEST), CLIENT(CLEAR_REQUEST), SERVER(b"\x00\x00" + CLEAR_RESPONSE)),
            "vless",
            Confidence.CONFIRMED,
        ),
        Sample("vless-unanswered", TCP, (CLIENT(VLESS_REQUEST + noise(20)),), "vless", Confidence.PROBABLE),
    ],
    "vmess": [
        Sample(
            "vmess-none",
            TCP,
            (CLIENT(VMESS_REQUEST + CLEAR_REQUEST), SERVER(VMESS_ANSWER + CLEAR_RESPONSE)),
            "vmess",
            Confidence.CONFIRMED,
        ),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("mkcp-conversations-differ", UDP, CLIENT(MKCP_DATA), SERVER(mkcp(3, conversation=0x6549))),
    lookalike(
        "mkcp-checksum-wrong", UDP, CLIENT(MKCP_DATA[:-1] + b"\x00"), SERVER(MKCP_ACKNOWLEDGEMENT[:-1] + b"\x00")
    ),
    lookalike(
        "websocket-of-curl",
        TCP,
        CLIENT(OBFS_REQUEST.replace(b"Content-Length: 200", b"Sec-WebSocket-Version: 13")),
        SERVER(WEBSOCKET_RESPONSE),
        truly="http",
    ),
    lookalike(
        "tls-ticket-first-resumed",
        TCP,
        CLIENT(OBFS_HELLO),
        SERVER(OBFS_SERVER_HELLO.replace(records(noise(179), version=0x0303), records(noise(32), version=0x0303))),
    ),
    lookalike("vless-half", TCP, CLIENT(VLESS_REQUEST + CLEAR_REQUEST), SERVER(b"\x00\x00" + noise(100))),
    lookalike("vmess-answer-too-short", TCP, CLIENT(VMESS_REQUEST + CLEAR_REQUEST), SERVER(noise(39) + CLEAR_RESPONSE)),
    lookalike("noise-tcp", TCP, *exchange(758, -1448, -900, 203, -523, 790, -361, seed=1)),
    lookalike("noise-udp", UDP, *exchange(880, -730, 212, -220, 560, -1010, 1054, -427, seed=2)),
    lookalike("message-stream-encryption", TCP, *exchange(300, -460, 110, -120, 17, -1448, -1448, seed=3)),
]
"Exchanges that no detector may call confirmed."
