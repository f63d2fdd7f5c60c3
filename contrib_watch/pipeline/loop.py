"""The run loop: the drops of all feeds take turns on one connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from contrib_watch.adapters.connection import Collected, ConnectionLost
from contrib_watch.adapters.folder import Scan
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import LoggedIn, LoginEnded, Notice, Outgoing
from contrib_watch.core.model import Drop, DropStatus, Quotes
from contrib_watch.core.posts import Coverage
from contrib_watch.errors import ConnectionFailed, ContribWatchError, NoConnection, UnreadableFile
from contrib_watch.pipeline.arrivals import accept
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.pipeline.inbox import record_scan
from contrib_watch.pipeline.job import Job, examine, finish_reports, why_held
from contrib_watch.pipeline.second_look import agreed_quotes
from contrib_watch.store import utc_text

log = structlog.get_logger()

LONGEST_TURN_S = 1.0
"""How long a turn may wait: decisions that other processes record are seen after this at the latest."""
FAREWELL_S = 5.0
"""How long a stop waits for the answers to what is on the wire."""


class Link(Protocol):
    """A connection to an ADS, as the loop uses it."""

    def start(self) -> None:
        """Connect, and stay connected."""
        ...

    def post(self, posts: Sequence[Outgoing]) -> None:
        """Hand over posts; each ends in one answer."""
        ...

    def collect(self, timeout_s: float) -> Collected:
        """Answers and events, after ``timeout_s`` at the latest; raises LoginRefused."""
        ...

    def interrupt(self) -> None:
        """Let a waiting collect() return; from any thread."""
        ...

    def close(self) -> None:
        """Log out."""
        ...


class Finished(NamedTuple):
    """A drop that is over."""

    drop: Drop
    totals: dict[str, int]
    report: Path


class Loop:
    """Processes drops until it is stopped, or until nothing is left to do.

    Every method runs in the caller's thread; :meth:`stop` and :meth:`arrived` may be called from any.
    """

    def __init__(self, desk: Desk, link: Link, form: Callable[[str], PostFormat], progress: Progress) -> None:
        """``form`` gives the format of a Service's posts."""
        self.finished: list[Finished] = []
        self._desk = desk
        self._link = link
        self._form = form
        self._progress = progress
        self._jobs: dict[str, Job] = {}  # by feed: a feed's drops go one after the other
        self._coverage: dict[str, Coverage] = {}
        self._covered: dict[str, set[tuple[int, int]]] = {}  # by feed: (drop, run) that were looked at for it
        self._known_columns: dict[str, dict[int, frozenset[str]]] = {}  # by feed and drop
        self._scans: list[tuple[str, Scan]] = []
        self._scans_lock = threading.Lock()
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._started = False
        self._up = False
        self._down_since_s = 0.0
        self._down_because = "no connection was tried yet"
        self._handed = 0  # posts that the link has and has not answered

    def stop(self) -> None:
        """Send nothing more, wait a little for what is on the wire, and return from run()."""
        self._stopping.set()
        self._wake()

    def arrived(self, feed: str, scan: Scan) -> None:
        """A scan of a feed's folder; its files are accepted in the next turn."""
        with self._scans_lock:
            self._scans.append((feed, scan))
        self._wake()

    def run(self, *, once: bool, quiet: Callable[[], bool] = lambda: True) -> None:
        """Process drops. ``once``: return when nothing is left to do and no file is waited for (``quiet``).

        Raises LoginRefused, and with ``once`` NoConnection when the ADS cannot be reached for
        ``ads.connect_timeout_s`` while there is something to send. What was not sent stays for the next run.
        """
        self._recover()
        self._down_since_s = self._desk.clock.monotonic()
        if not once:
            self._connect()
        try:
            self._work(once=once, quiet=quiet)
        except ConnectionFailed as error:
            self._tell("down", str(error))
            raise
        else:
            if self._started:
                self._tell("closed", "")
        finally:
            if self._started:
                self._link.close()

    def _work(self, *, once: bool, quiet: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            idle = quiet()  # asked first: what settles after this was not waited for
            self._accept()
            self._begin()
            if once and idle and not self._jobs and not self._scans:
                return
            self._turn(once=once)
        self._farewell()

    def _wake(self) -> None:
        self._woken.set()
        self._link.interrupt()

    def _recover(self) -> None:
        """After a stop at any moment: what was in flight is dirty, and reports are finished."""
        lost = self._desk.ledger.all_unknown()
        if lost:
            log.warning("posts without an answer when the last process ended", posts=lost)
        finish_reports(self._desk)

    def _accept(self) -> None:
        with self._scans_lock:
            scans, self._scans = self._scans, []
        for feed, scan in scans:
            accept(self._desk, feed, scan)
            record_scan(self._desk, feed, scan)

    def _begin(self) -> None:
        """Start the next drop of each feed that has none in hand; end those that have nothing to post."""
        for drop in self._desk.drops.pending():
            if drop.feed in self._jobs:
                if drop.id > self._jobs[drop.feed].drop.id:
                    self._cover(drop)
                continue
            if drop.feed not in self._desk.feeds:
                reason = f"feed {drop.feed!r} is no longer in the configuration; retry it when it is"
                failed = self._desk.drops.set_status(drop, DropStatus.FAILED, reason)
                self.finished.append(Finished(failed, {}, Path()))
                log.error("drop failed", drop=drop.id, why=reason)
                continue
            self._start(drop)

    def _start(self, drop: Drop) -> None:
        service = self._desk.feeds[drop.feed].service
        claimed = [ric for job in self._jobs.values() if job.service == service for ric in job.rics]
        try:
            for newer in self._desk.drops.newer(drop):
                self._cover(newer)
            job = Job.begin(self._desk, drop, claimed=claimed)
        except Exception as error:  # noqa: BLE001 - a fault in one drop must not stop the others
            self._fail(drop, error)
            return
        self._jobs[drop.feed] = job
        self._progress.started(job.drop, len(job.rics))
        if job.done:
            self._end(job)

    def _cover(self, drop: Drop) -> None:
        """Learn what a newer drop gives values for, unless it is to be held or cannot be read."""
        covered = self._covered.setdefault(drop.feed, set())
        if (drop.id, drop.run) in covered:
            return
        covered.add((drop.id, drop.run))
        try:
            quotes = agreed_quotes(self._desk, drop)
            if drop.status is not DropStatus.DONE and self._will_be_held(drop, quotes):
                return
        except Exception as error:
            if drop.status is DropStatus.DONE:
                raise  # what it sent must not be sent over by an older drop
            # Nothing of it will be sent, which its own turn reports: it covers nothing.
            log.debug("covers nothing", drop=drop.id, why=str(error))
            return
        self._coverage.setdefault(drop.feed, Coverage()).add(drop.id, quotes)

    def _will_be_held(self, drop: Drop, quotes: Quotes) -> bool:
        """Whether a person will have to decide about a drop once the older ones of its feed have been sent."""
        if drop.approved or drop.reason or not self._desk.feeds[drop.feed].complete:
            return bool(drop.reason)
        if why_held(self._desk, drop, quotes, examine(self._desk, drop, quotes)):
            return True
        older = (one for one in self._desk.drops.pending() if one.feed == drop.feed and one.id < drop.id)
        return any(self._columns(one) - set(quotes.values.columns) for one in older)

    def _columns(self, drop: Drop) -> frozenset[str]:
        """The fields for which a drop has a column; none where it cannot be read."""
        known = self._known_columns.setdefault(drop.feed, {})
        if drop.id not in known:
            try:
                known[drop.id] = frozenset(self._desk.quotes(drop).values.columns)
            except UnreadableFile:
                known[drop.id] = frozenset()
        return known[drop.id]

    def _turn(self, *, once: bool) -> None:
        """Wait for answers, record them, send what there is room for, and end the drops that are over."""
        if self._jobs:
            self._connect()
        if not self._started:
            self._woken.wait(LONGEST_TURN_S)
            self._woken.clear()
            return
        answers, events, _ = self._link.collect(self._patience_s())
        self._handed -= len(answers)
        for event in events:
            self._note(event)
        if once and not self._up and self._jobs:
            self._check_patience()
        outgoing: list[Outgoing] = []
        with self._desk.state.transaction():
            for job in self._jobs.values():
                ended = job.settle(answers) if answers else 0
                if ended:
                    self._progress.advanced(job.drop, ended)
            if self._up and not self._stopping.is_set():
                for job, room in self._shares():
                    taken = job.take(room, self._form(job.service), self._coverage.get(job.drop.feed))
                    self._handed += len(taken)
                    outgoing += taken
        if outgoing:  # only now, when they are durably in flight
            self._link.post(outgoing)
        for job in [job for job in self._jobs.values() if job.done]:
            self._end(job)

    def _shares(self) -> Iterator[tuple[Job, int]]:
        """The room on the connection, in turns: a small drop does not wait for a large one."""
        jobs, room = list(self._jobs.values()), self._room()
        for position, job in enumerate(jobs):
            handed = self._handed
            yield job, room // (len(jobs) - position)
            room -= self._handed - handed
        self._jobs = {job.drop.feed: job for job in (*jobs[1:], *jobs[:1])}

    def _room(self) -> int:
        """Posts that the link may be handed: a second window is made ready while the first is on the wire."""
        return 2 * self._desk.settings.ads.window - self._handed if self._up else 0

    def _patience_s(self) -> float:
        """How long a turn may wait for answers: not at all while something is to be sent, may be, and has room."""
        due = [due_s for job in self._jobs.values() if (due_s := job.due_s()) is not None]
        if not due or not self._room() or self._stopping.is_set():
            return LONGEST_TURN_S
        return min(max(min(due) - self._desk.clock.monotonic(), 0.0), LONGEST_TURN_S)

    def _end(self, job: Job) -> None:
        feed = job.drop.feed
        del self._jobs[feed]
        try:
            report = job.finish()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(job.drop, error)
            return
        totals = self._desk.drops.totals(job.drop)
        self.finished.append(Finished(job.drop, totals, report))
        self._progress.finished(job.drop, totals, report)
        if not any(drop.feed == feed for drop in self._desk.drops.pending()):
            self._coverage.pop(feed, None)
            self._covered.pop(feed, None)
            self._known_columns.pop(feed, None)

    def _fail(self, drop: Drop, error: Exception) -> None:
        expected = isinstance(error, ContribWatchError)
        reason = str(error) if expected else f"a fault of the program: {type(error).__name__}: {error}"
        log.error("drop failed", drop=drop.id, feed=drop.feed, why=reason, exc_info=None if expected else error)
        failed = self._desk.drops.set_status(drop, DropStatus.FAILED, reason)
        self.finished.append(Finished(replace(failed, reason=reason), {}, Path()))

    def _connect(self) -> None:
        if not self._started:
            self._started = True
            self._down_since_s = self._desk.clock.monotonic()
            self._link.start()

    def _note(self, event: object) -> None:
        if isinstance(event, LoggedIn):
            self._up = True
            self._tell("up", "")
        elif isinstance(event, ConnectionLost):
            if self._up:
                self._down_since_s = self._desk.clock.monotonic()
            if self._up or event.reason != self._down_because:
                log.warning("no connection", endpoint=event.endpoint, why=event.reason)
                self._tell("down", f"{event.endpoint}: {event.reason}")
            self._up, self._down_because = False, event.reason
        elif isinstance(event, LoginEnded):
            log.error("login ended", code=event.code, text=event.text)
        elif isinstance(event, Notice) and event.text:
            log.warning("from the ADS", text=event.text)

    def _tell(self, state: str, reason: str) -> None:
        """Leave the connection's state where ``status`` finds it."""
        told = {"state": state, "reason": reason, "since_utc": utc_text(self._desk.clock.utc())}
        self._desk.state.put("connection", json.dumps(told))

    def _check_patience(self) -> None:
        waited_s = self._desk.clock.monotonic() - self._down_since_s
        limit_s = self._desk.settings.ads.connect_timeout_s
        if waited_s >= limit_s:
            hosts = ", ".join(self._desk.settings.ads.hosts)
            hint = "What was not sent waits for the next run; check ads.hosts and the network"
            raise NoConnection(f"no connection for {limit_s:g} s: {self._down_because}", where=hosts, hint=hint)

    def _farewell(self) -> None:
        """Wait for the answers to what is on the wire; what stays unanswered is dirty at the next start."""
        until_s = self._desk.clock.monotonic() + FAREWELL_S
        while self._up and self._handed and self._desk.clock.monotonic() < until_s:
            self._turn(once=False)
