"""What newer drops that are over have said: a drop that is processed late must not undo it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pandas as pd
import pyarrow.compute as pc

from contrib_watch.core.model import Drop, DropStatus, Quotes, Status
from contrib_watch.core.posts import Coverage
from contrib_watch.errors import ConfigurationError, ContribWatchError
from contrib_watch.pipeline.aside import Steps
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.second_look import agreed_quotes

REVERT = "revert of drop "
"""What the origin of a drop begins with that undoes the one whose number follows."""


def undone_by(drop: Drop) -> int | None:
    """The number of the drop that this one undoes; None: it is no revert."""
    return int(drop.origin.removeprefix(REVERT)) if drop.origin.startswith(REVERT) else None


def newer_words(desk: Desk, drop: Drop) -> list[Drop]:
    """The later drops of its feed, whose word goes before its own.

    A revert says no more than that an earlier drop had never been: what is newer than that one goes before it.
    """
    newer = desk.drops.newer(drop)
    not_older = {drop.id, *(one.id for one in newer)}
    return [one for one in newer if _first_undone(desk, one).id in not_older]


def _first_undone(desk: Desk, drop: Drop) -> Drop:
    """What reverts of reverts go back to; the drop itself, where it undoes nothing."""
    while (undone := undone_by(drop)) is not None:
        drop = desk.drops.drop(undone)
    return drop


def stated_by(
    desk: Desk, drop: Drop, besides: Collection[int] = (), *, refused: bool = True
) -> Steps[dict[str, frozenset[str]]]:
    """RIC to the fields for which newer drops that are over (``besides`` these) gave a value; they are read aside.

    Without what was ``refused``, rows that the ADS nakked have given none. Raises ConfigurationError where one of the
    drops can no longer be read.
    """
    over = Coverage()
    for newer in newer_words(desk, drop):
        if newer.id not in besides and has_spoken(desk, newer):
            quotes = yield from _read(desk, newer, drop)
            over.add(newer.id, quotes if refused else _without_refused(desk, newer, quotes))
    return over.fields()


def has_spoken(desk: Desk, drop: Drop) -> bool:
    """Whether what it said may stand, though a later run of it, or a fault in the middle, left it otherwise."""
    if drop.status is DropStatus.DONE or desk.drops.was_done(drop):
        return True
    return drop.status in (DropStatus.SENDING, DropStatus.FAILED) and bool(desk.ledger.recorded(drop))


def _read(desk: Desk, newer: Drop, drop: Drop) -> Steps[Quotes]:
    try:
        quotes: Quotes = yield lambda: agreed_quotes(desk, newer)
    except ContribWatchError as error:
        hint = f"Retry drop {newer.id} once it can be read, or drop the file of {drop.id} again"
        what = (
            f"drop {drop.id} is older than drop {newer.id}, which can no longer be read ({error}): "
            "what it said must not be undone"
        )
        raise ConfigurationError(what, where=drop.path, hint=hint) from error
    return quotes


def _without_refused(desk: Desk, drop: Drop, quotes: Quotes) -> Quotes:
    """What a drop gives but for the RICs of which the ADS refused each post."""
    ended = desk.ledger.outcomes(drop, ("ric", "status"))
    nakked = pd.Index(ended["ric"].filter(pc.equal(ended["status"], Status.NAKKED.value)).to_pylist())
    gone = nakked.difference(desk.ledger.in_doubt(desk.feeds[drop.feed].service, nakked))
    return replace(quotes, values=quotes.values.drop(index=gone, errors="ignore"))
