"""Proposals: what headers mean, which column has the RICs, and what is left to a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pytest

from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.headers import guesses
from contrib_watch.core.model import SET_ME, CellKind, Cells, Feed
from contrib_watch.core.proposal import Proposal, propose

DICTIONARY = load_dictionary(Fields())


def csv(header: str, *rows: Sequence[str | None]) -> Cells:
    names = tuple(header.split(";"))
    columns = tuple(pa.array([row[i] for row in rows], pa.string()) for i in range(len(names)))
    return Cells("", names, 1, columns, None, pa.array(range(2, len(rows) + 2), pa.int64()))


def proposed(cells: Cells, **keys: Any) -> Proposal:
    feed = Feed(name="desk", folder=PurePath("inbox"), service="NIPROV", **({"delimiter": ";"} | keys))
    return propose(cells, feed, DICTIONARY)


# what headers mean


@pytest.mark.parametrize(
    ("header", "acronym"),
    [
        ("BID", "BID"),
        ("Bid Price", "BID"),
        ("bid px", "BID"),
        ("Geld", "BID"),
        ("GELDKURS", "BID"),
        ("Brief", "ASK"),
        ("Offer", "ASK"),
        ("Mittelkurs", "MID_PRICE"),
        ("Rendite", "YIELD"),
        ("Rendite (Geld) %", "BID_YIELD"),
        ("Bid Yld", "BID_YIELD"),
        ("Kupon in %", "COUPN_RATE"),
        ("COUPON RATE", "COUPN_RATE"),
        ("Fälligkeit", "MATUR_DATE"),
        ("Mat. Date", "MATUR_DATE"),
        ("Währung", "CURRENCY"),
        ("Ccy", "CURRENCY"),
        ("ISIN", "ISIN_CODE"),
        ("NAV per", "NAV"),
        ("Nettoinventarwert", "NAV"),
        ("Ausschüttung", "DIVIDEND"),
        ("Ex-Tag", "EXDIVDATE"),
        ("Stückzinsen", "ACCR_INT"),
        ("Mod. Duration", "MOD_DURTN"),
        ("Volumen", "ACVOL_1"),
        ("Devise", "CURRENCY"),
        ("Cours acheteur", "BID"),
        ("Échéance", "MATUR_DATE"),
        ("Kursdatum", "QUOTE_DATE"),
        ("Uhrzeit", "QUOTIM"),
        ("Fixing Date", "FIX_DATE"),
    ],
)
def test_the_words_of_price_sheets(header: str, acronym: str) -> None:
    first = guesses(header, DICTIONARY)[0]
    assert (first.acronym, first.doubt) == (acronym, "")


@pytest.mark.parametrize(
    "header", ["Chg Bid", "Bid Prev Close Chg", "Settle date", "Emittent", "Remarks", "Kurs", "", "%"]
)
def test_a_header_that_says_more_or_something_else_means_no_field(header: str) -> None:
    assert guesses(header, DICTIONARY) == []


def test_a_word_that_is_not_understood_is_a_doubt() -> None:
    (guess,) = guesses("Bid Frankfurt", DICTIONARY)
    assert (guess.acronym, guess.doubt) == ("BID", '"frankfurt" is not understood')
    (guess,) = guesses("MATURDATE", DICTIONARY)
    assert (guess.acronym, guess.doubt) == ("MATUR_DATE", "the name is only spelled like MATUR_DATE")


# columns


def test_columns_are_mapped_ignored_or_need_nothing() -> None:
    found = proposed(csv("Code;Geld;ASK;Bemerkung", ["A=X", "1", "2", "x"], ["B=X", "3", "4", None]))
    assert found.feed.ric_column == "Code"
    assert found.feed.columns == {"Geld": "BID"}
    assert found.feed.ignore_columns == ("Bemerkung",)
    assert found.feed.ric_pattern == "*=X"
    assert found.examples == {"Code": "A=X", "Geld": "1", "ASK": "2", "Bemerkung": "x"}
    assert (found.doubts, found.undecided) == ((), ())
    assert found.result == "2 of 2 rows are read with this"


def test_a_name_whose_cells_do_not_fit_is_not_mapped() -> None:
    found = proposed(csv("RIC;Bid;Ask", ["A=X", "Meier", "1"], ["B=X", "Schulze", "2"]))
    assert found.feed.columns == {"Ask": "ASK"}
    assert found.feed.ignore_columns == ("Bid",)
    assert found.doubts == ('"Bid" sounds like BID, but its cells do not fit ("Meier"): it is ignored',)


def test_the_cell_that_is_shown_is_one_that_does_not_fit() -> None:
    found = proposed(
        csv("RIC;Bid;Ask", *([f"{n}=X", text, "1"] for n, text in enumerate(["1.5", "99-16+", "101 3/4"])))
    )
    assert found.doubts == ('"Bid" sounds like BID, but its cells do not fit ("99-16+"): it is ignored',)


@pytest.mark.parametrize(
    "header", ["Prev Bid", "Bid T-1", "Bid (yesterday)", "Alter Geldkurs", "Coupon (bp)", "NAV in Mio", "Bid in TEUR"]
)
def test_a_value_of_another_time_or_scale_is_not_mapped(header: str) -> None:
    assert guesses(header, DICTIONARY) == []


@pytest.mark.parametrize("unit", ["x1000", "in Tsd", "bp", "in bp.", "Mio EUR", "1'000", "per 1,000,000", "x 100"])
def test_a_column_with_another_scale_in_the_line_below_its_name_is_not_mapped(unit: str) -> None:
    found = proposed(csv("RIC;Bid;Ask", ["", unit, "EUR"], ["A=X", "1.5", "1.6"], ["B=X", "2.5", "2.6"]))
    assert found.feed.columns == {"Ask": "ASK"}
    assert f'"Bid" sounds like BID, but "{unit}" below it speaks of another scale: it is ignored' in found.doubts


@pytest.mark.parametrize("unit", ["%", "in %", "EUR", "(EUR)", "p.a.", "10 Y", "30/360", "2010"])
def test_other_units_below_a_name_are_no_scale(unit: str) -> None:
    found = proposed(csv("RIC;Bid;Ask", ["", unit, ""], ["A=X", "1.5", "1.6"], ["B=X", "2.5", "2.6"]))
    assert found.feed.columns == {"Bid": "BID", "Ask": "ASK"}


def test_a_certain_name_goes_before_a_doubtful_one_on_its_left() -> None:
    found = proposed(csv("RIC;Ask;Model Bid;Bid", ["A=X", "3", "1", "2"]))
    assert list(found.feed.columns.items()) == [("Ask", "ASK"), ("Bid", "BID")]
    assert found.doubts == ('"Model Bid" may be BID too, as "Bid" is: it is ignored',)


def test_a_second_table_beside_the_first_is_not_mapped_to_its_rics() -> None:
    found = proposed(csv("RIC;Bid;;Code;Mid", ["A=X", "1", None, "B=X", "2"], ["C=X", "3", None, "D=X", "4"]))
    assert found.feed.columns == {"Bid": "BID"}
    assert found.feed.ignore_columns == ("Code", "Mid")
    assert found.doubts == (
        '"Code" looks like RICs, too ("B=X"): the columns "Code" to "Mid" seem to be a second table and are ignored',
    )


def test_columns_behind_a_nameless_one_are_mapped_where_they_have_no_rics() -> None:
    assert proposed(csv("RIC;Bid;;Ask", ["A=X", "1", None, "2"])).feed.columns == {"Bid": "BID", "Ask": "ASK"}


def test_two_columns_never_give_one_field() -> None:
    found = proposed(csv("RIC;Bid;Geldkurs", ["A=X", "1", "2"]))
    assert found.feed.columns == {"Bid": "BID"}
    assert found.feed.ignore_columns == ("Geldkurs",)
    assert found.doubts == ('"Geldkurs" may be BID too, as "Bid" is: it is ignored',)


def test_the_cells_decide_between_the_meanings_of_a_name() -> None:
    assert proposed(csv("RIC;Zeit", ["A=X", "16:30"])).feed.columns == {"Zeit": "QUOTIM"}


def test_a_name_that_may_mean_two_fields_is_a_doubt() -> None:
    assert proposed(csv("RIC;Change", ["A=X", "1"])).column_doubts == {"Change": "or NAV_NETCHN"}


def test_a_field_that_a_name_means_twice_is_no_doubt() -> None:
    assert [guess.acronym for guess in guesses("Kursdatum", DICTIONARY)] == ["QUOTE_DATE"]


def test_a_short_sheet_has_its_rics_under_their_name_in_spite_of_notes_and_units() -> None:
    rows = [[None, "%"], ["B1=ACME", "101.25"], ["B2=ACME", "99"], ["Source: the desk", None]]
    found = proposed(csv("Instrument;Bid", *rows))
    assert found.feed.ric_column == "Instrument"
    assert found.examples["Bid"] == "101.25"


@pytest.mark.parametrize(
    ("texts", "is_open"), [(["1.234", "12.345"], True), (["1.234", "1.5"], False), (["12"], False)]
)
def test_a_point_that_may_mark_thousands_is_a_doubt(texts: list[str], is_open: bool) -> None:
    found = proposed(csv("RIC;Bid", *([f"A{n}=X", text] for n, text in enumerate(texts))))
    told = [doubt for doubt in found.doubts if "is read as" in doubt]
    assert bool(told) is is_open
    if is_open:
        assert '"1.234" is read as 1.234; with decimal = "," and thousands = "."' in told[0]
        assert "this one is 1234" in told[0]


@pytest.mark.parametrize(
    ("texts", "is_told"),
    [
        (["1,5", "2,5", "1.000"], True),
        (["1,5", "2,5", "1.000", "1.000,5"], False),
        (["1,5", "2,5", "1.000.000"], False),
        (["1,5", "2,5", "1000"], False),
        (["2.50", "1,234", "1,235"], True),
        (["2.50", "1,234.5", "1,235"], False),
    ],
)
def test_thousands_that_no_number_proves_are_a_doubt(texts: list[str], is_told: bool) -> None:
    found = proposed(csv("RIC;Bid", *([f"A{n}=X", text] for n, text in enumerate(texts))))
    assert found.result.startswith(f"{len(texts)} of")
    assert any("two notations may be mixed" in doubt for doubt in found.doubts) is is_told


def test_a_column_of_blanks_is_mapped_by_its_name_with_a_doubt() -> None:
    found = proposed(csv("RIC;Geld;Brief", ["A=X", "1", None]))
    assert found.feed.columns == {"Geld": "BID", "Brief": "ASK"}
    assert found.column_doubts == {"Brief": "every cell is blank, so only its name speaks for it"}


def test_what_no_drop_could_be_read_with_is_a_doubt() -> None:
    assert proposed(csv("RIC;Geld;", ["A=X", "1", "x"])).doubts[0] == (
        'column 3 has values ("x") but no header: no drop is read until it has one'
    )
    twice = proposed(csv("RIC;Geld;Geld;Notiz;Notiz", ["A=X", "1", "2", "x", "y"]))
    assert twice.doubts[0] == (
        'the header "Geld" stands twice, in columns 2 ("1") and 3 ("2"): '
        "no drop is read until one is renamed in the sheet"
    )
    assert twice.examples == {"RIC": "A=X", "Geld": "1", "Notiz": "x"}
    assert twice.feed.ignore_columns == ("Notiz",)


# RICs


@pytest.mark.parametrize(
    ("header", "rics", "pattern"),
    [
        ("Kennung;Geld", ["EUR=ACME", "GBP=ACME"], "*=ACME"),
        ("Kennung;Geld", ["EUR=ACME", "GBP=OTHR"], ""),
        ("Kennung;Geld", ["VOD.L", "BMWG.DE"], ""),
        ("RIC;Geld", ["EUR", "005930"], ""),
    ],
)
def test_the_column_of_the_rics(header: str, rics: list[str], pattern: str) -> None:
    found = proposed(csv(header, *([ric, "1"] for ric in rics)))
    assert (found.feed.ric_column, found.feed.ric_pattern) == (header.split(";")[0], pattern)


@pytest.mark.parametrize(
    "texts", [["22.11.2026", "23.11.2026"], ["1.5", "2.5"], ["Ltd.", "Foo Inc."], ["DE0001102580"] * 2]
)
def test_what_looks_like_no_ric(texts: list[str]) -> None:
    found = proposed(csv("Text;Bid", *([text, "1"] for text in texts)))
    assert found.feed.ric_column == SET_ME
    assert found.doubts[-1].startswith("no column looks like RICs")
    assert found.result == ""


@pytest.mark.parametrize(
    ("ending", "pattern", "told"),
    [("=X", "*=X", "and ric_pattern rejects such rows"), (".L", "", "and values in such a row are posted")],
)
def test_notes_among_rics_are_a_doubt(ending: str, pattern: str, told: str) -> None:
    rics = [f"{name}{ending}" for name in "ABCD"]
    rows = [[ric, "1"] for ric in (*rics, "Basket", "Desk", "Total")]
    found = proposed(csv("RIC;Bid", *rows))
    assert found.feed.ric_pattern == pattern
    assert f'row 6, RIC "Basket" and 1 more look like no RICs, {told}' in found.doubts[0]


# formats


def test_formats_that_the_cells_leave_no_doubt_about() -> None:
    found = proposed(csv("RIC;Geld;Fälligkeit", ["A=X", "1.234,5", "22.11.2026"], ["B=X", "n/v", "01.02.2027"]))
    keys = found.feed
    assert (keys.decimal, keys.thousands, keys.date_format, keys.blank) == (",", ".", "%d.%m.%Y", ("n/v",))
    assert found.undecided == ()
    assert found.result == "2 of 2 rows are read with this"


def test_what_the_cells_leave_open_is_not_declared() -> None:
    found = proposed(csv("RIC;Rendite;Fälligkeit", ["A=X", "4,5 %", "03/04/2026"], ["B=X", "1,5 %", "05/06/2026"]))
    assert (found.feed.decimal, found.feed.percent, found.feed.date_format) == (",", "", "%Y-%m-%d")
    assert [choices for _, choices in found.undecided] == [
        ({"percent": "points"}, {"percent": "fraction"}),
        ({"date_format": "%d/%m/%Y"}, {"date_format": "%m/%d/%Y"}),
    ]
    assert found.result.startswith("0 of 2 rows are read with this, 2 once what is left open below is declared")


def test_one_odd_cell_among_many_is_no_habit() -> None:
    rows = [[f"R{number}=X", "98.75"] for number in range(20)]
    kinds = [[CellKind.TEXT, CellKind.NUMBER] for _ in rows]
    rows[7][1], kinds[7][1] = "98,75", CellKind.TEXT
    cells = Cells(
        "Prices",
        ("RIC", "Geld"),
        1,
        tuple(pa.array(column, pa.string()) for column in zip(*rows, strict=True)),
        tuple(pa.array(column, pa.uint8()) for column in zip(*kinds, strict=True)),
        pa.array(range(2, 22), pa.int64()),
        letters=("A", "B"),
    )
    found = proposed(cells)
    assert found.feed.decimal == "."
    assert [choices for _, choices in found.undecided] == [({"decimal": ","},)]


def test_an_error_is_no_word_for_a_blank() -> None:
    found = proposed(csv("RIC;Geld", ["A=X", "#N/A"], ["B=X", "1"]))
    assert found.feed.blank == ()
    assert found.result.startswith("1 of 2 rows are read with this; rejected is, for example, row 2, Geld")
