"""What newer drops that wait give values for: none of it is sent any more by an older drop of their feed."""

from __future__ import annotations

import structlog

from contrib_watch.core.model import Drop, Quotes
from contrib_watch.core.posts import Coverage
from contrib_watch.errors import StateUnavailable, UnreadableFile
from contrib_watch.pipeline.aside import Steps
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inspection import examine
from contrib_watch.pipeline.later import undone_by
from contrib_watch.pipeline.ruling import approvals
from contrib_watch.pipeline.second_look import agreed_quotes

log = structlog.get_logger()


class Covering:
    """What is known of the drops that wait, by feed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._given: dict[str, Coverage] = {}
        self._learned: dict[str, set[tuple[int, int]]] = {}  # by feed: (drop, run) that were looked at for it
        self._fields: dict[str, dict[int, frozenset[str]]] = {}  # by feed and drop

    def of(self, feed: str) -> Coverage | None:
        """What the newer drops of a feed give; None: there are none."""
        return self._given.get(feed)

    def forget(self, feed: str) -> None:
        """No drop of the feed waits any more."""
        self._given.pop(feed, None)
        self._learned.pop(feed, None)
        self._fields.pop(feed, None)

    def knows(self, drop: Drop) -> bool:
        """Whether this run of the drop has been looked at."""
        return (drop.id, drop.run) in self._learned.get(drop.feed, ())

    def learn(self, drop: Drop) -> Steps[None]:
        """Learn what a newer drop that waits gives values for, unless it is to be held or cannot be read."""
        if self.knows(drop):
            return
        self._learned.setdefault(drop.feed, set()).add((drop.id, drop.run))
        if undone_by(drop) is not None:  # it is as old as what it undoes
            return
        try:
            quotes: Quotes = yield lambda: agreed_quotes(self._desk, drop)
            if (yield from self._will_be_held(drop, quotes)):
                return
        except StateUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - its own turn tells
            # Nothing of it will be sent, which its own turn reports: it covers nothing.
            log.debug("covers nothing", drop=drop.id, why=str(error))
            return
        self._given.setdefault(drop.feed, Coverage()).add(drop.id, quotes)

    def _will_be_held(self, drop: Drop, quotes: Quotes) -> Steps[bool]:
        """Whether a person will have to decide about a drop once the older ones of its feed have been sent.

        Nobody can tell of a drop that must pass guards, be what was approved, or be in time once its turn comes.
        """
        feed = self._desk.feeds[drop.feed]
        if drop.held_because or feed.controlled or feed.valid_for_s or approvals(self._desk, drop):
            return True
        if not feed.complete:
            return False
        if examine(self._desk, drop, quotes).lost_fields:
            return True
        for one in self._desk.drops.pending():
            if one.feed == drop.feed and one.id < drop.id:
                columns = yield from self._columns(one)
                if columns - set(quotes.values.columns):
                    return True
        return False

    def _columns(self, drop: Drop) -> Steps[frozenset[str]]:
        """The fields for which a drop has a column; none where it cannot be read."""
        known = self._fields.setdefault(drop.feed, {})
        if drop.id not in known:
            try:
                quotes: Quotes = yield lambda: self._desk.quotes(drop)
                known[drop.id] = frozenset(quotes.values.columns)
            except UnreadableFile:
                known[drop.id] = frozenset()
        return known[drop.id]
