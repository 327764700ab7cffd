"""One word for what a detector makes of an exchange, so that a table of awkward cases stays readable."""

from collections.abc import Iterable

from middlebox.detect.base import TCP, Detector
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import Message, datagrams, last_evidence, stream


def outcome(
    kind: type[Detector],
    messages: Iterable[Message],
    *,
    transport: int = TCP,
    segment: int = 1460,
    midstream: bool = False,
) -> str:
    """The level of the last evidence; without any, `no` or `more`, whichever the detector said last."""
    feed = stream(kind(), messages, segment=segment, midstream=midstream) if transport == TCP else None
    answers = list(feed or datagrams(kind(), messages))
    evidence = last_evidence(answers)
    if evidence:
        return evidence.confidence.word
    last = answers[-1]
    assert isinstance(last, Opinion)
    return last.value


def is_settled(kind: type[Detector], messages: Iterable[Message], *, midstream: bool = False) -> bool:
    """Whether the detector needs no more of the flow."""
    *_, last = stream(kind(), messages, midstream=midstream)
    return last is Opinion.NO or (isinstance(last, Evidence) and not last.more)


CONFIRMED, PROBABLE, POSSIBLE = (level.word for level in reversed(Confidence))
