"""Guards in columns, held to the rules as they read for one value; and the words in which a breach is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from row_by_row import CONFIGURED, FEED, Case, Known, Tokens

from contrib_watch.core.diff import diff
from contrib_watch.core.guards import Breach, Circumstances, check, largest_moves
from contrib_watch.core.limits import Guards, Limit, plain
from contrib_watch.core.tokens import TOKENS

AROUND = Circumstances(known_rics=4, is_first=False, days=(date(2026, 11, 22), date(2026, 11, 20)))
TWENTY = Limit(Decimal(20), percent=True)


def breaches(
    guards: Guards, case: Case, around: Circumstances = AROUND, as_of: dict[str, str] | None = None
) -> list[Breach]:
    quotes = case.quotes()
    if as_of is not None:
        dates = [as_of.get(ric) for ric in quotes.values.index]
        quotes = replace(quotes, as_of=pd.Series(dates, index=quotes.values.index, dtype=TOKENS))
    changes = diff(quotes, case.snapshot(), feed=FEED, configured=CONFIGURED, owned=case.owned)
    return list(check(guards, quotes, changes, around))


def one(new: Tokens, known: Known | None) -> Case:
    """A drop with one RIC."""
    return Case(list(new), {"A": dict(new)}, {} if known is None else {"A": known})


NUMBERS = st.integers(-(10**10), 10**10).map(lambda number: plain(Decimal(number).scaleb(-4)).replace(",", ""))


@example("10", "12", Limit(Decimal(20), percent=True))
@example("10", "12.00000000000001", TWENTY)
@example("0.1", "0.3", Limit(Decimal("0.2")))
@example("0", "0.0001", Limit(Decimal(10**9), percent=True))
@example("-1", "1", TWENTY)
@given(NUMBERS, NUMBERS, st.builds(Limit, st.decimals(0, 300, places=3), st.booleans()))
def test_a_move_is_measured_exactly(old: str, new: str, limit: Limit) -> None:
    found = breaches(Guards(max_move={"BID": limit}), one({"BID": new}, Known({"BID": old})))
    distance, base = abs(Decimal(new) - Decimal(old)), abs(Decimal(old))
    too_far = distance * 100 > limit.value * base if limit.percent else distance > limit.value
    assert bool(found) == too_far
    for breach in found:
        assert breach.what.endswith(f"(limit {limit})")
        assert breach.cells == (f'row 2, BID "{new}"',)


@pytest.mark.parametrize(
    ("new", "known"),
    [
        ({"BID": "990"}, None),
        ({"BID": "990"}, Known({"ASK": "1"})),
        ({"BID": "990"}, Known({"BID": "null"})),
        ({"BID": "null"}, Known({"BID": "10"})),
        ({"BID": "990", "ASK": "2"}, Known({"BID": "990", "ASK": "1"})),
    ],
    ids=["a new RIC", "a new field", "nothing to move from", "a value that is cleared", "a value that stays"],
)
def test_what_is_no_move(new: Tokens, known: Known | None) -> None:
    assert breaches(Guards(max_move={"BID": TWENTY}), one(new, known)) == []


def test_a_move_is_measured_from_what_was_acknowledged_not_from_what_was_only_tried() -> None:
    tried = Known({"BID": "10"}, attempted={"BID": "1000"})
    (breach,) = breaches(Guards(max_move={"BID": TWENTY}), one({"BID": "1000"}, tried))
    assert breach.what == "BID moved 9,900 % (limit 20 %)"
    assert breaches(Guards(max_move={"BID": TWENTY}), one({"BID": "11"}, tried)) == []


@pytest.mark.parametrize(
    ("old", "new", "limit", "what"),
    [
        ("10", "12.0004", TWENTY, "BID moved 20.004 % (limit 20 %)"),
        ("10", "15", TWENTY, "BID moved 50 % (limit 20 %)"),
        ("0", "5", TWENTY, "BID moved from 0 to 5 (limit 20 %)"),
        ("3.5", "6", Limit(Decimal("1.5")), "BID moved 2.5 (limit 1.5)"),
        ("10", "1000", TWENTY, "BID moved 9,900 % (limit 20 %)"),
    ],
)
def test_a_move_in_words_is_never_told_as_its_limit(old: str, new: str, limit: Limit, what: str) -> None:
    (breach,) = breaches(Guards(max_move={"BID": limit}), one({"BID": new}, Known({"BID": old})))
    assert (breach.rule, breach.what) == ("max_move", what)


@pytest.mark.parametrize(
    ("new", "known", "crossed"),
    [
        ({"BID": "2", "ASK": "1"}, None, True),
        ({"BID": "1", "ASK": "1"}, None, False),
        ({"BID": "2"}, Known({"BID": "1", "ASK": "1.5"}), True),
        ({"ASK": "1"}, Known({"BID": "1.5", "ASK": "2"}), True),
        ({"BID": "2"}, Known({"BID": "1", "ASK": "null"}), False),
        ({"BID": "2"}, None, False),
        ({"MID_PRICE": "5"}, Known({"BID": "2", "ASK": "1", "MID_PRICE": "4"}), False),
        ({"BID": "2"}, Known({"BID": "1", "ASK": "3"}, attempted={"BID": "1", "ASK": "1.5"}), True),
    ],
)
def test_a_bid_is_held_against_the_ask_that_the_ads_would_have(
    new: Tokens, known: Known | None, crossed: bool
) -> None:
    assert bool(breaches(Guards(bid_not_above_ask=True), one(new, known))) == crossed


def test_a_range_is_of_what_changes() -> None:
    guards = Guards(range={"BID": (Decimal(0), Decimal(200))})
    (breach,) = breaches(guards, one({"BID": "200.5"}, None))
    assert breach == Breach("range", "BID is 200.5, outside 0 to 200", 1, ('row 2, BID "200.5"',))
    assert breaches(guards, one({"BID": "200"}, None)) == []
    assert len(breaches(guards, one({"BID": "-1"}, Known({"BID": "1"})))) == 1
    assert breaches(guards, one({"BID": "300", "ASK": "1"}, Known({"BID": "300", "ASK": "2"}))) == []


LIST = Case(
    ["BID", "ASK"],
    {"A": {"BID": "1"}, "B": {"BID": "2", "ASK": "3"}, "C": {"BID": "4"}, "N": {"BID": "9"}},
    {"A": Known({"BID": "1"}), "B": Known({"BID": "1"}), "C": Known({"BID": "3"})},
    owned={"A", "B", "C", "D"},
    refused=("X",),
)


@pytest.mark.parametrize(
    ("guards", "what"),
    [
        ({"max_changed_rows": Limit(Decimal(1))}, "2 of 3 known rows changed (limit 1)"),
        ({"max_changed_rows": Limit(Decimal(60), percent=True)}, "2 of 3 known rows changed, 67 % (limit 60 %)"),
        ({"max_missing_rows": TWENTY}, "1 of 4 known RICs missing, 25 % (limit 20 %)"),
        ({"max_rejected_rows": Limit(Decimal(0))}, "1 of 5 rows rejected (limit 0)"),
        ({"max_blank": TWENTY}, "3 of 8 cells blank, 38 % (limit 20 %)"),
        ({"max_new_rics": Limit(Decimal(0))}, "1 of 4 RICs new (limit 0)"),
        ({"min_rows": 6}, "the file has 5 rows (at least 6)"),
        ({"all_or_nothing": True}, "1 of 5 rows rejected (limit 0)"),
        ({"as_of": "Day"}, 'there is no column "Day" with the as-of date'),
    ],
)
def test_guards_of_rows(guards: dict[str, object], what: str) -> None:
    (breach,) = breaches(Guards(**guards), LIST)  # type: ignore[arg-type]
    assert (breach.rule, breach.what) == (*guards, what)


@pytest.mark.parametrize(
    "guards",
    [
        {"max_changed_rows": Limit(Decimal(2))},
        {"max_missing_rows": Limit(Decimal(25), percent=True)},
        {"max_rejected_rows": TWENTY},
        {"max_blank": Limit(Decimal(3))},
        {"max_new_rics": Limit(Decimal(25), percent=True)},
        {"min_rows": 5},
    ],
)
def test_a_limit_itself_is_no_breach(guards: dict[str, object]) -> None:
    assert breaches(Guards(**guards), LIST) == []  # type: ignore[arg-type]


def test_the_first_drop_of_a_feed_may_bring_any_number_of_rics() -> None:
    assert breaches(Guards(max_new_rics=Limit(Decimal(0))), LIST, replace(AROUND, is_first=True)) == []


@pytest.mark.parametrize(
    ("days", "what"),
    [
        (["2026-11-22", "2026-11-20", "2026-11-22", "2026-11-22"], None),
        (["2026-11-22", "2026-11-21", "2026-11-19", "2026-11-22"], "Day is 2026-11-21"),
        (["2026-11-22", None, "2026-11-22", "2026-11-22"], "Day has no date"),
    ],
)
def test_every_row_has_the_as_of_date_of_today_or_the_last_business_day(days: list[str], what: str | None) -> None:
    found = breaches(Guards(as_of="Day"), LIST, as_of=dict(zip("ABCN", days, strict=True)))
    if what is None:
        assert found == []
    else:
        assert found[0].what == f"{what} (must be 2026-11-22 or 2026-11-20)"
        assert found[0].cells[0] == "row 3"


def test_a_feed_without_guards_checks_nothing() -> None:
    assert not Guards().any
    assert breaches(Guards(), LIST) == []
    assert Guards(min_rows=1).any
    assert not Guards(min_rows=1, as_of="Day", max_blank=TWENTY).of_values_only().any


def test_the_largest_moves_come_first_whatever_their_field() -> None:
    case = Case(
        ["BID", "ASK", "CURRENCY"],
        {
            "A": {"BID": "11", "ASK": "30"},
            "B": {"BID": "1", "CURRENCY": '"USD"'},
            "Z": {"BID": "5", "ASK": "null"},
        },
        {
            "A": Known({"BID": "10", "ASK": "10"}),
            "B": Known({"BID": "2", "CURRENCY": '"EUR"'}),
            "Z": Known({"BID": "0", "ASK": "1"}),
        },
    )
    quotes = case.quotes()
    changes = diff(quotes, case.snapshot(), feed=FEED, configured=CONFIGURED)
    found = [(move.ric, move.field, move.old, move.new, move.move) for move in largest_moves(quotes, changes)]
    assert found == [
        ("Z", "BID", "0", "5", "from 0"),
        ("A", "ASK", "10", "30", "200 %"),
        ("B", "BID", "2", "1", "50 %"),
        ("A", "BID", "10", "11", "10 %"),
    ]
