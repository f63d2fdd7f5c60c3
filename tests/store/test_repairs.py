"""What the ADS should hold, and posts that belong to no drop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from contrib_watch.core.model import Action, Outcome, Post, Status, in_columns
from contrib_watch.store import State, back_up, in_flight, last_of_kind, schema
from contrib_watch.store.repairs import REPAIR, Repairs, Wanted
from contrib_watch.store.restore import restore

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
OLD, NEW = '{"BID":1}', '{"BID":2}'
ROW = {"feed": "fx", "carried": '{"BID":"2026-11-03 1"}', "drop_id": 7, "acked_at_utc": "2026-11-20T00:00:00.000Z"}


def opened(tmp_path: Path) -> State:
    return State.open(url=f"sqlite:///{tmp_path}/state.db", folder=tmp_path, target="default")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A is acknowledged, B is in doubt after a newer post, C was never acknowledged, D is another feed's."""
    with opened(tmp_path) as found, found.transaction() as connection:
        acked = [{"service": "S", "ric": ric, "fields": OLD, **ROW} for ric in ("A", "B")]
        foreign = {"service": "S", "ric": "D", "fields": OLD, **ROW, "feed": "desk"}
        connection.execute(insert(schema.snapshot), [*acked, foreign])
        doubted = {"service": "S", "feed": "fx", "drop_id": 8, "full": NEW, "attempts": 1}
        connection.execute(insert(schema.dirty), [{**doubted, "ric": ric} for ric in ("B", "C")])
    with opened(tmp_path) as found:
        yield found


def rows(state: State, table: str) -> list[tuple[object, ...]]:
    with state.transaction() as connection:
        found = schema.metadata.tables[table]
        return [tuple(row) for row in connection.execute(select(found.c.ric, found.c.drop_id).order_by(found.c.ric))]


def flying(state: State) -> list[tuple[str, int]]:
    with state.transaction() as connection:
        return [(one.ric, one.drop_id) for one in in_flight.without_answer(connection)]


def refresh(ric: str, fields: str) -> Post:
    return Post(0, ric, Action.REFRESH, fields, fields, "")


def test_what_is_in_doubt_is_left_out_unless_asked_for(state: State) -> None:
    repairs = Repairs(state)
    assert repairs.rics("S", ["fx"], uncertain=False) == ["A"]
    assert repairs.rics("S", ["fx"], uncertain=True) == ["A", "B", "C"]
    assert repairs.wanted("S", ["A", "B", "C", "X"]) == {
        "A": Wanted("fx", 7, OLD, True),
        "B": Wanted("fx", 8, NEW, False),
        "C": Wanted("fx", 8, NEW, False),
    }


def test_a_repair_from_doubt_to_ack_leaves_the_snapshot_as_it_was(state: State) -> None:
    repairs = Repairs(state)
    with state.transaction() as connection:
        before = connection.execute(select(schema.snapshot)).all()
    repairs.doubt("S", ["A", "B"])
    assert rows(state, "dirty") == [("A", REPAIR), ("B", 8), ("C", 8)]
    wanted = repairs.wanted("S", ["A"])
    assert wanted["A"].certain
    assert repairs.in_flight("S", [refresh("A", OLD)], wanted) == [1]
    assert repairs.wanted("S", ["A"]) == {}
    repairs.landed("S", [refresh("A", OLD)], ["2026-11-22T16:00:00.000Z"])
    assert flying(state) == []
    assert rows(state, "dirty") == [("B", 8), ("C", 8)]
    with state.transaction() as connection:
        assert connection.execute(select(schema.snapshot)).all() == before


def test_what_was_acknowledged_once_and_is_in_doubt_since(state: State) -> None:
    repairs = Repairs(state)
    repairs.doubt("S", ["A"])  # which is the repair's own
    assert repairs.in_doubt("S", ["fx", "desk"]) == {"B"}
    assert repairs.in_doubt("S", ["desk"]) == repairs.in_doubt("T", ["fx"]) == set()


def test_values_in_doubt_stay_their_drop_s(state: State) -> None:
    repairs = Repairs(state)
    posts = [refresh("B", NEW), refresh("C", NEW)]
    repairs.in_flight("S", posts, repairs.wanted("S", ["B", "C"]))
    assert flying(state) == [("B", 8), ("C", 8)]
    repairs.landed("S", posts, ["2026-11-22T16:00:00.000Z"] * 2)
    assert rows(state, "dirty") == []
    assert repairs.wanted("S", ["B", "C"]) == {"B": Wanted("fx", 8, NEW, True), "C": Wanted("fx", 8, NEW, True)}


def test_what_was_seen_to_be_there_is_in_doubt_no_more(state: State) -> None:
    repairs = Repairs(state)
    repairs.doubt("S", ["A"])
    repairs.present("S", ["A", "B"])
    assert rows(state, "dirty") == [("B", 8), ("C", 8)]


def test_a_restored_backup_posts_nothing_by_itself(state: State, tmp_path: Path) -> None:
    """Its values are older than what the ADS holds, also those of a repair that was under way in it."""
    repairs = Repairs(state)
    repairs.doubt("S", ["A", "D"])
    repairs.in_flight("S", [refresh("D", OLD)], repairs.wanted("S", ["D"]))
    state.put("suspect", '{"why": "lost"}')
    state.close()
    backup = tmp_path / "backup.db"
    backup.write_bytes((tmp_path / "state.db").read_bytes())
    restore(backup, url=f"sqlite:///{tmp_path}/state.db", target="default", now_utc=NOW)
    with opened(tmp_path) as restored:
        assert restored.get("suspect") is None
        assert rows(restored, "dirty") == [("A", 7), ("B", 8), ("C", 8), ("D", 7)]
        assert flying(restored) == []
        assert Repairs(restored).rics("S", ["fx", "desk"], uncertain=False) == []


def test_a_backup_that_is_restored_gives_no_repair_a_number_twice(state: State, tmp_path: Path) -> None:
    backup = back_up(f"sqlite:///{tmp_path}/state.db", tmp_path / "backup.db")  # without any repair
    state.close()
    numbers: list[int] = []
    for _ in range(3):
        with opened(tmp_path) as one:
            refused = Outcome(0, "A", Status.NAKKED, Action.REFRESH, 1, full=OLD)
            Repairs(one).record("S", in_columns([refused] * 2), {"A": "lost"})
            with one.transaction() as connection:
                found = list(connection.scalars(select(schema.repairs.c.id).order_by(schema.repairs.c.id)))
            told = last_of_kind(one, "repairs")
        assert told is not None
        assert [told["first"], told["last"]] == found
        assert told["leaves"]["rows"] == 2
        numbers += found
        restore(backup, url=f"sqlite:///{tmp_path}/state.db", target="default", now_utc=NOW)
    assert len(set(numbers)) == 6
