"""Workbooks by other writers than Excel, and hostile ones."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

import pandas as pd
import pytest
from written_workbooks import (
    HEADER,
    K,
    body,
    by_hand,
    by_openpyxl,
    by_xlsxwriter,
    read,
    refusal,
    rezipped,
    rows,
)

from contrib_watch.adapters.sheets import grid, package

# Other writers


def test_what_pandas_writes_comes_back() -> None:
    file = io.BytesIO()
    pd.DataFrame({"RIC": ["A=X", "NA"], "BID": [0.1 + 0.2, None]}).to_excel(file, index=False)
    assert rows(read(file.getvalue())) == {
        2: [("A=X", K.TEXT), ("0.3", K.NUMBER)],
        3: [("NA", K.TEXT), (None, K.BLANK)],
    }


def test_prefixed_names_and_other_quotes_are_read_alike() -> None:
    plain = by_hand(body('<c r="B2"><v>1.5</v></c>', '<c r="C2" t="e"><v>#N/A</v></c>', attributes=' hidden="1"'))

    def prefix(name: str, part: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return part
        part = re.sub(rb"<(/?)(\w)", rb"<\1x:\2", part).replace(b"xmlns=", b"xmlns:x=")
        return re.sub(rb'="([^"\']*)"', rb" = '\1'", part)

    prefixed = rezipped(plain, prefix)
    assert prefixed != plain
    assert read(prefixed) == read(plain)
    assert read(plain).malformed[0].text == "A=X | 1.5 | #N/A"


def test_cells_without_references_stand_side_by_side() -> None:
    first = '<row><c t="str"><v>RIC</v></c><c t="str"><v>BID</v></c></row>'
    data = first + '<row><c t="str"><v>A</v></c><c><v>1</v></c></row>'
    assert rows(read(by_hand(data))) == {2: [("A", K.TEXT), ("1", K.NUMBER)]}


@pytest.mark.parametrize(
    "data",
    [
        body('<c r="B2"><v>1</v></c>', '<c r="B2"><v>2</v></c>'),
        body('<c r="C2" t="e"><v>#N/A</v></c>', '<c r="B2"><v>2</v></c>'),
        body('<c r="B3"><f>1</f><v>1</v></c>'),
        body('<c r="B2"><v>1</v></c>') + '<row r="2"><c r="C2"><v>1</v></c></row>',
        body('<c r="B2" t="s"><v>99</v></c>', '<c r="C2" t="e"><v>#N/A</v></c>'),
        body('<c r="B2"><v>1<!-- -->2</v></c>'),
        body('<c r="B2" t="str"><v><![CDATA[x]]></v></c>'),
        body('<c r="B2"><v>1<?x y?>2</v></c>'),
        body('<c r="B2"><v>1</v>'),
    ],
)
def test_what_readers_would_understand_differently_is_refused(data: str) -> None:
    refusal(by_hand(data))


# Hostile files


@pytest.mark.parametrize(
    "name", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"]
)
def test_entities_are_refused(name: str) -> None:
    attack = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'

    def edit(part_name: str, part: bytes) -> bytes:
        if part_name != name:
            return part
        declaration, _, rest = part.partition(b"?>") if part.startswith(b"<?xml") else (b"", b"", part)
        return (declaration + b"?>" if declaration else b"") + attack + rest

    content = by_xlsxwriter(lambda book, sheet: sheet.write_column(0, 0, ["RIC", "A=X"]))
    assert read(content).header == ("RIC",)
    assert "DTD" in refusal(rezipped(content, edit)).what


def test_a_bomb_is_refused_by_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    content = rezipped(by_openpyxl(["RIC"]), lambda name, part: part + b" " * 200_000)
    monkeypatch.setattr(package, "RATIO_FREE_BYTES", 1 << 20)
    assert "times its size" in refusal(content).what
    monkeypatch.setattr(package, "MAX_UNPACKED_BYTES", 1 << 20)
    assert "limits are" in refusal(content).what


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    real = zlib.crc32(b"<a/>")

    # The directory promises 4 bytes with the right checksum; the data go on for 100 MB.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"<a/>" + bytes(100_000_000)) + packer.flush()
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("xl/bomb.xml", packed)
    raw = bytearray(file.getvalue())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 10 : entry + 12] = (8).to_bytes(2, "little")
    raw[entry + 16 : entry + 20] = real.to_bytes(4, "little")
    raw[entry + 24 : entry + 28] = (4).to_bytes(4, "little")
    assert "checksum" in refusal(bytes(raw)).what


def test_two_parts_of_one_name_are_refused() -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("XL/worksheets/SHEET1.xml", "<worksheet/>")
    assert "two parts of one name" in refusal(file.getvalue()).what


@pytest.mark.parametrize("lines", [b"", b"PK"])
def test_something_around_the_zip_is_refused(lines: bytes) -> None:
    content = by_openpyxl(["RIC"], ["A=X"])
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"x"
    refusal(file.getvalue() + lines)


def test_far_apart_cells_are_refused_before_a_grid_is_built() -> None:
    data = f'{HEADER}<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    refused = refusal(by_hand(data))
    assert "XFD1048576" in refused.what


def test_blank_styled_cells_are_no_data_and_no_limit() -> None:
    blank = "".join(f'<row r="{row}"><c r="A{row}" s="0"/><c r="XFD{row}" s="0"/></row>' for row in range(3, 4000))
    assert grid.MAX_GRID_CELLS < 3999 * 16384
    assert rows(read(by_hand(body('<c r="B2"><v>1</v></c>') + blank))) == {2: [("A=X", K.TEXT), ("1", K.NUMBER)]}


def test_too_many_rows_are_refused() -> None:
    content = by_openpyxl(["RIC"], ["A"], [], ["B"], ["C"])
    assert "max_rows" in refusal(content, max_rows=2).hint
    assert len(read(content, max_rows=3).rows) == 3
