"""VPNs inside TLS, by the lengths of what is in it: SSTP, AnyConnect (OpenConnect), SoftEther, Fortinet, GlobalProtect.

The one rule: lengths must fit message by message, the opening of the protocol first, then the framing of what it
carries; a single length, a name or a fingerprint never counts.

A TCP connection inside gives itself away: SYN, SYN with ACK and the bare ACK have few possible lengths, and every frame
is longer than its packet by the same header. Which header it is, and how the connection was opened, tells the protocol.

Sources: MS-SSTP section 2.2; draft-mavrogiannopoulos-openconnect-04 section 2.1; for the rest the clients: OpenConnect
(fortinet.c, ppp.c, gpst.c) and SoftEther (Protocol.c, Connection.c). Fortinet and GlobalProtect were not at hand to
check against.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector, Scope
from middlebox.detect.tls_records import TlsRecords
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

Frame = tuple[bool, int]
"Who sent a record, the client or not, and how many bytes are in it."

_MAX_FRAME = 8192
"Longer records are downloads. SoftEther's longest, with its padding, has some 4 kB."
_MAX_FRAMES = 64
"Ours: records looked at."
_MAX_EXCHANGES = 6
"Ours: requests and answers before a tunnel begins. AnyConnect's login with a second factor takes five."
_MAX_ANSWER = 6000
"Ours: bytes of one of these answers; SoftEther's longest, with its padding, has some 4 kB."
_LEAST_REQUEST, _LEAST_ANSWER = 130, 50
"Bytes of an HTTP request, and of an answer that is no more than a status line and two headers."

_SYN_LENGTHS = (44, 48, 52, 60, 64)
"IPv4 packets with SYN: with 4, 8, 12, 20 or 24 bytes of TCP options (Linux 20, Windows 12, macOS 24)."
_LONG_SYN = 60
"Only those have timestamps among their options, which then every packet has (RFC 7323 section 3.2)."
_ACK, _ACK_WITH_TIMESTAMPS = 40, 52
_IPV4_HEADER, _IPV6_EXTRA = 20, 20
_NEAR = 6
"Ours: records of other connections that may stand between those of one handshake."

_SSTP_CONNECT, _SSTP_ACKNOWLEDGE = 14, 48
"Call Connect Request and Acknowledge (MS-SSTP sections 2.2.9 and 2.2.10): both have one attribute of fixed length."
_SSTP_LCP = range(12, 129)
"SSTP header and a PPP LCP Configure-Request: always the next."
_CSTP_HEADER = 8
_FORTINET_HEADERS = (8, 10)
"Six bytes and the PPP protocol, with or without address and control."
_FORTINET_LCP = range(14, 81)
_GLOBALPROTECT_HEADER = 16
_START_TUNNEL = 12
"Bytes of the answer START_TUNNEL, which stands in place of an HTTP status line."
_SOFTETHER_HEADER = 22
"Number of blocks, length of the block and the Ethernet header."
_SOFTETHER_ARP = 50
_SOFTETHER_EXCHANGES = 2
"Hello and login, at least."
_SOFTETHER_LEAST = 8
"A keepalive without its random content."


def _flight(frames: Sequence[Frame], start: int, *, from_client: bool) -> int:
    """Where the records end that one side sends in a row from `start` on."""
    while start < len(frames) and frames[start][0] == from_client:
        start += 1
    return start


def _exchanges(frames: Sequence[Frame]) -> tuple[int, int]:
    """How many requests with answers of HTTP's size the connection begins with, and where they end."""
    count = at = 0
    while count < _MAX_EXCHANGES:
        asked = _flight(frames, at, from_client=True)
        answered = _flight(frames, asked, from_client=False)
        request, answer = (sum(size for _, size in frames[a:b]) for a, b in ((at, asked), (asked, answered)))
        if request < _LEAST_REQUEST or answer < _LEAST_ANSWER:
            break
        count, at = count + 1, answered
    return count, at


def carries_tcp(frames: Sequence[Frame], header: int) -> bool:
    """Whether frames `header` bytes longer than their packet hold the handshake of a TCP connection, and more of it."""
    for extra in (0, _IPV6_EXTRA):
        added = header + extra
        for start, (from_client, size) in enumerate(frames):
            if from_client and size - added in _SYN_LENGTHS and _continues(frames, start + 1, size - added, added):
                return True
    return False


def _continues(frames: Sequence[Frame], start: int, syn: int, added: int) -> bool:
    """Whether a SYN of that length is answered, acknowledged and followed by an acknowledgment of the server's."""
    for at, (from_client, size) in enumerate(frames[start : start + _NEAR], start=start):
        answer = size - added
        if from_client or answer not in _SYN_LENGTHS:
            continue
        has_timestamps = syn >= _LONG_SYN and answer >= _LONG_SYN
        bare = added + (_ACK_WITH_TIMESTAMPS if has_timestamps else _ACK)
        if (True, bare) in frames[at + 1 : at + 1 + _NEAR] and (False, bare) in frames[at + 1 :]:
            return True
    return False


def _has_header(frames: Sequence[Frame], header: int) -> bool:
    """Whether each frame holds a header of that length, and nothing else or at least the header of an IP packet."""
    return all(size == header or size >= header + _IPV4_HEADER for _, size in frames)


def _is_sstp(frames: Sequence[Frame]) -> str:
    """Call Connect Request, its acknowledgment, and the begin of PPP."""
    exchanges, at = _exchanges(frames)
    if exchanges != 1 or frames[at : at + 1] != [(True, _SSTP_CONNECT)]:
        return ""
    end = _flight(frames, at + 1, from_client=False)
    total = 0
    for position in range(at + 1, end):
        total += frames[position][1]
        if total >= _SSTP_ACKNOWLEDGE:
            break
    # A message and its header may be two records.
    if total != _SSTP_ACKNOWLEDGE:
        return ""
    if any(size in _SSTP_LCP for from_client, size in frames[at + 1 :] if from_client):
        return "records as long as SSTP's Call Connect Request, its acknowledgment and PPP"
    return ""


def _is_globalprotect(frames: Sequence[Frame]) -> str:
    """START_TUNNEL in answer to a request, then frames with a header of 16 bytes."""
    end = _flight(frames, 0, from_client=True)
    answered = _flight(frames, end, from_client=False)
    if end != 1 or (False, _START_TUNNEL) not in frames[end:answered]:
        return ""
    rest = frames[frames.index((False, _START_TUNNEL)) + 1 :]
    if not _has_header(rest, _GLOBALPROTECT_HEADER):
        return ""
    kept_alive = {(True, _GLOBALPROTECT_HEADER), (False, _GLOBALPROTECT_HEADER)} <= set(rest)
    if kept_alive or carries_tcp(rest, _GLOBALPROTECT_HEADER):
        return "a request answered with as many bytes as START_TUNNEL has, then frames of GlobalProtect"
    return ""


def _is_softether(frames: Sequence[Frame]) -> str:
    """Requests and answers, then Ethernet frames."""
    exchanges, at = _exchanges(frames)
    rest = frames[at:]
    has_arp = {(True, _SOFTETHER_ARP), (False, _SOFTETHER_ARP)} <= set(frames)
    if exchanges >= _SOFTETHER_EXCHANGES and has_arp and carries_tcp(rest, _SOFTETHER_HEADER):
        return "HTTP's lengths, then ARP and a TCP handshake in Ethernet frames with SoftEther's header"
    return ""


def _is_fortinet(frames: Sequence[Frame]) -> str:
    """A request without an answer, then PPP."""
    end = _flight(frames, 0, from_client=True)
    start = frames[end : end + 6]
    if frames[0][1] < _LEAST_REQUEST or any(size not in _FORTINET_LCP for _, size in start[:4]):
        return ""
    # A Configure-Ack repeats what it acknowledges (RFC 1661 section 5.2).
    repeated = {size for is_client, size in start if is_client} & {size for is_client, size in start if not is_client}
    if repeated and any(carries_tcp(frames[end:], header) for header in _FORTINET_HEADERS):
        return "a request that is answered by PPP instead of HTTP, then a TCP handshake in PPP frames"
    return ""


def _is_openconnect(frames: Sequence[Frame]) -> str:
    """Requests and answers, then packets with a header of eight bytes."""
    exchanges, at = _exchanges(frames)
    rest = frames[at:]
    if not exchanges or not _has_header(rest, _CSTP_HEADER):
        return ""
    if exchanges > 1 and [size for _, size in rest[:2]] == [_CSTP_HEADER] * 2 and rest[0][0] != rest[1][0]:
        return "HTTP's lengths, then two empty frames with CSTP's header, as dead peer detection sends"
    if carries_tcp(rest, _CSTP_HEADER):
        return "HTTP's lengths, then a TCP handshake in frames with CSTP's header"
    return ""


def _may_become_a_tunnel(frames: Sequence[Frame]) -> bool:
    """Whether any of the openings is still possible, so that other connections are not held up."""
    asked = _flight(frames, 0, from_client=True)
    exchanges, at = _exchanges(frames)
    if exchanges >= _MAX_EXCHANGES or _is_long_answer(frames):
        return False
    answered = _flight(frames, _flight(frames, at, from_client=True), from_client=False)
    if exchanges == 0:
        if asked < len(frames) and sum(size for _, size in frames[:asked]) < _LEAST_REQUEST:
            return False
        # Not HTTP, as it seems: only these two go on like this.
        sizes = [size for _, size in frames[asked : asked + 4]]
        return answered == len(frames) or _START_TUNNEL in sizes or all(size in _FORTINET_LCP for size in sizes)
    rest = frames[at:]
    if _flight(rest, 0, from_client=True) == len(rest):
        return True  # perhaps another request
    return (
        (exchanges == 1 and rest[0][1] == _SSTP_CONNECT)
        or _has_header(rest, _CSTP_HEADER)
        or (exchanges >= _SOFTETHER_EXCHANGES and all(size >= _SOFTETHER_LEAST for _, size in rest))
    )


def _is_long_answer(frames: Sequence[Frame]) -> bool:
    """Whether the server sends more in a row than any login does, before a tunnel could have begun."""
    in_a_row = 0
    for from_client, size in frames:
        in_a_row = 0 if from_client else in_a_row + size
        if in_a_row > _MAX_ANSWER:
            return True
    return False


_KINDS: tuple[tuple[str, Callable[[Sequence[Frame]], str]], ...] = (
    ("sstp", _is_sstp),
    ("globalprotect", _is_globalprotect),
    ("softether", _is_softether),
    ("fortinet-sslvpn", _is_fortinet),
    ("openconnect", _is_openconnect),
)


class SslVpnMemory:
    """Which client software has built a SoftEther tunnel to a service: it opens further connections for the same."""

    __slots__ = ("softether_clients",)

    _MAX_CLIENTS = 8

    def __init__(self) -> None:
        self.softether_clients: list[object] = []
        "JA4 fingerprints, the last few."

    def remember(self, ja4: object) -> None:
        """Note a tunnel."""
        if ja4 is not None and ja4 not in self.softether_clients:
            self.softether_clients.append(ja4)
            del self.softether_clients[: -self._MAX_CLIENTS]


class SslVpn(Detector):
    """Compares the lengths of TLS records with those of the messages that VPNs open with."""

    name: ClassVar[str] = "ssl_vpn"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("sstp", "openconnect", "softether", "fortinet-sslvpn", "globalprotect")
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 14
    misses: ClassVar[str] = (
        "Tunnels that carry no TCP connection among their first packets, such as those whose data goes over UDP, "
        "TLS with block ciphers, clients that offer HTTP/2, and connections joined in their middle."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = SslVpnMemory

    __slots__ = ("_is_begun", "_memory", "_records")

    def __init__(self, memory: object = None) -> None:
        self._memory = memory if isinstance(memory, SslVpnMemory) else SslVpnMemory()
        self._records = TlsRecords()
        self._is_begun = False

    def feed(self, talk: Conversation) -> Answer:
        """Judge anew whenever another record has begun."""
        if not self._is_begun:
            self._is_begun = True
            offered = talk.facts.get("tls.client_alpns")
            if talk.midstream or (isinstance(offered, list) and "http/1.1" not in offered) or _offers_http2(offered):
                return Opinion.NO
        records = self._records
        if not records.update(talk):
            return Opinion.NO if records.is_full else Opinion.MORE
        overhead = records.overhead
        if overhead is None:
            return Opinion.NO if records.is_open or records.is_full else Opinion.MORE
        frames, is_over = _frames(records, overhead)
        if frames:
            for protocol, is_kind in _KINDS:
                reason = is_kind(frames)
                if reason:
                    if protocol == "softether":
                        self._memory.remember(talk.facts.get("tls.ja4"))
                    return Evidence(protocol, Confidence.PROBABLE, reason)
            if talk.facts.get("tls.ja4") in self._memory.softether_clients and _exchanges(frames)[0]:
                reason = "requests and answers of the TLS client that has a SoftEther tunnel to this service"
                return Evidence("softether", Confidence.PROBABLE, reason)
        may_go_on = not is_over and not records.is_full and _may_become_a_tunnel(frames)
        return Opinion.MORE if may_go_on else Opinion.NO


def _frames(records: TlsRecords, overhead: int) -> tuple[list[Frame], bool]:
    """What both sides sent from the client's first record on, and whether something shows that it is no tunnel."""
    frames: list[Frame] = []
    for from_client, _, length in records.data:
        if not frames and not from_client:
            continue  # session tickets
        size = length - overhead
        if not 0 < size <= _MAX_FRAME or len(frames) >= _MAX_FRAMES:
            return frames, True
        frames.append((from_client, size))
    return frames, False


def _offers_http2(alpns: object) -> bool:
    """Whether a client is a browser or the like: none of these VPNs' clients speaks HTTP/2."""
    return isinstance(alpns, list) and "h2" in alpns
