"""LISP: IP packets in UDP behind eight bytes, and the control messages that map addresses to places.

The one rule: `confirmed` needs a whole IP packet, or a reply that repeats the 64-bit nonce of a request.
Sources: RFC 9300 section 5.1 (data), RFC 9301 section 5 (control).
"""

from typing import ClassVar

from middlebox.detect.base import INNER_PROTOCOLS, UDP, Conversation, Detector
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_DATA_HEADER_BYTES, _ENCAPSULATED_HEADER_BYTES = 8, 4
_NONCE_PRESENT, _LOCATORS, _ECHO_NONCE, _MAP_VERSION, _INSTANCE = 0x80, 0x40, 0x20, 0x10, 0x08
"Flags of the data header. Nonce and map version exclude each other; an echo needs a nonce (section 5.3)."
_RESERVED_FLAGS = 0x04
_MAP_REQUEST, _MAP_REPLY, _MAP_REGISTER, _MAP_NOTIFY, _ENCAPSULATED = 1, 2, 3, 4, 8
_ANSWERS = {_MAP_REPLY: _MAP_REQUEST, _MAP_NOTIFY: _MAP_REGISTER}
_LEAST_CONTROL_BYTES = 12
"Type, flags, count and nonce."
_HAS_REPLY = 0x04
"Flag in the first byte of a map request: a map-reply record follows."
_REGISTER_IDS_BYTES = 24
"xTR-ID and Site-ID, which may end a registration (RFC 9301 section 5.6)."
_ADDRESS_BYTES = {0: 0, 1: 4, 2: 16, 16389: 6, 16390: 8}
"By address family number (IANA): none, IPv4, IPv6, and MAC addresses of two lengths."
_CANONICAL = 16387
"LISP canonical addresses (RFC 8060) have a length of their own."
_LEAST_DIFFERENT_BYTES = 3
"A nonce is drawn at random; only registrations that want no notification may do without."
_MAX_RECORDS = 16
"Ours: a message has room for 255 records, real ones have a few."
_MAX_LOCATORS = 32
"Ours: places of one record."
_MAX_WAITING = 8
"Nonces of one flow that wait for their answers."
_MAX_STRANGERS = 4


def _start(data: bytes) -> int:
    """Where an IP packet would begin in a data packet or an encapsulated control message, 0 if this is neither."""
    if len(data) < 28:
        return 0
    flags = data[0]
    if flags >> 4 == _ENCAPSULATED and not any(data[1:4]) and data[_ENCAPSULATED_HEADER_BYTES] >> 4 in (4, 6):
        return _ENCAPSULATED_HEADER_BYTES
    is_consistent = not (flags & _NONCE_PRESENT and flags & _MAP_VERSION) and (
        not flags & _ECHO_NONCE or flags & _NONCE_PRESENT
    )
    has_number = flags & (_NONCE_PRESENT | _MAP_VERSION)
    if flags & _RESERVED_FLAGS or not is_consistent or (not has_number and any(data[1:4])):
        return 0
    return _DATA_HEADER_BYTES


def _after_address(data: bytes, at: int) -> int:
    """Where the address that begins with its family at `at` ends; beyond the data if it is none."""
    if at + 2 > len(data):
        return len(data) + 1
    family = data[at] << 8 | data[at + 1]
    if family == _CANONICAL and at + 8 <= len(data):
        return at + 8 + (data[at + 6] << 8 | data[at + 7])
    return at + 2 + _ADDRESS_BYTES.get(family, len(data))


def _after_record(data: bytes, at: int) -> int:
    """Where a mapping record ends (RFC 9301 section 5.4)."""
    locators = data[at + 4] if at + 4 < len(data) else 0
    if locators > _MAX_LOCATORS:
        return len(data) + 1
    at = _after_address(data, at + 10)
    for _ in range(locators):
        if at > len(data):
            break
        at = _after_address(data, at + 6)
    return at


def _is_filled(kind: int, data: bytes) -> bool:
    """Whether the records that a control message announces end where it ends (RFC 9301 sections 5.2 to 5.7)."""
    at, records = _LEAST_CONTROL_BYTES, data[3]
    if kind == _MAP_REQUEST:
        at = _after_address(data, at)
        for _ in range((data[2] & 0x1F) + 1):
            at = _after_address(data, at)
        for _ in range(records):
            at = _after_address(data, at + 2)
        return (_after_record(data, at) if data[0] & _HAS_REPLY else at) == len(data)
    if kind != _MAP_REPLY and at + 4 <= len(data):
        at += 4 + (data[at + 2] << 8 | data[at + 3])
    for _ in range(records):
        at = _after_record(data, at)
    return at == len(data) or (kind != _MAP_REPLY and at + _REGISTER_IDS_BYTES == len(data))


class Lisp(Detector):
    """Recognises LISP by whole packets or by nonces that are repeated."""

    __slots__ = ("_given", "_strangers", "_waiting")

    name: ClassVar[str] = "lisp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("lisp",)
    facts: ClassVar[tuple[str, ...]] = (INNER_PROTOCOLS,)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Control messages over TCP, and those whose answer takes another way."
    unwraps: ClassVar[bool] = True

    def __init__(self) -> None:
        self._given: Confidence | None = None
        self._strangers = 0
        self._waiting: dict[tuple[bool, int, bytes], None] = {}

    def feed(self, talk: Conversation) -> Answer:
        """Look for a whole packet, or for a nonce that the other side has sent."""
        found = self._look(talk)
        if found is None:
            self._strangers += 1
            return Opinion.NO if self._given is None or self._strangers > _MAX_STRANGERS else Opinion.MORE
        self._strangers = 0
        confidence, reason = found
        if self._given is not None and confidence <= self._given:
            return Opinion.MORE
        self._given = confidence
        return Evidence("lisp", confidence, reason, more=True)

    def _look(self, talk: Conversation) -> tuple[Confidence, str] | None:
        data = talk.data
        start = _start(data)
        if start and is_whole_ip(data[start:], talk.size - start):
            if any(data[:start]):
                return Confidence.CONFIRMED, "a LISP header, and behind it one whole IP packet"
            return Confidence.PROBABLE, "eight zeros, as in a LISP header without content, and one whole IP packet"
        kind = data[0] >> 4
        if kind not in (_MAP_REQUEST, _MAP_REPLY, _MAP_REGISTER, _MAP_NOTIFY) or len(data) < _LEAST_CONTROL_BYTES:
            return None
        nonce = data[4:12]
        is_nonce = len(set(nonce)) >= _LEAST_DIFFERENT_BYTES or (kind == _MAP_REGISTER and not any(nonce))
        if not 1 <= data[3] <= _MAX_RECORDS or not is_nonce:
            return None
        if not _is_filled(kind, data):
            return None
        request = _ANSWERS.get(kind)
        if request is not None and (not talk.from_client, request, nonce) in self._waiting:
            return Confidence.CONFIRMED, "a LISP map reply or notification repeats the other side's nonce"
        if len(self._waiting) >= _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[talk.from_client, kind, nonce] = None
        return Confidence.PROBABLE, "a LISP map message whose records fill it"

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet of a data packet, or of an encapsulated map request."""
        start = _start(data)
        return data[start:] if start else b""
