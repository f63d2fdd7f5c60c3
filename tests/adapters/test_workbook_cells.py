"""Workbook bytes -> cells: of which kind each cell is, and its text."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from written_workbooks import (
    HEADER,
    K,
    body,
    by_hand,
    by_openpyxl,
    by_xlsxwriter,
    read,
    rezipped,
    rows,
    saved,
    second,
)

from contrib_watch.core.model import CellKind

# Kinds and texts


def test_cells_come_with_their_kinds_rows_and_letters() -> None:
    content = by_openpyxl(
        ["RIC", "BID", "DATE", "TIME", "AT", "FLAG"],
        ["NA", 22.1, date(2026, 11, 22), time(16, 30), datetime(2026, 11, 22, 16, 30, 1), True],
        [],
        ["005930", 100, None, time(16, 30, 0, 250000), None, False],
        [5930, "0012", None, None, None, None],
    )
    cells = read(content)
    assert cells.sheet == "Prices"
    assert cells.header == ("RIC", "BID", "DATE", "TIME", "AT", "FLAG")
    assert cells.letters == ("A", "B", "C", "D", "E", "F")
    assert cells.address(1, 1) == "Prices!B4"
    assert rows(cells) == {
        2: [
            ("NA", K.TEXT),
            ("22.1", K.NUMBER),
            ("2026-11-22", K.DATE),
            ("16:30:00", K.TIME),
            ("2026-11-22T16:30:01", K.DATETIME),
            ("TRUE", K.BOOLEAN),
        ],
        4: [
            ("005930", K.TEXT),
            ("100", K.NUMBER),
            (None, K.BLANK),
            ("16:30:00.25", K.TIME),
            (None, K.BLANK),
            ("FALSE", K.BOOLEAN),
        ],
        5: [("5930", K.NUMBER), ("0012", K.TEXT), *[(None, K.BLANK)] * 4],
    }


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("0.30000000000000004", "0.3"),
        ("84.74339999999999", "84.7434"),
        ("3.141592653589793", "3.14159265358979"),
        ("100.0", "100"),
        ("1E-5", "0.00001"),
        ("1e20", "100000000000000000000"),
        ("123456789012345680", "123456789012346000"),
        ("-0", "0"),
        ("-1.5", "-1.5"),
        ("1e300", "1e+300"),
    ],
)
def test_numbers_are_read_at_fifteen_digits(stored: str, text: str) -> None:
    assert second(by_hand(body(f'<c r="B2"><v>{stored}</v></c>'))) == (text, K.NUMBER)


def test_percent_formats_are_told_from_numbers() -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ["RIC", "A", "B", "C", "D"])
        sheet.write(1, 0, "A=X")
        for column, shown in enumerate(["0%", "0.00%;[Red]-0.00%", '0.00" %"', "0.00"], 1):
            sheet.write(1, column, 0.1 + 0.2, book.add_format({"num_format": shown}))

    assert rows(read(by_xlsxwriter(write)))[2][1:] == [
        ("0.3", K.PERCENT),
        ("0.3", K.PERCENT),
        ('0.3 (seen as 0.30 % in the format 0.00" %")', K.DISGUISED),
        ("0.3", K.NUMBER),
    ]


def test_a_price_with_a_date_format_is_no_number() -> None:
    content = by_openpyxl(
        ["RIC", "BID"], ["A=X", 100.25], edit=lambda sheet: setattr(sheet["B2"], "number_format", "yyyy-mm-dd")
    )
    assert second(content) == ("1900-04-09T06:00:00", K.DATETIME)


def test_a_negative_date_is_an_error_and_not_midnight() -> None:
    def edit(sheet: Any) -> None:
        sheet["B2"].number_format = "hh:mm"

    assert second(by_openpyxl(["RIC", "AT"], ["A=X", -0.5], edit=edit)) == ("########", K.ERROR)


def test_dates_of_the_1904_system_are_right() -> None:
    book = openpyxl.Workbook()
    book.epoch = CALENDAR_MAC_1904
    book.active.append(["RIC", "DATE"])
    book.active.append(["A=X", date(2026, 11, 22)])
    assert second(saved(book)) == ("2026-11-22", K.DATE)


@pytest.mark.parametrize(
    ("text", "kind", "read_as"),
    [
        ("2026-11-22", K.DATE, "2026-11-22"),
        ("2026-11-22T16:30:00", K.DATETIME, "2026-11-22T16:30:00"),
        ("16:30:00", K.TIME, "16:30:00"),
    ],
)
def test_dates_stored_as_text_are_dates(text: str, kind: CellKind, read_as: str) -> None:
    assert second(by_hand(body(f'<c r="B2" t="d"><v>{text}</v></c>'))) == (read_as, kind)


def test_durations_are_no_times_of_day() -> None:
    assert second(by_openpyxl(["RIC", "AT"], ["A=X", timedelta(hours=30, seconds=1)])) == ("30:00:01", K.TIME)


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"])
def test_error_cells_keep_their_names(error: str) -> None:
    def edit(sheet: Any) -> None:
        sheet["B2"] = error

    assert second(by_openpyxl(["RIC", "BID"], ["A=X", 1], edit=edit)) == (error, K.ERROR)


@pytest.mark.parametrize("error", ["#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#GETTING_DATA", "#A&B<!"])
def test_an_unknown_error_is_an_error_of_its_cell_alone(error: str) -> None:
    cell = f'<c r="B2" t="e"><v>{error.replace("&", "&amp;").replace("<", "&lt;")}</v></c>'
    other = f'<row r="3"><c r="A3" t="str"><v>{escape(error)}</v></c><c r="B3"><v>1.5</v></c></row>'
    assert rows(read(by_hand(body(cell) + other))) == {
        2: [("A=X", K.TEXT), (error, K.ERROR)],
        3: [(error, K.TEXT), ("1.5", K.NUMBER)],
    }


def test_a_text_that_looks_like_an_error_is_text() -> None:
    content = by_hand(body('<c r="B2" t="e"><v>#N/A</v></c>', '<c r="C2" t="str"><v>#N/A N/A</v></c>'))
    assert rows(read(content))[2][1:] == [("#N/A", K.ERROR), ("#N/A N/A", K.TEXT)]


# Formulas


def test_a_formula_without_a_result_is_no_blank() -> None:
    content = by_openpyxl(["RIC", "BID"], ["=BRT-", 1], ["A=X", "=1+1"], ["B=X", None])
    assert rows(read(content)) == {
        2: [("", K.NO_VALUE), ("1", K.NUMBER)],
        3: [("A=X", K.TEXT), ("", K.NO_VALUE)],
        4: [("B=X", K.TEXT), (None, K.BLANK)],
    }


def test_results_in_a_workbook_that_must_be_recalculated_are_none() -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ["RIC", "BID"])
        sheet.write_row(1, 0, ["A=X", 5])
        sheet.write_formula(2, 1, "=B2*2")
        sheet.write(2, 0, "B=X")

    assert rows(read(by_xlsxwriter(write))) == {
        2: [("A=X", K.TEXT), ("5", K.NUMBER)],
        3: [("B=X", K.TEXT), ("", K.NO_VALUE)],
    }


@pytest.mark.parametrize("calculated", [True, False])
def test_every_cell_of_an_array_formula_is_a_result(calculated: bool) -> None:
    data = (
        f'{HEADER}<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><f t="array" ref="B2:B3">C2:C3</f><v>1</v></c>'
        '</row><row r="3"><c r="A3" t="str"><v>B=X</v></c><c r="B3"><v>2</v></c></row>'
        '<row r="4"><c r="A4" t="str"><v>C=X</v></c><c r="B4"><v>3</v></c></row>'
    )
    found = [row[1] for row in rows(read(by_hand(data, calculated=calculated))).values()]
    results = [("1", K.NUMBER), ("2", K.NUMBER)] if calculated else [("", K.NO_VALUE)] * 2
    assert found == [*results, ("3", K.NUMBER)]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ('<c r="B2"><f>1+1</f><v>2</v></c>', ("2", K.NUMBER)),
        ('<c r="B2"><f>1+1</f><v/></c>', ("", K.NO_VALUE)),
        ('<c r="B2"><f>1+1</f></c>', ("", K.NO_VALUE)),
        ('<c r="B2" t="str"><f>""</f><v></v></c>', (None, K.BLANK)),
        ('<c r="B2" t="str"><f>""</f></c>', ("", K.NO_VALUE)),
        ('<c r="B2" t="str"><f>"x"</f><v>x</v></c>', ("x", K.TEXT)),
        ('<c r="B2" t="e"><f>1/0</f><v>#DIV/0!</v></c>', ("#DIV/0!", K.ERROR)),
        ('<c r="B2" t="b"><f>TRUE()</f><v>1</v></c>', ("TRUE", K.BOOLEAN)),
    ],
)
def test_formula_results(cell: str, found: tuple[str | None, CellKind]) -> None:
    assert second(by_hand(body(cell))) == found


# Texts


@pytest.mark.parametrize(
    "text", [" a ", "x\ny", "é€", "a&b<c>", "_x000D_", "_x005F_", "a_xb", "'quoted", "=A", " ", "😀"]
)
def test_texts_come_as_excel_means_them(text: str) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ["RIC", "NAME"])
        sheet.write_string(1, 0, "A=X")
        sheet.write_string(1, 1, text)

    assert second(by_xlsxwriter(write)) == (text, K.TEXT)


def test_escaped_characters_are_read() -> None:
    assert second(by_hand(body('<c r="B2" t="str"><v>a_x000D_b_x005F_x000D_</v></c>'))) == ("a\rb_x000D_", K.TEXT)


def test_rich_and_phonetic_texts_are_read_once() -> None:
    cell = (
        '<c r="B2" t="inlineStr"><is><r><t>a</t></r><r><rPr><b/></rPr><t xml:space="preserve"> b</t></r>'
        "<rPh><t>no</t></rPh></is></c>"
    )
    assert second(by_hand(body(cell))) == ("a b", K.TEXT)


# Promises

TEXT = st.one_of(
    st.sampled_from(["NA", "007", "1e5", 'a"b', "a,b", "x\ny", " ", "_x000D_", "_x0041_", "#N/A N/A", "TRUE", "ü"]),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"], exclude_characters="\ufeff\ufffe"),
        min_size=1,
        max_size=8,
    ),
)
VALUE = st.one_of(st.none(), TEXT, st.floats(-1e8, 1e8).map(lambda number: round(number, 6)), st.booleans())


def expected_cell(value: Any) -> tuple[str | None, CellKind]:
    match value:
        case None:
            return None, K.BLANK
        case bool():
            return str(value).upper(), K.BOOLEAN
        case str():
            return value, K.TEXT
        case _:
            return value, K.NUMBER


@given(
    lines=st.lists(st.lists(VALUE, min_size=3, max_size=3), max_size=8),
    with_error=st.booleans(),
    writer=st.sampled_from(["openpyxl", "xlsxwriter"]),
)
@example(lines=[["a", "_x000D_", 1.0]], with_error=False, writer="xlsxwriter")
def test_what_is_written_comes_back_cell_for_cell(lines: list[list[Any]], with_error: bool, writer: str) -> None:
    """With an error cell the sheet goes the careful way, and both ways give the same."""
    width = ["RIC", "BID", "ASK", "LAST"]
    table = [[*line, None] for line in lines]
    if with_error:
        table.append(["E=X", None, None, "#N/A"])
    if writer == "openpyxl":
        book = openpyxl.Workbook()
        for row, line in enumerate([width, *table], 1):
            for column, value in enumerate(line, 1):
                cell = book.active.cell(row, column)
                # openpyxl writes a text's escapes as they are, so they are escaped here.
                cell.value = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", value) if isinstance(value, str) else value
                if isinstance(value, str) and value != "#N/A":
                    cell.data_type = "s"
        content = saved(book)
    else:

        def write(book: Any, sheet: Any) -> None:
            for row, line in enumerate([width, *table]):
                for column, value in enumerate(line):
                    if value == "#N/A":
                        sheet.write_formula(row, column, "=NA()", None, "#N/A")
                    elif isinstance(value, str):
                        sheet.write_string(row, column, value)
                    elif value is not None:
                        sheet.write(row, column, value)

        content = rezipped(
            by_xlsxwriter(write),
            lambda name, part: part.replace(b' fullCalcOnLoad="1"', b"") if name == "xl/workbook.xml" else part,
        )
    expected = {
        number: [expected_cell(value) if value != "#N/A" else ("#N/A", K.ERROR) for value in line]
        for number, line in enumerate(table, 2)
        if any(value is not None for value in line)
    }
    found = rows(read(content))
    for row in found.values():
        for index, (text, kind) in enumerate(row):
            if kind is K.NUMBER:
                assert text is not None
                assert "e" not in text
                row[index] = (float(text), kind)  # type: ignore[call-overload]
    assert found == expected
