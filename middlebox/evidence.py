"""What detectors say: evidence, or one of two opinions.

A detector reports what it saw; it never decides. Nothing here knows about rules, flows or packets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Confidence(IntEnum):
    """How sure a piece of evidence is. Ordered, so that a rule can ask for a least level."""

    POSSIBLE = 1
    "Fits, but common traffic may look the same."
    PROBABLE = 2
    "Statistical or partial evidence. Statistical detectors never say more."
    CONFIRMED = 3
    "A linked exchange that other protocols do not produce."

    @property
    def word(self) -> str:
        """The level as policies and events spell it."""
        return self.name.lower()


class Opinion(Enum):
    """What a detector answers when it has no evidence to give."""

    MORE = "more"
    "Could still be mine: show me what comes next."
    NO = "no"
    "Not mine: stop asking."


@dataclass(slots=True, frozen=True)
class Proof:
    """Handshake bytes against which an approval can be checked by cryptography.

    Kept in memory with the flow, never logged and never part of an event.
    """

    protocol: str
    "Protocol name, for instance `wireguard`."
    kind: str
    "Which message this is, for instance `initiation`."
    message: bytes
    "The message as it was seen on the wire."
    answered: bool = False
    "The other side has answered this very message. Only then does it say what the flow is for."
    answer: bytes | None = None
    "That answer as it was seen on the wire, where an approval can check it, too."
    seen: float = field(default=0.0, compare=False)
    "When `message` was seen, in seconds since the epoch; 0 where its protocol does not tell the time."


@dataclass(slots=True, frozen=True)
class Evidence:
    """One finding of one detector."""

    protocol: str
    "A name from `middlebox.protocols`."
    confidence: Confidence
    reason: str
    "One sentence that a person can check against the capture."
    facts: Mapping[str, object] = field(default_factory=dict)
    "Dotted event names to JSON values, for instance {'tls.sni': 'example.org'}."
    more: bool = False
    "True while the detector may still strengthen this finding or add facts to it."
    proof: Proof | None = None
    "What an approval may be checked against."


Answer = Evidence | Opinion
"What `Detector.feed` returns."
