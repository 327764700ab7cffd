"""AH, the IP Authentication Header (protocol 51, RFC 4302), and the IP packet that it carries in clear in tunnel mode.

The one rule: the IP protocol number with a header that adds up makes it probable; `confirmed` needs both directions to
advance.
"""

from typing import ClassVar

from middlebox.detect.base import AH, IP_IN_IP, IPV6_IN_IP, Conversation, Detector
from middlebox.detect.esp_packet import Judge, parse_ah
from middlebox.evidence import Answer, Confidence


class Ah(Detector):
    """Follows SPIs and sequence numbers."""

    name: ClassVar[str] = "ah"
    transports: ClassVar[tuple[int, ...]] = (AH,)
    protocols: ClassVar[tuple[str, ...]] = ("ipsec",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = "What AH carries in transport mode, and proof where only one direction is seen."
    unwraps: ClassVar[bool] = True

    __slots__ = ("_judge",)

    def __init__(self) -> None:
        self._judge = Judge("AH")

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one AH with what follows it."""
        parsed = parse_ah(talk.data, talk.size)
        return self._judge.judge(parsed[0] if parsed else None, from_client=talk.from_client)

    def unwrap(self, data: bytes) -> bytes:
        """The inner packet of tunnel mode."""
        parsed = parse_ah(data, len(data))
        return data[parsed[2] :] if parsed and parsed[1] in (IP_IN_IP, IPV6_IN_IP) else b""
