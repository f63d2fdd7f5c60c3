"""The second reading: the csv module beside Arrow, openpyxl beside calamine.

It shares no code with the first reading, on purpose: what one of two programs gets wrong, the other hardly gets wrong
in the same way. It only has to be right about files that the first has accepted, and is not fast.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
from openpyxl.cell.text import Text
from openpyxl.reader.excel import ExcelReader
from openpyxl.utils import get_column_letter
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from contrib_watch.adapters.sheets.second_formats import kind_shown
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.errors import UnreadableFile

Typed = tuple[str | None, int]
"""A cell's text (None: blank) and its CellKind."""

_SEPARATOR_LINE = re.compile(r'"?sep=.{1,4}?"?', re.IGNORECASE)
_ESCAPES = re.compile(r"(?:_x[0-9A-Fa-f]{4}_)+")
_BLANK: Typed = (None, int(CellKind.BLANK))
_TEXT = int(CellKind.TEXT)


def read_again(path: Path, filename: str, feed: Feed, headers: Sequence[str], rows: Sequence[int]) -> Cells:
    """The cells of these ``rows`` (the file's own numbers) in the columns with these ``headers``.

    A header or row that is not found is left out. Raises whatever the csv module and openpyxl raise, and
    UnreadableFile where there is not the one sheet to read.
    """
    if filename.lower().endswith((".xlsx", ".xlsm")):
        return _read_workbook(path, filename, feed, headers, set(rows))
    return _read_csv(path, feed, headers, set(rows))


def _read_csv(path: Path, feed: Feed, headers: Sequence[str], rows: set[int]) -> Cells:
    csv.field_size_limit(sys.maxsize)
    text = path.read_bytes().decode(feed.encoding).lstrip("\ufeff")
    # Lines end in LF, or in CR where there is no LF (old Mac files); a CR within quotes ends none.
    lines = io.StringIO(text, newline="\n" if "\n" in text else "\r")
    del text
    line = feed.header_row
    if _SEPARATOR_LINE.fullmatch(lines.readline().rstrip("\r\n")):
        line = max(line, 2)
    lines.seek(0)
    for _ in range(line - 1):
        lines.readline()
    records = csv.reader(lines, delimiter=feed.delimiter)
    header = [name.strip(" \ufeff") for name in next(records)]
    found = [name for name in headers if name in header]
    positions = [header.index(name) for name in found]
    numbers, taken = [], []
    begins = line + records.line_num
    for record in records:
        if begins in rows and len(record) == len(header):
            numbers.append(begins)
            taken.append(record)
        begins = line + records.line_num
    return Cells(
        sheet="",
        header=tuple(found),
        header_row=line,
        columns=tuple(
            pa.array([cell or None for cell in map(itemgetter(position), taken)], pa.string())
            for position in positions
        ),
        kinds=None,
        rows=pa.array(numbers, pa.int64()),
    )


class _ExactReader(ExcelReader):  # type: ignore[misc]  # openpyxl has no types
    """openpyxl's reader with the shared texts as they are stored; its own drops every ``x005F_`` from them."""

    def read_strings(self) -> None:
        part = self.package.find(SHARED_STRINGS)
        if part is None:
            return
        item = f"{{{SHEET_MAIN_NS}}}si"
        with self.archive.open(part.PartName[1:]) as source:
            for _, node in iterparse(source):
                if node.tag == item:
                    self.shared_strings.append(Text.from_tree(node).content)
                    node.clear()


def _read_workbook(path: Path, filename: str, feed: Feed, headers: Sequence[str], rows: set[int]) -> Cells:
    # By file object: openpyxl goes by the name's ending, and a copy in the spool has none.
    with path.open("rb") as file:
        reader = _ExactReader(file, read_only=True, data_only=True, keep_links=False)
        reader.read()
        sheet = _sheet(reader.wb, filename, feed)
        sheet.reset_dimensions()  # the sheet's word for its extent; cells beyond it would be left out
        lines = enumerate(sheet.iter_rows(max_row=max(rows, default=feed.header_row)), 1)
        header = _header(lines, feed.header_row)
        found = [name for name in headers if name in header]
        positions = [header.index(name) for name in found]
        numbers, taken = [], []
        for number, cells in lines:
            if number in rows:
                numbers.append(number)
                taken.append([_cell(cells, position) for position in positions])
        reader.wb.close()
    columns = list(zip(*taken, strict=True)) if taken else [()] * len(found)
    return Cells(
        sheet=sheet.title,
        header=tuple(found),
        header_row=feed.header_row,
        columns=tuple(pa.array([text for text, _ in column], pa.string()) for column in columns),
        kinds=tuple(pa.array([kind for _, kind in column], pa.uint8()) for column in columns),
        rows=pa.array(numbers, pa.int64()),
        letters=tuple(get_column_letter(position + 1) for position in positions),
    )


def _sheet(book: Any, filename: str, feed: Feed) -> Any:
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    chosen = [sheet for sheet in visible if not feed.sheet or sheet.title == feed.sheet]
    if len(chosen) != 1:
        names = ", ".join(f'"{sheet.title}"' for sheet in visible) or "none"
        raise UnreadableFile(
            f"a second program finds other sheets in the workbook: {names}",
            where=filename,
            hint="Save it again from Excel; if it comes back, report it",
        )
    return chosen[0]


def _header(lines: Iterator[tuple[int, Sequence[Any]]], header_row: int) -> list[str]:
    for number, cells in lines:
        if number == header_row:
            return [(_typed(cell)[0] or "").strip(" \ufeff") for cell in cells]
    return []


def _cell(cells: Sequence[Any], position: int) -> Typed:
    return _typed(cells[position]) if position < len(cells) else _BLANK


def _typed(cell: Any) -> Typed:
    """openpyxl's value in the words of Cells."""
    value = cell.value
    if value is None or value == "":
        return _BLANK
    if cell.has_style and cell.font.strike:
        return str(value), int(CellKind.STRUCK)
    match cell.data_type:
        case "n":
            return _number(value), int(kind_shown(cell.number_format, (value > 0) - (value < 0)))
        case "s":
            return (_ESCAPES.sub(_unescaped, value) if "_x" in value else value), _TEXT
        case "b":
            return ("TRUE" if value else "FALSE"), int(CellKind.BOOLEAN)
        case "e":
            return value, int(CellKind.ERROR)
        case "d":
            return _moment(value)
    raise TypeError(f"openpyxl gave a cell of type {cell.data_type}")


def _unescaped(escapes: re.Match[str]) -> str:
    """``_x000D_`` is a character by its UTF-16 code; two in a row may be a pair."""
    codes = "".join(code[2:6] for code in re.findall(r"_x[0-9A-Fa-f]{4}_", escapes[0]))
    return bytes.fromhex(codes).decode("utf-16-be", "replace")


def _number(value: float) -> str:
    """Fixed notation at 15 significant digits, which is what Excel calculates with."""
    text = f"{float(value):.15g}"
    if "e" in text:
        text = f"{Decimal(text):f}"
    return "0" if text == "-0" else text


def _moment(value: date | time | timedelta) -> Typed:
    if isinstance(value, timedelta):
        return _hours(value), int(CellKind.TIME)
    if isinstance(value, time):
        return _clock(value), int(CellKind.TIME)
    if isinstance(value, datetime) and value.time() != time():
        return f"{value:%Y-%m-%d}T{_clock(value.time())}", int(CellKind.DATETIME)
    return value.strftime("%Y-%m-%d"), int(CellKind.DATE)


def _clock(value: time) -> str:
    text = value.strftime("%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _hours(value: timedelta) -> str:
    """A duration; hours are not bounded by the day."""
    sign = "-" if value < timedelta() else ""
    seconds, fraction = divmod(abs(value), timedelta(seconds=1))
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction.microseconds:06}".rstrip("0") if fraction else text
