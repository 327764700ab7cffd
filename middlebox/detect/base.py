"""The contract between the engine and its detectors.

A detector is made once per flow and fed that flow's payload until it says NO or gives evidence without
`more`. It keeps what it must remember in itself, so two flows can never learn from each other, unless its
class asks for a memory that flows share (`Detector.remembers`). It never looks at addresses or ports: the
`Conversation` does not carry them.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import ClassVar

from middlebox.evidence import Answer, Confidence

ICMP, IGMP, IP_IN_IP, TCP, UDP, IPV6_IN_IP, GRE, ESP, AH, ICMPV6 = 1, 2, 4, 6, 17, 41, 47, 50, 51, 58
"IP protocol numbers (IANA, Assigned Internet Protocol Numbers)."

STREAM_LIMIT = 16 * 1024
"Bytes of each TCP direction that detectors get to see, counted from the start of the connection."

SIZES_LIMIT = 64
"Payload packets whose size and time are remembered for detectors: twice what the engine inspects of most flows."

INNER_PROTOCOLS = "inner.protocols"
"A fact that the engine adds to flows whose detector `unwraps`: the names of what it found inside."

ANY_BYTE = bytes(range(256))
"For `client_begins` and `server_begins`: this side may begin with whatever it likes."

NO_FACTS: Mapping[str, object] = MappingProxyType({})


class Scope(Enum):
    """Which flows share one memory of a detector that asks for one."""

    CLIENT = "client"
    "All flows that one host opened."
    SERVICE = "service"
    "All flows to one address, transport and port."
    PAIR = "pair"
    "All flows between two hosts, whichever opened them."


class Conversation:
    """What both sides of one flow have said so far, as far as a detector may see it.

    The engine owns it and updates it in place before each round of `feed`. Detectors only read it.
    """

    __slots__ = (
        "client", "confidence", "data", "facts", "from_client", "midstream", "now", "packet", "protocol", "server",
        "size", "sizes", "times",
    )  # fmt: skip

    def __init__(self, *, midstream: bool = False) -> None:
        self.data = b""
        "UDP and other datagrams: this datagram's payload. TCP: the bytes that this packet brought into order."
        self.from_client = True
        "Whether `data` was sent by the side that opened the flow."
        self.client = b""
        "TCP only: all in-order bytes from the client so far, at most STREAM_LIMIT."
        self.server = b""
        "TCP only: all in-order bytes from the server so far, at most STREAM_LIMIT."
        self.packet = 0
        "Number of this packet in the flow, both directions counted, from 1."
        self.size = 0
        "Payload bytes of this packet on the wire, which may be more than `data` (offload, reordering)."
        self.now = 0.0
        "Time of this packet in seconds since the epoch."
        self.midstream = midstream
        "TCP only: the flow was joined after its start, so `client` and `server` do not begin at byte one."
        self.sizes: list[int] = []
        """Payload bytes of each packet that brought payload in order, this one last: positive from the client,
        negative from the server. The first SIZES_LIMIT. Offload may have merged segments into one packet."""
        self.times: list[float] = []
        "When those packets came, in seconds since the epoch."
        self.protocol = "unknown"
        "What the flow is called so far, by whichever detector. Detectors that build on others look at this."
        self.confidence: Confidence | None = None
        "How sure that name is."
        self.facts: Mapping[str, object] = NO_FACTS
        "All facts that detectors reported so far of this flow, for instance facts['tls.sni']."


class Detector:
    """Recognises one protocol, or one family of protocols that share their first bytes.

    Subclasses set the class variables without a default and write `feed`. A detector that `remembers` takes
    its memory as the constructor's only argument, None meaning a new one.
    """

    __slots__ = ()

    name: ClassVar[str]
    "The detector's own name: its file name."
    transports: ClassVar[tuple[int, ...]]
    "IP protocol numbers whose flows it wants to see."
    protocols: ClassVar[tuple[str, ...]]
    "Names of `middlebox.protocols` that it may report."
    facts: ClassVar[tuple[str, ...]]
    "Dotted names of every fact it may report. Rules may use these and no others."
    reaches: ClassVar[Confidence]
    "The highest confidence it can give."
    packets_needed: ClassVar[int]
    "Packets with payload, both directions together, until it reaches that level in the ordinary case."
    misses: ClassVar[str]
    "What it cannot see, in one sentence."
    client_begins: ClassVar[bytes] = ANY_BYTE
    """Every byte with which a client may begin. With `server_begins` it spares most flows most detectors: one is not
    even made for a flow whose first payload begins with another byte, so it must be sure to answer NO to any such
    payload, however short. Where it is not certain who began, with datagrams and in flows joined mid-way, a byte of
    either side will do. For detectors that build on others it means nothing."""
    server_begins: ClassVar[bytes] = ANY_BYTE
    "Every byte with which a server may begin, be it that it greets or that it answers."
    builds_on: ClassVar[tuple[str, ...]] = ()
    """Names of protocols one of which must be recognised first, at least as `probable`. Made and fed only from then on,
    beginning with the packet that showed the name: `talk.client`, `talk.server`, `talk.sizes` tell what was before."""
    statistical: ClassVar[bool] = False
    """It judges by sizes, times or the distribution of bytes. It reaches `probable` at most, and is dropped, with what
    it said, as soon as another detector recognises a protocol that it does not build on."""
    remembers: ClassVar[Scope | None] = None
    "Which flows share the memory that is passed to the constructor."
    memory: ClassVar[type] = object
    "Class of that memory, made without arguments. Bounded in itself; the engine bounds how many there are."
    unwraps: ClassVar[bool] = False
    "It has `unwrap`: what it recognises carries whole IP packets in clear, which are judged, too."

    def feed(self, talk: Conversation) -> Answer:
        """Look at the newest payload in `talk`.

        Called once per packet that brought payload, in order, never with empty `talk.data`. Must not
        raise for any bytes. Its answer depends only on the bytes and their order, for TCP not on how
        they were cut into segments, unless the detector is statistical.
        """
        raise NotImplementedError

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet that `data`, a payload like `talk.data`, carries in clear; empty when there is none.

        Only called once this detector has recognised the flow, and only if it `unwraps`.
        """
        raise NotImplementedError
