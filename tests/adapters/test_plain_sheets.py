"""A sheet that is so plain that its values tell everything is read as if each of its cells had been looked at."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import PurePath

import pytest
import xlsxwriter
from hypothesis import event, example, given
from hypothesis import strategies as st

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.plain import Extent, plain_extent
from contrib_watch.adapters.sheets.styles import Styles
from contrib_watch.core.model import Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
SPREADSHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEADER = '<row r="1"><c r="A1" t="str"><v>RIC</v></c><c r="B1" t="str"><v>BID</v></c></row>'
BLANKS_KEPT = ' xml:space="preserve"'


@cache
def parts() -> dict[str, bytes]:
    """The parts of a workbook with shared texts, whose second style is one of dates."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        book.add_worksheet("Prices").write(0, 0, "RIC", book.add_format({"num_format": 14}))
    with zipfile.ZipFile(file) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def sheet_xml(rows: str) -> str:
    return f"<worksheet {SPREADSHEET}><sheetData>{HEADER}{rows}</sheetData></worksheet>"


def strings_xml(texts: list[str]) -> str:
    return f"<sst {SPREADSHEET}>{''.join(f'<si>{text}</si>' for text in texts)}</sst>"


def extent(rows: str, texts: list[str] | None = None) -> Extent | None:
    return plain_extent(sheet_xml(rows).encode(), strings_xml(texts or []).encode(), Styles(count=2))


def read(rows: str, texts: list[str]) -> object:
    """All that is read of a sheet, or that it is refused."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in (parts() | {SHEET: sheet_xml(rows), STRINGS: strings_xml(texts)}).items():
            archive.writestr(name, part)
    try:
        cells = read_cells(file.getvalue(), "prices.xlsx", FEED)
    except UnreadableFile:
        return "refused"
    kinds = [column.to_pylist() for column in cells.kinds or ()]
    return cells.header, [column.to_pylist() for column in cells.columns], kinds, cells.rows, cells.malformed


TEXT = st.one_of(
    st.sampled_from(["A=X", " A=X", "A=X ", "\tA", "A\n", "A\r\nB", "A\rB", "a  b", " ", "", "\u00a0A", "\u2003"]),
    st.sampled_from(["&#32;A", "A&#32;", "A&#13;&#10;", "&amp;", "&#xA0;", "_x0041_", "_x0020_A", "ü"]),
)
KEPT = st.sampled_from(["", BLANKS_KEPT])
ITEM = st.one_of(
    st.builds("<t{}>{}</t>".format, st.one_of(KEPT, st.sampled_from([" ", ' xml:space="default"'])), TEXT),
    st.builds("<r><t{}>{}</t></r><r><t>{}</t></r>".format, KEPT, TEXT, TEXT),
    st.sampled_from(["<t/>", "<t />", "<t>A</t><rPh><t>no</t></rPh>"]),
)
NUMBER = st.one_of(
    st.sampled_from(["0", "-0", "60", "60.5", "-1", "6e1", "1e400", "1E-7", "+5", ".5", "5.", "-", "1e", "0.1"]),
    st.floats(-1e6, 1e6).map(repr),
)
TAME = st.one_of(
    st.sampled_from(["/>", "></c>", ' t="n"/>', ' t="b"><v>1</v></c>', ' t="b"><v>0</v></c>']),
    st.builds("><v>{}</v></c>".format, NUMBER),
    st.builds(' t="s"><v>{}</v></c>'.format, st.integers(0, 3)),
    st.builds(' t="inlineStr"><is><t{}>{}</t></is></c>'.format, st.just(BLANKS_KEPT), TEXT),
)
WILD = st.one_of(
    st.just("><v></v></c>"),
    st.builds(' t="n"><v>{}</v></c>'.format, NUMBER),
    st.builds(' s="1"><v>{}</v></c>'.format, NUMBER),
    st.builds(' t="s"><v>{}</v></c>'.format, st.integers(0, 4)),
    st.builds(' t="str"><v>{}</v></c>'.format, TEXT),
    st.builds(' t="inlineStr"><is><t{}>{}</t></is></c>'.format, KEPT, TEXT),
)
IN_ORDER = st.lists(st.sampled_from("ABC"), max_size=3, unique=True).map(sorted)
ANY_ORDER = st.lists(st.sampled_from(["A", "B", "Z", "AA"]), max_size=3)


def row_xml(number: int, columns: list[str], contents: list[str]) -> str:
    cells = (f'<c r="{column}{number}"{content}' for column, content in zip(columns, contents, strict=False))
    return f'<row r="{number}">{"".join(cells)}</row>'


def sheets(content: st.SearchStrategy[str], columns: st.SearchStrategy[list[str]]) -> st.SearchStrategy[str]:
    """The rows of a sheet, each of them with a few cells."""
    row = st.tuples(columns, st.lists(content, min_size=3, max_size=3))
    rows = st.dictionaries(st.integers(2, 9), row, max_size=4)
    return rows.map(lambda found: "".join(row_xml(number, *found[number]) for number in sorted(found)))


ROWS = st.one_of(sheets(TAME, IN_ORDER), sheets(st.one_of(TAME, WILD), st.one_of(IN_ORDER, ANY_ORDER)))
TEXTS = st.one_of(
    st.lists(st.sampled_from(["<t>A=X</t>", f"<t{BLANKS_KEPT}> B </t>", "<t/>", "<t>a\nb</t>"]), min_size=4),
    st.lists(ITEM, min_size=4, max_size=5),
)


@given(ROWS, TEXTS)
@example('<row r="2"><c r="A2" t="inlineStr"><is><t> A=X </t></is></c></row>', [])
@example('<row r="2"><c r="A2" t="s"><v>0</v></c></row>', ["<t> A=X </t>"])
@example('<row r="2"><c r="B2"><v>1</v></c><c r="A2" t="str"><v>A=X</v></c></row>', [])
@example('<row r="2"><c r="B2"><v>-</v></c></row>', [])
@example('<row r="2"><c r="B2"><v>6e</v></c></row>', [])
@example('<row r="2"><c r="A2"/><c r="A2" t="str"><v>A=X</v></c></row>', [])
def test_a_plain_sheet_is_read_as_one_whose_cells_are_looked_at(rows: str, texts: list[str]) -> None:
    event("plain" if extent(rows, texts) is not None else "not plain")
    looked_at = f'{rows}<row r="10"></row >'
    assert extent(looked_at, texts) is None
    assert read(rows, texts) == read(looked_at, texts)


def test_the_furthest_cell_of_a_plain_sheet_may_be_blank() -> None:
    found = extent('<row r="2"><c r="A2"><v>1</v></c><c r="AB2"/></row><row r="7"></row>')
    assert found is not None
    assert (found.filled, found.last_row, found.last_column) == (3, 7, 28)


@pytest.mark.parametrize("columns", ["BA", "AA", "AAZ", ["AAA", "ZZ"]])
def test_cells_out_of_order_are_not_plain(columns: str | list[str]) -> None:
    assert extent('<row r="2">' + "".join(f'<c r="{column}2"/>' for column in columns) + "</row>") is None


def test_each_row_begins_anew() -> None:
    assert extent('<row r="2"><c r="B2"/></row><row r="3"><c r="A3"/></row>') is not None


def test_blanks_that_nobody_sees_are_no_part_of_a_text() -> None:
    rows = '<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" t="inlineStr"><is><t>\n1 </t></is></c></row>'
    texts = [f"<r><t{BLANKS_KEPT}> A=</t></r><r><t> X </t></r>"]
    _, columns, *_ = read(rows, texts)  # type: ignore[misc]
    assert columns == [[" A=X"], ["1"]]
