"""Workbook bytes -> cells: what each cell is, where it stands, and what is held back."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import pandas as pd
import pytest
import xlsxwriter
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from contrib_watch.adapters.sheets import grid, package, read_cells
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
K = CellKind


def read(content: bytes, **feed: object) -> Cells:
    return read_cells(content, "prices.xlsx", replace(FEED, **feed))  # type: ignore[arg-type]


def refusal(content: bytes, **feed: object) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refused:
        read(content, **feed)
    assert "prices.xlsx" in refused.value.where
    assert refused.value.hint
    return refused.value


def rows(cells: Cells) -> dict[int, list[tuple[str | None, CellKind]]]:
    """Row number -> (text, kind) of each cell."""
    assert cells.kinds is not None
    found: dict[int, list[tuple[str | None, CellKind]]] = {row: [] for row in cells.rows.to_pylist()}
    for texts, kinds in zip(cells.columns, cells.kinds, strict=True):
        for row, text, kind in zip(found.values(), texts.to_pylist(), kinds.to_pylist(), strict=True):
            row.append((text, CellKind(kind)))
    return found


def saved(book: openpyxl.Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def by_openpyxl(*lines: list[Any], edit: Callable[[Any], None] = lambda sheet: None) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for line in lines:
        book.active.append(line)
    edit(book.active)
    return saved(book)


def by_xlsxwriter(write: Callable[[Any, Any], None]) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Prices")
    write(book, sheet)
    book.close()
    return file.getvalue()


def rezipped(content: bytes, edit: Callable[[str, bytes], bytes]) -> bytes:
    """The workbook with ``edit`` applied to each part."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))
    return file.getvalue()


def by_hand(sheet_data: str, *, after: str = "", before: str = "", calculated: bool = True) -> bytes:
    """A workbook whose sheet has this XML inside ``sheetData``."""

    def edit(name: str, part: bytes) -> bytes:
        if name == "xl/workbook.xml" and calculated:
            return part.replace(b' fullCalcOnLoad="1"', b"")
        if name != "xl/worksheets/sheet1.xml":
            return part
        xml = re.sub(
            rb"<sheetData ?/>|<sheetData>.*</sheetData>", b"<sheetData>@</sheetData>@", part, flags=re.DOTALL
        )
        head, _, rest = xml.partition(b"<sheetData>@</sheetData>@")
        return head + before.encode() + b"<sheetData>" + sheet_data.encode() + b"</sheetData>" + after.encode() + rest

    return rezipped(by_openpyxl(["x"]), edit)


HEADER = '<row r="1"><c r="A1" t="str"><v>RIC</v></c><c r="B1" t="str"><v>BID</v></c></row>'


def body(*cells: str, attributes: str = "") -> str:
    return f'{HEADER}<row r="2"{attributes}><c r="A2" t="str"><v>A=X</v></c>{"".join(cells)}</row>'


def second(content: bytes) -> tuple[str | None, CellKind]:
    """The cell B2."""
    return rows(read(content))[2][1]


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


# Layout


def test_the_header_may_stand_anywhere() -> None:
    def edit(sheet: Any) -> None:
        sheet["B1"] = "Prices of today"
        sheet["C4"], sheet["D4"], sheet["C5"], sheet["D5"] = " RIC ", "BID", "A=X", 1

    cells = read(by_openpyxl(edit=edit), header_row=4)
    assert cells.header == ("RIC", "BID")
    assert cells.letters == ("C", "D")
    assert cells.header_row == 4
    assert rows(cells) == {5: [("A=X", K.TEXT), ("1", K.NUMBER)]}


@pytest.mark.parametrize("header_row", [2, 3, 9])
def test_a_header_that_is_not_there_refuses_the_file(header_row: int) -> None:
    content = by_openpyxl(["RIC"], [], edit=lambda sheet: sheet.cell(2, 1, None))
    assert "header" in refusal(content, header_row=header_row).what


def test_an_empty_sheet_has_no_header() -> None:
    assert "no column names" in refusal(by_openpyxl()).what


def test_a_value_outside_the_header_holds_its_row() -> None:
    cells = read(by_openpyxl(["RIC", "BID"], ["A=X", 1], ["B=X", 2, "note"]))
    assert list(rows(cells)) == [2]
    assert [(bad.row, bad.text, bad.cause) for bad in cells.malformed] == [
        (3, "B=X | 2 | note", "has a value outside the header's columns")
    ]


def test_a_whole_column_outside_the_header_is_a_blank_header() -> None:
    cells = read(by_openpyxl(["RIC", "BID"], ["A=X", 1, 7], ["B=X", 2, 8]))
    assert cells.header == ("RIC", "BID", "")
    assert cells.letters == ("A", "B", "C")
    assert cells.malformed == ()


@pytest.mark.parametrize("lookalike", ["A=X", "A=X\u00a0", "A=X\u200b", "\tA=X "])
def test_a_row_that_is_held_back_names_the_rows_that_it_may_be_a_copy_of(lookalike: str) -> None:
    def edit(sheet: Any) -> None:
        sheet.row_dimensions[3].hidden = True

    cells = read(by_openpyxl(["RIC", "BID"], ["A=X", 1], [lookalike, 2], ["B=X", 3], edit=edit))
    assert [bad.rics for bad in cells.malformed] == [("A=X",)]


def test_hidden_rows_are_held_back() -> None:
    def edit(sheet: Any) -> None:
        sheet.row_dimensions[3].hidden = True
        sheet.row_dimensions[5].hidden = True

    cells = read(by_openpyxl(["RIC", "BID"], ["A=X", 1], ["B=X", 2], ["C=X", 3], [], ["D=X", 4], edit=edit))
    assert list(rows(cells)) == [2, 4, 6]
    assert [(bad.row, bad.text, bad.cause) for bad in cells.malformed] == [(3, "B=X | 2", "is hidden")]


@pytest.mark.parametrize("height", ["0", "0.75"])
def test_a_row_without_height_or_of_one_pixel_is_hidden(height: str) -> None:
    cells = read(by_hand(body('<c r="B2"><v>1</v></c>', attributes=f' ht="{height}" customHeight="1"')))
    assert [(bad.row, bad.cause) for bad in cells.malformed] == [(2, "is hidden")]


@pytest.mark.parametrize(("width", "is_hidden"), [("0.08", True), ("0.9", True), ("1", False)])
def test_a_column_without_room_for_a_digit_is_hidden(width: str, is_hidden: bool) -> None:
    columns = f'<cols><col min="2" max="2" width="{width}" customWidth="1"/></cols>'
    content = by_hand(body('<c r="B2"><v>1</v></c>'), before=columns)
    assert not is_hidden or "column B is hidden" in refusal(content).what
    assert is_hidden or rows(read(content))[2][1] == ("1", K.NUMBER)


def test_rows_without_a_height_of_their_own_are_as_high_as_the_sheet_says() -> None:
    flat = '<sheetFormatPr defaultRowHeight="0" customHeight="1"/>'
    high = HEADER.replace("<row ", '<row ht="15" ') + '<row r="2" ht="15"><c r="A2" t="str"><v>A=X</v></c></row>'
    cells = read(by_sheet_format(flat, high + '<row r="3"><c r="A3" t="str"><v>B=X</v></c></row>'))
    assert list(rows(cells)) == [2]
    assert [(bad.row, bad.cause) for bad in cells.malformed] == [(3, "is hidden")]


def test_unused_rows_that_are_hidden_hide_no_values() -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.set_default_row(hide_unused_rows=True)
        sheet.write_row(0, 0, ["RIC", "BID"])
        sheet.write_row(1, 0, ["A=X", 1])
        sheet.write_row(4, 0, ["B=X", 2])

    content = by_xlsxwriter(write)
    assert b'zeroHeight="1"' in zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml")
    assert list(rows(read(content))) == [2, 5]


@pytest.mark.parametrize(("columns", "hidden"), [("", "A"), ('<cols><col min="1" max="1" width="9"/></cols>', "B")])
def test_columns_without_a_width_of_their_own_are_as_wide_as_the_sheet_says(columns: str, hidden: str) -> None:
    narrow = f'<sheetFormatPr defaultColWidth="0" defaultRowHeight="15"/>{columns}'
    content = by_sheet_format(narrow, body('<c r="B2"><v>1</v></c>'))
    assert f"column {hidden} is hidden" in refusal(content).what


def by_sheet_format(xml: str, sheet_data: str) -> bytes:
    """A sheet by hand with its own ``sheetFormatPr``."""

    def edit(name: str, part: bytes) -> bytes:
        return re.sub(rb"<sheetFormatPr[^>]*/>", xml.encode(), part) if name == "xl/worksheets/sheet1.xml" else part

    return rezipped(by_hand(sheet_data), edit)


def test_a_name_that_is_merged_into_the_header_from_above_is_none_of_its_names() -> None:
    lines = ["RIC", "Price", None], [None, "BID", "ASK"], ["A=X", 1, 2]
    cells = read(by_openpyxl(*lines, edit=lambda sheet: sheet.merge_cells("A1:A2")), header_row=2)
    assert cells.header == ("", "BID", "ASK")


def test_a_hidden_header_refuses_the_file() -> None:
    def edit(sheet: Any) -> None:
        sheet.row_dimensions[1].hidden = True

    assert "hidden" in refusal(by_openpyxl(["RIC"], ["A=X"], edit=edit)).what


def test_a_hidden_column_with_values_refuses_the_file() -> None:
    def edit(sheet: Any) -> None:
        sheet.column_dimensions["B"].hidden = True

    assert "column B is hidden" in refusal(by_openpyxl(["RIC", "BID"], ["A=X", 1], edit=edit)).what
    assert rows(read(by_openpyxl(["RIC", "BID", "ASK"], ["A=X", None, 1], edit=edit)))[2][2] == ("1", K.NUMBER)


def test_merged_cells_are_never_filled_down() -> None:
    content = by_openpyxl(["RIC", "BID"], ["A=X", 1], ["", 2], edit=lambda sheet: sheet.merge_cells("A2:A3"))
    assert rows(read(content)) == {2: [("A=X", K.TEXT), ("1", K.NUMBER)], 3: [(None, K.BLANK), ("2", K.NUMBER)]}


def test_a_value_beneath_a_merged_cell_holds_its_row() -> None:
    data = (
        f'{HEADER}<row r="2"><c r="A2" t="str"><v>A=X</v></c></row>'
        '<row r="3"><c r="A3" t="str"><v>B=X</v></c><c r="B3"><v>1</v></c></row>'
    )
    cells = read(by_hand(data, after='<mergeCells count="1"><mergeCell ref="A2:A3"/></mergeCells>'))
    assert list(rows(cells)) == [2]
    assert [(bad.row, bad.cause) for bad in cells.malformed] == [(3, "has a value beneath a merged cell")]


# Which sheet


def two_sheets(first: str = "visible", second_state: str = "visible") -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Old"
    book.active.append(["RIC"])
    book.active.append(["OLD"])
    other = book.create_sheet("New")
    other.append(["RIC"])
    other.append(["NEW"])
    book.active.sheet_state, other.sheet_state = first, second_state
    book.active = 1 if first != "visible" else 0
    return saved(book)


def test_one_of_several_sheets_must_be_named() -> None:
    refused = refusal(two_sheets())
    assert '"Old", "New"' in refused.what
    assert "sheet" in refused.hint
    assert rows(read(two_sheets(), sheet="New")) == {2: [("NEW", K.TEXT)]}
    assert '"Old", "New"' in refusal(two_sheets(), sheet="new").what


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_sheets_are_never_read(state: str) -> None:
    content = two_sheets(first=state)
    assert read(content).sheet == "New"
    assert "is hidden" in refusal(content, sheet="Old").what


def test_a_chart_is_not_a_sheet_of_cells() -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.write_column(0, 0, ["RIC", "A=X"])
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Prices!$A$2:$A$2"})
        book.add_chartsheet("Chart").set_chart(chart)

    assert read(by_xlsxwriter(write)).sheet == "Prices"


# Other writers


def test_what_pandas_writes_comes_back() -> None:
    file = io.BytesIO()
    pd.DataFrame({"RIC": ["A=X", "NA"], "BID": [0.1 + 0.2, None]}).to_excel(file, index=False)
    assert rows(read(file.getvalue())) == {
        2: [("A=X", K.TEXT), ("0.3", K.NUMBER)],
        3: [("NA", K.TEXT), (None, K.BLANK)],
    }


def test_prefixed_names_and_other_quotes_are_read_alike() -> None:
    plain = by_hand(body('<c r="B2"><v>1.5</v></c>', '<c r="C2" t="e"><v>#N/A</v></c>', attributes=' hidden="1"'))

    def prefix(name: str, part: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return part
        part = re.sub(rb"<(/?)(\w)", rb"<\1x:\2", part).replace(b"xmlns=", b"xmlns:x=")
        return re.sub(rb'="([^"\']*)"', rb" = '\1'", part)

    prefixed = rezipped(plain, prefix)
    assert prefixed != plain
    assert read(prefixed) == read(plain)
    assert read(plain).malformed[0].text == "A=X | 1.5 | #N/A"


def test_cells_without_references_stand_side_by_side() -> None:
    first = '<row><c t="str"><v>RIC</v></c><c t="str"><v>BID</v></c></row>'
    data = first + '<row><c t="str"><v>A</v></c><c><v>1</v></c></row>'
    assert rows(read(by_hand(data))) == {2: [("A", K.TEXT), ("1", K.NUMBER)]}


@pytest.mark.parametrize(
    "data",
    [
        body('<c r="B2"><v>1</v></c>', '<c r="B2"><v>2</v></c>'),
        body('<c r="C2" t="e"><v>#N/A</v></c>', '<c r="B2"><v>2</v></c>'),
        body('<c r="B3"><f>1</f><v>1</v></c>'),
        body('<c r="B2"><v>1</v></c>') + '<row r="2"><c r="C2"><v>1</v></c></row>',
        body('<c r="B2" t="s"><v>99</v></c>', '<c r="C2" t="e"><v>#N/A</v></c>'),
        body('<c r="B2"><v>1<!-- -->2</v></c>'),
        body('<c r="B2" t="str"><v><![CDATA[x]]></v></c>'),
        body('<c r="B2"><v>1<?x y?>2</v></c>'),
        body('<c r="B2"><v>1</v>'),
    ],
)
def test_what_readers_would_understand_differently_is_refused(data: str) -> None:
    refusal(by_hand(data))


# Hostile files


@pytest.mark.parametrize(
    "name", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"]
)
def test_entities_are_refused(name: str) -> None:
    attack = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'

    def edit(part_name: str, part: bytes) -> bytes:
        if part_name != name:
            return part
        declaration, _, rest = part.partition(b"?>") if part.startswith(b"<?xml") else (b"", b"", part)
        return (declaration + b"?>" if declaration else b"") + attack + rest

    content = by_xlsxwriter(lambda book, sheet: sheet.write_column(0, 0, ["RIC", "A=X"]))
    assert read(content).header == ("RIC",)
    assert "DTD" in refusal(rezipped(content, edit)).what


def test_a_bomb_is_refused_by_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    content = rezipped(by_openpyxl(["RIC"]), lambda name, part: part + b" " * 200_000)
    monkeypatch.setattr(package, "RATIO_FREE_BYTES", 1 << 20)
    assert "times its size" in refusal(content).what
    monkeypatch.setattr(package, "MAX_UNPACKED_BYTES", 1 << 20)
    assert "limits are" in refusal(content).what


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    real = zlib.crc32(b"<a/>")

    # The directory promises 4 bytes with the right checksum; the data go on for 100 MB.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"<a/>" + bytes(100_000_000)) + packer.flush()
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("xl/bomb.xml", packed)
    raw = bytearray(file.getvalue())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 10 : entry + 12] = (8).to_bytes(2, "little")
    raw[entry + 16 : entry + 20] = real.to_bytes(4, "little")
    raw[entry + 24 : entry + 28] = (4).to_bytes(4, "little")
    assert "checksum" in refusal(bytes(raw)).what


def test_two_parts_of_one_name_are_refused() -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("XL/worksheets/SHEET1.xml", "<worksheet/>")
    assert "two parts of one name" in refusal(file.getvalue()).what


@pytest.mark.parametrize("lines", [b"", b"PK"])
def test_something_around_the_zip_is_refused(lines: bytes) -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"x"
    refusal(file.getvalue() + lines)


def test_far_apart_cells_are_refused_before_a_grid_is_built() -> None:
    data = f'{HEADER}<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    refused = refusal(by_hand(data))
    assert "XFD1048576" in refused.what


def test_blank_styled_cells_are_no_data_and_no_limit() -> None:
    blank = "".join(f'<row r="{row}"><c r="A{row}" s="0"/><c r="XFD{row}" s="0"/></row>' for row in range(3, 4000))
    assert grid.MAX_GRID_CELLS < 3999 * 16384
    assert rows(read(by_hand(body('<c r="B2"><v>1</v></c>') + blank))) == {2: [("A=X", K.TEXT), ("1", K.NUMBER)]}


def test_too_many_rows_are_refused() -> None:
    content = by_openpyxl(["RIC"], ["A"], [], ["B"], ["C"])
    assert "max_rows" in refusal(content, max_rows=2).hint
    assert len(read(content, max_rows=3).rows) == 3


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
