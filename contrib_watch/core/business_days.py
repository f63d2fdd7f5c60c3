"""Which days a feed works on, and when its own day begins. Time zones are parameters: nothing here asks a clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Calendar:
    """The days on which nobody works."""

    weekend: frozenset[int] = frozenset({5, 6})
    """As date.weekday() counts: Monday is 0. Never all seven."""
    holidays: frozenset[date] = frozenset()

    @property
    def listed(self) -> bytes:
        """The holidays as a file has them: one ISO date a line, in order."""
        return "".join(f"{day}\n" for day in sorted(self.holidays)).encode()

    def is_business_day(self, day: date) -> bool:
        """Whether people work on that day."""
        return day.weekday() not in self.weekend and day not in self.holidays

    def last_business_day(self, today: date) -> date:
        """Today where it is one, else the latest one before it."""
        day = today
        while not self.is_business_day(day):
            day -= timedelta(days=1)
        return day


@dataclass(frozen=True)
class Expectation:
    """A file has to come by a time of the feed's day."""

    by: time
    """In the feed's time zone."""
    days: frozenset[int]
    """As date.weekday() counts; on a holiday of the feed's calendar nothing is expected."""


def is_expected(expect: Expectation, calendar: Calendar, day: date) -> bool:
    """Whether a file has to come on that day."""
    return day.weekday() in expect.days and day not in calendar.holidays


def due_utc(day: date, by: time, zone: tzinfo) -> datetime:
    """When the clock of a zone has shown a time of day for certain, in UTC.

    A time that a change of the clock skips is due after as long as without the change; one that comes twice is due
    the second time: who is on time by either clock is never told to be late.
    """
    return max(datetime.combine(day, by, zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def day_span_utc(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """When a day begins and when the next one does, in UTC: 23, 24 or 25 hours."""
    begin, end = (
        min(datetime.combine(each, time(), zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        for each in (day, day + timedelta(days=1))
    )
    return begin, end
