"""When a schedule is open, and when that changes next.

Rule of this file: a schedule says what the wall clock of its zone must show, and nothing else. So in the hour that
the clock skips in spring nothing of it is open, and in the hour that it shows twice in autumn the same is open twice.
"""

import math
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from middlebox.policy.rule import Schedule

MINUTES_PER_DAY = 24 * 60
SECONDS_PER_DAY = 86_400
DAYS_SEARCHED = 16
"""A weekly schedule that changes at all does so within a week, within two where the clock skips a window (Samoa left
out a whole day in 2011); one day more for the zone's distance from UTC and one for a window over midnight."""
LAST_MOMENT = 253_370_764_800.0
"9999-01-01 UTC. Dates end soon after; broken captures have such times, and they are judged as this one."


def is_open(schedule: Schedule, at: float) -> bool:
    """Whether a schedule is open at a time, in seconds since the epoch."""
    if schedule.begins is not None and at < schedule.begins:
        return False
    if schedule.ends is not None and at >= schedule.ends:
        return False
    if schedule.weekdays is None and schedule.hours is None:
        return True
    # Whole seconds: `fromtimestamp` rounds, and would take the last fraction before an edge for the edge.
    shown = datetime.fromtimestamp(math.floor(min(max(at, 0.0), LAST_MOMENT)), _zone(schedule.timezone))
    today = _is_among(shown.weekday(), schedule)
    if schedule.hours is None:
        return today
    first, end = schedule.hours
    minute = shown.hour * 60 + shown.minute
    if first < end:
        return today and first <= minute < end
    if minute < end:
        return _is_among((shown.weekday() - 1) % 7, schedule)  # since yesterday evening
    return today and minute >= first


def next_edge(schedule: Schedule, after: float) -> float:
    """The first time later than `after` at which `is_open` changes, in seconds since the epoch; inf if none."""
    start = after
    if schedule.begins is not None and after < schedule.begins:
        if is_open(schedule, schedule.begins):
            return schedule.begins
        start = schedule.begins
    state = is_open(schedule, start)
    last = math.inf if schedule.ends is None else schedule.ends
    if schedule.weekdays is not None or schedule.hours is not None:
        for moment in sorted(set(_moments(schedule, start))):
            if start < moment < last and is_open(schedule, moment) != state:
                return moment
    return last if state else math.inf


@cache
def _zone(name: str) -> ZoneInfo:
    """Kept here: `ZoneInfo` itself remembers eight zones only and would read the others again for every flow."""
    return ZoneInfo(name)


def _is_among(weekday: int, schedule: Schedule) -> bool:
    return schedule.weekdays is None or weekday in schedule.weekdays


def _moments(schedule: Schedule, start: float) -> Iterator[float]:
    """Every time in the days from `start` on at which a weekly schedule can change, in no order, some more than once.

    These are the times at which the wall clock comes to a boundary, both times in an hour that is shown twice, and
    those at which it is set.
    """
    if start >= LAST_MOMENT:
        return
    start = max(start, 0.0)
    zone = _zone(schedule.timezone)
    boundaries = (0, *(schedule.hours or ()))
    first = datetime.fromtimestamp(math.floor(start), zone).date()
    for number in range(-1, DAYS_SEARCHED):
        for minute in boundaries:
            yield from _readings(first + timedelta(days=number), minute, zone)
        begin = math.floor(start) + number * SECONDS_PER_DAY
        if _offset(begin, zone) != _offset(begin + SECONDS_PER_DAY, zone):
            yield _clock_change(begin, begin + SECONDS_PER_DAY, zone)


def _readings(day: date, minute: int, zone: ZoneInfo) -> Iterator[float]:
    """The two times at which the wall clock may show a minute of a day; mostly they are the same."""
    day += timedelta(days=minute // MINUTES_PER_DAY)
    minute %= MINUTES_PER_DAY
    for fold in (0, 1):
        yield datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone, fold=fold).timestamp()


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


def _clock_change(before: int, after: int, zone: ZoneInfo) -> float:
    """The second, above `before` and up to `after`, at which the wall clock is set."""
    old = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return float(after)
