"""The diff in columns, held to the rules as they read for one row; and the rules one by one."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import example, given
from row_by_row import CONFIGURED, EMPTY, FEED, FOREIGN, Case, Known, cases, quotes, row_by_row, snapshot

from contrib_watch.core.columns import object_column
from contrib_watch.core.diff import SNAPSHOT, Changes, dates_kept, diff, row_texts

EVERYTHING_BLANK = Case(["BID"], {"A": {}}, {})
NOTHING = Case([], {}, {})
NO_COLUMNS = Case([], {"A": {}, "NA": {}}, {"A": Known(attempted={"BID": "1"}, acked_on=None, attempts=2)})


def changes(case: Case) -> Changes:
    return diff(case.quotes(), case.snapshot(), feed=FEED, configured=CONFIGURED, owned=case.owned, later=case.later)


def posted(case: Case) -> list[str]:
    return list(changes(case).rics)


@example(EVERYTHING_BLANK)
@example(NOTHING)
@example(NO_COLUMNS)
@given(cases())
def test_columns_find_what_a_look_at_each_row_finds(case: Case) -> None:
    found, expected = changes(case), row_by_row(case)
    assert [(p.row, p.ric, p.cause) for p in found.problems] == expected.problems
    assert found.unchanged == expected.unchanged
    assert found.kept_blanks == expected.kept_blanks
    assert found.oldest_kept == min(expected.kept_since, default="").partition(" ")[0]
    assert list(found.replaced) == expected.replaced
    assert found.facts["newer"].to_pylist() == [",".join(post.newer) for post in expected.posts]
    assert found.missing == tuple(sorted(expected.missing))
    assert found.facts["row"].to_pylist() == [post.row for post in expected.posts]
    assert found.facts["attempts"].to_pylist() == [post.attempts for post in expected.posts]
    assert found.facts["dirty"].to_pylist() == [post.in_doubt for post in expected.posts]
    assert list(found.rics) == [post.ric for post in expected.posts]
    for column in (*found.given.values(), *found.held.values(), *found.facts.values()):
        assert len(column) == len(found.rics)
    assert len(case.rows) == len(found.problems) + found.unchanged + len(found.replaced) + len(found.rics)


@given(cases())
def test_rows_that_are_known_to_be_unchanged_need_no_snapshot(case: Case) -> None:
    whole, sheet, table = changes(case), case.quotes(), case.snapshot()
    known = table.to_pylist()
    settled = {
        one["ric"]: one["fields"]
        for one in known
        if one["attempted"] is None and one["fields"] is not None and one["feed"] == FEED
    }
    texts = zip(sheet.values.index, row_texts(sheet.values).to_pylist(), strict=True)
    same = [ric in settled and ric + settled[ric] == text for ric, text in texts]
    at_once = set(sheet.values.index[same])
    rest = pa.RecordBatch.from_pylist([one for one in known if one["ric"] not in at_once], SNAPSHOT)
    marks = pa.array(same, pa.bool_())
    found = diff(sheet, rest, feed=FEED, configured=CONFIGURED, owned=case.owned, later=case.later, same=marks)
    assert list(found.rics) == list(whole.rics)
    for name in ("given", "held", "facts"):
        assert getattr(found, name) == getattr(whole, name)
    for name in ("problems", "replaced", "unchanged", "missing", "kept_blanks", "oldest_kept"):
        assert getattr(found, name) == getattr(whole, name)


@given(cases())
def test_what_was_acknowledged_is_unchanged_at_once(case: Case) -> None:
    """Whatever a drop posted, the same drop after its Acks posts nothing."""
    case = replace(case, later=None)
    posts = {post.ric: post for post in row_by_row(case).posts}
    acked = {ric: Known(dict(post.full), carried=post.carried) for ric, post in posts.items()}
    found = changes(replace(case, known=acked, rows={ric: row for ric, row in case.rows.items() if ric in posts}))
    assert list(found.rics) == []
    assert found.unchanged == len(posts)


def test_the_order_of_rows_and_columns_changes_nothing() -> None:
    known = {"A": Known({"BID": "1", "ASK": "2"}), "B": Known({"ASK": "4", "BID": "3"})}
    rows = {"B": {"BID": "3", "ASK": "4"}, "A": {"BID": "1", "ASK": "2"}}
    for columns in (["BID", "ASK"], ["ASK", "BID"]):
        found = changes(Case(columns, rows, known))
        assert (posted(Case(columns, rows, known)), found.unchanged) == ([], 2)


def test_rics_that_look_like_missing_values_or_numbers_are_rics() -> None:
    known = {ric: Known({"BID": "1"}) for ric in ("NA", "nan", "NULL", "005930", "1E5", "")}
    rows = {ric: {"BID": "2"} for ric in ("NA", "nan", "5930", "005930", "1E5", "na")}
    found = changes(Case(["BID"], rows, known))
    assert list(found.rics[found.facts["new"].to_pylist()]) == ["5930", "na"]


def test_a_ric_belongs_to_the_feed_that_posted_it_first() -> None:
    case = Case(["BID"], {"A": {"BID": "2"}, "B": {"BID": "2"}}, {"B": Known({"BID": "2"}, feed="other desk")})
    [problem] = changes(case).problems
    assert (problem.row, problem.ric, problem.where, problem.cause) == (3, "B", "row 3", FOREIGN)
    assert "'other desk'" in problem.mend
    assert posted(case) == ["A"]


def test_a_feed_that_is_not_configured_owns_nothing() -> None:
    case = Case(["BID"], {"B": {"BID": "3"}}, {"B": Known({"BID": "2"}, feed="gone")})
    assert changes(case).problems == ()
    assert posted(case) == ["B"]


def test_a_ric_in_doubt_is_posted_though_nothing_seems_changed() -> None:
    case = Case(["BID"], {"A": {"BID": "1"}}, {"A": Known({"BID": "1"}, {"BID": "2"}, attempts=2)})
    found = changes(case)
    assert (list(found.rics), found.facts["attempts"].to_pylist()) == (["A"], [2])
    assert posted(replace(case, rows={"A": {}})) == ["A"]
    assert posted(replace(case, rows={"A": {"BID": "2"}})) == ["A"]


def test_a_blank_cell_is_not_contributed_and_counted_with_its_age() -> None:
    row = {"BID": "1", "ASK": "2"}
    known = {"A": Known(row, carried={"ASK": "2026-11-03"}), "B": Known(row)}
    found = changes(Case(["BID", "ASK"], {"A": {"BID": "1"}, "B": {"ASK": "2"}}, known))
    assert (found.unchanged, found.kept_blanks, found.oldest_kept) == (2, 2, "2026-11-03")


def test_a_cleared_field_keeps_no_value() -> None:
    found = changes(Case(["BID", "ASK"], {"A": {"BID": "1"}}, {"A": Known({"BID": "1", "ASK": "null"})}))
    assert (found.unchanged, found.kept_blanks, found.oldest_kept) == (1, 0, "")


def test_clearing_what_is_not_there_is_nothing_to_do() -> None:
    case = Case(["BID", "ASK"], {"A": {"BID": "1", "ASK": "null"}}, {"A": Known({"BID": "1"})})
    assert (posted(case), changes(case).unchanged) == ([], 1)
    [problem] = changes(replace(case, rows={"B": {"ASK": "null"}})).problems
    assert problem.cause == EMPTY


def test_the_text_null_clears_nothing() -> None:
    case = Case(["DSPLY_NAME"], {"A": {"DSPLY_NAME": '"null"'}}, {"A": Known({"DSPLY_NAME": "null"})})
    assert posted(case) == ["A"]


def test_missing_rics_are_those_that_no_row_mentions() -> None:
    case = Case(["BID"], {"A": {"BID": "1"}}, {}, owned={"A", "B", "C", "D"}, refused=("C",))
    assert changes(case).missing == ("B", "D")
    assert changes(replace(case, owned=None)).missing == ()


def test_lost_fields_are_those_that_the_file_has_no_column_for() -> None:
    case = Case(["BID"], {"A": {"BID": "1"}, "B": {"BID": "1"}}, {"A": Known({"BID": "1", "ASK": "2"})})
    assert changes(case).lost_fields == ("ASK",)
    assert changes(replace(case, columns=["BID", "ASK"])).lost_fields == ()
    cleared = {"A": Known({"BID": "1", "ASK": "null"})}
    assert changes(replace(case, known=cleared)).lost_fields == ()


def test_rics_that_another_feed_is_posting_are_rejected() -> None:
    case = Case(["BID"], {"A": {}, "B": {"BID": "1"}, "C": {"BID": "1"}}, {})
    found = changes(case).without({"B": "fx", "Z": "fx"}, case.quotes())
    assert list(found.rics) == ["C"]
    assert {len(column) for column in (*found.given.values(), *found.held.values(), *found.facts.values())} == {1}
    assert [(p.row, p.ric, p.cause) for p in found.problems] == [(2, "A", EMPTY), (3, "B", FOREIGN)]


def test_dates_are_those_of_the_last_ack_where_no_older_one_is_known() -> None:
    table = snapshot({"A": Known({"BID": "1"}, carried={"ASK": "2026-11-03"}), "B": Known(attempted={"BID": "1"})})
    facts = {name: table[name] for name in ("carried", "acked_on")}
    kept = {
        name: pa.array(marks)
        for name, marks in (("BID", [True] * 2), ("ASK", [True] * 2), ("CURRENCY", [False, True]))
    }
    found = object_column(dates_kept(kept, facts), 2)
    assert found.to_pylist() == ['{"BID":"2026-11-20","ASK":"2026-11-03"}', "{}"]


@pytest.mark.parametrize("columns", [[f"F{i}" for i in range(10)], [f"F{i}" for i in reversed(range(10))]])
def test_many_rows_with_columns_in_the_order_of_the_snapshot_or_another(columns: list[str]) -> None:
    row = {f"F{i}": f"{i}.5" for i in range(10)}
    rics = [f"R{i}" for i in range(20_000)]
    table = snapshot({ric: Known(row) for ric in rics})
    sheet = quotes(columns, {ric: dict.fromkeys(columns[1:], "7.25") for ric in rics})
    found = diff(sheet, table, feed=FEED, configured=CONFIGURED)
    assert (len(found.rics), found.kept_blanks) == (20_000, 20_000)
