"""Whether the record is whole, and is what the tables beside it say.

Somebody who may write to the database can change a row, a record, or compute a whole new chain. The first two show in
the database itself. The last does not, and neither does a chain that was cut where nothing beside it was left: only
what left the machine tells, which are the hashes in the reports on the share.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, select, tuple_

from contrib_watch.core.chain import BEGINNING, canonical
from contrib_watch.store import schema
from contrib_watch.store.drops import PENDING
from contrib_watch.store.prepared import first
from contrib_watch.store.proven_values import unexplained
from contrib_watch.store.record import ALL_FEEDS, HEAD, PAUSES, leaves_of, outcome_leaves, repair_leaves
from contrib_watch.store.state import State

_AT_ONCE = 1_000
_outcomes = schema.outcomes.c
_RUN = select(_outcomes.drop_id, _outcomes.run).order_by(_outcomes.drop_id, _outcomes.run).limit(1)
_FIRST_RUN = _RUN.where(_outcomes.drop_id > bindparam("after"))
_NEXT_RUN = _RUN.where(
    tuple_(_outcomes.drop_id, _outcomes.run) > tuple_(bindparam("drop", type_=Integer), bindparam("after"))
)
_OF_A_DROP = ("feed", "path", "sha256", "owner", "mtime_ns", "size_bytes", "adopted", "seen_at_utc")
"""What the table of drops says and no later step changes."""
_OF_A_PAUSE = ("name", "source", "account", "why")
_SINCE_ORIGIN = {"owner_source": "file owner", "origin": ""}
"""The same of later versions, with what is meant where an older version's record lacks it."""
_OF_AN_END = ("finished_at_utc", "has_problem_rows")
"""What the table of drops and the record of a run that is over both say; those of older versions do not."""


@dataclass(frozen=True)
class Misfit:
    """Something that does not fit the record."""

    record: int | None
    """The number of the first record concerned; None: none of them, but what stands beside them."""
    what: str

    def __str__(self) -> str:
        return f"record {self.record}: {self.what}" if self.record else self.what


@dataclass(frozen=True)
class Proven:
    """What came of looking at the whole record."""

    records: int
    rows: int
    """Outcomes and repairs that the record stands for."""
    head: tuple[int, str]
    """Number and hash of the last record; (0, ...) where there is none."""
    misfit: Misfit | None
    """The first thing that does not fit."""
    contents: dict[str, int]
    """SHA-256 of every content that should still be kept, with the number of the record that first names it."""
    gaps: tuple[tuple[int, int], ...] = ()
    """Numbers that restored backups left out, the first and the last of each: what they were is not in this state."""


class _Broken(Exception):  # noqa: N818 - a finding, no fault of the program
    """The first misfit."""

    def __init__(self, what: str, record: int | None = None) -> None:
        super().__init__(what)
        self.misfit = Misfit(record, what)


@dataclass
class _Seen:
    """What the records so far say."""

    number: int = 0
    sha256: str = BEGINNING
    records: int = 0
    rows: int = 0
    drops_before: int = 0
    """Drops up to this number are older than the record."""
    drops: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What was recorded of each drop."""
    ends: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    """By drop and run: how its last record says that it ended."""
    runs: dict[tuple[int, int], tuple[str, str, str, int]] = field(default_factory=dict)
    """By drop and run: Service, sheet, places and number of the record, as the table of runs has them."""
    reports: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    """By drop and run: what was recorded of its report."""
    contents: dict[str, int] = field(default_factory=dict)
    begun_utc: str = ""
    """When the record began."""
    decisions: dict[tuple[int, int], bool] = field(default_factory=dict)
    """By drop and the run that they were for: whether it was approved."""
    repairs: list[tuple[int, int]] = field(default_factory=list)
    """The first and the last number of the repairs of which a record tells."""
    pauses: dict[str, dict[str, Any]] = field(default_factory=dict)
    absences: set[tuple[str, str, str]] = field(default_factory=set)
    """Feed, day and when a file was due."""
    gaps: list[tuple[int, int]] = field(default_factory=list)


def prove(state: State, progress: Callable[[int], object] = lambda _: None) -> Proven:
    """Look at every record, at every row that one stands for, and at whether all drops and rows are recorded.

    ``progress`` is told how many more rows were looked at.
    """
    seen, misfit = _Seen(), None
    with state.transaction() as connection:
        try:
            for row in _records(connection):
                body = _checked(row, seen)
                before = seen.rows
                _look_at(connection, row, body, seen)
                _check_state_id(state, row, body)
                progress(seen.rows - before)
                seen.number, seen.sha256, seen.records = row.number, row.sha256, seen.records + 1
            _check_head(state, seen)
            _check_drops(connection, seen)
            _check_absences(connection, seen)
            _check_runs(connection, seen)
            _check_reports(connection, seen)
            _check_rows(connection, seen)
            _check_repairs(connection, seen)
            _check_pauses(state, seen)
            _check_values(connection, seen)
        except _Broken as broken:
            misfit = broken.misfit
    head = (seen.number, seen.sha256)
    return Proven(seen.records, seen.rows, head, misfit, seen.contents, tuple(seen.gaps))


def hash_of(state: State, number: int) -> str | None:
    """The hash of a record; None where there is no such record."""
    table = schema.record
    with state.transaction() as connection:
        return connection.scalar(select(table.c.sha256).where(table.c.number == number))


def _records(connection: Connection) -> Iterator[Row[Any]]:
    query = select(schema.record).order_by(schema.record.c.number)
    for rows in connection.execute(query, execution_options={"yield_per": _AT_ONCE}).partitions():
        yield from rows


def _checked(row: Row[Any], seen: _Seen) -> dict[str, Any]:
    """The body of the next record, which fits those before it."""
    number = row.number
    try:
        told = json.loads(row.text)
        body: dict[str, Any] = told["body"]
        sound = canonical(told) == row.text
    except (ValueError, TypeError, KeyError):
        raise _Broken("its text is none of a record: it was changed", number) from None
    if sha256(row.text.encode()).hexdigest() != row.sha256 or not sound:
        raise _Broken("its text does not have the hash that stands beside it: one of them was changed", number)
    if number != seen.number + 1 and not (told["kind"] == "restored" and number > seen.number):
        raise _Broken(f"it is missing, and record {number} comes next", seen.number + 1)
    if told["previous"] != seen.sha256:
        before = f"record {seen.number}" if seen.number else "the beginning"
        what = f"it does not follow {before}, but something with another hash: one of them was changed or exchanged"
        raise _Broken(what, number)
    if (told["number"], told["kind"], body.get("drop")) != (number, row.kind, row.drop_id):
        raise _Broken("the columns beside its text are not what the text says", number)
    if number > seen.number + 1:
        seen.gaps.append((seen.number + 1, number - 1))
    return body


def _check_state_id(state: State, row: Row[Any], body: dict[str, Any]) -> None:
    """The state is the one with which its record begins."""
    if row.kind == "state" and body["state_id"] != state.state_id:
        what = f"it was made for state {body['state_id']}, and this is state {state.state_id}: one was exchanged"
        raise _Broken(what, row.number)


def _look_at(connection: Connection, row: Row[Any], body: dict[str, Any], seen: _Seen) -> None:
    """Note what a record says, and compare its rows."""
    number, kind = row.number, row.kind
    if kind == "state":
        seen.drops_before, seen.begun_utc = body["drops_before"], json.loads(row.text)["at_utc"]
    elif kind == "drop":
        seen.drops[body["drop"]] = body
        if body["sha256"]:
            seen.contents.setdefault(body["sha256"], number)
    elif kind == "environment":
        for content in body["kept"]:
            seen.contents.setdefault(content, number)
    elif kind == "retired":
        for content in body["contents"]:
            seen.contents.pop(content, None)
    elif kind == "absence":
        seen.absences.add((body["feed"], body["day"], body["due_utc"]))
    elif kind in ("run", "failure"):
        leaves = outcome_leaves(connection, body["drop"], body["run"], body["leaves"]["columns"])
        _compare(leaves, body, f"outcomes of drop {body['drop']}, run {body['run']}", number, seen)
        before = seen.ends.get((body["drop"], body["run"]), {})
        seen.ends[body["drop"], body["run"]] = {**before, **body}
        if kind == "run":
            places = canonical(body.get("places", {}))
            seen.runs[body["drop"], body["run"]] = (body["service"], body.get("sheet", ""), places, number)
    elif kind == "report":
        seen.reports[body["drop"], body["run"]] = body
    elif kind == "decision":
        _note_decision(body, seen)
    elif kind == "repairs":
        seen.repairs.append((body["first"], body["last"]))
        leaves = repair_leaves(connection, body["first"], body["last"], body["leaves"]["columns"])
        _compare(leaves, body, f"repairs {body['first']} to {body['last']}", number, seen)


def _note_decision(body: dict[str, Any], seen: _Seen) -> None:
    if "run" in body:
        seen.decisions[body["drop"], body["run"]] = body.get("approved", False)
    elif body["decision"] == "pause":
        seen.pauses[body["feed"] or ALL_FEEDS] = {name: body[name] for name in _OF_A_PAUSE}
    elif body["decision"] == "resume":
        for feed in (body["feed"],) if body["feed"] else tuple(seen.pauses):
            seen.pauses.pop(feed, None)


def _compare(leaves: Iterator[bytes], body: dict[str, Any], whose: str, number: int, seen: _Seen) -> None:
    told = body["leaves"]
    found = leaves_of(leaves, told["columns"])
    if found.rows != told["rows"]:
        raise _Broken(f"it stands for {told['rows']:,} {whose}, and the table has {found.rows:,}", number)
    if found.root != told["root"]:
        raise _Broken(f"the {whose} are not those that were recorded: at least one of them was changed", number)
    seen.rows += found.rows


def _check_head(state: State, seen: _Seen) -> None:
    told = (state.get(HEAD) or "0 ").split()
    if [str(seen.number), seen.sha256] != told:
        raise _Broken(f"the record ends with number {seen.number}, and once it ended with number {told[0]}")


def _check_drops(connection: Connection, seen: _Seen) -> None:
    """Every drop has its record, and each record its drop."""
    listed = {row.id: row for row in connection.execute(select(schema.drops)) if row.id > seen.drops_before}
    for drop_id in sorted(listed.keys() ^ seen.drops.keys()):
        raise _Broken(f"drop {drop_id} has no {'record' if drop_id in listed else 'row in the table of drops'}")
    last_ended: dict[int, int] = {}
    for drop_id, run in seen.ends:
        last_ended[drop_id] = max(run, last_ended.get(drop_id, 0))
    for drop_id, row in listed.items():
        told = seen.drops[drop_id]
        told = _SINCE_ORIGIN | told
        for name in (*_OF_A_DROP, *_SINCE_ORIGIN):
            if told[name] != getattr(row, name):
                raise _Broken(f"{name} of drop {drop_id} is {getattr(row, name)!r}, and {told[name]!r} was recorded")
        _check_run(row, last_ended.get(drop_id, 0), seen)
        end = seen.ends.get((drop_id, row.run))
        if row.status in PENDING:
            continue
        if end is None:
            raise _Broken(f"drop {drop_id} is {row.status}, and no record says so")
        if (row.status, row.reason) != (end["status"], end["reason"]):
            raise _Broken(f"drop {drop_id} is {row.status} ({row.reason}), and {end['status']} was recorded")
        if "totals" in end and json.loads(row.totals) != end["totals"]:
            raise _Broken(f"the totals of drop {drop_id} are not those that were recorded")
        if "findings" in end and json.loads(row.findings) != end["findings"]:
            raise _Broken(f"what was found about drop {drop_id} is not what was recorded")
        for name in _OF_AN_END:
            if name in end and end[name] != getattr(row, name):
                raise _Broken(f"{name} of drop {drop_id} is {getattr(row, name)!r}, and {end[name]!r} was recorded")


def _check_run(drop: Row[Any], ended: int, seen: _Seen) -> None:
    """A drop is in the run after the last that ``ended`` (0: none), or in it; each but the first was decided on."""
    expected = ended + 1 if drop.status in PENDING else ended
    if (ended and drop.run != expected) or (drop.status in PENDING and drop.run != expected):
        raise _Broken(
            f"drop {drop.id} is {drop.status} in run {drop.run}, and its record tells of {ended} that ended"
        )
    if drop.run > 1 and (drop.id, drop.run) not in seen.decisions:
        raise _Broken(f"drop {drop.id} is in run {drop.run}, and no record tells who decided so")
    if drop.approved and not seen.decisions.get((drop.id, drop.run)):
        raise _Broken(f"drop {drop.id} counts as approved in run {drop.run}, and no record tells by whom")
    released = any(seen.decisions.get((drop.id, run)) for run in range(2, drop.run + 1))
    if seen.drops[drop.id].get("held_because") and not drop.held_because and not released:
        raise _Broken(f"drop {drop.id} was to be held, and no record tells who released it")


def _check_repairs(connection: Connection, seen: _Seen) -> None:
    """Every post for no drop's sake is recorded, or older than the record."""
    table, told = schema.repairs, sorted(seen.repairs)
    begins = [first for first, _ in told]
    for row in connection.execute(select(table.c.id, table.c.ric, table.c.sent_at_utc).order_by(table.c.id)):
        before = bisect(begins, row.id)
        is_recorded = before > 0 and row.id <= told[before - 1][1]
        if not is_recorded and (not seen.drops_before or row.sent_at_utc > seen.begun_utc):
            raise _Broken(f"repair {row.id}, of {row.ric}, is in the table, and no record tells of it")


def _check_pauses(state: State, seen: _Seen) -> None:
    """What is paused is what people paused and did not resume."""
    found: dict[str, dict[str, Any]] = json.loads(state.get(PAUSES) or "{}")
    for feed in sorted(found.keys() | seen.pauses.keys()):
        told = {name: found.get(feed, {}).get(name) for name in _OF_A_PAUSE}
        if feed not in found or told != seen.pauses.get(feed):
            whose = "all feeds" if feed == ALL_FEEDS else f"feed {feed!r}"
            raise _Broken(f"the pause of {whose} is not told alike by the state and the record")


def _check_values(connection: Connection, seen: _Seen) -> None:
    """What counts as acknowledged, in doubt or in flight is what posts and answers left."""
    first = next(unexplained(connection, seen.drops_before), None)
    if first is not None:
        raise _Broken(first)


def _check_absences(connection: Connection, seen: _Seen) -> None:
    """The files that did not come are those of which the record tells."""
    table = schema.absences
    listed = {(row.feed, row.day, row.due_utc) for row in connection.execute(select(table))}
    for feed, day, _ in sorted(listed ^ seen.absences):
        raise _Broken(f"that no file of feed {feed!r} came on {day} is not told alike by the table and the record")


def _check_runs(connection: Connection, seen: _Seen) -> None:
    """Where the rows of a drop stand, and to which Service they went, is what was recorded."""
    listed = {
        (row.drop_id, row.run): (row.service, row.sheet, row.places, row.record)
        for row in connection.execute(select(schema.runs))
    }
    for drop_id, run in sorted(listed.keys() | seen.runs.keys()):
        if listed.get((drop_id, run)) != seen.runs.get((drop_id, run)):
            raise _Broken(f"the table of runs says of drop {drop_id}, run {run}, what was not recorded")


def _check_reports(connection: Connection, seen: _Seen) -> None:
    """Every report that is on the disk is recorded, and known by the name and in the folder that it has there."""
    listed = {(row.drop_id, row.run): row for row in connection.execute(select(schema.reports))}
    whole = {key for key, row in listed.items() if row.whole and row.drop_id > seen.drops_before}
    for drop_id, run in sorted(whole | seen.reports.keys()):
        row, told = listed.get((drop_id, run)), seen.reports.get((drop_id, run))
        if row is None or told is None or not _is_named(row, told):
            raise _Broken(f"the table of reports says of drop {drop_id}, run {run}, what was not recorded")


def _is_named(report: Row[Any], told: Mapping[str, Any]) -> bool:
    """A report's row has the name, and the folder, of its record; those of older versions tell of no folder."""
    same_folder = told.get("folder", report.folder) == report.folder
    return report.whole and same_folder and f"{report.base}.ack.csv" in told["sha256"]


def _check_rows(connection: Connection, seen: _Seen) -> None:
    """No outcome without a record, but those of drops that are being sent."""
    drops = schema.drops
    going_on = set(connection.execute(select(drops.c.id, drops.c.run).where(drops.c.status.in_(PENDING))).all())
    for drop_id, run in _runs_with_rows(connection, seen.drops_before):
        if (drop_id, run) not in seen.ends and (drop_id, run) not in going_on:
            raise _Broken(f"the outcomes of drop {drop_id}, run {run}, are in the table, and no record tells of them")


def _runs_with_rows(connection: Connection, after_drop: int) -> Iterator[tuple[int, int]]:
    """Drop and run of all outcomes; each by one look into the index, where DISTINCT would read every row."""
    last = first(connection, _FIRST_RUN, after=after_drop)
    while last is not None:
        yield last.drop_id, last.run
        last = first(connection, _NEXT_RUN, drop=last.drop_id, after=last.run)
