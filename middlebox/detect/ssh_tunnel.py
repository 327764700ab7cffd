"""SSH used as a tunnel, told from shells and copies by the sizes of its first encrypted packets.

Both sides agree on cipher and MAC in clear, so the size on the wire of every packet whose payload length is known
can be computed. The server's answer to a login is the shortest packet there is. What the client says next shows what
the connection is for: a session is opened with a message of 24 bytes, a forwarded connection with one that also holds
two hosts and ports, and OpenSSH's -N only with the promise to open no session.

The one rule: nothing is said of a connection that opens a session first, but for one pattern, which is sshuttle's.

Sources: RFC 4253 sections 6 (padding), 7.1 (negotiation); RFC 4254 sections 5.1, 6.1 (opening), 7.1, 7.2 (forwarding);
OpenSSH PROTOCOL sections 2.2 (no-more-sessions), 2.3 (tun), 2.4 (streamlocal), PROTOCOL.chacha20poly1305; sshuttle's
ssh.py and server.py (assembler, synchronisation mark).
"""

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_PACKET = Struct("!IBB")
"Packet length, padding length, message number (RFC 4253 section 6)."
_KEXINIT, _NEWKEYS = 20, 21
_MAX_PACKET = 35000
_COOKIE = 16
_ENCRYPTION, _MAC, _COMPRESSION = 2, 4, 6
"Places of the name lists for what the client sends; those for the server follow each (RFC 4253 section 7.1)."
_LEAST_PADDING = 4
_LENGTH_FIELD = 4

_TAG_BYTES = 16
"Of ciphers that authenticate by themselves."
_CIPHERS = {"chacha20-poly1305@openssh.com": 8, "aes128-gcm@openssh.com": 16, "aes256-gcm@openssh.com": 16}
"Their blocks."
_OTHER_BLOCKS = {"aes": 16, "rijndael": 16, "twofish": 16, "serpent": 16, "3des": 8, "blowfish": 8, "cast128": 8}
"Blocks by the beginning of the cipher's name (RFC 4253 section 6.3, RFC 4344 section 4). Stream ciphers use 8."
_MAC_BYTES = {
    "hmac-sha2-256": 32,
    "hmac-sha2-512": 64,
    "hmac-sha1": 20,
    "hmac-sha1-96": 12,
    "hmac-md5": 16,
    "hmac-md5-96": 12,
    "umac-64": 8,
    "umac-128": 16,
}
"RFC 4253 section 6.4, RFC 6668; umac as in OpenSSH's mac.c."

_LOGIN_SUCCEEDED = 1
"Payload bytes of SSH_MSG_USERAUTH_SUCCESS; no other message before it is that short (RFC 4252 section 5.1)."
_OPEN_SESSION = 24
_NO_MORE_SESSIONS = 34
_LEAST_FORWARD_REQUEST, _MOST_FORWARD_REQUEST = 28, 120
"tcpip-forward for an address of a character or more; tun (40 bytes) and streamlocal-forward are among these."
_LEAST_OPEN_FORWARD, _MOST_OPEN_FORWARD = 56, 300
"direct-tcpip with a short host name and an address; with two long host names."
_OPEN_CONFIRMED = 17
_ANSWERS_AWAITED = 6
"Payload packets of the server in which the answer must come. Its host keys often come before."

_LEAST_COMMAND, _MOST_COMMAND = 140, 360
"Payload of the request to run sshuttle's one-line assembler."
_LEAST_UPLOAD = 8 * 1024
"The program that sshuttle sends, compressed, is longer."
_LEAST_SYNC, _MOST_SYNC = 9 + 14, 9 + 42
"Header of channel data (RFC 4254 section 5.2), and what sshuttle's server writes first; often more with it."
_CHANNEL_ANSWERS = (5, 9)
"Success, end of file, close, and an adjusted window (RFC 4254 sections 5.2 to 5.4)."
_MOST_PACKETS = 48
"Payload packets after which nothing more is hoped for."


@dataclass(slots=True, frozen=True)
class Sizes:
    """How long packets of one direction are on the wire."""

    block: int
    tag: int
    counts_length: bool
    "The length field is part of what is padded to whole blocks."

    def on_wire(self, payload: int) -> int:
        """Bytes of the packet with a payload of this many bytes (RFC 4253 section 6)."""
        length_field = _LENGTH_FIELD if self.counts_length else 0
        padded = -(-(length_field + 1 + payload + _LEAST_PADDING) // self.block) * self.block
        return _LENGTH_FIELD - length_field + padded + self.tag

    def may_hold(self, size: int, least: int, most: int) -> bool:
        """Whether `size` is that of one packet with a payload of `least` to `most` bytes."""
        fits = (size - self.tag - (0 if self.counts_length else _LENGTH_FIELD)) % self.block == 0
        return fits and self.on_wire(least) <= size <= self.on_wire(most)


class _Side:
    """Reads the clear part of one direction, which ends with SSH_MSG_NEWKEYS."""

    __slots__ = ("_at", "encrypted_at", "is_foreign", "lists")

    def __init__(self) -> None:
        self._at = 0
        "Offset of the next packet, 0 before the identification string was read."
        self.lists: list[list[str]] = []
        "Algorithms of the key exchange, by kind."
        self.encrypted_at = 0
        "Offset from which all is encrypted, 0 while that is not known."
        self.is_foreign = False

    def read(self, stream: bytes) -> None:
        """Take in packets that are whole."""
        if not self._at:
            mark = 0 if stream.startswith(b"SSH-") else stream.find(b"\nSSH-") + 1
            end = stream.find(b"\n", mark) if stream.startswith(b"SSH-", mark) else -1
            self._at = end + 1
        while self._at and not self.encrypted_at and len(stream) >= self._at + _PACKET.size:
            length, padding, number = _PACKET.unpack_from(stream, self._at)
            end = self._at + _LENGTH_FIELD + length
            if not padding < length <= _MAX_PACKET:
                self.is_foreign = True
                return
            if len(stream) < end:
                return
            if number == _KEXINIT and not self.lists:
                self.lists = _read_lists(stream[self._at + _PACKET.size + _COOKIE : end - padding])
            if number == _NEWKEYS:
                self.encrypted_at = end
            self._at = end


def _read_lists(data: bytes) -> list[list[str]]:
    lists: list[list[str]] = []
    while len(data) >= _LENGTH_FIELD and len(lists) < _COMPRESSION + 2:
        end = _LENGTH_FIELD + int.from_bytes(data[:_LENGTH_FIELD])
        lists.append(data[_LENGTH_FIELD:end].decode("ascii", "replace").split(","))
        data = data[end:]
    return lists


def _chosen(client: list[str], server: list[str]) -> str:
    """The first of the client's algorithms that the server knows, too (RFC 4253 section 7.1)."""
    return next((name for name in client if name in server), "")


def _agree(client: list[list[str]], server: list[list[str]], direction: int) -> Sizes | None:
    """Sizes of packets from the client (direction 0) or the server (1). None when they cannot be told."""
    if min(len(client), len(server)) < _COMPRESSION + 2:
        return None
    cipher, mac, compression = (
        _chosen(client[kind + direction], server[kind + direction]) for kind in (_ENCRYPTION, _MAC, _COMPRESSION)
    )
    if not cipher or compression != "none":
        return None
    if cipher in _CIPHERS:
        return Sizes(_CIPHERS[cipher], _TAG_BYTES, counts_length=False)
    tag = _MAC_BYTES.get(mac.partition("@")[0].removesuffix("-etm"))
    block = next((size for begin, size in _OTHER_BLOCKS.items() if cipher.startswith(begin)), 8)
    return None if tag is None else Sizes(block, tag, counts_length="-etm" not in mac)


class SshTunnel(Detector):
    """Computes what the first messages after a login weigh, and compares."""

    name: ClassVar[str] = "ssh_tunnel"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("ssh-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 20
    misses: ClassVar[str] = (
        "Forwarding beside a shell, compressed connections, ciphers with blocks of 16 bytes whose MAC covers the clear "
        "packet, and connections of which only one side is seen."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("ssh",)
    statistical: ClassVar[bool] = True

    __slots__ = ("_client", "_given", "_in", "_out", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Side(), _Side()
        self._out: Sizes | None = None
        self._in: Sizes | None = None
        "Sizes of what the client sends, and of what it gets."
        self._given: Confidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Read the negotiation; then look at the sizes of what follows the login."""
        if talk.midstream or len(talk.sizes) > _MOST_PACKETS:
            return Opinion.NO
        if self._out is None or self._in is None:
            self._client.read(talk.client)
            self._server.read(talk.server)
            if self._client.is_foreign or self._server.is_foreign:
                return Opinion.NO
            if not self._client.encrypted_at or not self._server.encrypted_at:
                is_over = len(talk.client) >= STREAM_LIMIT or len(talk.server) >= STREAM_LIMIT
                return Opinion.NO if is_over else Opinion.MORE
            self._out = _agree(self._client.lists, self._server.lists, 0)
            self._in = _agree(self._client.lists, self._server.lists, 1)
            if self._out is None or self._in is None:
                return Opinion.NO
        encrypted = _encrypted_sizes(talk.sizes, self._client.encrypted_at, self._server.encrypted_at)
        login = -self._in.on_wire(_LOGIN_SUCCEEDED)
        if login not in encrypted:
            return Opinion.MORE
        after = encrypted[encrypted.index(login) + 1 :]
        answer = self._judge(after, self._out, self._in)
        if isinstance(answer, Evidence):
            self._given = answer.confidence
        return answer

    def _judge(self, after: list[int], out: Sizes, back: Sizes) -> Answer:
        """What the packets after the login mean: positive sizes are the client's."""
        asked = [size for size in after if size > 0]
        if not asked:
            return Opinion.MORE
        first = asked[0]
        session, promise = out.on_wire(_OPEN_SESSION), out.on_wire(_NO_MORE_SESSIONS)
        if first in (session, session + promise):
            return _judge_session(after, out, back)
        if first == promise:
            reason = "after the login the client only promises to open no session, which leaves forwarding"
            return Evidence("ssh-tunnel", Confidence.PROBABLE, reason)
        holds_promise = out.may_hold(first - promise, _LEAST_FORWARD_REQUEST, _MOST_OPEN_FORWARD)
        requests = out.may_hold(first, _LEAST_FORWARD_REQUEST, _MOST_FORWARD_REQUEST)
        if holds_promise or (requests and promise in asked[1:]):
            reason = "after the login the client asks for forwarding or a tunnel device and promises to open no session"
            return Evidence("ssh-tunnel", Confidence.PROBABLE, reason)
        answers = [-size for size in after[after.index(first) :] if size < 0][:_ANSWERS_AWAITED]
        opens = out.may_hold(first, _LEAST_OPEN_FORWARD, _MOST_OPEN_FORWARD)
        if opens and back.on_wire(_OPEN_CONFIRMED) in answers:
            reason = "after the login the client opens a channel with a message too long for a session, and may"
            return Evidence("ssh-tunnel", Confidence.PROBABLE, reason)
        if not (opens or requests) or len(answers) >= _ANSWERS_AWAITED:
            return Opinion.NO
        if self._given is not None:
            return Opinion.MORE
        reason = "after the login the client's first message is too long to open a session"
        return Evidence("ssh-tunnel", Confidence.POSSIBLE, reason, more=True)


def _judge_session(after: list[int], out: Sizes, back: Sizes) -> Answer:
    """Whether what runs in a session is what sshuttle starts: a long command, a program for it, then its mark."""
    asked = [size for size in after if size > 0]
    if len(asked) == 1:
        return Opinion.MORE
    command = asked[1]
    if not out.may_hold(command, _LEAST_COMMAND, _MOST_COMMAND):
        return Opinion.NO
    answers = [back.on_wire(payload) for payload in _CHANNEL_ANSWERS]
    quiet = {*answers, sum(answers)}
    uploaded = 0
    for size in after[after.index(command) + 1 :]:
        if size > 0:
            uploaded += size
        elif -size not in quiet:
            if uploaded < _LEAST_UPLOAD or not back.may_hold(-size, _LEAST_SYNC, _MOST_SYNC):
                return Opinion.NO
            reason = "a session runs a long command, is sent a program, and answers with a mark as long as sshuttle's"
            return Evidence("ssh-tunnel", Confidence.PROBABLE, reason)
    return Opinion.MORE


def _encrypted_sizes(sizes: list[int], client_start: int, server_start: int) -> list[int]:
    """Encrypted bytes of each packet; `start` is where in its direction encryption begins."""
    encrypted = []
    said = {True: -client_start, False: -server_start}
    for size in sizes:
        from_client = size > 0
        before = max(said[from_client], 0)
        said[from_client] += abs(size)
        if said[from_client] > 0:
            fresh = said[from_client] - before
            encrypted.append(fresh if from_client else -fresh)
    return encrypted
