"""What a drop changes, and what is decided about it before anything of it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import pyarrow as pa

from contrib_watch.core.diff import Changes, Later, diff
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Cells, Drop, DropStatus, Feed, Outcomes, Quotes, Status, in_columns
from contrib_watch.pipeline.aside import Begun, Steps
from contrib_watch.pipeline.desk import Desk, Reading
from contrib_watch.pipeline.later import newer_words
from contrib_watch.pipeline.ruling import Ruling, rule
from contrib_watch.pipeline.second_look import SecondLook, second_look
from contrib_watch.pipeline.unchanged import look_ahead, look_up, unchanged
from contrib_watch.pipeline.undo import moved_on
from contrib_watch.pipeline.unsent import beyond, rejected, replaced, stopped, with_twins


def examine(
    desk: Desk,
    drop: Drop,
    quotes: Quotes,
    claimed: Mapping[str, str] | None = None,
    stated: Mapping[str, frozenset[str]] | None = None,
    same: pa.BooleanArray | None = None,
) -> Changes:
    """What a drop changes; ``same`` are the rows that are unchanged, where that is known already.

    RICs that another feed is just posting for the first time (``claimed``: RIC to feed) are not its. ``stated`` has
    the fields for which newer drops that are over gave a value: those keep it, as does what a newer drop brought.
    """
    feed = desk.feed_of(drop)
    newer = newer_words(desk, drop) if drop.id else []
    stated = {**(stated or {}), **moved_on(desk, drop, quotes)}
    rics = quotes.values.index
    if same is None:  # most rows of most drops: of them, the snapshot's other columns need not be brought
        same = unchanged(desk.ledger, feed, quotes)
    changes = diff(
        quotes,
        desk.ledger.snapshot(feed.service, rics[~same.to_numpy(zero_copy_only=False)], drop),
        feed=feed.name,
        configured={one.name: one.ric_pattern for one in desk.feeds.values() if one.service == feed.service},
        owned=desk.ledger.owned(feed.service, feed.name) if lists_all(feed) else None,
        later=Later([one.id for one in newer], stated) if newer or stated else None,
        same=same,
    )
    return changes.without(claimed, quotes) if claimed else changes


def lists_all(feed: Feed) -> bool:
    """Whether it matters which of the feed's RICs a drop lacks."""
    return feed.complete or feed.guards.max_missing_rows is not None


def told_of(feed: Feed, quotes: Quotes, changes: Changes) -> tuple[str, ...]:
    """What a report or a preview says of the values that a drop leaves as they are."""
    return (*_blanks(changes), *_columns_gone(feed, quotes, changes))


class Inspection(NamedTuple):
    """A drop's file as it was read, before anything is decided about it."""

    quotes: Quotes
    changes: Changes
    """What it changes where two programs agree."""
    facts: tuple[str, ...] = ()
    """What the report says of the second reading."""


def inspecting(
    desk: Desk,
    drop: Drop,
    *,
    claimed: Callable[[], Mapping[str, str]] = dict,
    stated: Mapping[str, frozenset[str]] | None = None,
    to_end: bool = False,
) -> Steps[Inspection]:
    """Read a drop's file, aside, and what it changes; raises UnreadableFile, or StateError without its bytes.

    ``claimed`` gives the RICs that other feeds are posting at the moment when it is asked. ``stated``: see examine().
    Of a drop ``to_end`` nothing is posted, so nothing is read again. The cells end here: a plan can use their memory.
    """
    feed = desk.feed_of(drop)
    reading: Future[Cells] = yield Begun(lambda: desk.cells(drop))
    typing: Future[Quotes] = yield Begun(lambda: desk.typed(reading.result(), feed))
    whole = look_ahead(desk.ledger, feed, drop.size_bytes)
    cells = yield reading
    held = look_up(desk.ledger, feed, cells, whole)
    quotes: Quotes = yield typing
    same = unchanged(desk.ledger, feed, quotes, held)
    del whole, held  # as long as the file
    changes = examine(desk, drop, quotes, claimed(), stated, same)
    to_post = () if to_end else changes.rics
    look: SecondLook = yield lambda: second_look(desk, *desk.file_of(drop), Reading(cells, quotes), to_post)
    return Inspection(quotes, look.applied(changes), look.facts)


class Start(NamedTuple):
    """What is decided about a drop before anything of it is sent."""

    status: DropStatus
    """How it ends, unless its time runs out or it fails; and why."""
    reason: str
    findings: Findings = Findings()
    quotes: Quotes | None = None
    """None: its rows cannot be told."""
    changes: Changes | None = None
    """What is to be posted; None: nothing, because it is held or rejected as a whole."""
    ended: Sequence[Outcomes] = ()
    """Its rows that are not posted and have not ended before, in pieces."""


def start_of(desk: Desk, drop: Drop, seen: Inspection, *, ended: str = "") -> Start:
    """Decide what to post; ``ended`` is a person's reason to reject all that would be."""
    quotes, changes, facts = seen
    ruling = Ruling(DropStatus.REJECTED, ended) if ended else rule(desk, drop, quotes, changes)
    missing = changes.missing if desk.feed_of(drop).complete else ()
    warnings = (*told_of(desk.feed_of(drop), quotes, changes), *facts, *ruling.notes)
    findings = Findings(changes.problems, missing, warnings, ruling.breaches, ruling.moves)
    recorded = desk.ledger.recorded(drop)  # of this run, before the program was stopped
    left = changes.beyond(recorded)
    unread = in_columns(rejected(quotes.problems))
    refused = in_columns([*rejected(changes.problems), *(replaced(row, ric) for row, ric in changes.replaced)])
    unsent = [beyond(outcomes, recorded) for outcomes in (unread, with_twins(refused, quotes))]
    if ruling.status is None:
        # Drops that overtake one another would all send their first rows, and the last ones never.
        in_turn, service = desk.drops.follows_an_overtaken(drop), desk.feed_of(drop).service
        to_send = left.by(desk.ledger.last_posted(service, drop.feed, left.rics)) if in_turn else left
        return Start(DropStatus.DONE, "", findings, quotes, to_send, unsent)
    goes_on = drop.status is DropStatus.SENDING
    held_back = stopped(left, Status(ruling.status), ruling.reason, goes_on=goes_on)
    unsent += (with_twins(piece, quotes) for piece in held_back)
    return Start(ruling.status, ruling.reason, findings, quotes, None, unsent)


def _blanks(changes: Changes) -> tuple[str, ...]:
    if not changes.kept_blanks:
        return ()
    since = f", the oldest from {changes.oldest_kept}" if changes.oldest_kept else ""
    cells = "blank cell kept its" if changes.kept_blanks == 1 else "blank cells kept their"
    return (f"{changes.kept_blanks:,} {cells} last value{since}",)


def _columns_gone(feed: Feed, quotes: Quotes, changes: Changes) -> tuple[str, ...]:
    """What a partial list lacks, beyond the mapped columns that its reading has told of; a complete one is held."""
    told = {feed.columns.get(header) for header in quotes.missing_columns}
    gone = [] if feed.complete else [name for name in changes.lost_fields if name not in told]
    return (f"no column for {', '.join(gone)}, which RICs of this file have: the last values stay",) if gone else ()
