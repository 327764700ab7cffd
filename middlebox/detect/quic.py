"""QUIC, recognised by opening its Initial packets, whose keys anyone on the path can derive (RFC 9001 section 5.2).

One rule: a name or version is reported only from a packet that its own key opened, or from one that is in clear;
everything is bounded, since a stranger chooses every byte.

Levels. A long header of a known version is `possible`. A client's Initial that opens under the key derived from its
connection ID is `probable`: the 16-byte tag leaves no room for chance, but one side alone is no exchange. It is
`confirmed` when the other side answers it: with a long header sent to the client's connection ID; where that ID is
too short to tell (Chrome's is empty), with an Initial that opens under the server's key for the same connection; or
with a Version Negotiation that repeats both IDs. Facts come with the datagram that completes the ClientHello.

What makes that less simple: a ClientHello may be spread, shuffled, over many CRYPTO frames and datagrams; packets are
coalesced; 0-RTT may come first; after Retry or Version Negotiation the client starts again with another connection
ID, hence other keys; and junk may be sent first so that a careless box looks away. So each opened connection ID is an
`_Attempt` of its own, the last few are kept, and some datagrams that are not QUIC are forgiven.

Versions: 1 (RFC 9000), 2 (RFC 9369), drafts 22 to 34, Facebook's mvfst, and Google's Q050, T050 and T051, which encrypt
their first packet like drafts do. Google's Q024 to Q049 say CHLO in clear and share only their name with the others.
"""

import re
from dataclasses import replace
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.client_hello import client_facts, host_name, parse_client_hello
from middlebox.detect.news import only_news
from middlebox.detect.quic_packet import (
    CLIENT_LABEL,
    LONG_HEADER,
    NEGOTIATION,
    SERVER_LABEL,
    VERSIONS,
    CryptoStream,
    InitialKeys,
    LongPacket,
    crypto_frames,
    initial_keys,
    long_packets,
    open_initial,
)
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

MAX_DATAGRAMS = 32
"After so many datagrams of a flow nothing new is expected."
MAX_JUNK = 4
"Datagrams that are not QUIC before a flow is given up. One defeats the box of the USENIX Security 2025 QUIC study."
MAX_CRYPTO = 16 * 1024
"Bytes of the CRYPTO stream that are put together; a ClientHello with post-quantum key shares has about 2 KiB."
MAX_ATTEMPTS = 4
"Connection attempts remembered in a flow: the first, one after Retry, one after Version Negotiation, and a decoy."

_SMALLEST_DATAGRAM = 1200
"""Bytes of a datagram with a client's Initial. Servers must discard smaller ones (RFC 9000 section 14.1). A hello in
such counts only as long as none comes in larger ones, or it could be a decoy with another name."""
_TELLING_CONNECTION_ID = 4
"A shorter connection ID in an answer could be chance."

_GOOGLE_PUBLIC_HEADER = re.compile(rb"[\x09\x0d\x19\x1d\x29\x2d\x39\x3d](.{8})(Q0(?:2[4-9]|3\d|4[0-3]))", re.DOTALL)
"Flags (version and connection ID are there), connection ID, version: Google QUIC until Q043."
_GOOGLE_LONG_HEADER = re.compile(rb"[\xc0-\xff](Q04[4-9])\x50(.{8})", re.DOTALL)
"First byte, version, lengths of both connection IDs, the client's connection ID: Q044 to Q049."
_GOOGLE_HAS_CONNECTION_ID = 0x08
_GOOGLE_SERVER_ID_LENGTHS = 0x05
"No client connection ID, eight bytes of server connection ID: how Q044 to Q049 answer."
_CHLO = b"CHLO"
_CHLO_HEADER, _CHLO_ENTRY = 8, 8
"Tag and number of entries; then for each entry its tag and where its value ends."


class Quic(Detector):
    """Recognises QUIC versions 1 and 2, their drafts and Google QUIC, on any port."""

    name: ClassVar[str] = "quic"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("quic",)
    facts: ClassVar[tuple[str, ...]] = ("quic.version", "quic.sni", "quic.client_alpns", "quic.ja4", "quic.ech")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Connections joined after their handshake (short headers only), versions without published keys, "
        "names behind Encrypted Client Hello, and handshakes behind more than three datagrams of junk."
    )

    __slots__ = ("_attempts", "_datagrams", "_given", "_junk")

    def __init__(self) -> None:
        self._attempts: list[_Attempt] = []
        self._given: Evidence | None = None
        self._datagrams = 0
        self._junk = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look at one datagram; evidence comes whenever it changed."""
        self._datagrams += 1
        if not self._look(talk.data, talk.from_client):
            self._junk += 1
        found = self._judge()
        is_last = self._datagrams >= MAX_DATAGRAMS
        if found is None:
            return Opinion.NO if is_last or self._junk >= MAX_JUNK else Opinion.MORE
        answer = only_news(replace(found, more=found.more and not is_last), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _look(self, datagram: bytes, from_client: bool) -> bool:
        """Take in one datagram; False when nothing in it is QUIC."""
        waiting = [attempt for attempt in self._attempts if attempt.from_client != from_client]
        if [attempt for attempt in waiting if attempt.take_google_answer(datagram)]:
            return True
        google = _google_attempt(datagram, from_client)
        if google is not None:
            if all(google.destination_id != attempt.destination_id for attempt in self._attempts):
                self._remember(google)
            return True
        is_quic = False
        for packet in long_packets(datagram):
            answered = [attempt for attempt in waiting if attempt.take_answer(packet)]
            is_quic |= bool(answered) or packet.version in VERSIONS
            # A Version Negotiation begins nothing; an answer does not open under a key of its own connection ID.
            if packet.version != NEGOTIATION and not any(attempt.is_opened for attempt in answered):
                self._take(packet, from_client)
        return is_quic

    def _take(self, packet: LongPacket, from_client: bool) -> None:
        """Give a packet to the attempt whose key opens it, or begin a new attempt with it."""
        own = [attempt for attempt in self._attempts if attempt.from_client == from_client]
        for attempt in own:
            if attempt.is_opened and attempt.open(packet):
                return
        fresh = _Attempt(packet.version, packet.destination_id, packet.source_id, from_client)
        if fresh.open(packet) or not own or (packet.version in VERSIONS and not any(old.is_opened for old in own)):
            self._remember(fresh)

    def _remember(self, attempt: "_Attempt") -> None:
        """Keep an attempt. Those of its side that neither opened nor were answered make room for it."""
        side = attempt.from_client
        kept = [old for old in self._attempts if old.is_opened or old.answer or old.from_client != side]
        self._attempts = [*kept, attempt][-MAX_ATTEMPTS:]

    def _judge(self) -> Evidence | None:
        """What is known now, told by the attempt that tells most; of equals, the newest."""
        best = max(
            reversed(self._attempts),
            key=lambda attempt: (attempt.facts is not None, attempt.answer != "", attempt.is_opened),
            default=None,
        )
        if best is None:
            return None
        facts: dict[str, object] = {"quic.version": best.version_name} | (best.facts or {})
        for attempt in self._attempts:
            if attempt.answer:
                return Evidence("quic", Confidence.CONFIRMED, attempt.answer, facts, more=best.facts is None)
        if best.is_opened:
            return Evidence("quic", Confidence.PROBABLE, best.opening, facts, more=True)
        if best.version not in VERSIONS and not best.is_google:
            return None
        return Evidence("quic", Confidence.POSSIBLE, "a long header of a known QUIC version", facts, more=True)


class _Attempt:
    """One connection attempt: its connection IDs, the keys they give, and the ClientHello as far as it came."""

    __slots__ = (
        "_crypto",
        "_is_from_small",
        "_keys",
        "answer",
        "destination_id",
        "facts",
        "from_client",
        "is_google",
        "opening",
        "source_id",
        "version",
    )

    def __init__(self, version: int, destination_id: bytes, source_id: bytes, from_client: bool) -> None:
        self.version = version
        self.destination_id = destination_id
        self.source_id = source_id
        self.from_client = from_client
        "Which side of the flow sent it, which a capture may have the wrong way round."
        self.is_google = False
        "Google QUIC of the kind that has its own header."
        self.opening = ""
        "How its content came to be read; empty when it was not."
        self.answer = ""
        "How the other side answered; empty when it did not."
        self.facts: dict[str, object] | None = None
        "What the ClientHello tells, None as long as it may still come."
        self._keys: dict[tuple[int, bytes], InitialKeys] = {}
        "By version and label."
        self._is_from_small = True
        "What `_crypto` holds came in datagrams that a server should have discarded."
        self._crypto = CryptoStream(MAX_CRYPTO)

    @property
    def is_opened(self) -> bool:
        return self.opening != ""

    @property
    def version_name(self) -> str:
        if self.version in VERSIONS:
            return VERSIONS[self.version][0]
        return self.version.to_bytes(4).decode() if self.is_google else f"{self.version:08x}"

    def open(self, packet: LongPacket) -> bool:
        """Whether this attempt's key opens the packet; its CRYPTO frames are then taken in."""
        if not packet.is_initial:
            return False
        payload = open_initial(packet, self._derive_keys(packet.version, CLIENT_LABEL))
        if payload is None:
            return False
        self.opening = "an Initial packet opens under the key of its connection ID"
        is_small = len(packet.datagram) < _SMALLEST_DATAGRAM
        if is_small and not self._is_from_small:
            return True
        if self._is_from_small and not is_small:
            self._is_from_small, self.facts = False, None
            self._crypto.clear()
        for offset, piece in crypto_frames(payload):
            self._crypto.put(offset, piece)
        if self.facts is None:
            self._read_hello()
        return True

    def take_answer(self, packet: LongPacket) -> bool:
        """Whether a packet of the other side answers this attempt."""
        if packet.version == NEGOTIATION:
            repeats = packet.destination_id == self.source_id and packet.source_id == self.destination_id
            if not repeats or len(packet.source_id) < _TELLING_CONNECTION_ID:
                return False
            self.answer = "a Version Negotiation repeats both connection IDs"
            return True
        if packet.version not in VERSIONS or packet.destination_id != self.source_id:
            return False
        if len(self.source_id) >= _TELLING_CONNECTION_ID:
            self.answer = "a long header is addressed to the other side's connection ID"
        elif (
            packet.is_initial
            and self.is_opened
            and open_initial(packet, self._derive_keys(packet.version, SERVER_LABEL)) is not None
        ):
            self.answer = "an Initial packet opens under the key for answers to this connection"
        if self.answer:
            # RFC 9368: a server may answer in another version than the one it was asked in.
            self.version = packet.version
        return self.answer != ""

    def take_google_answer(self, datagram: bytes) -> bool:
        """Whether a datagram of the other side repeats the connection ID in the way of Google's own headers."""
        if not self.is_google or not datagram:
            return False
        if datagram[0] & LONG_HEADER:
            head = self.version.to_bytes(4) + bytes([_GOOGLE_SERVER_ID_LENGTHS]) + self.destination_id
        else:
            head = self.destination_id if datagram[0] & _GOOGLE_HAS_CONNECTION_ID else b""
        if not head or not datagram.startswith(head, 1):
            return False
        self.answer = "the other side repeats the connection ID"
        return True

    def read_google_hello(self, content: bytes) -> None:
        """Take the server name out of a CHLO message: entries of a tag and the end of its value, then the values."""
        self.facts = {}
        count = int.from_bytes(content[4:6], "little")
        values = content[_CHLO_HEADER + count * _CHLO_ENTRY :]
        start = 0
        for position in range(_CHLO_HEADER, min(_CHLO_HEADER + count * _CHLO_ENTRY, len(content)), _CHLO_ENTRY):
            end = int.from_bytes(content[position + 4 : position + _CHLO_ENTRY], "little")
            if content[position : position + 4] == b"SNI\0" and (name := host_name(values[start:end])):
                self.facts["quic.sni"] = name
            start = end

    def _derive_keys(self, version: int, label: bytes) -> InitialKeys:
        if (version, label) not in self._keys:
            self._keys[version, label] = initial_keys(version, self.destination_id, label)
        return self._keys[version, label]

    def _read_hello(self) -> None:
        content = self._crypto.contiguous()
        if content.startswith(_CHLO):
            self.read_google_hello(content)
            return
        hello = parse_client_hello(content)
        if hello is Opinion.NO:
            self.facts = {}
        elif not isinstance(hello, Opinion):
            self.facts = client_facts(hello, "quic", "q")


def _google_attempt(datagram: bytes, from_client: bool) -> _Attempt | None:
    """A connection attempt of Google QUIC before Q050, which names its version in front of a message in clear."""
    if matched := _GOOGLE_PUBLIC_HEADER.match(datagram):
        connection_id, version = matched.groups()
    elif matched := _GOOGLE_LONG_HEADER.match(datagram):
        version, connection_id = matched.groups()
    else:
        return None
    attempt = _Attempt(int.from_bytes(version), connection_id, b"", from_client)
    attempt.is_google = True
    hello = datagram.find(_CHLO)
    if hello >= 0:
        attempt.opening = "a Google QUIC header and a CHLO message"
        attempt.read_google_hello(datagram[hello:])
    return attempt
