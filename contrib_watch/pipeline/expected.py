"""What did not come: a feed expects a file by a time of its day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice, takewhile
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
"""How long ago a day may be on which a file was expected: longer than any holidays."""


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
        due = next(_dues(feed, now), None)
        if due is not None and _was_watched(desk, due) and not _came(desk, feed, due, now):
            yield due


def tell_absences(desk: Desk) -> None:
    """Log and record each of them once, if its folder could be looked at since the file was due.

    After days without a look each of these days is judged, by what was seen and saved before the next one began.
    """
    now = desk.clock.utc()
    for feed in desk.feeds.values():
        until = now
        fresh = []
        for due in _fresh(desk, feed, now):
            fresh.append((due, until))
            until, _ = day_span_utc(due.day, zone_of(feed, now))
        for due, until in reversed(fresh):
            _judge(desk, feed, due, until)


def _fresh(desk: Desk, feed: Feed, now: datetime) -> Iterator[Absence]:
    """What was due since the last day that was judged, latest first; only the last one where none ever was."""
    judged_utc = desk.state.get(f"expected {feed.name}") if feed.expect else None
    dues = _dues(feed, now)
    if judged_utc is None:
        return islice(dues, 1)
    return takewhile(lambda due: utc_text(due.due_utc) > judged_utc, dues)


def _judge(desk: Desk, feed: Feed, due: Absence, until: datetime) -> None:
    if last_sight(desk, feed.name).good_utc < utc_text(due.due_utc) or not _was_watched(desk, due):
        return
    with desk.state.transaction():
        desk.state.put(f"expected {feed.name}", utc_text(due.due_utc))
        if _came(desk, feed, due, until):
            return
        if desk.drops.note_absence(feed.name, due.day, due.due_utc, desk.clock.utc()):
            log.warning("no file came", feed=feed.name, day=str(due.day), due_utc=utc_text(due.due_utc))


def _dues(feed: Feed, now: datetime) -> Iterator[Absence]:
    """When a file was due, latest first."""
    if feed.expect is None:
        return
    zone = zone_of(feed, now)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=n) for n in range(_DAYS_BACK)):
        if is_expected(feed.expect, feed.calendar, day):
            due = due_utc(day, feed.expect.by, zone)
            if due <= now:
                yield Absence(feed.name, day, due)


def _was_watched(desk: Desk, due: Absence) -> bool:
    """Whether the folder was looked at before the file was due; a feed whose first files still settle is new."""
    since = desk.drops.watched_since(due.feed)
    return since is not None and since <= utc_text(due.due_utc)


def _came(desk: Desk, feed: Feed, due: Absence, until: datetime) -> bool:
    """Whether a file was dropped, or saved again as it was, since that day began; a date to come says nothing."""
    begin, _ = day_span_utc(due.day, zone_of(feed, until))
    begin_ns, until_ns = (int(moment.timestamp() * 1_000_000_000) for moment in (begin, until))
    return desk.drops.dropped_between(feed.name, begin, until) or any(
        begin_ns <= file.signature.mtime_ns <= until_ns for file in desk.drops.files(feed.name)
    )
