"""Hints: the declaration that reads what was refused; both where two do; none where it would cost other cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.hints import Hint, cell_hints, layout_hints
from contrib_watch.core.layout import Layout, header_row_of, text_layout
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.core.quotes import read_quotes

DICTIONARY = load_dictionary(Fields())


def feed(**keys: Any) -> Feed:
    return Feed(name="desk", folder=PurePath("inbox"), service="NIPROV", **keys)


def csv(header: str, *rows: Sequence[str | None]) -> Cells:
    names = tuple(header.split(","))
    columns = tuple(pa.array([row[i] for row in rows], pa.string()) for i in range(len(names)))
    return Cells("", names, 1, columns, None, pa.array(range(2, len(rows) + 2), pa.int64()))


def column(field: str, *texts: str | None) -> Cells:
    """A CSV with this column; the RICs are R0, R1, ..."""
    return csv(f"RIC,{field}", *([f"R{number}", text] for number, text in enumerate(texts)))


def sheet(field: str, *cells: tuple[CellKind, str]) -> Cells:
    kinds = pa.array([kind for kind, _ in cells], pa.uint8())
    texts = pa.array([text for _, text in cells], pa.string())
    rics = pa.array([f"R{number}" for number in range(len(cells))], pa.string())
    ric_kinds = pa.array([CellKind.TEXT] * len(cells), pa.uint8())
    numbers = pa.array(range(2, len(cells) + 2), pa.int64())
    return Cells("Prices", ("RIC", field), 1, (rics, texts), (ric_kinds, kinds), numbers, letters=("A", "B"))


def hints(cells: Cells, **keys: Any) -> list[Hint]:
    return list(cell_hints(cells, feed(**keys), DICTIONARY))


def choices(cells: Cells, **keys: Any) -> list[dict[str, Any]]:
    """The declarations of the only hint."""
    (hint,) = hints(cells, **keys)
    return [dict(choice) for choice in hint.choices]


# numbers


@pytest.mark.parametrize(
    ("texts", "keys", "declared"),
    [
        (["1,5", "12,25", "7"], {"delimiter": ";"}, {"decimal": ","}),
        (["1.234,5", "12,25"], {"delimiter": ";"}, {"decimal": ",", "thousands": "."}),
        (["1.234.567,5"], {"delimiter": ";"}, {"decimal": ",", "thousands": "."}),
        (["1,234.5", "12.25"], {"delimiter": ";"}, {"thousands": ","}),
        (["1 234.5", "12.25"], {}, {"thousands": " "}),
        (["1'234.5"], {}, {"thousands": "'"}),
        (["1’234.5"], {}, {"thousands": "’"}),
        (["1\u00a0234,5"], {"delimiter": ";"}, {"decimal": ",", "thousands": "\u00a0"}),
        (["1.5", "2.25"], {"delimiter": ";", "decimal": ","}, {"decimal": "."}),
    ],
)
def test_marks(texts: list[str], keys: dict[str, Any], declared: dict[str, str]) -> None:
    assert choices(column("BID", *texts), **keys) == [declared]
    assert read_quotes(column("BID", *texts), feed(**keys | declared), DICTIONARY).problems == ()


def test_the_hint_says_where_what_and_which_key() -> None:
    (hint,) = hints(column("BID", "1,5", "2,25", "3"), delimiter=";")
    assert str(hint) == 'row 2, BID "1,5" and 1 more: this looks like a decimal comma: set decimal = ","'


def test_a_mark_that_may_be_either_is_shown_with_both_readings() -> None:
    (hint,) = hints(column("BID", "1,234"), delimiter=";")
    assert [dict(choice) for choice in hint.choices] == [{"thousands": ","}, {"decimal": ","}]
    assert 'thousands = "," reads 1234, decimal = "," reads 1.234' in hint.text


def test_another_cell_settles_it() -> None:
    assert choices(column("BID", "1,234", "1,2"), delimiter=";") == [{"decimal": ","}]
    assert choices(csv("RIC,BID,ASK", ["A", "1,234", "1,234.5"]), delimiter=";") == [{"thousands": ","}]


def test_no_hint_where_the_declaration_would_cost_cells_that_are_read_today() -> None:
    assert hints(column("BID", "98,75", "98.75"), delimiter=";") == []
    assert hints(csv("RIC,BID,ASK", ["A", "98,7", "98.75"]), delimiter=";") == []


def test_one_mistake_among_many_cells_is_named_and_hides_no_hint() -> None:
    (hint,) = hints(column("BID", *["98,75"] * 10, "98.75"), delimiter=";")
    assert dict(hint.choices[0]) == {"decimal": ","}
    assert hint.text.endswith('; but then row 12, BID "98.75", which is 98.75 today, is not read')
    assert hint.cells == 10
    assert hints(column("BID", *["98,75"] * 9, "98.75"), delimiter=";") == []


def test_a_cell_that_would_be_read_as_something_else_is_named() -> None:
    (hint,) = hints(column("BID", "1.234", "2.345,6"), delimiter=";")
    assert dict(hint.choices[0]) == {"decimal": ",", "thousands": "."}
    assert hint.text.endswith('; but then row 2, BID "1.234", which is 1.234 today, is 1234')


def test_what_no_declaration_reads_is_left_out_of_account() -> None:
    assert choices(column("BID", "1,5", "abc", "12O,5"), delimiter=";") == [{"decimal": ","}]
    assert hints(column("BID", "abc", "1.2.3", "")) == []


def test_a_mark_is_never_the_delimiter() -> None:
    assert hints(column("BID", "1,5"), delimiter=",") == []


def test_numbers_of_a_workbook_that_are_text() -> None:
    cells = sheet("BID", (CellKind.NUMBER, "1.5"), (CellKind.TEXT, "98,75"))
    (hint,) = hints(cells)
    assert str(hint) == 'Prices!B3 "98,75": this looks like a decimal comma: set decimal = ","'


# percentages


def test_percentages_have_two_readings() -> None:
    text = 'percent = "points" reads 4.5, percent = "fraction" reads 0.045'
    for cells in (column("YIELD", "4.5%"), sheet("YIELD", (CellKind.PERCENT, "0.045"))):
        (hint,) = hints(cells)
        assert [dict(choice) for choice in hint.choices] == [{"percent": "points"}, {"percent": "fraction"}]
        assert text in hint.text


def test_what_two_readings_have_in_common_is_said_once_and_the_example_tells_them_apart() -> None:
    (hint,) = hints(column("YIELD", "4,5", "3,5 %"), delimiter=";")
    assert str(hint) == (
        'row 3, YIELD "3,5 %" and 1 more: this looks like a decimal comma: set decimal = ","; and '
        "this can be read in 2 ways, declare the one that is meant: "
        'percent = "points" reads 3.5, percent = "fraction" reads 0.035'
    )


def test_a_percentage_with_a_decimal_comma() -> None:
    assert choices(column("YIELD", "4,5 %"), delimiter=";", percent="points") == [{"decimal": ","}]
    assert choices(column("YIELD", "4,5 %"), delimiter=";") == [
        {"decimal": ",", "percent": "points"},
        {"decimal": ",", "percent": "fraction"},
    ]


# dates


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["22.11.2026"], ["%d.%m.%Y"]),
        (["22/11/2026", "03/04/2026"], ["%d/%m/%Y"]),
        (["11/22/2026"], ["%m/%d/%Y"]),
        (["03/04/2026"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["20261122"], ["%Y%m%d"]),
        (["22-Nov-2026"], ["%d-%b-%Y"]),
        (["2026-11-22 00:00:00"], ["%Y-%m-%d 00:00:00"]),
        (["November 22, 2026"], ["%B %d, %Y"]),
    ],
)
def test_date_formats(texts: list[str], formats: list[str]) -> None:
    assert choices(column("MATUR_DATE", *texts)) == [{"date_format": text} for text in formats]


def test_two_date_formats_are_named_with_what_each_reads() -> None:
    (hint,) = hints(column("MATUR_DATE", "03/04/2026"))
    assert 'date_format = "%d/%m/%Y" reads 2026-04-03, date_format = "%m/%d/%Y" reads 2026-03-04' in hint.text


def test_dates_of_two_notations_have_no_hint() -> None:
    assert hints(column("MATUR_DATE", "22.11.2026", "2026-11-22")) == []
    assert hints(column("MATUR_DATE", "31.02.2026", "2026-11-22 16:30")) == []


# words for "no value"


def test_a_cell_that_would_be_another_value_is_named_before_one_that_would_be_none() -> None:
    (hint,) = hints(column("BID", *["1.234,5"] * 20, "3.1", "2.500"), delimiter=";")
    assert hint.text.endswith('; but then row 23, BID "2.500", which is 2.5 today, is 2500')


def test_words_for_no_value_are_declared_beside_those_of_the_feed() -> None:
    cells = csv("RIC,BID,MATUR_DATE", ["A", "n/a", "-"], ["B", "1", "2026-11-22"], ["C", "N/A", None])
    (hint,) = hints(cells, blank=("x",))
    assert [dict(choice) for choice in hint.choices] == [{"blank": ["x", "n/a", "N/A", "-"]}]
    assert hint.where == 'row 2, BID "n/a" and 2 more'
    assert read_quotes(cells, feed(blank=("n/a", "N/A", "-")), DICTIONARY).problems == ()


def test_a_word_that_is_a_text_elsewhere_is_named() -> None:
    (hint,) = hints(csv("RIC,BID,DSPLY_NAME", ["A", "-", "-"]))
    assert hint.text.endswith('; but then row 2, DSPLY_NAME "-", which is "-" today, is not read')


def test_errors_are_no_words_for_no_value() -> None:
    assert hints(column("BID", "#N/A", "#DIV/0!")) == []
    assert hints(sheet("BID", (CellKind.ERROR, "#N/A"), (CellKind.NO_VALUE, ""))) == []


def test_several_hints_at_once() -> None:
    cells = csv("RIC,BID,MATUR_DATE", ["A", "1,5", "22.11.2026"], ["B", "n/v", "23.11.2026"])
    found = hints(cells, delimiter=";")
    declared = {key: value for hint in found for key, value in hint.choices[0].items()}
    assert declared == {"blank": ["n/v"], "decimal": ",", "date_format": "%d.%m.%Y"}


def test_a_sheet_that_is_read_has_no_hints() -> None:
    assert hints(csv("RIC,BID,MATUR_DATE", ["A", "1.5", "2026-11-22"], ["B", None, None])) == []


@given(
    st.lists(
        st.sampled_from(["1,5", "1.5", "1.234,5", "1,234.5", "1,234", "12", "4%", "n/a", "abc", "1 000", ""]),
        max_size=6,
    )
)
def test_a_hint_never_costs_a_cell_among_few(texts: list[str]) -> None:
    cells = column("BID", *texts, "1")
    declared = feed(delimiter=";")
    refused = {problem.row for problem in read_quotes(cells, declared, DICTIONARY).problems}
    for hint in cell_hints(cells, declared, DICTIONARY):
        for keys in hint.choices:
            after = {problem.row for problem in read_quotes(cells, replace(declared, **keys), DICTIONARY).problems}
            assert after < refused


# layout


@pytest.mark.parametrize(
    ("content", "encoding", "delimiter"),
    [
        (b"RIC,BID\nA,1.5\n", "utf-8", ","),
        (b"\xef\xbb\xbfRIC;BID\nA;1,5\n", "utf-8", ";"),
        ("RIC;Währung;BID;ASK\nA;EUR;1,5;2,5\n".encode("cp1252"), "cp1252", ";"),
        ("RIC\tWährung\nA\tEUR\n".encode("utf-16"), "utf-16", "\t"),
        ("RIC|BID\nA|1\n".encode("utf-16-le"), "utf-16-le", "|"),
        (b'RIC;Name;BID\r\nA;"x; y";1,5\r\nB;z;2,5\r\n', "utf-8", ";"),
        (b"RIC\nA\n", "utf-8", ","),
        (b"", "utf-8", ","),
    ],
)
def test_encoding_and_delimiter(content: bytes, encoding: str, delimiter: str) -> None:
    found = text_layout(content)
    assert (found.encoding, found.delimiter) == (encoding, delimiter)


def test_a_name_may_go_on_in_the_next_line() -> None:
    assert list(text_layout(b'RIC,"Bid\nPrice",ASK\nA,1,2\n').rows) == [
        ["RIC", "Bid\nPrice", "ASK"],
        [],
        ["A", "1", "2"],
        [],
    ]


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        (["RIC;BID", "A;1"], 1),
        (["Prices of today;", ";", "RIC;BID", "A=X;1", "B=X;2"], 3),
        (["Kurse;;;;", ";Kurs;;Rendite;", "RIC;Geld;Brief;Geldrendite;Briefrendite", "A=X;1;2;3;4"], 3),
        (["RIC;Geld;Brief", ";in %;in %", "A=X;1;2", "B=X;1;2"], 1),
        (["1;2", "3;4"], 1),
        ([], 1),
    ],
)
def test_the_header_is_where_names_stand_above_data(lines: list[str], row: int) -> None:
    rows = [line.split(";") for line in lines]
    assert header_row_of(rows, {"RIC", "BID", "Geld", "Brief"}.__contains__) == row


def test_layout_hints_name_what_differs() -> None:
    found = Layout([["a"]], encoding="cp1252", delimiter=";")
    assert [str(hint) for hint in layout_hints(found, 3, feed())] == [
        'the file: this looks like Windows\' own encoding: set encoding = "cp1252"',
        'the file: this looks separated by semicolons: set delimiter = ";"',
        "the file: row 3 looks like the header: set header_row = 3",
    ]
    assert layout_hints(found, 3, feed(encoding="cp1252", delimiter=";", header_row=3)) == ()


def test_the_sheet_of_a_workbook() -> None:
    found = Layout([["a"]], sheet="Kurse", sheets=("Deckblatt", "Kurse"))
    assert [str(hint) for hint in layout_hints(found, 1, feed())] == [
        'the workbook: the table is in the sheet "Kurse": set sheet = "Kurse"'
    ]
    assert layout_hints(found, 1, feed(sheet="Kurse")) == ()
    assert layout_hints(Layout([["a"]], sheet="Kurse", sheets=("Kurse",)), 1, feed()) == ()
