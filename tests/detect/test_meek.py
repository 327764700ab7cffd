"""meek: growing pauses between equal polls, and nothing else."""

from collections.abc import Sequence

import pytest

from middlebox.detect.meek import Meek
from middlebox.evidence import Evidence, Opinion
from tests.detect.conversations import last_evidence, stream
from tests.detect.covers import handshake, session

START = len(handshake())


def judged(sizes: Sequence[int], pauses: Sequence[float]) -> Evidence | None:
    """What is said of exchanges of these sizes: each pause stands before a request."""
    now, times = 1.0, [0.01 * number for number in range(START)]
    for pause in pauses:
        now += pause
        times += [now, now]
    return last_evidence(stream(Meek(), session(*sizes), times=times))


GROWING = (0.1, 0.1, 0.15, 0.225, 0.3375, 0.50625)


def test_equal_polls_with_growing_pauses_are_meek() -> None:
    found = judged((290, -260) * 6, GROWING)
    assert found is not None
    assert "5 equal requests" in found.reason


def test_traffic_before_the_polls_does_no_harm() -> None:
    assert judged((700, -4000, 650, -300, *((290, -260) * 6)), (0.1, 0.01, *GROWING))


def test_at_the_longest_pause_it_stays() -> None:
    assert judged((290, -260) * 6, (0.1, 4.9, 5.0, 5.0, 5.0, 5.0))


@pytest.mark.parametrize(
    ("sizes", "pauses"),
    [
        ((290, -260) * 6, (1.0,) * 6),
        ((290, -260) * 6, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)),
        ((290, -260, 290, -260, 291, -260) * 2, GROWING),
        ((290, -260, 290, -260, 290, -900) * 2, GROWING),
        ((2900, -260) * 6, GROWING),
        ((290, -260) * 4, GROWING[:4]),
        ((290, -260) * 6, (0.01, 0.01, 0.015, 0.0225, 0.034, 0.05)),
    ],
    ids=["regular", "doubling", "requests-differ", "answers-differ", "long-requests", "too-few", "too-fast"],
)
def test_other_polling_is_not(sizes: Sequence[int], pauses: Sequence[float]) -> None:
    assert judged(sizes, pauses) is None


def test_a_download_is_let_go() -> None:
    answers = list(stream(Meek(), session(290, *(-1400,) * 20)))
    assert answers[-1] is Opinion.NO
    assert len(answers) < START + 21


def test_a_busy_connection_is_let_go() -> None:
    sizes = tuple(size for number in range(12) for size in (300 + number, -5000))
    times = [0.01 * number for number in range(START + len(sizes))]
    answers = list(stream(Meek(), session(*sizes), times=times))
    assert len(answers) < START + len(sizes)
