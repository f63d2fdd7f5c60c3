"""What the values alone do not tell: a sheet's XML, read for the cells that need care, and what hides or merges them.

The values themselves come from calamine, which reads an error cell and a formula without a result as blank and knows
nothing of hidden rows or percent formats. One pass of expat over the sheet finds those cells. openpyxl could tell the
same in two passes, at four times the cost, and would then no longer be an independent second reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from contrib_watch.adapters.sheets.formats import NumberFormat
from contrib_watch.adapters.sheets.markup import (
    Attributes,
    BrokenMarkup,
    area,
    column_of,
    index_of,
    is_cell,
    letters_of,
    may_be_false,
    may_be_true,
    number_text,
    unescape,
    walk,
)
from contrib_watch.adapters.sheets.strings import as_shown, blanks_are_kept
from contrib_watch.adapters.sheets.styles import Styles, alteration
from contrib_watch.adapters.sheets.tables import SheetTable
from contrib_watch.core.model import CellKind

_LAST_COLUMN = 16_384
_DECIMAL = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"T?(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)")


@dataclass
class Marks:
    """What one sheet's XML says beyond its values; cells are keyed by (row, column), both counted from 1."""

    special: dict[tuple[int, int], tuple[CellKind, str]] = field(default_factory=dict)
    """Cells whose kind or text the values do not tell."""
    negative: set[tuple[int, int]] = field(default_factory=set)
    """Cells with a negative number."""
    sixty: set[tuple[int, int]] = field(default_factory=set)
    """Cells with a number from 60 to 61: as a date, Excel's 29 February 1900, which never was."""
    filled: int = 0
    """Cells that are not blank, those in ``special`` included."""
    last_row: int = 0
    last_column: int = 0
    """The furthest cell with a value, be it an empty text: calamine's grid reaches as far."""
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: list[tuple[int, int]] = field(default_factory=list)
    """First and last column of each hidden run."""
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    """First row, first column, last row, last column."""
    tables: list[SheetTable] = field(default_factory=list)
    conditional: list[str] = field(default_factory=list)
    """Number formats of conditional formatting that may show values as others."""
    strikes_by_rule: bool = False
    """Conditional formatting strikes values out."""


def scan_sheet(
    sheet: bytes, strings: list[str], styles: Styles, *, recalculates: bool, altered: Mapping[int, CellKind]
) -> Marks:
    """One pass over a worksheet's XML; ``altered`` are the altered_texts among ``strings``.

    Raises:
        BrokenMarkup: not well-formed; rows or cells out of order or twice; a text that is not there.
    """
    scanner = _SheetScanner(strings, styles, altered, recalculates=recalculates)
    walk(sheet, scanner.element, scanner.end, scanner.characters)
    return scanner.marks


class _SheetScanner:
    """expat's callbacks; a cell is decided where it ends."""

    def __init__(
        self, strings: list[str], styles: Styles, altered: Mapping[int, CellKind], *, recalculates: bool
    ) -> None:
        self.marks = Marks()
        self._altered = altered
        self._strings = strings
        self._styles = styles
        self._formats = styles.cells
        self._hides_zeros = self._is_flat = self._is_narrow = False
        self._recalculates = recalculates
        self._calculated: list[tuple[int, int, int, int]] = []
        self._columns: dict[str, int] = {}
        self._wide: list[tuple[int, int]] = []
        self._row = self._column = self._style = 0
        self._attributes: Attributes = {}
        self._pieces: list[str] = []
        self._taking = self._phonetic = self._formula = self._has_value = False
        self._keeps_blanks = False
        self._alteration: CellKind | None = None
        self._text_begin = 0

    def element(self, tag: str, attributes: Attributes) -> None:
        if tag == "c":
            self._begin_cell(attributes)
        elif tag == "v":
            self._begin_value()
            self._taking = True
        elif tag == "row":
            self._begin_row(attributes)
        elif tag == "f":
            self._formula = True
            if self._recalculates and attributes.get("t") in ("array", "dataTable"):
                self._begin_results(attributes.get("ref", ""))
        elif tag == "is":
            self._begin_value()
        elif tag == "rPh":
            self._phonetic = True
        elif tag == "t":
            self._taking = self._has_value and not self._phonetic
            self._keeps_blanks, self._text_begin = blanks_are_kept(attributes), len(self._pieces)
        else:
            self._look_around(tag, attributes)

    def _look_around(self, tag: str, attributes: Attributes) -> None:
        """What the sheet says of its rows, columns and looks."""
        match tag:
            case "mergeCell":
                self.marks.merged.append(area(attributes.get("ref", "")))
            case "col":
                columns = int(attributes["min"]), int(attributes["max"])
                is_hidden = may_be_true(attributes.get("hidden")) or _shows_nothing(attributes.get("width"))
                (self.marks.hidden_columns if is_hidden else self._wide).append(columns)
            case "sheetFormatPr":
                # zeroHeight hides only rows that are not written, which have no cells.
                self._is_flat = _shows_nothing(attributes.get("defaultRowHeight"))
                self._is_narrow = _shows_nothing(attributes.get("defaultColWidth"))
            case "sheetData" if self._is_narrow:
                self.marks.hidden_columns += _gaps(sorted((*self._wide, *self.marks.hidden_columns)))
            case "sheetView":
                self._hides_zeros |= may_be_false(attributes.get("showZeros"))
            case "cfRule" if (number := attributes.get("dxfId")) is not None:
                shown = self._styles.rules.get(index_of(number))
                self.marks.conditional += [] if shown is None else [shown.code]
                self.marks.strikes_by_rule |= int(number) in self._styles.striking
            case "numFmt":  # in a rule of newer programs, which holds its own style
                code = attributes.get("formatCode", "")
                self.marks.conditional += [] if NumberFormat.of(code).is_plain else [code]
            case "strike" | "vertAlign" if kind := alteration(tag, attributes):
                if self._has_value:
                    self._alteration = min(kind, self._alteration or kind)
                elif kind is CellKind.STRUCK:  # in a rule, too
                    self.marks.strikes_by_rule = True

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._taking = False
            if tag == "t" and not self._keeps_blanks:
                self._pieces[self._text_begin :] = [as_shown("".join(self._pieces[self._text_begin :]))]
        elif tag == "rPh":
            self._phonetic = False
        elif tag == "c":
            self._end_cell()
            self._has_value = False

    def characters(self, text: str) -> None:
        if self._taking:
            self._pieces.append(text)

    def _begin_row(self, attributes: Attributes) -> None:
        row = int(attributes.get("r", self._row + 1))
        if row <= self._row:
            raise BrokenMarkup(f"row {row} stands after row {self._row}")
        self._row, self._column = row, 0
        self._calculated = [results for results in self._calculated if results[2] >= row]
        if may_be_true(attributes.get("hidden")) or _shows_nothing(
            attributes.get("ht", "0" if self._is_flat else None)
        ):
            self.marks.hidden_rows.add(row)

    def _begin_results(self, reference: str) -> None:
        """Only the first cell of an array formula has the formula; the others have bare results."""
        results = area(reference)
        if results[:2] != results[2:]:
            self._calculated.append(results)

    def _begin_cell(self, attributes: Attributes) -> None:
        reference = attributes.get("r")
        column = self._column + 1 if reference is None else self._column_in_row(reference)
        if column <= self._column:
            raise BrokenMarkup(f"the cell {reference or letters_of(column)} stands twice or out of order")
        self._column = column
        self._attributes = attributes
        self._style = index_of(attributes.get("s", "0"))
        if self._style >= self._styles.count:
            raise BrokenMarkup(f"the cell {letters_of(column)}{self._row} has a style that does not exist")
        self._pieces = []
        self._formula = self._has_value = False
        self._alteration = None

    def _begin_value(self) -> None:
        if self._has_value:
            raise BrokenMarkup(f"the cell {letters_of(self._column)}{self._row} has two values")
        self._has_value = True

    def _column_in_row(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        if reference[len(letters) :] != str(self._row):
            raise BrokenMarkup(f"the cell {reference} stands in row {self._row}")
        column = self._columns.get(letters)
        if column is None:
            if not is_cell(reference):
                raise BrokenMarkup(f'"{reference}" is not a cell')
            column = self._columns[letters] = column_of(letters)
        return column

    def _end_cell(self) -> None:
        if self._has_value or self._formula:
            self.marks.last_row = self._row
            self.marks.last_column = max(self.marks.last_column, self._column)
        text = "".join(self._pieces)
        kind = self._attributes.get("t", "n")
        special: tuple[CellKind, str] | None = None
        if (self._formula or self._calculated) and self._is_uncalculated(text, kind):
            special = (CellKind.NO_VALUE, "")
        elif not text:
            return
        elif kind == "n":
            special = self._as_seen(_number(text)) if self._hides_zeros or self._formats else None
            if text.startswith("-"):
                self.marks.negative.add((self._row, self._column))
            elif text.startswith("6") and _DECIMAL.fullmatch(text) and 60 <= float(text) < 61:
                self.marks.sixty.add((self._row, self._column))
        elif kind == "s":
            # Texts are read here, so that escapes and phonetic guides do not depend on the other reader.
            special = self._text(self._string(text))
        elif kind in ("str", "inlineStr"):
            special = self._text(unescape(text))
        elif kind == "e":
            special = (CellKind.ERROR, text)
        elif kind == "d":
            special = _iso(text)
        if special == (CellKind.TEXT, ""):
            return
        if self._style in self._styles.struck and (special is None or special[1].strip()):
            special = CellKind.STRUCK, special[1] if special is not None else _stored(text, kind)
        if special is not None:
            self.marks.special[self._row, self._column] = special
        self.marks.filled += 1

    def _as_seen(self, number: float) -> tuple[CellKind, str] | None:
        """The cell's number where its format shows more than the number, or another one."""
        if math.isinf(number):  # 1e400: no field's value, whatever its format
            return None
        text = number_text(number)
        if self._hides_zeros and number == 0:
            return CellKind.DISGUISED, f"{text} (not seen, because the sheet is set to show no zeros)"
        shown = self._formats.get(self._style)
        kind = CellKind.NUMBER if shown is None else shown.kind(number)
        if shown is None or kind is CellKind.NUMBER:
            return None
        return kind, shown.disguise(text) if kind is CellKind.DISGUISED else text

    def _text(self, text: str) -> tuple[CellKind, str]:
        if self._alteration is not None and text.strip():
            return self._alteration, text
        shown = self._formats.get(self._style) if self._formats else None
        if shown is None or shown.shows_text or not text:
            return CellKind.TEXT, text
        return CellKind.DISGUISED, shown.disguise_text(text)

    def _is_uncalculated(self, text: str, kind: str) -> bool:
        """A formula's cell without a result, or any result in a workbook whose results nobody calculated.

        An empty text is a result.
        """
        if not self._recalculates:
            return self._formula and not text and not (self._has_value and kind == "str")
        return self._formula or (bool(text) and self._is_array_result())

    def _is_array_result(self) -> bool:
        return any(
            top <= self._row <= bottom and left <= self._column <= right
            for top, left, bottom, right in self._calculated
        )

    def _string(self, index: str) -> str:
        number = index.strip()
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) >= len(self._strings):
            raise BrokenMarkup(f'the shared text "{index}" is not there')
        self._alteration = self._altered.get(int(number))
        return unescape(self._strings[int(number)])


def _number(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise BrokenMarkup(f'"{text}" is stored as a number')
    return float(text)


def _stored(text: str, kind: str) -> str:
    """A number's or a boolean's text."""
    if kind == "b":
        return "FALSE" if text == "0" else "TRUE"
    return number_text(_number(text))


def _iso(text: str) -> tuple[CellKind, str]:
    """A cell that stores its date as ISO text (strict workbooks)."""
    if _DATE.fullmatch(text):
        return CellKind.DATE, text
    time = _TIME.fullmatch(text)
    return (CellKind.TIME, time[1]) if time is not None else (CellKind.DATETIME, text)


def _shows_nothing(text: str | None) -> bool:
    """Whether a height (in points) or a width (in characters) leaves nothing to be read; one that is no number may
    be such.
    """
    try:
        return text is not None and not float(text) >= 1
    except ValueError:
        return True


def _gaps(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The columns that are in none of these ``runs``."""
    begins = [1, *(last + 1 for _, last in runs)]
    ends = [*(first - 1 for first, _ in runs), _LAST_COLUMN]
    return [(first, last) for first, last in zip(begins, ends, strict=True) if first <= last]
