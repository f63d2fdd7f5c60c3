"""The plan of posts, held to the rules as they read for one row; and which drop makes an older one needless."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from row_by_row import CONFIGURED, FEED, NAMES, Case, Known, cases, exactly, json_object, quotes, row_by_row, snapshot

from contrib_watch.core.diff import Changes, diff
from contrib_watch.core.model import Action, Post
from contrib_watch.core.posts import CHUNK_ROWS, KEPT_NEWER, Coverage, plan, posts


def changes_of(case: Case) -> Changes:
    return diff(case.quotes(), case.snapshot(), feed=FEED, configured=CONFIGURED, owned=case.owned, later=case.later)


def planned(case: Case) -> pa.Table:
    return plan(changes_of(case))


def post(columns: list[str], row: dict[str, str], known: Known | None) -> Post:
    [only] = posts(planned(Case(columns, {"A": row}, {} if known is None else {"A": known})))
    return only


def separated(text: str, separator: str) -> set[str]:
    return set(text.split(separator)) if text else set()


@example(Case([], {}, {}))
@example(Case([], {"A": {}}, {"A": Known(attempted={"BID": "1"}, acked_on=None)}))
@given(cases())
def test_each_post_carries_what_the_rules_say(case: Case) -> None:
    found, expected = list(posts(planned(case))), row_by_row(case).posts
    assert [one.ric for one in found] == [one.ric for one in expected]
    for one, rule in zip(found, expected, strict=True):
        assert one.row == rule.row
        assert one.action is Action(rule.action)
        assert exactly(one.fields) == exactly(json_object(rule.fields))
        assert exactly(one.full) == exactly(json_object(rule.full))
        assert separated(one.changed, ",") == rule.changed
        order = [name for name in json.loads(one.full) if name not in case.columns]
        ordered = [text for name in (*case.columns, *order) for text in rule.changes if text.startswith(f"{name} ")]
        assert one.changes == "; ".join(ordered)
        assert (exactly(one.carried) if one.carried else {}) == rule.carried
        assert bool(one.carried) == bool(rule.carried)
        assert one.attempts == rule.attempts
        assert not one.alone
        if rule.newer:
            assert one.note == f"{KEPT_NEWER}: {','.join(rule.newer)}"
            continue
        assert ("not answered" in one.note) == rule.in_doubt
        assert ("taken over" in one.note) == bool(rule.heir_of)
        assert rule.heir_of in one.note
        assert ("gains a field" in one.note) == (rule.gains and not rule.in_doubt)


@given(cases(), st.integers(1, 3))
def test_a_plan_in_pieces_is_the_plan(case: Case, rows: int) -> None:
    changes = changes_of(case)
    pieces = [list(posts(plan(piece))) for piece in changes.pieces(rows)]
    assert list(chain.from_iterable(pieces)) == list(posts(plan(changes)))
    assert all(0 < len(piece) <= rows for piece in pieces)


@given(cases(), st.sets(st.integers(2, 5)))
def test_rows_that_have_ended_are_not_planned_again(case: Case, recorded: set[int]) -> None:
    changes = changes_of(case)
    left = [one for one in posts(plan(changes)) if one.row not in recorded]
    assert list(posts(plan(changes.beyond(recorded)))) == left


@given(cases(), st.data())
def test_by_turns_is_the_same_posts_in_another_order(case: Case, data: st.DataObject) -> None:
    changes = changes_of(case)
    turns = {ric: data.draw(st.integers(0, 3)) for ric in changes.rics}
    in_turn = list(posts(plan(changes.by(list(turns.values())))))
    assert in_turn == sorted(posts(plan(changes)), key=lambda one: turns[one.ric])


@given(cases())
def test_the_ads_ends_with_the_file_over_what_it_had(case: Case) -> None:
    """A Refresh replaces an item's field list, an Update changes values of fields that are there."""
    for one in posts(planned(case)):
        known = case.known.get(one.ric, Known())
        for held in [known.fields or {}] + ([known.attempted] if known.attempted is not None else []):
            before = exactly(json_object(held))
            sent = exactly(one.fields)
            if one.action is Action.UPDATE:
                assert sent.keys() <= before.keys()
                assert sent
            after = sent if one.action is Action.REFRESH else {**before, **sent}
            assert after == exactly(one.full)


def test_a_new_ric_is_a_refresh_of_what_the_file_gives() -> None:
    found = post(["BID", "ASK"], {"BID": "22.1", "ASK": "24.5"}, None)
    assert found == Post(2, "A", Action.REFRESH, '{"BID":22.1,"ASK":24.5}', '{"BID":22.1,"ASK":24.5}',
                         "BID 22.1; ASK 24.5", "BID,ASK")  # fmt: skip


def test_a_changed_value_is_an_update_of_that_field() -> None:
    found = post(["BID", "ASK"], {"BID": "22.3", "ASK": "24.5"}, Known({"ASK": "24.5", "BID": "22.1"}))
    assert (found.action, found.fields) == (Action.UPDATE, '{"BID":22.3}')
    assert (found.changes, found.changed, found.note) == ("BID 22.1 -> 22.3", "BID", "")
    assert exactly(found.full) == exactly('{"BID":22.3,"ASK":24.5}')


def test_clearing_is_an_update_with_null() -> None:
    found = post(["BID"], {"BID": "null"}, Known({"BID": "22.1"}))
    assert (found.action, found.fields, found.full) == (Action.UPDATE, '{"BID":null}', '{"BID":null}')
    again = post(["BID"], {"BID": "5"}, Known({"BID": "null"}))
    assert (again.action, again.fields) == (Action.UPDATE, '{"BID":5}')


def test_a_gained_field_is_a_refresh_that_carries_the_old_ones_with_their_dates() -> None:
    known = Known({"BID": "1", "CURRENCY": '"USD"', "BID_1": "3"}, carried={"BID_1": "2026-11-03"})
    found = post(["BID", "ASK"], {"ASK": "2"}, known)
    assert found.action is Action.REFRESH
    assert exactly(found.fields) == exactly('{"BID":1,"ASK":2,"CURRENCY":"USD","BID_1":3}')
    assert (found.changes, found.changed) == ("ASK 2", "ASK")
    assert exactly(found.carried) == {"BID": "2026-11-20", "CURRENCY": "2026-11-20", "BID_1": "2026-11-03"}
    assert "gains a field" in found.note


def test_an_applied_but_unrecorded_update_is_undone_by_a_drop_that_goes_back() -> None:
    found = post(["BID"], {"BID": "1"}, Known({"BID": "1", "ASK": "5"}, {"BID": "2", "ASK": "6"}, attempts=1))
    assert found.action is Action.REFRESH
    assert exactly(found.fields) == exactly('{"BID":1,"ASK":6}')
    assert (found.changes, found.attempts) == ("BID 2 -> 1; ASK 5 -> 6", 1)


def test_text_goes_out_as_it_was_and_reads_as_it_was_typed() -> None:
    found = post(["DSPLY_NAME"], {"DSPLY_NAME": r'"a\\\"b;\""'}, Known({"DSPLY_NAME": r'"\\"'}))
    assert found.fields == r'{"DSPLY_NAME":"a\\\"b;\""}'
    assert found.changes == 'DSPLY_NAME \\ -> a\\"b;"'


def test_posts_come_in_file_order_over_several_chunks() -> None:
    rows = {f"R{i}": {"BID": str(i)} for i in range(2 * CHUNK_ROWS + 1)}
    found = list(posts(planned(Case(["BID"], rows, {}))))
    assert [one.ric for one in found] == list(rows)
    assert [one.row for one in found] == list(range(2, len(rows) + 2))
    assert {type(one.row) for one in found} == {type(one.attempts) for one in found} == {int}
    assert {type(one.ric) for one in found} == {type(one.fields) for one in found} == {str}
    assert [one.fields for one in found[:2]] == ['{"BID":0}', '{"BID":1}']


# what a newer drop makes needless

drops = st.dictionaries(
    st.integers(1, 9),
    st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from(NAMES), st.just("1")), max_size=2),
    max_size=4,
)


@given(drops, st.sets(st.sampled_from(NAMES)), st.randoms(use_true_random=False))
def test_coverage_is_the_newest_drop_with_a_value_for_every_field(
    sheets: dict[int, dict[str, dict[str, str]]], changed: set[str], random: object
) -> None:
    coverage = Coverage()
    order = sorted(sheets)
    random.shuffle(order)  # type: ignore[attr-defined]
    for drop_id in order:
        coverage.add(drop_id, quotes(list(NAMES), sheets[drop_id]))
    for ric in "abc":
        covering = [one for one, rows in sheets.items() if ric in rows and changed <= rows[ric].keys()]
        assert coverage.newest(ric, ",".join(changed)) == max(covering, default=0)


def test_rows_of_several_newer_drops_do_not_cover_together() -> None:
    coverage = Coverage()
    coverage.add(2, quotes(["BID", "ASK"], {"A": {"BID": "1"}, "NA": {}}, refused=["B"]))
    coverage.add(3, quotes(["ASK"], {"A": {"ASK": "1"}}))
    assert coverage.newest("A", "BID,ASK") == 0
    assert coverage.newest("A", "BID") == 2
    assert coverage.newest("A", "") == 3
    assert coverage.newest("B", "BID") == 0
    assert coverage.newest("NA", "BID") == 0


def test_a_field_that_is_cleared_is_given() -> None:
    coverage = Coverage()
    coverage.add(2, quotes(["BID"], {"A": {"BID": "null"}}))
    assert coverage.newest("A", "BID") == 2


def test_what_a_refused_feed_claims_is_not_planned() -> None:
    case = Case(["BID"], {"A": {"BID": "1"}, "B": {"BID": "1"}}, {})
    table = case.quotes()
    changes = diff(table, snapshot({}), feed=FEED, configured=CONFIGURED).without({"A": "desk"}, table)
    assert [one.ric for one in posts(plan(changes))] == ["B"]
    assert not len(planned(replace(case, rows={})))
