"""Under what a run of a drop was begun: what is half sent goes on under the same, or not at all.

To another Service, neither would have all of it; read otherwise, its rows would be other ones than those recorded.
"""

from __future__ import annotations

import json
from typing import Any

from contrib_watch.core.model import Drop
from contrib_watch.core.restating import ABOUT_READING
from contrib_watch.errors import StateError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store.drops import Begun


def begin(desk: Desk, drop: Drop) -> Drop:
    """Some of it is to be posted: it is on its way, under what is configured now."""
    return desk.drops.begin(drop, Begun(desk.feeds[drop.feed].service, _reading(desk, drop)))


def refuse_changed(desk: Desk, drop: Drop) -> None:
    """Raise StateError where a run was begun for another Service, by other declarations or by another dictionary."""
    begun = desk.drops.begun(drop)
    if begun is None:
        return
    then, now = begun.service, desk.feeds[drop.feed].service
    if then != now:
        what = f"drop {drop.id} was being sent to the Service {then!r}, and its feed posts to {now!r} now"
        hint = f"Retry it, which sends all of it to {now!r}; what {then!r} has of it stays there"
        raise StateError(what, where=drop.path, hint=hint)
    reading = _reading(desk, drop)
    if changed := sorted(name for name, value in begun.reading.items() if reading.get(name) != value):
        what = (
            f"drop {drop.id} was being sent when the program stopped, and since then the configuration by which its "
            f"file is read has changed ({', '.join(changed)}), so the rest of it is not sent"
        )
        raise StateError(what, where=drop.path, hint="Retry it, which reads all of it by today's configuration")


def _reading(desk: Desk, drop: Drop) -> dict[str, Any]:
    """What decides which values are read from its file, for which RICs."""
    feed = desk.feed_of(drop)
    declared = {name: getattr(feed, name) for name in ("ric_pattern", *ABOUT_READING)}
    told = {**declared, "columns": dict(feed.columns), "dictionary": desk.environment.dictionary}
    known: dict[str, Any] = json.loads(json.dumps(told))  # as it will be read back: a tuple is a list
    return known
