"""The run loop: the drops of all feeds take turns on one connection."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.adapters.folder import Scan
from contrib_watch.ads.exchange import Answer, LoggedIn
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer
from contrib_watch.core.model import Drop, Status
from contrib_watch.errors import (
    ConfigurationError,
    ConnectionFailed,
    ContribWatchError,
    StateUnavailable,
)
from contrib_watch.pipeline.arrivals import accept
from contrib_watch.pipeline.aside import Aside, Procedure, Steps, at_once
from contrib_watch.pipeline.availability import Availability
from contrib_watch.pipeline.brake import by_whom, paused
from contrib_watch.pipeline.covering import Covering
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.pipeline.ending import Endings, Finished
from contrib_watch.pipeline.expected import tell_absences
from contrib_watch.pipeline.inbox import record_scan
from contrib_watch.pipeline.job import Job, Taken
from contrib_watch.pipeline.keeping import Tidying
from contrib_watch.pipeline.later import stated_by
from contrib_watch.pipeline.link import Link
from contrib_watch.pipeline.pace import Pace
from contrib_watch.pipeline.presence import UNKNOWN_ITEM, Presence
from contrib_watch.pipeline.repair import after_a_stop
from contrib_watch.store import PENDING, Entry

log = structlog.get_logger()

LONGEST_TURN_S = 0.5
"""How long a turn may wait: pauses and decisions that other processes record, and that a file did not come, are seen
after this at the latest."""
FAREWELL_S = 5.0
"""How long a stop waits for the answers to what is on the wire, and for reports that are being written."""


class Loop:
    """Processes drops until it is stopped, or until nothing is left to do.

    Every method runs in the caller's thread; :meth:`stop` and :meth:`arrived` may be called from any.
    """

    def __init__(
        self,
        desk: Desk,
        link: Link,
        form: Callable[[str], PostFormat],
        progress: Progress,
        *,
        aside: Aside = at_once,
        dice: random.Random | None = None,
        held_back: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """``form`` gives the format of a Service's posts. ``aside`` reads files and writes reports.

        ``dice`` picks the items that are read back after a login. ``held_back`` gives feeds of which nothing may be
        sent at present, as if they were paused, and why.
        """
        self._held_back = held_back
        self._desk = desk
        self._link = link
        self._form = form
        self._progress = progress
        self._paused: frozenset[str] = frozenset()
        self._look_around_s = -math.inf
        self._jobs: dict[str, Job] = {}  # by feed: a feed's drops go one after the other
        self._aside = aside
        self._reading: Procedure[None] | None = None  # one at a time, so that no two drops plan to post one RIC
        self._tidying = Tidying(desk, aside, self._wake)
        self._started_last: dict[str, int] = {}  # by feed: the drop
        self._endings = Endings(desk, progress, aside, self._wake)
        self._availability = Availability(desk, progress)
        dice = dice or random.Random()  # noqa: S311 - a sample is no secret
        breakers = self._availability.breakers
        self._presence = Presence(desk, dice, breakers.__getitem__, self._is_claimed)
        self._covering = Covering(desk)
        self._scans: list[tuple[str, Scan]] = []
        self._scans_lock = threading.Lock()
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._started = False
        self._repair_first = False
        self._pace = Pace(window=desk.settings.ads.window, rate_limit=desk.settings.ads.rate_limit)

    @property
    def finished(self) -> list[Finished]:
        """The drops that are over, in the order in which their reports were written."""
        return self._endings.finished

    @property
    def repair_code(self) -> int | None:
        """How repairs of what the ADS had lost ended, as an exit code; None: there was none."""
        return self._presence.repair_code

    @property
    def repair_waits(self) -> bool:
        """The target is suspect, and nothing is posted again while a feed is paused."""
        return bool(self._paused) and self._presence.unfinished

    @property
    def stopped(self) -> bool:
        """Whether somebody said stop."""
        return self._stopping.is_set()

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
        ``ads.connect_timeout_s`` while there is something to send or to check. What was not sent stays.
        """
        try:
            self._recover()
            self._availability.begin()
            if not once:
                self._connect()
            self._work(once=once, quiet=quiet)
        except ConnectionFailed as error:
            self._availability.tell("down", str(error))
            raise
        else:
            if self._started:
                self._availability.tell("closed", "")
        finally:
            if self._started:
                self._link.close()

    def _work(self, *, once: bool, quiet: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            idle = quiet()  # asked first: what settles after this was not waited for
            self._accept()
            self._look_around()
            if self._reading is None:
                self._tidying.advance()
            self._begin()
            self._endings.advance()
            if once and idle and not self._scans:
                if self._is_over():
                    return
                if not self._pace.handed and self._reading is None:
                    jobs = (job.service for job in self._jobs.values())
                    self._availability.check_services((*jobs, *self._presence.posting_to))
            self._turn(once=once)
        self._farewell()

    def _is_over(self) -> bool:
        aside = self._reading or self._tidying.busy or self._endings.busy
        return not (self._moving() or aside or self._checking)

    @property
    def _checking(self) -> bool:
        """What the ADS holds is being checked, or has to be: the target is suspect, or nobody has looked for long."""
        if self._paused:
            return self._presence.on_wire
        unsure = any(one.totals.get(Status.UNCHANGED) for one in self.finished) and self._presence.overdue
        return self._presence.busy or unsure or self._presence.unfinished

    def _moving(self) -> list[Job]:
        """The jobs that can go on: of a paused feed only while answers are out."""
        return [job for job in self._jobs.values() if job.drop.feed not in self._paused or job.on_wire or job.done]

    def _look_around(self) -> None:
        """What people have paused, what did not come, and whether the state is still there, twice a second."""
        now_s = self._desk.clock.monotonic()
        if now_s < self._look_around_s:
            return
        self._look_around_s = now_s + LONGEST_TURN_S
        self._desk.state.refuse_replaced()
        by_people = {feed: by_whom(told) for feed, told in paused(self._desk).items()}
        whys = {**by_people, **self._held_back()}
        before, self._paused = self._paused, frozenset(whys)
        for feed in self._paused - before:
            log.warning("feed is paused: nothing of it is sent", feed=feed, why=whys[feed])
        if self._paused - before and self._pace.handed:
            self._link.recall()  # of the other feeds as well, which hand theirs over again
        for feed in before - self._paused:
            log.info("feed goes on", feed=feed)
        tell_absences(self._desk)
        busy = self._jobs or self._reading or self._endings.busy
        if not busy and all(drop.feed in self._paused for drop in self._desk.drops.pending()):
            self._desk.state.checkpoint()

    def _wake(self) -> None:
        self._woken.set()
        self._link.interrupt()

    def _recover(self) -> None:
        """After a stop at any moment: what was in flight is dirty, and reports are finished."""
        lost = after_a_stop(self._desk)
        if lost:
            log.warning("posts without an answer when the last process ended", posts=lost)
        self._desk.state.put("services_down", "{}")
        self._endings.recover()

    def _accept(self) -> None:
        with self._scans_lock:
            scans, self._scans = self._scans, []
        for feed, scan in scans:
            accept(self._desk, feed, scan)
            record_scan(self._desk, feed, scan)

    def _begin(self) -> None:
        """Read what is to be sent next; the loop goes on while that takes its time."""
        while self._reading is not None or self._read_next():
            if self._reading is None or not self._reading.advance():
                return
            over, self._reading = self._reading, None
            over.result()

    def _read_next(self) -> bool:
        """Begin with the next drop of a feed that has none in hand, or else with a newer one of a feed that has."""
        first: dict[str, Drop] = {}
        newer: list[Drop] = []
        for drop in self._desk.drops.pending():
            if drop.feed not in self._desk.feeds:
                what = f"feed {drop.feed!r} is no longer in the configuration; retry it when it is"
                self._endings.fail(drop, ConfigurationError(what))
            elif drop.feed in self._paused:
                continue
            elif drop.feed not in self._jobs:
                first.setdefault(drop.feed, drop)
            elif drop.id > self._jobs[drop.feed].drop.id and not self._covering.knows(drop):
                newer.append(drop)
        if first:
            drop = min(first.values(), key=lambda one: (self._started_last.get(one.feed, 0), one.id))
            self._started_last[drop.feed] = drop.id
            self._reading = Procedure(self._start(drop), self._aside, self._wake)
        elif newer:
            self._reading = Procedure(self._covering.learn(newer[0]), self._aside, self._wake)
        return self._reading is not None

    def _start(self, drop: Drop) -> Steps[None]:
        """Read a drop, and what is newer than it, and take it in hand."""
        service = self._desk.feeds[drop.feed].service
        try:
            stated = yield from self._stated_later(drop)
            job = yield from Job.starting(
                self._desk,
                drop,
                claimed=lambda: self._claimed(service),
                stated=stated,
                breaker=self._availability.breakers[service],
            )
        except StateUnavailable:  # no drop's fault: what fails is the record, without which nothing goes on
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one drop must not stop the others
            if not isinstance(error, ContribWatchError):
                self._desk.state.blame(error)
            self._endings.fail(drop, error)
            return
        self._jobs[drop.feed] = job
        self._progress.started(job.drop, job.planned)
        if job.over:
            self._end(job)

    def _stated_later(self, drop: Drop) -> Steps[dict[str, frozenset[str]]]:
        """RIC to the fields for which newer drops that are over gave a value; learns of those that wait, too."""
        for newer in self._desk.drops.newer(drop):
            if newer.status in PENDING:
                yield from self._covering.learn(newer)
        return (yield from stated_by(self._desk, drop))

    def _claimed(self, service: str) -> dict[str, str]:
        return {ric: feed for feed, job in self._jobs.items() if job.service == service for ric in job.rics}

    def _turn(self, *, once: bool) -> None:
        """Wait for answers, record them, send what there is room for, and end the drops that are over."""
        moving = self._moving()
        owes = once and not moving and self._checking
        if (moving or owes) and not self._stopping.is_set():
            self._connect()
        if not self._started:
            self._woken.wait(LONGEST_TURN_S)
            self._woken.clear()
            return
        answers, events, items, _ = self._link.collect(self._patience_s())
        unsent = sum(one.sent_s is None for one in answers)
        self._pace.answered(len(answers), self._desk.clock.monotonic(), unsent=unsent)
        self._availability.heard(answers)
        for event in events:
            self._availability.note(event)
            if isinstance(event, LoggedIn):
                self._presence.logged_in()
            elif isinstance(event, ConnectionLost):
                self._presence.lost()
        sending = any(not job.done for job in self._moving())
        if once and not self._availability.up and (sending or self._presence.busy or owes):
            self._availability.check_connection()
        self._presence.hear(items)
        self._deliver(answers)
        self._presence.advance()
        if self._sends:
            for wanted in self._presence.requests():
                self._link.request(wanted)
        self._availability.tell_services()
        for job in [job for job in self._jobs.values() if job.done]:
            self._verify(job, items)
            if job.over:
                self._end(job)

    def _deliver(self, answers: Sequence[Answer]) -> None:
        """Decide what answers mean and what goes next; that is written, and then what goes is handed over."""
        known = [(job, len(job.healed)) for job in self._jobs.values()]
        entries = self._settle(answers)
        for entry in entries:
            self._presence.landed(entry.service, (post.ric for post in entry.acked))
        self._presence.settle(answers)
        taken = self._take()
        entries += taken.entries
        if entries:
            self._desk.ledger.write(entries)
        if taken.outgoing:  # only now, when they are durably in flight
            self._link.post(taken.outgoing)
        if unknown := [(job.service, ric) for job, count in known for ric in job.healed[count:]]:
            self._presence.doubt(UNKNOWN_ITEM, unknown)
        if self._sends and not self._paused and self._presence.posting_to:
            self._repair()

    def _settle(self, answers: Sequence[Answer]) -> list[Entry]:
        """What answers mean for the drops in hand."""
        entries: list[Entry] = []
        for job in self._jobs.values():
            with self._blaming(job):
                entries += job.expire()
            ended = job.ended
            entries += job.settle(answers) if answers else ()
            if job.ended > ended:
                self._progress.advanced(job.drop, job.ended - ended)
        return entries

    def _take(self) -> Taken:
        """What there is room for."""
        taken = Taken([], [])
        if not self._sends:
            return taken
        for job, room in self._shares():
            if self._must_wait(job):
                continue
            form, coverage = self._form(job.service), self._covering.of(job.drop.feed)
            with self._blaming(job):
                entries, outgoing = job.take(room, form, coverage)
                self._hand_over(len(outgoing))
                taken.entries.extend(entries)
                taken.outgoing.extend(outgoing)
        return taken

    def _repair(self) -> None:
        """Post again what the ADS has lost."""
        with self._desk.state.transaction():
            again = self._presence.take(self._room(), self._form)
        if again:  # only now, when they are durably in flight
            self._hand_over(len(again))
            self._link.post(again)

    @property
    def _sends(self) -> bool:
        return self._availability.up and not self._stopping.is_set()

    @contextmanager
    def _blaming(self, job: Job) -> Iterator[None]:
        """A fault in planning what a drop posts is its own: the others go on."""
        try:
            yield
        except StateUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - as in _start
            if not isinstance(error, ContribWatchError):
                self._desk.state.blame(error)
            job.break_off(error)

    def _verify(self, job: Job, items: Sequence[ItemAnswer]) -> None:
        """Read back what was acknowledged of a drop, where its feed asks for that."""
        job.hear(items)
        if not self._stopping.is_set() and (wanted := job.verify(up=self._availability.up)) is not None:
            self._link.request(wanted)

    def _is_claimed(self, service: str, ric: str) -> bool:
        """Whether a drop in hand posts to this RIC."""
        return any(job.service == service and job.claims(ric) for job in self._jobs.values())

    def _must_wait(self, job: Job) -> bool:
        """One of its RICs is just being posted again, and no RIC may have two posts outstanding."""
        return any(map(job.claims, self._presence.holds(job.service)))

    def _shares(self) -> Iterator[tuple[Job, int]]:
        """The room on the connection, in turns: a small drop does not wait for a large one.

        Who was served stands at the end of the next turn; turns without room change nothing.
        """
        jobs = [job for job in self._jobs.values() if job.drop.feed not in self._paused]
        waiting = [job for job in self._jobs.values() if job not in jobs]
        room = self._room()
        room -= self._reserved(room, len(jobs) + 1)
        served: list[Job] = []
        for position, job in enumerate(jobs):
            handed = self._pace.handed
            yield job, -(-room // (len(jobs) - position))
            room -= self._pace.handed - handed
            if self._pace.handed > handed:
                served.append(job)
        self._jobs = {job.drop.feed: job for job in (*waiting, *(job for job in jobs if job not in served), *served)}

    def _reserved(self, room: int, parties: int) -> int:
        """The share of the room that is kept for a repair; of an odd post it has every second."""
        due_s = self._repair_due_s
        if not room or due_s is None or due_s > self._desk.clock.monotonic():
            return 0
        self._repair_first = not self._repair_first
        return -(-room // parties) if self._repair_first else room // parties

    @property
    def _repair_due_s(self) -> float | None:
        """When a repair has something to send; it is of no feed in particular, and rests while any is paused."""
        return None if self._paused else self._presence.due_s()

    def _room(self) -> int:
        """Posts that the link may be handed now."""
        return self._pace.room(self._desk.clock.monotonic()) if self._availability.up else 0

    def _hand_over(self, posts: int) -> None:
        self._pace.hand_over(posts, self._desk.clock.monotonic())

    def _patience_s(self) -> float:
        """How long a turn may wait for answers: not at all while something is to be sent, may be, and has room."""
        unpaused = (job for job in self._jobs.values() if job.drop.feed not in self._paused)
        ready = (job for job in unpaused if not self._must_wait(job))
        due = [due_s for due_s in (*(job.due_s() for job in ready), self._repair_due_s) if due_s is not None]
        if not due or self._stopping.is_set() or not self._availability.up:
            return LONGEST_TURN_S
        due_s = min(due)
        if not self._room():
            room_s = self._pace.due_s
            if room_s is None:
                return LONGEST_TURN_S
            due_s = max(due_s, room_s)
        return min(max(due_s - self._desk.clock.monotonic(), 0.0), LONGEST_TURN_S)

    def _end(self, job: Job) -> None:
        """Take a drop that is over out of hand."""
        feed = job.drop.feed
        self._jobs.pop(feed, None)
        self._endings.end(job)
        if not any(drop.feed == feed for drop in self._desk.drops.pending()):
            self._covering.forget(feed)

    def _connect(self) -> None:
        if not self._started:
            self._started = True
            self._availability.begin()
            self._link.start()

    def _farewell(self) -> None:
        """Wait for the answers to what is on the wire, and for the reports of what is over.

        What stays unanswered is dirty at the next start, which writes the other reports.
        """
        until_s = self._desk.clock.monotonic() + FAREWELL_S
        if self._pace.handed:
            self._link.recall()
        while self._desk.clock.monotonic() < until_s:
            self._endings.advance()
            if not (self._availability.up and self._pace.handed) and not self._endings.busy:
                return
            self._turn(once=False)
