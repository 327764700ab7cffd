"""Proxies over genuine QUIC (Hysteria, TUIC, V2Ray's QUIC transport), recognised by what their ClientHello asks for.

Nothing after the handshake can be told from HTTP/3 by its bytes. But most of these programs are built on the library
quic-go, whose hello is easily known (a maximum ack delay of 26 ms, which no other library announces), and ask it for
things that HTTP/3 clients have no use for:

- datagrams (RFC 9221), for which quic-go announces 16383 bytes: Hysteria, TUIC, Juicity and MASQUE send UDP in them;
- flow control windows of 8 MiB for a stream and 20 MiB for the connection: the defaults of Hysteria, 1 and 2;
- 2**60 streams in one direction: TUIC, which may send each UDP packet in a stream of its own;
- application protocols that run over TCP only, like `h2`: V2Ray's transport keeps the list of its TLS settings.

A client may imitate Chrome's hello, as newer versions of sing-box do for Hysteria 2, and is still given away when its
packets grow by quic-go's search for the path's MTU (1250, 1351, 1401, ...), which Chrome does not do.

The one rule: `probable` at most, since the programs could ask for less.

Sources: quic-go, internal/protocol/params.go (windows, MaxAckDelayInclGranularity, MaxStreamCount), internal/wire
(MaxDatagramSize) and mtu_discoverer.go; apernet/hysteria, core/client/config.go; SagerNet/sing-quic, tuic/client.go;
v2fly/v2ray-core, transport/internet/quic.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.client_hello import ClientHello
from middlebox.detect.quic_hello import QuicHello, transport_parameters
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MAX_DATA, _STREAM_BIDIRECTIONAL_LOCAL, _STREAMS_UNIDIRECTIONAL = 0x04, 0x05, 0x09
_MAX_ACK_DELAY, _MAX_DATAGRAM_FRAME_SIZE = 0x0B, 0x20
"Transport parameters, RFC 9000 section 18.2 and RFC 9221 section 3."
_QUIC_GO_ACK_DELAY = 26
"25 ms and the granularity of its timer."
_HYSTERIA_STREAM_WINDOW, _HYSTERIA_WINDOW = 8 << 20, 20 << 20
_ENDLESS_STREAMS = 1 << 60
_HYSTERIA_ALPN = "hysteria"
"Hysteria 1 unless told otherwise."
_TCP_ALPNS = frozenset({"h2", "http/1.1", "http/1.0", "spdy/3.1"})
"Application protocols that are defined over TCP (IANA, TLS ALPN Protocol IDs)."
_CHROME_DATAGRAM_FRAME_SIZE = 65_536
"What Chrome announces."
_LEAST_FLIGHT_BYTES, _FLIGHT_BYTES = 1_190, range(1_270, 1_290)
"The server's first long datagram; of quic-go it has 1280 bytes, of other servers that browsers meet 1200 to 1252."
_LARGEST_DATAGRAM = 1_452
"Where quic-go's search for the MTU ends."
_STEPS_NEEDED = 2
"Steps of the search, which halves what is left each time; the client's must be among them."
_MOST_DATAGRAMS = 32
"As long as the engine looks, a search may show."


class QuicProxies(Detector):
    """Recognises Hysteria, TUIC and other proxies over QUIC by their ClientHello."""

    name: ClassVar[str] = "quic_proxies"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("hysteria", "tuic", "quic-tunnel")
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Clients that imitate a browser's hello and do not search for the path's MTU, those built on other libraries "
        "than quic-go, and Hysteria with Salamander, which is no QUIC to look at."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("quic",)

    __slots__ = ("_asker", "_datagrams", "_hello", "_is_answered", "_largest", "_steps")

    def __init__(self) -> None:
        self._hello = QuicHello()
        self._asker: bool | None = None
        "Which side sent the hello."
        self._datagrams = 0
        self._largest = [0, 0]
        "Bytes of the largest datagram from the server and from the client, in this connection's roles."
        self._steps = [0, 0]
        "Steps of quic-go's MTU search."
        self._is_answered = False

    def feed(self, talk: Conversation) -> Answer:
        """Read the hello; look for the MTU search only when the hello is Chrome's and the server may be quic-go."""
        if self._asker is None:
            self._asker = talk.from_client
        self._datagrams += 1
        is_asking = talk.from_client == self._asker
        if not self._hello.is_over:
            return self._read_hello(talk.data) if is_asking else Opinion.MORE
        if not self._is_answered and not is_asking and talk.size >= _LEAST_FLIGHT_BYTES:
            self._is_answered = True
            self._largest[False] = talk.size
            return Opinion.MORE if talk.size in _FLIGHT_BYTES else Opinion.NO
        return self._follow(talk.size, is_asking=is_asking)

    def _read_hello(self, datagram: bytes) -> Answer:
        self._largest[True] = max(self._largest[True], len(datagram))
        hello = self._hello.read(datagram)
        if hello is None:
            return Opinion.NO if self._hello.is_over else Opinion.MORE
        parameters = transport_parameters(hello)
        if evidence := _judge(hello, parameters):
            return evidence
        return Opinion.MORE if parameters.get(_MAX_DATAGRAM_FRAME_SIZE) == _CHROME_DATAGRAM_FRAME_SIZE else Opinion.NO

    def _follow(self, size: int, *, is_asking: bool) -> Answer:
        """Compare a datagram that is larger than all before from its side with the next step of the search."""
        largest = self._largest[is_asking]
        if size > largest > 0:
            if size != (largest + _LARGEST_DATAGRAM) // 2:
                return Opinion.NO
            self._largest[is_asking] = size
            self._steps[is_asking] += 1
            if self._steps[True] and sum(self._steps) >= _STEPS_NEEDED:
                reason = "the ClientHello is Chrome's, but its packets grow by the MTU search of the library quic-go"
                return Evidence("quic-tunnel", Confidence.PROBABLE, reason)
        return Opinion.MORE if self._datagrams < _MOST_DATAGRAMS else Opinion.NO


def _judge(hello: ClientHello, parameters: dict[int, int | None]) -> Evidence | None:
    """What the hello alone shows."""
    alpns = hello.alpns
    if _HYSTERIA_ALPN in alpns:
        return Evidence("hysteria", Confidence.PROBABLE, "the ClientHello offers the application protocol `hysteria`")
    if alpns and _TCP_ALPNS.issuperset(alpns):
        reason = f"the ClientHello offers {', '.join(alpns)} over QUIC, which run over TCP only"
        return Evidence("quic-tunnel", Confidence.PROBABLE, reason)
    if parameters.get(_MAX_ACK_DELAY) != _QUIC_GO_ACK_DELAY or _MAX_DATAGRAM_FRAME_SIZE not in parameters:
        return None
    windows = parameters.get(_STREAM_BIDIRECTIONAL_LOCAL), parameters.get(_MAX_DATA)
    if windows == (_HYSTERIA_STREAM_WINDOW, _HYSTERIA_WINDOW):
        reason = "a quic-go client asks for datagrams and for Hysteria's windows of 8 and 20 MiB"
        return Evidence("hysteria", Confidence.PROBABLE, reason)
    if parameters.get(_STREAMS_UNIDIRECTIONAL) == _ENDLESS_STREAMS:
        reason = "a quic-go client asks for datagrams and allows 2**60 streams in one direction, as TUIC's do"
        return Evidence("tuic", Confidence.PROBABLE, reason)
    return Evidence(
        "quic-tunnel", Confidence.PROBABLE, "a quic-go client asks for datagrams, for which HTTP/3 has no use"
    )
