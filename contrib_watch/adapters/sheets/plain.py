"""Whether a sheet is so plain that its values tell everything, decided by searching its XML, not by parsing it.

Most sheets are, and then the pass over every cell (markup.scan_sheet) is saved. Each test errs towards "not plain".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from contrib_watch.adapters.sheets.markup import column_of

_NEEDS_CARE = (
    b't="e"',
    b't="d"',
    b"<f>",
    b"<f ",
    b"<f/",
    b'hidden="1',
    b'hidden="t',
    b' ht="0',
    b' width="0',
    b"<mergeCell ",
    b"_x",
    b"<rPh",
    # Attributes written as no spreadsheet program writes them could hide one of the above.
    b"='",
    b" =",
    b"= ",
)
_ROW = re.compile(rb'<row r="(\d+)"')
_COLUMN = re.compile(rb'<c r="([A-Z]{1,3})\d')


@dataclass(frozen=True)
class Extent:
    """What a plain sheet's values must amount to."""

    filled: int
    """Cells that have a value."""
    last_row: int
    last_column: int
    """The furthest cells, blank ones included; counted from 1."""
    has_negatives: bool


def plain_extent(sheet: bytes, strings: bytes, percent: Iterable[str]) -> Extent | None:
    """The extent of a sheet without anything that its values do not tell; None where that is not certain.

    ``sheet`` and ``strings`` are the XML of the worksheet and of the shared strings, ``percent`` the styles that show
    a percentage.
    """
    if b"_x" in strings or b"<rPh" in strings or any(mark in sheet for mark in _NEEDS_CARE):
        return None
    if any(b's="%s"' % style.encode() in sheet for style in percent):
        return None
    begin, end = sheet.find(b"<sheetData>"), sheet.rfind(b"</sheetData>")
    if begin < 0 or end < 0:
        return None
    data = sheet[begin + len(b"<sheetData>") : end]
    rows = [int(row) for row in _ROW.findall(data)]
    columns = _COLUMN.findall(data)
    if len(rows) != data.count(b"<row") or len(columns) != data.count(b"<c"):
        return None
    if any(later <= earlier for earlier, later in itertools.pairwise(rows)):
        return None
    return Extent(
        filled=data.count(b"<v>") + data.count(b"<is>"),
        last_row=rows[-1] if rows else 0,
        last_column=max((column_of(letters.decode()) for letters in set(columns)), default=0),
        has_negatives=b"<v>-" in data,
    )
