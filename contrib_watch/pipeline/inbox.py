"""The watched folders of all feeds, and what ``status`` knows of the files in them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from contrib_watch.adapters.folder import REFUSED, FileState, FileStatus, Folder, Scan, Watch
from contrib_watch.adapters.sheets import is_whole
from contrib_watch.core.model import Feed
from contrib_watch.core.settle import Signature, Verdict, judge
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import utc_text

log = structlog.get_logger()

SCAN_INTERVAL_S = 5.0
ANSWER_TIMEOUT_S = 120.0
"""How long a run that is to end waits for a folder whose file system says nothing at all, before it is an outage."""
LOOK_TIMEOUT_S = 10.0
"""How long ``status`` waits for the folders when it looks at them itself."""
STOP_TIMEOUT_S = 5.0
"""How long a stop waits for the threads of all folders; one that hangs in a dead share dies with the process."""


_LEFT = (FileStatus.UNREADABLE, FileStatus.UNMARKED, FileStatus.POSTPONED)


@dataclass(frozen=True)
class LeftFile:
    """A file whose prices somebody may expect to go out, and that no scan could take."""

    feed: str
    name: str
    state: FileStatus
    """``unreadable``, ``waiting for its marker``, ``postponed``; ``ignored``, for one of the reasons in REFUSED."""
    reason: str


class Inbox:
    """Watches every feed's folder and hands each scan to ``on_scan(feed, scan)``, from threads of its own.

    A folder that does not answer holds up nobody but itself.
    """

    def __init__(
        self,
        desk: Desk,
        on_scan: Callable[[str, Scan], None],
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        contested: Callable[[Path], str] = lambda _: "",
    ) -> None:
        """``contested(folder)`` says why nothing may be taken from a folder at present, or ``""``."""
        self._on_scan = on_scan
        self._answer_timeout_s = answer_timeout_s
        self._lock = threading.Lock()
        self._last: dict[str, Scan] = {}
        self._refused: dict[str, list[LeftFile]] = {}  # each touched by its feed's thread alone
        self._watches = {
            feed.name: Watch(_folder(desk, feed, contested), SCAN_INTERVAL_S, self._scanned)
            for feed in desk.settings.feeds
        }

    def start(self) -> None:
        """Scan, and go on watching."""
        for watch in self._watches.values():
            watch.start()

    def stop(self) -> None:
        """End the threads; those that hang are left behind."""
        for watch in self._watches.values():
            watch.stop(0)
        until_s = time.monotonic() + STOP_TIMEOUT_S
        for watch in self._watches.values():
            watch.stop(max(0.0, until_s - time.monotonic()))

    def quiet(self) -> bool:
        """Every folder that answers has been looked at, and no file in any of them still settles."""
        with self._lock:
            last = dict(self._last)
        return all(
            self._is_silent(feed) or (feed in last and last[feed].next_look_s is None) for feed in self._watches
        )

    def outages(self) -> dict[str, str]:
        """Feeds whose folder cannot be read, and why."""
        with self._lock:
            found = {feed: scan.outage for feed, scan in self._last.items() if scan.outage}
        silent = [feed for feed in self._watches if self._is_silent(feed)]
        return found | {feed: _silence(self._answer_timeout_s) for feed in silent}

    def postponed(self) -> dict[str, str]:
        """Feeds with complete files that may not be taken, and why."""
        with self._lock:
            return {feed: scan.postponed for feed, scan in self._last.items() if scan.postponed}

    def left(self) -> tuple[LeftFile, ...]:
        """The files that wait for somebody to do something, as the last scans saw them."""
        with self._lock:
            last = dict(self._last)
        return tuple(file for feed, scan in sorted(last.items()) for file in _left(feed, scan))

    def _is_silent(self, feed: str) -> bool:
        return self._watches[feed].silent_s() > self._answer_timeout_s

    def _scanned(self, feed: str, scan: Scan) -> None:
        self._on_scan(feed, scan)
        with self._lock:
            before = self._last.get(feed, Scan()).postponed
            self._last[feed] = scan
        if scan.postponed and not before:
            log.warning("files are not taken", feed=feed, why=scan.postponed)
        elif before and not scan.postponed and not scan.outage:
            log.info("files are taken again", feed=feed)
        if not scan.outage:
            self._tell_refused(feed, scan)

    def _tell_refused(self, feed: str, scan: Scan) -> None:
        """Log a file that stays where it is until somebody mends it: once, unless its reason changes."""
        refused = [file for file in _left(feed, scan) if file.state in (FileStatus.UNREADABLE, FileStatus.IGNORED)]
        for file in refused:
            if file not in self._refused.get(feed, ()):
                log.warning("file is not taken", feed=feed, file=file.name, why=file.reason)
        self._refused[feed] = refused


def _left(feed: str, scan: Scan) -> Iterator[LeftFile]:
    for name, state in sorted(scan.states.items()):
        if state.state in _LEFT or state.reason in REFUSED:
            yield LeftFile(feed, name, state.state, state.reason)


# What scans leave for ``status``.


@dataclass(frozen=True)
class SeenState:
    """The state of one file as a person is told it."""

    state: str
    reason: str
    due_utc: str = ""
    """When it is taken, if it stays as it is; empty: that is not a matter of time."""


@dataclass(frozen=True)
class Sight:
    """What is known of the files in a feed's folder."""

    at_utc: str = ""
    """When the last look at it ended; empty: there was none."""
    good_utc: str = ""
    """When the last look that could read it ended: what the files are told of."""
    outage: str = ""
    """Why the last look could not read it."""
    files: Mapping[str, SeenState] = field(default_factory=dict)


def record_scan(desk: Desk, feed: str, scan: Scan) -> None:
    """Leave what a scan saw where ``status`` finds it."""
    now = desk.clock.utc()
    with desk.state.transaction():
        at_utc = utc_text(now)
        good_utc = last_sight(desk, feed).good_utc if scan.outage else at_utc
        desk.state.put(f"scan {feed}", json.dumps({"at_utc": at_utc, "good_utc": good_utc, "outage": scan.outage}))
        if scan.outage:
            return
        files = {name: _seen(state, now) for name, state in sorted(scan.states.items())}
        told = json.dumps({name: [one.state, one.reason, one.due_utc] for name, one in files.items()})
        if told != desk.state.get(f"files {feed}"):  # a long listing is not written again with every scan
            desk.state.put(f"files {feed}", told)


def last_sight(desk: Desk, feed: str) -> Sight:
    """What record_scan left."""
    scan = json.loads(desk.state.get(f"scan {feed}") or "{}")
    told = json.loads(desk.state.get(f"files {feed}") or "{}")
    files = {name: SeenState(*state) for name, state in told.items()}
    return Sight(scan.get("at_utc", ""), scan.get("good_utc", ""), scan.get("outage", ""), files)


def sights(desk: Desk) -> dict[str, Sight]:
    """What lies in the feeds' folders now, by a look of our own; nothing is copied, decided or recorded.

    A folder that does not answer within LOOK_TIMEOUT_S is an outage.
    """
    looks: dict[str, Scan] = {}
    folders = {feed.name: _folder(desk, feed, lambda _: "") for feed in desk.settings.feeds}
    # One thread each, which dies with the process where it hangs.
    threads = [
        threading.Thread(target=_look, args=(name, folder, looks), daemon=True) for name, folder in folders.items()
    ]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + LOOK_TIMEOUT_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return {name: _sight(desk, name, looks.get(name)) for name in folders}


def _look(name: str, folder: Folder, looks: dict[str, Scan]) -> None:
    looks[name] = folder.look()


def _sight(desk: Desk, feed: str, look: Scan | None) -> Sight:
    before, now = last_sight(desk, feed), desk.clock.utc()
    if look is None or look.outage:
        outage = look.outage if look else _silence(LOOK_TIMEOUT_S)
        return Sight(utc_text(now), before.good_utc, outage, before.files)
    is_new = desk.drops.feed_is_new(feed)
    files = {name: _judged(desk.feeds[feed], state, now, feed_is_new=is_new) for name, state in look.states.items()}
    return Sight(utc_text(now), utc_text(now), "", files)


def _judged(feed: Feed, file: FileState, now: datetime, *, feed_is_new: bool) -> SeenState:
    """What the next run will do with a file, as far as its age tells."""
    if file.state is not FileStatus.FOUND or file.signature is None:
        return _seen(file, now)
    if file.signature.size_bytes > feed.max_bytes:
        size = f"its {file.signature.size_bytes:,} bytes are above max_bytes, which is {feed.max_bytes:,}"
        return SeenState(file.state, f"not looked at yet: the next run will reject it, {size}")
    age = judge(
        "",
        file.signature.mtime_ns,
        latest=None,
        feed_is_new=feed_is_new,
        taken_ns=int(now.timestamp() * 1_000_000_000),
        max_age_s=feed.max_age_s,
    )
    if age.verdict is Verdict.NEW:
        return SeenState(file.state, "not looked at yet: the next run takes it once it is complete")
    return SeenState(file.state, f"not looked at yet: the next run will not send it by itself, {age.reason}")


def _seen(file: FileState, now: datetime) -> SeenState:
    due_utc = "" if file.due_s is None else utc_text(now + timedelta(seconds=file.due_s))
    return SeenState(file.state, file.reason, due_utc)


def _silence(timeout_s: float) -> str:
    return f"the folder has not answered for {timeout_s:g} s: is its share down?"


# Opening folders.


def make_folders(desk: Desk) -> list[Path]:
    """Make the feeds' folders that are not there; for trying the program out, where none can be an outage."""
    made = [Path(feed.folder) for feed in desk.settings.feeds if not Path(feed.folder).exists()]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def _folder(desk: Desk, feed: Feed, contested: Callable[[Path], str]) -> Folder:
    def closed() -> str:
        return contested(Path(feed.folder)) or desk.shortage()

    def ahead(name: str, content: bytes, copy: Path) -> None:
        desk.reader.read_ahead(copy, name, feed, content)

    spool = desk.settings.state.folder / "spool"
    return Folder(feed, spool, known(desk, feed), is_whole, closed=closed, ahead=ahead)


def known(desk: Desk, feed: Feed) -> dict[str, Signature]:
    """The files that need not be read again, with what they looked like when they were decided about.

    What was above ``max_bytes`` was never read, and is looked at anew once the limit allows it.
    """
    return {
        file.name: file.signature
        for file in desk.drops.files(feed.name)
        if file.sha256 or file.signature.size_bytes > feed.max_bytes
    }
