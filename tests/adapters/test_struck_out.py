"""What people do to a value's looks to say that it does not hold, or is not all of it the value."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest
import xlsxwriter
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Font
from written_workbooks import by_openpyxl, rezipped

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.second import read_again
from contrib_watch.core.model import CellKind, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
K = CellKind
HEADER, ROW = ["RIC", "BID"], ["A=X", 1.5]
STRUCK = Font(strike=True)

Kinds = list[list[CellKind]]


def rewritten(content: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    """The workbook with one of its parts changed."""
    return rezipped(content, lambda name, found: change(found) if name == part else found)


def struck(*cells: str) -> Callable[[Any], None]:
    def edit(sheet: Any) -> None:
        for cell in cells:
            sheet[cell].font = STRUCK

    return edit


def kinds(content: bytes) -> Kinds:
    """Of each row below the header."""
    found = read_cells(content, "prices.xlsx", FEED).kinds
    assert found is not None
    return [[CellKind(kind) for kind in row] for row in zip(*(column.to_pylist() for column in found), strict=True)]


def rich(*pieces: tuple[str, dict[str, Any]]) -> CellRichText:
    return CellRichText(*(TextBlock(InlineFont(**look), text) if look else text for text, look in pieces))


@pytest.mark.parametrize(
    ("value", "text"), [(1.5, "1.5"), (-2, "-2"), ("1.5", "1.5"), (True, "TRUE"), (False, "FALSE"), ("x", "x")]
)
def test_a_cell_that_is_struck_out_does_not_hold(value: object, text: str) -> None:
    cells = read_cells(by_openpyxl(HEADER, ["A=X", value], ROW, edit=struck("B2")), "prices.xlsx", FEED)
    assert cells.kinds is not None
    assert (cells.columns[1][0].as_py(), cells.kinds[1].to_pylist()) == (text, [K.STRUCK, K.NUMBER])


def test_a_struck_out_cell_without_a_value_is_blank() -> None:
    content = by_openpyxl(HEADER, ["A=X", None], ["B=X", " "], edit=struck("B2", "B3"))
    found = read_cells(content, "prices.xlsx", FEED)
    assert (found.columns[1].to_pylist(), kinds(content)[0][1]) == ([None, " "], K.BLANK)
    assert K.STRUCK not in kinds(content)[1]


def test_a_struck_out_ric_is_told() -> None:
    assert kinds(by_openpyxl(HEADER, ROW, ROW, edit=struck("A2"))) == [[K.STRUCK, K.NUMBER], [K.TEXT, K.NUMBER]]


def test_the_values_below_a_name_that_is_struck_out_are(tmp_path: Path) -> None:
    content = by_openpyxl(HEADER, ROW, ["B=X", None], ["C=X", "x"], edit=struck("B1"))
    assert [row[1] for row in kinds(content)] == [K.STRUCK, K.BLANK, K.STRUCK]
    file = tmp_path / "prices.xlsx"
    file.write_bytes(content)
    assert read_again(file, file.name, FEED, HEADER, [2]).header == ("RIC", "BID")


def test_a_struck_out_style_of_all_cells_is_seen() -> None:
    def change(part: bytes) -> bytes:
        return re.sub(rb"<font><name", b"<font><strike/><name", part, count=1)

    content = rewritten(by_openpyxl(HEADER, ROW), "xl/styles.xml", change)
    assert kinds(content) == [[K.STRUCK, K.STRUCK]]


@pytest.mark.parametrize("value", ["0", "false"])
def test_a_font_may_say_that_it_strikes_nothing_out(value: str) -> None:
    def change(part: bytes) -> bytes:
        return re.sub(rb'<strike val="1" ?/>', f'<strike val="{value}"/>'.encode(), part)

    content = by_openpyxl(HEADER, ROW, edit=struck("B2"))
    assert kinds(rewritten(content, "xl/styles.xml", change)) == [[K.TEXT, K.NUMBER]]
    assert kinds(content) == [[K.TEXT, K.STRUCK]]


def test_a_second_program_sees_it_too(tmp_path: Path) -> None:
    file = tmp_path / "prices.xlsx"
    file.write_bytes(by_openpyxl(HEADER, ROW, ROW, edit=struck("B2")))
    again = read_again(file, file.name, FEED, HEADER, [2, 3]).kinds
    assert again is not None
    assert again[1].to_pylist() == [K.STRUCK, K.NUMBER]


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([("101.5", {}), ("1", {"font_script": 1})], K.RAISED),
        ([("101.5", {}), ("1", {"font_script": 2})], K.RAISED),
        ([("101.5", {}), ("1", {"bold": True})], K.TEXT),
        ([("10", {"font_strikeout": True}), ("5", {})], K.STRUCK),
        ([("10", {"font_script": 1}), ("5", {"font_strikeout": True})], K.STRUCK),
        # A rating, or a RIC, is another one with the digit of a footnote behind it.
        ([("AA", {}), ("1", {"font_script": 1})], K.RAISED),
        ([("EUR", {"font_strikeout": True}), ("CHF=", {})], K.STRUCK),
    ],
)
def test_a_part_that_looks_otherwise_makes_another_value(
    pieces: list[tuple[str, dict[str, Any]]], kind: CellKind
) -> None:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Prices")
        sheet.write_row(0, 0, HEADER)
        sheet.write_string(1, 0, "A=X")
        sheet.write_rich_string(1, 1, *(part for text, look in pieces for part in (book.add_format(look), text)))
    assert kinds(file.getvalue()) == [[K.TEXT, kind]]


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        ({"vertAlign": "superscript"}, K.RAISED),
        ({"vertAlign": "baseline"}, K.TEXT),
        ({"strike": True}, K.STRUCK),
        ({"b": True}, K.TEXT),
    ],
)
def test_so_does_a_part_of_a_text_that_stands_in_its_cell(look: dict[str, Any], kind: CellKind) -> None:
    assert kinds(by_openpyxl(HEADER, ["A=X", rich(("101.5", {}), ("1", look))])) == [[K.TEXT, kind]]


def test_a_footnotes_sign_in_the_header_is_a_part_of_the_name() -> None:
    content = by_openpyxl(["RIC", rich(("BID", {}), ("1", {"vertAlign": "superscript"}))], ROW)
    found = read_cells(content, "prices.xlsx", FEED)
    assert found.header == ("RIC", "BID1")
    assert kinds(content) == [[K.TEXT, K.NUMBER]]


def test_a_rule_that_strikes_out_refuses_the_sheet() -> None:
    def rule(sheet: Any) -> None:
        sheet.conditional_formatting.add("D2:D9", FormulaRule(formula=["$D2>1"], font=STRUCK))

    with pytest.raises(UnreadableFile, match="strikes values out") as refused:
        read_cells(by_openpyxl(HEADER, ROW, edit=rule), "prices.xlsx", FEED)
    assert "Remove the strikethrough from the rule" in refused.value.hint


def test_a_rule_of_newer_programs_that_strikes_out_refuses_the_sheet() -> None:
    rule = (
        b'<extLst><ext xmlns:x14="http://schemas.microsoft.com/office/spreadsheetml/2009/9/main"'
        b' uri="{78C0D931-6437-407d-A8EE-F0AAD7539E65}"><x14:conditionalFormattings><x14:conditionalFormatting>'
        b'<x14:cfRule type="expression"><x14:dxf><font>%b</font></x14:dxf></x14:cfRule>'
        b"</x14:conditionalFormatting></x14:conditionalFormattings></ext></extLst></worksheet>"
    )

    def with_rule(look: bytes) -> bytes:
        part = "xl/worksheets/sheet1.xml"
        return rewritten(by_openpyxl(HEADER, ROW), part, lambda sheet: sheet.replace(b"</worksheet>", rule % look))

    with pytest.raises(UnreadableFile, match="strikes values out"):
        read_cells(with_rule(b"<strike/>"), "prices.xlsx", FEED)
    assert kinds(with_rule(b"<b/>")) == [[K.TEXT, K.NUMBER]]
    assert kinds(with_rule(b'<strike val="0"/>')) == [[K.TEXT, K.NUMBER]]


def test_other_rules_are_left_alone() -> None:
    def rule(sheet: Any) -> None:
        sheet.conditional_formatting.add("B2:B9", FormulaRule(formula=["$B2>1"], font=Font(bold=True)))

    assert kinds(by_openpyxl(HEADER, ROW, edit=rule)) == [[K.TEXT, K.NUMBER]]
