"""Sample exchanges: clear proxies, SSH, DNS and ICMP tunnels, encrypted DNS."""

import hashlib
import struct
from base64 import b32encode, b64encode

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import alpn, client_hello, numbers, records, server_hello, server_name, supported_versions
from tests.detect.initials import crypto, initial, long_header
from tests.detect.sample import Sample, lookalike, noise, with_length

POSSIBLE, PROBABLE, CONFIRMED = Confidence.POSSIBLE, Confidence.PROBABLE, Confidence.CONFIRMED

# --- SOCKS --------------------------------------------------------------------------------------------

SOCKS4_REQUEST = b"\x04\x01\x00\x50\xc0\x00\x02\x07fred\x00"
SOCKS4A_REQUEST = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00www.example.org\x00"
SOCKS4_REPLY = b"\x00\x5a\x00\x00\x00\x00\x00\x00"
SOCKS5_REQUEST = b"\x05\x01\x00\x03\x0fwww.example.org\x01\xbb"
SOCKS5_REPLY = b"\x05\x00\x00\x01\xc0\x00\x02\x07\x9c\x40"
SOCKS5_PASSWORD = b"\x01\x04fred\x06secret"

# --- HTTP ---------------------------------------------------------------------------------------------

CONNECT = b"CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
PROXY_GET = b"GET http://www.example.org/ HTTP/1.1\r\nHost: www.example.org\r\nProxy-Connection: Keep-Alive\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

KEY = b64encode(bytes(range(16)))
ACCEPT = b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
UPGRADE = b"GET /chat HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
WEBSOCKET = UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
ACCEPTED = SWITCHING + b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"


def frame(content: bytes, *, opcode: int = 2, masked: bool = False, compressed: bool = False) -> bytes:
    """A WebSocket frame (RFC 6455 section 5.2)."""
    first, mask = 0x80 | opcode | (0x40 if compressed else 0), 0x80 if masked else 0
    size = (
        struct.pack("!BB", first, mask | len(content))
        if len(content) < 126
        else struct.pack("!BBH", first, mask | 126, len(content))
    )
    if not masked:
        return size + content
    key = noise(4)
    return size + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(content))


HTTPTUNNEL_GET = b"GET /index.html?crap=1795531341 HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"
HTTPTUNNEL_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 102400\r\nConnection: close\r\n\r\n" + b"\x02\x00\x05hello"
MASQUE_UPGRADE = (
    b"GET https://example.org/.well-known/masque/udp/192.0.2.6/443/ HTTP/1.1\r\nHost: example.org\r\n"
    b"Connection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n\r\n"
)
MASQUE_GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n\r\n"
PSIPHON_POST = (
    b"POST /a HTTP/1.1\r\nHost: 192.0.2.7\r\nContent-Type: application/octet-stream\r\nCookie: Q="
    + b64encode(noise(75))
    + b"\r\nContent-Length: 0\r\n\r\n"
)

# --- SSH ----------------------------------------------------------------------------------------------

CHACHA = ("chacha20-poly1305@openssh.com", "umac-64-etm@openssh.com")


def ssh_packet(payload: bytes) -> bytes:
    """A packet before there is a cipher (RFC 4253 section 6)."""
    padding = 4 + -(4 + 1 + len(payload) + 4) % 8
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


def ssh_kexinit(cipher: str, mac: str, compression: str = "none") -> bytes:
    """SSH_MSG_KEXINIT (RFC 4253 section 7.1)."""
    lists = ["curve25519-sha256", "ssh-ed25519", cipher, cipher, mac, mac, compression, compression, "", ""]
    names = b"".join(struct.pack("!I", len(one)) + one.encode() for one in lists)
    return ssh_packet(b"\x14" + noise(16) + names + bytes(5))


def ssh_encrypted(*payloads: int, block: int = 8, tag: int = 16) -> bytes:
    """Noise as long as packets with payloads of so many bytes, one after the other."""
    return b"".join(noise(4 + -(-(1 + payload + 4) // block) * block + tag) for payload in payloads)


def ssh_login(
    cipher: str = CHACHA[0], mac: str = CHACHA[1], compression: str = "none", *, block: int = 8, tag: int = 16
) -> tuple[Message, ...]:
    """Everything up to the server's word that the login succeeded."""
    kexinit, new_keys = ssh_kexinit(cipher, mac, compression), ssh_packet(b"\x15")

    def packet(payload: int) -> bytes:
        return ssh_encrypted(payload, block=block, tag=tag)

    return (
        CLIENT(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        SERVER(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        CLIENT(kexinit),
        SERVER(kexinit),
        CLIENT(ssh_packet(b"\x1e" + noise(36))),
        SERVER(ssh_packet(b"\x1f" + noise(200)) + new_keys),
        CLIENT(new_keys),
        CLIENT(packet(17)),
        SERVER(packet(17)),
        CLIENT(packet(300)),
        SERVER(packet(1)),
    )


SESSION, PROMISE, CONFIRMATION, FORWARD, TUN = 24, 34, 17, 66, 40
"Payload bytes: open a session, open no more of them, open confirmation, direct-tcpip, tun@openssh.com."

# --- DNS ----------------------------------------------------------------------------------------------

NULL, CNAME, TXT, A = 10, 5, 16, 1


def dns_query(*labels: bytes, rrtype: int = TXT, number: int = 7) -> bytes:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", rrtype, 1)


def dns_reply(query: bytes, data: bytes, rrtype: int = TXT) -> bytes:
    """The reply to a query with one answer. TXT data gets its lengths."""
    if rrtype == TXT:
        data = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    record = b"\xc0\x0c" + struct.pack("!HHIH", rrtype, 1, 0, len(data)) + data
    return query[:2] + struct.pack("!5H", 0x8400, 1, 1, 0, 0) + query[12:] + record


IODINE_QUERY = dns_query(b"vaaaakav01i", b"t", b"example", b"org", rrtype=NULL)
IODINE_VERDICT = dns_reply(IODINE_QUERY, b"VACK" + noise(5), NULL)
DNS2TCP_QUERY = dns_query(b"RC4AAAABBA", b"d", b"example", b"org")
DNS2TCP_REPLY = dns_reply(DNS2TCP_QUERY, b"ARC4AAAABGEhUVFAv")
DNSCAT2_QUERY = dns_query(b"05e100a621c3620001636f6e736f6c6520", b"example", b"org")
DNSCAT2_REPLY = dns_reply(DNSCAT2_QUERY, b"2634" + b"00a621" + b"010a0000")


def dnstt_query(content: bytes = b"", padding: int = 3, client: bytes = b"\x01\x23\x45\x67\x89\xab\xcd\xef") -> bytes:
    message = client + bytes([224 + padding]) + noise(padding) + (bytes([len(content)]) + content if content else b"")
    text = b32encode(message).rstrip(b"=").lower()
    return dns_query(*(text[at : at + 63] for at in range(0, len(text), 63)), b"t", b"example", b"org")


def loaded_queries(count: int, rrtype: int = TXT) -> tuple[Message, ...]:
    """Queries for names that look encoded, each for another."""
    return tuple(
        CLIENT(dns_query(noise(20, seed).hex().encode(), b"t", b"example", b"org", rrtype=rrtype, number=seed))
        for seed in range(1, count + 1)
    )


DNSCRYPT_QUERY = noise(512)
DNSCRYPT_RESPONSE = b"r6fnvWj8" + DNSCRYPT_QUERY[40:52] + noise(12) + noise(200)
DNSCRYPT_CERTIFICATE_QUERY = dns_query(b"2", b"dnscrypt-cert", b"example", b"org")
DNSCRYPT_CERTIFICATE = dns_reply(DNSCRYPT_CERTIFICATE_QUERY, b"DNSC\0\x02\0\0" + noise(116))

# --- TLS and QUIC -------------------------------------------------------------------------------------

TLS_ANSWER = records(server_hello((43, numbers(0x0304))))
DOT_HELLO = records(client_hello(alpn(b"dot"), supported_versions(0x0304)))
DOH_HELLO = records(client_hello(server_name(b"dns.google"), alpn(b"h2"), supported_versions(0x0304)))
DOH_GET = b"GET /dns-query?dns=AAAB HTTP/1.1\r\nHost: example.org\r\nAccept: application/dns-message\r\n\r\n"
DOH_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: 0\r\n\r\n"
DOQ_CLIENT = initial(
    crypto(0, client_hello(alpn(b"doq"), supported_versions(0x0304))).ljust(1162, b"\0"), source=b"client!!"
)
DOQ_SERVER = long_header(2, b"client!!", b"server!!")
CHROME_CIPHERS = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x9C, 0x9D)
CHROME_HELLO = records(
    client_hello(alpn(b"h2", b"http/1.1"), supported_versions(0x0304), ciphers=(*CHROME_CIPHERS, 0x2F, 0x35))
)

SAMPLES: dict[str, list[Sample]] = {
    "socks4": [
        Sample("socks4", TCP, (CLIENT(SOCKS4_REQUEST), SERVER(SOCKS4_REPLY)), "socks4", CONFIRMED),
        Sample("socks4a", TCP, (CLIENT(SOCKS4A_REQUEST), SERVER(SOCKS4_REPLY)), "socks4", CONFIRMED),
    ],
    "socks5": [
        Sample(
            "socks5",
            TCP,
            (CLIENT(b"\x05\x01\x00"), SERVER(b"\x05\x00"), CLIENT(SOCKS5_REQUEST), SERVER(SOCKS5_REPLY)),
            "socks5",
            CONFIRMED,
        ),
        Sample(
            "socks5-password",
            TCP,
            (CLIENT(b"\x05\x03\x00\x01\x02"), SERVER(b"\x05\x02"), CLIENT(SOCKS5_PASSWORD)),
            "socks5",
            CONFIRMED,
        ),
    ],
    "http_proxy": [
        Sample("http-connect", TCP, (CLIENT(CONNECT), SERVER(CONNECTED)), "http-connect", CONFIRMED),
        Sample("http-connect-unanswered", TCP, (CLIENT(CONNECT),), "http-connect", PROBABLE),
        Sample("http-proxy", TCP, (CLIENT(PROXY_GET), SERVER(OK)), "http-proxy", CONFIRMED),
    ],
    "websocket": [
        Sample(
            "websocket", TCP, (CLIENT(WEBSOCKET), SERVER(ACCEPTED + frame(b"hello", opcode=1))), "websocket", CONFIRMED
        ),
        Sample(
            "websocket-tls-inside",
            TCP,
            (
                CLIENT(WEBSOCKET),
                SERVER(ACCEPTED),
                CLIENT(frame(CHROME_HELLO, masked=True)),
                SERVER(frame(TLS_ANSWER)),
            ),
            "websocket-tunnel",
            CONFIRMED,
        ),
        Sample(
            "websocket-noise",
            TCP,
            (CLIENT(WEBSOCKET), SERVER(ACCEPTED), CLIENT(frame(noise(300), masked=True)), SERVER(frame(noise(200)))),
            "websocket-tunnel",
            PROBABLE,
        ),
    ],
    "http_tunnel": [
        Sample(
            "httpupgrade",
            TCP,
            (CLIENT(UPGRADE + b"\r\n"), SERVER(SWITCHING + b"\r\n"), CLIENT(b"\x52" + noise(120))),
            "http-tunnel",
            CONFIRMED,
        ),
        Sample("httptunnel", TCP, (CLIENT(HTTPTUNNEL_GET), SERVER(HTTPTUNNEL_BODY)), "http-tunnel", CONFIRMED),
    ],
    "masque": [
        Sample("masque", TCP, (CLIENT(MASQUE_UPGRADE), SERVER(MASQUE_GRANTED)), "masque", CONFIRMED),
    ],
    "psiphon": [
        Sample("psiphon-meek", TCP, (CLIENT(PSIPHON_POST), SERVER(OK)), "psiphon", PROBABLE),
    ],
    "ssh_tunnel": [
        Sample("ssh-no-session", TCP, (*ssh_login(), CLIENT(ssh_encrypted(PROMISE))), "ssh-tunnel", PROBABLE),
        Sample("ssh-tun", TCP, (*ssh_login(), CLIENT(ssh_encrypted(TUN, PROMISE))), "ssh-tunnel", PROBABLE),
    ],
    "dns_tunnel": [
        Sample("iodine", UDP, (CLIENT(IODINE_QUERY), SERVER(IODINE_VERDICT)), "dns-tunnel", CONFIRMED),
        Sample("dns2tcp", UDP, (CLIENT(DNS2TCP_QUERY), SERVER(DNS2TCP_REPLY)), "dns-tunnel", CONFIRMED),
        Sample("dnscat2", UDP, (CLIENT(DNSCAT2_QUERY), SERVER(DNSCAT2_REPLY)), "dns-tunnel", CONFIRMED),
        Sample(
            "dnstt",
            UDP,
            (CLIENT(dnstt_query(noise(60))), SERVER(dns_reply(dnstt_query(noise(60)), with_length(noise(100))))),
            "dns-tunnel",
            CONFIRMED,
        ),
    ],
    "dns_loaded_names": [
        Sample("dns-loaded-names", UDP, loaded_queries(8), "dns-tunnel", PROBABLE),
    ],
    "iodine_raw": [
        Sample(
            "iodine-raw",
            UDP,
            (CLIENT(b"\x10\xd1\x9e\x23" + noise(40)), SERVER(b"\x10\xd1\x9e\x33")),
            "dns-tunnel",
            CONFIRMED,
        ),
    ],
    "dnscrypt": [
        Sample("dnscrypt", UDP, (CLIENT(DNSCRYPT_QUERY), SERVER(DNSCRYPT_RESPONSE)), "dnscrypt", CONFIRMED),
        Sample(
            "dnscrypt-tcp",
            TCP,
            (CLIENT(with_length(DNSCRYPT_QUERY)), SERVER(with_length(DNSCRYPT_RESPONSE))),
            "dnscrypt",
            CONFIRMED,
        ),
    ],
    "dot": [
        Sample("dot", TCP, (CLIENT(DOT_HELLO), SERVER(TLS_ANSWER)), "dot", CONFIRMED),
    ],
    "doh": [
        Sample("doh-clear", TCP, (CLIENT(DOH_GET), SERVER(DOH_ANSWER)), "doh", CONFIRMED),
        Sample("doh-name", TCP, (CLIENT(DOH_HELLO), SERVER(TLS_ANSWER)), "doh", PROBABLE),
    ],
    "doq": [
        Sample("doq", UDP, (CLIENT(DOQ_CLIENT), SERVER(DOQ_SERVER)), "doq", CONFIRMED),
    ],
    "ultrasurf": [
        Sample("ultrasurf", TCP, (CLIENT(CHROME_HELLO), SERVER(TLS_ANSWER)), "ultrasurf", POSSIBLE),
    ],
    "i2p": [
        Sample("ntcp", TCP, (CLIENT(noise(288)), SERVER(noise(304)), CLIENT(noise(448))), "i2p", PROBABLE),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("socks5-answer-not-offered", TCP, CLIENT(b"\x05\x01\x00"), SERVER(b"\x05\x02"), CLIENT(SOCKS5_REQUEST)),
    lookalike("socks4-reply-of-another", TCP, CLIENT(SOCKS4_REQUEST), SERVER(b"\x04\x5a" + bytes(6))),
    lookalike("dnscrypt-other-nonce", UDP, CLIENT(noise(512, 1)), SERVER(DNSCRYPT_RESPONSE)),
    lookalike("iodine-raw-one-sided", UDP, *[CLIENT(b"\x10\xd1\x9e\x23" + noise(40))] * 3),
    lookalike("iodine-raw-other-user", UDP, CLIENT(b"\x10\xd1\x9e\x23" + noise(40)), SERVER(b"\x10\xd1\x9e\x31")),
]
"Exchanges that no detector may call confirmed."
