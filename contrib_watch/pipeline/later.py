"""What newer drops that are over have said: a drop that is processed late must not undo it."""

from __future__ import annotations

from collections.abc import Collection

from contrib_watch.core.model import Drop, DropStatus, Quotes
from contrib_watch.core.posts import Coverage
from contrib_watch.errors import ConfigurationError, ContribWatchError
from contrib_watch.pipeline.aside import Steps
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.second_look import agreed_quotes


def stated_by(desk: Desk, drop: Drop, besides: Collection[int] = ()) -> Steps[dict[str, frozenset[str]]]:
    """RIC to the fields for which newer drops that are over (``besides`` these) gave a value; they are read aside.

    Raises ConfigurationError where one of them can no longer be read.
    """
    over = Coverage()
    for newer in desk.drops.newer(drop):
        if newer.id not in besides and has_spoken(desk, newer):
            over.add(newer.id, (yield from _read(desk, newer, drop)))
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
