"""What detectors of ordinary protocols over datagrams share: a request, and the answer that repeats something of it.

The one rule: one well-formed message is `probable`; `confirmed` needs an answer from the other side with the number,
name or token of a request. A flow is dismissed on its first byte, before anything is allocated, where that tells:
`client_begins`, which holds for both sides.
"""

from collections.abc import Hashable
from typing import ClassVar, NamedTuple

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MAX_WAITING = 16
"Requests remembered per flow: whoever asks more at once is answered in the meantime."
_MAX_UNLINKED = 6
"Well-formed messages after the first one without an answer that links. Announcements and one-sided captures have none."
_MAX_FOREIGN = 3
"Messages of another kind in a flow that has shown well-formed ones."


class Seen(NamedTuple):
    """What one well-formed message shows."""

    what: str
    "What it is, for people: 'a well-formed ...'."
    asks: Hashable = None
    "What an answer must repeat, when this may be answered."
    answers: Hashable = None
    "What it repeats, when it may be an answer."
    confidence: Confidence | None = Confidence.PROBABLE
    "What this message alone is worth; None when others have the same form."


class DatagramExchange(Detector):
    """A protocol that is recognised by one message, and confirmed by its answer."""

    transports: ClassVar[tuple[int, ...]] = (UDP,)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2

    repeats: ClassVar[str]
    "What an answer repeats, for people: 'the answer repeats the request's ...'."

    _waiting: "set[tuple[bool, Hashable]] | None" = None
    "Who has asked what. Defaults of the class: most flows are dismissed without ever setting them."
    _given: Confidence | None = None
    _unlinked = 0
    _foreign = 0

    def read(self, message: bytes) -> Seen | None:
        """What a message shows; None when it is not well-formed."""
        raise NotImplementedError

    def feed(self, talk: Conversation) -> Answer:
        """Read one datagram as one message."""
        message = talk.data
        seen = self.read(message) if message[0] in self.client_begins else None
        if seen is None:
            return self._pass_over()
        return self.judge(seen, from_client=talk.from_client)

    def judge(self, seen: Seen, *, from_client: bool) -> Answer:
        """The evidence that this message adds to those before it."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = set()
        if seen.answers is not None and (not from_client, seen.answers) in waiting:
            reason = f"{seen.what} answers a request of the other side and repeats its {self.repeats}"
            return Evidence(self.protocols[0], Confidence.CONFIRMED, reason)
        if seen.asks is not None and len(waiting) < _MAX_WAITING:
            waiting.add((from_client, seen.asks))
        if seen.confidence is not None and (self._given is None or seen.confidence > self._given):
            self._given = seen.confidence
            more = self.reaches is Confidence.CONFIRMED
            return Evidence(self.protocols[0], seen.confidence, f"{seen.what}, well-formed", more=more)
        self._unlinked += 1
        return Opinion.MORE if self._unlinked < _MAX_UNLINKED else Opinion.NO

    def _pass_over(self) -> Opinion:
        if self._waiting is None:
            return Opinion.NO
        self._foreign += 1
        return Opinion.MORE if self._foreign <= _MAX_FOREIGN else Opinion.NO
