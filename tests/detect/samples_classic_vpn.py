"""Sample exchanges: IPsec, L2TP, PPTP, SSTP, TLS-based VPNs."""

import struct

from middlebox.detect.base import AH, ESP, GRE, TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import (
    Extension,
    client_hello,
    numbers,
    records,
    server_hello,
    server_name,
    sized,
    supported_versions,
)
from tests.detect.sample import Sample, lookalike, noise

L2TP = 115
"IP protocol number of L2TPv3."

# --- IPsec ------------------------------------------------------------------------------------------

INITIATOR, RESPONDER, NOBODY = b"initiat!", b"responde", bytes(8)


def ike(
    responder: bytes,
    exchange: int,
    flags: int,
    *,
    initiator: bytes = INITIATOR,
    version: int = 0x20,
    payload: int = 33,
    message_id: int = 0,
    body: bytes = b"\0\0\0\x0c" + bytes(8),
) -> bytes:
    """An IKE message with one payload (RFC 7296 section 3.1)."""
    fields = (initiator, responder, payload, version, exchange, flags, message_id, 28 + len(body))
    return struct.pack("!8s8sBBBBII", *fields) + body


IKE2_REQUEST = ike(NOBODY, 34, 0x08)
IKE2_RESPONSE = ike(RESPONDER, 34, 0x20)
IKE1_REQUEST = ike(NOBODY, 2, 0, version=0x10, payload=1)
IKE1_RESPONSE = ike(RESPONDER, 2, 0, version=0x10, payload=1)
MARKER = bytes(4)
AUTH_REQUEST = MARKER + ike(RESPONDER, 35, 0x08, payload=46, message_id=1)
AUTH_RESPONSE = MARKER + ike(RESPONDER, 35, 0x20, payload=46, message_id=1)
CLIENT_SPI, SERVER_SPI = 0xC1A9656B, 0xAC0FAF03


def esp(spi: int, sequence: int, size: int = 120) -> bytes:
    """An ESP packet (RFC 4303 section 2)."""
    return struct.pack("!II", spi, sequence) + noise(size - 8, sequence)


def ah(spi: int, sequence: int, carried: bytes, *, next_header: int = 4) -> bytes:
    """An AH packet with an ICV of 96 bits (RFC 4302 section 2)."""
    return struct.pack("!BBHII", next_header, 4, 0, spi, sequence) + noise(12, sequence) + carried


def iketcp(message: bytes) -> bytes:
    """An IKE message as TCP carries it (RFC 9329 section 3)."""
    return sized2(MARKER + message)


def sized2(content: bytes) -> bytes:
    """Content behind a length that counts itself."""
    return struct.pack("!H", len(content) + 2) + content


# --- IP packets to carry ----------------------------------------------------------------------------


def ip4(payload: bytes = bytes(8), *, protocol: int = 1) -> bytes:
    """An IPv4 packet without a checksum."""
    addresses = bytes((192, 0, 2, 1, 192, 0, 2, 2))
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses + payload


# --- GRE, PPTP, L2TP --------------------------------------------------------------------------------


def gre(kind: int, carried: bytes, flags: int = 0, options: bytes = b"") -> bytes:
    """A GRE packet (RFC 2890 section 2)."""
    return struct.pack("!HH", flags, kind) + options + carried


def ethernet(carried: bytes, kind: int = 0x0800) -> bytes:
    """An Ethernet frame without its check sequence."""
    return bytes(12) + struct.pack("!H", kind) + carried


def pptp(control: int, size: int, body: bytes = b"") -> bytes:
    """A PPTP control message (RFC 2637 section 2)."""
    return (struct.pack("!HHIHH", size, 1, 0x1A2B3C4D, control, 0) + body).ljust(size, b"\0")


PPTP_REQUEST, PPTP_REPLY = pptp(1, 156, b"\x01\x00"), pptp(2, 156, b"\x01\x00\x01\x00")


def pptp_data(call: int, sequence: int | None, acknowledgment: int | None, payload: bytes = b"") -> bytes:
    """Enhanced GRE (RFC 2637 section 4.1)."""
    flags = 0x2001 | 0x1000 * (sequence is not None) | 0x0080 * (acknowledgment is not None)
    given = [number for number in (sequence, acknowledgment) if number is not None]
    return struct.pack(f"!HHHH{len(given)}I", flags, 0x880B, len(payload), call, *given) + payload


PPP_LCP = b"\xff\x03\xc0\x21\x01\x01\x00\x0a\x05\x06\x12\x34\x56\x78"


def attribute(kind: int, value: bytes) -> bytes:
    """A mandatory L2TP attribute (RFC 2661 section 4.1)."""
    return struct.pack("!HHH", 0x8000 | 6 + len(value), 0, kind) + value


def l2tp_control(tunnel: int, message: int, *attributes: bytes, received: int = 0) -> bytes:
    """A control message of L2TPv2 (RFC 2661 section 3.1)."""
    body = attribute(0, struct.pack("!H", message)) + b"".join(attributes) if message else b""
    return struct.pack("!HHHHHH", 0xC802, 12 + len(body), tunnel, 0, 0, received) + body


def l2tp_data(tunnel: int, session: int, frame: bytes) -> bytes:
    """A data message of L2TPv2."""
    return struct.pack("!HHH", 0x0002, tunnel, session) + frame


def l2tpv3_control(connection: int, message: int, *attributes: bytes) -> bytes:
    """A control message of L2TPv3 (RFC 3931 section 3.2.1)."""
    body = attribute(0, struct.pack("!H", message)) + b"".join(attributes)
    return struct.pack("!HHIHH", 0xC803, 12 + len(body), connection, 0, 0) + body


L2TP_REQUEST = l2tp_control(0, 1, attribute(2, b"\x01\x00"), attribute(9, b"\x2b\x27"))
L2TP_REPLY = l2tp_control(0x2B27, 2, attribute(9, b"\x45\xb7"), received=1)
L2TPV3_REQUEST = l2tpv3_control(0, 1, attribute(61, b"\0\0\x2b\x27"))
L2TPV3_REPLY = l2tpv3_control(0x2B27, 2, attribute(61, b"\0\0\x45\xb7"))

# --- DTLS -------------------------------------------------------------------------------------------


def dtls_record(
    content: bytes, *, content_type: int = 22, epoch: int = 0, sequence: int = 0, version: int = 0xFEFD
) -> bytes:
    """A DTLS record (RFC 6347 section 4.1)."""
    return struct.pack("!BHHHIH", content_type, version, epoch, 0, sequence, len(content)) + content


def dtls_message(kind: int, body: bytes, number: int = 0) -> bytes:
    """A handshake message in one fragment (RFC 6347 section 4.2.2)."""
    return struct.pack("!B3sHI", kind, len(body).to_bytes(3), number, 0)[:9] + len(body).to_bytes(3) + body


def dtls_client_hello(
    *extensions: Extension, session: bytes = b"", ciphers: tuple[int, ...] = (0xC02B, 0xC02F), version: int = 0xFEFD
) -> bytes:
    """A ClientHello with an empty cookie."""
    listed = b"".join(numbers(kind) + sized(content, 2) for kind, content in extensions)
    body = numbers(version) + noise(32) + sized(session, 1) + sized(b"", 1) + sized(numbers(*ciphers), 2) + b"\1\0"
    return dtls_message(1, body + (sized(listed, 2) if listed else b""))


def dtls_server_hello(cipher: int = 0xC02F, *, session: bytes = b"", version: int = 0xFEFD) -> bytes:
    """A ServerHello without extensions."""
    return dtls_message(2, numbers(version) + noise(32, 7) + sized(session, 1) + numbers(cipher) + b"\0", 1)


DTLS_HELLO = dtls_record(dtls_client_hello(server_name(b"example.org")))
DTLS_ANSWER = dtls_record(dtls_server_hello())
SESSION = noise(32, 77)
OPENCONNECT_HELLO = dtls_record(dtls_client_hello(session=SESSION, ciphers=(0x00A9, 0xCCAB, 0x00A8)))
OPENCONNECT_ANSWER = dtls_record(dtls_server_hello(0x00A9, session=noise(32, 78)))
OPENCONNECT_KEY = dtls_record(dtls_message(16, b"\x00\x03psk", 1), sequence=1)


# --- VPNs inside TLS --------------------------------------------------------------------------------

TLS13_OVERHEAD = 17


def tls13(*lengths: int) -> list[Message]:
    """A TLS 1.3 connection in which the client (positive) or the server (negative) sent such records."""
    hello = records(client_hello(server_name(b"example.org"), supported_versions(0x0304)))
    change = b"\x14\x03\x03\x00\x01\x01"
    flight = records(server_hello((43, numbers(0x0304)))) + change + application_data(900)
    said = [CLIENT(hello), SERVER(flight), CLIENT(change + application_data(52 - 16))]
    for length in lengths:
        said.append((length > 0, application_data(abs(length))))
    return said


def application_data(length: int) -> bytes:
    """A TLS 1.3 record with so many bytes in it."""
    size = length + TLS13_OVERHEAD
    return b"\x17\x03\x03" + size.to_bytes(2) + noise(size)


TICKETS = (-233, -233)
HTTP_EXCHANGES = (967, -487, 971, -501, 627, -663)


def inner_tcp(header: int) -> tuple[int, ...]:
    """SYN, SYN with ACK, ACK, a request, its ACK and the answer, as Linux sends them through a tunnel."""
    return tuple(sign * (header + size) for sign, size in ((1, 60), (-1, 60), (1, 52), (1, 134), (-1, 52), (-1, 190)))


SSTP = (*TICKETS, 182, -84, 14, -4, -44, -4, -18, 22, -4)
OPENCONNECT = (*HTTP_EXCHANGES, 56, -84, *inner_tcp(8))
SOFTETHER = (*TICKETS, 254, -454, 2331, -485, 122, -228, 50, -50, *inner_tcp(22))
FORTINET = (*TICKETS, 420, -30, 26, 30, -26, *inner_tcp(8))
GLOBALPROTECT = (*TICKETS, 210, -12, *inner_tcp(16))

# --- SoftEther and Hamachi over UDP ------------------------------------------------------------------


def softether_packets(side: int, count: int) -> list[bytes]:
    """Packets of the acceleration channel, version 2: each begins with bytes of the one before."""
    vectors = [noise(12, 100 * side + number) for number in range(count + 1)]
    return [vectors[number] + vectors[number + 1] + noise(40 + number, side + 10 * number) for number in range(count)]


SOFTETHER_UDP = tuple(
    message
    for mine, theirs in zip(softether_packets(1, 3), softether_packets(2, 3), strict=True)
    for message in (CLIENT(mine), SERVER(theirs))
)
HAMACHI_OPENING = bytes(8) + noise(68)


def hamachi_data(tunnel: int, counter: int) -> bytes:
    """Data of a Hamachi tunnel, as nDPI describes it."""
    return struct.pack("!IIH", tunnel, counter, tunnel & 0xFF) + noise(60, counter)


HAMACHI_TCP = struct.pack("!I", 396) + bytes(8) + b"\x7b\x7a\x0d\xad" + noise(384)


SAMPLES: dict[str, list[Sample]] = {
    "ipsec": [
        Sample("ikev2", UDP, (CLIENT(IKE2_REQUEST), SERVER(IKE2_RESPONSE)), "ipsec", Confidence.CONFIRMED),
        Sample("ikev1", UDP, (CLIENT(IKE1_REQUEST), SERVER(IKE1_RESPONSE)), "ipsec", Confidence.CONFIRMED),
        Sample("ikev2-marked", UDP, (CLIENT(AUTH_REQUEST), SERVER(AUTH_RESPONSE)), "ipsec", Confidence.CONFIRMED),
        Sample("ikev2-unanswered", UDP, (CLIENT(IKE2_REQUEST),), "ipsec", Confidence.PROBABLE),
        Sample(
            "esp-in-udp",
            UDP,
            tuple(
                message
                for number in range(1, 4)
                for message in (CLIENT(esp(SERVER_SPI, number)), SERVER(esp(CLIENT_SPI, number)))
            ),
            "ipsec",
            Confidence.CONFIRMED,
        ),
        Sample("nat-keepalive", UDP, (CLIENT(b"\xff"),), "ipsec", Confidence.POSSIBLE),
        Sample(
            "ike-tcp",
            TCP,
            (CLIENT(b"IKETCP" + iketcp(IKE2_REQUEST)), SERVER(iketcp(IKE2_RESPONSE))),
            "ipsec",
            Confidence.CONFIRMED,
        ),
    ],
    "esp": [
        Sample(
            "esp",
            ESP,
            (
                CLIENT(esp(SERVER_SPI, 1)),
                SERVER(esp(CLIENT_SPI, 1)),
                CLIENT(esp(SERVER_SPI, 2)),
                SERVER(esp(CLIENT_SPI, 2)),
            ),
            "ipsec",
            Confidence.CONFIRMED,
        ),
        Sample("esp-one-way", ESP, (CLIENT(esp(300, 1)), CLIENT(esp(300, 2))), "ipsec", Confidence.PROBABLE),
        Sample("esp-cut", ESP, (CLIENT(esp(123, 1, 8)),), "ipsec", Confidence.POSSIBLE),
    ],
    "ah": [
        Sample(
            "ah",
            AH,
            tuple(side(ah(spi, number, ip4())) for number in (1, 2) for side, spi in ((CLIENT, 256), (SERVER, 256))),
            "ipsec",
            Confidence.CONFIRMED,
        ),
        Sample("ah-one-way", AH, (CLIENT(ah(256, 1, ip4())),), "ipsec", Confidence.PROBABLE),
    ],
    "gre": [
        Sample("gre", GRE, (CLIENT(gre(0x0800, ip4())), SERVER(gre(0x0800, ip4()))), "gre", Confidence.CONFIRMED),
        Sample(
            "nvgre",
            GRE,
            (
                CLIENT(gre(0x6558, ethernet(ip4()), 0x2000, b"\0\0\x0a\0")),
                SERVER(gre(0x6558, ethernet(ip4()), 0x2000, b"\0\0\x0a\0")),
            ),
            "gre",
            Confidence.CONFIRMED,
        ),
        Sample(
            "erspan",
            GRE,
            (CLIENT(gre(0x88BE, bytes(8) + ethernet(ip4()), 0x1000, bytes(4))),),
            "gre",
            Confidence.PROBABLE,
        ),
    ],
    "gre_in_udp": [
        Sample(
            "gre-in-udp", UDP, (CLIENT(gre(0x0800, ip4())), SERVER(gre(0x0800, ip4()))), "gre", Confidence.CONFIRMED
        ),
        Sample("gre-in-udp-one-way", UDP, (CLIENT(gre(0x0800, ip4())),), "gre", Confidence.PROBABLE),
    ],
    "pptp": [
        Sample("pptp", TCP, (CLIENT(PPTP_REQUEST), SERVER(PPTP_REPLY)), "pptp", Confidence.CONFIRMED),
        Sample("pptp-unanswered", TCP, (CLIENT(PPTP_REQUEST),), "pptp", Confidence.PROBABLE),
    ],
    "pptp_data": [
        Sample(
            "pptp-data",
            GRE,
            (CLIENT(pptp_data(1, 7, None, PPP_LCP)), SERVER(pptp_data(2, 3, 7, PPP_LCP))),
            "pptp",
            Confidence.CONFIRMED,
        ),
        Sample("pptp-data-one-way", GRE, (CLIENT(pptp_data(1, 7, None, PPP_LCP)),), "pptp", Confidence.PROBABLE),
    ],
    "l2tp": [
        Sample("l2tp", UDP, (CLIENT(L2TP_REQUEST), SERVER(L2TP_REPLY)), "l2tp", Confidence.CONFIRMED),
        Sample("l2tpv3", UDP, (CLIENT(L2TPV3_REQUEST), SERVER(L2TPV3_REPLY)), "l2tp", Confidence.CONFIRMED),
        Sample("l2tp-unanswered", UDP, (CLIENT(L2TP_REQUEST),), "l2tp", Confidence.PROBABLE),
        Sample(
            "l2tp-data",
            UDP,
            (CLIENT(l2tp_data(5, 6, PPP_LCP)), SERVER(l2tp_data(7, 8, b"\xff\x03\x00\x21" + ip4()))),
            "l2tp",
            Confidence.CONFIRMED,
        ),
    ],
    "l2tp_ip": [
        Sample(
            "l2tp-ip",
            L2TP,
            (CLIENT(MARKER + L2TPV3_REQUEST), SERVER(MARKER + L2TPV3_REPLY)),
            "l2tp",
            Confidence.CONFIRMED,
        ),
        Sample("l2tp-ip-data", L2TP, (CLIENT(b"\0\0\x12\x34" + ethernet(ip4())),), "l2tp", Confidence.PROBABLE),
    ],
    "dtls": [
        Sample("dtls", UDP, (CLIENT(DTLS_HELLO), SERVER(DTLS_ANSWER)), "dtls", Confidence.CONFIRMED),
        Sample(
            "dtls-verify",
            UDP,
            (CLIENT(DTLS_HELLO), SERVER(dtls_record(dtls_message(3, b"\xfe\xfd\x04abcd")))),
            "dtls",
            Confidence.CONFIRMED,
        ),
        Sample("dtls-unanswered", UDP, (CLIENT(DTLS_HELLO),), "dtls", Confidence.PROBABLE),
    ],
    "openconnect_dtls": [
        Sample(
            "openconnect-psk",
            UDP,
            (CLIENT(OPENCONNECT_HELLO), SERVER(OPENCONNECT_ANSWER), CLIENT(OPENCONNECT_KEY)),
            "openconnect",
            Confidence.CONFIRMED,
        ),
        Sample(
            "openconnect-resumed",
            UDP,
            (
                CLIENT(dtls_record(dtls_client_hello(session=SESSION, ciphers=(0x002F, 0x00FF)))),
                SERVER(dtls_record(dtls_server_hello(0x002F, session=SESSION))),
            ),
            "openconnect",
            Confidence.PROBABLE,
        ),
        Sample(
            "anyconnect-old",
            UDP,
            (
                CLIENT(dtls_record(dtls_client_hello(session=SESSION, version=0x0100), version=0x0100)),
                SERVER(dtls_record(dtls_server_hello(session=SESSION, version=0x0100), version=0x0100)),
            ),
            "openconnect",
            Confidence.CONFIRMED,
        ),
    ],
    "cisco_udp": [
        Sample("cisco-udp", UDP, (CLIENT(b"\xfe\x57\x7e\x2b" + noise(60)),), "openconnect", Confidence.PROBABLE),
    ],
    "ssl_vpn": [
        Sample("sstp", TCP, tuple(tls13(*SSTP)), "sstp", Confidence.PROBABLE),
        Sample("openconnect", TCP, tuple(tls13(*OPENCONNECT)), "openconnect", Confidence.PROBABLE),
        Sample("openconnect-idle", TCP, tuple(tls13(*HTTP_EXCHANGES, 8, -8)), "openconnect", Confidence.PROBABLE),
        Sample("softether", TCP, tuple(tls13(*SOFTETHER)), "softether", Confidence.PROBABLE),
        Sample("fortinet", TCP, tuple(tls13(*FORTINET)), "fortinet-sslvpn", Confidence.PROBABLE),
        Sample("globalprotect", TCP, tuple(tls13(*GLOBALPROTECT)), "globalprotect", Confidence.PROBABLE),
    ],
    "softether_udp": [
        Sample("softether-udp", UDP, SOFTETHER_UDP, "softether", Confidence.CONFIRMED),
        Sample(
            "softether-nat-t",
            UDP,
            (CLIENT(b"B"), SERVER(b"IP=192.0.2.7,PORT=40112")),
            "softether",
            Confidence.CONFIRMED,
        ),
        Sample("softether-udp-one-way", UDP, SOFTETHER_UDP[::2], "softether", Confidence.PROBABLE),
    ],
    "hamachi": [
        Sample("hamachi-tcp", TCP, (CLIENT(HAMACHI_TCP),), "hamachi", Confidence.PROBABLE),
        Sample(
            "hamachi",
            UDP,
            (
                CLIENT(HAMACHI_OPENING),
                SERVER(HAMACHI_OPENING),
                CLIENT(hamachi_data(0x01020304, 1)),
                CLIENT(hamachi_data(0x01020304, 2)),
            ),
            "hamachi",
            Confidence.PROBABLE,
        ),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("ike-wrong-spi", UDP, CLIENT(IKE2_REQUEST), SERVER(ike(RESPONDER, 34, 0x20, initiator=b"someone!"))),
    lookalike("ike-two-requests", UDP, CLIENT(IKE2_REQUEST), SERVER(IKE2_REQUEST)),
    lookalike(
        "esp-same-number-both-ways",
        UDP,
        *(side(esp(CLIENT_SPI, number)) for number in range(1, 6) for side in (CLIENT, SERVER)),
    ),
    lookalike(
        "mosh",
        UDP,
        *(
            side(struct.pack("!II", first, number) + noise(40, number))
            for number in range(1, 6)
            for side, first in ((CLIENT, 0), (SERVER, 0x80000000))
        ),
    ),
    lookalike(
        "openvpn-data-v2",
        UDP,
        *(
            side(struct.pack("!II", 0x48000001, number) + noise(64, number))
            for number in range(1, 6)
            for side in (CLIENT, SERVER)
        ),
        truly="openvpn",
    ),
    lookalike(
        "fastd", UDP, CLIENT(b"\xc8\x03\x00\x0c" + bytes(8) + noise(100)), SERVER(b"\xc8\x03\x00\x0c" + noise(9))
    ),
    lookalike("l2tp-wrong-tunnel", UDP, CLIENT(L2TP_REQUEST), SERVER(l2tp_control(0x1111, 2))),
    lookalike("pptp-two-requests", TCP, CLIENT(PPTP_REQUEST), SERVER(PPTP_REQUEST)),
    lookalike(
        "pptp-data-wrong-acknowledgment",
        GRE,
        CLIENT(pptp_data(1, 7, None, PPP_LCP)),
        SERVER(pptp_data(2, 3, 8, PPP_LCP)),
    ),
    lookalike("https", TCP, *tls13(*TICKETS, 120, -3200, 90, -400, 95, -16000), truly="tls"),
    lookalike("websocket", TCP, *tls13(*TICKETS, 260, -130, 14, -48, 200, -20, 66, -62, 66, -62, 66, -62), truly="tls"),
    lookalike("records-that-do-not-fill", UDP, CLIENT(DTLS_HELLO + b"\0"), SERVER(DTLS_ANSWER + b"\0")),
    lookalike("dtls-unfitting-answer", UDP, CLIENT(DTLS_HELLO), SERVER(dtls_record(dtls_server_hello(0x002F)))),
]
"Exchanges that no detector may call confirmed."
