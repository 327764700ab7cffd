"""What detectors of protocols with an IP protocol number of their own share: one message is enough to be named.

The one rule: the number names the protocol, the message's form must agree; `confirmed` when its checksum does, too.
"""

from typing import ClassVar

from middlebox.detect.base import Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion


class Numbered(Detector):
    """Judges the first message; subclasses write `look`."""

    __slots__ = ()

    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Messages that are cut short or damaged are never certain."

    def feed(self, talk: Conversation) -> Answer:
        """Name the flow by its first message."""
        found = self.look(talk.data, talk.size)
        if found is None:
            return Opinion.NO
        return Evidence(self.protocols[0], found[0], found[1])

    def look(self, data: bytes, size: int) -> tuple[Confidence, str] | None:
        """How sure a message of `size` bytes is, of which `data` was captured, and why."""
        raise NotImplementedError
