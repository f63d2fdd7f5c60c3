"""Many rows at once come to the same as one after the other."""

from __future__ import annotations

import itertools
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, String, cast, create_engine, select

from contrib_watch.store import schema
from contrib_watch.store.bulk import _ROWS_AT_ONCE, add_rows, columns_of, drop_rics, put_rics, rows_of, text_of_each

TABLE = schema.dirty
RICS = ["A", "a", "é=X", "%s", "A'B", "[1]", "NULL", "1E5", "00"]

rics = st.lists(st.sampled_from(RICS), unique=True)


def rows(service: str, names: list[str], value: int) -> list[tuple[object, ...]]:
    return [(service, ric, "desk", value, f'{{"BID":{value}}}', 1) for ric in names]


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
            put_rics(connection, TABLE, rows(service, put, value))
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
            texts = text_of_each(connection, TABLE, TABLE.c.full, service, pd.Index(asked))
            held = {str(ric): full for ric, full, _ in plain}
            assert [text for piece in texts for text in piece.to_pylist()] == [held.get(ric, "") for ric in asked]


@pytest.mark.parametrize("count", [1, _ROWS_AT_ONCE - 1, _ROWS_AT_ONCE, 2 * _ROWS_AT_ONCE + 1])
def test_each_of_many_rows_is_added_or_replaced_once(count: int) -> None:
    names = [f"R{number}" for number in range(count)]
    with fresh() as connection:
        add_rows(connection, TABLE, rows("S", names, 1))
        assert everything(connection) == set(rows("S", names, 1))
        put_rics(connection, TABLE, rows("S", names[1:], 2))
        assert everything(connection) == set(itertools.chain(rows("S", names[:1], 1), rows("S", names[1:], 2)))
