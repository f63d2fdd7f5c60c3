"""Which parts of the zip a workbook's values come from, and the numbers by which cells refer to their formats."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

import pytest
import xlsxwriter

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.outline import outline
from contrib_watch.adapters.sheets.plain import plain_extent
from contrib_watch.adapters.sheets.styles import Styles
from contrib_watch.core.model import CellKind, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
SHEET, STYLES, STRINGS = "xl/worksheets/sheet1.xml", "xl/styles.xml", "xl/sharedStrings.xml"
RELATIONS = "xl/_rels/workbook.xml.rels"


def parts() -> dict[str, bytes]:
    """The parts of a workbook with a price, and with a percentage in B3."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Prices")
        sheet.write_row(0, 0, ["RIC", "BID"])
        sheet.write_row(1, 0, ["A=X", 1.5])
        sheet.write_row(2, 0, ["B=X", 0.045], book.add_format({"num_format": 10}))
    with zipfile.ZipFile(file) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def zipped(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    return file.getvalue()


def renamed(content: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    """The workbook with a part under another name, wherever it is named."""
    return {name.replace(old, new): part.replace(old.encode(), new.encode()) for name, part in content.items()}


def changed(name: str, old: bytes, new: bytes) -> bytes:
    content = parts()
    assert old in content[name]
    return zipped(content | {name: content[name].replace(old, new)})


def bids(content: bytes) -> list[tuple[str, CellKind]]:
    cells = read_cells(content, "prices.xlsx", FEED)
    assert cells.kinds is not None
    return list(zip(cells.columns[1].to_pylist(), map(CellKind, cells.kinds[1].to_pylist()), strict=True))


def refusal(content: bytes) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refused:
        read_cells(content, "prices.xlsx", FEED)
    return refused.value


def test_the_usual_parts_are_read() -> None:
    usual = [("1.5", CellKind.NUMBER), ("0.045", CellKind.PERCENT)]
    assert bids(zipped(parts())) == usual
    assert bids(changed(RELATIONS, b'Target="', b'Target="/xl/')) == usual


@pytest.mark.parametrize("new", ["styles2.xml", "Styles.xml"])
def test_styles_under_another_name_refuse_the_workbook(new: str) -> None:
    refused = refusal(zipped(renamed(parts(), "styles.xml", new)))
    assert f'"xl/{new}" for its styles' in refused.what
    assert "save it again as .xlsx" in refused.hint


@pytest.mark.parametrize("part", [STYLES, STRINGS])
def test_a_part_beside_the_one_that_the_workbook_names_is_never_read(part: str) -> None:
    content = parts()
    other = renamed(content, part.removeprefix("xl/"), "other.xml") | {part: content[part].replace(b"A=X", b"B=X")}
    assert '"xl/other.xml"' in refusal(zipped(other)).what
    unnamed = content[RELATIONS].replace(b"/" + part[3:-4].encode(), b"/something")
    assert "names none for its" in refusal(zipped(content | {RELATIONS: unnamed})).what


def test_a_workbook_beside_the_one_that_the_file_names_is_never_read() -> None:
    refused = refusal(changed("_rels/.rels", b'"xl/workbook.xml"', b'"xl/other.xml"'))
    assert "xl/workbook.xml" in refused.what


@pytest.mark.parametrize(
    "target", ["worksheets/Sheet1.xml", "xl/worksheets/sheet1.xml", "../xl/worksheets/sheet1.xml"]
)
def test_a_sheet_that_programs_look_for_in_different_places_refuses_the_workbook(target: str) -> None:
    refusal(changed(RELATIONS, b"worksheets/sheet1.xml", target.encode()))


def test_two_sheets_of_one_name_are_never_told_apart() -> None:
    hidden = b'<sheet name="PRICES" sheetId="2" state="hidden" r:id="rId1"/></sheets>'
    assert 'two sheets of one name, "Prices"' in refusal(changed("xl/workbook.xml", b"</sheets>", hidden)).what


def test_a_strict_workbook_is_refused_in_words_that_help() -> None:
    content = {
        name: part.replace(
            b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        ).replace(
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        )
        for name, part in parts().items()
    }
    refused = refusal(zipped(content))
    assert "Strict" in refused.what
    assert "Excel Workbook (.xlsx)" in refused.hint
    with pytest.raises(UnreadableFile, match="Strict"):
        outline(zipped(content), "prices.xlsx")


@pytest.mark.parametrize("style", [b"01", b" 1", b"+1", b"9", b"-1", b""])
def test_a_cell_with_a_style_that_is_none_refuses_the_workbook(style: bytes) -> None:
    refusal(changed(SHEET, b'r="B3" s="1"', b'r="B3" s="%b"' % style))


@pytest.mark.parametrize("number", [b"010", b"+10", b" 10", b""])
def test_a_format_whose_number_programs_read_differently_refuses_the_workbook(number: bytes) -> None:
    refusal(changed(STYLES, b'numFmtId="10"', b'numFmtId="%b"' % number))


def test_styles_that_are_listed_twice_refuse_the_workbook() -> None:
    refusal(changed(STYLES, b"<cellXfs", b'<cellXfs count="2"><xf/><xf/></cellXfs><cellXfs'))


def test_a_format_with_two_definitions_refuses_the_workbook() -> None:
    two = b'<numFmts><numFmt numFmtId="10" formatCode="0"/><numFmt numFmtId="10" formatCode="0%"/></numFmts><fonts'
    refusal(changed(STYLES, b"<fonts", two))


@pytest.mark.parametrize("number", [24, 59, 67, 69, 71, 100, 163, 164])
def test_a_format_that_nobody_has_defined_disguises_its_cells(number: int) -> None:
    text = f"0.045 (seen as something else in the format number {number}, which has no definition)"
    assert bids(changed(STYLES, b'numFmtId="10"', b'numFmtId="%d"' % number))[1] == (text, CellKind.DISGUISED)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 37, 38, 39, 40, 41, 42, 43, 44, 48, 49])
def test_formats_of_excels_own_that_show_the_number_are_harmless(number: int) -> None:
    content = changed(STYLES, b'numFmtId="10"', b'numFmtId="%d"' % number)
    assert bids(content)[1] == ("0.045", CellKind.NUMBER)


@pytest.mark.parametrize("number", [*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59)])
def test_dates_of_excels_own_are_no_numbers(number: int) -> None:
    content = changed(STYLES, b'numFmtId="10"', b'numFmtId="%d"' % number)
    assert bids(content)[1][1] in (CellKind.DATETIME, CellKind.TIME)


def laid_out(*, row: bytes = b"", columns: bytes = b"", after: bytes = b"") -> bytes:
    """The workbook with other attributes of row 3, columns, and what stands after the rows."""
    content = parts()
    sheet = (
        content[SHEET].replace(b'<row r="3"', b'<row r="3"' + row).replace(b"<sheetData>", columns + b"<sheetData>")
    )
    return zipped(content | {SHEET: sheet.replace(b"</sheetData>", b"</sheetData>" + after)})


SPELLINGS = [
    b'\thidden\t=\t"1"',
    b' hidden="&#49;"',
    b' hidden=" 1"',
    b' hidden="TRUE"',
    b' hidden="on"',
    b"\nhidden='true'",
]
VISIBLE = [b' hidden="0"', b' hidden="false"']


@pytest.mark.parametrize("row", [*SPELLINGS, b' ht=".0"', b' ht="-0"', b' ht="0.0"', b' ht="00"', b' ht="x"'])
def test_rows_that_some_program_may_hide_are_hidden(row: bytes) -> None:
    cells = read_cells(laid_out(row=row), "prices.xlsx", FEED)
    assert cells.rows.to_pylist() == [2]
    assert [(line.row, line.cause) for line in cells.malformed] == [(3, "is hidden")]


@pytest.mark.parametrize("column", [*SPELLINGS, b' width=".0"', b' width="-1"'])
def test_columns_that_some_program_may_hide_are_hidden(column: bytes) -> None:
    columns = b'<cols><col min="2" max="2" style="0"%b/></cols>' % column
    assert "column B is hidden" in refusal(laid_out(columns=columns)).what


@pytest.mark.parametrize("visible", VISIBLE)
def test_rows_and_columns_that_are_not_hidden_are_read(visible: bytes) -> None:
    columns = b'<cols><col min="2" max="2" width="9.5"%b/></cols>' % visible
    assert bids(laid_out(row=b' ht="12.8"' + visible, columns=columns)) == bids(zipped(parts()))


@pytest.mark.parametrize(
    "cell",
    [
        b'<mergeCell\tref="A2:B2"/>',
        b"<mergeCell\nref = 'A2:B2'/>",
        b'<x:mergeCell xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main" ref="A2:B2"/>',
    ],
)
def test_merged_cells_are_found_however_they_are_written(cell: bytes) -> None:
    cells = read_cells(laid_out(after=b"<mergeCells>" + cell + b"</mergeCells>"), "prices.xlsx", FEED)
    assert [(line.row, line.cause) for line in cells.malformed] == [(2, "has a value beneath a merged cell")]


def plain_sheet(written: bytes) -> bool:
    """Whether its values are taken without a pass over its cells."""
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        return plain_extent(archive.read(SHEET), archive.read(STRINGS), Styles(count=9)) is not None


def test_what_programs_write_around_the_rows_keeps_a_sheet_plain() -> None:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Prices")
        sheet.write_row(0, 0, ["RIC", "BID"])
        sheet.write_row(1, 0, ["A=X", 1.5])
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, 0, 12.3)
        sheet.set_row(1, 20)
        sheet.autofilter("A1:B2")
        sheet.data_validation("B2", {"validate": "decimal", "criteria": ">", "value": 0})
        sheet.set_footer("&CPrices & more")
        sheet.add_sparkline("D1", {"range": "B2:B9"})
    assert plain_sheet(file.getvalue())
    assert plain_sheet(changed(SHEET, b'r="B2"><v>1.5</v></c>', b'r="B2" t="n"/>'))
    assert plain_sheet(laid_out(row=b' ht="12.8" hidden="false"'))
    assert not plain_sheet(laid_out(row=SPELLINGS[0]))


def test_zeros_that_one_of_two_views_hides_are_hidden() -> None:
    content = parts()
    sheet = content[SHEET].replace(b"<v>1.5</v>", b"<v>0</v>")
    view = b'<sheetView showZeros="0" workbookViewId="0"/><sheetView workbookViewId="1"/></sheetViews>'
    assert b"</sheetViews>" in sheet
    found = bids(zipped(content | {SHEET: sheet.replace(b"</sheetViews>", view)}))
    assert found[0][1] is CellKind.DISGUISED


@pytest.mark.parametrize(
    ("written", "other"),
    [
        (b"<v>1.5</v>", b"<f>1+0.5</f><v>1.5</v>"),
        (b"<v>1.5</v>", b'<v>1.5</v><c r="B2"><v>2</v></c>'),
        (b"<v>1.5</v>", b'<v>1.5</v><row hidden="1"></row>'),
        (b'r="B2"', b'r="B3"'),
        (b'r="B2"', b'r="B2" t="e"'),
        (b"<v>1.5</v>", b"<v>1,5</v>"),
        (b"<v>1.5</v>", b"<v>1.5<!-- --></v>"),
        (b"<v>1.5</v>", b"<v>1</v><v>.5</v>"),
        (b"<v>2</v>", b"<v>2 </v>"),
        (b"<v>2</v>", b"<is><t>2</t></is>"),
    ],
)
def test_a_cell_that_its_value_does_not_tell_makes_a_sheet_not_plain(written: bytes, other: bytes) -> None:
    content = parts()
    assert plain_sheet(zipped(content))
    assert content[SHEET].count(written) == 1
    assert not plain_sheet(zipped(content | {SHEET: content[SHEET].replace(written, other)}))


@pytest.mark.parametrize("index", [b"+3", b"-1", b"3.0", b"0x3", b"3_0", b"4", b"9" * 20])
def test_a_shared_text_by_no_number_of_one_refuses_the_workbook(index: bytes) -> None:
    """calamine takes most of these for 0, which is another RIC."""
    refusal(changed(SHEET, b"<v>3</v>", b"<v>%b</v>" % index))


def test_a_shared_text_is_found_by_a_number_with_blanks_around_it() -> None:
    cells = read_cells(changed(SHEET, b"<v>3</v>", b"<v> 3\n</v>"), "prices.xlsx", FEED)
    assert cells.columns[0].to_pylist() == ["A=X", "B=X"]


@pytest.mark.parametrize("number", [b"inf", b"nan", b"1_0", b"0,045"])
def test_what_is_no_number_has_no_percentage(number: bytes) -> None:
    assert "is stored as a number" in str(refusal(changed(SHEET, b"<v>0.045</v>", b"<v>%b</v>" % number)))


def test_a_number_beyond_all_numbers_is_the_fault_of_its_cell() -> None:
    assert bids(changed(SHEET, b"<v>0.045</v>", b"<v>1e400</v>")) == [
        ("1.5", CellKind.NUMBER),
        ("inf", CellKind.NUMBER),
    ]
