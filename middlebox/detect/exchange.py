"""What detectors of ordinary protocols share: they judge what each side said first, until question and answer fit.

The one rule: a flow is dismissed on the first byte of either side that no message of the protocol begins with
(`client_begins`, `server_begins`). That look must cost next to nothing: no constructor, no copies.
"""

from dataclasses import replace
from typing import ClassVar

from middlebox.detect.base import NO_FACTS, TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_NO = Opinion.NO
"Spelled once: looking up a member of an enumeration costs as much as the rest of the look at a foreign flow."

Fit = bool | None
"Whether bytes fit: yes, no, or None while too little of them is there."


def begins_with(data: bytes, start: bytes) -> Fit:
    """Whether `data` begins with `start`."""
    return data.startswith(start) or (None if start.startswith(data) else False)


def both(first: Fit, second: Fit) -> Fit:
    """Whether both fit: no as soon as one does not."""
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


class Exchange(Detector):
    """A protocol that is recognised by what both sides say first.

    It keeps no state but the last evidence: every packet lets it judge both sides from their first byte, so how the
    bytes were cut into segments cannot matter.
    """

    __slots__ = ("_client", "_given", "_server")

    transports: ClassVar[tuple[int, ...]] = (TCP,)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2

    patience: ClassVar[int] = 4096
    "Ours: bytes of both sides after which nothing more is waited for."

    _given: Evidence
    "The last evidence, once there is one."
    _client: bytes
    "The opener's newest datagram, once there is one."
    _server: bytes
    "The other side's newest datagram, once there is one."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Judge all that client and server have said. One of them may be empty; both begin with a fitting byte."""
        raise NotImplementedError

    def judge_datagrams(self, client: bytes, server: bytes) -> Answer:
        """The same for the newest datagram of each side."""
        return self.judge(client, server)

    def feed(self, talk: Conversation) -> Answer:
        """Dismiss by the first bytes, or judge; a flow joined mid-way also with the roles exchanged."""
        client, server = talk.client, talk.server
        if (client and client[0] not in self.client_begins) or (server and server[0] not in self.server_begins):
            return self._feed_exchanged(client, server) if talk.midstream else _NO
        if not client and not server:
            return self._feed_datagram(talk)
        answer = self.judge(client, server)
        if answer is _NO:
            return self._feed_exchanged(client, server) if talk.midstream else _NO
        return self._tell(answer, is_last=len(client) + len(server) > self.patience)

    def _feed_exchanged(self, client: bytes, server: bytes) -> Answer:
        """The same with the roles exchanged: perhaps the server's packet was the first that was seen."""
        if (client and client[0] not in self.server_begins) or (server and server[0] not in self.client_begins):
            return _NO
        return self._tell(self.judge(server, client), is_last=len(client) + len(server) > self.patience)

    def _feed_datagram(self, talk: Conversation) -> Answer:
        """Datagrams: the newest of each side, in either role, since the capture may have missed the question."""
        first = talk.data[0]
        if first not in self.client_begins and first not in self.server_begins:
            return _NO
        if talk.from_client:
            self._client = talk.data
        else:
            self._server = talk.data
        opener, other = getattr(self, "_client", b""), getattr(self, "_server", b"")
        answer = self.judge_datagrams(opener, other)
        if answer is _NO:
            answer = self.judge_datagrams(other, opener)
        return self._tell(answer, is_last=talk.packet > _MAX_DATAGRAMS)

    def _tell(self, answer: Answer, *, is_last: bool) -> Answer:
        """The answer, unless it says what was said before; without `more` when patience is at its end."""
        if isinstance(answer, Evidence):
            if is_last and answer.more:
                answer = replace(answer, more=False)
            answer = only_news(answer, getattr(self, "_given", None))
            if isinstance(answer, Evidence):
                self._given = answer
        elif is_last:
            return _NO
        return answer

    def weigh(
        self,
        asked: Fit,
        answered: Fit,
        *,
        question: str,
        answer: str,
        link: str,
        alone: Confidence = Confidence.PROBABLE,
    ) -> Answer:
        """Evidence from what the client said and from what the server said; `alone` is the worth of one of them."""
        if asked is False or answered is False:
            return _NO
        if asked and answered:
            return self.confirmed(link)
        if asked or answered:
            return Evidence(self.protocols[0], alone, question if asked else answer, more=True)
        return Opinion.MORE

    def probable(self, reason: str) -> Evidence:
        """One side has shown itself; the other may still."""
        return Evidence(self.protocols[0], Confidence.PROBABLE, reason, more=True)

    def confirmed(self, reason: str) -> Evidence:
        """Both sides have, and nothing more is to be learned."""
        return Evidence(self.protocols[0], Confidence.CONFIRMED, reason, NO_FACTS)


_MAX_DATAGRAMS = 6
"Ours: packets of a flow of datagrams after which nothing more is waited for."
