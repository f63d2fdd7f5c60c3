"""The bytes of past drops: packed once nobody needs them soon, and kept for as long as their feed asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from contrib_watch.adapters.folder import copies, discard, pack, packed, remove_leftovers
from contrib_watch.pipeline.aside import Aside, Procedure, Steps
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import utc_text

log = structlog.get_logger()

PACKED_AFTER = timedelta(days=1)
"""A content is packed when its newest drop is older: by then a late drop seldom has to be compared with it."""
TIDY_EVERY_S = 86_400.0
"""How often past files are packed, and removed where they were kept long enough."""
UNUSED_FOR = timedelta(hours=1)
"""A copy that a scan has found in its place since then may be a drop's that is not accepted yet: it stays."""


class _Kept(NamedTuple):
    """What the spool holds, by SHA-256."""

    plain: frozenset[str]
    packed: frozenset[str]


class Tidying:
    """Looks after the bytes of past drops, at the start and once a day; its work is done aside."""

    def __init__(self, desk: Desk, aside: Aside, on_progress: Callable[[], object]) -> None:
        """``on_progress`` is called, from any thread, when :meth:`advance` can go on."""
        self._desk = desk
        self._aside = aside
        self._on_progress = on_progress
        self._procedure: Procedure[None] | None = None
        self._due_s = -math.inf

    @property
    def busy(self) -> bool:
        """It has begun, and is not over."""
        return self._procedure is not None

    def advance(self) -> None:
        """Begin where that is due, and go on as far as is possible without waiting; while no file is being read."""
        now_s = self._desk.clock.monotonic()
        if self._procedure is None and now_s >= self._due_s:
            self._due_s = now_s + TIDY_EVERY_S
            self._procedure = Procedure(tidy(self._desk), self._aside, self._on_progress)
        if self._procedure is not None and self._procedure.advance():
            over, self._procedure = self._procedure, None
            over.result()


def tidy(desk: Desk) -> Steps[None]:
    """Pack what is older than a day, and remove what its feeds no longer ask for; the record says what was removed.

    The steps are to be taken only while no file is being read; what they yield may be done at any time. A death
    between two of them leaves at worst a copy that is there twice, or one that the next time removes.
    """
    spool = desk.settings.state.folder / "spool"
    try:
        kept: _Kept = yield partial(_look, spool, desk.clock.utc() - PACKED_AFTER)
        used = desk.drops.contents_over() if kept.plain or kept.packed else {}
        over = {sha256: feeds for sha256, feeds in used.items() if sha256 in kept.plain or sha256 in kept.packed}
        retired = {sha256 for sha256, feeds in over.items() if _is_outlived(desk, feeds)}
        _retire(desk, sorted(retired))
        since = utc_text(desk.clock.utc() - PACKED_AFTER)
        for sha256 in sorted((over.keys() & kept.plain) - retired):
            if max(over[sha256].values()) < since:
                path = desk.spooled(sha256)
                yield partial(pack, path)
                path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("past files were not packed or removed; the next day tries again", why=str(error))


def _look(spool: Path, before: datetime) -> _Kept:
    remove_leftovers(spool, before)
    return _Kept(frozenset(copies(spool)), frozenset(packed(spool)))


def _retire(desk: Desk, contents: list[str]) -> None:
    """Remove contents, of which the record says so first; a copy that is in use again stays until its next time."""
    if not contents:
        return
    desk.state.append("retired", {"contents": contents})
    unused_since = desk.clock.utc() - UNUSED_FOR
    removed = sum(discard(desk.spooled(sha256), unused_since) for sha256 in contents)
    log.info("files were kept long enough and are removed", files=removed)


def _is_outlived(desk: Desk, feeds: Mapping[str, str]) -> bool:
    """All feeds ask for its bytes no longer; a feed that is not configured any more asks for ever."""
    now = desk.clock.utc()
    for name, last_seen_utc in feeds.items():
        feed = desk.feeds.get(name)
        if feed is None or not feed.keep_s or last_seen_utc >= utc_text(now - timedelta(seconds=feed.keep_s)):
            return False
    return True
