"""What keeps the record safe around a run: when it began and ended, and a copy of it every day."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from contrib_watch.config import Settings, State
from contrib_watch.errors import ContribWatchError, StateError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import back_up, back_up_daily, backups_folder, restore, shortage
from contrib_watch.store.backup import database_of, free_name

log = structlog.get_logger()

LOOK_S = 60.0
"""How often it is asked whether today's backup is due."""


def backup_by_hand(state: State, file: Path | None) -> Path:
    """Back the state up to a file, by default to a new one among its backups; returns its path."""
    now = datetime.now(UTC)
    return back_up(state.url, file or free_name(backups_folder(state.folder) / f"state-{now:%Y%m%dT%H%M%SZ}.db"))


def restore_backup(settings: Settings, file: Path) -> str:
    """Put a backup in the database's place; returns what a person has to know now."""
    state = settings.state
    kept = restore(file, url=state.url, target=settings.ads.target, now_utc=datetime.now(UTC))
    aside = f"; the replaced database is kept as {kept}" if kept else ""
    return (
        f"the state is restored from {file}{aside}.\n"
        "What was acknowledged after that backup is unknown to it, so the next drop posts each of its RICs in full: "
        "where a cell of it is blank, the backup's value goes out, which may be older than the market's.\n"
        "Files that were dropped after the backup and still lie in their folders are processed again, in order, by "
        "the next run; drops that were not over in the backup are held. `contrib-watch status` lists both."
    )


@contextmanager
def recorded_run(desk: Desk, *, once: bool) -> Iterator[None]:
    """Say in the record when a run starts, and when and why it ends; one without an end was killed."""
    told = {"pid": os.getpid(), "host": platform.node(), "once": once, **desk.environment.facts()}
    begun = desk.state.append("start", told)
    try:
        yield
    except StateError:
        raise  # nothing can be recorded
    except ContribWatchError as error:
        desk.state.append("stop", {"start": begun.number, "reason": str(error)})
        raise
    desk.state.append("stop", {"start": begun.number, "reason": ""})


class DailyBackups:
    """Makes each day's backup of the state while it is entered, in a thread of its own, and at the end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._state = desk.settings.state
        self._stopping = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="backup", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self._look()
        self._look()

    def _look(self) -> None:
        try:
            path = self._make()
        except (StateError, OSError) as error:
            if str(error) != self._trouble:
                log.warning("today's backup of the state was not made; earlier ones stay", why=str(error))
            self._trouble = str(error)
            return
        self._trouble = ""
        if path is not None:
            log.info("the state is backed up", file=str(path))

    def _make(self) -> Path | None:
        size_bytes = database_of(self._state.url).stat().st_size
        short = shortage(self._state.folder, self._state.min_free_bytes + size_bytes)
        if short:
            raise StateError(f"there is no room for it: {short}")
        return back_up_daily(self._state.url, self._state.folder, self._desk.clock.utc())
