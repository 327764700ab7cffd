"""Sample exchanges: ordinary protocols over TCP, three of them over UDP, too.

Each is written from the protocol's specification and as short as that allows.
"""

import struct

from middlebox.detect.base import TCP, UDP
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.sample import Sample, lookalike, noise


def sure(name: str, *messages: Message, protocol: str = "", transport: int = TCP) -> Sample:
    """An exchange that confirms."""
    return Sample(name, transport, messages, protocol or name, Confidence.CONFIRMED)


def likely(name: str, *messages: Message, protocol: str, transport: int = TCP) -> Sample:
    """An exchange of which too little is there to confirm."""
    return Sample(name, transport, messages, protocol, Confidence.PROBABLE)


def x224(code: int, parameters: bytes = b"") -> bytes:
    """A connection request or confirmation in a TPKT (RFC 1006, X.224)."""
    return struct.pack("!BBHBBHHB", 3, 0, 11 + len(parameters), 6 + len(parameters), code, 0, 1, 0) + parameters


def x224_data(data: bytes) -> bytes:
    """A data unit in a TPKT."""
    return struct.pack("!BBHBBB", 3, 0, 7 + len(data), 2, 0xF0, 0x80) + data


def smb1(command: int, flags: int, number: int = 7) -> bytes:
    """A NetBIOS session message with an SMB 1 header and an empty body ([MS-CIFS] 2.2.3.1)."""
    header = b"\xffSMB" + bytes((command, 0, 0, 0, 0, flags)) + bytes(20) + struct.pack("<H", number)
    return struct.pack("!I", len(header) + 3) + header + bytes(3)


def smb2(command: int, flags: int, number: int = 1) -> bytes:
    """A NetBIOS session message with an SMB 2 header and an empty body ([MS-SMB2] 2.2.1)."""
    header = b"\xfeSMB" + struct.pack("<HHIHHIIQ", 64, 0, 0, command, 1, flags, 0, number) + bytes(32)
    return struct.pack("!I", len(header) + 4) + header + bytes(4)


def tlv(tag: int, *contents: bytes) -> bytes:
    """A BER element of less than 64 KiB, with the length form that Microsoft uses from 128 bytes on."""
    data = b"".join(contents)
    length = bytes((len(data),)) if len(data) < 0x80 else b"\x84" + struct.pack("!I", len(data))
    return bytes((tag,)) + length + data


def ldap(number: int, operation: int, *fields: bytes) -> bytes:
    """An LDAP message (RFC 4511 section 4.1.1)."""
    return tlv(0x30, tlv(0x02, bytes((number,))), tlv(operation, *fields))


BIND = (b"\x02\x01\x03", b"\x04\x08cn=admin", b"\x80\x06secret")
SUCCESS = (b"\x0a\x01\x00", b"\x04\x00", b"\x04\x00")


def ticket_request(kind: int) -> bytes:
    """The fixed beginning of a KDC-REQ, and some body (RFC 4120 section 5.4.1)."""
    return tlv(
        0x60 + kind, tlv(0x30, b"\xa1\x03\x02\x01\x05", b"\xa2\x03\x02\x01" + bytes((kind,)), tlv(0xA4, noise(80)))
    )


def ticket_reply(kind: int) -> bytes:
    """The fixed beginning of a KDC-REP or KRB-ERROR (RFC 4120 sections 5.4.2 and 5.9.1)."""
    return tlv(
        0x60 + kind, tlv(0x30, b"\xa0\x03\x02\x01\x05", b"\xa1\x03\x02\x01" + bytes((kind,)), tlv(0xA5, noise(60)))
    )


def with_long_length(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


MQTT_CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"

MYSQL_VERSION = b"8.0.32\x00"
MYSQL_GREETING = b"\x0a" + MYSQL_VERSION + struct.pack("<I", 9) + b"saltsalt\x00" + b"\xff\xf7\x08\x02\x00" + noise(40)
MYSQL_RESPONSE = struct.pack("<IIB", 0x00A68D, 1 << 24, 33) + bytes(23) + b"user\x00"


def mysql(sequence: int, payload: bytes) -> bytes:
    """A packet of MySQL."""
    return struct.pack("<I", len(payload) | sequence << 24) + payload


def mongodb(number: int, responds_to: int, operation: int = 2013) -> bytes:
    """A message of MongoDB with an empty document."""
    body = b"\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00"
    return struct.pack("<IIII", 16 + len(body), number, responds_to, operation) + body


RTMP_HELLO = b"\x03" + struct.pack("!II", 5, 0) + noise(1528, 1)
RTMP_ANSWER = b"\x03" + struct.pack("!II", 6, 0) + noise(1528, 2) + struct.pack("!II", 5, 6) + noise(1528, 1)


def dcerpc(kind: int, call: int = 1, body: bytes = bytes(12)) -> bytes:
    """A connection-oriented header (C706 section 12.6.3.1) and a body."""
    return struct.pack("<BBBBIHHI", 5, 0, kind, 3, 0x10, 16 + len(body), 0, call) + body


def rpc_call(transaction: int, version: int = 3) -> bytes:
    """A null call of NFS without credentials (RFC 5531 section 9)."""
    return struct.pack("!10I", transaction, 0, 2, 100_003, version, 0, 0, 0, 0, 0)


def rpc_reply(transaction: int) -> bytes:
    """An accepted reply."""
    return struct.pack("!6I", transaction, 1, 0, 0, 0, 0)


def record(data: bytes) -> bytes:
    """The last fragment of a record (RFC 5531 section 11)."""
    return struct.pack("!I", 1 << 31 | len(data)) + data


TDS_OPTIONS = b"\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff" + b"\x08\x00\x01\x55\x00\x00\x00"


def tds(kind: int, body: bytes) -> bytes:
    """A packet of TDS ([MS-TDS] 2.2.3.1)."""
    return struct.pack("!BBHHBB", kind, 1, 8 + len(body), 0, 1, 0) + body


def diameter(flags: int, hop: int = 0x1234) -> bytes:
    """A capabilities exchange (RFC 6733 section 5.3) with its origin host."""
    avp = struct.pack("!IBBH", 264, 0x40, 0, 16) + b"a.b.test"
    return struct.pack("!IIIII", 1 << 24 | 20 + len(avp), flags << 24 | 257, 0, hop, 0x5678) + avp


CQL_STARTUP = b"\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"

X11_SETUP = b"l\x00\x0b\x00\x00\x00\x12\x00\x10\x00\x00\x00MIT-MAGIC-COOKIE-1\x00\x00" + noise(16)
X11_REPLY = b"\x01\x00\x0b\x00\x00\x00\x40\x00" + bytes(24)


GENERATOR = bytes.fromhex(
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
)
"The base point of secp256k1 (SEC 2 section 2.4.1)."


def rlpx(key: bytes = GENERATOR) -> bytes:
    """An encrypted handshake message as of EIP-8."""
    body = b"\x04" + key + noise(16 + 60 + 32)
    return struct.pack("!H", len(body)) + body


def bitcoin(command: bytes, magic: bytes = b"\xf9\xbe\xb4\xd9") -> bytes:
    """A message without contents."""
    return magic + command.ljust(12, b"\x00") + struct.pack("<I", 0) + b"\x5d\xf6\xe0\xe2"


TNS_DESCRIPTOR = b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=x)))"


def tns(kind: int, body: bytes) -> bytes:
    """A packet of TNS."""
    return struct.pack("!HHBBH", 8 + len(body), 0, kind, 0, 0) + body


WHATSAPP_HELLO = b"ED\x00\x01\x00\x00\x04\x08\x09\x08\x02" + b"WA\x06\x03" + b"\x00\x00\x24\x12\x22\x0a\x20" + noise(32)

SESSION_REQUEST = b"\x81\x00\x00\x44\x20" + b"CKFDENEC" * 4 + b"\x00\x20" + b"EMENEBFA" * 4 + b"\x00"

SAMPLES: dict[str, list[Sample]] = {
    "smtp": [
        sure("smtp", SERVER(b"220 mail.example.org ready\r\n"), CLIENT(b"EHLO client.example.org\r\n")),
        sure("smtp-quit", SERVER(b"220 mail.example.org ESMTP\r\n"), CLIENT(b"quit\r\n"), protocol="smtp"),
        sure("smtp-midstream", CLIENT(b"MAIL FROM:<a@example.org>\r\n"), SERVER(b"250 OK\r\n"), protocol="smtp"),
        likely("smtp-greeting", SERVER(b"220 mail.example.org ESMTP\r\n"), protocol="smtp"),
        likely("smtp-client", CLIENT(b"helo client\r\n"), protocol="smtp"),
    ],
    "ftp": [
        sure("ftp", SERVER(b"220 ready\r\n"), CLIENT(b"USER anonymous\r\n")),
        sure("ftp-quit", SERVER(b"220 FTP here\r\n"), CLIENT(b"QUIT\r\n"), protocol="ftp"),
        likely("ftp-client", CLIENT(b"USER a\r\nPASS b\r\nSYST\r\n"), protocol="ftp"),
    ],
    "pop3": [
        sure("pop3", SERVER(b"+OK ready\r\n"), CLIENT(b"USER a\r\n")),
        sure("pop3-auth", SERVER(b"+OK ready\r\n"), CLIENT(b"AUTH PLAIN\r\n"), protocol="pop3"),
        likely("pop3-greeting", SERVER(b"+OK POP3 ready\r\n"), protocol="pop3"),
    ],
    "imap": [
        sure("imap", SERVER(b"* OK ready\r\n"), CLIENT(b"a1 LOGIN a b\r\n")),
        likely("imap-greeting", SERVER(b"* OK IMAP4rev1 ready\r\n"), protocol="imap"),
    ],
    "nntp": [
        sure("nntp", SERVER(b"200 news.example.org ready\r\n"), CLIENT(b"MODE READER\r\n")),
        likely("nntp-greeting", SERVER(b"201 NNTP here\r\n"), protocol="nntp"),
    ],
    "telnet": [
        sure("telnet", SERVER(b"\xff\xfd\x18\xff\xfd\x20"), CLIENT(b"\xff\xfb\x18")),
        likely("telnet-server", SERVER(b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23"), protocol="telnet"),
    ],
    "smb": [
        sure("smb", CLIENT(smb2(0, 0)), SERVER(smb2(0, 1))),
        sure("smb1", CLIENT(smb1(0x72, 0x18)), SERVER(smb1(0x72, 0x98)), protocol="smb"),
        sure("smb1-to-2", CLIENT(smb1(0x72, 0x18)), SERVER(smb2(0, 1, 0)), protocol="smb"),
        sure("netbios-session", CLIENT(SESSION_REQUEST), SERVER(b"\x82\x00\x00\x00"), protocol="smb"),
        likely("smb-client", CLIENT(smb2(0, 0)), protocol="smb"),
    ],
    "rdp": [
        sure(
            "rdp",
            CLIENT(x224(0xE0, b"Cookie: mstshash=a\r\n\x01\x00\x08\x00\x03\x00\x00\x00")),
            SERVER(x224(0xD0, b"\x02\x00\x08\x00\x01\x00\x00\x00")),
        ),
        sure("rdp-old", CLIENT(x224(0xE0)), SERVER(x224(0xD0)), CLIENT(x224_data(b"\x7f\x65\x82")), protocol="rdp"),
        likely("rdp-client", CLIENT(x224(0xE0, b"\x01\x00\x08\x00\x0b\x00\x00\x00")), protocol="rdp"),
    ],
    "vnc": [
        sure("vnc", SERVER(b"RFB 003.008\n"), CLIENT(b"RFB 003.008\n")),
        likely("vnc-server", SERVER(b"RFB 003.889\n"), protocol="vnc"),
    ],
    "ldap": [
        sure("ldap", CLIENT(ldap(1, 0x60, *BIND)), SERVER(ldap(1, 0x61, *SUCCESS))),
        sure(
            "cldap",
            CLIENT(ldap(9, 0x63, b"\x04\x00")),
            SERVER(ldap(9, 0x64, b"\x04\x00")),
            protocol="ldap",
            transport=UDP,
        ),
        likely("ldap-client", CLIENT(ldap(1, 0x60, *BIND)), protocol="ldap"),
    ],
    "kerberos": [
        sure("kerberos", CLIENT(ticket_request(10)), SERVER(ticket_reply(30)), transport=UDP),
        sure(
            "kerberos-tcp",
            CLIENT(with_long_length(ticket_request(12))),
            SERVER(with_long_length(ticket_reply(13))),
            protocol="kerberos",
        ),
        likely("kerberos-client", CLIENT(ticket_request(10)), protocol="kerberos", transport=UDP),
    ],
    "mqtt": [
        sure("mqtt", CLIENT(MQTT_CONNECT), SERVER(b"\x20\x02\x00\x00")),
        sure(
            "mqtt5",
            CLIENT(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc"),
            SERVER(b"\x20\x03\x00\x00\x00"),
            protocol="mqtt",
        ),
        likely("mqtt-client", CLIENT(MQTT_CONNECT), protocol="mqtt"),
    ],
    "amqp": [
        sure(
            "amqp",
            CLIENT(b"AMQP\x00\x00\x09\x01"),
            SERVER(b"\x01\x00\x00\x00\x00\x01\xbe\x00\x0a\x00\x0a\x00\x09"),
        ),
        sure("amqp1", CLIENT(b"AMQP\x03\x01\x00\x00"), SERVER(b"AMQP\x03\x01\x00\x00"), protocol="amqp"),
        likely("amqp-client", CLIENT(b"AMQP\x00\x01\x00\x00"), protocol="amqp"),
    ],
    "redis": [
        sure("redis", CLIENT(b"*1\r\n$4\r\nPING\r\n"), SERVER(b"+PONG\r\n")),
        sure("redis-line", CLIENT(b"PING\r\n"), SERVER(b"+PONG\r\n"), protocol="redis"),
        likely("redis-client", CLIENT(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), protocol="redis"),
        Sample("redis-typed", TCP, (CLIENT(b"get a\r\n"), SERVER(b"$1\r\nb\r\n")), "redis", Confidence.POSSIBLE),
    ],
    "postgresql": [
        sure("postgresql", CLIENT(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), SERVER(b"S")),
        sure(
            "postgresql-clear",
            CLIENT(b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"),
            SERVER(b"R\x00\x00\x00\x08\x00\x00\x00\x00"),
            protocol="postgresql",
        ),
        likely("postgresql-client", CLIENT(b"\x00\x00\x00\x08\x04\xd2\x16\x30"), protocol="postgresql"),
    ],
    "mysql": [
        sure("mysql", SERVER(mysql(0, MYSQL_GREETING)), CLIENT(mysql(1, MYSQL_RESPONSE))),
        likely("mysql-server", SERVER(mysql(0, MYSQL_GREETING)), protocol="mysql"),
        likely("mysql-client", CLIENT(mysql(1, MYSQL_RESPONSE)), protocol="mysql"),
    ],
    "mongodb": [
        sure("mongodb", CLIENT(mongodb(5, 0)), SERVER(mongodb(99, 5))),
        sure("mongodb-old", CLIENT(mongodb(1, 0, 2004)), SERVER(mongodb(2, 1, 1)), protocol="mongodb"),
        likely("mongodb-client", CLIENT(mongodb(5, 0)), protocol="mongodb"),
    ],
    "memcached": [
        sure("memcached", CLIENT(b"get key\r\n"), SERVER(b"END\r\n")),
        sure("memcached-set", CLIENT(b"set key 0 60 5\r\nhello\r\n"), SERVER(b"STORED\r\n"), protocol="memcached"),
        likely("memcached-client", CLIENT(b"set key 0 60 5\r\nhello\r\n"), protocol="memcached"),
        sure(
            "memcached-binary",
            CLIENT(b"\x80\x0b" + bytes(10) + b"opaq" + bytes(8)),
            SERVER(b"\x81\x0b" + bytes(6) + b"\x00\x00\x00\x06" + b"opaq" + bytes(8) + b"1.6.18"),
            protocol="memcached",
        ),
    ],
    "git": [
        sure(
            "git",
            CLIENT(b"0031git-upload-pack /x.git\x00host=git.example.org\x00"),
            SERVER(b"003d" + b"0123456789" * 4 + b" HEAD\x00multi_ack\n"),
        ),
        likely("git-client", CLIENT(b"0032git-receive-pack /x.git\x00host=git.example.org\x00"), protocol="git"),
    ],
    "rsync": [
        sure("rsync", CLIENT(b"@RSYNCD: 31.0\n"), SERVER(b"@RSYNCD: 32.0 sha512 md5\n")),
        likely("rsync-server", SERVER(b"@RSYNCD: 31.0\n"), protocol="rsync"),
    ],
    "xmpp": [
        sure(
            "xmpp",
            CLIENT(
                b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='x' xmlns:stream='http://etherx.jabber.org/streams'>"
            ),
            SERVER(
                b"<stream:stream xmlns='jabber:client' from='x' xmlns:stream='http://etherx.jabber.org/streams' id='1'>"
            ),
        ),
        likely(
            "xmpp-client",
            CLIENT(b"<stream:stream to='x' xmlns:stream='http://etherx.jabber.org/streams'>"),
            protocol="xmpp",
        ),
    ],
    "irc": [
        sure("irc", CLIENT(b"NICK a\r\n"), SERVER(b":irc.example.org NOTICE * :hello\r\n")),
        sure("irc-greeting", SERVER(b"NOTICE AUTH :hello\r\n"), CLIENT(b"USER a b c :d\r\n"), protocol="irc"),
        likely("irc-client", CLIENT(b"CAP LS 302\r\nNICK a\r\nUSER a 0 * :A\r\n"), protocol="irc"),
    ],
    "rtsp": [
        sure(
            "rtsp",
            CLIENT(b"OPTIONS rtsp://192.0.2.1/stream RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
            SERVER(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        ),
        likely("rtsp-client", CLIENT(b"DESCRIBE rtsp://192.0.2.1/a RTSP/2.0\r\n\r\n"), protocol="rtsp"),
    ],
    "rtmp": [
        sure("rtmp", CLIENT(RTMP_HELLO), SERVER(RTMP_ANSWER)),
        sure(
            "rtmp-signed",
            CLIENT(b"\x03" + bytes(4) + b"\x0a\x00\x2d\x02" + noise(1528, 4)),
            SERVER(b"\x03" + noise(3072, 5)),
            CLIENT(noise(1536, 6) + b"\x03" + bytes(5) + b"\x70\x14" + bytes(4) + b"\x02\x00\x07connect"),
            protocol="rtmp",
        ),
    ],
    "dcerpc": [
        sure("dcerpc", CLIENT(dcerpc(11)), SERVER(dcerpc(12))),
        likely("dcerpc-client", CLIENT(dcerpc(11)), protocol="dcerpc"),
    ],
    "onc_rpc": [
        sure("onc-rpc", CLIENT(rpc_call(77)), SERVER(rpc_reply(77)), transport=UDP),
        sure("onc-rpc-tcp", CLIENT(record(rpc_call(78))), SERVER(record(rpc_reply(78))), protocol="onc-rpc"),
        likely("onc-rpc-client", CLIENT(rpc_call(77)), protocol="onc-rpc", transport=UDP),
    ],
    "mssql": [
        sure("mssql", CLIENT(tds(0x12, TDS_OPTIONS)), SERVER(tds(4, TDS_OPTIONS))),
        sure(
            "mssql-login",
            CLIENT(tds(0x10, struct.pack("<II", 24, 0x71000001) + bytes(16))),
            SERVER(tds(4, b"\xe3\x0b\x00\x01")),
            protocol="mssql",
        ),
        likely("mssql-client", CLIENT(tds(0x12, TDS_OPTIONS)), protocol="mssql"),
    ],
    "oracle": [
        sure("oracle", CLIENT(tns(1, bytes(50) + TNS_DESCRIPTOR)), SERVER(tns(2, bytes(24)))),
        likely("oracle-client", CLIENT(tns(1, bytes(50) + TNS_DESCRIPTOR)), protocol="oracle"),
    ],
    "diameter": [
        sure("diameter", CLIENT(diameter(0x80)), SERVER(diameter(0x00))),
        likely("diameter-client", CLIENT(diameter(0x80)), protocol="diameter"),
    ],
    "cassandra": [
        sure(
            "cassandra",
            CLIENT(b"\x04\x00\x00\x01\x05" + bytes(4)),
            SERVER(b"\x84\x00\x00\x01\x06\x00\x00\x00\x02\x00\x00"),
        ),
        likely("cassandra-startup", CLIENT(CQL_STARTUP), protocol="cassandra"),
        Sample(
            "cassandra-options", TCP, (CLIENT(b"\x04\x00\x00\x01\x05" + bytes(4)),), "cassandra", Confidence.POSSIBLE
        ),
    ],
    "finger": [
        sure("finger", CLIENT(b"root\r\n"), SERVER(b"Login: root           \tName: Super User\r\n")),
    ],
    "x11": [
        sure("x11", CLIENT(X11_SETUP), SERVER(X11_REPLY)),
        likely("x11-client", CLIENT(X11_SETUP), protocol="x11"),
    ],
    "whatsapp": [
        sure("whatsapp", CLIENT(WHATSAPP_HELLO), SERVER(b"\x00\x00\x26\x1a\x24\x0a\x22" + noise(34))),
        sure(
            "whatsapp-old",
            CLIENT(b"WA\x01\x05\x00\x00\x05\xf8\x05\x01\xa5\x91"),
            SERVER(b"\x00\x00\x05\xf8\x03\x01\x3a\x91"),
            protocol="whatsapp",
        ),
        likely("whatsapp-client", CLIENT(WHATSAPP_HELLO), protocol="whatsapp"),
    ],
    "ethereum": [
        sure("ethereum", CLIENT(rlpx()), SERVER(rlpx())),
        likely("ethereum-old", CLIENT(rlpx()[2:]), protocol="ethereum"),
    ],
    "bitcoin": [
        sure("bitcoin", CLIENT(bitcoin(b"version")), SERVER(bitcoin(b"version"))),
        likely("bitcoin-client", CLIENT(bitcoin(b"version")), protocol="bitcoin"),
    ],
    "fix": [
        sure("fix", CLIENT(b"8=FIX.4.4\x019=65\x0135=A\x0134=1\x01"), SERVER(b"8=FIX.4.4\x019=65\x0135=A\x0134=1\x01")),
        likely("fix-client", CLIENT(b"8=FIXT.1.1\x019=65\x0135=A\x0134=1\x01"), protocol="fix"),
    ],
    "stomp": [
        sure(
            "stomp", CLIENT(b"CONNECT\naccept-version:1.2\nhost:x\n\n\x00"), SERVER(b"CONNECTED\nversion:1.2\n\n\x00")
        ),
        likely("stomp-client", CLIENT(b"STOMP\naccept-version:1.2\n\n\x00"), protocol="stomp"),
    ],
}
"Detector name to its samples."

LOOKALIKES: list[Sample] = [
    lookalike("greeting-without-a-word", TCP, SERVER(b"220 welcome\r\n"), CLIENT(b"QUIT\r\n"), SERVER(b"221 bye\r\n")),
    lookalike("plus-ok-to-a-password", TCP, CLIENT(b"AUTH secret\r\n"), SERVER(b"+OK\r\n")),
    lookalike("star-ok-to-nothing-of-imap", TCP, SERVER(b"* OK ready\r\n"), CLIENT(b"hello world\r\n")),
    lookalike(
        "snmp",
        UDP,
        CLIENT(tlv(0x30, b"\x02\x01\x01\x04\x06public", tlv(0xA0, b"\x02\x01\x07"))),
        SERVER(tlv(0x30, b"\x02\x01\x01\x04\x06public", tlv(0xA2, b"\x02\x01\x07"))),
        truly="snmp",
    ),
    lookalike(
        "iso-transport",
        TCP,
        CLIENT(x224(0xE0)),
        SERVER(x224(0xD0)),
        CLIENT(x224_data(b"\x0d\x20")),
        SERVER(x224_data(b"\x0e\x20")),
    ),
    lookalike("one-letter-answers", TCP, CLIENT(b"\x00\x00\x00\x08\x00\x00\x00\x01"), SERVER(b"S")),
    lookalike("mongodb-to-another-request", TCP, CLIENT(mongodb(5, 0)), SERVER(mongodb(99, 6))),
    lookalike("rpc-to-another-call", UDP, CLIENT(rpc_call(1)), SERVER(rpc_reply(2))),
    lookalike("ntp-not-synchronised", UDP, CLIENT(b"\xe3\x00\x06\xe8\x00\x00\x00\x00\x00\x00\x00\x02INIT" + bytes(32))),
    lookalike("not-on-the-curve", TCP, CLIENT(rlpx(noise(64))), SERVER(rlpx(noise(64)))),
    lookalike("ones", TCP, CLIENT(b"\xff" * 40), SERVER(b"\xff" * 40)),
    lookalike("echo", TCP, CLIENT(b"hello\r\n"), SERVER(b"hello\r\n")),
    lookalike("echoed-binary", TCP, CLIENT(mongodb(5, 5)), SERVER(mongodb(5, 5))),
    lookalike(
        "thrift",
        TCP,
        CLIENT(b"\x80\x01\x00\x01\x00\x00\x00\x04ping" + bytes(13)),
        SERVER(b"\x80\x01\x00\x02\x00\x00\x00\x04ping" + bytes(13)),
    ),
    lookalike("sized-noise", TCP, CLIENT(b"\x03" + bytes(8) + noise(3064, 7)), SERVER(b"\x03" + noise(3072, 8))),
]
"Exchanges that no detector may call confirmed."
