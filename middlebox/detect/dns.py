"""DNS over UDP and TCP (RFC 1035), recognised by parsing whole messages.

The one rule: a message counts only when its header, its names and its record counts agree with every
byte of it, so that another protocol on port 53 is not taken for DNS.
"""

import re
from dataclasses import dataclass, replace
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = Struct("!6H")
"Id, flags, and the number of questions, answers, authority and additional records (RFC 1035 section 4.1.1)."
_PAIR = Struct("!2H")
_RECORD = Struct("!HHIH")
"Type, class, time to live, length of the data that follows (RFC 1035 section 4.1.3)."
_LENGTH = Struct("!H")
"Over TCP each message follows its length (RFC 1035 section 4.2.2)."

_REPLY_BIT = 0x8000
_OPCODES = frozenset({0, 2, 4, 5})
"QUERY, STATUS, NOTIFY (RFC 1996), UPDATE (RFC 2136)."
_CLASSES = frozenset({1, 3, 4, 254, 255})
"IN, CH, HS, NONE, ANY (RFC 6895 section 3.2)."
_MULTICAST_BIT = 0x8000
"Top bit of a class: unicast answer wanted, or flush the cache (RFC 6762 sections 5.4 and 10.2)."
_MULTICAST_STARTS = frozenset({bytes(4), b"\x00\x00\x02\x00", b"\x00\x00\x84\x00"})
"Ids and flags of multicast DNS: query, truncated query, response (RFC 6762 section 18)."
_MULTICAST_NAMES = (b"\x05local\x00", b"\x04arpa\x00")
"What its names end in (RFC 6762 sections 3 and 4)."
_OPT = 41
"The EDNS pseudo-record, whose class is a buffer size (RFC 6891 section 6.1.2)."
_MAX_NAME = 255
_MAX_LABEL = 63
_POINTER = 0xC0
_SHORTEST_QUERY = 17
"A header and a question for the root."
_MAX_WAITING = 16
"Unanswered queries remembered per UDP flow: real resolvers answer, or are asked again."

_NETBIOS_TYPES = frozenset({32, 33})
"NB and NBSTAT, the only types of the NetBIOS name service, which borrows this format (RFC 1002 section 4.2)."
_NETBIOS_LABEL_SIZE = 32
_NETBIOS_LETTERS = frozenset(b"ABCDEFGHIJKLMNOP")
"Its names are 16 bytes written as 32 of these letters (RFC 1001 section 14.1)."

_RRTYPE_TABLE = """
    1 A 2 NS 5 CNAME 6 SOA 10 NULL 12 PTR 13 HINFO 15 MX 16 TXT 17 RP 18 AFSDB 24 SIG 25 KEY 28 AAAA 29 LOC 33 SRV
    35 NAPTR 36 KX 37 CERT 39 DNAME 41 OPT 42 APL 43 DS 44 SSHFP 45 IPSECKEY 46 RRSIG 47 NSEC 48 DNSKEY 49 DHCID
    50 NSEC3 51 NSEC3PARAM 52 TLSA 53 SMIMEA 55 HIP 59 CDS 60 CDNSKEY 61 OPENPGPKEY 62 CSYNC 63 ZONEMD 64 SVCB
    65 HTTPS 99 SPF 108 EUI48 109 EUI64 249 TKEY 250 TSIG 251 IXFR 252 AXFR 255 ANY 256 URI 257 CAA"""
_RRTYPES = {int(number): name for number, name in re.findall(r"(\d+) (\S+)", _RRTYPE_TABLE)}
"IANA registry 'Resource Record (RR) TYPEs'; others are written TYPEnn (RFC 3597 section 5)."
_RCODES = (
    *("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"),
    *("YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"),
)


@dataclass(slots=True, frozen=True)
class Question:
    """The first question of a message."""

    name: bytes
    "As on the wire, lower-case (names compare without case: RFC 4343 section 3)."
    rrtype: int
    rrclass: int


@dataclass(slots=True, frozen=True)
class Message:
    """What the detector needs of one DNS message."""

    message_id: int
    is_reply: bool
    opcode: int
    rcode: int
    question: Question | None


class _NotDnsError(Exception):
    """The bytes break a rule of the format."""


def _is_sane_header(flags: int, counts: tuple[int, ...], size: int) -> bool:
    """Whether a header may open a message of `size` bytes. A cheap test that most other traffic fails."""
    if flags >> 11 & 0xF not in _OPCODES:
        return False
    questions, records = counts[0], sum(counts[1:])
    if not flags & _REPLY_BIT and (flags & 0xF or not questions + records):
        return False
    return _HEADER.size + questions * 5 + records * 11 <= size


def _skip_name(data: bytes, at: int) -> int:
    """The offset after the name at `at`. Pointers must point backward (RFC 1035 section 4.1.4)."""
    start = at
    while True:
        length = data[at]
        if length >= _POINTER:
            target = (length & ~_POINTER) << 8 | data[at + 1]
            if not _HEADER.size <= target < start:
                raise _NotDnsError
            return at + 2
        if length > _MAX_LABEL or at + 1 - start > _MAX_NAME:
            raise _NotDnsError
        at += 1 + length
        if not length:
            return at


def _check_type(data: bytes, name_at: int, rrtype: int, rrclass: int) -> None:
    """Refuse what DNS does not use, and what only the NetBIOS name service does."""
    is_netbios = data[name_at] == _NETBIOS_LABEL_SIZE and _NETBIOS_LETTERS.issuperset(
        data[name_at + 1 : name_at + 1 + _NETBIOS_LABEL_SIZE]
    )
    if not rrtype or (rrtype in _NETBIOS_TYPES and is_netbios):
        raise _NotDnsError
    if rrtype != _OPT and rrclass & ~_MULTICAST_BIT not in _CLASSES:
        raise _NotDnsError


def _read_questions(data: bytes, count: int) -> tuple[Question | None, int]:
    """The first question, and the offset after the last one."""
    first, at = None, _HEADER.size
    for _ in range(count):
        start, at = at, _skip_name(data, at)
        rrtype, rrclass = _PAIR.unpack_from(data, at)
        _check_type(data, start, rrtype, rrclass)
        first = first or Question(data[start:at].lower(), rrtype, rrclass)
        at += _PAIR.size
    return first, at


def _skip_records(data: bytes, at: int, count: int) -> int:
    """The offset after `count` resource records."""
    for _ in range(count):
        start, at = at, _skip_name(data, at)
        rrtype, rrclass, _ttl, length = _RECORD.unpack_from(data, at)
        _check_type(data, start, rrtype, rrclass)
        at += _RECORD.size + length
        if at > len(data):
            raise _NotDnsError
    return at


def parse_message(data: bytes, *, cut: bool = False) -> Message | None:
    """The DNS message that `data` is, or None.

    With `cut`, `data` is only the beginning of a message: its header and questions must be whole, its
    records are not looked at. Without it the message must end where `data` ends.
    """
    if len(data) < _HEADER.size:
        return None
    message_id, flags, *counts = _HEADER.unpack_from(data)
    if not _is_sane_header(flags, tuple(counts), 0xFFFF if cut else len(data)):
        return None
    try:
        question, at = _read_questions(data, counts[0])
        if not cut and _skip_records(data, at, sum(counts[1:])) != len(data):
            return None
    except (_NotDnsError, IndexError, StructError):
        return None
    return Message(message_id, bool(flags & _REPLY_BIT), flags >> 11 & 0xF, flags & 0xF, question)


def read_query(data: bytes) -> dict[str, object] | None:
    """The facts of a query that `data` is from its first to its last byte; None for anything else."""
    message = parse_message(data)
    if message is None or message.is_reply or message.question is None or is_multicast(data):
        return None
    return _facts(message.question)


def read_first_name(data: bytes) -> bytes:
    """The name that follows the header, lower-case, as on the wire; a lone zero when there is none."""
    try:
        return data[_HEADER.size : _skip_name(data, _HEADER.size)].lower() or b"\x00"
    except (_NotDnsError, IndexError):
        return b"\x00"


def is_multicast(data: bytes) -> bool:
    """Whether a DNS message is one of multicast DNS: id 0, its flags, and a name of the local link (RFC 6762)."""
    return data[:4] in _MULTICAST_STARTS and read_first_name(data).endswith(_MULTICAST_NAMES)


def _name_text(name: bytes) -> str:
    r"""A wire-format name as text, what is not printable as \DDD (RFC 1035 section 5.1); the root is a dot."""
    labels, at = [], 0
    while name[at]:
        label = name[at + 1 : at + 1 + name[at]]
        labels.append(
            "".join(chr(byte) if 0x20 < byte < 0x7F and byte not in b".\\" else f"\\{byte:03d}" for byte in label)
        )
        at += 1 + name[at]
    return ".".join(labels) or "."


def _facts(question: Question | None, rcode: int | None = None) -> dict[str, object]:
    facts: dict[str, object] = {}
    if question is not None:
        facts["dns.rrname"] = _name_text(question.name)
        facts["dns.rrtype"] = _RRTYPES.get(question.rrtype, f"TYPE{question.rrtype}")
    if rcode is not None:
        facts["dns.rcode"] = _RCODES[rcode] if rcode < len(_RCODES) else f"RCODE{rcode}"
    return facts


def _answers(reply: Message, query: Message) -> bool:
    """Whether `reply` belongs to `query`. A server that rejects a query may leave the question out."""
    if (reply.message_id, reply.opcode) != (query.message_id, query.opcode):
        return False
    return reply.question == query.question or (reply.question is None and reply.rcode != 0)


def _unlinked(message: Message) -> Evidence:
    what = "reply" if message.is_reply else "query"
    return Evidence("dns", Confidence.PROBABLE, f"a well-formed DNS {what}", _facts(message.question), more=True)


def _linked(query: Message, reply: Message) -> Evidence:
    echo = "id and question" if reply.question else "id"
    reason = f"the reply repeats the query's {echo}"
    return Evidence("dns", Confidence.CONFIRMED, reason, _facts(query.question, reply.rcode))


def _may_begin_stream(data: bytes) -> bool:
    """Whether `data`, which is not a whole message, may be the beginning of one with its length before it."""
    size = _LENGTH.unpack_from(data)[0]
    if not _SHORTEST_QUERY <= size <= STREAM_LIMIT - _LENGTH.size or len(data) >= _LENGTH.size + size:
        return False
    if len(data) < _LENGTH.size + _HEADER.size:
        return True
    _id, flags, *counts = _HEADER.unpack_from(data, _LENGTH.size)
    return _is_sane_header(flags, tuple(counts), size)


class Dns(Detector):
    """Finds a query, then the reply that repeats its id and question."""

    name: ClassVar[str] = "dns"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("dns",)
    facts: ClassVar[tuple[str, ...]] = ("dns.rrname", "dns.rrtype", "dns.rcode")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Encrypted DNS, what queries after the first answered one ask, and TCP connections joined after their start."
    )

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."
        self._waiting: dict[tuple[bool, int], Message] = {}
        "UDP: queries without an answer yet, by who asked and message id."
        self._queries: list[Message] = []
        "TCP: the messages that the client began with."
        self._position = 0
        "TCP: where the client's next message begins."

    def feed(self, talk: Conversation) -> Answer:
        """UDP: each datagram is one message. TCP: the messages that both sides began with."""
        is_stream = talk.client or talk.server
        found = self._feed_stream(talk.client, talk.server) if is_stream else self._feed_datagram(talk)
        answer = only_news(found, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _feed_datagram(self, talk: Conversation) -> Answer:
        message = parse_message(talk.data, cut=talk.size > len(talk.data))
        if message is None:
            return Opinion.NO
        if is_multicast(talk.data):
            return replace(_unlinked(message), more=False)  # answers come in another flow
        if message.is_reply:
            query = self._waiting.get((not talk.from_client, message.message_id))
            if query is not None and _answers(message, query):
                return _linked(query, message)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting[talk.from_client, message.message_id] = message
        # What was asked first stays the flow's name until an answer links.
        return Opinion.MORE if self._given else _unlinked(message)

    def _read_queries(self, client: bytes) -> bool:
        """Take in whole messages, each once; False when the client does not begin like DNS."""
        while len(client) - self._position >= _LENGTH.size and len(self._queries) < _MAX_WAITING:
            start = self._position + _LENGTH.size
            end = start + _LENGTH.unpack_from(client, self._position)[0]
            if len(client) < end:
                return bool(self._queries) or _may_begin_stream(client)
            message = parse_message(client[start:end])
            if message is None:
                self._position = STREAM_LIMIT  # what follows is something else
                return bool(self._queries)
            self._queries.append(message)
            self._position = end
        return True

    def _feed_stream(self, client: bytes, server: bytes) -> Answer:
        if not self._read_queries(client):
            return Opinion.NO
        queries = self._queries
        if queries and queries[0].is_reply:
            return Opinion.NO
        if not queries:
            return Opinion.NO if server else Opinion.MORE
        if len(server) < _LENGTH.size + _HEADER.size:
            return _unlinked(queries[0])
        # A zone transfer's first message may be longer than what is kept, so its questions must do.
        message_id, _flags, questions = _HEADER.unpack_from(server, _LENGTH.size)[:3]
        query = next((query for query in queries if query.message_id == message_id), None)
        if query is None:
            return Opinion.NO
        question = len(query.question.name) + _PAIR.size if query.question and questions else 0
        if len(server) < _LENGTH.size + _HEADER.size + question:
            return _unlinked(queries[0])
        reply = parse_message(server[_LENGTH.size :], cut=True)
        if reply is None or not reply.is_reply or not _answers(reply, query):
            return Opinion.NO
        return _linked(query, reply)
