"""Days of a feed, and when something is due, across both changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from contrib_watch.core.business_days import Calendar, Expectation, day_span_utc, due_utc, is_expected

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
"""02:00 to 03:00 does not exist on the one day, and comes twice on the other."""


@pytest.mark.parametrize(
    ("day", "by", "utc"),
    [
        (SPRING, time(1, 59), "00:59"),
        (SPRING, time(2, 30), "01:30"),  # the clock shows 03:30
        (SPRING, time(3, 0), "01:00"),
        (SPRING, time(16, 45), "14:45"),
        (AUTUMN, time(1, 59), "23:59"),
        (AUTUMN, time(2, 30), "01:30"),  # the second one
        (AUTUMN, time(3, 0), "02:00"),
        (AUTUMN, time(16, 45), "15:45"),
        (date(2026, 11, 20), time(16, 45), "15:45"),
    ],
)
def test_when_a_time_of_day_is_over_for_certain(day: date, by: time, utc: str) -> None:
    assert f"{due_utc(day, by, BERLIN):%H:%M}" == utc


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 11, 20), 24)])
def test_how_long_a_day_is(day: date, hours: int) -> None:
    begin, end = day_span_utc(day, BERLIN)
    assert end - begin == timedelta(hours=hours)
    assert begin.astimezone(BERLIN).replace(tzinfo=None) == datetime.combine(day, time())
    assert begin.tzinfo is UTC


def test_the_last_business_day_is_today_where_today_is_one() -> None:
    calendar = Calendar(holidays=frozenset({date(2026, 12, 25)}))
    assert calendar.last_business_day(date(2026, 11, 20)) == date(2026, 11, 20)  # a Friday
    assert calendar.last_business_day(date(2026, 11, 22)) == date(2026, 11, 20)
    assert calendar.last_business_day(date(2026, 12, 27)) == date(2026, 12, 24)


def test_nothing_is_expected_on_holidays_and_other_days() -> None:
    calendar = Calendar(holidays=frozenset({date(2026, 12, 25)}))
    expect = Expectation(time(16, 45), frozenset(range(5)))
    assert is_expected(expect, calendar, date(2026, 12, 24))
    assert not is_expected(expect, calendar, date(2026, 12, 25))
    assert not is_expected(expect, calendar, date(2026, 12, 26))
