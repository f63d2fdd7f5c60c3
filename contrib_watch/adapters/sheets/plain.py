"""Whether a sheet is so plain that its values tell everything, decided by searching its XML, not by parsing it.

Most sheets are, and then the pass over every cell (scanner.scan_sheet) is saved. What is
not written exactly as programs write it is not plain.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contrib_watch.adapters.sheets.strings import has_altered_texts
from contrib_watch.adapters.sheets.styles import Styles

_ROW = re.compile(rb'<row r="(\d+)"([^>]*)>')
_CELL = (
    rb'<c r="[A-Z]{1,3}\1"(?: s="\d++")?(?:'
    rb'(?: t="n")?(?:/>|>(?:<v>[-+.\dEe]++</v>)?</c>)'
    rb'| t="s"><v>\d{1,9}</v></c>'
    rb'| t="(?:str|b)"><v>[^<]*+</v></c>'
    rb'| t="inlineStr"><is><t(?: xml:space="preserve">[^<]*+|>(?![\s&])[^<]*+(?<![\s;]))</t></is></c>)'
)
"""A cell as spreadsheet programs write it, with one value at most; it says that it stands in the row of group 1.

An error (``e``) or an ISO date (``d``) is not among its types, a formula not among its contents. The number of a
shared text is digits alone: calamine takes any other for 0, which is another text. Nor does an inline text end in
blanks, or in what may stand for them, that are not to be kept: see _BLANK_END.
"""

_ROWS = re.compile(rb'(?:<row r="(\d+)"[^>]*(?:/>|>(?>%b)*+</row>))*+' % _CELL)
"""Rows whose cells all say that they stand in them, and nothing between; calamine goes by what the cells say."""

_LETTERS_AT = len('<c r="')
_PIECE_BYTES = 1_000_000
"""Of rows that are looked through at one time: little enough for the processor's cache."""

_BLANK_END = re.compile(
    rb'<t(?:>(?:[\s&]|[^<]*+(?<=[\s;])</t>)|(?!>| ?/>| xml:space="preserve">)[\s/])|<[A-Za-z_][\w.-]*:t[\s/>]'
)
"""A shared text that may begin or end with blanks that nobody sees, or whose element is not as programs write it."""

_STYLE = re.compile(rb' s="(\d+)"')

_SIXTY = re.compile(rb"<v>(?:60[.<]|6(?:\.\d*)?[eE])")

_ATTRIBUTE = (
    rb' (?:hidden="(?:0|false)"|showZeros="(?:1|true)"'
    rb'|(?:ht|width|defaultRowHeight|defaultColWidth)="[1-9][0-9.]*"'
    rb'|(?!(?:hidden|showZeros|ht|width|defaultRowHeight|defaultColWidth|xmlns:[\w.-]+="[^"]*spreadsheetml/2006/main)[="])'
    rb'[A-Za-z][\w:.-]*="[^"<&\t\r\n]*")'
)
"""An attribute as programs write it, which hides no row, column or zero."""

_ATTRIBUTES = re.compile(rb"(?:%b)*+ ?/?" % _ATTRIBUTE)

_AROUND = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:<\?xml[^<>]*\?>)?"
    rb"(?:[^<>]++|</?(?!(?:[\w.-]+:)?(?:mergeCell|numFmt|strike)[ />])[A-Za-z][\w:.-]*(?:%b)*+ ?/?>)*+" % _ATTRIBUTE
)
"""What stands around the rows: neither merged cells nor what conditional formatting does to values."""


@dataclass(frozen=True)
class Extent:
    """What a plain sheet's values must amount to."""

    filled: int
    """Cells that have a value."""
    last_row: int
    last_column: int
    """The furthest row and cell, be they blank; counted from 1."""
    has_negatives: bool
    has_sixties: bool
    """A number from 60 to 61, which as a date is 29 February 1900."""


def plain_extent(sheet: bytes, strings: bytes, styles: Styles) -> Extent | None:
    """The extent of a sheet without anything that its values do not tell; None where that is not certain.

    ``sheet`` and ``strings`` are the XML of the worksheet and of the shared strings, ``styles`` what the styles do to
    values.
    """
    begin, end = sheet.find(b"<sheetData>"), sheet.rfind(b"</sheetData>")
    if begin < 0 or end < 0 or _has(strings, (b"_x", b"<rPh")) or _BLANK_END.search(strings):
        return None
    if has_altered_texts(strings):
        return None
    data = sheet[begin + len(b"<sheetData>") : end]
    if _AROUND.fullmatch(sheet[:begin] + sheet[end:]) is None:
        return None
    if b"_" in data and b"_x" in data:  # an escaped character; most sheets lack the first byte, which is soon seen
        return None
    if not _are_plain(data, styles):
        return None
    if (styles.rules or styles.striking) and _has(sheet, (b" dxfId=",)):
        return None
    if _ROWS.fullmatch(data) is None:
        return None
    rows = _ROW.findall(data)
    if not all(map(_ATTRIBUTES.fullmatch, {attributes for _, attributes in rows})):
        return None
    numbers = [int(number) for number, _ in rows]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        return None
    last_column = _last_column(data)
    if last_column is None:
        return None
    return Extent(
        filled=data.count(b"<v>") + data.count(b"<is>"),
        last_row=numbers[-1] if numbers else 0,
        last_column=last_column,
        has_negatives=b"-" in data and b"<v>-" in data,
        has_sixties=b"<v>6" in data and _SIXTY.search(data) is not None,
    )


def _last_column(data: bytes) -> int | None:
    """The furthest column, counted from 1; None where a row's cells stand twice or out of order."""
    begin = last = 0
    while begin < len(data):
        end = data.find(b"<row ", begin + _PIECE_BYTES)
        end = len(data) if end < 0 else end
        columns, are_in_order = _columns(np.frombuffer(data, np.uint8, end - begin, begin))
        if not are_in_order:
            return None
        last = max(last, int(columns.max(initial=0)))
        begin = end
    return last


def _columns(rows: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int32], bool]:
    """The columns of all cells of some whole rows, and whether they are in order in each row."""
    opens = rows[:-1] == ord("<")
    cells = np.flatnonzero(opens & (rows[1:] == ord("c")))
    columns = np.zeros(len(cells), np.int32)
    is_letter = np.ones(len(cells), np.bool_)
    for at in range(_LETTERS_AT, _LETTERS_AT + 3):
        letters = rows[cells + at]
        is_letter &= letters >= ord("A")  # digits come before
        if not is_letter.any():
            break
        columns = np.where(is_letter, columns * 26 + letters - (ord("A") - 1), columns)
    back = np.flatnonzero(columns[1:] <= columns[:-1])
    begins = np.flatnonzero(opens & (rows[1:] == ord("r")))
    is_new_row = np.searchsorted(begins, cells[back]) < np.searchsorted(begins, cells[back + 1])
    return columns, bool(is_new_row.all())


def _are_plain(data: bytes, styles: Styles) -> bool:
    """Whether all styles of cells exist and show every value as it is stored, and as one that holds."""
    used = set(_STYLE.findall(data))
    telling = styles.cells.keys() | styles.struck
    return 0 not in telling and all(
        len(style) < 10 and b"%d" % int(style) == style and int(style) < styles.count and int(style) not in telling
        for style in used
    )


def _has(text: bytes, marks: Iterable[bytes]) -> bool:
    return any(mark in text for mark in marks)
