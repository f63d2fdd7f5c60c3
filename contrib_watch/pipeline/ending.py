"""Drops that are over: recorded as such, reported, and told of once their report is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from contrib_watch.core.model import Drop, DropStatus
from contrib_watch.errors import ContribWatchError, StateUnavailable
from contrib_watch.pipeline.aside import Aside
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.pipeline.job import Job
from contrib_watch.pipeline.publishing import Publisher
from contrib_watch.pipeline.replay import as_begun, rebuilt

log = structlog.get_logger()

MISMATCH_CODE = 3
"""The exit code where the ADS holds something else than it acknowledged."""
_UNREPORTED = "report not written; the next start tries again"


class Finished(NamedTuple):
    """A drop that is over."""

    drop: Drop
    totals: dict[str, int]
    report: Path | None
    """Its CSV; None: it was not written."""
    fault_code: int = 0
    """The exit code of what made it fail, or of what was read back; 0: neither."""


class Endings:
    """Ends drops; their reports are written aside."""

    def __init__(self, desk: Desk, progress: Progress, aside: Aside, on_progress: Callable[[], object]) -> None:
        """``on_progress`` is called, from any thread, when :meth:`advance` can go on."""
        self.finished: list[Finished] = []
        """Drops whose report is written, or will not be."""
        self._desk = desk
        self._progress = progress
        self._publisher = Publisher(desk, aside, on_progress)
        self._over: dict[tuple[int, int], Drop] = {}  # by drop and run: what waits for its report to be written
        self._faults: dict[tuple[int, int], int] = {}  # by drop and run: the exit code of what made it fail

    @property
    def busy(self) -> bool:
        """Some report is not over yet."""
        return self._publisher.busy

    def recover(self) -> None:
        """Make the reports that the last process left unwritten."""
        for drop in self._desk.drops.unreported():
            try:
                self._publisher.add(rebuilt(self._desk, drop))
            except StateUnavailable:
                raise
            except Exception as error:  # bytes that are gone, or a fault: that must not keep all else from starting
                fault = None if isinstance(error, ContribWatchError) else error
                if fault is not None:
                    self._desk.state.blame(fault)
                log.warning(_UNREPORTED, drop=drop.id, why=str(error), exc_info=fault)

    def end(self, job: Job) -> None:
        """Record that a drop is over, or that it has failed."""
        if job.fault is not None:
            self.fail(job.drop, job.fault)
            return
        try:
            self._publisher.add(job.conclude())
        except StateUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one drop must not stop the others
            self.fail(job.drop, error)
            return
        self._over[job.drop.id, job.drop.run] = job.drop
        if job.mismatched:
            log.error("the ADS holds something else than it acknowledged", drop=job.drop.id, rics=job.mismatched)
            self._faults[job.drop.id, job.drop.run] = MISMATCH_CODE

    def fail(self, drop: Drop, error: Exception) -> None:
        """Record that a drop has failed, and why; its report says so, too, unless nobody knows its feed any more."""
        expected = isinstance(error, ContribWatchError)
        reason = str(error) if expected else f"a fault of the program: {type(error).__name__}: {error}"
        log.error("drop failed", drop=drop.id, feed=drop.feed, why=reason, exc_info=None if expected else error)
        code = error.exit_code if isinstance(error, ContribWatchError) else ContribWatchError.exit_code
        desk = as_begun(self._desk, drop)
        if desk is None or desk.drops.report(drop) is not None:
            failed = self._desk.drops.set_status(drop, DropStatus.FAILED, reason)
            self.finished.append(Finished(failed, {}, None, code))
            return
        with desk.state.transaction():
            job = Job.failed(desk, drop, reason)
            report = job.conclude()
        self._publisher.add(report)
        self._over[drop.id, drop.run] = job.drop
        self._faults[drop.id, drop.run] = code

    def advance(self) -> None:
        """Go on with the reports, and tell of the drops whose report is written."""
        for published in self._publisher.advance():
            drop = self._over.pop((published.drop.id, published.drop.run), None)
            if published.fault is not None:
                self._tell_unreported(drop or published.drop, published.fault)
            elif drop is not None:
                totals = self._desk.drops.totals(drop)
                code = self._faults.pop((drop.id, drop.run), 0)
                self.finished.append(Finished(drop, totals, published.csv, code))
                self._progress.finished(drop, totals, published.csv)

    def _tell_unreported(self, drop: Drop, fault: Exception) -> None:
        """A drop stays what it is, held or done, where a fault keeps its report from being written."""
        self._desk.state.blame(fault)
        log.error(_UNREPORTED, drop=drop.id, feed=drop.feed, why=str(fault), exc_info=fault)
        code = max(self._faults.pop((drop.id, drop.run), 0), ContribWatchError.exit_code)
        self.finished.append(Finished(drop, self._desk.drops.totals(drop), None, code))
