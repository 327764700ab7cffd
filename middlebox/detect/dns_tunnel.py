"""DNS tunnels that can be read: iodine, dns2tcp, dnscat2 and dnstt, each by its own framing.

The one rule: a query that looks like a tunnel's proves nothing; `confirmed` needs the reply that fits it: iodine's
verdict on a version, a session's number and sequence that come back, frames that fill an answer to the last byte.

Sources: iodine 0.7, doc/proto_00000502.txt, src/common.h and version.h (version check, codec check);
dns2tcp 0.5.2, common/includes/packet.h and common/base64.c; dnscat2, doc/protocol.md; dnstt, dnstt-client/dns.go.
"""

import re
from base64 import b32decode, b64decode
from binascii import Error as NotBase64Error
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.dns_names import CNAME, KEY, MX, NULL, PRIVATE, TXT, Question, read_answers, read_question
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_IODINE_VERSION_QUERY = re.compile(rb"vaaaa[kl][a-z0-5]{5}", re.IGNORECASE)
"V, and in iodine's base32 a version of 0x00000500 to 0x000005ff and two bytes of noise."
_IODINE_VERDICTS = (b"VACK", b"VNAK", b"VFUL")
_IODINE_VERDICTS_IN_BASE32 = (b"kzaugs", b"kzhecs", b"kzdfkt")
"The same with iodine's letters a to z and 0 to 5; a letter for the codec stands before."
_IODINE_CODEC_QUERY = re.compile(rb"y[rtsuv]b[a-z0-5]{3}", re.IGNORECASE)
_IODINE_CODEC_CHECK = bytes.fromhex("00000000ffffffff55555555aaaaaaaa8163c8d2c77cb217")
"What the server sends when it is asked to show that bytes arrive unchanged (DOWNCODECCHECK1)."

_DNS2TCP_COMMANDS = frozenset((b"=auth", b"=resource", b"=connect"))
"Labels with which a dns2tcp client says what it wants."
_DNS2TCP_BASE64 = re.compile(rb"[A-Za-z0-9+/]{10,63}")
_DNS2TCP_HEADER = 6
"Session, acknowledgment and sequence, of two bytes each: eight letters of base64."

_DNSCAT2_MARK = b"dnscat"
"First label when there is no domain."
_HEX_DIGITS = re.compile(rb"[0-9a-f]+", re.IGNORECASE)
_LEAST_HEX, _MOST_HEX = 18, 64
"Nine bytes: the packets without a payload are that long. More than the second number need not be looked at."
_DNSCAT2_TYPES = frozenset((0, 1, 2, 3, 0xFF))
"SYN, MSG, FIN, ENC, PING. A packet is: id (2 bytes), type, session (2 bytes), and what the type wants."

_DNSTT_BASE32 = re.compile(rb"[a-z2-7]+")
_DNSTT_CLIENT = 8
"Bytes with the client's number that begin each query."
_DNSTT_PADDING = 224
"A byte of this and more says how much padding follows; a smaller one how long a packet is."

_CARRYING_TYPES = frozenset((NULL, PRIVATE, TXT, CNAME, MX, KEY, 1, 28, 33))
"Types of queries that these programs make."
_MAX_WAITING = 16
"Queries without an answer that are remembered."
_PATIENCE = 4
"Messages in a row that fit none of these programs."


class _Hope(NamedTuple):
    """What a query may be, and how to tell by the reply."""

    program: str
    is_tunnel: Callable[[list[bytes]], bool]
    is_marked: bool
    "The query bears a word of the program's."


def _decode_base64(text: bytes) -> bytes:
    try:
        return b64decode(text[: len(text) & ~3])
    except NotBase64Error:
        return b""


def _iodine(question: Question) -> _Hope | None:
    first = question.labels[0]
    if _IODINE_VERSION_QUERY.fullmatch(first):
        return _Hope("iodine", lambda answers: any(map(_is_iodine_verdict, answers)), True)
    if _IODINE_CODEC_QUERY.fullmatch(first):
        return _Hope("iodine", lambda answers: any(_IODINE_CODEC_CHECK in data for data in answers), False)
    return None


def _is_iodine_verdict(data: bytes) -> bool:
    return data.startswith(_IODINE_VERDICTS) or data[1:].lower().startswith(_IODINE_VERDICTS_IN_BASE32)


def _dns2tcp(question: Question) -> _Hope | None:
    first = question.labels[0]
    if question.rrtype not in (TXT, KEY) or not _DNS2TCP_BASE64.fullmatch(first):
        return None
    asked = _decode_base64(first[:8])
    is_command = any(label.lower() in _DNS2TCP_COMMANDS for label in question.labels)
    if len(asked) < _DNS2TCP_HEADER or not any(asked) or not (any(asked[:2]) or is_command):
        return None

    def fits(answers: list[bytes]) -> bool:
        # A letter that counts the answers of a reply stands before the header. The first reply gives the session.
        headers = [_decode_base64(data[1:9]) for data in answers if data[:1].isalpha()]
        return any(header[4:] == asked[4:] and (header[:2] == asked[:2] or not any(asked[:2])) for header in headers)

    return _Hope("dns2tcp", fits, is_command)


def _dnscat2(question: Question) -> _Hope | None:
    asked = _read_hex(question.labels)
    if asked is None:
        return None

    def fits(answers: list[bytes]) -> bool:
        for data in answers:
            answered = _HEX_DIGITS.match(data[:_MOST_HEX].lower().removeprefix(_DNSCAT2_MARK))
            if answered is None or len(answered[0]) < _LEAST_HEX:
                continue
            packet = bytes.fromhex(answered[0][: len(answered[0]) & ~1].decode())
            if packet[2:5] == asked[2:5] and packet[:2] != asked[:2]:
                return True
        return False

    return _Hope("dnscat2", fits, question.labels[0].lower() == _DNSCAT2_MARK)


def _read_hex(labels: tuple[bytes, ...]) -> bytes | None:
    """The packet in the leading labels, None when they hold none."""
    digits = b""
    for label in labels[labels[0].lower() == _DNSCAT2_MARK :]:
        if not _HEX_DIGITS.fullmatch(label):
            break
        digits += label
    if len(digits) < _LEAST_HEX:
        return None
    packet = bytes.fromhex(digits[: len(digits) & ~1].decode())
    return packet if packet[2] in _DNSCAT2_TYPES else None


def _dnstt(question: Question) -> _Hope | None:
    if question.rrtype != TXT or len(question.labels) < 2:
        return None
    # The domain is not known: try every split.
    text = b""
    for label in question.labels[:-1]:
        text += label.lower()
        if not _DNSTT_BASE32.fullmatch(label.lower()):
            return None
        if len(text) >= 20 and _is_dnstt_query(text):
            return _Hope("dnstt", _is_dnstt_answer, is_marked=False)
    return None


def _is_dnstt_query(text: bytes) -> bool:
    """Whether base32 holds a client's number and then padding and packets that fill it to the last byte."""
    try:
        message = b32decode(text.upper() + b"=" * (-len(text) % 8))
    except NotBase64Error:
        return False
    at, has_padding = _DNSTT_CLIENT, False
    while at < len(message):
        size = message[at]
        if size >= _DNSTT_PADDING:
            size -= _DNSTT_PADDING
            has_padding = True
        at += 1 + size
    return has_padding and at == len(message)


def _is_dnstt_answer(answers: list[bytes]) -> bool:
    """Whether an answer is filled to the last byte by packets with two bytes of length before each."""
    for data in answers:
        at = 0
        while at + 2 <= len(data) and (size := int.from_bytes(data[at : at + 2])):
            at += 2 + size
        if data and at == len(data):
            return True
    return False


_PROGRAMS = (_iodine, _dns2tcp, _dnscat2, _dnstt)


class DnsTunnel(Detector):
    """Links queries that hold a known tunnel's packets to the replies that answer those."""

    name: ClassVar[str] = "dns_tunnel"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("dns-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ("dns_tunnel.program",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Other tunnels' framing, iodine joined after its login, and DNS over TCP, TLS or HTTPS."
    builds_on: ClassVar[tuple[str, ...]] = ("dns",)

    __slots__ = ("_foreign", "_has_told_mark", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[_Hope, ...]] = {}
        "What queries without an answer may be, by message id."
        self._foreign = 0
        self._has_told_mark = False

    def feed(self, talk: Conversation) -> Answer:
        """Judge one datagram."""
        data = talk.data
        question = read_question(data)
        if question is None or not question.labels:
            return Opinion.NO
        if not question.is_reply:
            return self._feed_query(question)
        hopes = self._waiting.pop(question.message_id, ())
        answers = list(read_answers(data, question)) if hopes else []
        for hope in hopes:
            if hope.is_tunnel(answers):
                reason = f"the reply carries what {hope.program} answers to the query's packet"
                return Evidence("dns-tunnel", Confidence.CONFIRMED, reason, {"dns_tunnel.program": hope.program})
        return self._pass_over()

    def _feed_query(self, question: Question) -> Answer:
        if question.rrtype not in _CARRYING_TYPES or len(self._waiting) >= _MAX_WAITING:
            return self._pass_over()
        hopes = tuple(hope for find in _PROGRAMS if (hope := find(question)))
        if not hopes:
            return self._pass_over()
        self._waiting[question.message_id] = hopes
        marked = next((hope for hope in hopes if hope.is_marked), None)
        if marked is None or self._has_told_mark:
            return Opinion.MORE
        self._has_told_mark = True
        reason = f"the query bears what {marked.program} writes into its own"
        return Evidence("dns-tunnel", Confidence.PROBABLE, reason, {"dns_tunnel.program": marked.program}, more=True)

    def _pass_over(self) -> Opinion:
        self._foreign += 1
        return Opinion.NO if self._foreign >= _PATIENCE else Opinion.MORE
