"""Drops, the files that they came from, and their reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Executable, Table, bindparam, delete, func, insert, select, update

from contrib_watch.core.chain import Witness, canonical
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Drop, DropStatus, Source, Status
from contrib_watch.core.settle import LatestDrop, Signature, Verdict
from contrib_watch.store import schema
from contrib_watch.store.outcomes import run_of
from contrib_watch.store.prepared import execute, first, rows, scalar, scalars
from contrib_watch.store.record import ROW_COLUMNS, Leaves, leaves_of, outcome_leaves, utc_text
from contrib_watch.store.state import State

PENDING = (DropStatus.WAITING, DropStatus.SENDING)
"""Drops on which work goes on."""

# Statements that are made once: to put one together costs several times what SQLite needs for it.
_drops, _reports, _runs = schema.drops.c, schema.reports.c, schema.runs.c
_IS_DROP = _drops.id == bindparam("of_drop")
_IS_FEED = _drops.feed == bindparam("of_feed")


def _of_run(table: Table) -> tuple[ColumnElement[bool], ...]:
    return table.c.drop_id == bindparam("of_drop"), table.c.run == bindparam("of_run")


_FIRST_SCAN = select(schema.feeds.c.first_scan_utc).where(schema.feeds.c.name == bindparam("of_feed"))
_ADD_FEED = insert(schema.feeds)
_WATCHED = select(schema.feeds.c.name)
_FILES = select(schema.files).where(schema.files.c.feed == bindparam("of_feed")).order_by(schema.files.c.name)
_IS_FILE = schema.files.c.feed == bindparam("of_feed"), schema.files.c.name == bindparam("of_name")
_FILE = select(schema.files).where(*_IS_FILE)
_NO_FILE = delete(schema.files).where(*_IS_FILE)
_ADD_FILE = insert(schema.files)
_DROP = select(schema.drops).where(_IS_DROP)
_PENDING = select(schema.drops).where(_drops.status.in_(PENDING)).order_by(_drops.id)
_NEWER = select(schema.drops).where(_IS_FEED, _drops.id > bindparam("of_drop")).order_by(_drops.id)
_OTHERS = select(schema.drops).where(_IS_FEED, _drops.id != bindparam("of_drop")).order_by(_drops.id)
_RECENT = select(schema.drops).order_by(_drops.id.desc()).limit(bindparam("most"))
_LATEST = (
    select(schema.drops).where(_IS_FEED, _drops.path == bindparam("of_path")).order_by(_drops.id.desc()).limit(1)
)
_OF_CONTENT = (
    select(schema.drops)
    .where(_IS_FEED, _drops.sha256 == bindparam("of_content"), _drops.mtime_ns == bindparam("of_mtime"))
    .where(_drops.origin == "")
    .order_by(_drops.id.desc())
    .limit(1)
)
_NEWEST = select(func.max(_drops.id)).where(_IS_FEED)
_NEEDED = select(_drops.sha256).where(_drops.status.in_((*PENDING, DropStatus.HELD)))
_IN_BACKLOG = select(schema.files.c.sha256).where(schema.files.c.state == Verdict.BACKLOG)
_OVER = (
    select(_drops.sha256, _drops.feed, func.max(_drops.seen_at_utc))
    .where(_drops.sha256 != "", _drops.sha256.not_in(_NEEDED), _drops.sha256.not_in(_IN_BACKLOG))
    .group_by(_drops.sha256, _drops.feed)
)
_FINDINGS = select(_drops.findings).where(_IS_DROP)
_TOTALS = select(_drops.totals).where(_IS_DROP)
_TOTALS_BEFORE = (
    select(_drops.totals)
    .where(_drops.status == DropStatus.DONE, _IS_FEED, _drops.id < bindparam("of_drop"))
    .order_by(_drops.id.desc())
    .limit(1)
)
_ADD_DROP = insert(schema.drops)
_CHANGE = update(schema.drops).where(_IS_DROP)
_NO_RUN = delete(schema.runs).where(*_of_run(schema.runs))
_ADD_RUN = insert(schema.runs)
_WITNESS = (
    select(schema.record.c.number, schema.record.c.sha256)
    .join(schema.runs, _runs.record == schema.record.c.number)
    .where(*_of_run(schema.runs))
)
_EARLIER_RUNS = (
    select(schema.record.c.text)
    .join(schema.runs, _runs.record == schema.record.c.number)
    .where(_runs.drop_id == bindparam("of_drop"), _runs.run < bindparam("of_run"))
)
_DECISIONS = (
    select(schema.record.c.text)
    .where(schema.record.c.drop_id == bindparam("of_drop"), schema.record.c.kind == "decision")
    .order_by(schema.record.c.number)
)
_REPORT = select(schema.reports).where(*_of_run(schema.reports))
_NO_REPORT = delete(schema.reports).where(*_of_run(schema.reports))
_ADD_REPORT = insert(schema.reports)
_REPORT_WHOLE = update(schema.reports).where(*_of_run(schema.reports)).values(whole=True)
_REPORT_NAMED = (
    select(_reports.drop_id)
    .where(_reports.folder == bindparam("of_folder"), _reports.base == bindparam("of_base"))
    .limit(1)
)
_UNREPORTED = (
    select(schema.drops)
    .join(schema.reports, (_reports.drop_id == _drops.id) & (_reports.run == _drops.run))
    .where(_reports.whole.is_(False), _drops.status.not_in(PENDING))
    .order_by(_drops.id)
)

_BEGUN = "begun "
"""Begins the meta keys that tell, by feed, of the drop begun last: number, run, Service, reading, as JSON."""
_ALL_BEGUN = select(schema.meta.c.value).where(schema.meta.c.key.startswith(_BEGUN))


class Begun(NamedTuple):
    """How a run of a drop began to be sent."""

    service: str
    """To which Service."""
    reading: Mapping[str, Any]
    """What its file is read by: each value is JSON."""


def begun_for(connection: Connection) -> dict[tuple[int, int], str]:
    """Number and run of each feed's drop that was begun last, to the Service that it is for."""
    begun = map(json.loads, scalars(connection, _ALL_BEGUN))
    return {(drop_id, run): service for drop_id, run, service, *_ in begun}


@dataclass(frozen=True, kw_only=True)
class SeenFile:
    """A file of a feed's folder as it was last looked at."""

    feed: str
    name: str
    path: str
    signature: Signature
    state: str
    """``new``, ``held``, ``same``, ``backlog`` or ``ignored``."""
    reason: str
    sha256: str
    owner: str
    drop_id: int | None

    def decided(self, state: str, reason: str, drop_id: int | None = None) -> SeenFile:
        """The same file after a decision about it."""
        return replace(self, state=state, reason=reason, drop_id=drop_id)


@dataclass(frozen=True, kw_only=True)
class ReportName:
    """A reserved report: ``folder / (base + ".ack.csv")``, and the same with ``.ack.html``."""

    folder: str
    base: str
    whole: bool


class Drops:
    """The drops of a state."""

    def __init__(self, state: State) -> None:
        self._state = state

    # Files and feeds.

    def feed_is_new(self, feed: str) -> bool:
        """No scan of the feed's folder was recorded yet."""
        return self.watched_since(feed) is None

    def feed_scanned(self, feed: str, now_utc: datetime) -> None:
        """The feed's folder was scanned: from now on an old file is no backlog."""
        with self._state.transaction() as connection:
            if self.feed_is_new(feed):
                execute(connection, _ADD_FEED, name=feed, first_scan_utc=utc_text(now_utc))

    def watched_since(self, feed: str) -> str | None:
        """When the feed's folder was first looked at; None: never."""
        with self._state.transaction() as connection:
            since: str | None = scalar(connection, _FIRST_SCAN, of_feed=feed)
            return since

    def watched(self) -> set[str]:
        """The feeds whose folders were ever looked at, whether they are configured or not."""
        with self._state.transaction() as connection:
            return set(scalars(connection, _WATCHED))

    def dropped_between(self, feed: str, begin_utc: datetime, end_utc: datetime) -> bool:
        """Whether a file of the feed became a drop in that time, both ends included; not an adopted one."""
        table = schema.drops
        seen = table.c.seen_at_utc.between(utc_text(begin_utc), utc_text(end_utc))
        query = select(table.c.id).where(table.c.feed == feed, seen, table.c.origin == "", table.c.adopted.is_(False))
        with self._state.transaction() as connection:
            return connection.scalar(query.limit(1)) is not None

    def contents_over(self) -> dict[str, dict[str, str]]:
        """The contents that no unfinished or held drop and no backlog needs.

        SHA-256 to the feeds whose drops had it, each with when the last of them was seen.
        """
        found: dict[str, dict[str, str]] = {}
        with self._state.transaction() as connection:
            for sha256, feed, last_seen_utc in rows(connection, _OVER):
                found.setdefault(sha256, {})[feed] = last_seen_utc
        return found

    def backlog(self) -> dict[str, int]:
        """Feed to the number of its old files about which nobody has decided."""
        table = schema.files
        query = select(table.c.feed, func.count().label("files")).where(table.c.state == Verdict.BACKLOG)
        with self._state.transaction() as connection:
            return {row.feed: row.files for row in connection.execute(query.group_by(table.c.feed))}

    def note_absence(self, feed: str, day: date, due_utc: datetime, now_utc: datetime) -> bool:
        """Record that no file came on that day; False where that is recorded already."""
        table = schema.absences
        known = select(table.c.feed).where(table.c.feed == feed, table.c.day == day.isoformat())
        with self._state.transaction() as connection:
            if connection.scalar(known) is not None:
                return False
            facts = {"feed": feed, "day": day.isoformat(), "due_utc": utc_text(due_utc)}
            connection.execute(insert(table).values(**facts, told_at_utc=utc_text(now_utc)))
            self._state.append("absence", facts)
            return True

    def files(self, feed: str) -> list[SeenFile]:
        """Every file of the feed that was decided about, by name."""
        with self._state.transaction() as connection:
            return [_seen_file(row) for row in rows(connection, _FILES, of_feed=feed)]

    def file(self, feed: str, name: str) -> SeenFile | None:
        """What was decided last about a file of this name."""
        with self._state.transaction() as connection:
            row = first(connection, _FILE, of_feed=feed, of_name=name)
        return None if row is None else _seen_file(row)

    def remember(self, file: SeenFile) -> None:
        """Record what was decided about a file."""
        values = {
            "feed": file.feed,
            "name": file.name,
            "path": file.path,
            "size_bytes": file.signature.size_bytes,
            "mtime_ns": str(file.signature.mtime_ns),
            "ctime_ns": file.signature.ctime_ns,
            "inode": str(file.signature.inode),
            "state": file.state,
            "reason": file.reason,
            "sha256": file.sha256,
            "owner": file.owner,
            "drop_id": file.drop_id,
        }
        with self._state.transaction() as connection:
            execute(connection, _NO_FILE, of_feed=file.feed, of_name=file.name)
            execute(connection, _ADD_FILE, **values)

    # Drops.

    def latest(self, feed: str, path: str) -> LatestDrop | None:
        """The newest drop of a path, with what decides whether its content may come again."""
        return self._latest(_LATEST, of_feed=feed, of_path=path)

    def of_content(self, feed: str, sha256: str, mtime_ns: int) -> LatestDrop | None:
        """The same of the newest drop of a file with this content and mtime, whatever its name was."""
        return self._latest(_OF_CONTENT, of_feed=feed, of_content=sha256, of_mtime=str(mtime_ns))

    def _latest(self, query: Executable, *, of_feed: str, **values: str) -> LatestDrop | None:
        with self._state.transaction() as connection:
            row = first(connection, query, of_feed=of_feed, **values)
            if row is None:
                return None
            newest = scalar(connection, _NEWEST, of_feed=of_feed)
        return LatestDrop(
            id=row.id,
            sha256=row.sha256,
            mtime_ns=int(row.mtime_ns),
            is_feed_latest=row.id == newest,
            has_problem_rows=row.has_problem_rows or row.status in (DropStatus.REJECTED, DropStatus.FAILED),
        )

    def accept(
        self,
        *,
        feed: str,
        path: str,
        sha256: str,
        size_bytes: int,
        mtime_ns: int,
        owner: str,
        seen_at_utc: datetime,
        held_because: str = "",
        adopted: bool = False,
        owner_source: str = Source.FILE_OWNER,
        origin: str = "",
    ) -> Drop:
        """Number a new drop; ``held_because``: why a person has to decide about it first."""
        with self._state.transaction() as connection:
            facts = {
                "feed": feed,
                "path": path,
                "sha256": sha256,
                "size_bytes": size_bytes,
                "mtime_ns": str(mtime_ns),
                "owner": owner,
                "owner_source": owner_source,
                "origin": origin,
                "seen_at_utc": utc_text(seen_at_utc),
                "adopted": adopted,
                "held_because": held_because,
            }
            added = execute(connection, _ADD_DROP, **facts, status=DropStatus.WAITING)
            drop = self.drop(int(added.lastrowid or 0))
            self._state.append("drop", {"drop": drop.id, **facts}, drop.id)
            return drop

    def drop(self, drop_id: int) -> Drop:
        """One drop; KeyError where the number is not given to any."""
        found = self._select(_DROP, of_drop=drop_id)
        if not found:
            raise KeyError(drop_id)
        return found[0]

    def pending(self) -> list[Drop]:
        """Drops that wait or are being sent, in order."""
        return self._select(_PENDING)

    def newer(self, drop: Drop) -> list[Drop]:
        """Later drops of the same feed, in order, whatever became of them.

        Later is a higher number, and for an adopted drop, which was numbered long after it was saved, a later mtime.
        """
        if not drop.adopted:
            return self._select(_NEWER, of_feed=drop.feed, of_drop=drop.id)
        others = self._select(_OTHERS, of_feed=drop.feed, of_drop=drop.id)
        return [one for one in others if one.id > drop.id or one.mtime_ns > drop.mtime_ns]

    def recent(self, limit: int = 20) -> list[Drop]:
        """The newest drops, newest first."""
        return self._select(_RECENT, most=limit)

    def with_status(self, *statuses: DropStatus) -> list[Drop]:
        """All drops in one of these states, in order."""
        return self._select(_with_status(statuses))

    def counts(self) -> dict[str, dict[str, int]]:
        """Feed to status to the number of its drops."""
        table = schema.drops
        query = select(table.c.feed, table.c.status, func.count()).group_by(table.c.feed, table.c.status)
        counted: dict[str, dict[str, int]] = {}
        with self._state.transaction() as connection:
            for feed, status, count in connection.execute(query):
                counted.setdefault(feed, {})[status] = count
        return counted

    def set_status(self, drop: Drop, status: DropStatus, reason: str = "") -> Drop:
        """Move a drop on."""
        with self._state.transaction():
            if status is DropStatus.FAILED:
                facts = {"drop": drop.id, "run": drop.run, "status": status, "reason": reason}
                self._state.append("failure", {**facts, "leaves": self._leaves(drop)._asdict()}, drop.id)
            return self._change(drop, status=status, reason=reason)

    def begin(self, drop: Drop, begun: Begun) -> Drop:
        """A drop is on its way."""
        with self._state.transaction():
            self._state.put(f"{_BEGUN}{drop.feed}", json.dumps([drop.id, drop.run, *begun]))
            return self.set_status(drop, DropStatus.SENDING)

    def begun(self, drop: Drop) -> Begun | None:
        """How the present run of a drop began to be sent; None: it did not begin."""
        told = json.loads(self._state.get(f"{_BEGUN}{drop.feed}") or "[]")
        return Begun(*told[2:]) if told[:2] == [drop.id, drop.run] else None

    def finish(
        self,
        drop: Drop,
        *,
        totals: Mapping[str, int],
        findings: Findings,
        has_problem_rows: bool,
        now_utc: datetime,
        service: str = "",
        told: Mapping[str, Any] | None = None,
        leaves: Leaves | None = None,
    ) -> Drop:
        """A drop is over, with the status and the reason that it has: ``totals`` counts its rows by status.

        ``told`` is what its record says beside that, of JSON's types; ``sheet`` and ``places`` are those of Quotes.
        ``leaves`` are its rows' (Ledger.leaves); None: they are read from the table.
        """
        with self._state.transaction() as connection:
            facts = {
                **(told or {}),
                "drop": drop.id,
                "run": drop.run,
                "feed": drop.feed,
                "path": drop.path,
                "sha256": drop.sha256,
                "service": service,
                "status": drop.status,
                "reason": drop.reason,
                "totals": dict(totals),
                "findings": asdict(findings),
                "leaves": (leaves or self._leaves(drop))._asdict(),
                "has_problem_rows": has_problem_rows,
                "finished_at_utc": utc_text(now_utc),
            }
            record = self._state.append("run", facts, drop.id)
            execute(connection, _NO_RUN, **run_of(drop))
            places = {"sheet": facts.get("sheet", ""), "places": canonical(facts.get("places", {}))}
            added = {"drop_id": drop.id, "run": drop.run, "service": service, "record": record.number, **places}
            execute(connection, _ADD_RUN, **added)
            return self._change(
                drop,
                status=drop.status,
                reason=drop.reason,
                totals=json.dumps(totals),
                findings=json.dumps(asdict(findings)),
                has_problem_rows=has_problem_rows,
                finished_at_utc=facts["finished_at_utc"],
            )

    def witness(self, drop: Drop) -> Witness | None:
        """The record of the drop's present run; None: it is not over, or older than the record."""
        with self._state.transaction() as connection:
            row = first(connection, _WITNESS, **run_of(drop))
        return None if row is None else Witness(row.number, row.sha256)

    def was_done(self, drop: Drop) -> bool:
        """Whether an earlier run of the drop was done, whatever became of it since."""
        with self._state.transaction() as connection:
            records = map(json.loads, scalars(connection, _EARLIER_RUNS, **run_of(drop)))
            return any(one["body"]["status"] == DropStatus.DONE for one in records)

    def decide(self, drop: Drop, *, approved: bool, hold: str = "", told: Mapping[str, Any] | None = None) -> Drop:
        """Process a drop again, as its next run, which is not held where a person has approved it.

        What was known against it before it was read is settled for good by an approval, and for no other run else;
        ``hold`` is what is to be said against it from now on. ``told`` is what the record says of the decision.
        """
        with self._state.transaction():
            self.note_decision(drop, {**(told or {}), "approved": approved})
            return self._change(
                drop,
                status=DropStatus.WAITING,
                reason="",
                held_because="" if approved else hold or drop.held_because,
                run=drop.run + 1,
                approved=approved,
                totals="{}",  # the last run's are in its record
            )

    def note_decision(self, drop: Drop, told: Mapping[str, Any]) -> None:
        """Record what a person said about a drop, for its next run."""
        self._state.append("decision", {**told, "drop": drop.id, "run": drop.run + 1}, drop.id)

    def decisions(self, drop: Drop, run: int) -> list[dict[str, Any]]:
        """What the record tells of the decisions for one run of a drop, in order; ``at_utc`` is when it was taken."""
        with self._state.transaction() as connection:
            records = [json.loads(text) for text in scalars(connection, _DECISIONS, of_drop=drop.id)]
        return [{**one["body"], "at_utc": one["at_utc"]} for one in records if one["body"].get("run") == run]

    def findings(self, drop: Drop) -> Findings:
        """What finish() recorded."""
        with self._state.transaction() as connection:
            text = scalar(connection, _FINDINGS, of_drop=drop.id)
        found = json.loads(text or "{}")
        return Findings.of(found)

    def totals(self, drop: Drop) -> dict[str, int]:
        """The row counts that finish() recorded."""
        with self._state.transaction() as connection:
            text = scalar(connection, _TOTALS, of_drop=drop.id)
        return dict(json.loads(text or "{}"))

    def follows_an_overtaken(self, drop: Drop) -> bool:
        """Whether the last drop of its feed that was sent gave way to a newer one before all of it was."""
        with self._state.transaction() as connection:
            text = scalar(connection, _TOTALS_BEFORE, of_feed=drop.feed, of_drop=drop.id)
        return bool(json.loads(text or "{}").get(Status.SUPERSEDED.value))

    # Reports.

    def report(self, drop: Drop) -> ReportName | None:
        """The report of the drop's present run, if its name was reserved."""
        with self._state.transaction() as connection:
            row = first(connection, _REPORT, **run_of(drop))
        return None if row is None else ReportName(folder=row.folder, base=row.base, whole=row.whole)

    def reserve_report(self, drop: Drop, *, folder: str, base: str) -> ReportName:
        """Give the drop's present run a report name, before it is written; a second call replaces an unused one."""
        with self._state.transaction() as connection:
            execute(connection, _NO_REPORT, **run_of(drop))
            execute(connection, _ADD_REPORT, drop_id=drop.id, run=drop.run, folder=folder, base=base)
        return ReportName(folder=folder, base=base, whole=False)

    def unreported(self) -> list[Drop]:
        """Drops that are over, but whose report is not on the disk yet."""
        return self._select(_UNREPORTED)

    def report_taken(self, *, folder: str, base: str) -> bool:
        """Whether some drop has reserved this name."""
        with self._state.transaction() as connection:
            return scalar(connection, _REPORT_NAMED, of_folder=folder, of_base=base) is not None

    def report_whole(self, drop: Drop, sha256: Mapping[str, str] | None = None) -> None:
        """The report is on the disk, under its reserved name; ``sha256`` of its files, by their names."""
        with self._state.transaction() as connection:
            folder = first(connection, _REPORT, **run_of(drop)).folder
            body = {"drop": drop.id, "run": drop.run, "folder": folder, "sha256": dict(sha256 or {})}
            self._state.append("report", body, drop.id)
            execute(connection, _REPORT_WHOLE, **run_of(drop))

    def _leaves(self, drop: Drop) -> Leaves:
        with self._state.transaction() as connection:
            return leaves_of(outcome_leaves(connection, drop.id, drop.run), ROW_COLUMNS)

    def _change(self, drop: Drop, **values: Any) -> Drop:
        with self._state.transaction() as connection:
            execute(connection, _CHANGE, of_drop=drop.id, **values)
            return self.drop(drop.id)

    def _select(self, query: Executable, **wanted: Any) -> list[Drop]:
        with self._state.transaction() as connection:
            return list(map(_drop, rows(connection, query, **wanted)))


@cache
def _with_status(statuses: tuple[DropStatus, ...]) -> Executable:
    return select(schema.drops).where(_drops.status.in_(statuses)).order_by(_drops.id)


def _drop(row: Any) -> Drop:
    return Drop(
        id=row.id,
        feed=row.feed,
        path=row.path,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        mtime_ns=int(row.mtime_ns),
        seen_at_utc=datetime.fromisoformat(row.seen_at_utc),
        status=DropStatus(row.status),
        reason=row.reason,
        held_because=row.held_because,
        owner=row.owner,
        owner_source=row.owner_source,
        origin=row.origin,
        run=row.run,
        adopted=row.adopted,
        approved=row.approved,
    )


def _seen_file(row: Any) -> SeenFile:
    return SeenFile(
        feed=row.feed,
        name=row.name,
        path=row.path,
        signature=Signature(row.size_bytes, int(row.mtime_ns), row.ctime_ns, int(row.inode)),
        state=row.state,
        reason=row.reason,
        sha256=row.sha256,
        owner=row.owner,
        drop_id=row.drop_id,
    )
