"""Sample exchanges: OpenVPN beyond its handshake, and the WireGuard family."""

import struct

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import client_hello, numbers, records, server_hello, supported_versions
from tests.detect.sample import Sample, lookalike, noise

HERE, THERE = 0x5EED0A07, 0x5EED0B08


def openvpn_data(packet_id: int, size: int = 84, *, peer_id: int = 3, seed: int = 0) -> bytes:
    """Data with an AEAD cipher: opcode 9, key id 0, peer id, packet id, tag, ciphertext."""
    return struct.pack("!II", 0x48 << 24 | peer_id, packet_id) + noise(size - 8, 1000 * seed + packet_id)


def openvpn_cbc(size: int, seed: int, header: bytes = b"\x30") -> bytes:
    """Data with a CBC cipher: opcode 6, then HMAC, IV and blocks."""
    return header + noise(size - len(header), 7000 + seed)


def both_ways(sizes: tuple[int, ...], header: bytes = b"\x30") -> tuple[Message, ...]:
    """Packets of these sizes, negative ones from the server."""
    return tuple((size > 0, openvpn_cbc(abs(size), at, header)) for at, size in enumerate(sizes))


STATIC_SIZES = (116, -116, 100, 180, -100, -244, 100, -1444, -852, 100, 132, -100)
"A TCP handshake, a request and its answer under a static key: HMAC-SHA1, IV and whole blocks of 16."


def scrambled(opcode: int, size: int, seed: int = 0, mask: int = 0x74) -> bytes:
    """A packet as an XOR patch leaves it: the first byte masked, the rest not to be known."""
    return bytes((opcode << 3 ^ mask,)) + noise(size - 1, 9000 + seed)


SCRAMBLED = (
    CLIENT(scrambled(7, 86)),
    SERVER(scrambled(8, 98)),
    CLIENT(scrambled(4, 375)),
    SERVER(scrambled(5, 94)),
    SERVER(scrambled(4, 1116)),
    CLIENT(scrambled(5, 98, 1)),
    CLIENT(scrambled(5, 102, 2)),
    CLIENT(scrambled(5, 106, 3)),
    SERVER(scrambled(4, 803, 4)),
    CLIENT(scrambled(4, 740, 5)),
    SERVER(scrambled(4, 256, 6)),
    CLIENT(scrambled(9, 145, 7)),
)
"A handshake under tls-auth with SHA512."

SUBSTITUTES = {7: 0xA1, 8: 0x1F, 4: 0x6C, 5: 0xD3, 9: 0x02}
"First bytes that replace opcodes and differ by other bits than those do."
SUBSTITUTED = tuple(
    (from_client, bytes((SUBSTITUTES[(data[0] ^ 0x74) >> 3],)) + data[1:]) for from_client, data in SCRAMBLED
)


def in_frame(message: Message) -> Message:
    """With the length that precedes a packet of OpenVPN over TCP."""
    from_client, data = message
    return from_client, struct.pack("!H", len(data)) + data


def record(size: int) -> bytes:
    """A TLS 1.3 record that carries `size` bytes."""
    return struct.pack("!BHH", 23, 0x0303, size + 17) + noise(size + 17)


TLS_HANDSHAKE = (
    CLIENT(records(client_hello(supported_versions(0x0304)))),
    SERVER(records(server_hello((43, numbers(0x0304)))) + b"\x14\x03\x03\x00\x01\x01" + record(900) + record(52)),
    CLIENT(b"\x14\x03\x03\x00\x01\x01" + record(52)),
    SERVER(record(249) + record(249)),
)
IN_TLS_SIZES = (16, -28, 305, -1224, 28, -175, 1229, -194, 335, 36, -252, 36)
"A plain handshake of OpenVPN over TCP, with the length before each packet."
OPENVPN_IN_TLS = TLS_HANDSHAKE + tuple((size > 0, record(abs(size))) for size in IN_TLS_SIZES)


def wireguard_initiation(kind: int = 1, before: bytes = b"") -> bytes:
    """`kind` is the whole first field: type and reserved bytes."""
    return before + struct.pack("<II", kind, HERE) + noise(124, 31) + bytes(16)


def wireguard_response(kind: int = 2, before: bytes = b"", receiver: int = HERE) -> bytes:
    """Answers an initiation of the other side."""
    return before + struct.pack("<III", kind, THERE, receiver) + noise(64, 32) + bytes(16)


def wireguard_data(receiver: int, counter: int, kind: int = 4, size: int = 112) -> bytes:
    """A transport message."""
    return struct.pack("<IIQ", kind, receiver, counter) + noise(size - 16, 33 + counter)


def data_both_ways(*kinds: int, rounds: int = 2) -> tuple[Message, ...]:
    """Transport messages in turn, under the client's and the server's type field."""
    return tuple(
        message
        for counter in range(rounds)
        for message in (
            CLIENT(wireguard_data(THERE, counter, kinds[0])),
            SERVER(wireguard_data(HERE, counter + 5, kinds[-1])),
        )
    )


JUNK = tuple(CLIENT(noise(size, size)) for size in (412, 77, 903))
AMNEZIA = (
    *JUNK,
    CLIENT(wireguard_initiation(0x3A5C71E9, noise(24, 41))),
    SERVER(wireguard_response(0x11D2A0B7, noise(51, 42))),
)
WARP = 0x4E2D1900
"Three reserved bytes, above the type."


def disco(key: bytes, size: int = 110) -> bytes:
    """Magic, key, nonce and what is encrypted."""
    return b"TS\xf0\x9f\x92\xac" + key + noise(size - 38, size)


DISCO = (CLIENT(disco(noise(32, 51), 92)), SERVER(disco(noise(32, 52))))
DERP_REQUEST = b"GET /derp HTTP/1.1\r\nHost: derp.example\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
DERP_RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
DERP_GREETING = b"\x01\x00\x00\x00\x28DERP\xf0\x9f\x94\x91" + noise(32)
DERP = (CLIENT(DERP_REQUEST), SERVER(DERP_RESPONSE + DERP_GREETING))

STUN = (
    CLIENT(b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!"),
    SERVER(b"\x01\x01\x00\x0c\x21\x12\xa4\x42transaction!" + b"\x00\x20\x00\x08\x00\x01\x11\x2b\xe1\xba\xa5\x61"),
)

CARRIED_TCP_SIZES = (108, -108, 100, 617, -100, -1448, -1448, 100, -1448, -640, 100, 140, -100, -300, 100, -100)


def carried(sizes: tuple[int, ...]) -> tuple[Message, ...]:
    """Datagrams without any structure."""
    return tuple((size > 0, noise(abs(size), 600 + at)) for at, size in enumerate(sizes))


SAMPLES: dict[str, list[Sample]] = {
    "openvpn_data": [
        Sample(
            "openvpn-data",
            UDP,
            tuple(side(openvpn_data(n, 84, seed=side is CLIENT)) for n in range(70, 73) for side in (CLIENT, SERVER)),
            "openvpn",
            Confidence.CONFIRMED,
        ),
        Sample(
            "openvpn-pings-one-way",
            UDP,
            tuple(SERVER(openvpn_data(n, 40)) for n in range(5, 8)),
            "openvpn",
            Confidence.PROBABLE,
        ),
    ],
    "openvpn_cbc": [
        Sample("openvpn-cbc", UDP, both_ways((101, -109, 93, -1277, 93, -101)), "openvpn", Confidence.PROBABLE),
        Sample("openvpn-static-key", UDP, both_ways(STATIC_SIZES, b""), "openvpn", Confidence.PROBABLE),
    ],
    "openvpn_patterns": [
        Sample("openvpn-xor", UDP, SCRAMBLED, "openvpn", Confidence.PROBABLE),
        Sample("openvpn-xor-tcp", TCP, tuple(map(in_frame, SCRAMBLED)), "openvpn", Confidence.PROBABLE),
        Sample("openvpn-substituted", UDP, SUBSTITUTED, "openvpn", Confidence.PROBABLE),
    ],
    "openvpn_in_tls": [Sample("openvpn-in-tls", TCP, OPENVPN_IN_TLS, "openvpn", Confidence.PROBABLE)],
    "wireguard_late": [
        Sample(
            "wireguard-after-stun",
            UDP,
            (*STUN, CLIENT(wireguard_initiation()), SERVER(wireguard_response())),
            "wireguard",
            Confidence.CONFIRMED,
        ),
    ],
    "amneziawg": [
        Sample("amneziawg", UDP, AMNEZIA, "amneziawg", Confidence.CONFIRMED),
        Sample("amneziawg-data", UDP, data_both_ways(0x7A11C0DE, rounds=3), "amneziawg", Confidence.PROBABLE),
    ],
    "cloudflare_warp": [
        Sample(
            "warp",
            UDP,
            (CLIENT(wireguard_initiation(WARP | 1)), SERVER(wireguard_response(WARP | 2))),
            "cloudflare-warp",
            Confidence.CONFIRMED,
        ),
        Sample("warp-data", UDP, data_both_ways(WARP | 4), "cloudflare-warp", Confidence.CONFIRMED),
        Sample("warp-own-types", UDP, data_both_ways(WARP | 0xC4), "cloudflare-warp", Confidence.CONFIRMED),
        Sample(
            "warp-data-one-way",
            UDP,
            tuple(CLIENT(wireguard_data(THERE, counter, WARP | 4)) for counter in range(4)),
            "cloudflare-warp",
            Confidence.PROBABLE,
        ),
    ],
    "tailscale": [
        Sample("tailscale", UDP, DISCO, "tailscale", Confidence.CONFIRMED),
        Sample("tailscale-unanswered", UDP, DISCO[:1], "tailscale", Confidence.PROBABLE),
    ],
    "tailscale_derp": [Sample("tailscale-relay", TCP, DERP, "tailscale", Confidence.CONFIRMED)],
    "generic_udp_vpn": [
        Sample("generic-udp-vpn", UDP, carried(CARRIED_TCP_SIZES), "generic-udp-vpn", Confidence.PROBABLE),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike(
        "random-datagrams", UDP, *carried((230, -1200, 88, -410, 1023, 555, -97, -1200, 61, 734, -300, 480, 230, -99))
    ),
    lookalike("game-sequence", UDP, *(CLIENT(struct.pack("!BI", 0x32, n) + noise(60, n)) for n in range(20))),
    lookalike(
        "counter-under-a-magic-number",
        UDP,
        *(side(b"HELO" + struct.pack("!I", n) + noise(60, n)) for n in range(9) for side in (CLIENT, SERVER)),
    ),
    lookalike("junk-and-other-index", UDP, *AMNEZIA[:4], SERVER(wireguard_response(0x11D2A0B7, noise(51, 42), THERE))),
]
"Exchanges that no detector may call confirmed."
