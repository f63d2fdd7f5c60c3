"""How far things are: a bar on a terminal, log lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from contrib_watch.cli.terminal import escape
from contrib_watch.core.model import Drop

log = structlog.get_logger()


class LogProgress:
    """One line when a drop starts and one when it is over."""

    def started(self, drop: Drop, posts: int) -> None:
        log.info("drop started", drop=drop.id, feed=drop.feed, file=Path(drop.path).name, posts=posts)

    def advanced(self, drop: Drop, posts: int) -> None:
        """Says nothing: the end is told."""

    def finished(self, drop: Drop, totals: Mapping[str, int], report: Path | None) -> None:
        counts = {status: count for status, count in totals.items() if count}
        log.info(
            "drop finished", drop=drop.id, status=drop.status.value, report=str(report or "not written yet"), **counts
        )

    def waiting(self, what: str, why: str) -> None:
        """Says nothing: the log has its own lines of it."""


class BarProgress(LogProgress):
    """A bar for each drop with posts to send, and a line for whatever they wait for."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[int, TaskID] = {}
        self._waits: dict[str, TaskID] = {}

    def started(self, drop: Drop, posts: int) -> None:
        if posts:
            name = escape(f"drop {drop.id} {Path(drop.path).name}")
            self._tasks[drop.id] = self._bars.add_task(name, total=posts)

    def advanced(self, drop: Drop, posts: int) -> None:
        if drop.id in self._tasks:
            self._bars.advance(self._tasks[drop.id], posts)

    def waiting(self, what: str, why: str) -> None:
        if what in self._waits:
            self._bars.remove_task(self._waits.pop(what))
        if why:
            self._waits[what] = self._bars.add_task(escape(f"waiting for the {what}: {why}"), total=None)

    def finished(self, drop: Drop, totals: Mapping[str, int], report: Path | None) -> None:
        if drop.id in self._tasks:
            self._bars.remove_task(self._tasks.pop(drop.id))
        super().finished(drop, totals, report)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Count items on a terminal; the context's value is told how many more there are."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda more: bars.advance(task, more)


@contextmanager
def shown_progress() -> Iterator[LogProgress]:
    """Progress on stderr, as suits what stderr is."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield BarProgress(bars)
