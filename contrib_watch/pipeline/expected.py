"""What did not come: a feed expects a file by a time of its day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

import structlog

from contrib_watch.core.business_days import day_span_utc, due_utc, is_expected
from contrib_watch.core.model import Feed
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inbox import last_sight
from contrib_watch.pipeline.ruling import zone_of
from contrib_watch.store import utc_text

log = structlog.get_logger()

_DAYS_BACK = 14
"""How long ago the last day may be on which a file was expected: longer than any holidays."""


class Absence(NamedTuple):
    """A file that was expected and did not come."""

    feed: str
    day: date
    """In the feed's time zone."""
    due_utc: datetime


def absences(desk: Desk) -> Iterator[Absence]:
    """The feeds that lack the file which was due last; a rejected or held one has come."""
    now = desk.clock.utc()
    for feed in desk.feeds.values():
        due = _last_due(feed, now)
        if due is not None and not _came(desk, feed, due, now):
            yield due


def tell_absences(desk: Desk) -> None:
    """Log and record each of them once, if its folder could be looked at since the file was due."""
    for one in absences(desk):
        looked = last_sight(desk, one.feed).good_utc
        if looked < utc_text(one.due_utc):
            continue
        if desk.drops.note_absence(one.feed, one.day, one.due_utc, desk.clock.utc()):
            log.warning("no file came", feed=one.feed, day=str(one.day), due_utc=utc_text(one.due_utc))


def _last_due(feed: Feed, now: datetime) -> Absence | None:
    if feed.expect is None:
        return None
    zone = zone_of(feed, now)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=n) for n in range(_DAYS_BACK)):
        if is_expected(feed.expect, feed.calendar, day):
            due = due_utc(day, feed.expect.by, zone)
            if due <= now:
                return Absence(feed.name, day, due)
    return None


def _came(desk: Desk, feed: Feed, due: Absence, now: datetime) -> bool:
    """Whether a file was dropped, or saved again as it was, since that day began; or nobody watched yet."""
    begin, _ = day_span_utc(due.day, zone_of(feed, now))
    watched_since = desk.drops.watched_since(feed.name)
    if watched_since is not None and watched_since > utc_text(due.due_utc):
        return True
    begin_ns = int(begin.timestamp()) * 1_000_000_000
    return desk.drops.dropped_since(feed.name, begin) or any(
        file.signature.mtime_ns >= begin_ns for file in desk.drops.files(feed.name)
    )
