"""Many rows in one statement: SQLAlchemy compiles it once, and the driver takes the rows as they are.

SQLAlchemy's own executemany looks at every value of every row, which costs several times what SQLite does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite

_FETCHED = 10_000
"""Rows that are Python objects at one time."""
IN_LIST = 10_000
"""RICs in one query, where they are parameters of their own; SQLite takes 32,766."""


def add_rows(connection: Connection, table: Table, rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, each with the values of all columns of the table in their order, of the driver's own types."""
    _execute(connection, _insertion(table), tuple(column.name for column in table.columns), [*rows])


def put_rics(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Rows as :func:`add_rows` takes them, which begin with Service and RIC, in place of those of their RICs."""
    names = tuple(column.name for column in table.columns)
    if connection.dialect.name == "sqlite":  # in place: a deletion before would cost as much again
        _execute(connection, _replacement(table), names, rows)
        return
    for service, found in groupby(rows, key=itemgetter(0)):
        drop_rics(connection, table, service, [row[1] for row in found])
    add_rows(connection, table, rows)


def drop_rics(connection: Connection, table: Table, service: str, rics: Iterable[str]) -> None:
    """Delete the rows of some RICs of a Service; those that are not there are no matter."""
    _execute(connection, _deletion(table), ("b_service", "b_ric"), [(service, ric) for ric in rics])


def rows_of(
    connection: Connection, table: Table, columns: Iterable[ColumnElement[Any]], service: str, rics: Sequence[str]
) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of some RICs of a Service, each as its RIC and these columns: in pieces and in no order."""
    query = select(table.c.ric, *columns).where(table.c.service == service)
    if connection.dialect.name == "sqlite":  # all of them as one parameter, which SQLite reads as a table
        wanted = func.json_each(_json(rics)).table_valued("value")
        yield from plain_rows(connection, query.where(table.c.ric.in_(select(wanted.c.value))))
        return
    for start in range(0, len(rics), IN_LIST):
        yield from plain_rows(connection, query.where(table.c.ric.in_(rics[start : start + IN_LIST])))


def plain_rows(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows of a query as tuples of the driver's own types, some thousands at a time."""
    if connection.dialect.name != "sqlite":
        found = connection.execute(query, execution_options={"yield_per": _FETCHED})
        yield from ([tuple(row) for row in rows] for rows in found.partitions())
        return
    with closing(connection.execute(query)) as result:
        cursor: Any = result.cursor  # without the Row objects in between
        while rows := cursor.fetchmany(_FETCHED):
            yield rows


def _json(texts: Sequence[str]) -> str:
    return msgspec.json.encode(texts).decode()


def _execute(connection: Connection, statement: Insert | Delete, names: tuple[str, ...], rows: Sequence[Any]) -> None:
    """Execute a statement once for each row, whose values are those of the parameters ``names``."""
    if not rows:
        return
    text, order = _compiled(statement, connection.dialect, names)
    if order == names:
        connection.exec_driver_sql(text, list(rows))
    else:  # a driver that takes parameters by name, or in another order
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])


@lru_cache
def _insertion(table: Table) -> Insert:
    return insert(table)


@lru_cache
def _replacement(table: Table) -> Insert:
    added = sqlite.insert(table)
    values = {column.name: added.excluded[column.name] for column in table.columns if not column.primary_key}
    return added.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)


@lru_cache
def _deletion(table: Table) -> Delete:
    return delete(table).where(table.c.service == bindparam("b_service"), table.c.ric == bindparam("b_ric"))


@lru_cache
def _compiled(
    statement: Insert | Delete, dialect: Dialect, names: tuple[str, ...]
) -> tuple[str, tuple[str, ...] | None]:
    """The text of a statement and the order of its parameters; None where they have no order."""
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    order = getattr(compiled, "positiontup", None)
    return str(compiled), None if order is None else tuple(order)
