"""Workbooks as programs write them, and by hand where none of them would."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import openpyxl
import xlsxwriter

HEADER = ["RIC", "BID", "ASK"]
GOOD = ["GOOD=X", 22.1, 22.3]

HEADER_ROW = '<row r="1"><c r="A1" t="str"><v>RIC</v></c><c r="B1" t="str"><v>BID</v></c></row>'
"""The header of the sheets that are written by hand."""

Edit = Callable[[str, bytes], bytes]

_OFFICE_TIMEOUT_S = 90


def by_openpyxl(*rows: Sequence[Any], edit: Callable[[Any], object] = lambda sheet: None) -> bytes:
    """A sheet ``Prices`` with these rows; openpyxl marks every workbook to be recalculated."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Prices"
    for row in rows:
        sheet.append(row)
    edit(sheet)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def by_xlsxwriter(write: Callable[[Any, Any], object], **options: Any) -> bytes:
    """``write`` gets the workbook and its sheet ``Prices``, which has the header already."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, options)
    sheet = book.add_worksheet("Prices")
    sheet.write_row(0, 0, HEADER)
    sheet.write_row(1, 0, GOOD)
    write(book, sheet)
    book.close()
    return file.getvalue()


def edited(content: bytes, edit: Edit) -> bytes:
    """The workbook with ``edit`` applied to each of its parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))
    return file.getvalue()


def calculated(content: bytes) -> bytes:
    """The workbook as one whose results were calculated."""
    return edited(content, lambda name, part: part.replace(b' fullCalcOnLoad="1"', b""))


def by_hand(sheet_data: str, *, before: str = "", after: str = "") -> bytes:
    """A workbook of calculated results whose sheet has this XML inside ``sheetData``, and beside it."""

    def edit(name: str, part: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return part
        new = f"{before}<sheetData>{sheet_data}</sheetData>{after}".encode()
        return re.sub(rb"<sheetData ?/>|<sheetData>.*</sheetData>", lambda _: new, part, flags=re.DOTALL)

    return calculated(edited(by_openpyxl(["x"]), edit))


def cells(*xml: str, row: str = "", more: str = "") -> bytes:
    """By hand: the RIC ``A=X`` in A2, and these cells beside it; ``row`` are attributes, ``more`` rows below."""
    return by_hand(f'{HEADER_ROW}<row r="2"{row}><c r="A2" t="str"><v>A=X</v></c>{"".join(xml)}</row>{more}')


def archive(*parts: tuple[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as new:
        for name, content in parts:
            new.writestr(name, content)
    return file.getvalue()


OFFICE = which("soffice") or ""

_MANIFEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">
<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>
</manifest:manifest>"""


def open_document(content: str) -> bytes:
    """An .ods file with this ``content.xml``."""
    return archive(
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("META-INF/manifest.xml", _MANIFEST),
        ("content.xml", content.encode()),
        packed=zipfile.ZIP_STORED,
    )


@cache
def by_libreoffice(content: str, ending: str) -> bytes:
    """An OpenDocument spreadsheet, opened, calculated and saved by LibreOffice in another format."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "sheet.ods"
        source.write_bytes(open_document(content))
        line = [OFFICE, "--headless", f"-env:UserInstallation=file://{folder}/profile", "--convert-to", ending]
        done = subprocess.run(
            [*line, "--outdir", folder, str(source)], check=True, capture_output=True, timeout=_OFFICE_TIMEOUT_S
        )
        saved = Path(folder) / f"sheet.{ending}"
        if not saved.exists():  # it exits with 0 also where it could not read its source
            raise RuntimeError(done.stderr.decode())
        return saved.read_bytes()
