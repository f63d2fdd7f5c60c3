"""Tables of Excel's (Insert, Table) on the sheet that is read: their totals, and those that are not the feed's."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pytest
import xlsxwriter
from openpyxl.worksheet.table import Table
from written_workbooks import by_openpyxl

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.core.model import Cells, Feed

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV", ignore_columns=("Note",))


def read(content: bytes) -> Cells:
    return read_cells(content, "prices.xlsx", FEED)


def test_the_totals_row_of_a_table_is_no_quote() -> None:
    columns = [{"header": "RIC", "total_string": "Total"}, {"header": "BID", "total_string": "2"}]
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Prices")
        sheet.add_table("B3:C6", {"data": [["A=X", 1], ["B=X", 2]], "columns": columns, "total_row": True})
    cells = read_cells(file.getvalue(), "prices.xlsx", replace(FEED, header_row=3))
    assert cells.rows.to_pylist() == [4, 5]
    assert [(bad.row, bad.text, bad.cause) for bad in cells.malformed] == [
        (6, "Total | 2", "is the totals row of a table, not a RIC")
    ]


def two_tables(*names: str) -> bytes:
    """A table of A to C from row 1 on, and one with these names from row 5 on."""

    def edit(sheet: Any) -> None:
        sheet.add_table(Table(displayName="First", ref="A1:C3"))
        sheet.add_table(Table(displayName="Second", ref="A5:C7"))

    first, second = [["A=X", 1, "x"], ["B=X", 2, "y"]], [["C=X", 3, "x"], ["D=X", 4, "y"]]
    return by_openpyxl(["RIC", "BID", "Note"], *first, [], list(names), *second, edit=edit)


@pytest.mark.parametrize("names", [("Code", "Wert", "Note"), ("RIC", "BID*", "Note"), ("BID", "RIC", "Note")])
def test_a_second_table_with_other_names_is_not_read_by_the_first_ones(names: tuple[str, str, str]) -> None:
    cells = read(two_tables(*names))
    assert cells.rows.to_pylist() == [2, 3, 5]
    assert [bad.row for bad in cells.malformed] == [6, 7]
    assert cells.malformed[0].cause.startswith("belongs to another table of the sheet")


@pytest.mark.parametrize("names", [("RIC", "BID", "Note"), ("ric", "Bid ", "Remark")])
def test_a_second_table_with_the_same_names_is_read(names: tuple[str, str, str]) -> None:
    assert read(two_tables(*names)).rows.to_pylist() == [2, 3, 5, 6, 7]


def test_a_table_right_below_the_header_is_the_first_one() -> None:
    lines = ["RIC", "BID"], ["Code", "Wert"], ["A=X", 1]
    content = by_openpyxl(*lines, edit=lambda sheet: sheet.add_table(Table(displayName="Only", ref="A2:B3")))
    assert read(content).rows.to_pylist() == [2, 3]
