"""What detectors of plain encapsulations share: each datagram is a header and a packet, and proves itself.

The one rule: `confirmed` needs a header without a wrong bit, followed by one whole packet whose lengths, and for IPv4
whose checksum, fit to the last byte. That says more than an answer would, and these tunnels often have none: each
direction of a VXLAN tunnel uses ports of its own.
"""

from typing import ClassVar

from middlebox.detect.base import INNER_PROTOCOLS, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MAX_STRANGERS = 4
"Datagrams in a row that do not fit, after one that did: then what fitted was chance, or the tunnel has ended."

Found = tuple[Confidence, str]
"How sure one datagram is, and why."


class Encapsulation(Detector):
    """Judges each datagram by itself; subclasses write `look` and `unwrap`."""

    __slots__ = ("_given", "_strangers")

    facts: ClassVar[tuple[str, ...]] = (INNER_PROTOCOLS,)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    unwraps: ClassVar[bool] = True

    def __init__(self) -> None:
        self._given: Confidence | None = None
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """Report the first datagram that fits, and the first that fits better. Then go on, for what is inside."""
        found = self.look(talk.data, talk.size)
        if found is None:
            self._strangers += 1
            return Opinion.NO if self._given is None or self._strangers > _MAX_STRANGERS else Opinion.MORE
        self._strangers = 0
        confidence, reason = found
        if self._given is not None and confidence <= self._given:
            return Opinion.MORE
        self._given = confidence
        return Evidence(self.protocols[0], confidence, reason, more=True)

    def look(self, data: bytes, size: int) -> Found | None:
        """What one datagram shows, of which `size` bytes were sent and `data` was captured."""
        raise NotImplementedError
