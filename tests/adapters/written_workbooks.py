"""Workbooks as several programs write them, and by hand; and what is read of them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import openpyxl
import pytest
import xlsxwriter

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
K = CellKind


def read(content: bytes, **feed: object) -> Cells:
    return read_cells(content, "prices.xlsx", replace(FEED, **feed))  # type: ignore[arg-type]


def refusal(content: bytes, **feed: object) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refused:
        read(content, **feed)
    assert "prices.xlsx" in refused.value.where
    assert refused.value.hint
    return refused.value


def rows(cells: Cells) -> dict[int, list[tuple[str | None, CellKind]]]:
    """Row number -> (text, kind) of each cell."""
    assert cells.kinds is not None
    found: dict[int, list[tuple[str | None, CellKind]]] = {row: [] for row in cells.rows.to_pylist()}
    for texts, kinds in zip(cells.columns, cells.kinds, strict=True):
        for row, text, kind in zip(found.values(), texts.to_pylist(), kinds.to_pylist(), strict=True):
            row.append((text, CellKind(kind)))
    return found


def saved(book: openpyxl.Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def by_openpyxl(*lines: list[Any], edit: Callable[[Any], None] = lambda sheet: None) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for line in lines:
        book.active.append(line)
    edit(book.active)
    return saved(book)


def by_xlsxwriter(write: Callable[[Any, Any], None]) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Prices")
    write(book, sheet)
    book.close()
    return file.getvalue()


def rezipped(content: bytes, edit: Callable[[str, bytes], bytes]) -> bytes:
    """The workbook with ``edit`` applied to each part."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))
    return file.getvalue()


def by_hand(sheet_data: str, *, after: str = "", before: str = "", calculated: bool = True) -> bytes:
    """A workbook whose sheet has this XML inside ``sheetData``."""

    def edit(name: str, part: bytes) -> bytes:
        if name == "xl/workbook.xml" and calculated:
            return part.replace(b' fullCalcOnLoad="1"', b"")
        if name != "xl/worksheets/sheet1.xml":
            return part
        xml = re.sub(
            rb"<sheetData ?/>|<sheetData>.*</sheetData>", b"<sheetData>@</sheetData>@", part, flags=re.DOTALL
        )
        head, _, rest = xml.partition(b"<sheetData>@</sheetData>@")
        return head + before.encode() + b"<sheetData>" + sheet_data.encode() + b"</sheetData>" + after.encode() + rest

    return rezipped(by_openpyxl(["x"]), edit)


HEADER = '<row r="1"><c r="A1" t="str"><v>RIC</v></c><c r="B1" t="str"><v>BID</v></c></row>'


def body(*cells: str, attributes: str = "") -> str:
    return f'{HEADER}<row r="2"{attributes}><c r="A2" t="str"><v>A=X</v></c>{"".join(cells)}</row>'


def second(content: bytes) -> tuple[str | None, CellKind]:
    """The cell B2."""
    return rows(read(content))[2][1]
