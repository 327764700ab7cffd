"""Sample exchanges: ordinary protocols over UDP and other datagrams."""

import struct

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER
from tests.detect.sample import Sample, lookalike, noise


def dns(number: int, flags: int, name: bytes, *, answers: bytes = b"", rrtype: int = 1, questions: int = 1) -> bytes:
    """A message in the format of DNS. `answers` holds one record behind its name, or nothing."""
    question = name + struct.pack("!HH", rrtype, 1) if questions else b""
    record = (b"\xc0\x0c" if questions else name) + answers if answers else b""
    return struct.pack("!6H", number, flags, questions, bool(answers), 0, 0) + question + record


ADDRESS = b"\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc0\x00\x02\x07"
PRINTER = b"\x04_ipp\x04_tcp\x05local\x00"
POINTER = b"\x00\x0c\x80\x01\x00\x00\x00\x1e\x00\x08\x05laser\xc0\x0c"
HOST = b"\x06laptop\x00"

NETBIOS_NAME = b"\x20EGEJEMEFFDEFFCFGEFFCCACACACACACA\x00"
NETBIOS_ADDRESS = b"\x00\x20\x00\x01\x00\x04\x93\xe0\x00\x06\x00\x00\xc0\x00\x02\x07"
NBNS_QUERY = struct.pack("!6H", 7, 0x0110, 1, 0, 0, 0) + NETBIOS_NAME + b"\x00\x20\x00\x01"
NBNS_REPLY = struct.pack("!6H", 7, 0x8500, 0, 1, 0, 0) + NETBIOS_NAME + NETBIOS_ADDRESS
NBNS_REGISTRATION = (
    struct.pack("!6H", 8, 0x2910, 1, 0, 0, 1) + NETBIOS_NAME + b"\x00\x20\x00\x01" + b"\xc0\x0c" + NETBIOS_ADDRESS
)


def netbios_datagram(payload: bytes = b"\xffSMB%" + bytes(60)) -> bytes:
    """A broadcast from one name to another."""
    body = NETBIOS_NAME + NETBIOS_NAME + payload
    return b"\x11\x02\x80\x11\xc0\x00\x02\x07\x00\x8a" + struct.pack("!HH", len(body), 0) + body


SENT = b"\xea\x11\x22\x33\x44\x55\x66\x77"
NTP_REQUEST = b"\x23\x00\x06\xe9" + bytes(36) + SENT
NTP_REPLY = b"\x24\x02\x06\xe8" + b"\x00\x00\x03\x10\x00\x00\x02\x20\xc0\x00\x02\x01" + b"\xea\x11\x20" * 2 + bytes(2)
NTP_REPLY += SENT + b"\xea\x11\x22\x34" * 4
NTP_CONTROL = b"\x16\x02\x00\x09" + bytes(8)
NTP_CONTROLLED = b"\x16\x82\x00\x09\x06\x18\x00\x00\x00\x00\x00\x08" + b"refid=a,"


def dhcp(operation: int, message_type: int, number: bytes = b"\x3d\x1d\x00\x01") -> bytes:
    """Fixed fields, cookie, message type, padding."""
    fixed = bytes((operation, 1, 6, 0)) + number + bytes(20) + b"\x02\x00\x5e\x10\x00\x01" + bytes(202)
    return fixed + b"\x63\x82\x53\x63" + bytes((53, 1, message_type, 61, 2, 1, 9, 255)) + bytes(52)


DUID = b"\x00\x01\x00\x0a\x00\x03\x00\x01\x02\x00\x5e\x10\x00\x01"
SERVER_DUID = b"\x00\x02\x00\x0a\x00\x03\x00\x01\x02\x00\x5e\x10\x00\x02"
DHCPV6_SOLICIT = b"\x01\x10\x08\x74" + DUID + b"\x00\x08\x00\x02\x00\x00"
DHCPV6_ADVERTISE = b"\x02\x10\x08\x74" + DUID + SERVER_DUID


def radius(code: int, number: int, attributes: bytes) -> bytes:
    """Header, authenticator, attributes."""
    return struct.pack("!BBH", code, number, 20 + len(attributes)) + noise(16, code) + attributes


def element(tag: int, *contents: bytes) -> bytes:
    """An element of BER with a short length."""
    body = b"".join(contents)
    return bytes((tag, len(body))) + body


def snmp(pdu: int, number: int, version: int = 1) -> bytes:
    """A request or response about one variable."""
    variable = element(0x30, element(0x30, element(0x06, b"\x2b\x06\x01\x02\x01\x01\x01\x00"), b"\x05\x00"))
    body = element(pdu, element(2, number.to_bytes(2)), element(2, b"\x00"), element(2, b"\x00"), variable)
    return element(0x30, element(2, bytes((version,))), element(4, b"public"), body)


SNMP_3 = element(
    0x30,
    element(2, b"\x03"),
    element(0x30, element(2, b"\x31\x22"), element(2, b"\x05\xdc"), element(4, b"\x04"), element(2, b"\x03")),
    element(4, b"\x30\x00"),
)

SSDP_SEARCH = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n'
)
SSDP_RESPONSE = b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\n\r\n"
SSDP_NOTIFY = b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: upnp:rootdevice\r\nUSN: uuid:1\r\n\r\n"

SIP_REQUEST = b"REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: a84b4c76e66710\r\n\r\n"
SIP_RESPONSE = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: a84b4c76e66710\r\n\r\n"

TFTP_REQUEST = b"\x00\x01boot.img\x00octet\x00blksize\x001468\x00"
TFTP_BLOCK = b"\x00\x03\x00\x01" + noise(512)
TFTP_ACKNOWLEDGEMENT = b"\x00\x04\x00\x01"


def rtp(number: int, source: int = 0x5EED0001, kind: int = 0) -> bytes:
    """20 ms of a voice."""
    return struct.pack("!BBHII", 0x80, kind, number & 0xFFFF, 160 * number, source) + noise(160, number)


def rtcp(source: int, reported: int | None = None) -> bytes:
    """A sender's report, with a block about another source when there is one, and a name."""
    block = struct.pack("!I", reported) + bytes(20) if reported else b""
    report = struct.pack("!BBHI", 0x80 + bool(block), 200, 6 + len(block) // 4, source) + noise(20) + block
    return report + struct.pack("!BBHI", 0x81, 202, 2, source) + b"\x01\x01a\x00"


def utp(kind: int, connection: int, number: int, acknowledged: int, payload: bytes = b"") -> bytes:
    """Header and payload."""
    return struct.pack("!BBHIIIHH", kind, 0, connection, 77777, 0, 1 << 20, number, acknowledged) + payload


UTP_HANDSHAKE = (CLIENT(utp(0x41, 4711, 1, 0)), SERVER(utp(0x21, 4711, 900, 1)))


def peer(seed: int) -> bytes:
    """A handshake of BitTorrent for the same torrent."""
    return b"\x13BitTorrent protocol" + bytes(8) + noise(20, 5) + b"-XX0100-" + noise(12, seed)


DHT_QUERY = b"d1:ad2:id20:" + noise(20, 1) + b"e1:q4:ping1:t2:aa1:y1:qe"
DHT_RESPONSE = b"d1:rd2:id20:" + noise(20, 2) + b"e1:t2:aa1:y1:re"
TRACKER_REQUEST = b"\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00" + b"tran"
TRACKER_RESPONSE = b"\x00\x00\x00\x00tran" + noise(8)

COAP_REQUEST = b"\x44\x01\x00\x07toke" + b"\xb4time"
COAP_RESPONSE = b"\x64\x45\x00\x07toke" + b"\xc0\xff12:00"

PROBABLE, CONFIRMED = Confidence.PROBABLE, Confidence.CONFIRMED


def discovery(kind: int, content: bytes, number: int) -> bytes:
    """A packet of Ethereum's discovery: hash, signature, type, an RLP list of up to 255 bytes."""
    return noise(32, number) + noise(64, number + 1) + bytes([0, kind, 0xF8, len(content)]) + content


DISCOVERY_ENDPOINT = b"\xcb\x84\xc0\x00\x02\x01\x82\x76\x5f\x82\x76\x5f"
DISCOVERY_PING = discovery(1, b"\x04" + DISCOVERY_ENDPOINT * 4 + b"\x84\x65\x00\x00\x00", 5)
DISCOVERY_PONG = discovery(2, DISCOVERY_ENDPOINT + b"\xa0" + DISCOVERY_PING[:32] + b"\x84\x65\x00\x00\x00", 7)


SAMPLES: dict[str, list[Sample]] = {
    "mdns": [
        Sample("mdns-query", UDP, (CLIENT(dns(0, 0, PRINTER, rrtype=12)),), "mdns", PROBABLE),
        Sample(
            "mdns-response", UDP, (CLIENT(dns(0, 0x8400, PRINTER, answers=POINTER, questions=0)),), "mdns", PROBABLE
        ),
    ],
    "llmnr": [
        Sample(
            "llmnr",
            UDP,
            (CLIENT(dns(9, 0, HOST)), SERVER(dns(9, 0x8000, HOST, answers=ADDRESS))),
            "llmnr",
            CONFIRMED,
        ),
        Sample("llmnr-unanswered", UDP, (CLIENT(dns(9, 0, HOST)),), "llmnr", PROBABLE),
    ],
    "nbns": [
        Sample("nbns", UDP, (CLIENT(NBNS_QUERY), SERVER(NBNS_REPLY)), "nbns", CONFIRMED),
        Sample("nbns-registration", UDP, (CLIENT(NBNS_REGISTRATION),), "nbns", PROBABLE),
    ],
    "nbdgm": [Sample("nbdgm", UDP, (CLIENT(netbios_datagram()),), "nbdgm", PROBABLE)],
    "ntp": [
        Sample("ntp", UDP, (CLIENT(NTP_REQUEST), SERVER(NTP_REPLY)), "ntp", CONFIRMED),
        Sample("ntp-control", UDP, (CLIENT(NTP_CONTROL), SERVER(NTP_CONTROLLED)), "ntp", CONFIRMED),
        Sample("ntp-unanswered", UDP, (CLIENT(NTP_REQUEST),), "ntp", PROBABLE),
    ],
    "dhcp": [
        Sample("dhcp", UDP, (CLIENT(dhcp(1, 3)), SERVER(dhcp(2, 5))), "dhcp", CONFIRMED),
        Sample("dhcp-discover", UDP, (CLIENT(dhcp(1, 1)),), "dhcp", PROBABLE),
    ],
    "dhcpv6": [Sample("dhcpv6", UDP, (CLIENT(DHCPV6_SOLICIT), SERVER(DHCPV6_ADVERTISE)), "dhcp", CONFIRMED)],
    "radius": [
        Sample("radius", UDP, (CLIENT(radius(1, 5, b"\x01\x05bob")), SERVER(radius(2, 5, b""))), "radius", CONFIRMED),
    ],
    "ethereum_discovery": [
        Sample("discovery", UDP, (CLIENT(DISCOVERY_PING), SERVER(DISCOVERY_PONG)), "ethereum", CONFIRMED),
        Sample("discovery-unanswered", UDP, (CLIENT(DISCOVERY_PING),), "ethereum", PROBABLE),
    ],
    "snmp": [
        Sample("snmp", UDP, (CLIENT(snmp(0xA0, 513)), SERVER(snmp(0xA2, 513))), "snmp", CONFIRMED),
        Sample("snmp-3", UDP, (CLIENT(SNMP_3), SERVER(SNMP_3)), "snmp", CONFIRMED),
    ],
    "syslog": [
        Sample("syslog", UDP, (CLIENT(b"<34>Oct 11 22:14:15 host su: failed"),), "syslog", PROBABLE),
        Sample("syslog-5424", UDP, (CLIENT(b"<165>1 2003-10-11T22:14:15.003Z host app - - - hi"),), "syslog", PROBABLE),
        Sample("syslog-without-a-date", UDP, (CLIENT(b"<14>host app: hello"),), "syslog", Confidence.POSSIBLE),
    ],
    "ssdp": [
        Sample("ssdp", UDP, (CLIENT(SSDP_SEARCH), SERVER(SSDP_RESPONSE)), "ssdp", CONFIRMED),
        Sample("ssdp-announcement", UDP, (CLIENT(SSDP_NOTIFY),), "ssdp", PROBABLE),
    ],
    "sip": [
        Sample("sip", UDP, (CLIENT(SIP_REQUEST), SERVER(SIP_RESPONSE)), "sip", CONFIRMED),
        Sample("sip-tcp", TCP, (CLIENT(SIP_REQUEST), SERVER(SIP_RESPONSE)), "sip", CONFIRMED),
        Sample("sip-unanswered", UDP, (CLIENT(SIP_REQUEST),), "sip", PROBABLE),
    ],
    "tftp": [
        Sample("tftp-transfer", UDP, (SERVER(TFTP_BLOCK), CLIENT(TFTP_ACKNOWLEDGEMENT)), "tftp", CONFIRMED),
        Sample("tftp-request", UDP, (CLIENT(TFTP_REQUEST),), "tftp", PROBABLE),
    ],
    "rtp": [
        Sample("rtp", UDP, tuple(side(rtp(n)) for n in (7, 8, 9) for side in (CLIENT, SERVER)), "rtp", CONFIRMED),
        Sample("rtp-one-way", UDP, tuple(CLIENT(rtp(n)) for n in (7, 8, 9)), "rtp", PROBABLE),
    ],
    "rtcp": [
        Sample("rtcp", UDP, (CLIENT(rtcp(0x5EED0001)), SERVER(rtcp(0x5EED0002, 0x5EED0001))), "rtcp", CONFIRMED),
        Sample("rtcp-one-way", UDP, (CLIENT(rtcp(0x5EED0001)),), "rtcp", PROBABLE),
    ],
    "bittorrent": [
        Sample("bittorrent", TCP, (CLIENT(peer(1)), SERVER(peer(2))), "bittorrent", CONFIRMED),
        Sample("bittorrent-unanswered", TCP, (CLIENT(peer(1)),), "bittorrent", PROBABLE),
        Sample("dht", UDP, (CLIENT(DHT_QUERY), SERVER(DHT_RESPONSE)), "bittorrent", CONFIRMED),
        Sample("tracker", UDP, (CLIENT(TRACKER_REQUEST), SERVER(TRACKER_RESPONSE)), "bittorrent", CONFIRMED),
    ],
    "utp": [
        Sample("utp", UDP, UTP_HANDSHAKE, "utp", CONFIRMED),
        Sample("utp-bittorrent", UDP, (*UTP_HANDSHAKE, CLIENT(utp(1, 4712, 2, 900, peer(1)))), "bittorrent", CONFIRMED),
    ],
    "coap": [Sample("coap", UDP, (CLIENT(COAP_REQUEST), SERVER(COAP_RESPONSE)), "coap", CONFIRMED)],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("nbns-other-id", UDP, CLIENT(NBNS_QUERY), SERVER(b"\x00\x08" + NBNS_REPLY[2:])),
    lookalike("ntp-other-timestamp", UDP, CLIENT(NTP_REQUEST), SERVER(NTP_REPLY[:24] + bytes(8) + NTP_REPLY[32:])),
    lookalike("dhcp-other-id", UDP, CLIENT(dhcp(1, 3)), SERVER(dhcp(2, 5, b"\x3d\x1d\x00\x02"))),
    lookalike("radius-other-id", UDP, CLIENT(radius(1, 5, b"\x01\x05bob")), SERVER(radius(2, 6, b""))),
    lookalike("snmp-other-id", UDP, CLIENT(snmp(0xA0, 513)), SERVER(snmp(0xA2, 514))),
    lookalike("sip-other-call", UDP, CLIENT(SIP_REQUEST), SERVER(SIP_RESPONSE.replace(b"a84b", b"b84b"))),
    lookalike("tftp-other-block", UDP, SERVER(TFTP_BLOCK), CLIENT(b"\x00\x04\x00\x02")),
    lookalike("other-torrent", TCP, CLIENT(peer(1)), SERVER(peer(2)[:28] + noise(20, 6) + peer(2)[48:])),
    lookalike("dht-other-transaction", UDP, CLIENT(DHT_QUERY), SERVER(DHT_RESPONSE.replace(b"2:aa", b"2:ab"))),
    lookalike("utp-other-connection", UDP, UTP_HANDSHAKE[0], SERVER(utp(0x21, 4712, 900, 1))),
    lookalike("coap-other-token", UDP, CLIENT(COAP_REQUEST), SERVER(COAP_RESPONSE.replace(b"toke", b"tike"))),
]
"Exchanges that no detector may call confirmed."
