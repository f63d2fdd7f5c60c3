"""A workbook's bytes -> raw cells: values by calamine, and what they do not tell by the sheet's own XML."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from xml.sax.saxutils import escape

from contrib_watch.adapters.sheets.book import Book, SheetEntry, opened, read_book
from contrib_watch.adapters.sheets.grid import MAX_GRID_CELLS, Grid, Special, sheet_cells
from contrib_watch.adapters.sheets.markup import BrokenMarkup, letters_of
from contrib_watch.adapters.sheets.package import Package
from contrib_watch.adapters.sheets.plain import plain_extent
from contrib_watch.adapters.sheets.scanner import Marks, scan_sheet
from contrib_watch.adapters.sheets.strings import altered_texts, has_altered_texts, shared_strings
from contrib_watch.adapters.sheets.styles import Styles, read_styles
from contrib_watch.adapters.sheets.tables import SheetTable, sheet_table, table_parts
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.errors import UnreadableFile

_KNOWN_ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})
"""What Excel stores; its newer errors (``#SPILL!``) are stored as ``#VALUE!``."""


@dataclass(frozen=True)
class _Markup:
    """The XML of one sheet and of what it refers to."""

    sheet: bytes
    strings: bytes
    styles: Styles
    recalculates: bool

    def scan(self) -> Marks:
        texts = shared_strings(self.strings) if self.strings else []
        altered = altered_texts(self.strings) if has_altered_texts(self.strings) else {}
        return scan_sheet(self.sheet, texts, self.styles, recalculates=self.recalculates, altered=altered)


def read_workbook(content: bytes, filename: str, feed: Feed) -> Cells:
    """The cells of one sheet of an .xlsx or .xlsm workbook; ``rows`` are Excel's row numbers.

    A hidden row that holds anything, a value beyond the header's columns, a value under a merged cell, and a merged
    cell that shows a value where the row has none make the row malformed.

    Raises:
        UnreadableFile: damaged, protected, too large, not the one sheet that the feed means, no header, or a hidden
            column that holds anything.
    """
    package = Package(content, filename)
    try:
        book = read_book(package)
        entry = _choose(book, filename, feed)
        grid, marks = _read_sheet(content, package, book, entry)
        marks.tables = _tables(package, entry)
        return sheet_cells(grid, marks, f"{filename}, sheet {entry.name}", entry.name, feed)
    except BrokenMarkup as error:
        raise package.refuse(f"the workbook is damaged: {error}") from error


def _choose(book: Book, filename: str, feed: Feed) -> SheetEntry:
    """The sheet that the feed names, or the only visible one."""
    sheets = [entry for entry in book.sheets if entry.part]
    visible = [entry for entry in sheets if entry.visible]
    names = ", ".join(f'"{entry.name}"' for entry in visible) or "none"
    if not feed.sheet:
        if len(visible) != 1:
            raise UnreadableFile(
                f"the workbook has {len(visible)} visible sheets: {names}",
                where=filename,
                hint="Set sheet to the name of the one to read",
            )
        return visible[0]
    # Excel tells no names apart that differ in case alone, but the feed's spelling is the promise.
    named = [entry for entry in sheets if entry.name == feed.sheet]
    if len(named) != 1:
        raise UnreadableFile(
            f'the workbook has no sheet "{feed.sheet}"; its visible sheets are: {names}',
            where=filename,
            hint="Rename the sheet, or change sheet",
        )
    if not named[0].visible:
        raise UnreadableFile(f'the sheet "{feed.sheet}" is hidden', where=filename, hint="Unhide it, or change sheet")
    return named[0]


def _read_sheet(content: bytes, package: Package, book: Book, entry: SheetEntry) -> tuple[Grid, Marks]:
    """The sheet's values with what they do not tell laid over them.

    calamine's count of values must be what the XML has: nothing that it skipped or read twice goes by unseen.
    """
    markup = _markup(package, book, entry)
    package.check()
    extent = plain_extent(markup.sheet, markup.strings, markup.styles)
    if extent is not None and extent.last_row * extent.last_column <= MAX_GRID_CELLS:
        grid = _values(content, entry, package)
        of_dates = extent.has_negatives or extent.has_sixties
        in_doubt = of_dates and _has_dates(grid) and (extent.has_negatives or _has_leap_day(grid))
        if _filled(grid) == extent.filled and not in_doubt:
            return grid, Marks(filled=extent.filled)
    marks = markup.scan()
    _check_grid(marks, package)
    _check_rules(marks, package)
    grid = _values(_with_known_errors(content, package, entry, marks), entry, package)
    _lay_over(grid, marks)
    found = _filled(grid)
    if found != marks.filled:
        raise package.refuse(f'the sheet "{entry.name}" has {marks.filled:,} cells, of which {found:,} can be read')
    return grid, marks


def _markup(package: Package, book: Book, entry: SheetEntry) -> _Markup:
    def optional(name: str) -> bytes:
        return package.read_xml(name) if name in package else b""

    styles = optional("xl/styles.xml")
    return _Markup(
        sheet=package.read_xml(entry.part),
        strings=optional("xl/sharedStrings.xml"),
        styles=read_styles(styles) if styles else Styles(),
        recalculates=book.recalculates,
    )


def _check_grid(marks: Marks, package: Package) -> None:
    cells = marks.last_row * marks.last_column
    if cells > MAX_GRID_CELLS:
        raise package.refuse(
            f"the sheet reaches to {letters_of(marks.last_column)}{marks.last_row}, which is {cells:,} cells,"
            f" and the limit is {MAX_GRID_CELLS:,}"
        )


def _with_known_errors(content: bytes, package: Package, entry: SheetEntry, marks: Marks) -> bytes:
    """The workbook for calamine, which stops at an error that it has no name for (``#SPILL!`` and later ones).

    Such names are replaced by one that it knows; what is reported of these cells are the marks.
    """
    texts = {text for kind, text in marks.special.values() if kind is CellKind.ERROR}
    names = [re.escape(escape(text).encode()) for text in sorted(texts - _KNOWN_ERRORS)]
    if not names:
        return content
    # A text in another cell may be replaced with it: texts are taken from the marks as well.
    sheet = re.sub(rb"(<(?:\w+:)?v>)(?:%b)(?=</)" % b"|".join(names), rb"\1#N/A", package.read(entry.part))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, sheet if name == entry.part else package.read(name))
    return file.getvalue()


def _tables(package: Package, entry: SheetEntry) -> list[SheetTable]:
    """The tables on the sheet."""
    folder, name = posixpath.split(entry.part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in package:
        return []
    return [sheet_table(package.read_xml(part)) for part in table_parts(entry.part, package.read_xml(relations))]


def _check_rules(marks: Marks, package: Package) -> None:
    """Which cells a rule applies to changes with their values, so that none of them can be vouched for."""
    for code in marks.conditional:
        raise UnreadableFile(
            f'the sheet\'s conditional formatting has the number format "{code}", which shows values as others',
            where=package.filename,
            hint="Remove the number format from the rule (Home, Conditional Formatting, Manage Rules)",
        )
    if marks.strikes_by_rule:
        raise UnreadableFile(
            "the sheet's conditional formatting strikes values out, and which ones is not stored",
            where=package.filename,
            hint="Remove the strikethrough from the rule (Home, Conditional Formatting, Manage Rules),"
            " and empty the cells that do not hold",
        )


def _values(content: bytes, entry: SheetEntry, package: Package) -> Grid:
    with opened(content, package) as workbook:
        grid: Grid = workbook.get_sheet_by_name(entry.name).to_python(skip_empty_area=False)
    return grid


def _filled(grid: Grid) -> int:
    return sum(len(row) - row.count("") for row in grid)


def _has_dates(grid: Grid) -> bool:
    temporal = {date, datetime, time, timedelta}
    return any(not temporal.isdisjoint(map(type, row)) for row in grid)


def _is_leap_day(value: object) -> bool:
    """Whether it may be Excel's 29 February 1900: calamine gives the day before."""
    return isinstance(value, date) and (value.year, value.month, value.day) == (1900, 2, 28)


def _has_leap_day(grid: Grid) -> bool:
    return any(_is_leap_day(value) for row in grid for value in row)


def _lay_over(grid: Grid, marks: Marks) -> None:
    """Puts the cells that calamine reads as something else, or not at all, in their places."""
    width = max(len(grid[0]) if grid else 0, marks.last_column)
    for row in grid:
        row.extend([""] * (width - len(row)))
    grid.extend([""] * width for _ in range(marks.last_row - len(grid)))
    for row_number, column in marks.negative:
        if isinstance(grid[row_number - 1][column - 1], date | time | timedelta):
            # Excel has no dates before its first day and shows the cell full of these; calamine makes it midnight.
            grid[row_number - 1][column - 1] = Special(CellKind.ERROR, "########")
    for row_number, column in marks.sixty:
        if _is_leap_day(grid[row_number - 1][column - 1]):
            grid[row_number - 1][column - 1] = Special(CellKind.DATE, "1900-02-29")
    for (row_number, column), (kind, text) in marks.special.items():
        grid[row_number - 1][column - 1] = Special(kind, text)
