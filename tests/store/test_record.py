"""The record: what is in it, and that no change to it goes unseen."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from contrib_watch.core.chain import canonical
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Action, Drop, DropStatus, Outcome, Post, Status, in_columns
from contrib_watch.store import Drops, Ledger, State
from contrib_watch.store import outcomes as outcomes_module
from contrib_watch.store.history import History
from contrib_watch.store.outcomes import KEPT_COLUMNS
from contrib_watch.store.proof import Proven, hash_of, prove
from contrib_watch.store.record import ROW_COLUMNS, Leaves, leaves_of, outcome_leaves
from contrib_watch.store.repairs import Repairs

NOW = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
ACKED_AT = "2026-11-22T16:30:01.000Z"


def opened(folder: Path) -> State:
    return State.open(url=f"sqlite:///{folder}/state.db", folder=folder, target="prod", utc=lambda: NOW)


def processed(state: State, *values: str, path: str = "/in/prices.csv") -> Drop:
    """A drop whose rows were all acknowledged, with its report written."""
    drops, ledger = Drops(state), Ledger(state)
    drop = drops.accept(
        feed="desk", path=path, sha256="ab" * 32, size_bytes=1, mtime_ns=1, owner="ann", seen_at_utc=NOW
    )
    drop = drops.set_status(drop, DropStatus.SENDING)
    for row, value in enumerate(values, 2):
        full = f'{{"BID":{value}}}'
        one = Post(row, f"R{row}", Action.REFRESH, full, full, f"BID {value}", "BID")
        (post_id,) = ledger.in_flight(drop, "TEST", [one])
        with state.transaction():
            ledger.landed("TEST", drop, [one], [ACKED_AT])
            outcome = Outcome(row, one.ric, Status.ACKED, "Refresh", post_id, one.changes, "", "", ACKED_AT, ACKED_AT)
            ledger.record(drop, in_columns([outcome._replace(attempts=1, full=full, changed="BID")]))
    done = drops.finish(
        Drop(**{**vars(drop), "status": DropStatus.DONE}), totals={"acked": len(values)}, findings=Findings(),
        has_problem_rows=False, now_utc=NOW, service="TEST",
    )  # fmt: skip
    drops.reserve_report(done, folder="/in", base="prices.csv")
    drops.report_whole(done, {"prices.csv.ack.csv": "00" * 32})
    return done


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """Eight records: the state's, three for each of two drops, and that of a repair."""
    with opened(tmp_path) as state:
        processed(state, "1", "2", "3")
        processed(state, "4")
        outcome = Outcome(0, "R2", Status.ACKED, "Refresh", 9, "", "", "", ACKED_AT, ACKED_AT, 1, '{"BID":4}')
        Repairs(state).record("TEST", in_columns([outcome]), {"R2": "not there"})
        yield state


def sql(state: State, *statements: str) -> None:
    with state.transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_untouched_record_is_whole(state: State) -> None:
    proven = prove(state)
    assert (proven.misfit, proven.records, proven.rows) == (None, 8, 5)
    assert proven.contents == {"ab" * 32: 2}
    assert proven.gaps == ()


def test_each_record_names_the_hash_of_the_one_before(state: State) -> None:
    with state.transaction() as connection:
        rows = connection.execute(text("SELECT number, kind, sha256, text FROM record ORDER BY number")).all()
    assert [row.kind for row in rows] == ["state", *["drop", "run", "report"] * 2, "repairs"]
    told = [json.loads(row.text) for row in rows]
    assert [one["previous"] for one in told] == ["0" * 64, *(row.sha256 for row in rows[:-1])]
    assert told[2]["body"]["leaves"]["rows"] == 3


def test_every_record_shows_a_changed_byte(state: State) -> None:
    whole = prove(state)
    for number in range(1, whole.records + 1):
        with state.transaction() as connection:
            before: str = connection.execute(text(f"SELECT text FROM record WHERE number = {number}")).scalar_one()
        for at in (0, len(before) // 2, len(before) - 1):
            other = "x" if before[at] != "x" else "y"
            changed = before[:at] + other + before[at + 1 :]
            with state.transaction() as connection:
                connection.execute(text("UPDATE record SET text = :t WHERE number = :n"), {"t": changed, "n": number})
            misfit = prove(state).misfit
            assert misfit is not None
            assert misfit.record == number
        with state.transaction() as connection:
            connection.execute(text("UPDATE record SET text = :t WHERE number = :n"), {"t": before, "n": number})
    assert prove(state) == whole


TAMPERING: dict[str, tuple[list[str], int | None, str]] = {
    "a record removed": (["DELETE FROM record WHERE number = 3"], 3, "it is missing, and record 4 comes next"),
    "the first removed": (["DELETE FROM record WHERE number = 1"], 1, "it is missing"),
    "two swapped": (
        [
            "UPDATE record SET number = -1 WHERE number = 3",
            "UPDATE record SET number = 3 WHERE number = 4",
            "UPDATE record SET number = 4 WHERE number = -1",
        ],
        3,
        "does not follow record 2",
    ),
    "the tail cut": (["DELETE FROM record WHERE number > 6"], None, "ends with number 6, and once it ended with"),
    "a text and its hash of two others": (
        ["UPDATE record SET (text, sha256) = (SELECT text, sha256 FROM record WHERE number = 2) WHERE number = 5"],
        5,
        "does not follow record 4",
    ),
    "a value": (
        ["""UPDATE outcomes SET "full" = '{"BID":9}' WHERE row = 3"""],
        3,
        "the outcomes of drop 1, run 1 are not those that were recorded",
    ),
    "an Ack's time": (["UPDATE outcomes SET acked_at_utc = '' WHERE drop_id = 2"], 6, "at least one of them"),
    "an outcome removed": (["DELETE FROM outcomes WHERE row = 4"], 3, "stands for 3 outcomes of drop 1, run 1, and"),
    "an outcome added": (
        [
            """INSERT INTO outcomes SELECT 2, 2, 9, ric, status, action, post_id, changes, nak_code, text,
            sent_at_utc, acked_at_utc, attempts, "full", changed FROM outcomes WHERE row = 3"""
        ],
        None,
        "no record tells of them",
    ),
    "who dropped it": (["UPDATE drops SET owner = 'bob' WHERE id = 2"], None, "owner of drop 2 is 'bob', and 'ann'"),
    "how that is known": (
        ["UPDATE drops SET owner_source = 'asserted' WHERE id = 2"],
        None,
        "owner_source of drop 2 is 'asserted'",
    ),
    "when it came": (["UPDATE drops SET seen_at_utc = '2020' WHERE id = 2"], None, "seen_at_utc of drop 2 is '2020'"),
    "what was found": (
        ["""UPDATE drops SET findings = '{"missing":["R9"]}' WHERE id = 2"""],
        None,
        "what was found about drop 2",
    ),
    "a file that did not come": (
        ["INSERT INTO absences VALUES ('desk', '2026-11-20', '2026-11-20T16:45:00.000Z', '')"],
        None,
        "no file of feed 'desk' came on 2026-11-20",
    ),
    "when it was over": (
        ["UPDATE drops SET finished_at_utc = '2020' WHERE id = 2"],
        None,
        "finished_at_utc of drop 2 is '2020'",
    ),
    "whether it would be tried again": (
        ["UPDATE drops SET has_problem_rows = 1 WHERE id = 2"],
        None,
        "has_problem_rows of drop 2 is True, and False was recorded",
    ),
    "what became of it": (["UPDATE drops SET status = 'held' WHERE id = 2"], None, "drop 2 is held (), and done"),
    "its totals": (["""UPDATE drops SET totals = '{"acked":2}' WHERE id = 2"""], None, "the totals of drop 2"),
    "a drop removed": (["DELETE FROM drops WHERE id = 1"], None, "drop 1 has no row"),
    "a drop smuggled in": (["UPDATE drops SET id = 3 WHERE id = 2"], None, "drop 2 has no row"),
    "where it stood": (["UPDATE runs SET sheet = 'Other' WHERE drop_id = 2"], None, "runs says of drop 2, run 1"),
    "where nothing stood": (["DELETE FROM runs WHERE drop_id = 2"], None, "runs says of drop 2, run 1"),
    "another record of it": (["UPDATE runs SET record = 1 WHERE drop_id = 2"], None, "runs says of drop 2, run 1"),
    "where its report is": (["UPDATE reports SET folder = '/tmp'"], None, "reports says of drop 1, run 1"),
    "what its report is called": (
        ["UPDATE reports SET base = 'x' WHERE drop_id = 2"],
        None,
        "reports says of drop 2",
    ),
    "a report that is not written": (["UPDATE reports SET whole = 0"], None, "reports says of drop 1, run 1"),
    "a report left out": (["DELETE FROM reports WHERE drop_id = 2"], None, "reports says of drop 2, run 1"),
    "a report made up": (
        ["INSERT INTO reports VALUES (2, 2, '/in', 'prices.csv', 1)"],
        None,
        "reports says of drop 2, run 2",
    ),
    "a repair": (["UPDATE repairs SET fields = '{}'"], 8, "the repairs 1 to 1 are not those"),
    "a repair added": (
        [
            """INSERT INTO repairs SELECT 2, service, 'R3', reason, '{"BID":2}', status, 99, '', '', '', '', 1
            FROM repairs"""
        ],
        None,
        "repair 2, of R3, is in the table, and no record tells of it",
    ),
    "the snapshot rolled back": (
        ["""UPDATE snapshot SET (fields, drop_id) = ('{"BID":1}', 1) WHERE ric = 'R2'"""],
        None,
        "the snapshot's values of R2 (TEST) are not those that were acknowledged last",
    ),
    "an item taken out of it": (["DELETE FROM snapshot WHERE ric = 'R3'"], None, "the snapshot does not have it"),
    "whose item it is": (["UPDATE snapshot SET feed = 'other' WHERE ric = 'R3'"], None, "is of feed 'other'"),
    "values in doubt": (
        ["""INSERT INTO dirty VALUES ('TEST', 'R3', 'desk', 1, '{"BID":999}', 1)"""],
        None,
        "R3 (TEST) is in doubt with values that no post of drop 1 had",
    ),
    "values in flight": (
        [
            """INSERT INTO in_flight VALUES (1, 'TEST', 'desk', 1, '["R3"]',
            '{"post_id":[9],"ric":["R3"],"attempts":[1],"full":["{\\"BID\\":999}"]}')"""
        ],
        None,
        "R3 (TEST) is in flight with values that no post of drop 1 had",
    ),
    "a run made up": (
        ["UPDATE drops SET run = 9, status = 'sending' WHERE id = 2"],
        None,
        "drop 2 is sending in run 9",
    ),
    "a run without a decision": (
        ["UPDATE drops SET run = 2, status = 'waiting' WHERE id = 2"],
        None,
        "drop 2 is in run 2, and no record tells who decided so",
    ),
    "an approval": (["UPDATE drops SET approved = 1 WHERE id = 2"], None, "drop 2 counts as approved in run 1"),
    "the snapshot": (["""UPDATE snapshot SET fields = '{"BID":8}' WHERE ric = 'R3'"""], None, "values of R3 (TEST)"),
}


@pytest.mark.parametrize(("statements", "record", "what"), TAMPERING.values(), ids=TAMPERING)
def test_tampering(state: State, statements: list[str], record: int | None, what: str) -> None:
    sql(state, *statements)
    misfit = prove(state).misfit
    assert misfit is not None
    assert (misfit.record, what in misfit.what) == (record, True), str(misfit)


def test_a_chain_that_is_computed_anew_has_another_head(state: State) -> None:
    """Nothing in the database shows it; what left it does."""
    witness = Drops(state).witness(Drops(state).drop(2))
    assert witness is not None
    assert hash_of(state, witness.number) == witness.sha256
    forge(state, lambda told: told.replace('"owner":"ann"', '"owner":"bob"'))
    sql(state, "UPDATE drops SET owner = 'bob'")
    assert prove(state).misfit is None
    assert hash_of(state, witness.number) != witness.sha256


def forge(state: State, change: Callable[[str], str]) -> None:
    """Change what the records say, and compute the whole chain anew, as whoever knows how it works can."""
    previous = "0" * 64
    with state.transaction() as connection:
        for number, body in connection.execute(text("SELECT number, text FROM record ORDER BY number")).all():
            told = json.loads(change(body))
            forged = canonical({**told, "previous": previous})
            previous = sha256(forged.encode()).hexdigest()
            values = {"t": forged, "h": previous, "n": number}
            connection.execute(text("UPDATE record SET text = :t, sha256 = :h WHERE number = :n"), values)
    state.put("record_head", f"{number} {previous}")


def test_a_doubt_that_is_taken_away(state: State) -> None:
    """An item whose post had no answer is in doubt until the ADS acknowledges it, and no longer."""
    drops, ledger = Drops(state), Ledger(state)
    drop = drops.accept(feed="desk", path="/in/x", sha256="", size_bytes=1, mtime_ns=1, owner="ann", seen_at_utc=NOW)
    post = Post(2, "R4", Action.UPDATE, '{"BID":5}', '{"BID":5}', "BID 3 -> 5", "BID")
    (post_id,) = ledger.in_flight(drop, "TEST", [post])
    lost = Outcome(2, "R4", Status.UNCONFIRMED, "Update", post_id, full='{"BID":5}', changed="BID", attempts=1)
    ledger.unknown("TEST", ["R4"])
    ledger.record(drop, in_columns([lost]))
    drops.finish(
        Drop(**{**vars(drop), "status": DropStatus.DONE}), totals={"unconfirmed": 1}, findings=Findings(),
        has_problem_rows=True, now_utc=NOW, service="TEST",
    )  # fmt: skip
    assert prove(state).misfit is None
    sql(state, "CREATE TABLE kept AS SELECT * FROM dirty", "DELETE FROM dirty")
    assert "R4 (TEST) was posted without an answer, and is not in doubt" in str(prove(state).misfit)
    sql(state, "INSERT INTO dirty SELECT * FROM kept")
    repairs, again = Repairs(state), Post(0, "R4", Action.REFRESH, '{"BID":5}', '{"BID":5}', "")
    (post_id,) = repairs.in_flight("TEST", [again], repairs.wanted("TEST", ["R4"]))
    repairs.landed("TEST", [again], [ACKED_AT])
    acked = Outcome(0, "R4", Status.ACKED, "Refresh", post_id, "", "", "", ACKED_AT, ACKED_AT, 1, '{"BID":5}')
    repairs.record("TEST", in_columns([acked]), {"R4": "a person asked"})
    assert prove(state).misfit is None


def test_what_is_undone_is_not_recorded(state: State) -> None:
    before = prove(state)
    with contextlib.suppress(KeyError), state.transaction():
        processed(state, "7")
        raise KeyError
    assert prove(state) == before


def test_a_drop_under_way_fits(state: State) -> None:
    drop = Drops(state).accept(
        feed="desk", path="/in/x", sha256="", size_bytes=1, mtime_ns=1, owner="ann", seen_at_utc=NOW
    )
    drop = Drops(state).set_status(drop, DropStatus.SENDING)
    Ledger(state).record(drop, in_columns([Outcome(2, "A", Status.REJECTED)]))
    assert prove(state).misfit is None
    Drops(state).set_status(drop, DropStatus.FAILED, "no disk")
    proven: Proven = prove(state)
    assert (proven.misfit, proven.rows) == (None, 6)
    again = Drops(state).decide(Drops(state).drop(drop.id), approved=False)
    assert again.run == 2
    assert prove(state).misfit is None


def test_a_run_that_is_set_back(state: State) -> None:
    again = Drops(state).decide(Drops(state).drop(2), approved=False)
    Drops(state).finish(
        Drop(**{**vars(again), "status": DropStatus.DONE}), totals={"acked": 1}, findings=Findings(),
        has_problem_rows=False, now_utc=NOW, service="TEST",
    )  # fmt: skip
    assert prove(state).misfit is None
    sql(state, "UPDATE drops SET run = 1 WHERE id = 2")
    assert "drop 2 is done in run 1, and its record tells of 2 that ended" in str(prove(state).misfit)


def test_a_drop_that_was_to_be_held(state: State) -> None:
    Drops(state).accept(
        feed="desk",
        path="/in/x",
        sha256="",
        size_bytes=1,
        mtime_ns=1,
        owner="ann",
        seen_at_utc=NOW,
        held_because="old",
    )
    assert prove(state).misfit is None
    sql(state, "UPDATE drops SET held_because = '' WHERE id = 3")
    assert "drop 3 was to be held, and no record tells who released it" in str(prove(state).misfit)


def test_pauses(state: State) -> None:
    told = {"name": "ann", "source": "OS user", "account": "ann", "why": ""}
    for feed in ("desk", ""):
        state.append("decision", {**told, "decision": "pause", "feed": feed})
    both = json.dumps({feed: {**told, "since_utc": ACKED_AT} for feed in ("desk", "*")})
    state.put("pauses", both)
    assert prove(state).misfit is None
    state.put("pauses", both.replace("ann", "bob"))
    assert "the pause of all feeds is not told alike" in str(prove(state).misfit)
    sql(state, "DELETE FROM meta WHERE key = 'pauses'")
    assert "the pause of all feeds is not told alike" in str(prove(state).misfit)
    state.append("decision", {**told, "decision": "resume", "feed": ""})
    assert prove(state).misfit is None


def test_a_day_tells_what_did_not_come(state: State) -> None:
    """And the record stands for it."""
    due = datetime(2026, 11, 20, 16, 45, tzinfo=UTC)
    assert Drops(state).note_absence("other", due.date(), due, NOW)
    (told,) = History(state).day("2026-11-20T00:00:00.000Z", "2026-11-21T00:00:00.000Z")
    assert (told["feed"], told["what"], told["drop"]) == ("other", "missing", None)
    assert told["why"] == "no file came by 2026-11-20T16:45:00.000Z, when one was due"
    assert prove(state).misfit is None
    sql(state, "DELETE FROM absences")
    assert "no file of feed 'other' came on 2026-11-20" in str(prove(state).misfit)


# the tree over the rows of a drop, which grows as they are recorded


def in_the_table(state: State, drop: Drop) -> Leaves:
    with state.transaction() as connection:
        return leaves_of(outcome_leaves(connection, drop.id, drop.run), ROW_COLUMNS)


def shown_as_in_the_table(state: State, ledger: Ledger, drop: Drop) -> None:
    for columns in (KEPT_COLUMNS, ("status", "ric")):
        found = ledger.outcomes(drop, columns)
        assert found.equals(Ledger(state).outcomes(drop, columns))


texts = st.text(st.characters(exclude_categories=["Cs"]))
some_outcomes = st.builds(
    Outcome, st.integers(-3, 2**40), texts, st.sampled_from(Status), texts, st.none() | st.integers(1, 2**32 - 1),
    texts, texts, texts, texts, texts, st.integers(0, 9), texts, texts,
)  # fmt: skip


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """One state for all examples of a promise."""
    with opened(tmp_path_factory.mktemp("state")) as state:
        yield state


@given(st.lists(some_outcomes, unique_by=lambda one: one.row), st.data())
def test_the_tree_that_grew_is_that_over_the_table(
    lasting: State, outcomes: list[Outcome], data: st.DataObject
) -> None:
    """Rows come in any order; some were undone, and some are of an earlier process."""
    ledger, drop = Ledger(lasting), processed(lasting)
    for one in outcomes:
        then = data.draw(st.sampled_from(["recorded", "recorded", "undone", "undone before", "stopped"]))
        if then == "stopped":
            ledger = Ledger(lasting)
        if then.startswith("undone"):
            with contextlib.suppress(ZeroDivisionError), lasting.transaction():
                ledger.record(drop, in_columns([one._replace(text="undone")]))
                raise ZeroDivisionError
        if then != "undone":
            ledger.record(drop, in_columns([one]))
        if then == "undone before":
            shown_as_in_the_table(lasting, ledger, drop)
    shown_as_in_the_table(lasting, ledger, drop)
    assert ledger.leaves(drop) == in_the_table(lasting, drop)


@pytest.mark.parametrize("kept_rows", [0, 299, 300, 999, 1_000])
def test_a_tree_of_many_rows_is_that_over_the_table(
    state: State, kept_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes_module, "HUGE_ROWS", kept_rows)
    ledger, drop = Ledger(state), processed(state)
    outcomes = [Outcome(row, f"R{row}", Status.ACKED, post_id=row, full="{}") for row in range(1_000)]
    random.Random(1).shuffle(outcomes)
    for start in range(0, 1_000, 300):
        ledger.record(drop, in_columns(outcomes[start : start + 300]))
    shown_as_in_the_table(state, ledger, drop)
    assert ledger.leaves(drop) == in_the_table(state, drop)


def test_the_order_of_the_columns_is_no_matter(state: State) -> None:
    ledger, drop = Ledger(state), processed(state)
    outcomes = in_columns([Outcome(2, "A", Status.ACKED, full="{}"), Outcome(3, "B", Status.NAKKED, nak_code="C")])
    ledger.record(drop, dict(reversed(outcomes.items())))
    shown_as_in_the_table(state, ledger, drop)
    assert ledger.leaves(drop) == in_the_table(state, drop)
