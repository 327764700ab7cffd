"""IPsec over UDP: IKE on any port, ESP in UDP, and IKE over TCP. ESP and AH over IP have files of their own.

The one rule: `confirmed` needs an IKE message that answers another one under the same initiator's SPI, or ESP both ways
whose SPIs stay while their sequence numbers advance.

Layout: RFC 7296 section 3.1 (IKEv2), RFC 2408 section 3.1 (IKEv1), RFC 3948 section 2 (UDP), RFC 9329 (TCP).
Only the header is read: chains and loops of payloads cost nothing.
"""

import struct
from typing import ClassVar, NamedTuple

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.detect.esp_packet import Associations, parse_esp
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_HEADER = struct.Struct("!8s8sBBBBII")
"SPI or cookie of the initiator and of the responder, next payload, version, exchange, flags, message id, length."
_NON_ESP_MARKER = bytes(4)
"Before IKE on the port that carries ESP, too: no SPI is zero (RFC 3948 section 2.2)."
_KEEPALIVE = b"\xff"
"RFC 3948 section 2.3."
_NO_SPI = bytes(8)
_VERSION_1, _VERSION_2 = 0x10, 0x20
_EXCHANGES_1 = frozenset({1, 2, 3, 4, 5, 6, 32, 33})
"Base, Identity Protection, Authentication Only, Aggressive, Informational, Transaction, Quick Mode, New Group Mode."
_OPENING_EXCHANGES_1 = frozenset({1, 2, 3, 4, 5})
_PAYLOADS_1 = frozenset({*range(1, 21), *range(128, 140)})
"RFC 2408 section 3.1, RFC 3947; above 127 drafts and vendors."
_EXCHANGES_2 = range(34, 45)
"IKE_SA_INIT to IKE_FOLLOWUP_KE (IANA, IKEv2 Exchange Types)."
_IKE_SA_INIT = 34
_SESSION_RESUME = 38
_PAYLOADS_2 = frozenset({0, *range(33, 55)})
"IANA, IKEv2 Payload Types."
_FLAGS_1 = 0x07
_RESPONSE = 0x20
"Of IKEv2's flags. Those that are reserved are ignored on receipt (RFC 7296 section 3.1)."

_STREAM_PREFIX = b"IKETCP"
"What the initiator's stream begins with (RFC 9329 section 4)."
_FRAME_LENGTH = 2

_MAX_STEP = 64
"Ours: ESP in UDP is recognised without an IP protocol number of its own, so its numbers must advance in order."
_MAX_SEQUENCE = 1 << 28
"Ours: of an association that was joined in its middle. Random bytes pass in one of 16 cases."
_ADVANCES_EACH_WAY = 2
"Three packets each way."
_ADVANCES_ONE_WAY = 4
_LEAST_ODD_BYTES = 3
"Different bytes of an SPI that was drawn at random, as IKE does. Of 10,000 of those, two fall short."
_OPENVPN_DATA = range(0x48, 0x50)
"""First byte of OpenVPN's P_DATA_V2, whose peer id and packet id stand where SPI and sequence number do. One ESP
direction in 32 looks like it; IKE shows it all the same."""
_SAMPLE = slice(8, 40)
_LEAST_DIFFERENT = 20
"Of 32 encrypted bytes, at least so many differ; fewer do once in 10^5."
_MAX_ASKED = 4
"Unanswered messages remembered per side."
_MAX_FOREIGN = 4
"Datagrams in a row that are neither IKE nor ESP."


class _Ike(NamedTuple):
    """An IKE header."""

    initiator: bytes
    responder: bytes
    is_version_2: bool
    message_id: int
    is_response: bool
    message: bytes

    def is_answered_by(self, answer: "_Ike") -> bool:
        """Whether a message of the other side answers this one."""
        if self.initiator != answer.initiator or self.is_version_2 != answer.is_version_2:
            return False
        if self.is_version_2:
            return answer.is_response and not self.is_response and self.message_id == answer.message_id
        return answer.responder != _NO_SPI and self.responder in (_NO_SPI, answer.responder) and self != answer

    def evidence(self, *, answered: bool) -> Evidence:
        """What this message shows."""
        version = "IKEv2" if self.is_version_2 else "IKEv1"
        if answered:
            reason = f"an {version} message is answered under the same initiator's SPI"
            return Evidence("ipsec", Confidence.CONFIRMED, reason, {"ipsec.version": version})
        reason = f"a well-formed {version} message"
        return Evidence("ipsec", Confidence.PROBABLE, reason, {"ipsec.version": version}, more=True)


def _parse_ike(data: bytes, size: int) -> _Ike | None:
    """The IKE message of `size` bytes that `data` begins, or None."""
    if len(data) < _HEADER.size:
        return None
    initiator, responder, payload, version, exchange, flags, message_id, length = _HEADER.unpack_from(data)
    if length != size or initiator == _NO_SPI:
        return None
    is_opening = responder == _NO_SPI
    if version == _VERSION_2:
        right = (
            exchange in _EXCHANGES_2
            and payload in _PAYLOADS_2
            # Without the responder's SPI there is only the first exchange, or a refusal of it.
            and (not is_opening or (exchange in (_IKE_SA_INIT, _SESSION_RESUME) and message_id == 0))
        )
        is_response = bool(flags & _RESPONSE)
    elif version == _VERSION_1:
        right = (
            exchange in _EXCHANGES_1
            and payload in _PAYLOADS_1
            and not flags & ~_FLAGS_1
            and (not is_opening or exchange in _OPENING_EXCHANGES_1)
        )
        is_response = not is_opening
    else:
        return None
    if not right:
        return None
    return _Ike(initiator, responder, version == _VERSION_2, message_id, is_response, data)


class Ipsec(Detector):
    """Links IKE messages by their SPIs; without those, follows SPIs and sequence numbers of ESP."""

    name: ClassVar[str] = "ipsec"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("ipsec",)
    facts: ClassVar[tuple[str, ...]] = ("ipsec.version",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "What ESP carries, ESP in UDP without encryption, and IKE messages whose length field is wrong."
    )

    __slots__ = ("_asked", "_associations", "_foreign", "_given")

    def __init__(self) -> None:
        self._asked: tuple[list[_Ike], list[_Ike]] = ([], [])
        "Messages of the server and of the client that wait for an answer."
        self._associations: Associations | None = None
        self._foreign = 0
        self._given: Evidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """UDP: each datagram is one message. TCP: the first frame of each side."""
        is_stream = talk.client or talk.server
        found = _judge_stream(talk) if is_stream else self._judge_datagram(talk)
        answer = only_news(found, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge_datagram(self, talk: Conversation) -> Answer:
        data, size = talk.data, talk.size
        if data == _KEEPALIVE:
            if self._given is None:
                reason = "a single byte FF, as IPsec keeps NAT mappings alive"
                return Evidence("ipsec", Confidence.POSSIBLE, reason, more=True)
            return self._pass_over()
        marked = data.startswith(_NON_ESP_MARKER)
        ike = _parse_ike(data[4:], size - 4) if marked else _parse_ike(data, size)
        if ike is not None:
            self._foreign = 0
            return self._judge_ike(ike, from_client=talk.from_client)
        if marked:
            return self._pass_over()
        return self._judge_esp(talk)

    def _judge_ike(self, ike: _Ike, *, from_client: bool) -> Evidence:
        mine, others = self._asked[from_client], self._asked[not from_client]
        if any(asked.is_answered_by(ike) or ike.is_answered_by(asked) for asked in others):
            return ike.evidence(answered=True)
        mine.append(ike)
        del mine[:-_MAX_ASKED]
        return ike.evidence(answered=False)

    def _judge_esp(self, talk: Conversation) -> Answer:
        position = parse_esp(talk.data, talk.size)
        if (
            position is None
            or position.sequence > _MAX_SEQUENCE
            or len(set(position.spi.to_bytes(4))) < _LEAST_ODD_BYTES
            or position.spi >> 24 in _OPENVPN_DATA
        ):
            return self._pass_over()
        sample = talk.data[_SAMPLE]
        if len(sample) == _SAMPLE.stop - _SAMPLE.start and len(set(sample)) < _LEAST_DIFFERENT:
            return self._pass_over()
        if self._associations is None:
            self._associations = Associations()
        associations = self._associations
        if not associations.add(position, from_client=talk.from_client, max_step=_MAX_STEP):
            return self._pass_over()
        if position.spi in associations.indices(from_client=not talk.from_client):
            return self._pass_over()  # each side draws its own: a number that both share is not one
        if not associations.advances[talk.from_client] and len(associations.indices(from_client=talk.from_client)) > 1:
            return self._pass_over()
        self._foreign = 0
        if associations.both >= _ADVANCES_EACH_WAY:
            reason = "ESP in UDP both ways, each with sequence numbers that advance under one SPI"
            return Evidence("ipsec", Confidence.CONFIRMED, reason)
        if max(associations.advances) >= _ADVANCES_ONE_WAY and not associations.both:
            reason = "ESP in UDP one way, with sequence numbers that advance under one SPI"
            return Evidence("ipsec", Confidence.PROBABLE, reason, more=True)
        return Opinion.MORE

    def _pass_over(self) -> Opinion:
        """A datagram that proves nothing."""
        self._foreign += 1
        is_begun = self._given is not None or (self._associations is not None and any(self._associations.advances))
        return Opinion.MORE if is_begun and self._foreign <= _MAX_FOREIGN else Opinion.NO


def _judge_stream(talk: Conversation) -> Answer:
    if not talk.client.startswith(_STREAM_PREFIX[: len(talk.client)]) or not talk.client:
        return Opinion.NO
    asked = _first_frame(talk.client, len(_STREAM_PREFIX))
    answer = _first_frame(talk.server, 0)
    if Opinion.NO in (asked, answer):
        return Opinion.NO
    if isinstance(asked, Opinion):
        return asked
    if isinstance(answer, Opinion):
        return asked.evidence(answered=False)
    return asked.evidence(answered=True) if asked.is_answered_by(answer) else Opinion.NO


def _first_frame(stream: bytes, at: int) -> _Ike | Opinion:
    """The IKE message in the frame at `at`."""
    start = at + _FRAME_LENGTH + len(_NON_ESP_MARKER)
    if len(stream) < start:
        return Opinion.MORE
    end = at + int.from_bytes(stream[at : at + _FRAME_LENGTH])
    if stream[at + _FRAME_LENGTH : start] != _NON_ESP_MARKER or end <= start:
        return Opinion.NO
    if len(stream) < start + _HEADER.size:
        return Opinion.MORE
    return _parse_ike(stream[start : start + _HEADER.size], end - start) or Opinion.NO
