"""Under what a run of a drop was begun: what is half sent goes on under the same, or not at all.

To another Service, neither would have all of it; read otherwise, its rows would be other ones than those recorded.
"""

from __future__ import annotations

import json
from typing import Any

from contrib_watch.core.chain import canonical
from contrib_watch.core.model import Drop
from contrib_watch.core.restating import ABOUT_READING
from contrib_watch.errors import StateError
from contrib_watch.pipeline.desk import Desk


def begin(desk: Desk, drop: Drop) -> Drop:
    """Some of it is to be posted: it is on its way, under what is configured now."""
    return desk.drops.begin(drop, desk.feeds[drop.feed].service, canonical(_reading(desk, drop)))


def refuse_changed(desk: Desk, drop: Drop) -> None:
    """Raise StateError where a run was begun for another Service, by other declarations or by another dictionary."""
    now, begun = desk.feeds[drop.feed].service, desk.drops.begun_for(drop)
    if begun not in (None, now):
        what = f"drop {drop.id} was being sent to the Service {begun!r}, and its feed posts to {now!r} now"
        hint = f"Retry it, which sends all of it to {now!r}; what {begun!r} has of it stays there"
        raise StateError(what, where=drop.path, hint=hint)
    then: dict[str, Any] = json.loads(desk.drops.begun_by(drop) or "{}")
    read = json.loads(canonical(_reading(desk, drop)))
    if changed := sorted(name for name, value in then.items() if read.get(name) != value):
        what = (
            f"drop {drop.id} was being sent when the program stopped, and since then the configuration by which its "
            f"file is read has changed ({', '.join(changed)}), so the rest of it is not sent"
        )
        raise StateError(what, where=drop.path, hint="Retry it, which reads all of it by today's configuration")


def _reading(desk: Desk, drop: Drop) -> dict[str, Any]:
    """What decides which values are read from its file, for which RICs."""
    feed = desk.feed_of(drop)
    declared = {name: getattr(feed, name) for name in ("ric_pattern", *ABOUT_READING)}
    return {**declared, "columns": dict(feed.columns), "dictionary": desk.environment.dictionary}
