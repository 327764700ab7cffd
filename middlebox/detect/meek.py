"""meek inside TLS, recognised by how its client polls when there is nothing to say.

A meek client asks its server again and again over one connection. While both are silent, all requests are equally long,
so are all answers, and each pause is half as long again as the one before. The one rule: requests, answers and pauses
must all fit, five times in a row; browsers and long polls repeat lengths, but wait at regular or at irregular times.

Source: meek-client.go (Tor Project), constants initPollInterval, maxPollInterval and pollIntervalMultiplier.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MULTIPLIER = 1.5
"pollIntervalMultiplier."
_TOLERANCE = 0.15
"Ours, of the multiplier: what timers and networks add to pauses of 100 ms and more."
_LEAST_PAUSE, _MOST_PAUSE = 0.08, 5.5
"Seconds: initPollInterval is 100 ms and maxPollInterval 5 s."
_POLLS = 5
"Polls in a row: four pauses, each 1.5 times the one before."
_MOST_POLL_BYTES = 1_400
"Ours: a request without a body is a request line and a few headers, and fits into a segment."
_PATIENCE = 6
"Requests of other lengths after which no polling is waited for."
_MOST_BYTES = 8_192
"Ours: bytes of the server after which the connection is not idle, so that downloads are let go."


class Meek(Detector):
    """Looks for polls whose pauses grow by half."""

    __slots__ = (
        "_answer",
        "_answered_at",
        "_cover",
        "_others",
        "_pauses",
        "_poll",
        "_polls",
        "_request",
        "_turn_is_client",
    )

    name: ClassVar[str] = "meek"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("meek",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 13
    misses: ClassVar[str] = (
        "Connections that are not idle soon after they begin, polls over HTTP/2 that share records, "
        "and clients with other timers. Not tried on a real client: nobody packages one."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)
    statistical: ClassVar[bool] = True

    def __init__(self) -> None:
        self._cover = Cover()
        self._turn_is_client = False
        "Who wrote last."
        self._request = self._answer = 0
        "Bytes of the request and of the answer that are being written."
        self._poll = (0, 0)
        "Bytes of the last request and of its answer."
        self._answered_at = 0.0
        self._pauses: list[float] = []
        "Seconds between an answer and the next request, of polls that look alike."
        self._others = 0

    def feed(self, talk: Conversation) -> Answer:
        """Follow who writes how much, and when."""
        if self._cover.is_hopeless(talk):
            return Opinion.NO
        for size in self._cover.read(talk):
            if size < 0:
                self._turn_is_client = False
                self._answer -= size
                self._answered_at = talk.now
                continue
            if not self._turn_is_client:
                self._end_exchange(talk.now)
            self._turn_is_client = True
            self._request += size
        if len(self._pauses) >= _POLLS - 1:
            reason = (
                f"{_POLLS} equal requests, equally answered, each after a pause half as long again as the one before"
            )
            return Evidence("meek", Confidence.PROBABLE, reason)
        is_busy = self._others >= _PATIENCE or len(talk.server) > _MOST_BYTES
        return Opinion.NO if is_busy else Opinion.MORE

    def _end_exchange(self, now: float) -> None:
        """Judge the exchange that is over because a new request begins."""
        poll, pause = (self._request, self._answer), now - self._answered_at
        is_poll = 0 < self._request <= _MOST_POLL_BYTES and self._answer > 0 and _LEAST_PAUSE <= pause <= _MOST_PAUSE
        continues = poll == self._poll and self._pauses and _fits(self._pauses[-1], pause)
        if is_poll and continues:
            self._pauses.append(pause)
        else:
            self._pauses = [pause] if is_poll else []
            self._others += not is_poll or poll != self._poll
        self._poll = poll
        self._request = self._answer = 0


def _fits(before: float, after: float) -> bool:
    """Whether one pause is the multiplier times the other, or both are the longest there is."""
    if before > _MOST_PAUSE * (1 - _TOLERANCE):
        return after > _MOST_PAUSE * (1 - _TOLERANCE)
    return abs(after / before - _MULTIPLIER) <= _MULTIPLIER * _TOLERANCE
