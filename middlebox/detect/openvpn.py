"""OpenVPN in TLS mode over UDP and TCP, recognised by its handshake.

The one rule: without a linked exchange nothing is `confirmed`. Both sides choose a random 8-byte session id
and write it in clear into every control packet. Without a wrap and with tls-auth, an acknowledgement repeats
the other side's session id, and that echo is the link. tls-crypt encrypts the echo; there the link is both
hard resets, a session id that stays while its replay id advances, and clocks that agree, or else such
session ids in both directions.

Layouts: `ssl_pkt.h`, `reliable.h`, `packet_id.h`, `tls_crypt.h` and `doc/tls-crypt-v2.txt` of OpenVPN.
Who is client and who is server is read from the opcodes, not from who opened the flow.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion, Proof

# The first byte holds the opcode in its high 5 bits and the key id in the low 3 (ssl_pkt.h). A handshake has
# key id 0. Opcodes 1 and 2 (key method 1) are obsolete, 3 (renegotiation) never has key id 0.
_CONTROL, _ACK, _CLIENT_RESET, _SERVER_RESET = 4, 5, 7, 8
_CLIENT_RESET_V3, _CONTROL_WITH_KEY = 10, 11
"tls-crypt-v2 only: both end with the client key, wrapped for the server."
_CLIENT_RESETS = frozenset({_CLIENT_RESET, _CLIENT_RESET_V3})
_WITH_WRAPPED_KEY = frozenset({_CLIENT_RESET_V3, _CONTROL_WITH_KEY})
_NAMES = {
    _CONTROL: "control packet",
    _ACK: "acknowledgement",
    _CLIENT_RESET: "client reset",
    _SERVER_RESET: "server reset",
    _CLIENT_RESET_V3: "client reset",
    _CONTROL_WITH_KEY: "control packet",
}
_FIRST_BYTES = frozenset(opcode << 3 for opcode in _NAMES)

_HEADER_BYTES = 9
"Opcode and session id."
_SESSION_ID_BYTES = 8
_LEAST_DISTINCT = 4
"Different bytes in a session id. Fewer have a chance of 1 in 10^9 in a random one; zeros and small numbers have fewer."
_PACKET_ID_BYTES = 4
_REPLAY_BYTES = 8
"Replay id and time, 4 bytes each (packet_id.h, long form)."
_MAX_ACKS = 8
"RELIABLE_ACK_SIZE in reliable.h."
_ACKED_BYTES = range(_PACKET_ID_BYTES + _SESSION_ID_BYTES, _PACKET_ID_BYTES * _MAX_ACKS + _SESSION_ID_BYTES + 1, 4)
"What 1 to 8 acknowledged packet ids and the session id after them add to a packet."
_TAG_BYTES = 32
"HMAC-SHA256 of tls-crypt."
_CRYPT_RESET_BYTES = _HEADER_BYTES + _REPLAY_BYTES + _TAG_BYTES + 1 + _PACKET_ID_BYTES
"The tls-crypt reset: an empty list of acknowledgements and a packet id follow the tag, encrypted."
_ANNOUNCEMENT_BYTES = 6
"What a server that wants the wrapped key again appends to its reset (ssl_pkt.h, early negotiation flags)."
_WRAPPED_KEY_BYTES = range(290, 1025)
"Tag 32, two keys 256, metadata, and a length of 2 that counts itself (tls-crypt-v2.txt)."
_HMAC_SIZES = (20, 32, 64, 48, 28, 16)
"tls-auth with SHA1 (the default), SHA256, SHA512, SHA384, SHA224, MD5."

_MAX_HANDSHAKE_ID = 1023
"A handshake has a minute (hand-window) and resends at most once a second: its ids stay far below this."
_EARLY_NEGOTIATION_START = 0x0F000000
"Replay ids of a client that offers early negotiation count from here (ssl_pkt.h)."
_CLOCK_SECONDS = 86_400
"How far the clocks of client and server may be apart."

_MESSAGE_BYTES = range(_HEADER_BYTES + 1 + _PACKET_ID_BYTES, 2049)
"From the unwrapped reset to well above the 1250 bytes that control packets keep to (max-packet-size)."
_LENGTH_BYTES = 2
"Over TCP, a length that does not count itself precedes each packet."

_MAX_SESSIONS = 4
"Sessions remembered per side: a client without an answer begins a new one every minute."
_FOLLOWERS_ONE_WAY = 2
"Packets after its reset that a side must send under the same session id when the other side is never seen."
_MAX_STREAM_PACKETS = 64
"Ours: of both directions over TCP, where nothing is repeated, until the session must be confirmed."
_MAX_UNLINKED = 32
"Messages, client resets not counted, after which the link will not come any more."


@dataclass(slots=True, frozen=True)
class Wrap:
    """One way to protect the control channel."""

    name: str
    hmac_bytes: int = 0
    "tls-auth only."
    encrypted: bool = False
    "Whether the acknowledgements are hidden."


_WRAPS = (Wrap("none"), *(Wrap("tls-auth", size) for size in _HMAC_SIZES), Wrap("tls-crypt", encrypted=True))


@dataclass(slots=True)
class Control:
    """What a handshake packet shows in clear."""

    opcode: int
    session_id: bytes
    echo: bytes | None = None
    "The other side's session id, when the packet acknowledges something in clear."
    replay_id: int = 0
    time: int = 0


def read_control(message: bytes, wrap: Wrap) -> Control | None:
    """The handshake packet that `message` is from its first to its last byte, laid out as `wrap` says, or None."""
    control = Control(message[0] >> 3, message[1:_HEADER_BYTES])
    if len(set(control.session_id)) < _LEAST_DISTINCT:
        return None
    if wrap.encrypted:
        return control if _read_encrypted(message, control) else None
    return control if _read_clear(message, wrap.hmac_bytes, control) else None


def _read_clear(message: bytes, hmac_bytes: int, control: Control) -> bool:
    """No wrap, or tls-auth, which puts an HMAC, a replay id and a time behind the session id."""
    at = _HEADER_BYTES
    if hmac_bytes:
        at += hmac_bytes
        if not _read_replay(message, at, control):
            return False
        at += _REPLAY_BYTES
    if at >= len(message) or message[at] > _MAX_ACKS:
        return False
    ids_end = at + 1 + _PACKET_ID_BYTES * message[at]
    ids, at = message[at + 1 : ids_end], ids_end
    if ids:
        control.echo = message[at : at + _SESSION_ID_BYTES]
        at += _SESSION_ID_BYTES
    if control.opcode != _ACK:
        ids += message[at : at + _PACKET_ID_BYTES]
        at += _PACKET_ID_BYTES
    if any(
        int.from_bytes(ids[i : i + _PACKET_ID_BYTES]) > _MAX_HANDSHAKE_ID for i in range(0, len(ids), _PACKET_ID_BYTES)
    ):
        return False
    if control.opcode == _ACK:
        return bool(ids) and at == len(message)
    if control.opcode == _CONTROL:
        return at < len(message)
    # A reset is packet 0 and carries nothing. The opcodes of tls-crypt-v2 are never in clear.
    is_reset = control.opcode in (_CLIENT_RESET, _SERVER_RESET)
    return is_reset and at == len(message) and not any(message[at - _PACKET_ID_BYTES :])


def _read_encrypted(message: bytes, control: Control) -> bool:
    """tls-crypt, with its second version: replay id, time and tag, then all is encrypted; sizes remain."""
    if not _read_replay(message, _HEADER_BYTES, control):
        return False
    more_than_reset = len(message) - _CRYPT_RESET_BYTES
    if control.opcode in _WITH_WRAPPED_KEY:
        wrapped_key_bytes = int.from_bytes(message[-2:])
        if wrapped_key_bytes not in _WRAPPED_KEY_BYTES:
            return False
        more_than_reset -= wrapped_key_bytes
    if control.opcode == _ACK:
        return more_than_reset + _PACKET_ID_BYTES in _ACKED_BYTES
    if control.opcode in (_CONTROL, _CONTROL_WITH_KEY):
        return more_than_reset > 0
    if control.opcode == _SERVER_RESET and more_than_reset - _ANNOUNCEMENT_BYTES in _ACKED_BYTES:
        return True
    return more_than_reset == 0 or more_than_reset in _ACKED_BYTES


def _read_replay(message: bytes, at: int, control: Control) -> bool:
    """Read replay id and time into `control`; False when no handshake has such."""
    control.replay_id = int.from_bytes(message[at : at + 4])
    control.time = int.from_bytes(message[at + 4 : at + _REPLAY_BYTES])
    is_early = control.replay_id > _EARLY_NEGOTIATION_START
    count = control.replay_id - _EARLY_NEGOTIATION_START if is_early else control.replay_id
    return 1 <= count <= _MAX_HANDSHAKE_ID and control.time > 0


def read_packet(stream: bytes, at: int) -> bytes | Opinion:
    """The packet that begins at `at` in a TCP stream: MORE until it is complete, NO if no handshake has such."""
    start = at + _LENGTH_BYTES
    if len(stream) < start <= STREAM_LIMIT:
        return Opinion.MORE
    end = start + int.from_bytes(stream[at:start])
    if end - start not in _MESSAGE_BYTES or end > STREAM_LIMIT:
        return Opinion.NO
    if len(stream) > start and stream[start] not in _FIRST_BYTES:
        return Opinion.NO
    return stream[start:end] if len(stream) >= end else Opinion.MORE


def _clocks_agree(one: int, other: int) -> bool:
    return abs(one - other) <= _CLOCK_SECONDS


@dataclass(slots=True)
class Session:
    """What one side has shown of one of its sessions."""

    time: int
    reset: bytes | None = None
    "Its newest client reset, if it sent one."
    reset_at: float = 0.0
    "When that was seen, in seconds since the epoch."
    server_reset: bytes | None = None
    "Its newest server reset, if it sent one."
    followers: int = 0
    "Its packets that are no reset."
    replay_id: int = 0
    advances: int = 0
    "Messages with a higher replay id than any before."


class Side:
    """What one side of the flow has sent: its newest few sessions, and whose ids it echoed."""

    __slots__ = ("echoes", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[bytes, Session] = {}
        "By session id, the one that spoke last at the end."
        self.echoes: dict[bytes, int] = {}
        "The other side's session id, and the opcode of the packet that first echoed it."

    def add(self, control: Control, message: bytes, now: float) -> None:
        """Remember what `message`, read as `control`, shows."""
        session = self.sessions.pop(control.session_id, None) or Session(control.time)
        self.sessions[control.session_id] = session
        if control.opcode in _CLIENT_RESETS:
            session.reset, session.reset_at = message, now
        elif control.opcode == _SERVER_RESET:
            session.server_reset = message
        else:
            session.followers += 1
        if control.replay_id > session.replay_id and _clocks_agree(control.time, session.time):
            session.replay_id = control.replay_id
            session.advances += 1
        if control.echo is not None:
            self.echoes.setdefault(control.echo, control.opcode)
        if len(self.sessions) > _MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        if len(self.echoes) > _MAX_SESSIONS:
            del self.echoes[next(iter(self.echoes))]

    def newest(self) -> Session | None:
        """The session that spoke last."""
        return next(reversed(self.sessions.values()), None)

    def newest_client(self) -> Session | None:
        """The session whose client reset was sent last."""
        return next((session for session in reversed(self.sessions.values()) if session.reset), None)

    def newest_server(self) -> Session | None:
        """The session whose server reset was sent last."""
        return next((session for session in reversed(self.sessions.values()) if session.server_reset), None)


class OpenVpn(Detector):
    """Recognises the handshake of an OpenVPN session in TLS mode, plain or with any of its wraps."""

    name: ClassVar[str] = "openvpn"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn",)
    facts: ClassVar[tuple[str, ...]] = ("openvpn.wrap", "openvpn.hmac_bytes")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = (
        "Sessions joined after their handshake, static-key mode, key method 1 (before 2.0), "
        "scrambled packets (XOR patches), and OpenVPN inside TLS or another tunnel."
    )

    def __init__(self) -> None:
        self._wraps = _WRAPS
        "Those that fit every message so far."
        self._sides = (Side(), Side())
        "Server and client of the flow, indexed by `from_client`."
        self._parsed = [0, 0]
        "TCP: bytes of each direction that are done with."
        self._given: Confidence | None = None
        self._unlinked = self._stream_packets = 0
        self._is_version_2 = False

    def feed(self, talk: Conversation) -> Answer:
        """Confirm the handshake as soon as one side's packets are linked to the other's."""
        if talk.client or talk.server:  # only TCP has streams
            return self._feed_stream(talk.client if talk.from_client else talk.server, talk.now, talk.from_client)
        fits = self._add(talk.data, talk.now, talk.from_client)
        # When a client begins anew from the same port, packets of its old session may still come between.
        is_begun = any(side.sessions for side in self._sides)
        return self._judge() if fits or is_begun else Opinion.NO

    def _feed_stream(self, stream: bytes, now: float, from_client: bool) -> Answer:
        """Judge after every packet that has become complete, so that cuts make no difference."""
        strongest: Evidence | None = None
        while (packet := read_packet(stream, self._parsed[from_client])) is not Opinion.NO:
            if isinstance(packet, Opinion):
                return strongest or Opinion.MORE
            self._parsed[from_client] += _LENGTH_BYTES + len(packet)
            self._stream_packets += 1
            fits = self._add(packet, now, from_client) and self._stream_packets <= _MAX_STREAM_PACKETS
            answer = self._judge() if fits else Opinion.NO
            if answer is Opinion.NO:
                break
            if isinstance(answer, Evidence):
                strongest = answer
                if not answer.more:
                    return answer
        return replace(strongest, more=False) if strongest else Opinion.NO

    def _add(self, message: bytes, now: float, from_client: bool) -> bool:
        """Remember what a message shows; False when it is no handshake packet of the session's wrap."""
        wraps = self._wraps if len(message) in _MESSAGE_BYTES and message[0] in _FIRST_BYTES else ()
        read = [(wrap, control) for wrap in wraps if (control := read_control(message, wrap))]
        if not read or read[0][1].opcode not in _CLIENT_RESETS:
            self._unlinked += 1
        if not read:
            return False
        self._wraps = tuple(wrap for wrap, _ in read)
        control = read[0][1]
        self._sides[from_client].add(control, message, now)
        self._is_version_2 = self._is_version_2 or control.opcode in _WITH_WRAPPED_KEY
        return True

    def _judge(self) -> Answer:
        """The evidence so far, if it is more than what was given before."""
        linked = self._find_hidden_link() if self._wraps[0].encrypted else self._find_echo()
        evidence = linked or self._find_one_way() or self._find_reset()
        if evidence is not None and (self._given is None or evidence.confidence > self._given):
            self._given = evidence.confidence
            return evidence
        return Opinion.NO if self._unlinked > _MAX_UNLINKED else Opinion.MORE

    def _find_echo(self) -> Evidence | None:
        """No wrap, tls-auth: a session id of one side, repeated by the other."""
        for echoed, echoing in (self._sides, self._sides[::-1]):
            for session_id, opcode in echoing.echoes.items():
                session = echoed.sessions.get(session_id)
                if session is not None:
                    owner = "client" if session.reset else "server" if session.server_reset else "other side"
                    reason = f"{_NAMES[opcode]} echoes the {owner}'s session id"
                    if session.reset:
                        return self._evidence(Confidence.CONFIRMED, reason, session, echoing.newest_server())
                    client = echoing.newest_client()
                    return self._evidence(Confidence.CONFIRMED, reason, client, echoed.newest_server())
        return None

    def _find_hidden_link(self) -> Evidence | None:
        """tls-crypt: resets, constant session ids, advancing replay ids and clocks must do."""
        server, client = self._sides[False].newest(), self._sides[True].newest()
        if server is None or client is None:
            return None
        if client.server_reset or server.reset:
            server, client = client, server
        have_both_reset = client.reset is not None and server.server_reset is not None
        clocks_agree = _clocks_agree(client.time, server.time)
        if have_both_reset and clocks_agree and client.advances >= 2:
            reason = "after both resets the client's session id comes again with the next replay id; clocks agree"
            return self._evidence(Confidence.CONFIRMED, reason, client, server)
        if (client.reset or server.server_reset) and client.advances >= 2 and server.advances >= 2:
            reason = "after a reset both session ids come again with advancing replay ids"
            return self._evidence(Confidence.CONFIRMED, reason, client, server)
        if have_both_reset and clocks_agree:
            reason = "client and server reset, and their clocks agree"
            return self._evidence(Confidence.PROBABLE, reason, client, server)
        return None

    def _find_one_way(self) -> Evidence | None:
        """Asymmetric routes: one side's reset and what it said next, the other side never seen."""
        for side, other in (self._sides, self._sides[::-1]):
            session = side.newest()
            if session is None or other.sessions or session.followers < _FOLLOWERS_ONE_WAY or len(side.echoes) > 1:
                continue
            if session.reset or session.server_reset:
                reason = "a reset, then handshake packets with its session id; the other side is not seen"
                return self._evidence(Confidence.PROBABLE, reason, session)
        return None

    def _find_reset(self) -> Evidence | None:
        client = self._sides[True].newest_client() or self._sides[False].newest_client()
        if client is None or client.reset is None:
            return None
        return self._evidence(Confidence.POSSIBLE, f"a client reset of {len(client.reset)} bytes", client)

    def _evidence(
        self, confidence: Confidence, reason: str, client: Session | None, server: Session | None = None
    ) -> Evidence:
        wrap = self._wraps[0]
        facts: dict[str, object] = {"openvpn.wrap": "tls-crypt-v2" if self._is_version_2 else wrap.name}
        if wrap.hmac_bytes:
            facts["openvpn.hmac_bytes"] = wrap.hmac_bytes
        answered = confidence is Confidence.CONFIRMED
        proof = None
        if client is not None and client.reset is not None:
            answer = None if server is None else server.server_reset
            proof = Proof("openvpn", "client-reset", client.reset, answered, answer, client.reset_at)
        return Evidence("openvpn", confidence, reason, facts, confidence < Confidence.CONFIRMED, proof)
