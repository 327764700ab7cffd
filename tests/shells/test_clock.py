import pytest

from middlebox.shells.clock import PolicyClock, parse_clock
from middlebox.shells.errors import InputError


class Hands:
    """Clocks that a test sets."""

    wall, steady = 1000.0, 50.0

    def clock(self, start: float | None = None, speed: float = 1.0) -> PolicyClock:
        return PolicyClock(start, speed, wall=lambda: self.wall, steady=lambda: self.steady)


def test_without_a_start_it_is_the_wall_clock_also_when_that_is_set() -> None:
    hands = Hands()
    clock = hands.clock()
    assert clock.now() == 1000.0
    hands.wall = 400.0
    assert (clock.now(), clock.engine_time(7.0), clock.is_simulated) == (400.0, 400.0, False)
    assert clock.seconds_until(410.0) == 10.0


def test_simulated_time_runs_from_its_start_at_its_speed_whatever_the_wall_clock_does() -> None:
    hands = Hands()
    clock = hands.clock(5_000.0, 60.0)
    hands.steady += 2
    hands.wall = 0.0
    assert (clock.now(), clock.engine_time(7.0), clock.is_simulated) == (5_120.0, 5_120.0, True)
    assert clock.seconds_until(5_180.0) == 1.0
    assert clock.seconds_until(5_000.0) == 0.0
    assert clock.seconds_until(float("inf")) == float("inf")


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(InputError, match=r"--clock-speed is .*; expected a number above 0"):
        PolicyClock(0.0, speed)


def test_speed_without_a_start_is_refused() -> None:
    with pytest.raises(InputError, match="--clock-speed needs --clock"):
        PolicyClock(None, 2.0)


@pytest.mark.parametrize("text", ["2016-03-03T00:00+08:00", "2016-03-02T16:00", "2016-03-02T16:00Z"])
def test_start_is_read_in_its_zone_or_in_utc(text: str) -> None:
    assert parse_clock(text) == 1_456_934_400.0


def test_start_that_is_no_time_is_refused() -> None:
    with pytest.raises(InputError, match='--clock: found "soon", expected a date'):
        parse_clock("soon")
