"""Statements that are executed by the driver find and change what SQLAlchemy's own execution would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, bindparam, create_engine, func, insert, select, update

from contrib_watch.core.model import DropStatus
from contrib_watch.store import schema
from contrib_watch.store.prepared import execute, first, rows, scalar, scalars

DROPS = schema.drops
FACTS = {"path": "/in/a.csv", "sha256": "", "size_bytes": 1, "mtime_ns": "1", "owner": "", "seen_at_utc": ""}

_ADD = insert(DROPS)
_ALL = select(DROPS).order_by(DROPS.c.id)
_CHANGE = update(DROPS).where(DROPS.c.id == bindparam("of_id"))
_OF = select(DROPS).where(DROPS.c.id == bindparam("of_id"))
_SOME = select(DROPS.c.id).where(DROPS.c.status.in_((DropStatus.WAITING, DropStatus.HELD))).order_by(DROPS.c.id)
_COUNT = select(func.count(), DROPS.c.feed.label("whose")).group_by(DROPS.c.feed)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        schema.metadata.create_all(connection)
        for feed in ("fx", "fx", "desk"):
            execute(connection, _ADD, feed=feed, status=DropStatus.WAITING, **FACTS)
        yield connection


def test_rows_are_the_same_as_sqlalchemys(connection: Connection) -> None:
    found = rows(connection, _ALL)
    assert found == connection.execute(_ALL).all()
    assert [one._asdict() for one in found] == [dict(row) for row in connection.execute(_ALL).mappings()]


def test_truth_values_and_the_columns_defaults_are_what_the_schema_says(connection: Connection) -> None:
    drop = first(connection, _OF, of_id=2)
    assert (drop.approved, drop.run, drop.owner_source) == (False, 1, "file owner")
    assert isinstance(drop.approved, bool)


def test_a_change_tells_how_many_rows_it_met_and_what_number_it_gave(connection: Connection) -> None:
    assert execute(connection, _CHANGE, of_id=1, status="done", approved=True).rowcount == 1
    assert execute(connection, _CHANGE, of_id=9, status="done").rowcount == 0
    assert first(connection, _OF, of_id=1).approved is True
    assert execute(connection, _ADD, feed="fx", status="held", **FACTS).lastrowid == 4


def test_values_of_the_statement_itself_are_bound(connection: Connection) -> None:
    execute(connection, _CHANGE, of_id=2, status="done")
    assert scalars(connection, _SOME) == [1, 3]


def test_what_has_no_name_of_its_own_is_found_by_its_place(connection: Connection) -> None:
    assert sorted(tuple(row) for row in rows(connection, _COUNT)) == [(1, "desk"), (2, "fx")]
    assert {row.whose for row in rows(connection, _COUNT)} == {"fx", "desk"}


def test_of_no_row_there_is_nothing(connection: Connection) -> None:
    assert first(connection, _OF, of_id=9) is None
    assert scalar(connection, _OF, of_id=9) is None
    assert scalars(connection, _OF, of_id=9) == []


def test_a_parameter_that_is_forgotten_is_not_taken_for_null(connection: Connection) -> None:
    with pytest.raises(KeyError):
        rows(connection, _OF)


def test_a_value_that_no_column_takes_is_not_passed_by(connection: Connection) -> None:
    with pytest.raises(KeyError, match="reasons"):
        execute(connection, _CHANGE, of_id=1, reasons="none")
    assert first(connection, _OF, of_id=1).reason == ""


def test_what_the_database_refuses_is_its_drivers_error(connection: Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        execute(connection, _ADD, feed=None, status="waiting", **FACTS)
