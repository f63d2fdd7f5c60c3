"""Many rows at once come to the same as one after the other."""

from __future__ import annotations

import itertools
import random
import sqlite3
from contextlib import closing

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, String, cast, create_engine, select
from sqlalchemy.exc import IntegrityError

from contrib_watch.ads.messages import MAX_CONVERTED_BYTES
from contrib_watch.core.quotes import MAX_RIC_BYTES
from contrib_watch.store import bulk, schema
from contrib_watch.store.bulk import (
    _ROWS_AT_ONCE,
    JOINED_RICS,
    add_rows,
    columns_of,
    drop_rics,
    put_rics,
    rows_of,
    text_of_each,
)

TABLE = schema.dirty
RICS = ["A", "a", "é=X", "%s", "A'B", "[1]", "NULL", "1E5", "00"]

rics = st.lists(st.sampled_from(RICS), unique=True)


def rows(service: str, names: list[str], value: int) -> list[tuple[object, ...]]:
    return [(service, ric, "desk", value, f'{{"BID":{value}}}', 1) for ric in names]


def columns_for(found: list[tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """All but the Service."""
    return dict(zip(TABLE.columns.keys()[1:], list(zip(*found, strict=True))[1:], strict=True))


def everything(connection: Connection) -> set[tuple[object, ...]]:
    return {tuple(row) for row in connection.execute(select(TABLE))}


def fresh() -> Connection:
    connection = create_engine("sqlite://").connect()
    TABLE.create(connection)
    return connection


@given(st.lists(st.tuples(st.sampled_from(["ONE", "TWO"]), rics, rics)))
def test_rics_are_put_dropped_and_read_as_one_by_one(steps: list[tuple[str, list[str], list[str]]]) -> None:
    model: dict[tuple[object, object], tuple[object, ...]] = {}
    with fresh() as connection:
        for value, (service, put, dropped) in enumerate(steps):
            if put:
                put_rics(connection, TABLE, columns_for(rows(service, put, value)), {"service": service})
            model |= {row[:2]: row for row in rows(service, put, value)}
            drop_rics(connection, TABLE, service, dropped)
            for ric in dropped:
                model.pop((service, ric), None)
            assert everything(connection) == set(model.values())
            asked = random.Random(value).sample(RICS, len(RICS))
            columns = TABLE.c.full, cast(TABLE.c.drop_id, String)
            plain = [row for piece in rows_of(connection, TABLE, columns, service, asked) for row in piece]
            told: list[tuple[str, ...]] = []
            for piece in columns_of(connection, TABLE, columns, service, pd.Index(asked)):
                told += zip(*(column.to_pylist() for column in piece), strict=True)
            assert [row[0] for row in told] == [ric for ric in asked if (service, ric) in model]
            assert sorted(told) == sorted(plain)
            texts = text_of_each(connection, TABLE, TABLE.c.full, service, pa.array(asked, pa.string()))
            held = {str(ric): full for ric, full, _ in plain}
            assert [text for piece in texts for text in piece.to_pylist()] == [held.get(ric, "") for ric in asked]


@pytest.mark.parametrize("count", [1, 2, _ROWS_AT_ONCE[0] - 1, _ROWS_AT_ONCE[0], 2 * _ROWS_AT_ONCE[0] + 6])
def test_each_of_many_rows_is_added_or_replaced_once(count: int) -> None:
    names = [f"R{number}" for number in range(count)]
    with fresh() as connection:
        add_rows(connection, TABLE, columns_for(rows("S", names, 1)), {"service": "S"})
        assert everything(connection) == set(rows("S", names, 1))
        put_rics(connection, TABLE, columns_for(rows("S", names[-2:], 2)), {"service": "S"})
        assert everything(connection) == set(itertools.chain(rows("S", names[:-2], 1), rows("S", names[-2:], 2)))


values = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from([0, 1]), st.sampled_from(["", "1", "NULL"]), st.sampled_from([1, 2])
    ),
    min_size=1,
    max_size=7,
)


@given(values, st.sampled_from([(1,), (2, 1), (5, 3, 1)]))
def test_what_rows_have_in_common_is_theirs_as_well(rest: list[tuple[object, ...]], at_once: tuple[int, ...]) -> None:
    found = [("S", f"R{number}", *one) for number, one in enumerate(rest)]
    with fresh() as connection, pytest.MonkeyPatch.context() as patched:
        patched.setattr(bulk, "_ROWS_AT_ONCE", at_once)
        add_rows(connection, TABLE, columns_for(found), {"service": "S"})
        assert everything(connection) == set(found)


def test_the_largest_items_fit_into_one_text_of_sqlite() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        longest_bytes = database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
    assert longest_bytes > JOINED_RICS * (MAX_CONVERTED_BYTES + MAX_RIC_BYTES + 1)


def test_a_row_that_is_given_twice_is_refused() -> None:
    with fresh() as connection, pytest.raises(IntegrityError):
        add_rows(connection, TABLE, columns_for(rows("S", ["A", "A"], 1)), {"service": "S"})


def test_rows_that_are_all_alike_and_have_no_key_of_their_own_are_added() -> None:
    with create_engine("sqlite://").connect() as connection:
        table = schema.repairs
        table.create(connection)
        columns = {column.name: ["x"] * 3 for column in table.columns if column.name not in ("id", "service")}
        add_rows(connection, table, columns, {"service": "ONE"})
        found = [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]
    assert found == [(number, "ONE", *["x"] * (len(table.columns) - 2)) for number in (1, 2, 3)]
