"""Feeds detectors the way the engine does, without packets: bytes and directions are enough.

A message is `(from_client, bytes)`; `CLIENT(b"...")` and `SERVER(b"...")` make one.
"""

from collections.abc import Iterable, Iterator

from middlebox.detect.base import STREAM_LIMIT, Conversation, Detector
from middlebox.evidence import Answer, Evidence, Opinion

Message = tuple[bool, bytes]


def CLIENT(data: bytes) -> Message:  # noqa: N802
    return True, data


def SERVER(data: bytes) -> Message:  # noqa: N802
    return False, data


def datagrams(detector: Detector, messages: Iterable[Message], *, spacing: float = 0.01) -> Iterator[Answer]:
    """Feed each message as one datagram; yield every answer until the detector is done."""
    talk = Conversation()
    for number, (from_client, data) in enumerate(messages, start=1):
        talk.data, talk.from_client, talk.packet, talk.size = data, from_client, number, len(data)
        talk.now = number * spacing
        answer = detector.feed(talk)
        yield answer
        if answer is Opinion.NO or (isinstance(answer, Evidence) and not answer.more):
            return


def stream(
    detector: Detector, messages: Iterable[Message], *, segment: int = 1460, midstream: bool = False
) -> Iterator[Answer]:
    """Feed each message as a run of TCP segments of at most `segment` bytes; yield every answer."""
    talk = Conversation(midstream=midstream)
    number = 0
    for from_client, data in messages:
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
            talk.now = number * 0.01
            answer = detector.feed(talk)
            yield answer
            if answer is Opinion.NO or (isinstance(answer, Evidence) and not answer.more):
                return


def last_evidence(answers: Iterable[Answer]) -> Evidence | None:
    """The last evidence given, None when there was none."""
    found = [answer for answer in answers if isinstance(answer, Evidence)]
    return found[-1] if found else None
