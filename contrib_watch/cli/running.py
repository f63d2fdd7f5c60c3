"""Putting the parts together: the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from contrib_watch.adapters.connection import Connection
from contrib_watch.adapters.folder import FileStatus, Scan
from contrib_watch.adapters.lease import Leases
from contrib_watch.adapters.trace import Trace
from contrib_watch.ads.messages import PostFormat
from contrib_watch.cli.linking import link, poster_address
from contrib_watch.cli.progress import shown_progress
from contrib_watch.cli.safeguards import DailyBackups, recorded_run
from contrib_watch.cli.stopping import Stopping, signals, terminated_as_interrupted
from contrib_watch.config import Settings, State
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import DropStatus, Status
from contrib_watch.errors import ConfigurationError, ConnectionFailed, StateError, StateLocked
from contrib_watch.pipeline.aside import in_thread
from contrib_watch.pipeline.brake import paused
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.pipeline.ending import Finished
from contrib_watch.pipeline.inbox import Inbox, LeftFile, make_folders
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.past import Past
from contrib_watch.pipeline.reconciling import Task
from contrib_watch.store import Lock
from contrib_watch.store.restore import remove_interrupted

if TYPE_CHECKING:
    from contrib_watch.simulator.faults import FaultScript

log = structlog.get_logger()

ROOM_LOOK_S = 1.0
"""How often a full disk is looked at."""


Forms = Callable[[str], PostFormat]
"""Gives the format of a Service's posts."""


@dataclass(frozen=True)
class Result:
    """What a run did."""

    finished: tuple[Finished, ...]
    outages: dict[str, str]
    """Feeds whose folder could not be read, or whose files could not be taken, and why."""
    paused: frozenset[str] = frozenset()
    """Feeds that were paused while something of them waited to be sent."""
    failure: ConnectionFailed | None = None
    """What ended the run before everything was sent."""
    left: tuple[LeftFile, ...] = ()
    """Files that could not be taken, and stay so until somebody does something."""
    stopped: bool = False
    """A signal ended it, or another installation took a folder over."""
    waiting: int = 0
    """Drops that wait to be sent."""
    repair: int | None = None
    """The exit code of repairing what the ADS had lost; None: nothing was."""

    @property
    def is_empty(self) -> bool:
        """There was nothing to do."""
        done = self.finished or self.repair is not None
        return not (done or self.failure or self.outages or self.paused or self.left)


def run_feeds(
    settings: Settings,
    dictionary: Dictionary,
    *,
    once: bool,
    faults: FaultScript | None = None,
    progress: Progress | None = None,
    trace: Trace | None = None,
    accept_empty: bool = False,
) -> Result:
    """Run until there is nothing to do (``once``) or until a signal says stop.

    ``faults`` are what the simulated ADS gets wrong, where the configuration asks for the simulated one. ``trace`` is
    told of every frame. ``accept_empty``: begin with an empty state even where an earlier one was lost.
    """
    stopping = Stopping()
    with signals(stopping.set), _locked(settings.state):
        desk = Desk.open(settings, dictionary, accept_empty=accept_empty)
        desk.reader.start()  # ready by the time that the first file has settled
        with desk.state, nullcontext(progress) if progress else shown_progress() as shown:
            if settings.ads.simulated:
                for folder in make_folders(desk):
                    log.info("made the folder of a feed, to try it out", folder=str(folder))
            desk.state.refuse_damaged()
            past = Past(settings)
            past.begin(desk, accept_empty=accept_empty)
            if not once:
                feeds = ", ".join(desk.feeds)
                log.info("watching", feeds=feeds, target=settings.ads.target, version=desk.environment.version)
            with _links(desk, dictionary, faults, trace) as connect:
                return _run(desk, connect, shown, past, stopping, once=once)


@contextmanager
def _links(
    desk: Desk, dictionary: Dictionary, faults: FaultScript | None = None, trace: Trace | None = None
) -> Iterator[Callable[[], Connection]]:
    """Makes connections, not started yet, to the ADS of the configuration."""
    settings = desk.settings
    if not settings.ads.simulated:
        yield partial(link, settings.ads, settings.cloud, trace=trace)
        return
    from contrib_watch.cli.simulated import simulated_links  # a server, of which other sites need nothing

    with simulated_links(desk, dictionary, faults, trace) as connect:
        yield connect


@contextmanager
def _locked(state: State) -> Iterator[None]:
    """The state is this process's alone; raises StateError where another one has it."""
    lock = Lock(state.url)
    try:
        remove_interrupted(state.url)
        yield
    finally:
        lock.release()


def _run(
    desk: Desk, connect: Callable[[], Connection], progress: Progress, past: Past, stopping: Stopping, *, once: bool
) -> Result:
    """One run, begun anew from the record where the disk was full in the middle of it, or the database locked."""
    leases = Leases(dict.fromkeys(Path(feed.folder) for feed in desk.settings.feeds), desk.state.state_id)
    stopping.when_asked(leases.interrupt)
    with leases, DailyBackups(desk), recorded_run(desk, once=once):
        leases.when_lost(stopping.set)
        past.when_refused(stopping.set)
        result = Result((), {})
        while not stopping.is_set():
            try:
                result = _attempt(desk, connect(), progress, leases, past, stopping, once=once)
                break
            except StateError as error:
                if once or not (isinstance(error, StateLocked) or desk.shortage()):
                    raise
                log.warning("the state cannot be written; waiting until it can", why=str(error))
                _await_room(desk, stopping)
        if (refusal := leases.lost or past.refusal) is not None:
            raise refusal
        return result


def _await_room(desk: Desk, stopping: Stopping) -> None:
    """Wait until there is room for the state, or something says stop; for who has it locked, each attempt waits."""
    while desk.shortage():
        if stopping.wait(ROOM_LOOK_S):
            return


def _attempt(
    desk: Desk,
    connection: Connection,
    progress: Progress,
    leases: Leases,
    past: Past,
    stopping: Stopping,
    *,
    once: bool,
) -> Result:
    form = _form(desk.settings)
    loop = Loop(desk, connection, form, progress, aside=in_thread, held_back=past.unseen)

    def scanned(feed: str, scan: Scan) -> None:
        if not scan.outage:
            past.answers(feed)
        loop.arrived(feed, scan)

    inbox = Inbox(desk, scanned, contested=lambda folder: leases.contested(folder) or past.contested(folder))
    stopping.when_asked(loop.stop)
    failure = None
    inbox.start()
    try:
        loop.run(once=once, quiet=inbox.quiet)
    except ConnectionFailed as error:
        failure = error
    finally:
        inbox.stop()
    outages, postponed = inbox.outages() | past.unseen(), inbox.postponed()
    for feed, why in outages.items():
        log.error("the folder of a feed cannot be read", feed=feed, why=why)
    for feed, why in postponed.items():
        log.error("files of a feed were not taken", feed=feed, why=why)
    backlog = desk.drops.backlog()
    for feed in desk.feeds.keys() & backlog.keys():
        decide = f"contrib-watch adopt {feed} --ignore, --newest or --all"
        log.warning("old files are not sent before somebody decides", feed=feed, files=backlog[feed], decide=decide)
    pending = [drop.feed for drop in desk.drops.pending() if drop.feed in desk.feeds]
    braked = frozenset(pending) & {*paused(desk)}
    for feed in braked:
        log.warning("drops wait: the feed is paused", feed=feed)
    repair = loop.repair_code
    if loop.repair_waits:
        log.warning("what the ADS may have lost waits: a feed is paused")
        repair = max(3, repair or 0)
    return Result(
        tuple(loop.finished),
        postponed | outages,
        braked,
        failure,
        inbox.left(),
        stopped=loop.stopped,
        waiting=len(pending),
        repair=repair,
    )


@contextmanager
def posting(settings: Settings, dictionary: Dictionary) -> Iterator[tuple[Desk, Task]]:
    """The state and a connection to the ADS, for a command that posts or reads items by itself.

    Raises StateError where another process uses the state, or another installation the folders.
    """
    with terminated_as_interrupted(), _locked(settings.state):
        desk = Desk.open(settings, dictionary)
        folders = dict.fromkeys(Path(feed.folder) for feed in settings.feeds if Path(feed.folder).is_dir())
        with desk.state, ExitStack() as stack:
            desk.state.refuse_damaged()
            past = Past(settings)
            past.begin(desk)
            stack.enter_context(Leases(folders, desk.state.state_id))
            connection = stack.enter_context(_links(desk, dictionary))()
            stack.callback(connection.close)
            yield desk, Task(desk, connection, _form(settings), held_back=past.unseen)


def traced(path: Path | None) -> AbstractContextManager[Trace | None]:
    """The trace that a command was asked for, if any; raises ConfigurationError where its file cannot be written."""
    return nullcontext() if path is None else Trace(path)


def worst(result: Result) -> int:
    """The exit code of a run: the highest that applies."""
    codes = [result.repair or 0]
    if result.outages:
        codes.append(ConfigurationError.exit_code)
    # A postponed file is told by its feed's outage: the disk, or another installation, and not the file is at fault.
    if result.paused or any(file.state is not FileStatus.POSTPONED for file in result.left):
        codes.append(3)
    for finished in result.finished:
        codes.append(finished.fault_code)
        if finished.report is None:
            codes.append(ConfigurationError.exit_code)
        if finished.drop.status in (DropStatus.REJECTED, DropStatus.HELD):
            codes.append(3)
        if any(finished.totals.get(status) for status in (Status.NAKKED, Status.REJECTED, Status.HELD)):
            codes.append(3)
        if finished.totals.get(Status.UNCONFIRMED):
            codes.append(4)
    return max(codes)


def _form(settings: Settings) -> Forms:
    ads = settings.ads
    on_stream = {feed.service for feed in settings.feeds if feed.posting == "on-stream"}

    @cache
    def form(service: str) -> PostFormat:
        user_id = ads.user_id or os.getpid()
        address = poster_address(ads, settings.cloud)  # now that there is a connection, and so a network
        return PostFormat(service=service, address=address, user_id=user_id, on_stream=service in on_stream)

    return form
