"""Feeds detectors the way the engine does, without packets: bytes and directions are enough.

A message is `(from_client, bytes)`; `CLIENT(b"...")` and `SERVER(b"...")` make one. A detector that builds on another
one's names hears that one first, as in the engine, and is fed from the packet on which the name was found.
"""

from collections.abc import Iterable, Iterator, Sequence

from middlebox.detect import DETECTORS
from middlebox.detect.base import SIZES_LIMIT, STREAM_LIMIT, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

Message = tuple[bool, bytes]


def CLIENT(data: bytes) -> Message:  # noqa: N802
    return True, data


def SERVER(data: bytes) -> Message:  # noqa: N802
    return False, data


def datagrams(detector: Detector, messages: Iterable[Message], *, spacing: float = 0.01) -> Iterator[Answer]:
    """Feed each message as one datagram; yield every answer until the detector is done."""
    talk = Conversation()
    forerunners = _Forerunners(detector)
    for number, (from_client, data) in enumerate(messages, start=1):
        talk.data, talk.from_client, talk.packet, talk.size = data, from_client, number, len(data)
        talk.now = number * spacing
        _note_size(talk)
        if not forerunners.have_found_a_name(talk):
            continue
        answer = detector.feed(talk)
        yield answer
        if answer is Opinion.NO or (isinstance(answer, Evidence) and not answer.more):
            return


def stream(
    detector: Detector,
    messages: Iterable[Message],
    *,
    segment: int = 1460,
    midstream: bool = False,
    times: Sequence[float] = (),
) -> Iterator[Answer]:
    """Feed each message as a run of TCP segments of at most `segment` bytes; yield every answer."""
    talk = Conversation(midstream=midstream)
    forerunners = _Forerunners(detector)
    number = 0
    for index, (from_client, data) in enumerate(messages):
        for start in range(0, len(data), segment):
            number += 1
            piece = data[start : start + segment]
            if from_client:
                room = STREAM_LIMIT - len(talk.client)
                talk.client += piece[:room]
            else:
                room = STREAM_LIMIT - len(talk.server)
                talk.server += piece[:room]
            talk.data, talk.from_client, talk.packet, talk.size = piece, from_client, number, len(piece)
            talk.now = times[index] if times else number * 0.01
            _note_size(talk)
            if not forerunners.have_found_a_name(talk):
                continue
            answer = detector.feed(talk)
            yield answer
            if answer is Opinion.NO or (isinstance(answer, Evidence) and not answer.more):
                return


def _note_size(talk: Conversation) -> None:
    if len(talk.sizes) < SIZES_LIMIT:
        talk.sizes.append(talk.size if talk.from_client else -talk.size)
        talk.times.append(talk.now)


class _Forerunners:
    """The detectors on whose names another one builds; none for most."""

    def __init__(self, detector: Detector) -> None:
        self._wanted = frozenset(detector.builds_on)
        kinds = [
            kind for kind in DETECTORS if not self._wanted.isdisjoint(kind.protocols) and kind is not type(detector)
        ]
        self._at_work = [(kind(), _Forerunners(kind())) for kind in kinds]
        self._facts: dict[str, object] = {}

    def have_found_a_name(self, talk: Conversation) -> bool:
        """Show them the newest payload; True once one of the wanted names is at least probable."""
        if not self._wanted:
            return True
        talk.facts = self._facts
        going_on = []
        for detector, forerunners in self._at_work:
            if not forerunners.have_found_a_name(talk):
                going_on.append((detector, forerunners))
                continue
            answer = detector.feed(talk)
            if isinstance(answer, Evidence):
                self._facts.update(answer.facts)
                if answer.confidence >= Confidence.PROBABLE and answer.protocol in self._wanted:
                    talk.protocol, talk.confidence = answer.protocol, answer.confidence
            if answer is Opinion.MORE or (isinstance(answer, Evidence) and answer.more):
                going_on.append((detector, forerunners))
        self._at_work = going_on
        return talk.protocol in self._wanted


def last_evidence(answers: Iterable[Answer]) -> Evidence | None:
    """The last evidence given, None when there was none."""
    found = [answer for answer in answers if isinstance(answer, Evidence)]
    return found[-1] if found else None
