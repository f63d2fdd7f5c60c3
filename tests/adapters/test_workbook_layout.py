"""Where the cells of a workbook stand, on which sheet, and which rows are held back."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import openpyxl
import pytest
from written_workbooks import (
    HEADER,
    K,
    body,
    by_hand,
    by_openpyxl,
    by_xlsxwriter,
    read,
    refusal,
    rezipped,
    rows,
    saved,
)


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


@pytest.mark.parametrize(
    ("area", "held"),
    [
        ("B2:B3", [3]),  # one price beside two RICs
        ("B2:C2", [2]),  # one for bid and ask
        ("B3:C4", [3, 4]),
        ("D2:D4", []),  # a column that is not read
        ("C2:D2", []),
        ("B4:B5", []),  # nothing is shown
        ("A6:C6", []),  # a title
    ],
)
def test_a_row_over_which_a_merged_cell_shows_a_value_is_held(area: str, held: list[int]) -> None:
    lines = [["A=X", 1, 2, "x"], ["B=X", None, None, None], ["C=X", None, None, None], ["D=X", None, 1, "y"]]
    lines[1][1] = 7 if area == "B3:C4" else None
    lines[0][2] = None if area == "B2:C2" else 2
    sheet = by_openpyxl(["RIC", "BID", "ASK", "Note"], *lines, edit=lambda sheet: sheet.merge_cells(area))
    cells = read(sheet, ignore_columns=("Note",))
    assert [(bad.row, bad.cause) for bad in cells.malformed] == [
        (number, "has no value of its own where a merged cell shows one") for number in held
    ]


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
