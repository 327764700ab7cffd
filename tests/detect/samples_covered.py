"""Sample exchanges: proxies and anonymity networks inside TLS or QUIC."""

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER
from tests.detect.covers import data, handshake, handshake12, session
from tests.detect.hellos import alpn, client_hello, server_name, sized, supported_versions
from tests.detect.initials import crypto, initial, long_header, variable
from tests.detect.sample import Sample, noise
from tests.detect.samples_classic_vpn import DTLS_HELLO, dtls_message, dtls_record

PROBABLE = Confidence.PROBABLE


def quic_hello(*protocols: bytes, name: bytes = b"www.example.org", **parameters: int) -> bytes:
    """A client's first datagram. Parameters are named by their number, as in `p0x20=65536`."""
    listed = b"".join(variable(int(number[1:], 16)) + sized(variable(value), 1) for number, value in parameters.items())
    extensions = server_name(name), supported_versions(0x0304), alpn(*protocols), (57, listed)
    return initial(crypto(0, client_hello(*extensions)).ljust(1200, b"\0"), source=b"client")


QUIC_GO = {"p0x0b": 26, "p0x03": 1452}
"What quic-go always announces: its maximum ack delay."
HYSTERIA = QUIC_GO | {"p0x05": 8 << 20, "p0x04": 20 << 20, "p0x20": 16383}
TUIC = QUIC_GO | {"p0x05": 2 << 20, "p0x04": 3 << 20, "p0x09": 1 << 60, "p0x20": 16383}
GO_HTTP3 = QUIC_GO | {"p0x05": 512 << 10, "p0x04": 768 << 10, "p0x09": 100}
CHROME = {"p0x05": 6 << 20, "p0x04": 15 << 20, "p0x20": 65536}
QUIC_ANSWER = SERVER(long_header(2, b"client", b"server", size=1000))

PION_ANSWER = dtls_record(
    dtls_message(
        2,
        b"\xfe\xfd"
        + noise(32, 7)
        + sized(b"", 1)
        + b"\xc0\x2f\x00"
        + sized(b"\xff\x01\x00\x01\x00" + b"\x00\x0a\x00\x08\x00\x06\x00\x1d\x00\x17\x00\x18", 2),
        1,
    )
)
"A ServerHello that carries supported_groups, as Pion once sent it."


def dtls_data(number: int) -> bytes:
    """A record of application data, after the handshake."""
    return dtls_record(noise(200, number), content_type=23, epoch=1, sequence=number)


MEEK_POLLS = (290, -260) * 6
"A meek client that has nothing to say, and a server that has no more."
_BEFORE = tuple(0.01 * number for number in range(len(handshake())))
MEEK_TIMES = _BEFORE + tuple(0.1 + at + late for at in (0.0, 0.1, 0.25, 0.475, 0.8125, 1.31875) for late in (0.0, 0.0))
"Each poll is answered at once, and the pause after it is 1.5 times the one before: 100 ms, 150 ms, 225 ms ..."

TROJAN = (77 + 517, -836, 80, -255, 105, -3400)
"As OpenSSL shakes hands through Trojan: its header and the ClientHello, the flight, the Finished, a ticket, a request."
GO_IN_VLESS = (279, -2972, 93, -51, 147, -434)
"Go's client, TLS 1.2, P-256."
WEB_SOCKET = (188, -129, 6, 77, 525, -840, 86, -259, 105, -3400)
"Trojan in WebSocket: the upgrade first, then 8 or 6 bytes more in front of each message."
GRPC = (70, -45, -22, 147, 96, -58, -54, 13, 145, -54, 534, -854, 96, 120, -527)
"Among other streams of HTTP/2."
VISION = (145, 1381, -1186, -3309, 1000, -1412, -2372)
SHADOWSOCKS = (354, 538, -4313, 85, 395, -1481)

ANYTLS = (64, 354, 424, -10, -7, -195)
SSH = (41, -42, 1536, -1080, 48, -560, 16)
SOCKS = (3, -2, 19, -10, 98, -3200)
WEB_SOCKET_DOWNLOAD = (186, -129, 255, *[-2052] * 8)
TOR = (11, -2037, 1028, -514, 1028, -514)

SAMPLES: dict[str, list[Sample]] = {
    "anytls": [Sample("anytls", TCP, session(*ANYTLS), "anytls", PROBABLE)],
    "meek": [Sample("meek", TCP, session(*MEEK_POLLS), "meek", PROBABLE, times=MEEK_TIMES)],
    "quic_proxies": [
        Sample("hysteria", UDP, (CLIENT(quic_hello(b"h3", **HYSTERIA)), QUIC_ANSWER), "hysteria", PROBABLE),
        Sample("hysteria1", UDP, (CLIENT(quic_hello(b"hysteria", **GO_HTTP3)),), "hysteria", PROBABLE),
        Sample("tuic", UDP, (CLIENT(quic_hello(b"h3", **TUIC)), QUIC_ANSWER), "tuic", PROBABLE),
        Sample("v2ray-quic", UDP, (CLIENT(quic_hello(b"h2", b"http/1.1", **GO_HTTP3)),), "quic-tunnel", PROBABLE),
    ],
    "shadowtls": [Sample("shadowtls", TCP, handshake(server=(27, 499, 100, 57)) + data((599,)), "shadowtls", PROBABLE)],
    "snowflake": [
        Sample(
            "snowflake",
            UDP,
            (
                CLIENT(DTLS_HELLO),
                SERVER(PION_ANSWER),
                *(side(dtls_data(number)) for number in range(4) for side in (CLIENT, SERVER)),
            ),
            "snowflake",
            PROBABLE,
        )
    ],
    "tls_in_tls": [
        Sample("trojan", TCP, session(*TROJAN), "tls-in-tls", PROBABLE),
        Sample("vless-go", TCP, session(*GO_IN_VLESS), "tls-in-tls", PROBABLE),
        Sample("trojan-websocket", TCP, session(*WEB_SOCKET), "tls-in-tls", PROBABLE),
        Sample("vmess-grpc", TCP, session(*GRPC), "tls-in-tls", PROBABLE),
        Sample("vless-vision", TCP, session(*VISION), "tls-in-tls", PROBABLE),
        Sample("shadowsocks-in-tls", TCP, session(*SHADOWSOCKS), "tls-in-tls", PROBABLE),
        Sample("tls12-cover", TCP, handshake12() + data((538, -1800, 85, 120), 24), "tls-in-tls", PROBABLE),
    ],
    "tls_tunnel": [
        Sample("ssh-in-stunnel", TCP, session(*SSH), "tls-tunnel", PROBABLE),
        Sample("socks5-in-stunnel", TCP, session(*SOCKS), "tls-tunnel", PROBABLE),
    ],
    "tls_websocket": [Sample("vmess-websocket", TCP, session(*WEB_SOCKET_DOWNLOAD), "websocket-tunnel", PROBABLE)],
    "tor": [
        Sample("tor", TCP, session(*TOR), "tor", PROBABLE),
        Sample("tor-named", TCP, handshake(name=b"www.k2fgcqd7v5x.com") + data(TOR[:4]), "tor", PROBABLE),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = []
"Exchanges that no detector may call confirmed. What is ordinary inside TLS or QUIC is in the tests of each detector."
