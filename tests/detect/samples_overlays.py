"""Sample exchanges: mesh overlays, encapsulations, tunnels in ICMP, and protocols of infrastructure."""

import struct

from middlebox.detect.base import ICMP, ICMPV6, IGMP, IP_IN_IP, IPV6_IN_IP, TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import client_hello, records, server_hello, supported_versions
from tests.detect.sample import Sample, lookalike, noise
from tests.packets import checksum, ipv6, udp

POSSIBLE, PROBABLE, CONFIRMED = Confidence

HOST, PEER = "10.0.0.1", "10.0.0.2"
HOST6, PEER6 = "2001:db8::1", "2001:db8::2"
INNER = udp((HOST, 4000), (PEER, 5000), b"what is inside")
INNER6 = udp((HOST6, 4000), (PEER6, 5000), b"what is inside")


def frame(packet: bytes, *, kind: int = 0x0800) -> bytes:
    """An Ethernet frame."""
    return bytes.fromhex("020000000002 020000000001") + struct.pack("!H", kind) + packet


ARP = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20)


def vxlan(inner: bytes, *, flags: int = 8, next_protocol: int = 0, network: int = 42) -> bytes:
    return struct.pack("!BHBI", flags, 0, next_protocol, network << 8) + inner


def geneve(inner: bytes, *, kind: int = 0x6558, options: bytes = b"") -> bytes:
    return struct.pack("!BBHI", len(options) // 4, 0, kind, 42 << 8) + options + inner


GENEVE_OPTION = struct.pack("!HBB", 0x0102, 0x80, 2) + bytes(8)


def gtp_user(inner: bytes, *, extension: bytes = b"") -> bytes:
    """A GTPv1 user packet; an extension header brings the optional fields along."""
    optional = b"\x00\x00\x00\x85" + extension if extension else b""
    flags = 0x34 if extension else 0x30
    return struct.pack("!BBHI", flags, 255, len(optional + inner), 0x1234) + optional + inner


def gtp1(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHIHBB", 0x32, kind, 4 + len(body), 0, number, 0, 0) + body


def gtp2(kind: int, number: int, body: bytes = b"\x03\x00\x01\x00\x07") -> bytes:
    return struct.pack("!BBHI", 0x40, kind, 4 + len(body), number << 8) + body


def gtp0(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHHHB3s8s", 0x1E, kind, len(body), number, 0, 0, b"\xff\xff\xff", bytes(8)) + body


def gtp_prime(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHH", 0x0F, kind, len(body), number) + body


TEREDO_CLIENT, TEREDO_LINK, ROUTERS = "2001:0:c000:201::1", "fe80::ffff:ffff:fffe", "ff02::2"
SOLICITATION = ipv6(TEREDO_LINK, ROUTERS, ICMPV6, bytes.fromhex("8500 7d38 00000000"))
BUBBLE = ipv6(TEREDO_CLIENT, "2001:0:c000:201::2", 59, b"")
AUTHENTICATION, ORIGIN = b"\x00\x01\x00\x00" + noise(8) + b"\x00", b"\x00\x00\x63\xbf\x3f\xff\xfd\xfe"

LISP_ADDRESS = b"\x00\x01\x0a\x00\x00\x01"


def lisp_record(locators: int = 1) -> bytes:
    return struct.pack("!IBBHH", 5, locators, 32, 0x1000, 0) + LISP_ADDRESS + (bytes(6) + LISP_ADDRESS) * locators


def lisp_map(kind: int, nonce: bytes, *, authentication: bytes = b"") -> bytes:
    start = bytes((kind << 4, 0, 0, 1)) + nonce
    if kind == 1:
        return start + LISP_ADDRESS + LISP_ADDRESS + b"\x00\x20" + LISP_ADDRESS
    keys = struct.pack("!HH", 1, len(authentication)) + authentication if kind in (3, 4) else b""
    return start + keys + lisp_record()


def lisp_data(inner: bytes) -> bytes:
    return bytes.fromhex("c0 abcdef 00000001") + inner


def ayiya(inner: bytes, *, next_header: int = 41) -> bytes:
    operation = 1 if inner else 0
    return bytes((0x41, 0x52, 0x10 | operation, next_header)) + bytes(4) + noise(16) + noise(20, 7) + inner


NODE, ROOT = bytes.fromhex("a1b2c3d4e5"), bytes.fromhex("778cde7190")


def zerotier(destination: bytes, source: bytes, *, cipher: int = 1, body: bytes = b"") -> bytes:
    return noise(8) + destination + source + bytes((cipher << 3,)) + noise(8, 3) + (body or noise(60, 5))


def zerotier_hello(destination: bytes = ROOT, source: bytes = NODE, identity: bytes | None = None) -> bytes:
    identity = source if identity is None else identity
    body = b"\x01\x0b\x01\x0c\x00\x02" + bytes(8) + identity + b"\x00" + noise(64) + b"\x00" + noise(40)
    return zerotier(destination, source, cipher=0, body=body)


NEBULA_INDEX, NEBULA_ANSWER = bytes.fromhex("a1a9125f"), bytes.fromhex("ea208017")
NEBULA_FIELD = bytes.fromhex("10 dfa4a48d0a")
"Field 2 with 0xa1a9125f as a varint."


def nebula(kind: int, index: bytes, counter: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBH4sQ", 0x10 | kind, 0, 0, index, counter) + (body or noise(60, counter))


NEBULA_FIRST = nebula(0, bytes(4), 1, noise(64) + NEBULA_FIELD + noise(8, 1))
NEBULA_SIDES = ((CLIENT, NEBULA_ANSWER), (SERVER, NEBULA_INDEX))
NEBULA_SECOND = nebula(0, NEBULA_INDEX, 2, noise(200))

FASTD_L2TP = bytes.fromhex("c803000c0000000000000000")


def fastd(step: int, *further: tuple[int, bytes], with_l2tp: bool = False, version: bytes = b"v22") -> bytes:
    fields = ((0, bytes((step,))), (4, b"\x01"), (13, version), (5, b"ec25519-fhmqvc"), *further)
    body = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in fields)
    return (FASTD_L2TP if with_l2tp else b"") + b"\x01\x00" + struct.pack("!H", len(body)) + body


KEY_A, KEY_B, SHARE_A, SHARE_B = (noise(32, seed) for seed in (1, 2, 3, 4))
FASTD_FIRST = fastd(1, (6, KEY_A), (7, KEY_B), (8, SHARE_A))
FASTD_LATER = FASTD_L2TP + FASTD_FIRST
FASTD_REPLY = fastd(2, (6, KEY_B), (7, KEY_A), (8, SHARE_B), (9, SHARE_A), (15, noise(32, 5)), with_l2tp=True)


def n2n1(kind: int, *, community: bytes = b"lab\x00stack.....ru", from_supernode: int = 0) -> bytes:
    start = bytes((1, kind, 0, from_supernode)) + community + bytes.fromhex("be7c0e4a7a9a") + bytes(6)
    return start + bytes(84 - len(start)) + b"\x11\x00\x00"


def n2n(version: int, kind: int, *, community: bytes = b"lab", flags: int = 0, body: bytes = b"") -> bytes:
    size = 16 if version == 2 else 20
    return struct.pack("!BBH", version, 2, flags | kind) + community.ljust(size, b"\x00") + (body or noise(30, kind))


TINC_CLIENT, TINC_SERVER = b"0 laptop 17\n", b"0 office_1 17.7\n1 94 672 0 0 ABCDEF\n"


def vtun(text: bytes) -> bytes:
    return (text + b"\n").ljust(50, b"\x00")


VTUN_GREETING, VTUN_HOST = vtun(b"VTUN server ver 3.X 05/14/2022"), vtun(b"HOST: lab")


YGGDRASIL4 = b"meta\x00\x04"


def yggdrasil5(key: bytes) -> bytes:
    fields = struct.pack("!HHHHHHHH", 0, 2, 0, 1, 2, 5, 2, 32) + key + struct.pack("!HHB", 3, 1, 0) + noise(64)
    return b"meta" + struct.pack("!H", len(fields)) + fields


def yggdrasil_tls(length: int, *, signature: int = 89, extensions: int = 23) -> tuple[Message, ...]:
    """A TLS 1.3 handshake, and then from each side a record of `length` bytes."""
    hello, answer = client_hello(supported_versions(0x0304)), server_hello((43, b"\x03\x04"))
    encrypted = [b"\x17\x03\x03" + struct.pack("!H", size) + noise(size) for size in (extensions, 414, signature, 53)]
    first = b"\x17\x03\x03" + struct.pack("!H", length) + noise(length)
    return (
        CLIENT(records(hello)),
        SERVER(records(answer) + b"".join(encrypted)),
        CLIENT(b"\x14\x03\x03\x00\x01\x01" + encrypted[3]),
        SERVER(first),
        CLIENT(first),
    )


def summed(message: bytes, at: int) -> bytes:
    """A message with its internet checksum at an offset."""
    return message[:at] + struct.pack("!H", checksum(message)) + message[at + 2 :]


def ping(number: int, payload: bytes, *, reply: bool = False, version: int = 4) -> bytes:
    """An echo message; version 6 has no checksum here, for that would include addresses."""
    kind = (0 if reply else 8) if version == 4 else (129 if reply else 128)
    message = struct.pack("!BBHHH", kind, 0, 0, 0xEFED, number) + payload
    return summed(message, 2) if version == 4 else message


PING_PAYLOAD = bytes(16) + bytes(range(16, 56))


def exchange(number: int, sent: bytes, returned: bytes, version: int = 4) -> tuple[Message, Message]:
    request, reply = ping(number, sent, version=version), ping(number, returned, reply=True, version=version)
    return CLIENT(request), SERVER(reply)


def ptunnel(state: int, number: int, data: bytes = b"", *, magic: bytes = b"\xd5\x20\x08\x80") -> bytes:
    return magic + struct.pack("!IIIIIHH", 0xCB0071C8, 80, state << 30, 0xFFFF, len(data), number, 0xEFED) + data


def hans(packet: bytes, *, magic: bytes = b"hanc") -> bytes:
    return magic + b"\x07" + packet


def dnp3(destination: int, source: int, control: int, length: int = 5) -> bytes:
    header = b"\x05\x64" + struct.pack("<BBHH", length, control, destination, source)
    crc = 0
    for byte in header:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA6BC if crc & 1 else crc >> 1
    return header + struct.pack("<H", ~crc & 0xFFFF)


def modbus(transaction: int, function: int, data: bytes = b"\x00\x01\x00\x02") -> bytes:
    return struct.pack("!HHHBB", transaction, 0, 2 + len(data), 17, function) + data


def enip(command: int, context: bytes, data: bytes = b"\x01\x00\x00\x00", status: int = 0) -> bytes:
    return struct.pack("<HHII8sI", command, len(data), 0, status, context, 0) + data


def tpkt(body: bytes) -> bytes:
    return struct.pack("!BBH", 3, 0, 4 + len(body)) + body


CONNECT = tpkt(bytes.fromhex("11 e0 0000 0001 00 c0010a c1020100 c2020102"))
CONNECTED = tpkt(bytes.fromhex("11 d0 0001 0002 00 c0010a c1020100 c2020102"))


def s7(kind: int) -> bytes:
    return tpkt(b"\x02\xf0\x80\x32" + bytes((kind,)) + bytes(16))


BGP_OPEN = b"\xff" * 16 + struct.pack("!HBBHHIB", 29, 1, 4, 65000, 180, 0x0A000001, 0)
OPC_HELLO, OPC_ACKNOWLEDGE = b"HELF" + struct.pack("<I", 32) + bytes(24), b"ACKF" + struct.pack("<I", 28) + bytes(20)
BACNET_WHO, BACNET_I_AM = bytes.fromhex("810b000c0120ffff00ff1008"), bytes.fromhex("810b000801001000")
IEC_START, IEC_STARTED = bytes.fromhex("680407000000"), bytes.fromhex("68040b000000")
OSPF_HELLO = struct.pack("!BBHIIHH8x", 2, 1, 44, 0x0A000001, 0, 0, 0) + bytes(20)
PIM_HELLO = summed(b"\x20\x00\x00\x00" + bytes.fromhex("000100020069"), 2)
VRRP_ADVERTISEMENT = bytes.fromhex("31016401 0064 0000 0a0000fe")
EIGRP_HELLO = summed(struct.pack("!BBHIIIHH", 2, 5, 0, 0, 0, 0, 0, 1) + bytes.fromhex("0001000c0100010000000015"), 2)
SCTP_INIT = struct.pack("!HHII", 5000, 5001, 0, 0) + bytes.fromhex("01000014") + noise(16)
IGMP_REPORT = summed(bytes.fromhex("1600 0000 effffffa"), 2)
UNREACHABLE = summed(b"\x03\x03" + bytes(6) + INNER[:28], 2)


def sample(name: str, transport: int, *messages: Message, protocol: str, level: Confidence = CONFIRMED) -> Sample:
    return Sample(name, transport, messages, protocol, level)


SAMPLES: dict[str, list[Sample]] = {
    "ayiya": [
        sample("ayiya", UDP, CLIENT(ayiya(INNER6)), protocol="ayiya"),
        sample("ayiya-heartbeat", UDP, CLIENT(ayiya(b"", next_header=59)), protocol="ayiya", level=POSSIBLE),
    ],
    "bacnet": [sample("bacnet", UDP, CLIENT(BACNET_WHO), SERVER(BACNET_I_AM), protocol="bacnet")],
    "bgp": [sample("bgp", TCP, CLIENT(BGP_OPEN), SERVER(BGP_OPEN), protocol="bgp")],
    "dnp3": [sample("dnp3", TCP, CLIENT(dnp3(1, 2, 0xC0)), SERVER(dnp3(2, 1, 0x0B)), protocol="dnp3")],
    "eigrp": [sample("eigrp", 88, CLIENT(EIGRP_HELLO), protocol="eigrp")],
    "enip": [
        sample("enip", TCP, CLIENT(enip(0x65, b"context!")), SERVER(enip(0x65, b"context!")), protocol="enip"),
        sample("enip-udp", UDP, CLIENT(enip(0x63, bytes(8))), SERVER(enip(0x63, bytes(8))), protocol="enip"),
    ],
    "fastd": [
        sample("fastd", UDP, CLIENT(FASTD_FIRST), CLIENT(FASTD_LATER), SERVER(FASTD_REPLY), protocol="fastd"),
        sample("fastd-two", UDP, CLIENT(FASTD_FIRST), SERVER(FASTD_REPLY), protocol="fastd"),
        sample("fastd-unanswered", UDP, CLIENT(FASTD_FIRST), protocol="fastd", level=PROBABLE),
    ],
    "geneve": [
        sample("geneve", UDP, CLIENT(geneve(frame(INNER), options=GENEVE_OPTION)), protocol="geneve"),
        sample("geneve-arp", UDP, CLIENT(geneve(ARP, kind=0x0806)), protocol="geneve"),
        sample("geneve-other", UDP, CLIENT(geneve(frame(b"?", kind=0x88B5))), protocol="geneve", level=PROBABLE),
    ],
    "gtp": [
        sample("gtp-user", UDP, CLIENT(gtp_user(INNER)), protocol="gtp"),
        sample("gtp-user-5g", UDP, CLIENT(gtp_user(INNER6, extension=b"\x01\x00\x09\x00")), protocol="gtp"),
        sample("gtp-echo", UDP, CLIENT(gtp1(1, 7)), SERVER(gtp1(2, 7, b"\x0e\x01")), protocol="gtp"),
        sample("gtp2", UDP, CLIENT(gtp2(1, 7)), SERVER(gtp2(2, 7)), protocol="gtp"),
        sample("gtp2-unanswered", UDP, CLIENT(gtp2(1, 7)), protocol="gtp", level=PROBABLE),
        sample("gtp0", UDP, CLIENT(gtp0(16, 9, noise(9))), SERVER(gtp0(17, 9, noise(9))), protocol="gtp"),
        sample("gtp-prime", UDP, CLIENT(gtp_prime(240, 9, noise(9))), SERVER(gtp_prime(241, 9)), protocol="gtp"),
    ],
    "icmp": [
        sample("ping", ICMP, *exchange(1, PING_PAYLOAD, PING_PAYLOAD), protocol="icmp"),
        sample("port-unreachable", ICMP, CLIENT(UNREACHABLE), protocol="icmp"),
        sample("ping6", ICMPV6, *exchange(1, PING_PAYLOAD, PING_PAYLOAD, version=6), protocol="icmp"),
        sample("neighbour", ICMPV6, CLIENT(b"\x87\x00\x12\x34" + bytes(20)), protocol="icmp"),
        sample("icmp-damaged", ICMP, CLIENT(b"\x08\x00\x00\x00" + noise(20)), protocol="icmp", level=PROBABLE),
    ],
    "icmp_tunnel": [
        sample(
            "ptunnel",
            ICMP,
            *exchange(0, ptunnel(1, 0), ptunnel(1, 0)),
            SERVER(ping(0, ptunnel(2, 0, b"HTTP"), reply=True)),
            protocol="icmp-tunnel",
        ),
        sample(
            "hans",
            ICMP,
            *exchange(7, hans(INNER), hans(udp((PEER, 5000), (HOST, 4000), b"answer"), magic=b"hans")),
            protocol="icmp-tunnel",
        ),
        sample(
            "other-tunnel",
            ICMP,
            *(part for n in range(4) for part in exchange(n, noise(20 + n), noise(40, n))),
            protocol="icmp-tunnel",
        ),
    ],
    "iec104": [sample("iec104", TCP, CLIENT(IEC_START), SERVER(IEC_STARTED), protocol="iec104")],
    "igmp": [sample("igmp", IGMP, CLIENT(IGMP_REPORT), protocol="igmp")],
    "ip_in_ip": [
        sample("ip-in-ip", IP_IN_IP, CLIENT(INNER), protocol="ip-in-ip"),
        sample("ip-in-ip-cut", IP_IN_IP, CLIENT(INNER[:-1]), protocol="ip-in-ip", level=PROBABLE),
    ],
    "lisp": [
        sample("lisp-data", UDP, CLIENT(lisp_data(INNER)), protocol="lisp"),
        sample("lisp-request", UDP, CLIENT(lisp_map(1, noise(8))), SERVER(lisp_map(2, noise(8))), protocol="lisp"),
        sample(
            "lisp-register",
            UDP,
            CLIENT(lisp_map(3, noise(8), authentication=noise(20))),
            SERVER(lisp_map(4, noise(8), authentication=noise(20, 1))),
            protocol="lisp",
        ),
    ],
    "modbus": [sample("modbus", TCP, CLIENT(modbus(1, 3)), SERVER(modbus(1, 3)), protocol="modbus")],
    "n2n": [
        sample("n2n-1", UDP, CLIENT(n2n1(1)), SERVER(n2n1(4, from_supernode=1)), protocol="n2n"),
        sample("n2n-2", UDP, CLIENT(n2n(2, 5)), SERVER(n2n(2, 7, flags=0x60)), protocol="n2n"),
        sample("n2n-3", UDP, CLIENT(n2n(3, 11)), SERVER(n2n(3, 10, flags=0x60)), protocol="n2n"),
        sample("n2n-3-unanswered", UDP, CLIENT(n2n(3, 5)), CLIENT(n2n(3, 5)), protocol="n2n", level=PROBABLE),
    ],
    "nebula": [
        sample("nebula", UDP, CLIENT(NEBULA_FIRST), SERVER(NEBULA_SECOND), protocol="nebula"),
        sample(
            "nebula-joined",
            UDP,
            *(side(nebula(1, index, n)) for n in (7, 8) for side, index in NEBULA_SIDES),
            protocol="nebula",
        ),
        sample("nebula-unanswered", UDP, CLIENT(NEBULA_FIRST), protocol="nebula", level=PROBABLE),
    ],
    "opc_ua": [sample("opc-ua", TCP, CLIENT(OPC_HELLO), SERVER(OPC_ACKNOWLEDGE), protocol="opc-ua")],
    "ospf": [sample("ospf", 89, CLIENT(OSPF_HELLO), protocol="ospf")],
    "pim": [sample("pim", 103, CLIENT(PIM_HELLO), protocol="pim")],
    "s7comm": [
        sample("s7comm", TCP, CLIENT(CONNECT), SERVER(CONNECTED), CLIENT(s7(1)), SERVER(s7(3)), protocol="s7comm")
    ],
    "sctp": [sample("sctp", 132, CLIENT(SCTP_INIT), protocol="sctp")],
    "six_in_four": [sample("6in4", IPV6_IN_IP, CLIENT(INNER6), protocol="6in4")],
    "teredo": [
        sample("teredo-bubble", UDP, CLIENT(BUBBLE), protocol="teredo"),
        sample("teredo-solicitation", UDP, CLIENT(AUTHENTICATION + SOLICITATION), protocol="teredo"),
        sample("teredo-origin", UDP, CLIENT(AUTHENTICATION + ORIGIN + BUBBLE), protocol="teredo"),
    ],
    "tinc": [
        sample("tinc", TCP, CLIENT(TINC_CLIENT), SERVER(TINC_SERVER), protocol="tinc"),
        sample("tinc-one-side", TCP, SERVER(TINC_SERVER), protocol="tinc", level=PROBABLE),
    ],
    "vrrp": [sample("vrrp", 112, CLIENT(VRRP_ADVERTISEMENT), protocol="vrrp")],
    "vtun": [
        sample("vtun", TCP, SERVER(VTUN_GREETING), CLIENT(VTUN_HOST), protocol="vtun"),
        sample("vtun-greeting", TCP, SERVER(VTUN_GREETING), protocol="vtun", level=PROBABLE),
    ],
    "vxlan": [
        sample("vxlan", UDP, CLIENT(vxlan(frame(INNER))), protocol="vxlan"),
        sample("vxlan-6", UDP, CLIENT(vxlan(frame(INNER6, kind=0x86DD))), protocol="vxlan"),
        sample("vxlan-tagged", UDP, CLIENT(vxlan(frame(b"\x00\x07\x08\x00" + INNER, kind=0x8100))), protocol="vxlan"),
        sample("vxlan-arp", UDP, CLIENT(vxlan(frame(ARP, kind=0x0806))), protocol="vxlan"),
        sample("vxlan-gpe", UDP, CLIENT(vxlan(INNER, flags=0x0C, next_protocol=1)), protocol="vxlan"),
        sample("vxlan-lldp", UDP, CLIENT(vxlan(frame(noise(40), kind=0x88CC))), protocol="vxlan", level=PROBABLE),
    ],
    "yggdrasil": [
        sample("yggdrasil", TCP, CLIENT(yggdrasil5(KEY_A)), SERVER(yggdrasil5(KEY_B)), protocol="yggdrasil"),
        sample("yggdrasil-4", TCP, CLIENT(YGGDRASIL4 + KEY_A), SERVER(YGGDRASIL4 + KEY_B), protocol="yggdrasil"),
    ],
    "yggdrasil_tls": [
        sample("yggdrasil-tls", TCP, *yggdrasil_tls(140), protocol="yggdrasil", level=PROBABLE),
        sample("yggdrasil-tls-4", TCP, *yggdrasil_tls(55), protocol="yggdrasil", level=PROBABLE),
    ],
    "zerotier": [
        sample("zerotier", UDP, CLIENT(zerotier_hello()), SERVER(zerotier(NODE, ROOT)), protocol="zerotier"),
        sample("zerotier-joined", UDP, SERVER(zerotier(NODE, ROOT)), CLIENT(zerotier(ROOT, NODE)), protocol="zerotier"),
        sample("zerotier-unanswered", UDP, CLIENT(zerotier_hello()), protocol="zerotier", level=PROBABLE),
    ],
}  # fmt: skip
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("ip-in-udp", UDP, CLIENT(INNER), SERVER(INNER)),
    lookalike("ipv6-in-udp", UDP, CLIENT(INNER6), SERVER(INNER6)),
    lookalike("vxlan-around-noise", UDP, *(CLIENT(vxlan(noise(80, n))) for n in range(4))),
    lookalike("geneve-around-noise", UDP, *(CLIENT(geneve(noise(80, n))) for n in range(4))),
    lookalike("gtp-around-noise", UDP, *(CLIENT(gtp_user(noise(80, n))) for n in range(4))),
    lookalike("gtp-other-number", UDP, CLIENT(gtp2(1, 7)), SERVER(gtp2(2, 8))),
    lookalike("ip-in-ip-wrong-sum", IP_IN_IP, CLIENT(INNER[:10] + b"\x00\x00" + INNER[12:])),
    lookalike("teredo-of-others", UDP, CLIENT(ORIGIN + INNER6)),
    lookalike("lisp-other-nonce", UDP, CLIENT(lisp_map(1, noise(8))), SERVER(lisp_map(2, noise(8, 1)))),
    lookalike("zerotier-echo", UDP, CLIENT(zerotier_hello()), SERVER(zerotier_hello())),
    lookalike("nebula-other-index", UDP, CLIENT(NEBULA_FIRST), SERVER(nebula(0, b"\x01\x02\x03\x04", 2, noise(200)))),
    lookalike("fastd-other-keys", UDP, CLIENT(FASTD_FIRST), SERVER(fastd(2, (6, SHARE_B), (7, SHARE_B)))),
    lookalike("n2n-other-community", UDP, CLIENT(n2n(3, 5)), SERVER(n2n(3, 7, community=b"lob"))),
    lookalike("tinc-other-version", TCP, CLIENT(b"0 laptop 16\n"), SERVER(b"0 office 16\n")),
    lookalike("vtun-greeting-ignored", TCP, SERVER(VTUN_GREETING), CLIENT(b"EHLO client\r\n")),
    lookalike("meta-text", TCP, CLIENT(b"metadata please\n"), SERVER(b"meta nothing\n")),
    lookalike("tls-with-ecdsa", TCP, CLIENT(b"\x17\x03\x03\x00\x37" + noise(55))),
    lookalike("modbus-other-transaction", TCP, CLIENT(modbus(1, 3)), SERVER(modbus(2, 3))),
    lookalike("dnp3-not-exchanged", TCP, CLIENT(dnp3(1, 2, 0xC0)), SERVER(dnp3(1, 2, 0x0B))),
    lookalike("rdp", TCP, CLIENT(CONNECT), SERVER(CONNECTED), CLIENT(tpkt(b"\x02\xf0\x80\x7f\x65" + noise(30)))),
    lookalike("opc-short", TCP, CLIENT(b"HELF\x01\x00\x00\x00"), SERVER(b"ACKF\x01\x00\x00\x00")),
]
"Exchanges that no detector may call confirmed."
