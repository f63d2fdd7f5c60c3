"""Many rows in one statement, which SQLAlchemy compiles once, and whose values the driver takes as they are.

SQLAlchemy's own executemany looks at every value of every row, which costs several times what SQLite does; the
driver's takes and gives back Python's lock for each row, so that other threads cannot work beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Join,
    Select,
    Table,
    bindparam,
    delete,
    func,
    select,
)

from contrib_watch.store.prepared import execute, rows, scalar

Columns = Mapping[str, Sequence[Any]]

_FETCHED = 10_000
"""Rows that are Python objects at one time."""
_ROWS_AT_ONCE = (256, 64, 16, 4, 1)
"""Rows in one insertion: few numbers, because to prepare a statement costs as much as to execute it. 15 columns of
the most are far from the 32,766 parameters that SQLite takes."""
JOINED_RICS = 10_000
"""Rows whose columns are one text each at one time. SQLite takes no text above 1,000,000,000 bytes, and what an item
holds came in a message of 65,535 at most, with its RIC of 255."""


def add_rows(connection: Connection, table: Table, columns: Columns, alike: Mapping[str, Any]) -> None:
    """Insert rows by their columns, in which each has one value, of the driver's own types.

    ``alike``: the columns in which all rows have the same value.
    """
    _insert(connection, table, columns, alike, replacing=False)


def put_rics(connection: Connection, table: Table, columns: Columns, alike: Mapping[str, Any]) -> None:
    """The same in place of the rows of their RICs; the Service is ``alike``."""
    _insert(connection, table, columns, alike, replacing=True)  # in place: to delete them first costs as much again


def drop_rics(connection: Connection, table: Table, service: str, rics: Sequence[str]) -> None:
    """Delete the rows of some RICs of a Service; those that are not there are no matter."""
    if rics:
        execute(connection, _deletion(table), **_listed(service, rics))


def rows_of(
    connection: Connection,
    table: Table,
    columns: tuple[ColumnElement[Any], ...],
    service: str,
    rics: Sequence[str],
    **bound: Any,
) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of some RICs of a Service, each as its RIC and these columns: in pieces and in no order.

    ``columns`` are the same objects each time, so that their statement is made once; ``bound`` are the values of
    parameters in them.
    """
    if rics:
        yield from plain_rows(connection, _selection(table, columns), **_listed(service, rics), **bound)


def columns_of(
    connection: Connection,
    table: Table,
    columns: tuple[ColumnElement[Any], ...],
    service: str,
    rics: pd.Index[str],
    **bound: Any,
) -> Iterator[list[pa.Array]]:
    """The same in columns of texts, RIC first, in pieces and in the order of ``rics``.

    These have each RIC once. For columns without nulls and line ends: SQLite puts each together as one text, so that
    no value is a Python object.
    """
    for start in range(0, len(rics), JOINED_RICS):
        wanted = _listed(service, rics[start : start + JOINED_RICS].tolist())
        (found,) = rows(connection, _concatenation(table, columns), **wanted, **bound)
        if found[0] is not None:
            yield list(map(lines, found))


def text_of_each(
    connection: Connection, table: Table, text: ColumnElement[str], service: str, rics: pa.StringArray, **bound: Any
) -> Iterator[pa.StringArray]:
    """A text of a RIC's row for each of ``rics``, in pieces and in their order; empty where there is no such row.

    ``text`` is never null and has no line end; otherwise as in :func:`rows_of`.
    """
    for start in range(0, len(rics), JOINED_RICS):
        piece = rics.slice(start, JOINED_RICS)
        order = pc.sort_indices(piece)  # as they lie in the table, which is a quarter faster for a file in no order
        wanted = _listed(service, piece.take(order).to_pylist())
        found = lines(scalar(connection, _each(table, text), **wanted, **bound))
        yield found.take(pc.sort_indices(order))


def plain_rows(connection: Connection, query: Select[Any], **bound: Any) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows of a query as tuples of the driver's types, some thousands at a time; ``bound`` are its parameters."""
    with closing(execute(connection, query, **bound)) as cursor:
        while piece := cursor.fetchmany(_FETCHED):
            yield piece


# Statements are made once: to put one together costs several times what SQLite needs for a few rows.


def _listed(service: str, rics: Sequence[str]) -> dict[str, Any]:
    """The parameters of a statement about RICs: all of them as one, which SQLite reads as a table."""
    return {"of_service": service, "of_rics": msgspec.json.encode(rics).decode()}


def _among(table: Table) -> ColumnElement[bool]:
    """A row is of a RIC and Service of the parameters."""
    rics = select(func.json_each(bindparam("of_rics")).table_valued("value").c.value)
    return (table.c.service == bindparam("of_service")) & table.c.ric.in_(rics)


def _beside(table: Table) -> Join:
    """RICs with the rows that the table has of them, in their own order."""
    wanted = func.json_each(bindparam("of_rics")).table_valued("value")
    # Without statistics SQLite would turn an inner join round, and look through all RICs for each that it has.
    return wanted.outerjoin(table, (table.c.service == bindparam("of_service")) & (table.c.ric == wanted.c.value))


@lru_cache
def _deletion(table: Table) -> Delete:
    return delete(table).where(_among(table))


@lru_cache
def _selection(table: Table, columns: tuple[ColumnElement[Any], ...]) -> Select[Any]:
    return select(table.c.ric, *columns).where(_among(table))


@lru_cache
def _concatenation(table: Table, columns: tuple[ColumnElement[Any], ...]) -> Select[Any]:
    texts = (func.group_concat(column, "\n") for column in (table.c.ric, *columns))
    return select(*(text.filter(table.c.ric.is_not(None)) for text in texts)).select_from(_beside(table))


@lru_cache
def _each(table: Table, text: ColumnElement[str]) -> Select[Any]:
    return select(func.group_concat(func.coalesce(text, ""), "\n")).select_from(_beside(table))


def lines(text: str) -> pa.StringArray:
    """The texts that SQLite has put together with line ends."""
    return pc.split_pattern(pa.array([text]), "\n").flatten()


def _insert(
    connection: Connection, table: Table, columns: Columns, alike: Mapping[str, Any], *, replacing: bool
) -> None:
    """Insert rows some hundreds at a time; a value that all of these have is bound once."""
    key = table.primary_key.columns
    for here in _pieces(len(next(iter(columns.values())))):
        own = {name: values[here] for name, values in columns.items()}
        common = dict(alike)
        same = [name for name, values in own.items() if name not in key and _is_one(values)]
        for name in same[: len(own) - 1]:  # no row may be without values
            common[name] = own.pop(name)[0]
        given = list(zip(*own.values(), strict=True))
        statement = _insertion(table, tuple(common), tuple(own), len(given), replacing=replacing)
        connection.exec_driver_sql(statement, (*common.values(), *chain.from_iterable(given)))


def _pieces(rows: int) -> Iterator[slice]:
    start = 0
    for size in _ROWS_AT_ONCE:
        while start + size <= rows:
            yield slice(start, start + size)
            start += size


def _is_one(values: Sequence[Any]) -> bool:
    """Whether all values are the same, of which the two ends tell most that are not."""
    return values[0] == values[-1] and values.count(values[0]) == len(values)


@lru_cache
def _insertion(table: Table, common: tuple[str, ...], own: tuple[str, ...], rows: int, *, replacing: bool) -> str:
    """An insertion whose parameters are the values of the columns in ``common``, then each row's ``own`` ones."""
    names = ", ".join(f'"{name}"' for name in (*common, *own))
    values = ", ".join([*("?" for _ in common), *(f"column{number}" for number in range(1, len(own) + 1))])
    given = ", ".join([f"({', '.join('?' * len(own))})"] * rows)
    # Without WHERE, SQLite would take the ON of a conflict for one of a join.
    # So that SQLite keeps no copies of pages, in a file of its own, for undoing a part of the transaction.
    added = f"INSERT OR FAIL INTO {table.name} ({names}) SELECT {values} FROM (VALUES {given}) WHERE true"  # noqa: S608
    if not replacing:
        return added
    key = ", ".join(column.name for column in table.primary_key)
    new = ", ".join(f'"{one.name}" = excluded."{one.name}"' for one in table.c if not one.primary_key)
    return f"{added} ON CONFLICT ({key}) DO UPDATE SET {new}"
