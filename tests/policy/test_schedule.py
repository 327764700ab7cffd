import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from middlebox.policy.rule import Schedule
from middlebox.policy.schedule import is_open, next_edge
from middlebox.policy.values import parse_hours

MON, TUE, WED, THU, FRI, SAT, SUN = range(7)
WEEK = 7 * 86_400


def utc(text: str) -> float:
    """`2026-03-29T01:00` in UTC as seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def at(zone: str, text: str, fold: int = 0) -> float:
    """What a zone's wall clock shows, as seconds since the epoch; `fold=1`: the second time it shows that."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def weekly(
    zone: str, hours: str | None, *days: int, begins: float | None = None, ends: float | None = None
) -> Schedule:
    return Schedule(
        "s", zone, begins, ends, weekdays=frozenset(days) or None, hours=None if hours is None else parse_hours(hours)
    )


def edges(schedule: Schedule, after: float, until: float) -> list[str]:
    """Every edge in `after < t < until`, in UTC, with + where it opens and - where it closes."""
    found = []
    while (after := next_edge(schedule, after)) < until:
        sign = "+" if is_open(schedule, after) else "-"
        found.append(sign + datetime.fromtimestamp(after, UTC).strftime("%m-%dT%H:%M"))
        assert is_open(schedule, after) != is_open(schedule, after - 0.001)
    return found


# --- without a clock change ---------------------------------------------------------------------------


def test_a_one_off_window_has_two_edges() -> None:
    meetings = Schedule("m", "Asia/Shanghai", begins=utc("2016-03-02T16:00"), ends=utc("2016-03-09T16:00"))
    assert edges(meetings, 0, math.inf) == ["+03-02T16:00", "-03-09T16:00"]
    assert not is_open(meetings, utc("2016-03-02T16:00") - 0.001)
    assert is_open(meetings, utc("2016-03-02T16:00"))
    assert is_open(meetings, utc("2016-03-09T16:00") - 0.001)
    assert not is_open(meetings, utc("2016-03-09T16:00"))


def test_without_limits_it_is_always_open() -> None:
    assert is_open(Schedule("s"), 0.0)
    assert next_edge(Schedule("s"), 0.0) == math.inf


def test_open_ends() -> None:
    assert next_edge(Schedule("s", begins=5.0), 0.0) == 5.0
    assert next_edge(Schedule("s", begins=5.0), 5.0) == math.inf
    assert next_edge(Schedule("s", ends=5.5), 0.0) == 5.5
    assert next_edge(Schedule("s", ends=5.5), 5.5) == math.inf


def test_office_hours_of_a_week() -> None:
    office = weekly("Europe/Paris", "08:00-18:00", MON, TUE, WED, THU, FRI)
    assert edges(office, utc("2026-11-19T00:00"), utc("2026-11-24T00:00")) == [
        "+11-19T07:00", "-11-19T17:00", "+11-20T07:00", "-11-20T17:00", "+11-23T07:00", "-11-23T17:00",
    ]  # fmt: skip


def test_whole_days_that_touch_are_one_window() -> None:
    weekend = weekly("Europe/Paris", None, SAT, SUN)
    assert edges(weekend, utc("2026-11-19T00:00"), utc("2026-11-28T00:00")) == [
        "+11-20T23:00", "-11-22T23:00", "+11-27T23:00",
    ]  # fmt: skip


def test_hours_over_midnight_belong_to_the_day_they_begin() -> None:
    friday = weekly("UTC", "22:00-06:00", FRI)
    assert edges(friday, utc("2026-11-16T00:00"), utc("2026-11-23T00:00")) == ["+11-20T22:00", "-11-21T06:00"]
    assert not is_open(friday, utc("2026-11-20T05:00"))  # Friday, but Thursday's night
    assert is_open(friday, utc("2026-11-21T05:00"))  # Saturday, and Friday's night


def test_hours_over_midnight_of_sunday_go_on_in_monday() -> None:
    assert is_open(weekly("UTC", "22:00-06:00", SUN), utc("2026-11-23T05:59"))
    assert not is_open(weekly("UTC", "22:00-06:00", MON), utc("2026-11-23T05:59"))


def test_hours_to_midnight() -> None:
    evening = weekly("UTC", "20:00-24:00", MON)
    assert edges(evening, utc("2026-11-22T00:00"), utc("2026-11-29T00:00")) == ["+11-23T20:00", "-11-24T00:00"]


def test_all_hours_of_all_days_never_change() -> None:
    assert next_edge(weekly("Europe/Paris", "00:00-24:00"), utc("2026-11-22T00:00")) == math.inf


def test_a_one_off_window_cuts_weekly_hours() -> None:
    both = weekly("UTC", "08:00-18:00", begins=utc("2026-11-20T12:00"), ends=utc("2026-11-22T09:30"))
    assert edges(both, 0.0, math.inf) == [
        "+11-20T12:00", "-11-20T18:00", "+11-21T08:00", "-11-21T18:00", "+11-22T08:00", "-11-22T09:30",
    ]  # fmt: skip


def test_a_one_off_window_that_begins_when_the_hours_are_closed() -> None:
    both = weekly("UTC", "08:00-18:00", MON, begins=utc("2026-11-20T12:00"), ends=utc("2026-12-01T00:00"))
    assert edges(both, 0.0, math.inf) == ["+11-23T08:00", "-11-23T18:00", "+11-30T08:00", "-11-30T18:00"]


def test_a_one_off_window_in_which_no_hour_falls_never_opens() -> None:
    never = weekly("UTC", "08:00-09:00", begins=utc("2026-11-20T12:00"), ends=utc("2026-11-20T13:00"))
    assert next_edge(never, 0.0) == math.inf


# --- clock changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "days", "opens"),
    [
        # 2026-03-29 02:00 CET -> 03:00 CEST; 2026-10-25 03:00 CEST -> 02:00 CET
        ("Europe/Paris", ("2026-03-28", "2026-03-30"), ["03-28T07:00", "03-29T06:00", "03-30T06:00"]),
        ("Europe/Paris", ("2026-10-24", "2026-10-26"), ["10-24T06:00", "10-25T07:00", "10-26T07:00"]),
        # 2026-10-04 02:00 AEST -> 03:00 AEDT; 2026-04-05 03:00 AEDT -> 02:00 AEST
        ("Australia/Sydney", ("2026-10-03", "2026-10-05"), ["10-02T22:00", "10-03T21:00", "10-04T21:00"]),
        ("Australia/Sydney", ("2026-04-04", "2026-04-06"), ["04-03T21:00", "04-04T22:00", "04-05T22:00"]),
        # 2026-09-05 24:00 -04 -> 2026-09-06 01:00 -03; 2026-04-04 24:00 -03 -> 23:00 -04
        ("America/Santiago", ("2026-09-05", "2026-09-07"), ["09-05T12:00", "09-06T11:00", "09-07T11:00"]),
        ("America/Santiago", ("2026-04-04", "2026-04-06"), ["04-04T11:00", "04-05T12:00", "04-06T12:00"]),
        # 2026-10-04 02:00 +10:30 -> 02:30 +11; 2026-04-05 02:00 +11 -> 01:30 +10:30
        ("Australia/Lord_Howe", ("2026-10-03", "2026-10-05"), ["10-02T21:30", "10-03T21:00", "10-04T21:00"]),
        ("Australia/Lord_Howe", ("2026-04-04", "2026-04-06"), ["04-03T21:00", "04-04T21:30", "04-05T21:30"]),
        # no daylight saving at all, and a quarter of an hour
        ("Asia/Kathmandu", ("2026-03-28", "2026-03-30"), ["03-28T02:15", "03-29T02:15", "03-30T02:15"]),
    ],
)
def test_it_opens_at_eight_by_the_wall_clock_on_every_day(zone: str, days: tuple[str, str], opens: list[str]) -> None:
    schedule = weekly(zone, "08:00-09:00")
    found = edges(schedule, at(zone, f"{days[0]}T00:00") - 1, at(zone, f"{days[1]}T23:00"))
    assert [edge[1:] for edge in found if edge[0] == "+"] == opens
    closes = [(utc(f"2026-{text}") + 3600) for text in opens]
    assert [utc(f"2026-{edge[1:]}") for edge in found if edge[0] == "-"] == closes


@pytest.mark.parametrize(
    ("zone", "spring", "hours", "expected"),
    [
        # wholly inside the skipped hour: nothing that day
        ("Europe/Paris", "2026-03-29", "02:00-03:00", []),
        ("Australia/Sydney", "2026-10-04", "02:10-02:50", []),
        ("America/Santiago", "2026-09-06", "00:00-01:00", []),
        ("Australia/Lord_Howe", "2026-10-04", "02:00-02:30", []),
        # begins in it: opens when the clock has been set
        ("Europe/Paris", "2026-03-29", "02:30-04:00", ["+03-29T01:00", "-03-29T02:00"]),
        ("Australia/Lord_Howe", "2026-10-04", "02:15-03:00", ["+10-03T15:30", "-10-03T16:00"]),
        # ends in it: closes when the clock is set
        ("Europe/Paris", "2026-03-29", "01:00-02:30", ["+03-29T00:00", "-03-29T01:00"]),
        ("America/Santiago", "2026-09-06", "23:00-00:30", ["+09-06T03:00", "-09-06T04:00", "+09-07T02:00"]),
        # goes over it: an hour shorter
        ("Australia/Sydney", "2026-10-04", "01:00-05:00", ["+10-03T15:00", "-10-03T18:00"]),
    ],
)
def test_the_skipped_hour(zone: str, spring: str, hours: str, expected: list[str]) -> None:
    midnight = datetime.fromisoformat(spring)
    begin = at(zone, (midnight - timedelta(hours=2)).isoformat())
    end = at(zone, (midnight + timedelta(hours=23, minutes=30)).isoformat())
    assert edges(weekly(zone, hours), begin, end) == expected


@pytest.mark.parametrize(
    ("zone", "autumn", "hours", "expected"),
    [
        # wholly the doubled hour: open throughout both, without an edge between
        ("Europe/Paris", "2026-10-25", "02:00-03:00", ["+10-25T00:00", "-10-25T02:00"]),
        # inside it: open twice
        ("Europe/Paris", "2026-10-25", "02:10-02:20", ["+10-25T00:10", "-10-25T00:20", "+10-25T01:10", "-10-25T01:20"]),
        ("Australia/Sydney", "2026-04-05", "02:15-02:45",
         ["+04-04T15:15", "-04-04T15:45", "+04-04T16:15", "-04-04T16:45"]),
        ("Australia/Lord_Howe", "2026-04-05", "01:40-01:50",
         ["+04-04T14:40", "-04-04T14:50", "+04-04T15:10", "-04-04T15:20"]),
        # ends in it: closed, and open again when the clock is set back
        ("Europe/Paris", "2026-10-25", "01:00-02:30", ["+10-24T23:00", "-10-25T00:30", "+10-25T01:00", "-10-25T01:30"]),
        # begins in it: closed again when the clock is set back
        ("Europe/Paris", "2026-10-25", "02:30-04:00", ["+10-25T00:30", "-10-25T01:00", "+10-25T01:30", "-10-25T03:00"]),
        # goes over it: an hour longer
        ("Australia/Lord_Howe", "2026-04-05", "01:00-03:00", ["+04-04T14:00", "-04-04T16:30"]),
    ],
)  # fmt: skip
def test_the_doubled_hour(zone: str, autumn: str, hours: str, expected: list[str]) -> None:
    begin, end = at(zone, f"{autumn}T00:00"), at(zone, f"{autumn}T23:00")
    assert edges(weekly(zone, hours), begin, end) == expected


def test_the_doubled_hour_before_midnight_belongs_to_its_day() -> None:
    # 2026-04-04 is a Saturday; its hour from 23:00 is shown twice
    saturday = weekly("America/Santiago", None, SAT)
    begin, end = utc("2026-04-03T00:00"), utc("2026-04-09T00:00")
    assert edges(saturday, begin, end) == ["+04-04T03:00", "-04-05T04:00"]


def test_a_day_that_begins_with_the_skipped_hour() -> None:
    sunday = weekly("America/Santiago", None, SUN)  # 2026-09-06 begins at 01:00
    assert edges(sunday, utc("2026-09-03T00:00"), utc("2026-09-09T00:00")) == ["+09-06T04:00", "-09-07T03:00"]


def test_a_day_that_a_zone_left_out() -> None:
    friday = weekly("Pacific/Apia", "08:00-09:00", FRI)  # there was no Friday 2011-12-30
    assert edges(friday, utc("2011-12-22T00:00"), utc("2012-01-07T00:00")) == [
        "+12-23T18:00", "-12-23T19:00", "+01-05T18:00", "-01-05T19:00",
    ]  # fmt: skip


# --- broken times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [-1e18, -1.0, 0.0, 253_402_300_799.0, 1e18, math.inf])
def test_times_that_no_date_can_express_do_no_harm(moment: float) -> None:
    for schedule in (weekly("Asia/Tokyo", "22:00-06:00", FRI), Schedule("s", begins=5.0), weekly("UTC", None, MON)):
        assert is_open(schedule, moment) in (True, False)
        assert next_edge(schedule, moment) > moment or moment == math.inf


# --- for every schedule -------------------------------------------------------------------------------

ZONES = (
    "UTC", "Europe/Paris", "Australia/Sydney", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu",
    "America/St_Johns", "Africa/Casablanca", "Pacific/Apia", "Asia/Gaza", "Antarctica/Troll",
)  # fmt: skip
moments = st.integers(min_value=int(utc("2010-01-01T00:00")), max_value=int(utc("2036-01-01T00:00")))
schedules = st.builds(
    Schedule,
    name=st.just("s"),
    timezone=st.sampled_from(ZONES),
    weekdays=st.none() | st.frozensets(st.integers(0, 6), min_size=1),
    hours=st.none() | st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda hours: hours[0] != hours[1]),
)


@given(schedules, moments, st.integers(-WEEK, WEEK), st.none() | st.integers(1, 2 * WEEK), st.booleans())
@example(weekly("Europe/Paris", "01:00-02:30"), int(utc("2026-10-24T12:00")), 0, None, False)
@example(weekly("Australia/Lord_Howe", "01:45-02:15"), int(utc("2026-04-04T12:00")), 0, None, False)
def test_between_edges_nothing_changes_and_at_each_edge_something_does(
    weekly: Schedule, moment: int, offset: int, length: int | None, begins: bool
) -> None:
    begin = moment + offset if begins else None
    end = None if length is None else moment + offset + length
    schedule = Schedule("s", weekly.timezone, begin, end, weekly.weekdays, weekly.hours)
    found = [float(moment)]
    while len(found) < 6 and (edge := next_edge(schedule, found[-1])) < moment + 4 * WEEK:
        found.append(edge)
    for before, after in pairwise(found):
        assert before < after
        assert is_open(schedule, after) != is_open(schedule, after - 0.001)
    if len(found) < 6:
        found.append(moment + 4.0 * WEEK)
    for before, after in pairwise(found):
        state = is_open(schedule, before)
        # Every boundary lies on a whole minute of the wall clock, and so of UTC in these years.
        steps = range(math.ceil(before / 60) * 60, math.ceil(after), 60 * max(1, int(after - before) // 60 // 500))
        assert all(is_open(schedule, step) == state for step in steps if step < after)
        assert is_open(schedule, math.nextafter(after, 0)) == state
