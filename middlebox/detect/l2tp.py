"""L2TP over UDP (RFC 2661; version 3: RFC 3931), and the IP packets that its data carries in clear.

The one rule: `confirmed` needs a control message that goes to the number which the other side assigned, or data both
ways with PPP packets that fill their datagrams to the byte.
"""

import struct
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.gre import ip_length
from middlebox.detect.l2tp_message import Exchange, parse_control
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_NUMBER = struct.Struct("!H")
_CONTROL_BIT, _LENGTH_BIT, _SEQUENCE_BIT, _OFFSET_BIT = 0x8000, 0x4000, 0x0800, 0x0200
_RESERVED_BITS = 0x34F0
_VERSION = 0x000F
_LEAST_DATA_BYTES = 8
"Flags, tunnel, session and a PPP protocol."
_ADDRESS_AND_CONTROL = b"\xff\x03"
"Of HDLC, which PPP may leave out (RFC 1661 section 6.6)."
_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057
_PPP_NEGOTIATION = frozenset({0xC021, 0xC023, 0xC223, 0x8021, 0x8057, 0x80FD})
"LCP, PAP, CHAP, IPCP, IPV6CP, CCP: their packets say how long they are (RFC 1661 section 5)."
_PPP_HEADER = 4
_MAX_FOREIGN = 4
"Datagrams in a row that are not L2TP."
_DATA_ONE_WAY = 3


class Data:
    """A data message of version 2."""

    __slots__ = ("ppp", "session", "tunnel")

    def __init__(self, tunnel: int, session: int, ppp: int) -> None:
        self.tunnel, self.session = tunnel, session
        self.ppp = ppp
        "Where the PPP frame begins."


def _parse_data(data: bytes, size: int) -> Data | None:
    if len(data) < _LEAST_DATA_BYTES:
        return None
    (flags,) = _NUMBER.unpack_from(data)
    if flags & (_CONTROL_BIT | _RESERVED_BITS) or flags & _VERSION != 2:
        return None
    at = _NUMBER.size
    if flags & _LENGTH_BIT:
        if _NUMBER.unpack_from(data, at)[0] != size:
            return None
        at += _NUMBER.size
    tunnel, session = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
    at += 4 + 4 * bool(flags & _SEQUENCE_BIT)
    if flags & _OFFSET_BIT:
        at += _NUMBER.size + int.from_bytes(data[at : at + _NUMBER.size])
    return Data(tunnel, session, at) if tunnel and session and at < len(data) else None


def _skip_ppp(data: bytes, at: int) -> tuple[int, int]:
    """The PPP protocol of the frame at `at`, and where what it carries begins (RFC 1661 sections 2 and 6)."""
    if data.startswith(_ADDRESS_AND_CONTROL, at):
        at += len(_ADDRESS_AND_CONTROL)
    if data[at : at + 1] and data[at] & 1:  # a compressed protocol field: one byte, which is odd
        return data[at], at + 1
    return int.from_bytes(data[at : at + 2]), at + 2


def _is_filled(data: bytes, size: int, at: int) -> bool:
    """Whether the PPP frame at `at` holds a packet that says it ends where the datagram of `size` bytes does."""
    protocol, start = _skip_ppp(data, at)
    if protocol in (_PPP_IPV4, _PPP_IPV6):
        return ip_length(data[start : start + 40]) == size - start
    if protocol in _PPP_NEGOTIATION and len(data) >= start + _PPP_HEADER:
        return int.from_bytes(data[start + 2 : start + _PPP_HEADER]) == size - start
    return False


class L2tp(Detector):
    """Links control messages by the numbers they assign; without those, follows data."""

    name: ClassVar[str] = "l2tp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("l2tp",)
    client_begins: ClassVar[bytes] = bytes(first for first in range(256) if not first & _RESERVED_BITS >> 8)
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ("l2tp.version",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "L2TP inside IPsec, which is seen as IPsec, and encrypted data without control messages."
    unwraps: ClassVar[bool] = True

    __slots__ = ("_exchange", "_filled", "_foreign", "_given", "_is_begun")

    def __init__(self) -> None:
        self._exchange = Exchange()
        self._filled = [0, 0]
        "Data messages of the server and of the client that are filled."
        self._foreign = 0
        self._is_begun = False
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one message."""
        answer = only_news(self._judge(talk), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge(self, talk: Conversation) -> Answer:
        data = talk.data
        if len(data) < 2 or data[1] & _VERSION not in (2, 3):
            return self._pass_over()
        control = parse_control(data, talk.size)
        if control is not None:
            self._is_begun, self._foreign = True, 0
            facts: dict[str, object] = {"l2tp.version": control.version}
            if self._exchange.add(control, from_client=talk.from_client):
                reason = "an L2TP control message goes to the number that the other side assigned"
                return Evidence("l2tp", Confidence.CONFIRMED, reason, facts)
            if control.kind or self._given is not None:
                reason = "a well-formed L2TP control message"
                return Evidence("l2tp", Confidence.PROBABLE, reason, facts, more=True)
            return Opinion.MORE
        message = _parse_data(data, talk.size)
        if message is None or not (self._is_begun or _is_filled(data, talk.size, message.ppp)):
            return self._pass_over()
        self._is_begun, self._foreign = True, 0
        self._filled[talk.from_client] += _is_filled(data, talk.size, message.ppp)
        if all(self._filled):
            reason = "L2TP data both ways, with PPP packets that fill their datagrams"
            return Evidence("l2tp", Confidence.CONFIRMED, reason, {"l2tp.version": 2})
        if max(self._filled) >= _DATA_ONE_WAY:
            reason = "L2TP data one way, with PPP packets that fill their datagrams"
            return Evidence("l2tp", Confidence.PROBABLE, reason, {"l2tp.version": 2}, more=True)
        return Opinion.MORE

    def _pass_over(self) -> Opinion:
        self._foreign += 1
        return Opinion.MORE if self._is_begun and self._foreign <= _MAX_FOREIGN else Opinion.NO

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet in the PPP frame of a data message."""
        message = _parse_data(data, len(data))
        if message is None:
            return b""
        protocol, start = _skip_ppp(data, message.ppp)
        return data[start:] if protocol in (_PPP_IPV4, _PPP_IPV6) else b""
