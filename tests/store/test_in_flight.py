"""Posts that have no answer yet, many to a row, come to the same as one to a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

from contrib_watch.core.model import Action, Post
from contrib_watch.store import Ledger, State, in_flight, restore, schema
from contrib_watch.store.in_flight import Posted

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RICS = ["A", "a", "é=X", "%s", "A'B", '"', "[1]", "NULL", "1E5", "00"]
FEEDS = [("fx", 1), ("fx", 2), ("desk", 0)]

rics = st.lists(st.sampled_from(RICS), unique=True)
steps = st.tuples(
    st.sampled_from(["put", "put", "end", "lose", "crash"]),
    st.sampled_from(["ONE", "TWO"]),
    rics,
    st.lists(st.sampled_from(FEEDS), min_size=len(RICS), max_size=len(RICS)),
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        schema.metadata.create_all(connection)
        yield connection


def post(ric: str, value: int) -> Post:
    return Post(value, ric, Action.REFRESH, "", f'{{"BID":{value}}}', "", attempts=value % 3)


@given(st.lists(steps, max_size=12), st.integers(1, 4))
def test_any_history_is_that_of_single_posts(
    history: list[tuple[str, str, list[str], list[tuple[str, int]]]], at_once: int
) -> None:
    """Against two dicts by Service and RIC."""
    flying: dict[tuple[str, str], Posted] = {}
    dirty: dict[tuple[str, str], tuple[object, ...]] = {}
    with create_engine("sqlite://").connect() as connection, pytest.MonkeyPatch.context() as patched:
        schema.metadata.create_all(connection)
        patched.setattr(in_flight, "BATCH_POSTS", at_once)
        for number, (step, service, names, origins) in enumerate(history):
            posts = [post(ric, number) for ric in names if (service, ric) not in flying]
            ids = range(100 * number, 100 * number + len(posts))
            if step == "put" and posts:
                in_flight.put(connection, service, posts, ids, origins[: len(posts)])
                for one, post_id, (feed, drop_id) in zip(posts, ids, origins, strict=False):
                    posted = Posted(service, one.ric, feed, drop_id, one.full, one.attempts + 1, post_id)
                    flying[service, one.ric] = posted
            elif step == "crash":
                assert in_flight.lose_all(connection) == len(flying)
                dirty |= {item: tuple(one)[:-1] for item, one in flying.items()}
                flying.clear()
            elif step == "end":
                in_flight.end(connection, service, names)
            elif step == "lose":
                in_flight.lose(connection, service, names)
            if step in ("end", "lose"):
                gone = [flying.pop((service, ric)) for ric in names if (service, ric) in flying]
                dirty |= {one[:2]: tuple(one)[:-1] for one in gone if step == "lose"}
            for one_service in ("ONE", "TWO"):
                expected = {item: one for item, one in flying.items() if item[0] == one_service}
                left = in_flight.without_answer(connection, one_service)
                assert {(one_service, one.ric): one for one in left} == expected
                assert sorted(in_flight.rics_of(connection, one_service)) == sorted(ric for _, ric in expected)
            assert len(in_flight.without_answer(connection)) == len(flying)
            assert {tuple(row) for row in connection.execute(select(schema.dirty))} == set(dirty.values())
            rows = connection.execute(select(schema.in_flight)).all()
            assert all(row.rics != "[]" for row in rows)  # what has all of its answers is gone


def test_what_no_post_is_for_changes_nothing(connection: Connection) -> None:
    in_flight.put(connection, "S", [post("A", 1), post("B", 1)], [1, 2], [("fx", 1)] * 2)
    before = connection.execute(select(schema.in_flight)).all()
    in_flight.end(connection, "S", ["C"])
    in_flight.lose(connection, "S", ["C"])
    in_flight.end(connection, "OTHER", ["A", "B"])
    in_flight.end(connection, "S", [])
    assert connection.execute(select(schema.in_flight)).all() == before
    assert connection.execute(select(schema.dirty)).all() == []


ONE_ROW_A_POST = """
DROP TABLE in_flight;
CREATE TABLE in_flight (
    service VARCHAR NOT NULL, ric VARCHAR NOT NULL, feed VARCHAR NOT NULL, drop_id INTEGER NOT NULL,
    "row" INTEGER NOT NULL, post_key BIGINT NOT NULL, post_id BIGINT NOT NULL, "full" TEXT NOT NULL,
    attempts INTEGER NOT NULL, PRIMARY KEY (service, ric)
) WITHOUT ROWID;
INSERT INTO in_flight VALUES ('S', 'A', 'fx', 7, 2, 1, 1, '{"BID":2}', 3), ('S', 'B', 'fx', 7, 3, 2, 2, '{}', 1);
INSERT INTO dirty VALUES ('S', 'A', 'fx', 6, '{"BID":1}', 2), ('OTHER', 'A', 'fx', 6, '{"BID":1}', 2);
UPDATE meta SET value = '5' WHERE key = 'schema_version';
"""


@pytest.mark.parametrize("is_backup", [False, True])
def test_posts_that_an_older_program_had_in_flight_are_dirty(tmp_path: Path, is_backup: bool) -> None:
    url, database = f"sqlite:///{tmp_path}/state.db", tmp_path / "state.db"

    def opened() -> State:
        return State.open(url=url, folder=tmp_path, target="prod")

    opened().close()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(ONE_ROW_A_POST)
    if is_backup:
        database.rename(tmp_path / "backup.db")
        restore(
            tmp_path / "backup.db",
            url=url,
            target="prod",
            now_utc=datetime(2026, 11, 22, tzinfo=UTC),
        )
    with opened() as state:
        assert Ledger(state).uncertain() == {"in_flight": 0, "dirty": 3}
        with state.transaction() as connection:
            rows = {tuple(row) for row in connection.execute(select(schema.dirty))}
    assert rows == {
        ("S", "A", "fx", 7, '{"BID":2}', 3),
        ("S", "B", "fx", 7, "{}", 1),
        ("OTHER", "A", "fx", 6, '{"BID":1}', 2),
    }
