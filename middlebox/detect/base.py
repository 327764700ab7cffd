"""The contract between the engine and its detectors.

A detector is made once per flow and fed that flow's payload until it says NO or gives evidence without
`more`. It keeps what it must remember in itself, so two flows can never learn from each other. It never
looks at addresses or ports: the `Conversation` does not carry them.
"""

from typing import ClassVar, Protocol

from middlebox.evidence import Answer, Confidence

TCP = 6
UDP = 17

STREAM_LIMIT = 16 * 1024
"Bytes of each TCP direction that detectors get to see, counted from the start of the connection."


class Conversation:
    """What both sides of one flow have said so far, as far as a detector may see it.

    The engine owns it and updates it in place before each round of `feed`. Detectors only read it.
    """

    __slots__ = ("client", "data", "from_client", "midstream", "now", "packet", "server", "size")

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


class Detector(Protocol):
    """Recognises one protocol, or one family of protocols that share their first bytes."""

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

    def feed(self, talk: Conversation) -> Answer:
        """Look at the newest payload in `talk`.

        Called once per packet that brought payload, in order, never with empty `talk.data`. Must not
        raise for any bytes. Its answer depends only on the bytes and their order, for TCP not on how
        they were cut into segments.
        """
        ...
