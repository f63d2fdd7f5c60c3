"""Two programs read the same: whatever ordinary programs write, and whatever is put into cells."""

from __future__ import annotations

import ast
import csv
import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import count
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from contrib_watch.adapters.sheets import agreement, read_cells, second, second_formats
from contrib_watch.adapters.sheets.agreement import Difference, compare, compared_headers, why_not_read_again
from contrib_watch.adapters.sheets.second import read_again
from contrib_watch.core.model import CellKind, Cells, Feed

FEED = Feed(name="fx", folder=PurePath("fx"), service="NIPROV")
HEADER = ["RIC", "BID", "DATE", "NOTE"]
AWKWARD_NUMBERS = [
    0,
    -0.0,
    0.1 + 0.2,
    1e-7,
    123456789.123456789,
    -2.5e-5,
    1e15,
    12345678901234567,
    99.999999999999,
    1 / 3,
]
AWKWARD_TEXTS = [
    "plain",
    " spaces at both ends ",
    'a "quoted" word',
    "comma, semicolon; tab\t",
    "_x000D_",
    "_x005F_x000D_",
    "x005F_",
    "_x005F_",
    "ünïcödé ₿ 𝄞",
    "<b>&amp;</b>",
    "1.50",
    "TRUE",
    "#N/A",
    "two\nlines",
]

_names = count()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes bytes or text to a new file with this ending."""

    def write(content: bytes | str, ending: str = ".csv") -> Path:
        path = tmp_path / f"prices{next(_names)}{ending}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def differences(path: Path, feed: Feed = FEED, rows: Sequence[int] | None = None) -> tuple[Difference, ...]:
    """What the two programs differ on, here in one process."""
    cells = read_cells(path.read_bytes(), path.name, feed)
    numbers = cells.rows.to_pylist() if rows is None else list(rows)
    headers = compared_headers(cells, feed)
    return compare(cells, read_again(path, path.name, feed, headers, numbers), headers, numbers)


def first_reading(path: Path, feed: Feed = FEED) -> Cells:
    return read_cells(path.read_bytes(), path.name, feed)


# Nothing in common.


def test_the_second_reading_shares_no_code_with_the_first() -> None:
    imported = imports_of(second) | imports_of(second_formats)
    own = {name for name in imported if name and name.startswith("contrib_watch")}
    assert own == {"contrib_watch.core.model", "contrib_watch.errors", second_formats.__name__}
    assert not {name for name in imported if name and "calamine" in name}


def imports_of(module: ModuleType) -> set[str | None]:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


# CSV.


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_csv_in_every_dialect(file: Callable[..., Path], end: str, delimiter: str, encoding: str) -> None:
    lines = [
        ["RIC", "BID", "NOTE"],
        ["A=X", "1.5", f'"a{delimiter}""b"""'],
        ["É=X", "", '""'],
        ["", "", ""],
        ["C", "3", ""],
    ]
    text = end.join(delimiter.join(line) for line in lines) + end
    feed = replace(FEED, delimiter=delimiter, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    path = file(text.encode(encoding))
    assert first_reading(path, feed).rows.to_pylist() == [2, 3, 5]
    assert differences(path, feed) == ()


def test_rows_keep_their_numbers_after_cells_of_several_lines(file: Callable[..., Path]) -> None:
    path = file('RIC,NOTE\nA=,"one\ntwo\r\nthree\rfour"\n\n,\nbad,row,here\nB=,x\n')
    assert first_reading(path).rows.to_pylist() == [2, 8]
    assert differences(path) == ()


@pytest.mark.parametrize("above", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_a_separator_line_is_a_line(file: Callable[..., Path], above: str) -> None:
    path = file(above + "RIC;BID\nA=;1\n")
    assert differences(path, replace(FEED, delimiter=";")) == ()


def test_the_header_stands_where_the_feed_says(file: Callable[..., Path]) -> None:
    path = file('Prices of today,"quoted, by hand"\n\n RIC ,\ufeffBID\nA=,1\nB=,2\n')
    assert differences(path, replace(FEED, header_row=3)) == ()


def test_a_cell_longer_than_the_csv_modules_own_limit(file: Callable[..., Path]) -> None:
    assert differences(file(f"RIC,NOTE\nA=,{'x' * 200_000}\n")) == ()


def test_a_value_that_differs_is_found_with_its_cell(file: Callable[..., Path]) -> None:
    path = file("RIC,BID,ASK\nA=,1,2\nB=,3,4\nC=,5,6\n")
    read = first_reading(path)
    wrong = replace(read, columns=(read.columns[0], pa.array(["1", "3.0", "5"]), pa.array(["2", None, "7"])))
    again = read_again(path, path.name, FEED, read.header, [2, 3, 4])
    assert compare(wrong, again, read.header, [2, 3, 4]) == (
        Difference(3, "row 3, BID", "3.0", "3"),
        Difference(4, "row 4, ASK", "7", "6"),
    )
    assert compare(wrong, again, read.header, [2]) == ()


def test_a_row_that_only_one_program_sees_differs(file: Callable[..., Path]) -> None:
    path = file("RIC,BID\nA=,1\nB=,2\n")
    read = first_reading(path)
    shifted = replace(read, rows=pa.array([2, 9], pa.int64()))
    again = read_again(path, path.name, FEED, read.header, [2, 9])
    assert [one.row for one in compare(shifted, again, read.header, [2, 9])] == [9]


def test_a_column_that_only_one_program_sees_differs(file: Callable[..., Path]) -> None:
    path = file("RIC,BID\nA=,1\n")
    read = first_reading(path)
    renamed = replace(read, header=("RIC", "ASK"))
    again = read_again(path, path.name, FEED, renamed.header, [2])
    assert compare(renamed, again, renamed.header, [2])[0].second == "no such column"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=6), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=6,
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_csv_is_read_alike(
    file: Callable[..., Path], lines: list[list[str]], delimiter: str, quoting: Any, end: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(
        [["RIC", "BID", "ASK"], *lines]
    )
    assert differences(file(text.getvalue()), replace(FEED, delimiter=delimiter)) == ()


# Workbooks.


def rows_of_everything() -> list[list[Any]]:
    moments = [
        date(2026, 11, 22),
        datetime(2026, 11, 22, 16, 30, 5),
        time(9, 0),
        datetime(1900, 2, 27),
        date(2099, 1, 1),
    ]
    width = max(len(AWKWARD_NUMBERS), len(AWKWARD_TEXTS))
    return [
        [f"R{n}=X", AWKWARD_NUMBERS[n % len(AWKWARD_NUMBERS)], moments[n % 5], AWKWARD_TEXTS[n % len(AWKWARD_TEXTS)]]
        for n in range(width)
    ]


def by_openpyxl(path: Path, rows: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    for row in [HEADER, *rows]:
        book.active.append(row)
        for cell in book.active[book.active.max_row]:
            if isinstance(cell.value, str):
                cell.data_type = "s"
    book.save(path)


def by_xlsxwriter(path: Path, rows: list[list[Any]], **options: Any) -> None:
    with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm:ss", **options}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([HEADER, *rows]):
            for column, value in enumerate(row):
                write = sheet.write_string if isinstance(value, str) else sheet.write
                write(number, column, value)


def by_xlsxwriter_inline(path: Path, rows: list[list[Any]]) -> None:
    by_xlsxwriter(path, rows, constant_memory=True)


def by_xlsxwriter_1904(path: Path, rows: list[list[Any]]) -> None:
    since = [
        [value if not (isinstance(value, datetime) and value.year == 1900) else None for value in row] for row in rows
    ]
    by_xlsxwriter(path, since, date_1904=True)


def by_pandas(path: Path, rows: list[list[Any]]) -> None:
    pd.DataFrame(rows, columns=HEADER).to_excel(path, index=False)


@pytest.mark.parametrize("write", [by_openpyxl, by_xlsxwriter, by_xlsxwriter_inline, by_xlsxwriter_1904, by_pandas])
def test_what_each_writer_writes_is_read_alike(tmp_path: Path, write: Callable[[Path, Any], None]) -> None:
    path = tmp_path / "book.xlsx"
    write(path, rows_of_everything())
    assert len(first_reading(path).rows) == len(AWKWARD_TEXTS)
    assert differences(path) == ()


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
@pytest.mark.timeout(120)
def test_what_libreoffice_writes_is_read_alike(tmp_path: Path) -> None:
    given_to = tmp_path / "in"
    given_to.mkdir()
    by_openpyxl(given_to / "book.xlsx", rows_of_everything())
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        "xlsx:Calc MS Excel 2007 XML",
        "--outdir",
        str(tmp_path),
    ]
    subprocess.run([*command, str(given_to / "book.xlsx")], check=True, capture_output=True, timeout=100)
    path = tmp_path / "book.xlsx"
    assert len(first_reading(path).rows) == len(AWKWARD_TEXTS)
    assert differences(path) == ()


def test_formats_are_understood_alike(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    formats = [
        ("0.00%", CellKind.PERCENT),
        ("[Red]0.0%", CellKind.PERCENT),
        ('#,##0.00_);[Red](#,##0.00);"-"', CellKind.NUMBER),
        ('0.00 "days"', CellKind.NUMBER),
        ("[$-409]d-mmm-yy", CellKind.DATETIME),
        ("[$EUR] #,##0.00", CellKind.NUMBER),
        ("[h]:mm:ss", CellKind.TIME),
        ("0.00E+00", CellKind.NUMBER),
        ("@", CellKind.NUMBER),
        ("yyyy-mm-dd", CellKind.DATETIME),
        ("_-* #,##0.00_-", CellKind.NUMBER),
    ]
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["RIC", "BID"])
        for row, (number_format, _) in enumerate(formats, 1):
            sheet.write_string(row, 0, f"R{row}")
            sheet.write_number(row, 1, 1234.25, book.add_format({"num_format": number_format}))
    kinds = first_reading(path).kinds
    assert kinds is not None
    assert kinds[1].to_pylist() == [kind for _, kind in formats]
    assert differences(path) == ()


@pytest.mark.parametrize(
    "serial", [0.0, 0.25, 1.0, 59.0, 61.0, 45000.0, 45000.5, 45000.123456, 45000.999999, 0.999999]
)
@pytest.mark.parametrize("epoch_1904", [False, True])
def test_moments_are_understood_alike(tmp_path: Path, serial: float, epoch_1904: bool) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(path, {"date_1904": epoch_1904}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["RIC", "BID"])
        for row, number_format in enumerate(["yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss.000", "hh:mm:ss", "[h]:mm"], 1):
            sheet.write_string(row, 0, f"R{row}")
            sheet.write_number(row, 1, serial, book.add_format({"num_format": number_format}))
    assert differences(path) == ()


def test_formula_results_errors_and_booleans(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        book.set_calc_mode("auto")
        sheet.write_row(0, 0, ["RIC", "BID"])
        for row, result in enumerate([22.5, "text", True, "#N/A", "#DIV/0!", -1e-9], 1):
            sheet.write_string(row, 0, f"R{row}")
            sheet.write_formula(row, 1, "=1+1", None, result)
        sheet.write_boolean(7, 1, False)
        sheet.write_string(7, 0, "R7")
    calculated = replaced_part(path, "xl/workbook.xml", b' fullCalcOnLoad="1"', b"")
    assert first_reading(calculated).kinds is not None
    assert differences(calculated) == ()


def replaced_part(path: Path, part: str, old: bytes, new: bytes) -> Path:
    """A copy of the workbook with a change in one of its parts."""
    changed = path.with_name(f"changed{next(_names)}.xlsx")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            text = source.read(name)
            if name == part:
                assert old in text
                text = text.replace(old, new)
            target.writestr(name, text)
    return changed


def test_rich_text_is_one_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["RIC", "NOTE"])
    book.active.append(["A=X", CellRichText("one ", TextBlock(InlineFont(b=True), "bold"), " two")])
    book.save(tmp_path / "book.xlsx")
    assert first_reading(tmp_path / "book.xlsx").columns[1].to_pylist() == ["one bold two"]
    assert differences(tmp_path / "book.xlsx") == ()


def test_the_sheets_own_word_for_its_extent_is_not_believed(tmp_path: Path) -> None:
    by_openpyxl(tmp_path / "book.xlsx", [["A=X", 1, None, "n"], ["B=X", 2, None, "n"]])
    path = replaced_part(tmp_path / "book.xlsx", "xl/worksheets/sheet1.xml", b'ref="A1:D3"', b'ref="A1:B2"')
    assert differences(path) == ()


def test_a_workbook_of_the_1904_system_by_openpyxl(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.epoch = CALENDAR_MAC_1904
    book.active.append(["RIC", "DATE"])
    book.active.append(["A=X", date(2026, 11, 22)])
    book.active.append(["B=X", timedelta(hours=30, seconds=1.5)])
    book.save(tmp_path / "book.xlsx")
    assert first_reading(tmp_path / "book.xlsx").columns[1].to_pylist()[0] == "2026-11-22"
    assert differences(tmp_path / "book.xlsx") == ()


def test_the_named_sheet_among_several_and_a_header_further_down(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["RIC", "BID"])
    sheet = book.create_sheet("Prices")
    for row in (["Title"], [], [None, "RIC", None, "BID"], [None, "A=X", None, 1.5], [], [None, "B=X", None, 2]):
        sheet.append(row)
    path = tmp_path / "book.xlsx"
    book.save(path)
    feed = replace(FEED, sheet="Prices", header_row=3)
    assert first_reading(path, feed).rows.to_pylist() == [4, 6]
    assert differences(path, feed) == ()


def test_a_number_that_differs_is_found_with_its_address_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    by_openpyxl(path, [["A=X", 1.5, None, "n"], ["B=X", 2, None, "n"]])
    read = first_reading(path)
    assert read.kinds is not None
    as_text = pa.array([CellKind.NUMBER, CellKind.TEXT], pa.uint8())
    wrong = replace(read, kinds=(read.kinds[0], as_text, *read.kinds[2:]))
    again = read_again(path, path.name, FEED, read.header, [2, 3])
    assert compare(wrong, again, read.header, [2, 3]) == (Difference(3, "Sheet!B3", "2 (text)", "2 (number)"),)


_values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.integers(-(10**12), 10**12),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn"]), max_size=8),
    st.sampled_from(AWKWARD_TEXTS),
    st.booleans(),
    st.none(),
    st.datetimes(datetime(1901, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(_values, _values, _values), min_size=1, max_size=5),
    write=st.sampled_from([by_openpyxl, by_xlsxwriter, by_xlsxwriter_inline]),
)
def test_any_workbook_is_read_alike(tmp_path: Path, rows: list[tuple[Any, ...]], write: Callable[..., None]) -> None:
    path = tmp_path / "book.xlsx"
    write(path, [[f"R{number}", *row] for number, row in enumerate(rows)])
    assert differences(path) == ()


# When.


def test_only_contributed_columns_are_compared(file: Callable[..., Path]) -> None:
    read = first_reading(file("RIC,Bid,Remarks,,ASK\nA=,1,x,,2\n"))
    feed = replace(FEED, columns={"Bid": "BID"}, ignore_columns=("Remarks",))
    assert compared_headers(read, feed) == ("RIC", "Bid", "ASK")


def test_auto_stops_where_it_would_take_long(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = first_reading(file("RIC,BID\nA=,1\nB=,2\n"))
    assert why_not_read_again(read, FEED) == ""
    assert "never" in why_not_read_again(read, replace(FEED, second_reading="never"))
    monkeypatch.setitem(agreement.AUTO_CELLS, "csv", 3)
    assert why_not_read_again(read, FEED) == 'more than 3 cells, set second_reading = "always"'
    assert why_not_read_again(read, replace(FEED, second_reading="always")) == ""
