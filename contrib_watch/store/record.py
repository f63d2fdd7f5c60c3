"""The record: what happened, in an order and with contents that nobody can change unseen (core.chain).

A record is added in the transaction of what it tells. Those of processed drops stand for their outcome rows by the
root of a hash tree, so that nothing is stored twice, and nothing at all for rows that were unchanged.

Kinds: ``state`` (made, or brought up to date from a version without a record), ``environment`` (program,
configuration, dictionary), ``start`` and ``stop``, ``drop`` (accepted), ``decision`` (of a person), ``run`` (a drop
was processed: totals, findings, root of its rows), ``failure`` (a fault stopped it), ``report`` (what was written),
``repairs`` (posted again for no drop's sake), ``absence`` (no file came), ``retired`` (bytes that were kept long
enough), ``restored`` (a backup was put in place).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from contrib_watch.core.chain import BEGINNING, Link, link, root
from contrib_watch.core.model import Outcome
from contrib_watch.store import schema
from contrib_watch.store.bulk import plain_rows
from contrib_watch.store.prepared import execute, first, rows

if TYPE_CHECKING:
    from contrib_watch.store.state import State

ROW_COLUMNS = Outcome._fields
"""What a leaf of a drop's tree is made of: a JSON array of these. A record names its own, since they may grow."""
REPAIR_COLUMNS = tuple(column.name for column in schema.repairs.columns)
"""The same for posts without a drop."""
leaf = msgspec.json.Encoder().encode
"""A row as a leaf: every value is text, a whole number or null, so that each row has one such JSON array."""
HEAD = "record_head"
"""The meta key with number and hash of the last record, which tells that later ones were cut off."""

PAUSES, ALL_FEEDS = "pauses", "*"
"""The meta key of what people have paused, as JSON by feed, and what stands for all feeds there."""

_LAST = select(schema.record.c.number, schema.record.c.sha256).order_by(schema.record.c.number.desc()).limit(1)
_ADD = insert(schema.record)
_META = insert(schema.meta)
PUT_META = _META.on_conflict_do_update(index_elements=["key"], set_={"value": _META.excluded.value})
"""Sets the value of a key."""
_OF_DROP = select(schema.record).where(schema.record.c.drop_id == bindparam("drop")).order_by(schema.record.c.number)


class Leaves(NamedTuple):
    """The rows under a record, as it tells them."""

    rows: int
    root: str
    columns: Sequence[str]


def utc_text(moment: datetime) -> str:
    """``2026-11-22T16:30:00.123Z``"""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def chained(
    connection: Connection,
    at_utc: str,
    kind: str,
    body: Mapping[str, Any],
    drop_id: int | None = None,
    *,
    step: int = 1,
) -> Link:
    """Add the next record, in the transaction at hand. ``step``: by how much its number is higher than the last."""
    last = first(connection, _LAST)
    number, previous = (last.number + step, last.sha256) if last else (1, BEGINNING)
    added = link(number, previous, at_utc=at_utc, kind=kind, body=body)
    execute(connection, _ADD, number=number, kind=kind, drop_id=drop_id, sha256=added.sha256, text=added.text)
    execute(connection, PUT_META, key=HEAD, value=f"{number} {added.sha256}")
    return added


def last_number(connection: Connection) -> int:
    """The number of the last record; 0: there is none."""
    return connection.scalar(select(func.max(schema.record.c.number))) or 0


def last_of_kind(state: State, kind: str) -> dict[str, Any] | None:
    """The body of the newest record of a kind; None: there is none."""
    return next(iter(of_kind(state, kind, most=1)), None)


def of_kind(state: State, kind: str, *, most: int | None = None) -> list[dict[str, Any]]:
    """The bodies of the ``most`` newest records of a kind, or of all; the newest first."""
    table = schema.record
    query = select(table.c.text).where(table.c.kind == kind).order_by(table.c.number.desc()).limit(most)
    with state.transaction() as connection:
        return [json.loads(text)["body"] for text in connection.scalars(query)]


def run_record(state: State, drop_id: int, run: int) -> tuple[Link, dict[str, Any]] | None:
    """The record of one processing of a drop, with its body; None: there is none."""
    return _of_drop(state, "run", drop_id, run)


def report_record(state: State, drop_id: int, run: int) -> tuple[Link, dict[str, Any]] | None:
    """The record of the report of one processing, with its body; None: there is none."""
    return _of_drop(state, "report", drop_id, run)


def report_records(state: State) -> list[tuple[int, dict[str, Any]]]:
    """The records of all reports that were written: number and body."""
    table = schema.record
    query = select(table.c.number, table.c.text).where(table.c.kind == "report").order_by(table.c.number)
    with state.transaction() as connection:
        return [(number, json.loads(text)["body"]) for number, text in connection.execute(query)]


def events(state: State, drop_id: int) -> list[Link]:
    """All records of a drop, in order."""
    with state.transaction() as connection:
        return [Link(row.number, row.text, row.sha256) for row in rows(connection, _OF_DROP, drop=drop_id)]


def _of_drop(state: State, kind: str, drop_id: int, run: int) -> tuple[Link, dict[str, Any]] | None:
    for one in reversed(events(state, drop_id)):
        told = json.loads(one.text)
        if told["kind"] == kind and told["body"]["run"] == run:
            return one, told["body"]
    return None


def outcome_leaves(
    connection: Connection, drop_id: int, run: int, columns: Sequence[str] = ROW_COLUMNS
) -> Iterator[bytes]:
    """The outcomes of one processing as leaves, by row number."""
    for piece in plain_rows(connection, of_run(tuple(columns)), of_drop=drop_id, of_run=run):
        yield from map(leaf, piece)


def repair_leaves(
    connection: Connection, first: int, last: int, columns: Sequence[str] = REPAIR_COLUMNS
) -> Iterator[bytes]:
    """The repairs of these numbers, both included, as leaves."""
    for piece in plain_rows(connection, _repairs(tuple(columns)), first=first, last=last):
        yield from map(leaf, piece)


def leaves_of(leaves: Iterator[bytes], columns: Sequence[str]) -> Leaves:
    """What a record tells of these leaves."""
    counter = itertools.count()
    top = root(leaf for leaf, _ in zip(leaves, counter, strict=False))
    return Leaves(next(counter), top, columns)


@cache
def of_run(columns: tuple[str, ...]) -> Select[Any]:
    """These columns of a run's outcomes, by row; ``of_drop`` and ``of_run`` are its parameters."""
    row = schema.outcomes.c
    is_of_run = (row.drop_id == bindparam("of_drop"), row.run == bindparam("of_run"))
    return select(*(row[name] for name in columns)).where(*is_of_run).order_by(row.row)


@cache
def _repairs(columns: tuple[str, ...]) -> Select[Any]:
    row = schema.repairs.c
    numbers = row.id.between(bindparam("first"), bindparam("last"))
    return select(*(row[name] for name in columns)).where(numbers).order_by(row.id)
