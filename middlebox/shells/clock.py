"""The time by which a policy's schedules and approvals are read: the wall clock, or a simulated one.

The rule kept here: packets and events go by the gateway's own clock, which never jumps; policies go by this one, which
does when the machine's clock is set, because that is what people mean by a time of day.
"""

import time
from collections.abc import Callable

from middlebox.policy.values import parse_begins
from middlebox.shells.errors import InputError


class PolicyClock:
    """Tells policy time in seconds since the epoch.

    Args:
        start: Policy time at the moment the clock is made; None: the wall clock, with every correction it gets.
        speed: Seconds of policy time in a second.

    Raises:
        InputError: The speed is not above zero, or has no start to count from.
    """

    def __init__(
        self,
        start: float | None = None,
        speed: float = 1.0,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < speed < float("inf"):
            raise InputError(f"--clock-speed is {speed:g}; expected a number above 0, such as 60 for a minute a second")
        if start is None and speed != 1.0:
            raise InputError("--clock-speed needs --clock, the time to start from")
        self.is_simulated = start is not None
        self._start = start
        self._speed = speed
        self._wall = wall
        self._steady = steady
        self._began = steady()

    def now(self) -> float:
        """The policy time."""
        if self._start is None:
            return self._wall()
        return self._start + (self._steady() - self._began) * self._speed

    def engine_time(self, _now: float) -> float:
        """The policy time for an engine, which offers its own time: here the two are not tied to each other."""
        return self.now()

    def seconds_until(self, at: float) -> float:
        """Real seconds until it is `at`, at the clock's speed; not below 0."""
        return max(0.0, (at - self.now()) / self._speed)


def parse_clock(text: str) -> float:
    """The start of a simulated clock, in seconds since the epoch; times without a zone are UTC.

    Raises:
        InputError: It is no time.
    """
    try:
        return parse_begins(text)
    except ValueError as error:
        raise InputError(f"--clock: {error}; with a zone: 2016-03-03T08:00+08:00") from None
