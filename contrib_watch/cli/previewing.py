"""What a file would do if it were dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from hashlib import file_digest
from itertools import combinations
from pathlib import Path

import pyarrow as pa

from contrib_watch.core.diff import Changes
from contrib_watch.core.hints import Hint, cell_hints, layout_hints
from contrib_watch.core.layout import header_row_of
from contrib_watch.core.model import Drop, DropStatus, Feed, Problem, Quotes
from contrib_watch.core.posts import plan
from contrib_watch.errors import ConfigurationError, UnreadableFile
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inspection import examine, told_of
from contrib_watch.pipeline.ruling import rule
from contrib_watch.pipeline.second_look import second_look


@dataclass(frozen=True)
class Preview:
    """A file against the snapshot as it is now."""

    file: Path
    feed: Feed
    quotes: Quotes
    changes: Changes
    planned: pa.Table
    """See core.posts.plan."""
    held: str
    """Why it would not be sent by itself; empty: it would."""
    rejected: bool
    """It would be rejected for that, and not held for a person to release."""
    warnings: tuple[str, ...] = ()
    """What its report would say beside the rows."""
    hints: tuple[Hint, ...] = ()
    """Which declarations would read cells that are rejected; none is applied."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that would be rejected, in file order."""
        return tuple(sorted((*self.quotes.problems, *self.changes.problems), key=lambda problem: problem.row))


def look_at(desk: Desk, file: Path, feed_name: str | None) -> Preview:
    """Read a file by a feed's rules and compare it with the snapshot.

    Raises UnreadableFile, with the declarations that would mend it where the file's beginning shows them.
    """
    feed = _feed_for(desk, file, feed_name)
    try:
        reading = desk.read(file, file.name, feed)
    except UnreadableFile as error:
        hints = _layout_hints(desk, file, feed)
        raise UnreadableFile(error.what, where=error.where, hint="\n".join((error.hint, *map(str, hints)))) from error
    with file.open("rb") as content:
        sha256 = file_digest(content, "sha256").hexdigest()
    drop = Drop(
        id=0,
        feed=feed.name,
        path=str(file),
        sha256=sha256,
        size_bytes=file.stat().st_size,
        mtime_ns=file.stat().st_mtime_ns,
        seen_at_utc=desk.clock.utc(),
        status=DropStatus.WAITING,
    )
    changes = examine(desk, drop, reading.quotes)
    changes = second_look(desk, file, file.name, feed, reading, changes.rics).applied(changes)
    planned = plan(changes)
    ruling = rule(desk, drop, reading.quotes, changes)
    rejected = ruling.status is DropStatus.REJECTED
    hints = cell_hints(reading.cells, feed, desk.dictionary) if reading.quotes.problems else ()
    warnings = (*reading.quotes.warnings, *told_of(feed, reading.quotes, changes))
    return Preview(file, feed, reading.quotes, changes, planned, ruling.reason, rejected, warnings, hints)


def _layout_hints(desk: Desk, file: Path, feed: Feed) -> tuple[Hint, ...]:
    """The fewest declarations of the layout with which the column of the RICs is found; empty: no such are known."""

    def finds_rics(hints: Iterable[Hint]) -> bool:
        declared = replace(feed, **{key: value for hint in hints for key, value in hint.choices[0].items()})
        try:
            return feed.ric_column in desk.reader.read_cells(file, file.name, declared).header
        except UnreadableFile:
            return False

    try:
        found = desk.reader.outline(file, file.name)
    except UnreadableFile:
        return ()
    header_row = header_row_of(found.rows, lambda name: name == feed.ric_column or name in feed.columns)
    hints = layout_hints(found, header_row, feed)
    trials = (some for count in range(1, len(hints) + 1) for some in combinations(hints, count))
    return next(filter(finds_rics, trials), ())


def _feed_for(desk: Desk, file: Path, feed_name: str | None) -> Feed:
    if feed_name is not None:
        if feed_name not in desk.feeds:
            raise ConfigurationError(
                f"there is no feed {feed_name!r}", hint=f"The feeds are: {', '.join(desk.feeds)}"
            )
        return desk.feeds[feed_name]
    takes = [f for f in desk.feeds.values() if any(fnmatch(file.name.lower(), p.lower()) for p in f.patterns)]
    folder = file.absolute().parent.resolve()
    here = [feed for feed in takes if Path(feed.folder).resolve() == folder]
    chosen = here or takes
    if len(chosen) != 1:
        hint = f"Say which with --feed: {', '.join(feed.name for feed in chosen) or ', '.join(desk.feeds)}"
        what = "more than one feed takes" if chosen else "no feed takes"
        raise ConfigurationError(f"{what} a file of this name", where=str(file), hint=hint)
    return chosen[0]
