"""A whole installation in virtual time: real files, real state, the real session and the simulated ADS, no sockets.

A :class:`Site` outlives its processes. Each :meth:`Site.run` is one process: it opens everything from the disk, scans
the folders, drives the loop to its end and is gone; waiting only moves the clock. With ``die_at`` the process dies at
its n-th step: a reading of the clock, something said on the link, a transaction, or a change on the disk. With
``at_commit`` it dies, or its database fails, at its n-th commit.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from shared_parts import copied, put_back, reopened, shared_desk
from sqlalchemy import Connection, bindparam, select
from virtual_link import VirtualLink, Wire

from contrib_watch.adapters.folder import Folder, Scan
from contrib_watch.adapters.sheets import is_whole
from contrib_watch.adapters.sheets.reader import Reader
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.config import Ads, Fields, Log, Settings
from contrib_watch.config import State as StateTable
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Cells, Drop, Feed
from contrib_watch.pipeline import arrivals, decisions
from contrib_watch.pipeline.aside import Aside, at_once
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.ending import Finished
from contrib_watch.pipeline.inbox import known
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.reconciling import Task
from contrib_watch.simulator.core import PostRecord, SimulatedAds, Verdict
from contrib_watch.simulator.faults import Fault, FaultRun, FaultScript
from contrib_watch.store import Ledger, in_flight, schema
from contrib_watch.store.prepared import rows
from contrib_watch.store.restore import restore

EPOCH = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
SERVICE = "NIPROV"

NewSite = Callable[..., "Site"]
"""Makes a site; takes feeds and what Site takes."""

_DIRTY = select(schema.dirty)
_PRESENT_RUN = select(schema.drops.c.run).where(schema.drops.c.id == bindparam("of_drop")).scalar_subquery()
_OUTCOMES = (
    select(schema.outcomes)
    .where(schema.outcomes.c.drop_id == bindparam("of_drop"), schema.outcomes.c.run == _PRESENT_RUN)
    .order_by(schema.outcomes.c.row)
)
_REPORTS = (
    select(schema.reports).where(schema.reports.c.drop_id == bindparam("of_drop")).order_by(schema.reports.c.run)
)

Item = tuple[str, str]
"""Service and RIC."""

T = TypeVar("T")


class Killed(BaseException):
    """The process is dead: nothing that it would still do happens."""


class Blow(StrEnum):
    """What happens at a commit. A database that fails may have committed all the same."""

    DIE_BEFORE = "die before"
    DIE_AFTER = "die after"
    FAIL_BEFORE = "fail before"
    FAIL_AFTER = "fail after"


class Life:
    """Counts the steps and the commits of one process, and at a given one ends it, or lets its database fail.

    ``full_at``: from its n-th change on the disk or commit on, nothing more can be written.
    """

    def __init__(
        self,
        die_at: int | None = None,
        at_commit: tuple[int, Blow] | None = None,
        full_at: int | None = None,
    ) -> None:
        self.steps = 0
        self.commits = 0
        self.dead = False
        self._die_at = die_at
        self._at_commit = at_commit
        self._full_at = full_at
        self._writes = 0
        self._changes = 0

    def step(self) -> None:
        """One more step; a dead process takes none, so that no clean-up of its own can hide what it left behind."""
        self.steps += 1
        if self.dead or self.steps == self._die_at:
            self.dead = True
            raise Killed

    def write(self) -> bool:
        """Something is to be written; False: the disk is full."""
        self._writes += 1
        return self._full_at is None or self._writes < self._full_at

    def begin(self, connection: Connection) -> None:
        """A transaction has begun."""
        self.step()
        self._changes = _changes(connection)

    def commit(self, connection: Connection) -> None:
        """A transaction is about to be committed; only those count that have changed something."""
        self.step()
        if _changes(connection) == self._changes:
            return
        self.commits += 1
        if not self.write():
            raise sqlite3.OperationalError("database or disk is full")
        number, blow = self._at_commit or (None, None)
        if self.commits != number:
            return
        if blow in (Blow.DIE_AFTER, Blow.FAIL_AFTER):
            connection.connection.commit()
        if blow in (Blow.FAIL_BEFORE, Blow.FAIL_AFTER):
            raise sqlite3.OperationalError("database or disk is full")
        self.dead = True
        raise Killed


class Interrupted(Reader):
    """A reader during whose first reading something else happens."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens = [happens]

    def read_cells(self, path: Path, filename: str, feed: Feed) -> Cells:
        while self._happens:
            self._happens.pop()()
        return super().read_cells(path, filename, feed)


class VirtualClock:
    """Both clocks of every process of a site; only waiting moves them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.ahead_s = 0.0
        """How much later the time of day is than it was at first, by someone's setting it."""
        self.life = Life()

    def monotonic(self) -> float:
        self.life.step()
        return self.now_s

    def utc(self) -> datetime:
        self.life.step()
        return EPOCH + timedelta(seconds=self.now_s + self.ahead_s)


class Silent:
    """Progress that nobody looks at."""

    def started(self, drop: Drop, posts: int) -> None: ...

    def advanced(self, drop: Drop, posts: int) -> None: ...

    def finished(self, drop: Drop, totals: Mapping[str, int], report: Path | None) -> None: ...

    def waiting(self, what: str, why: str) -> None: ...


class Site:
    """Folders, state, the ADS, and the clock."""

    def __init__(
        self,
        base: Path,
        dictionary: Dictionary,
        *feeds: Feed,
        faults: Sequence[Fault] = (),
        quick: bool = False,
        answers: str = "",
        **ads: Any,
    ) -> None:
        """Without ``feeds`` there is one, ``fx``. Further keywords are keys of ``[ads]``.

        ``answers``: a keyword of SimulatedAds that is true.

        ``quick``: all processes have one open state, in memory, and read files themselves; one such site at a time.
        """
        self.base = base
        self.dictionary = dictionary
        self.clock = VirtualClock()
        self.ads = SimulatedAds(dictionary, FaultScript(tuple(faults)), **({answers: True} if answers else {}))
        self.wire = Wire(self.ads)
        self.link: VirtualLink | None = None
        self.closed = ""
        """Why no file may be taken at present, for want of room; empty: it may."""
        self._has_forgotten = False  # what was recorded since the backup that was restored
        for feed in feeds or (make_feed("fx"),):
            (base / feed.folder).mkdir(parents=True, exist_ok=True)
        state = base / "state"
        self.settings = Settings(
            path=base / "config.toml",
            ads=Ads(**{"hosts": ("ads1:15000",), "target": "default", "user": "analyst", **ads}),
            state=StateTable(folder=state, url=f"sqlite:///{state}/state.db"),
            fields=Fields(),
            log=Log(),
            feeds=tuple(replace(feed, folder=base / feed.folder) for feed in feeds or (make_feed("fx"),)),
            sha256="0" * 64,
        )
        self._shared = shared_desk(self.settings, dictionary, self.clock) if quick else None

    # What analysts and operators do.

    def save(self, content: str | bytes, name: str = "prices.csv", feed: str = "fx", age_s: float = 0.0) -> Path:
        """Save a file, a moment after whatever was saved before; ``age_s``: with the mtime of so long ago."""
        self.clock.now_s += 1.0
        path = Path(self._feed(feed).folder) / name
        with _somebody_else():
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        saved_ns = int((EPOCH.timestamp() + self.clock.now_s - age_s) * 1_000_000_000)
        os.utime(path, ns=(saved_ns, saved_ns))
        return path

    def run(
        self,
        *,
        once: bool = True,
        scan: bool = True,
        die_at: int | None = None,
        full_at: int | None = None,
        at_commit: tuple[int, Blow] | None = None,
        meanwhile: Mapping[float, Callable[[Loop], object]] | None = None,
        aside: Aside = at_once,
    ) -> list[Finished]:
        """One process from its start to its end. ``meanwhile``: what happens so many seconds after its start."""
        life = self.clock.life = Life(die_at, at_commit, full_at)
        with self._new_process() as desk, _mortal(life, desk, self.base):
            self.link = VirtualLink(_session(desk), self.wire, self.clock)
            dice = Random(self.wire.connections)
            loop = Loop(desk, self.link, self._form, Silent(), aside=aside, dice=dice)
            for after_s, happens in (meanwhile or {}).items():
                self.link.at(self.clock.now_s + after_s, lambda happens=happens: happens(loop))
            if scan:
                for feed in self.settings.feeds:
                    loop.arrived(feed.name, self.scan(desk, feed))
            try:
                loop.run(once=once)
            finally:
                self.wire.hang_up()
            return loop.finished

    def task(self, work: Callable[[Task], T], *, die_at: int | None = None) -> T:
        """One process that reads items back, or posts again, at a person's wish."""
        life = self.clock.life = Life(die_at)
        with self._new_process() as desk, _mortal(life, desk, self.base):
            self.link = VirtualLink(_session(desk), self.wire, self.clock)
            try:
                return work(Task(desk, self.link, self._form))
            finally:
                self.wire.hang_up()

    def scan(self, desk: Desk, feed: Feed) -> Scan:
        """What a process's scans find once everything has settled."""
        spool = desk.settings.state.folder / "spool"
        folder = Folder(feed, spool, known(desk, feed), is_whole, self.clock.monotonic, lambda: self.closed)
        scan = folder.scan()
        while scan.next_look_s is not None and not scan.postponed:
            self.clock.now_s += scan.next_look_s
            scan = folder.scan()
        return scan

    def arrive(self, loop: Loop, feed: str = "fx") -> None:
        """The running process's watch looks at a folder again."""
        loop.arrived(feed, self.scan(loop._desk, self._feed(feed)))

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """The open state, with nothing in memory of what another process did."""
        if self._shared is not None:
            yield replace(self._shared, ledger=Ledger(self._shared.state))
            return
        desk = Desk.open(self.settings, self.dictionary, self.clock)
        with desk.state:
            yield desk

    @contextmanager
    def _new_process(self) -> Iterator[Desk]:
        if self._shared is not None:
            self._shared = reopened(self._shared)
        with self.desk() as desk:
            yield desk

    def adopt(self, choice: str, feed: str = "fx") -> list[Drop]:
        with self.desk() as desk:
            return arrivals.adopt(desk, feed, choice)

    def approve(self, drop_id: int) -> None:
        with self.desk() as desk:
            decisions.approve(desk, drop_id)

    def reject(self, drop_id: int, die_at: int | None = None) -> Path:
        life = self.clock.life = Life(die_at)
        with self.desk() as desk, _mortal(life, desk, self.base):
            return decisions.reject(desk, drop_id)

    def retry(self, drop_id: int) -> None:
        with self.desk() as desk:
            decisions.retry(desk, drop_id)

    def interrupted(self, decide: Callable[[Desk], object], happens: Callable[[], object]) -> None:
        """A person decides, and while that person's process reads a file something else happens."""
        with self.desk() as desk, Interrupted(happens) as reader:
            decide(replace(desk, reader=reader))

    def ads_restarts(self) -> None:
        """The ADS is gone for a moment, and with it its cache."""
        self.ads.items.forget()
        if self.link is not None:
            self.link.cut("the ADS restarts")

    @property
    def has_backup(self) -> bool:
        return (self.base / "backup.db").exists()

    def back_up(self) -> None:
        """Copy the database; of a quick site."""
        copied(self.base / "backup.db")

    def restore(self) -> None:
        """Put the last copy in the database's place; of a quick site that has one."""
        state, database = self.settings.state, self.settings.state.folder / "state.db"
        database.parent.mkdir(exist_ok=True)
        copied(database)
        self._has_forgotten = True
        restore(
            self.base / "backup.db",
            url=state.url,
            target=self.settings.ads.target,
            now_utc=self.clock.utc(),
        )
        put_back(database)

    # What can be seen afterwards.

    @property
    def posts(self) -> list[PostRecord]:
        """All posts that the ADS decoded."""
        return self.ads.posts

    def sent(self, since: int = 0) -> list[tuple[str, str, dict[str, str]]]:
        """The posts from the ``since``-th on as (kind, RIC, fields as written)."""
        return [(post.kind, post.ric, dict(post.fields)) for post in self.posts[since:]]

    def lied(self) -> set[Item]:
        """Items of which the ADS acknowledged a post that it did not apply."""
        return {(post.service, post.ric) for post in self.posts if post.verdict is Verdict.IGNORED}

    def wrong(self) -> set[Item]:
        """Items that the ADS does not hold as it acknowledged them; those of which nobody knows are no such."""
        dirty = self.dirty()
        known = {item: fields for item, fields in self.snapshot().items() if item not in dirty}
        return {item for item, fields in known.items() if not self._holds(item, fields)}

    def _holds(self, item: Item, fields: Mapping[str, object]) -> bool:
        if item not in self.ads.cache:
            return False
        known, held = not_blank(fields), not_blank(self.ads.cache[item])
        if self._has_forgotten and item in self.lied():  # what it did not clear may be anybody's to who reads it
            held = {name: value for name, value in held.items() if name in fields}
        return known == held

    def stubborn(self) -> set[Item]:
        """Items of which the state knows that the ADS held them otherwise although it acknowledged them twice."""
        with self.desk() as desk:
            told: dict[str, dict[str, object]] = json.loads(desk.state.get("stubborn") or "{}")
        return {(service, ric) for service, rics in told.items() for ric in rics}

    def cache(self) -> dict[Item, dict[str, object]]:
        """What the ADS holds."""
        return {item: dict(fields) for item, fields in self.ads.cache.items()}

    def value(self, ric: str, field: str, service: str = SERVICE) -> object:
        """One cached value; KeyError where the item or the field is not there."""
        return self.ads.cache[service, ric][field]

    def snapshot(self) -> dict[Item, dict[str, object]]:
        """What the state says that the ADS holds, in the cache's types."""
        with self.desk() as desk:
            return {(service, ric): values(fields) for service, ric, fields in desk.ledger.everything()}

    def dirty(self, drop_id: int | None = None) -> set[Item]:
        """Items of which nobody knows what the ADS holds; by a drop's fault, or (0) by a repair's."""
        with self.desk() as desk, desk.state.transaction() as connection:
            lost = [*rows(connection, _DIRTY), *in_flight.without_answer(connection)]
            return {(one.service, one.ric) for one in lost if drop_id in (None, one.drop_id)}

    def drops(self) -> list[Drop]:
        """All drops, in order."""
        with self.desk() as desk:
            return list(reversed(desk.drops.recent(limit=10_000)))

    def outcomes(self, drop_id: int) -> list[dict[str, Any]]:
        """The recorded rows of the drop's present run."""
        with self.desk() as desk, desk.state.transaction() as connection:
            return [row._asdict() for row in rows(connection, _OUTCOMES, of_drop=drop_id)]

    def totals(self, drop_id: int) -> dict[str, int]:
        """The drop's recorded counts, those that are not 0."""
        with self.desk() as desk:
            totals = desk.drops.totals(desk.drops.drop(drop_id))
        return {status: count for status, count in totals.items() if count}

    def report(self, drop_id: int) -> Path:
        """The CSV report of the drop's present run."""
        with self.desk() as desk:
            name = desk.drops.report(desk.drops.drop(drop_id))
        assert name is not None
        assert name.whole
        return Path(name.folder) / f"{name.base}.ack.csv"

    def reports(self, drop_id: int) -> list[Path]:
        """The CSV reports of all runs of a drop that have ended, in order."""
        with self.desk() as desk, desk.state.transaction() as connection:
            return [Path(row.folder, f"{row.base}.ack.csv") for row in rows(connection, _REPORTS, of_drop=drop_id)]

    def rows(self, drop_id: int) -> list[dict[str, str]]:
        """The report's rows."""
        return read_report(self.report(drop_id))

    def statuses(self, drop_id: int) -> dict[str, str]:
        """RIC to status, as the report has them; for drops without copies of a RIC."""
        return {row["ric"]: row["status"] for row in self.rows(drop_id)}

    def report_files(self) -> set[Path]:
        """Every report in every place."""
        found = ((folder, name) for folder, _, names in os.walk(self.base) for name in names)
        return {Path(folder, name) for folder, name in found if ".ack." in name}

    def is_backlog(self, path: Path) -> bool:
        """Whether a file was there, and old, when its feed's folder was first looked at."""
        with self.desk() as desk:
            files = [file for feed in self.settings.feeds for file in desk.drops.files(feed.name)]
        return any(Path(file.path) == path and file.state == "backlog" for file in files)

    def service(self, feed: str) -> str:
        """To what a feed posts."""
        return self._feed(feed).service

    def _feed(self, name: str) -> Feed:
        return next(feed for feed in self.settings.feeds if feed.name == name)

    def _form(self, service: str) -> PostFormat:
        on_stream = any(feed.service == service and feed.posting == "on-stream" for feed in self.settings.feeds)
        return PostFormat(service=service, address="127.0.0.1", user_id=7, on_stream=on_stream)


def make_feed(name: str, **keys: Any) -> Feed:
    """A feed whose files need no time to settle."""
    return Feed(**{"name": name, "folder": Path("inbox", name), "service": SERVICE, "settle_seconds": 0.0, **keys})


def sheet(*lines: str) -> str:
    """A CSV of these lines."""
    return "".join(f"{line}\n" for line in lines)


def many(count: int, *changed: str) -> str:
    """A sheet of so many RICs, and lines that replace its first."""
    lines = [f"R{number:04}=,{number}.5,{number}" for number in range(count)]
    lines[: len(changed)] = changed
    return sheet("RIC,BID,ASK", *lines)


def script(*faults: Fault) -> FaultRun:
    """These faults, from now on."""
    return FaultScript(faults).start()


def page_of(report: Path) -> Path:
    """The page beside a CSV report."""
    return report.with_name(report.name.removesuffix(".csv") + ".html")


def values(fields: str) -> dict[str, object]:
    """A JSON object of tokens in the types of the ADS's cache."""
    decoded: dict[str, object] = json.loads(fields, parse_float=Decimal, parse_int=Decimal)
    return decoded


def read_report(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV report."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def not_blank(fields: Mapping[str, object]) -> dict[str, object]:
    """What a reader sees: a field that is not there is blank as well."""
    return {name: value for name, value in fields.items() if value is not None}


def _session(desk: Desk) -> Session:
    ads = desk.settings.ads
    limits = Limits(window=ads.window, pack=ads.pack, rate_limit=ads.rate_limit, ack_timeout_s=ads.ack_timeout_s)
    return Session(Login(user="analyst", app_id="256", position="127.0.0.1"), limits)


# --- dying


def _changes(connection: Connection) -> int:
    """Rows that were ever changed by way of this connection."""
    found: int = connection.connection.dbapi_connection.total_changes
    return found


_DISK_STEPS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir"})
_alive: list[tuple[Life, str]] = []


def _on_audit(name: str, arguments: tuple[Any, ...]) -> None:
    """Each change on the disk is a step. CPython has no means to take an audit hook away again."""
    if name not in _DISK_STEPS or not _alive:
        return
    life, base = _alive[-1]
    reads = name == "open" and not (isinstance(arguments[1], str) and arguments[1][0] in "wxa")
    if not reads and os.fsdecode(_path(arguments)).startswith(base):
        life.step()
        if _writes(name, arguments) and not life.write():
            raise OSError(errno.ENOSPC, "No space left on device")


def _writes(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether it needs room on the disk: not so where a folder is opened to be flushed, or something is removed."""
    if name == "open":
        return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return name in ("os.link", "os.mkdir")


def _path(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""


sys.addaudithook(_on_audit)


@contextmanager
def _somebody_else() -> Iterator[None]:
    """What is written is no step of the process that runs."""
    process, _alive[:] = list(_alive), []
    try:
        yield
    finally:
        _alive[:] = process


@contextmanager
def _mortal(life: Life, desk: Desk, base: Path) -> Iterator[None]:
    """What the process does to its disk and its database counts as steps of its life."""
    state, begun = desk.state, desk.state._begun

    @contextmanager
    def mortal() -> Iterator[Connection]:
        with begun() as connection:
            life.begin(connection)
            yield connection
            life.commit(connection)

    state._begun = mortal  # type: ignore[method-assign]
    _alive.append((life, str(base)))
    try:
        yield
    finally:
        _alive.pop()
        state._begun = begun  # type: ignore[method-assign]
