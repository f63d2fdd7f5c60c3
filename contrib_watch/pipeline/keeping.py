"""The bytes of past drops: packed once nobody needs them soon, and kept for as long as their feed asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import structlog

from contrib_watch.adapters.folder import discard, pack
from contrib_watch.core.model import Drop, DropStatus
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import PENDING

log = structlog.get_logger()

PACKED_AFTER = timedelta(days=1)
"""A content is packed when its newest drop is older: by then a late drop seldom has to be compared with it."""
_IN_HAND = (*PENDING, DropStatus.HELD)


def tidy(desk: Desk) -> None:
    """Pack what is older than a day, and remove what its feeds no longer ask for; the record says what was removed.

    Only while no file is being read.
    """
    now = desk.clock.utc()
    spool = desk.settings.state.folder / "spool"
    plain = {path.name for path in spool.glob("??/*") if len(path.name) == 64}
    kept = plain | {path.name.removesuffix(".gz") for path in spool.glob("??/*.gz")}
    over = dict(_over(desk, kept))
    retired = [sha256 for sha256, drops in over.items() if all(_is_outlived(desk, drop) for drop in drops)]
    if retired:
        desk.state.append("retired", {"contents": retired})
        for sha256 in retired:
            discard(desk.spooled(sha256))
        log.info("files were kept long enough and are removed", files=len(retired))
    for sha256 in (over.keys() & plain) - set(retired):
        if all(now - drop.seen_at_utc > PACKED_AFTER for drop in over[sha256]):
            pack(desk.spooled(sha256))


def _over(desk: Desk, contents: set[str]) -> Iterator[tuple[str, list[Drop]]]:
    """Each of these contents that has drops, all of which are over."""
    found: dict[str, list[Drop]] = {}
    for drop in desk.drops.with_status(*DropStatus) if contents else ():
        if drop.sha256 in contents:
            found.setdefault(drop.sha256, []).append(drop)
    for sha256, drops in found.items():
        if not any(drop.status in _IN_HAND for drop in drops):
            yield sha256, drops


def _is_outlived(desk: Desk, drop: Drop) -> bool:
    """Its feed asks for its bytes no longer; a feed that is not configured any more asks for ever."""
    feed = desk.feeds.get(drop.feed)
    if feed is None or not feed.keep_s:
        return False
    return desk.clock.utc() - drop.seen_at_utc > timedelta(seconds=feed.keep_s)
