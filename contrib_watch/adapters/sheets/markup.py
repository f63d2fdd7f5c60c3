"""What the values alone do not tell: a workbook's XML, read for sheets, styles and the cells that need care.

The values themselves come from calamine, which reads an error cell and a formula without a result as blank and knows
nothing of hidden rows or percent formats. One pass of expat over the sheet finds those cells. openpyxl could tell the
same in two passes, at four times the cost, and would then no longer be an independent second reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal
from xml.parsers import expat

from contrib_watch.adapters.sheets.formats import NumberFormat, defined_format
from contrib_watch.core.model import CellKind

Attributes = Mapping[str, str]

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?([1-9][0-9]{0,6})")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_LEAST_FIXED, _LARGEST_FIXED = 1e-20, 1e25
_PREFIX = re.compile(rb"""xmlns:[\w.-]+\s*=\s*["']http://schemas.openxmlformats.org/spreadsheetml/2006/main""")
"""A prefix under which a sheet's elements may stand anywhere in it."""
_LAST_COLUMN = 16_384
_BLANKS = " \t\r\n"
_DECIMAL = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"T?(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)")


class BrokenMarkup(ValueError):  # noqa: N818 - reads as what it is
    """The XML is not well-formed, or says something that readers would understand differently."""


@dataclass(frozen=True)
class Styles:
    """What a workbook's styles do to the values in its cells."""

    cells: Mapping[int, NumberFormat] = field(default_factory=dict)
    """The formats that do not show every value as it is stored, by a cell's ``s``."""
    struck: Set[int] = frozenset()
    """Each ``s`` that strikes a cell out."""
    rules: Mapping[int, NumberFormat] = field(default_factory=dict)
    """Such formats of conditional formatting, by a rule's ``dxfId``."""
    striking: Set[int] = frozenset()
    """Each ``dxfId`` that strikes a cell out."""
    count: int = 1
    """How many styles a cell's ``s`` may choose from; without any definition, there is the one of all cells."""


@dataclass(frozen=True)
class SheetTable:
    """A table of Excel's (Insert, Table); rows and columns are counted from 1."""

    columns: range
    header_row: int
    """0 where it shows none."""
    rows: range
    """Those of its data."""
    totals: range
    """Those of its totals; as a rule none or one."""


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


def index_of(text: str) -> int:
    """A number that refers to a style or a format. Programs differ on ``01`` and ``+1``, and none writes them.

    Raises:
        BrokenMarkup: it is not written as programs write it.
    """
    if _INDEX.fullmatch(text) is None:
        raise BrokenMarkup(f'"{text}" does not refer to a style or format')
    return int(text)


def may_be_true(text: str | None) -> bool:
    """Whether some program may read an attribute that is false by default as true."""
    return text not in (None, "0", "false")


def may_be_false(text: str | None) -> bool:
    """Whether some program may read an attribute that is true by default as false."""
    return text not in (None, "1", "true")


def letters_of(column: int) -> str:
    """1 -> ``A``, 27 -> ``AA``."""
    letters = ""
    while column:
        column, digit = divmod(column - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def column_of(letters: str) -> int:
    """``A`` -> 1, ``AA`` -> 27."""
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column


def unescape(text: str) -> str:
    """``_x000D_`` as the character it stands for; ``_x005F_`` is the underscore that keeps one from being read."""
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number_text(number: float) -> str:
    """A stored number at Excel's own 15 significant digits, in fixed notation where that is of a readable length:
    ``0.30000000000000004`` -> ``0.3``, ``100.0`` -> ``100``, ``1e+20`` -> ``100000000000000000000``.
    """
    text = f"{number:.15g}"
    if text == "-0":
        return "0"
    if "e" in text and _LEAST_FIXED <= abs(number) <= _LARGEST_FIXED:
        return f"{Decimal(text):f}"
    return text


def disguising_styles(styles: bytes) -> Styles:
    """What the styles in ``xl/styles.xml`` do to values."""
    codes: dict[int, str] = {}
    by_cell: list[int] = []
    by_rule: list[str] = []
    fonts: list[bool] = []  # struck out?
    font_of: list[int] = []
    striking: set[int] = set()
    sections: list[str] = []

    def element(tag: str, attributes: Attributes) -> None:
        if tag == "cellXfs" and by_cell:
            raise BrokenMarkup("its styles are listed twice")
        match tag, sections[-1:]:
            case "numFmt", ["numFmts"]:
                number, code = index_of(attributes["numFmtId"]), attributes.get("formatCode", "")
                if codes.setdefault(number, code) != code:
                    raise BrokenMarkup(f"its number format {number} has two definitions")
            case "xf", ["cellXfs"]:
                by_cell.append(index_of(attributes.get("numFmtId", "0")))
                font_of.append(index_of(attributes.get("fontId", "0")))
            case "font", ["fonts"]:
                fonts.append(False)
            case "strike", ["font"] if _alters(tag, attributes):
                if "dxf" in sections:
                    striking.add(len(by_rule) - 1)
                else:
                    fonts[-1] = True
            case "dxf", ["dxfs"]:
                by_rule.append("General")
            case "numFmt", ["dxf"]:
                by_rule[-1] = attributes.get("formatCode", "")
        sections.append(tag)

    def end(_: str) -> None:
        sections.pop()

    walk(styles, element, end)
    formats = {number: defined_format(number, codes) for number in set(by_cell)}
    rules = enumerate(map(NumberFormat.of, by_rule))
    return Styles(
        cells={index: formats[number] for index, number in enumerate(by_cell) if not formats[number].is_plain},
        struck={index for index, font in enumerate(font_of) if fonts[font : font + 1] == [True]},
        rules={index: shown for index, shown in rules if not shown.is_plain},
        striking=striking,
        count=len(by_cell) or 1,
    )


def shared_strings(part: bytes) -> list[str]:
    """The texts that cells refer to by number, without phonetic guides, escapes still in place."""
    texts: list[str] = []
    pieces: list[str] = []
    phonetic = taking = keeps_blanks = False
    begin = 0

    def element(tag: str, attributes: Attributes) -> None:
        nonlocal phonetic, taking, keeps_blanks, begin
        if tag == "si":
            pieces.clear()
        elif tag == "rPh":
            phonetic = True
        elif tag == "t":
            taking = not phonetic
            keeps_blanks, begin = _keeps_blanks(attributes), len(pieces)

    def end(tag: str) -> None:
        nonlocal phonetic, taking
        if tag == "t":
            taking = False
            if not keeps_blanks:
                pieces[begin:] = [_as_shown("".join(pieces[begin:]))]
        elif tag == "rPh":
            phonetic = False
        elif tag == "si":
            texts.append("".join(pieces))

    def characters(text: str) -> None:
        if taking:
            pieces.append(text)

    walk(part, element, end, characters)
    return texts


_ALTERING = re.compile(rb"[<:](?:strike|vertAlign)[\s/>]")


def has_altered_texts(strings: bytes) -> bool:
    """Whether some of the shared texts may have a part that is raised, lowered or struck out."""
    return _ALTERING.search(strings) is not None


def altered_texts(part: bytes) -> dict[int, CellKind]:
    """The numbers of the shared texts of which a part is struck out (STRUCK), raised or lowered (RAISED): ``101.5``
    with a footnote's sign is stored as ``101.51``.
    """
    found: dict[int, CellKind] = {}
    number = 0

    def element(tag: str, attributes: Attributes) -> None:
        if kind := _alters(tag, attributes):
            found[number] = min(kind, found.get(number, kind))

    def end(tag: str) -> None:
        nonlocal number
        number += tag == "si"

    walk(part, element, end)
    return found


def _alters(tag: str, attributes: Attributes) -> CellKind | None:
    """What a property of a font makes of a text: STRUCK, RAISED or nothing."""
    if tag == "strike" and may_be_true(attributes.get("val", "1")):
        return CellKind.STRUCK
    return CellKind.RAISED if tag == "vertAlign" and attributes.get("val") != "baseline" else None


def _keeps_blanks(text: Attributes) -> bool:
    """Whether the blanks at the ends of a ``<t>`` are seen; Excel leaves them out unless it is told to keep them."""
    return text.get("xml:space") == "preserve"


def _as_shown(text: str) -> str:
    """A text without the blanks at its ends; one of blanks alone stays, because openpyxl writes it so."""
    return text.strip(_BLANKS) or text


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
            self._keeps_blanks, self._text_begin = _keeps_blanks(attributes), len(self._pieces)
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
            case "strike" | "vertAlign" if kind := _alters(tag, attributes):
                if self._has_value:
                    self._alteration = min(kind, self._alteration or kind)
                elif kind is CellKind.STRUCK:  # in a rule, too
                    self.marks.strikes_by_rule = True

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._taking = False
            if tag == "t" and not self._keeps_blanks:
                self._pieces[self._text_begin :] = [_as_shown("".join(self._pieces[self._text_begin :]))]
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
            if _REFERENCE.fullmatch(reference) is None:
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


def area(reference: str) -> tuple[int, int, int, int]:
    """``A1:C3`` -> (1, 1, 3, 3): first row, first column, last row, last column."""
    first, _, last = reference.partition(":")
    corners = [_REFERENCE.fullmatch(corner) for corner in (first, last or first)]
    if corners[0] is None or corners[1] is None:
        raise BrokenMarkup(f'"{reference}" is not an area of cells')
    (left, top), (right, bottom) = corners[0].groups(), corners[1].groups()
    return int(top), column_of(left), int(bottom), column_of(right)


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


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def walk(
    part: bytes,
    element: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None = None,
    characters: Callable[[str], None] | None = None,
) -> None:
    """expat over one part, with the names of elements free of their prefix.

    Raises:
        BrokenMarkup: not well-formed, or a callback raised KeyError (an attribute is missing) or ValueError.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    # Without a prefix on the first element the names are right as they are, which saves two calls a cell.
    prefixed = re.search(rb"<[A-Za-z_][\w.-]*(:?)", part[:4096])
    if (prefixed is not None and prefixed[1]) or _PREFIX.search(part):
        parser.StartElementHandler = lambda tag, attributes: element(_local(tag), attributes)
        parser.EndElementHandler = (lambda tag: end(_local(tag))) if end is not None else None
    else:
        parser.StartElementHandler = element
        parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(part, True)
    except expat.ExpatError as error:
        raise BrokenMarkup(f"the XML is not well-formed: {error}") from error
    except KeyError as error:
        raise BrokenMarkup(f"the attribute {error} is missing") from error
    except ValueError as error:
        raise BrokenMarkup(str(error)) from error
