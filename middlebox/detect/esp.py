"""ESP, the Encapsulating Security Payload, straight over IP (protocol 50, RFC 4303).

The one rule: the IP protocol number alone makes it probable; `confirmed` needs both directions to advance.
"""

from typing import ClassVar

from middlebox.detect.base import ESP, Conversation, Detector
from middlebox.detect.esp_packet import Judge, parse_esp
from middlebox.evidence import Answer, Confidence


class Esp(Detector):
    """Follows SPIs and sequence numbers."""

    name: ClassVar[str] = "esp"
    transports: ClassVar[tuple[int, ...]] = (ESP,)
    protocols: ClassVar[tuple[str, ...]] = ("ipsec",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = "What ESP carries, and proof where only one direction is seen."

    __slots__ = ("_judge",)

    def __init__(self) -> None:
        self._judge = Judge("ESP")

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one ESP packet."""
        return self._judge.judge(parse_esp(talk.data, talk.size), from_client=talk.from_client)
