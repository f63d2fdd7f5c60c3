"""Reports: made from the record, and written beside their file or, where that cannot be, in the state's folder."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from contrib_watch.adapters.report_files import report_name, write_report
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Drop, Quotes
from contrib_watch.core.report import Report, build_report
from contrib_watch.core.report_rows import COLUMNS
from contrib_watch.errors import StateUnavailable
from contrib_watch.pipeline.aside import Aside, Procedure, Steps, done_at_once
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import ReportName

log = structlog.get_logger()

PATIENCE_S = 60.0
"""How long a folder may take to take a report in, before the report goes to the state's folder instead."""


def report_of(desk: Desk, drop: Drop, findings: Findings, quotes: Quotes | None) -> Report:
    """The report of a drop's present run, from the record and the drop's own bytes alone."""
    return build_report(
        drop=drop,
        service=desk.feeds[drop.feed].service,
        target=desk.settings.ads.target,
        simulated=desk.settings.ads.on_trial,
        version=desk.environment.version,
        config_hash=desk.environment.config,
        state_id=desk.state.state_id,
        local_tz=timezone(_utc_offset(drop)),
        quotes=quotes,
        outcomes=desk.ledger.outcomes(drop, COLUMNS),
        findings=findings,
        unreadable=drop.reason if quotes is None else "",
        witness=desk.drops.witness(drop),
    )


def facts_of(desk: Desk, drop: Drop, quotes: Quotes | None) -> dict[str, Any]:
    """What the record of a processed drop says beside its outcomes, so that its report can be made again from it."""
    return {
        **desk.environment.facts(),
        "target": desk.settings.ads.target,
        "simulated": desk.settings.ads.on_trial,
        "utc_offset_s": int(_utc_offset(drop).total_seconds()),
        "read": quotes is not None,
        "sheet": quotes.sheet if quotes else "",
        "places": dict(quotes.places) if quotes else {},
    }


def _utc_offset(drop: Drop) -> timedelta:
    """Of this machine's time when the drop was seen: a report shows all of its times so, whenever it is made."""
    return drop.seen_at_utc.astimezone().utcoffset() or timedelta()


def reports_folder(desk: Desk) -> Path:
    """Where reports go that cannot be written beside their file."""
    return desk.settings.state.folder / "reports"


def reserve(desk: Desk, drop: Drop, folder: Path | None = None, *, beside: Collection[str] = ()) -> ReportName:
    """Give a drop's report a name that no other report of this state has, and that is not among ``beside``.

    The folder itself is not looked at, because it may not answer.
    """
    folder = folder or Path(desk.feeds[drop.feed].report_folder or Path(drop.path).parent)

    def taken(base: str) -> bool:
        return base in beside or desk.drops.report_taken(folder=str(folder), base=base)

    base = report_name(Path(drop.path).name, drop.seen_at_utc, simulated=desk.settings.ads.on_trial, taken=taken)
    return desk.drops.reserve_report(drop, folder=str(folder), base=base)


def publish(desk: Desk, report: Report) -> Path | None:
    """Write a report under its reserved name here and now; the path of its CSV, None: it was not written."""
    return done_at_once(_published(desk, report))


def _published(desk: Desk, report: Report) -> Steps[Path | None]:
    """Write a report under its reserved name, or under the next one, or in the state's folder."""
    drop = report.drop
    others: set[str] = set()
    while True:
        name = desk.drops.report(drop) or reserve(desk, drop)
        folder = Path(name.folder)
        try:
            written, hashes = yield partial(_written, report, folder, name.base, make=folder == reports_folder(desk))
        except FileExistsError:  # somebody else's file has the name: take the next one
            others.add(name.base)
            reserve(desk, drop, folder, beside=others)
        except OSError as error:
            if folder == reports_folder(desk):
                log.warning("report not written; the next start tries again", drop=drop.id, why=error.strerror)
                return None
            others.clear()
            _divert(desk, drop, folder, error)
        else:
            desk.drops.report_whole(drop, hashes)
            return Path(written)


def _written(report: Report, folder: Path, base: str, *, make: bool) -> tuple[Path, dict[str, str]]:
    """Write a report; the path of its CSV, and the SHA-256 (hex) of its files.

    ``make`` the folder where it is not there: of the state's own, and of no other.
    """
    if make:
        with suppress(FileExistsError):  # where it is no folder, writing says so
            folder.mkdir()
    written = write_report(report, folder, base)
    return next(iter(written)), {path.name: sha256 for path, sha256 in written.items()}


def _divert(desk: Desk, drop: Drop, folder: Path, error: OSError) -> None:
    """The report goes to the state's folder instead."""
    fallback = reports_folder(desk)
    log.warning("report not beside its file", folder=str(folder), why=error.strerror, instead=str(fallback))
    reserve(desk, drop, fallback)


class Published(NamedTuple):
    """A report that is over."""

    drop: Drop
    csv: Path | None
    """None: it was not written."""
    fault: Exception | None = None
    """Why there is no report: a fault of the program."""


@dataclass
class _Entry:
    report: Report
    procedure: Procedure[Path | None]
    until_s: float


class Publisher:
    """Writes reports aside, those for one folder one after the other; a folder that hangs holds up no other one.

    A folder that did not answer in time gets no further report until it has answered.
    """

    def __init__(self, desk: Desk, aside: Aside, on_progress: Callable[[], object]) -> None:
        """``on_progress`` is called, from any thread, when :meth:`advance` can go on."""
        self._desk = desk
        self._aside = aside
        self._on_progress = on_progress
        self._waiting: dict[Path, deque[Report]] = {}
        self._writing: dict[Path, _Entry] = {}
        self._hanging: dict[Path, Future[Any]] = {}

    @property
    def busy(self) -> bool:
        """Some report is not over yet."""
        return bool(self._waiting or self._writing)

    def add(self, report: Report) -> None:
        """Write a report under its reserved name."""
        name = self._desk.drops.report(report.drop) or reserve(self._desk, report.drop)
        self._waiting.setdefault(Path(name.folder), deque()).append(report)

    def advance(self) -> Iterator[Published]:
        """Go on as far as that is possible without waiting; yields the reports that are over now."""
        now_s = self._desk.clock.monotonic() if self.busy else 0.0
        for folder in {**self._waiting, **self._writing}:
            while folder in self._waiting or folder in self._writing:
                entry = self._writing.get(folder) or self._begin(folder, now_s)
                if now_s >= entry.until_s:
                    self._hanging[folder] = entry.procedure.give_up(_silence())
                    entry.until_s = now_s + PATIENCE_S
                if not entry.procedure.advance():
                    break
                del self._writing[folder]
                yield _outcome(entry)

    def _begin(self, folder: Path, now_s: float) -> _Entry:
        report = self._waiting[folder].popleft()
        if not self._waiting[folder]:
            del self._waiting[folder]
        if folder in self._hanging and not self._hanging[folder].done():
            _divert(self._desk, report.drop, folder, _silence())
        procedure = Procedure(_published(self._desk, report), self._aside, self._on_progress)
        entry = self._writing[folder] = _Entry(report, procedure, now_s + PATIENCE_S)
        return entry


def _outcome(entry: _Entry) -> Published:
    try:
        return Published(entry.report.drop, entry.procedure.result())
    except StateUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - it must not stop the other reports
        return Published(entry.report.drop, None, error)


def _silence() -> OSError:
    return TimeoutError(errno.ETIMEDOUT, f"the folder has not answered for {PATIENCE_S:g} s: is its share down?")
