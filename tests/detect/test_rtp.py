"""RTP: rows of numbers, sources, and what has only its first byte."""

import pytest

from middlebox.detect.rtp import Rtp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import noise, rtcp, rtp


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Rtp(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def test_numbers_may_wrap_and_skip() -> None:
    for numbers in ((65534, 65535, 65536), (7, 9, 12), (7, 7, 8, 9)):
        assert level(udp(*[CLIENT(rtp(number)) for number in numbers])) is Confidence.PROBABLE, numbers


def test_each_way_has_a_row_of_its_own() -> None:
    messages = [side(rtp(number, 5 + (side is CLIENT))) for number in (7, 8, 9) for side in (CLIENT, SERVER)]
    assert level(udp(*messages)) is Confidence.CONFIRMED
    assert level(udp(*messages[:5])) is Confidence.PROBABLE


def test_reports_between_are_passed_over() -> None:
    assert udp(CLIENT(rtp(7)), CLIENT(rtcp(5)), CLIENT(rtp(8)), SERVER(rtcp(6)), CLIENT(rtp(9)))


@pytest.mark.parametrize(
    ("why", "make"),
    [
        ("numbers that leap", lambda n: rtp(100 * n)),
        ("numbers that stay", lambda _: rtp(7)),
        ("a source for each packet", lambda n: rtp(n, n)),
        ("times that fall", lambda n: rtp(n)[:4] + (5000 - n).to_bytes(4) + rtp(n)[8:]),
        ("random bytes", lambda n: b"\x80" + noise(90, n)),
        ("an extension that does not fit", lambda n: b"\x90" + rtp(n)[1:14] + b"\xff\xff" + rtp(n)[16:]),
        ("too short", lambda n: rtp(n)[:11]),
    ],
)
def test_what_is_not_a_row_is_given_up_soon(why: str, make: type[bytes]) -> None:
    answers = list(datagrams(Rtp(), [CLIENT(make(number)) for number in range(1, 40)]))
    assert last_evidence(answers) is None, why
    assert answers[-1] is Opinion.NO, why
    assert len(answers) <= 8, why
