"""The record of posts: in flight, acknowledged, in doubt; PostIDs; outcomes."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from contrib_watch.core.diff import SNAPSHOT
from contrib_watch.core.model import Action, Drop, Outcome, Post, Status, in_columns
from contrib_watch.errors import ContribWatchError
from contrib_watch.store import Drops, Ledger, State, in_flight
from contrib_watch.store import ledger as store_ledger
from contrib_watch.store.post_ids import LAST_POST_ID

SERVICE = "NIPROV"
ACKED_AT = "2026-11-22T16:30:00.123Z"


def opened(folder: Path) -> State:
    return State.open(url=f"sqlite:///{folder}/state.db", folder=folder, target="prod")


def accepted(state: State, feed: str = "desk") -> Drop:
    return Drops(state).accept(
        feed=feed, path="/in/prices.csv", sha256="ab", size_bytes=1, mtime_ns=1, owner="ann",
        seen_at_utc=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened(tmp_path) as state:
        yield state


@pytest.fixture
def ledger(state: State) -> Ledger:
    return Ledger(state)


@pytest.fixture
def drop(state: State) -> Drop:
    return accepted(state)


def post(ric: str, value: str = "1", *, row: int = 2, attempts: int = 0, carried: str = "") -> Post:
    full = f'{{"BID":{value}}}'
    return Post(row, ric, Action.REFRESH, full, full, f"BID {value}", "BID", carried=carried, attempts=attempts)


def send(ledger: Ledger, drop: Drop, *posts: Post) -> list[int]:
    return ledger.in_flight(drop, SERVICE, posts)


def ack(ledger: Ledger, drop: Drop, *posts: Post) -> None:
    send(ledger, drop, *posts)
    ledger.landed(SERVICE, drop, posts, [ACKED_AT] * len(posts))


def known(ledger: Ledger, *rics: str, drop: Drop | None = None) -> dict[str, dict[str, object]]:
    """The snapshot's rows as dicts, without what is missing."""
    rows = ledger.snapshot(SERVICE, rics, drop).to_pylist()
    return {row.pop("ric"): {name: value for name, value in row.items() if value is not None} for row in rows}


# the snapshot


def test_an_ack_advances_the_snapshot_and_nothing_else_does(ledger: Ledger, drop: Drop) -> None:
    one = post("A", "22.1", carried='{"ASK":"2026-11-03"}')
    send(ledger, drop, one)
    assert known(ledger, "A") == {}
    assert ledger.uncertain() == {"in_flight": 1, "dirty": 0}
    ledger.landed(SERVICE, drop, [one], [ACKED_AT])
    assert known(ledger, "A", "B") == {
        "A": {
            "feed": "desk",
            "fields": '{"BID":22.1}',
            "carried": '{"ASK":"2026-11-03"}',
            "acked_on": "2026-11-22 1",
            "attempts": 0,
        }
    }
    assert ledger.uncertain() == {"in_flight": 0, "dirty": 0}
    assert ledger.everything() == [(SERVICE, "A", '{"BID":22.1}')]


def test_a_later_ack_replaces_the_values(ledger: Ledger, drop: Drop) -> None:
    ack(ledger, drop, post("A", "1"), post("B", "1"))
    ack(ledger, drop, post("A", "2"))
    assert sorted(ledger.everything()) == [(SERVICE, "A", '{"BID":2}'), (SERVICE, "B", '{"BID":1}')]


def test_outcome_and_snapshot_are_one_transaction(state: State, ledger: Ledger, drop: Drop) -> None:
    ack(ledger, drop, post("A", "1"))
    send(ledger, drop, post("A", "2"))
    with contextlib.suppress(RuntimeError), state.transaction():
        ledger.landed(SERVICE, drop, [post("A", "2")], [ACKED_AT])
        ledger.record(drop, in_columns([Outcome(2, "A", Status.ACKED)]))
        raise RuntimeError
    assert known(ledger, "A")["A"]["fields"] == '{"BID":1}'
    assert not len(ledger.outcomes(drop))
    assert ledger.uncertain() == {"in_flight": 1, "dirty": 0}


def test_an_outcome_that_cannot_be_recorded_takes_the_snapshot_back_with_it(
    state: State, ledger: Ledger, drop: Drop
) -> None:
    ledger.record(drop, in_columns([Outcome(2, "A", Status.NAKKED)]))
    send(ledger, drop, post("A"))
    with contextlib.suppress(IntegrityError), state.transaction():
        ledger.landed(SERVICE, drop, [post("A")], [ACKED_AT])
        ledger.record(drop, in_columns([Outcome(2, "A", Status.ACKED)]))  # the row has ended already
    assert known(ledger, "A") == {}
    assert ledger.outcomes(drop)["status"].to_pylist() == ["nakked"]


def test_rics_are_told_apart_by_case_service_and_looks(ledger: Ledger, drop: Drop) -> None:
    rics = ["abc=X", "ABC=X", "NA", "nan", "NULL", "005930", "5930", "1E5", "A'B", "A;B", "%s", ":x", "€"]
    ack(ledger, drop, *(post(ric, str(i)) for i, ric in enumerate(rics)))
    assert {ric: row["fields"] for ric, row in known(ledger, *rics).items()} == {
        ric: f'{{"BID":{i}}}' for i, ric in enumerate(rics)
    }
    assert known(ledger, "Abc=X", "na") == {}
    assert not len(ledger.snapshot("OTHER", rics))
    assert ledger.owned(SERVICE, "desk") == set(rics)
    assert ledger.owned("OTHER", "desk") == ledger.owned(SERVICE, "other") == set()


def test_the_table_is_in_columns_even_when_it_is_empty(ledger: Ledger, drop: Drop) -> None:
    for rics in ([], ["A"]):
        table = ledger.snapshot(SERVICE, rics, drop)
        assert table.schema == SNAPSHOT
        assert len(table) == 0


def test_fifty_thousand_rics_are_looked_up_at_once(ledger: Ledger, drop: Drop) -> None:
    rics = [f"R{i}=ACME" for i in range(50_000)]
    ack(ledger, drop, *(post(ric, str(row), row=row) for row, ric in enumerate(rics)))
    send(ledger, drop, post(rics[-1], "7", attempts=2))
    ledger.all_unknown()
    found = known(ledger, *rics, drop=drop)
    assert found.keys() == set(rics)
    assert found[rics[7]]["fields"] == '{"BID":7}'
    assert (found[rics[-1]]["attempted"], found[rics[-1]]["attempts"]) == ('{"BID":7}', 3)


def test_what_is_held_is_what_this_feed_has_acknowledged(state: State, ledger: Ledger) -> None:
    mine, other = accepted(state), accepted(state, "other")
    ack(ledger, mine, post("A", "1"), post("B", "2"), post("C", "1"), post("D", "1"))
    ack(ledger, other, post("THEIRS", "1"))
    send(ledger, mine, post("D", "1"))
    ledger.all_unknown()  # D is in doubt, whatever it is compared with
    rics = pa.array(["NEW", "THEIRS", "D", "C", "B", "A", "B"])
    held = ["", "", 'D{"BID":1}', 'C{"BID":1}', 'B{"BID":2}', 'A{"BID":1}', 'B{"BID":2}']
    assert ledger.held(SERVICE, "desk", rics).to_pylist() == held
    assert ledger.in_doubt(SERVICE, pd.Index(rics.to_pylist()[:-1], dtype="str")) == ["D"]
    assert ledger.in_doubt(SERVICE, pd.Index(rics.to_pylist()[:2], dtype="str")) == []
    assert set(ledger.held("OTHER", "desk", rics).to_pylist()) == {""}
    assert ledger.in_doubt("OTHER", pd.Index(["D"], dtype="str")) == []
    assert len(ledger.held(SERVICE, "desk", rics[:0])) == 0


def test_which_drop_posted_last_to_a_ric_whatever_the_answer(state: State, ledger: Ledger) -> None:
    first, second, third = (accepted(state) for _ in range(3))
    ack(ledger, first, post("ACKED", "1"), post("LOST", "1"))
    told = {"ACKED": (first, "acked"), "REFUSED": (second, "nakked"), "WAITED": (second, "superseded")}
    for row, (ric, (drop, status)) in enumerate(told.items()):
        at_utc = "" if status == "superseded" else ACKED_AT
        ledger.record(drop, in_columns([Outcome(row, ric, Status(status), acked_at_utc=at_utc)]))
    ledger.record(second, in_columns([Outcome(9, "ACKED", Status.SUPERSEDED)]))
    send(ledger, third, post("LOST", "2"))
    ledger.all_unknown()
    others = accepted(state, "other")  # which posts the same RICs to another Service
    ledger.record(others, in_columns([Outcome(0, "ACKED", Status.ACKED, acked_at_utc=ACKED_AT + "9")]))
    of_desk = ledger.last_posted(SERVICE, "desk", ["WAITED", "LOST", "REFUSED", "ACKED"])
    assert of_desk == [0, third.id, second.id, first.id]


owners = st.dictionaries(st.sampled_from([f"R{number}" for number in range(20)]), st.sampled_from(["desk", "other"]))


@given(owners, st.permutations([f"R{number}" for number in range(20)]), st.integers(0, 20), st.integers(1, 25))
def test_all_that_a_feed_owns_is_what_a_look_at_each_ric_tells(
    owned: dict[str, str], asked: list[str], most: int, page: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Path(folder)) as state,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(store_ledger, "JOINED_RICS", page)
        ledger, drops = Ledger(state), {feed: accepted(state, feed) for feed in ("desk", "other")}
        for row, (ric, feed) in enumerate(owned.items()):
            ack(ledger, drops[feed], post(ric, str(row)))
        rics = pa.array(asked, pa.string())
        for service, feed in ((SERVICE, "desk"), (SERVICE, "other"), ("OTHER", "desk")):
            count = ledger.count_owned(service, feed)
            whole = ledger.whole(service, feed, most)
            assert (whole is None) == (count > most)
            if whole is not None:
                assert len(whole.rics) == count
                for wanted in rics, whole.rics:
                    looked_up = ledger.held(service, feed, wanted)
                    assert ledger.held(service, feed, wanted, whole).to_pylist() == looked_up.to_pylist()


# in doubt


def test_a_post_without_an_answer_leaves_its_ric_dirty_with_what_was_tried(ledger: Ledger, drop: Drop) -> None:
    ack(ledger, drop, post("A", "1"), post("B", "1"))
    send(ledger, drop, post("A", "2"), post("NEW", "2"), post("B", "2"))
    ledger.unknown(SERVICE, ["A", "NEW"])
    rows = known(ledger, "A", "B", "NEW", drop=drop)
    assert (rows["A"]["fields"], rows["A"]["attempted"], rows["A"]["attempts"]) == ('{"BID":1}', '{"BID":2}', 1)
    assert rows["NEW"] == {"feed": "desk", "attempted": '{"BID":2}', "attempted_by": "1", "attempts": 1}
    assert "attempted" not in rows["B"]
    assert ledger.uncertain() == {"in_flight": 1, "dirty": 2}


def test_an_ack_makes_a_dirty_ric_clean(ledger: Ledger, drop: Drop) -> None:
    send(ledger, drop, post("A", "1"))
    ledger.unknown(SERVICE, ["A"])
    ack(ledger, drop, post("A", "2", attempts=1))
    assert known(ledger, "A", drop=drop)["A"]["fields"] == '{"BID":2}'
    assert "attempted" not in known(ledger, "A")["A"]
    assert ledger.uncertain() == {"in_flight": 0, "dirty": 0}


def test_a_nak_changes_nothing_that_was_known(ledger: Ledger, drop: Drop) -> None:
    ack(ledger, drop, post("CLEAN", "1"))
    send(ledger, drop, post("DIRTY", "1"))
    ledger.unknown(SERVICE, ["DIRTY"])
    before = known(ledger, "CLEAN", "DIRTY", "NEW", drop=drop)
    send(ledger, drop, post("CLEAN", "2"), post("DIRTY", "2"), post("NEW", "2"))
    ledger.refused(SERVICE, ["CLEAN", "DIRTY", "NEW"])
    assert known(ledger, "CLEAN", "DIRTY", "NEW", drop=drop) == before
    assert ledger.uncertain() == {"in_flight": 0, "dirty": 1}


def test_the_newest_attempt_is_the_one_that_is_kept(ledger: Ledger, drop: Drop) -> None:
    for attempts, value in enumerate(("1", "2", "3")):
        send(ledger, drop, post("A", value, attempts=attempts))
        ledger.unknown(SERVICE, ["A"])
    expected = {"feed": "desk", "attempted": '{"BID":3}', "attempted_by": "1", "attempts": 3}
    assert known(ledger, "A", drop=drop)["A"] == expected


def test_attempts_are_those_of_the_drop_at_hand(state: State, ledger: Ledger, drop: Drop) -> None:
    send(ledger, drop, post("A", attempts=4))
    ledger.unknown(SERVICE, ["A"])
    assert known(ledger, "A", drop=drop)["A"]["attempts"] == 5
    assert known(ledger, "A", drop=accepted(state))["A"]["attempts"] == 0
    assert known(ledger, "A")["A"]["attempts"] == 0


def test_what_was_in_flight_at_a_crash_is_dirty_afterwards(tmp_path: Path) -> None:
    state = opened(tmp_path)
    ledger, drop = Ledger(state), accepted(state)
    ack(ledger, drop, post("A", "1"))
    send(ledger, drop, post("A", "2"), post("B", "3", attempts=1))
    state._engine.dispose()  # nothing is tidied up
    with opened(tmp_path) as after:
        ledger = Ledger(after)
        assert ledger.all_unknown() == 2
        assert ledger.all_unknown() == 0
        rows = known(ledger, "A", "B", drop=drop)
        assert [(rows[ric]["attempted"], rows[ric]["attempts"]) for ric in "AB"] == [
            ('{"BID":2}', 1),
            ('{"BID":3}', 2),
        ]
        assert rows["A"]["fields"] == '{"BID":1}'


def test_one_service_says_nothing_about_another(ledger: Ledger, drop: Drop) -> None:
    ledger.in_flight(drop, "ONE", [post("A", "1")])
    ledger.in_flight(drop, "TWO", [post("A", "2")])
    ledger.unknown("ONE", ["A"])
    ledger.refused("ONE", ["A"])
    assert ledger.uncertain() == {"in_flight": 1, "dirty": 1}
    ledger.landed("TWO", drop, [post("A", "2")], [ACKED_AT])
    assert ledger.everything() == [("TWO", "A", '{"BID":2}')]
    assert ledger.uncertain() == {"in_flight": 0, "dirty": 1}


def test_a_ric_has_at_most_one_post_outstanding(ledger: Ledger, drop: Drop) -> None:
    [first] = send(ledger, drop, post("A"))
    for posts in ([post("B"), post("A")], [post("B"), post("B")]):
        with pytest.raises(ContribWatchError, match="last post has no answer"):
            send(ledger, drop, *posts)
    assert ledger.uncertain() == {"in_flight": 1, "dirty": 0}
    assert send(ledger, drop, post("B")) == [first + 1]


# PostIDs


def test_post_ids_go_on_over_a_restart(tmp_path: Path) -> None:
    ids: list[int] = []
    for start in range(3):
        with opened(tmp_path) as state:
            drop = accepted(state)
            ids += send(Ledger(state), drop, *(post(f"R{start}-{i}") for i in range(4)))
            assert send(Ledger(state), drop) == []
    assert ids == list(range(1, 13))


def test_a_post_that_was_never_recorded_gives_its_post_id_back(state: State, ledger: Ledger, drop: Drop) -> None:
    with contextlib.suppress(RuntimeError), state.transaction():
        assert send(ledger, drop, post("A")) == [1]
        raise RuntimeError
    assert send(ledger, drop, post("B")) == [1]


@pytest.mark.parametrize("turns", [1, 5])
def test_post_ids_wrap_to_1_and_skip_those_in_flight(state: State, ledger: Ledger, drop: Drop, turns: int) -> None:
    send(ledger, drop, post("OLD 1"), post("OLD 2"), post("OLD 3"))
    ledger.refused(SERVICE, ["OLD 2"])
    state.put("next_post_key", str(turns * LAST_POST_ID - 1))
    posts = [post(f"R{i}") for i in range(5)]
    assert send(ledger, drop, *posts) == [LAST_POST_ID - 1, LAST_POST_ID, 2, 4, 5]
    with state.transaction() as connection:
        ids = [one.post_id for one in in_flight.without_answer(connection)]
    assert sorted(ids) == [1, 2, 3, 4, 5, LAST_POST_ID - 1, LAST_POST_ID]
    assert state.get("next_post_key") == str(turns * LAST_POST_ID + 6)


# outcomes


def test_outcomes_come_back_exactly_and_by_row(state: State, ledger: Ledger, drop: Drop) -> None:
    outcomes = [
        Outcome(9, "NA", Status.REJECTED, text='Sheet1!C7 "1.234,5" is not a number'),
        Outcome(2, "A", Status.ACKED, "Refresh", LAST_POST_ID, "BID 1 -> 2", "", "", ACKED_AT, ACKED_AT, 3),
        Outcome(3, "1E5", Status.NAKKED, "Update", 1, "BID 1", "DeniedBySrc", 'é "\n', ACKED_AT, "", 1),
        Outcome(2**31 + 7, "005930", Status.UNCONFIRMED, "Update", None),
    ]
    ledger.record(drop, in_columns(outcomes[:1]))
    ledger.record(drop, in_columns([]))
    ledger.record(drop, in_columns(outcomes[1:]))
    table = ledger.outcomes(drop)
    assert tuple(table.column_names) == Outcome._fields
    assert [Outcome(**row) for row in table.to_pylist()] == sorted(outcomes)
    assert not len(ledger.outcomes(accepted(state)))


def test_each_run_of_a_drop_has_outcomes_of_its_own(state: State, ledger: Ledger, drop: Drop) -> None:
    ledger.record(drop, in_columns([Outcome(2, "A", Status.HELD)]))
    again = Drops(state).decide(drop, approved=True)
    assert not len(ledger.outcomes(again))
    ledger.record(again, in_columns([Outcome(2, "A", Status.ACKED)]))
    assert ledger.outcomes(drop)["status"].to_pylist() == ["held"]
    assert ledger.outcomes(again)["status"].to_pylist() == ["acked"]


def test_a_row_ends_once(ledger: Ledger, drop: Drop) -> None:
    ledger.record(drop, in_columns([Outcome(2, "A", Status.ACKED)]))
    with pytest.raises(IntegrityError):
        ledger.record(drop, in_columns([Outcome(3, "B", Status.ACKED), Outcome(2, "A", Status.NAKKED)]))
    assert ledger.outcomes(drop)["row"].to_pylist() == [2]


def test_outcomes_can_be_asked_for_with_sql(state: State, ledger: Ledger, drop: Drop) -> None:
    ledger.record(drop, in_columns([Outcome(2, "A", Status.ACKED, post_id=7)]))
    with state.transaction() as connection:
        found = connection.exec_driver_sql(
            "select drop_id, run, row, ric, status, action, post_id, changes, nak_code, text, sent_at_utc, "
            "acked_at_utc, attempts from outcomes"
        ).all()
    assert [tuple(row) for row in found] == [(drop.id, 1, 2, "A", "acked", "", 7, "", "", "", "", "", 0)]


# any history

steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "ack", "ack", "nak", "lose", "crash", "undone ack"]),
        st.sampled_from(["A", "a", "NA"]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=25)
@given(steps)
def test_any_history_leaves_what_was_acknowledged_and_what_is_in_doubt(history: list[tuple[str, str]]) -> None:
    """Against three dicts: what the record says of each RIC, and PostIDs that never come twice."""
    acked: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    flying: dict[str, Post] = {}
    ids: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        state = opened(Path(folder))
        drop = accepted(state)
        for number, (step, ric) in enumerate(history):
            ledger = Ledger(state)
            if step == "send" and ric not in flying:
                flying[ric] = post(ric, str(number))
                ids += send(ledger, drop, flying[ric])
            elif step == "crash":
                state.close()
                state = opened(Path(folder))
                assert Ledger(state).all_unknown() == len(flying)
                doubtful |= {name: one.full for name, one in flying.items()}
                flying.clear()
            elif step == "undone ack" and ric in flying:
                with contextlib.suppress(KeyError), state.transaction():
                    ledger.landed(SERVICE, drop, [flying[ric]], [ACKED_AT])
                    raise KeyError
            elif step == "ack" and ric in flying:
                ledger.landed(SERVICE, drop, [flying[ric]], [ACKED_AT])
                acked[ric] = flying.pop(ric).full
                doubtful.pop(ric, None)
            elif step == "nak":
                ledger.refused(SERVICE, [ric])
                flying.pop(ric, None)
            elif step == "lose":
                ledger.unknown(SERVICE, [ric])
                if ric in flying:
                    doubtful[ric] = flying.pop(ric).full
        rows = known(Ledger(state), "A", "a", "NA")
        state.close()
    assert {ric: row["fields"] for ric, row in rows.items() if "fields" in row} == acked
    assert {ric: row["attempted"] for ric, row in rows.items() if "attempted" in row} == doubtful
    assert ids == list(range(1, len(ids) + 1))
    assert all(json.loads(text) for text in acked.values())
