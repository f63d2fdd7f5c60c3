"""Statements of SQLAlchemy that are compiled once, and whose values the driver takes and gives.

SQLAlchemy's own execution costs several times what SQLite needs for a row or two, which is what most statements are
about: on each call it looks up the compiled text, goes through all parameters, and sets up a result. Here, that text
is kept with the statement, which is therefore to be made once: a constant of its module, or what a cache gives. The
errors are sqlite3's.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Executable
from sqlalchemy.dialects import sqlite

_DIALECT = sqlite.dialect()


def execute(connection: Connection, statement: Executable, /, **bound: Any) -> sqlite3.Cursor:
    """Execute a statement; ``bound`` are its parameters, or the values of its columns.

    The cursor tells ``rowcount`` and ``lastrowid``, or gives rows as the driver has them.
    """
    return _executed(connection, _prepared(statement, tuple(bound)), bound)


def rows(connection: Connection, statement: Executable, /, **bound: Any) -> list[Any]:
    """All rows that a query finds, as named tuples."""
    prepared = _prepared(statement, tuple(bound))
    return list(map(prepared.row, _executed(connection, prepared, bound)))


def first(connection: Connection, statement: Executable, /, **bound: Any) -> Any:
    """The first row that a query finds, as a named tuple; None: there is none."""
    return next(iter(rows(connection, statement, **bound)), None)


def scalars(connection: Connection, statement: Executable, /, **bound: Any) -> list[Any]:
    """The first column of all rows that a query finds, as the driver gives it."""
    return [row[0] for row in execute(connection, statement, **bound)]


def scalar(connection: Connection, statement: Executable, /, **bound: Any) -> Any:
    """The first of them; None: there is no row."""
    return next(iter(scalars(connection, statement, **bound)), None)


class _Prepared(NamedTuple):
    text: str
    names: tuple[str, ...]
    """Of the parameters, in their order."""
    fixed: dict[str, Any]
    """Parameters that stand in the statement itself, and defaults of columns."""
    row: Callable[[Sequence[Any]], Any]
    """Makes a named tuple of a row."""


def _executed(connection: Connection, prepared: _Prepared, bound: dict[str, Any]) -> sqlite3.Cursor:
    known = prepared.fixed | bound
    driver: Any = connection.connection.driver_connection
    cursor: sqlite3.Cursor = driver.execute(prepared.text, [known[name] for name in prepared.names])
    return cursor


@lru_cache(maxsize=512)
def _prepared(statement: Executable, names: tuple[str, ...]) -> _Prepared:
    options = {"render_postcompile": True}
    compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(names), compile_kwargs=options)  # type: ignore[attr-defined]
    if unknown := set(names).difference(compiled.positiontup or ()):  # SQLAlchemy would pass them by
        raise KeyError(*sorted(unknown))
    needed = {name for name, parameter in compiled.binds.items() if parameter.required}
    fixed = {name: value for name, value in compiled.params.items() if name not in needed}
    fixed |= {column.key: column.default.arg for column in compiled.prefetch}
    row = _row(tuple(getattr(statement, "selected_columns", ())))
    return _Prepared(str(compiled), tuple(compiled.positiontup or ()), fixed, row)


def _row(columns: Sequence[ColumnElement[Any]]) -> Callable[[Sequence[Any]], Any]:
    make: Callable[..., Any] = namedtuple("Row", [column.key for column in columns], rename=True)._make  # type: ignore[attr-defined, misc]
    processors = [column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) for column in columns]
    if not any(processors):
        return make
    typed = [(number, process) for number, process in enumerate(processors) if process is not None]

    def row(values: Sequence[Any]) -> Any:
        found = list(values)
        for number, process in typed:
            found[number] = process(found[number])
        return make(found)

    return row
