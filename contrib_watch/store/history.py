"""What was contributed, when, and from where: questions to the outcomes and their drops.

Times are ISO 8601 text in UTC, as the tables have them, so that they compare as text. What is older than the record
(schema.RECORDED) has outcomes without values, and is not told of here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select

from contrib_watch.core.model import CLEARED, DropStatus, Status
from contrib_watch.core.tokens import tokens_of
from contrib_watch.store import schema
from contrib_watch.store.drops import PENDING
from contrib_watch.store.post_ids import next_key, place_of, post_id_of
from contrib_watch.store.state import State

_OUTCOMES, _DROPS, _RUNS, _REPAIRS, _SNAPSHOT = (
    schema.outcomes, schema.drops, schema.runs, schema.repairs, schema.snapshot,
)  # fmt: skip


class Contribution(NamedTuple):
    """One value of one item, posted or meant to be: as from a file, or again for no drop's sake."""

    ric: str
    service: str
    """Empty while its drop is not over."""
    field: str
    value: str
    """The JSON token (``22.1``, ``"USD"``, ``null``)."""
    status: str
    at_utc: str
    """When the ADS answered, else when it was sent, else when the file was seen."""
    file: str
    """Empty: it was posted again, see ``text``."""
    cell: str
    """``Sheet1!C7``, or ``row 7, Bid``; empty: the file did not give it, it was carried on in a full Refresh."""
    drop: int | None
    run: int | None
    feed: str
    owner: str
    sha256: str
    """Of the file's bytes."""
    action: str
    post_id: int | None
    sent_at_utc: str
    acked_at_utc: str
    nak_code: str
    text: str
    attempts: int


class Standing(NamedTuple):
    """What the ADS had acknowledged last of an item, at some time."""

    service: str
    ric: str
    fields: str
    """The JSON object of all its values."""
    acked_at_utc: str
    drop: int | None
    """None: posted again for no drop's sake."""
    file: str
    row: int | None


class History:
    """What a state tells of its past."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of_ric(
        self, ric: str, *, field: str = "", service: str = "", from_utc: str = "", to_utc: str = "~"
    ) -> list[Contribution]:
        """Every value of an item that was on the wire or was kept from it, in the order of ``at_utc``.

        A row that was rejected or superseded before it had values stands there once, without field and value.
        ``field``, ``service``: only of these. From ``from_utc`` (included) to ``to_utc`` (excluded).
        """
        query = select(*_OUTCOMES.c, *_OF_DROPS, *_OF_RUNS).select_from(_JOINED)
        query = query.where(
            _OUTCOMES.c.ric == ric, or_(_OUTCOMES.c.full != "", _OUTCOMES.c.status.in_(_NEVER_POSTED))
        )
        again = select(_REPAIRS).where(_REPAIRS.c.ric == ric)
        with self._state.transaction() as connection:
            found = [one for row in connection.execute(query) for one in _of_row(row)]
            found += [one for row in connection.execute(again) for one in _of_repair(row)]
        wanted = [
            one
            for one in found
            if (not field or one.field in (field, ""))
            and (not service or one.service in (service, ""))
            and from_utc <= one.at_utc < to_utc
        ]
        return sorted(wanted, key=lambda one: (one.at_utc, one.drop or 0, one.run or 0))

    def as_of(self, at_utc: str, rics: Collection[str] = ()) -> Iterator[Standing]:
        """What the ADS had acknowledged of each item (of all, or of ``rics``) by a time; by Service and RIC."""
        known = _SNAPSHOT
        items = select(known.c.service, known.c.ric, known.c.feed, known.c.acked_at_utc)
        if rics:
            items = items.where(known.c.ric.in_(rics))
        next_id = post_id_of(next_key(self._state))
        with self._state.transaction() as connection:
            again = {(row.service, row.ric): row for row in connection.execute(_acked_repairs(at_utc, rics))}
            found: dict[tuple[str, str], Standing] = {}
            places: dict[tuple[str, str], int] = {}
            by_now = items.where(known.c.acked_at_utc <= at_utc)
            for some, present in ((items, False), (by_now, True)):  # which overrules times of a clock that was set
                for row in connection.execute(_last_acked(some.subquery(), at_utc, next_id, present=present)):
                    item = (row.item_service, row.ric)
                    found[item] = Standing(*item, row.full, row.acked_at_utc, row.drop_id, row.path, row.row)
                    places[item] = row.place
        for item, row in again.items():
            if item not in found or place_of(row.post_id, next_id) > places[item]:
                found[item] = Standing(*item, row.fields, row.acked_at_utc, None, "", None)
        return (found[item] for item in sorted(found))

    def applied_of(self, drop_id: int, service: str) -> dict[str, list[Row[Any]]]:
        """RIC to the outcomes of a drop that the ADS acknowledged in a Service, of all its runs in order.

        Those that it did not answer are among them: a post by hand may have confirmed them since.
        """
        of_runs = (_RUNS.c.drop_id == _OUTCOMES.c.drop_id) & (_RUNS.c.run == _OUTCOMES.c.run)
        of_drop = select(_OUTCOMES).select_from(_OUTCOMES.outerjoin(_RUNS, of_runs))
        of_drop = of_drop.where(
            _OUTCOMES.c.drop_id == drop_id,
            _OUTCOMES.c.status.in_((Status.ACKED, Status.UNCONFIRMED)),
            _OUTCOMES.c.post_id.is_not(None),
            func.coalesce(_RUNS.c.service, service) == service,
        )
        found: dict[str, list[Row[Any]]] = {}
        with self._state.transaction() as connection:
            for row in connection.execute(of_drop.order_by(_OUTCOMES.c.run)):
                found.setdefault(row.ric, []).append(row)
        return found

    def drops(
        self, *, only: int | None = None, status: str = "", feed: str = "", from_utc: str = "", to_utc: str = "~"
    ) -> list[dict[str, Any]]:
        """The drops that were seen in a time, in order, or the ``only`` one: what ``audit drops`` prints."""
        where = [_DROPS.c.seen_at_utc >= from_utc, _DROPS.c.seen_at_utc < to_utc]
        if only is not None:
            where.append(_DROPS.c.id == only)
        if status:
            where.append(_DROPS.c.status == DropStatus(status))
        if feed:
            where.append(_DROPS.c.feed == feed)
        query = (
            select(_DROPS, _RUNS.c.record, _RUNS.c.service, schema.reports.c.folder, schema.reports.c.base)
            .outerjoin(_RUNS, and_(_RUNS.c.drop_id == _DROPS.c.id, _RUNS.c.run == _DROPS.c.run))
            .outerjoin(
                schema.reports, and_(schema.reports.c.drop_id == _DROPS.c.id, schema.reports.c.run == _DROPS.c.run)
            )
            .where(*where)
            .order_by(_DROPS.c.id)
        )
        with self._state.transaction() as connection:
            return [_told_drop(row) for row in connection.execute(query)]

    def rows(self, drop_id: int, run: int | None = None) -> list[dict[str, Any]]:
        """The recorded outcomes of a drop's processing (default: of all), by row; unchanged rows are not recorded."""
        query = select(_OUTCOMES).where(_OUTCOMES.c.drop_id == drop_id)
        if run is not None:
            query = query.where(_OUTCOMES.c.run == run)
        with self._state.transaction() as connection:
            return [
                dict(row) for row in connection.execute(query.order_by(_OUTCOMES.c.run, _OUTCOMES.c.row)).mappings()
            ]

    def day(self, from_utc: str, to_utc: str) -> list[dict[str, Any]]:
        """What became of the drops of a time, each run by itself, by feed: what ``audit day`` prints.

        What is not over, or older than the record, counts when its file was seen.

        A dict for each drop and kind of outcome: ``what`` is contributed, unchanged, unconfirmed, excluded (with
        ``why``), missing, or under way, which is a drop of which nothing is recorded yet; ``count`` counts rows, and
        RICs of what is missing; ``rics`` names the first of them. A file that did not come by the time at which one
        was due is missing, too, without a drop.
        """
        told: list[dict[str, Any]] = []
        with self._state.transaction() as connection:
            for drop in connection.execute(_runs_of_a_time(from_utc, to_utc)).all():
                groups = connection.execute(_grouped(drop.id, drop.run)).all()
                told += _told_day(_as_it_ended(drop), groups)
            absent = schema.absences
            due = select(absent).where(absent.c.due_utc >= from_utc, absent.c.due_utc < to_utc)
            told += [_told_absence(row) for row in connection.execute(due.order_by(absent.c.due_utc))]
        return sorted(told, key=lambda one: one["feed"])


_OF_DROPS = [_DROPS.c.feed, _DROPS.c.path, _DROPS.c.owner, _DROPS.c.sha256, _DROPS.c.seen_at_utc]
_OF_RUNS = [_RUNS.c.service, _RUNS.c.sheet, _RUNS.c.places]
_JOINED = _OUTCOMES.join(_DROPS, _DROPS.c.id == _OUTCOMES.c.drop_id).outerjoin(
    _RUNS, and_(_RUNS.c.drop_id == _OUTCOMES.c.drop_id, _RUNS.c.run == _OUTCOMES.c.run)
)
_IS_ACKED = (_OUTCOMES.c.status == Status.ACKED, _OUTCOMES.c.full != "")
_NEVER_POSTED = (Status.REJECTED, Status.SUPERSEDED)
_SOME_RICS = 20


def cell(row: int, field: str, sheet: str, places: Mapping[str, str]) -> str:
    """Where a person finds a value: ``Sheet1!C7`` in a workbook, ``row 7, Bid`` in a CSV."""
    place = places.get(field, "")
    return f"{sheet}!{place}{row}" if sheet else f"row {row}, {place}" if place else f"row {row}"


def _of_row(row: Row[Any]) -> Iterator[Contribution]:
    """The values of an outcome: those that changed, and in a full Refresh also those that were carried on.

    What a failed drop left without an answer tells all values, and not which of them changed.
    """
    values = tokens_of(row.full or '{"":""}')
    changed = row.changed.split(",") if row.changed else []
    places = json.loads(row.places or "{}")
    for name in values if row.action == "Refresh" or not (row.full and changed) else changed:
        yield Contribution(
            ric=row.ric,
            service=row.service or "",
            field=name,
            value=values.get(name, CLEARED) if row.full else "",
            status=row.status,
            at_utc=row.acked_at_utc or row.sent_at_utc or row.seen_at_utc,
            file=row.path,
            cell=cell(row.row, name, row.sheet or "", places) if name in changed or not name else "",
            drop=row.drop_id,
            run=row.run,
            feed=row.feed,
            owner=row.owner,
            sha256=row.sha256,
            action=row.action,
            post_id=row.post_id,
            sent_at_utc=row.sent_at_utc,
            acked_at_utc=row.acked_at_utc if row.status == Status.ACKED else "",
            nak_code=row.nak_code,
            text=row.text,
            attempts=row.attempts,
        )


def _of_repair(row: Row[Any]) -> Iterator[Contribution]:
    for name, value in tokens_of(row.fields).items():
        yield Contribution(
            ric=row.ric,
            service=row.service,
            field=name,
            value=value,
            status=row.status,
            at_utc=row.acked_at_utc or row.sent_at_utc,
            file="",
            cell="",
            drop=None,
            run=None,
            feed="",
            owner="",
            sha256="",
            action="Refresh",
            post_id=row.post_id,
            sent_at_utc=row.sent_at_utc,
            acked_at_utc=row.acked_at_utc if row.status == Status.ACKED else "",
            nak_code=row.nak_code,
            text=f"{row.reason}; {row.text}" if row.text else row.reason,
            attempts=row.attempts,
        )


def _last_acked(items: Any, at_utc: str, next_id: int, *, present: bool) -> Select[Any]:
    """For each item the outcome that was acknowledged last; of several at one time, that stands last.

    ``present``: the one that the snapshot tells of, where that is within the time.
    """
    by_time = (
        select(_OUTCOMES.c.acked_at_utc)
        .select_from(_JOINED)
        .where(_OUTCOMES.c.ric == items.c.ric, _is_of(items), _OUTCOMES.c.acked_at_utc <= at_utc, *_IS_ACKED)
        .order_by(_OUTCOMES.c.acked_at_utc.desc())
        .limit(1)
        .correlate(items)
    )
    at = items.c.acked_at_utc if present else by_time.scalar_subquery()
    last = select(items.c.service, items.c.ric, items.c.feed, at.label("at")).subquery()
    place = place_of(_OUTCOMES.c.post_id, next_id).label("place")
    outcome = and_(_OUTCOMES.c.ric == last.c.ric, _OUTCOMES.c.acked_at_utc == last.c.at)
    return (
        select(last.c.service.label("item_service"), *_OUTCOMES.c, _DROPS.c.path, place)
        .select_from(last)
        .join(_OUTCOMES, outcome)
        .join(_DROPS, _DROPS.c.id == _OUTCOMES.c.drop_id)
        .outerjoin(_RUNS, and_(_RUNS.c.drop_id == _OUTCOMES.c.drop_id, _RUNS.c.run == _OUTCOMES.c.run))
        .where(_is_of(last), *_IS_ACKED)  # and not by time once more: SQLite would take that index range
        .order_by(place, _OUTCOMES.c.row)
    )


def _is_of(items: Any) -> ColumnElement[bool]:
    """The outcome went to the item's Service; while its drop is not over, this is told by who owns the item."""
    under_way = and_(_RUNS.c.service.is_(None), _DROPS.c.feed == items.c.feed)
    return or_(_RUNS.c.service == items.c.service, under_way)


def _acked_repairs(at_utc: str, rics: Collection[str]) -> Select[Any]:
    where = [_REPAIRS.c.status == Status.ACKED, _REPAIRS.c.acked_at_utc <= at_utc]
    if rics:
        where.append(_REPAIRS.c.ric.in_(rics))
    return select(_REPAIRS).where(*where).order_by(_REPAIRS.c.id)


def _told_drop(row: Row[Any]) -> dict[str, Any]:
    return {
        "drop": row.id,
        "feed": row.feed,
        "file": row.path,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "owner": row.owner,
        "seen_at_utc": row.seen_at_utc,
        "status": row.status,
        "reason": row.reason,
        "run": row.run,
        "service": row.service or "",
        "totals": json.loads(row.totals),
        "finished_at_utc": row.finished_at_utc or "",
        "record": row.record,
        "report": f"{row.folder}/{row.base}.ack.csv" if row.base else "",
    }


def _grouped(drop_id: int, run: int) -> Select[Any]:
    """The outcomes of a drop by what became of them and why; a Nak's text may name its RIC, so its code counts."""
    why = func.coalesce(func.nullif(_OUTCOMES.c.nak_code, ""), _OUTCOMES.c.text)
    return (
        select(
            _OUTCOMES.c.status,
            func.min(why).label("why"),
            func.count().label("rows"),
            func.min(_OUTCOMES.c.ric).label("ric"),
        )
        .where(_OUTCOMES.c.drop_id == drop_id, _OUTCOMES.c.run == run)
        .group_by(_OUTCOMES.c.status, why)
        .order_by(_OUTCOMES.c.status)
    )


class _Ended(NamedTuple):
    """A drop as one of its runs ended."""

    id: int
    run: int
    feed: str
    path: str
    status: str
    reason: str
    totals: str
    findings: str


def _runs_of_a_time(from_utc: str, to_utc: str) -> Select[Any]:
    """Runs that ended in a time, with the texts of their records, and drops without any that were seen then."""
    record, runs = schema.record, schema.runs
    at_utc = func.substr(record.c.text, len('{"at_utc":"') + 1, len("2026-11-22T16:30:00.123Z"))
    when = func.coalesce(at_utc, _DROPS.c.seen_at_utc)
    run = func.coalesce(runs.c.run, _DROPS.c.run).label("run")
    about = (_DROPS.c.feed, _DROPS.c.path, _DROPS.c.status, _DROPS.c.reason, _DROPS.c.totals, _DROPS.c.findings)
    return (
        select(_DROPS.c.id, run, *about, record.c.text)
        .outerjoin(runs, runs.c.drop_id == _DROPS.c.id)
        .outerjoin(record, record.c.number == runs.c.record)
        .where(when >= from_utc, when < to_utc)
        .order_by(_DROPS.c.feed, _DROPS.c.id, run)
    )


def _as_it_ended(drop: Row[Any]) -> _Ended:
    """A later run has other totals than the one that is told of."""
    about = (drop.id, drop.run, drop.feed, drop.path)
    if drop.text is None:
        return _Ended(*about, drop.status, drop.reason, drop.totals, drop.findings)
    body = json.loads(drop.text)["body"]
    return _Ended(*about, body["status"], body["reason"], json.dumps(body["totals"]), json.dumps(body["findings"]))


def _told_absence(row: Row[Any]) -> dict[str, Any]:
    why = f"no file came by {row.due_utc}, when one was due"
    about: dict[str, Any] = {
        "feed": row.feed,
        "drop": None,
        "run": None,
        "file": "",
        "what": "missing",
        "status": "absent",
    }
    return {**about, "count": 1, "why": why, "rics": []}


def _told_day(drop: _Ended, groups: Collection[Row[Any]]) -> Iterator[dict[str, Any]]:
    about = {"feed": drop.feed, "drop": drop.id, "run": drop.run, "file": drop.path}

    def told(what: str, status: str, count: int, why: str, rics: list[str]) -> dict[str, Any]:
        return {**about, "what": what, "status": status, "count": count, "why": why, "rics": rics}

    acked = sum(one.rows for one in groups if one.status == Status.ACKED)
    if acked:
        yield told("contributed", Status.ACKED, acked, "", [])
    unchanged = json.loads(drop.totals).get(Status.UNCHANGED, 0)
    if unchanged:
        yield told("unchanged", Status.UNCHANGED, unchanged, "", [])
    for one in groups:
        if one.status != Status.ACKED:
            # What was posted without an answer may be in the market.
            what = "unconfirmed" if one.status == Status.UNCONFIRMED else "excluded"
            yield told(what, one.status, one.rows, one.why or drop.reason, [one.ric])
    if drop.status in PENDING and not groups:
        yield told("under way", drop.status, 0, "it is not over yet", [])
    elif drop.status == DropStatus.FAILED or not (groups or unchanged):  # what failed half-way has rows, and others
        yield told("excluded", drop.status, 1, drop.reason or "the file has no rows", [])
    missing = json.loads(drop.findings).get("missing", [])
    if missing:
        why = "a file that should list all RICs lacks these; they keep their last values"
        yield told("missing", "missing", len(missing), why, missing[:_SOME_RICS])
