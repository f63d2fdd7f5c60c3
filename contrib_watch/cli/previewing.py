"""What a file would do if it were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

import pandas as pd

from contrib_watch.core.diff import Changes
from contrib_watch.core.model import Drop, DropStatus, Feed, Problem, Quotes
from contrib_watch.core.posts import plan
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.job import examine, why_held
from contrib_watch.pipeline.second_look import second_look


@dataclass(frozen=True)
class Preview:
    """A file against the snapshot as it is now."""

    file: Path
    feed: Feed
    quotes: Quotes
    changes: Changes
    planned: pd.DataFrame
    """See core.posts.plan."""
    held: str
    """Why a person would have to release it; empty: nobody."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that would be rejected, in file order."""
        return tuple(sorted((*self.quotes.problems, *self.changes.problems), key=lambda problem: problem.row))


def look_at(desk: Desk, file: Path, feed_name: str | None) -> Preview:
    """Read a file by a feed's rules and compare it with the snapshot; raises UnreadableFile."""
    feed = _feed_for(desk, file, feed_name)
    content = file.read_bytes()
    reading = desk.read(file, file.name, feed)
    drop = Drop(
        id=0,
        feed=feed.name,
        path=str(file),
        sha256=sha256(content).hexdigest(),
        size_bytes=len(content),
        mtime_ns=file.stat().st_mtime_ns,
        seen_at_utc=desk.clock.utc(),
        status=DropStatus.WAITING,
    )
    changes = examine(desk, drop, reading.quotes)
    changes = second_look(desk, file, file.name, feed, reading, changes.given.index).applied(changes)
    return Preview(file, feed, reading.quotes, changes, plan(changes), why_held(desk, drop, reading.quotes, changes))


def _feed_for(desk: Desk, file: Path, feed_name: str | None) -> Feed:
    if feed_name is not None:
        if feed_name not in desk.feeds:
            raise ConfigurationError(
                f"there is no feed {feed_name!r}", hint=f"The feeds are: {', '.join(desk.feeds)}"
            )
        return desk.feeds[feed_name]
    takes = [f for f in desk.feeds.values() if any(fnmatch(file.name.lower(), p.lower()) for p in f.patterns)]
    here = [feed for feed in takes if Path(feed.folder) == file.resolve().parent]
    chosen = here or takes
    if len(chosen) != 1:
        hint = f"Say which with --feed: {', '.join(feed.name for feed in chosen) or ', '.join(desk.feeds)}"
        what = "more than one feed takes" if chosen else "no feed takes"
        raise ConfigurationError(f"{what} a file of this name", where=str(file), hint=hint)
    return chosen[0]
