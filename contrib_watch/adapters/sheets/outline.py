"""A first look at a file that nobody has declared: the top of its sheets, and what its bytes suggest."""

from __future__ import annotations

import re

from python_calamine import CalamineWorkbook, SheetVisibleEnum

from contrib_watch.adapters.sheets.book import opened, read_book
from contrib_watch.adapters.sheets.content import Content, content_of, is_workbook_name
from contrib_watch.adapters.sheets.grid import MAX_GRID_CELLS
from contrib_watch.adapters.sheets.markup import BrokenMarkup, column_of, letters_of
from contrib_watch.adapters.sheets.package import Package
from contrib_watch.core.layout import SAMPLE_ROWS, Layout, Rows, text_layout
from contrib_watch.core.model import shown
from contrib_watch.errors import UnreadableFile

_PLACE = re.compile(rb"""\sr\s*=\s*(?:"([^"]*)"|'([^']*)')""")
"""Where a row or a cell says that it stands."""
_REFERENCE = re.compile(rb"([A-Z]{0,3})([0-9]{1,7})")

MAX_BYTES = 16 << 20
"""A larger file is not looked at: its first rows, saved as a file of their own, tell as much."""


def check_outline_size(size_bytes: int, filename: str) -> None:
    """Raises UnreadableFile where the file is larger than MAX_BYTES."""
    if size_bytes > MAX_BYTES:
        raise UnreadableFile(
            f"the file has {size_bytes:,} bytes, too many to look at",
            where=filename,
            hint="Save its first rows as a file of their own, and look at that",
        )


def outline(content: bytes, filename: str) -> Layout:
    """What the file's bytes suggest; of a workbook, the visible sheet with the most cells at its top.

    Raises UnreadableFile where it is not a CSV or a workbook. It parses what strangers wrote, so the program has it
    done by ``reader.Reader.outline``.
    """
    found = content_of(content)
    if not is_workbook_name(filename):
        if found is not Content.TEXT:
            raise UnreadableFile(found.as_text, where=filename, hint=found.mend)
        return text_layout(content)
    if found is not Content.ZIP:
        raise UnreadableFile(found.as_workbook, where=filename, hint=found.mend)
    package = Package(content, filename)
    package.check()
    try:
        _refuse_far_cells(package)
    except BrokenMarkup as error:
        raise package.refuse(f"the workbook is damaged: {error}") from error
    tops = _tops(content, package)
    if not tops:
        raise package.refuse("the workbook has no visible sheet")
    fullest = max(tops, key=lambda name: sum(sum(map(bool, row)) for row in tops[name]))
    return Layout(tops[fullest], sheet=fullest, sheets=tuple(tops))


def _refuse_far_cells(package: Package) -> None:
    """calamine builds a grid as far as the furthest cell, were it the only one, and that can end the program."""
    book = read_book(package)
    for entry in book.sheets:
        if entry.part and entry.visible:
            found = set(map(b"".join, _PLACE.findall(package.read_xml(entry.part))))
            places = [place for place in map(_REFERENCE.fullmatch, found) if place is not None]
            if len(places) != len(found):
                raise package.refuse(f'the sheet "{entry.name}" has a cell that stands nowhere')
            column = max((column_of(place[1].decode()) for place in places), default=1)
            row = max((int(place[2]) for place in places), default=1)
            if row * column > MAX_GRID_CELLS:
                raise package.refuse(f'the sheet "{entry.name}" reaches to {letters_of(column)}{row}')


def _tops(content: bytes, package: Package) -> dict[str, Rows]:
    """The visible sheets with their first rows."""
    with opened(content, package) as workbook:
        visible = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
        return {name: _top(workbook, name) for name in visible}


def _top(workbook: CalamineWorkbook, name: str) -> Rows:
    rows = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False, nrows=SAMPLE_ROWS)
    return [[shown(str(value).strip()) for value in row] for row in rows]
