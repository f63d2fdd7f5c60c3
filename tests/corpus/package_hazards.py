"""Files that are something else than their name says, damaged, or made to harm whoever opens them."""

# ruff: noqa: E501 - tables read best with a line to each entry
from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from hazard import Hazard, book
from workbook_hazards import LIBREOFFICE, sheet_of_troubles
from workbooks import (
    HEADER_ROW,
    archive,
    by_hand,
    by_libreoffice,
    by_xlsxwriter,
    cells,
    edited,
    open_document,
)

PUBLISHED = {"GOOD=X": "BID 22.1 ASK 22.3"}
PAGE = b"<html><body><table><tr><td>RIC</td><td>BID</td></tr><tr><td>A=X</td><td>1.5</td></tr></table></body></html>"
TEXT = b"RIC,BID\r\nA=X,1.5\r\n"


def sheet() -> bytes:
    """A workbook in order."""
    return by_xlsxwriter(lambda workbook, sheet: None)


def raw(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def package_hazards() -> Iterator[Hazard]:
    """Every hazard of this module, in the order of the table."""
    yield from _other_kinds()
    yield from _damaged()
    yield from _bombs()
    yield from _xml_attacks()


def _other_kinds() -> Iterator[Hazard]:
    yield book("html-as-xlsx", "a web page saved under a workbook's name", raw(PAGE))
    yield book("csv-as-xlsx", "a CSV renamed to .xlsx", raw(TEXT))
    yield book(
        "xml-as-xlsx",
        "Excel 2003's XML",
        raw(b'<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook/>'),
    )
    yield book("pdf-as-xlsx", "a PDF", raw(b"%PDF-1.7\n..."))
    yield book("nothing-as-xlsx", "an empty file", raw(b""))
    yield book(
        "xls-by-libreoffice",
        "a real .xls renamed to .xlsx",
        lambda: by_libreoffice(sheet_of_troubles(), "xls"),
        needs=LIBREOFFICE,
    )
    yield book("xls-by-hand", "an OLE file renamed to .xlsx", lambda: ole("Workbook"))
    yield book("ods", "an OpenDocument sheet renamed to .xlsx", lambda: open_document(sheet_of_troubles()))
    yield book(
        "xlsb",
        "a binary workbook renamed to .xlsx",
        lambda: archive(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.bin", b"\x83\x01\x00")),
    )
    yield book(
        "docx",
        "a Word document renamed to .xlsx",
        lambda: archive(("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<w/>")),
    )
    yield book("password", "a workbook with a password, encrypted for real", encrypted, needs="msoffcrypto")
    yield book(
        "password-by-hand",
        "the outer file of a workbook with a password",
        lambda: ole("EncryptionInfo", "EncryptedPackage"),
    )
    yield Hazard("html-as-csv", "a web page saved as CSV", raw(PAGE))
    yield Hazard("xlsx-as-csv", "a workbook renamed to .csv", sheet)
    yield Hazard("xls-as-csv", "an OLE file renamed to .csv", lambda: ole("Workbook"))
    yield Hazard("password-as-csv", "a workbook with a password renamed to .csv", lambda: ole("EncryptedPackage"))
    yield Hazard("pdf-as-csv", "a PDF renamed to .csv", raw(b"%PDF-1.7\n1,2\n"))
    yield Hazard("rtf-as-csv", "a letter renamed to .csv", raw(b"{\\rtf1\\ansi RIC,BID}\n"))
    yield Hazard("gzip-as-csv", "a compressed CSV", lambda: gzip.compress(TEXT, mtime=0))


def encrypted() -> bytes:
    """With the password ``secret``."""
    from msoffcrypto.format import ooxml

    target = io.BytesIO()
    ooxml.OOXMLFile(io.BytesIO(sheet())).encrypt("secret", target)
    return target.getvalue()


def ole(*streams: str) -> bytes:
    """A compound file (MS-CFB) whose directory lists these empty streams."""
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0),
    )
    allocation = struct.pack("<2I", 0xFFFFFFFD, 0xFFFFFFFE) + b"\xff" * 504
    entries = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0") + struct.pack("<HBB", 2 * len(name) + 2, kind, 1) + bytes(60)
        for name, kind in (("Root Entry", 5), *((stream, 2) for stream in streams))
    )
    return header.ljust(512, b"\xff") + allocation + entries.ljust(512, b"\0")


def _damaged() -> Iterator[Hazard]:
    for share in (0.01, 0.25, 0.5, 0.9, 0.999):
        yield book(
            f"cut-at-{share * 100:g}-percent",
            f"a workbook of which {share:.1%} arrived",
            lambda share=share: _cut(share),
        )
    yield book("unwritten-tail", "its full size, the last half not written", lambda: _cut(0.5, filled=True))
    yield book("unwritten-hole", "a hole of 64 bytes in the sheet", _with_hole)
    yield book("something-before", "bytes before the zip", lambda: b"PK\x05\x06" + sheet())
    yield book("something-behind", "bytes behind the zip", lambda: sheet() + b"\r\n")
    yield book("two-parts-of-one-name", "the sheet stands in the zip twice, with other prices", _with_two_sheets)
    yield book(
        "names-in-other-case", "the same, in other letters", lambda: _with_two_sheets("xl/worksheets/Sheet1.xml")
    )
    yield book("another-file-inside", "the directory points at another sheet than the file's own", _with_other_names)
    yield book("no-sheet-inside", "the sheet's part is missing", lambda: _without("xl/worksheets/sheet1.xml"))
    yield book("half-a-sheet", "a sheet whose XML ends early, in a zip that is whole", lambda: edited(sheet(), lambda n, p: p[: len(p) // 2] if "sheet1" in n else p))  # fmt: skip
    yield book(
        "text-that-is-not-there",
        "a cell refers to a text beyond the last",
        lambda: cells('<c r="B2" t="s"><v>99</v></c>'),
    )


def _cut(share: float, *, filled: bool = False) -> bytes:
    content = sheet()
    there = max(1, int(len(content) * share))
    return content[:there] + bytes(len(content) - there if filled else 0)


def _with_hole() -> bytes:
    content = sheet()
    start = content.index(b"xl/worksheets/sheet1.xml") + 40
    return content[:start] + bytes(64) + content[start + 64 :]


def _with_two_sheets(name: str = "xl/worksheets/sheet1.xml") -> bytes:
    """Written under another name of the same length, which is then changed in both places."""
    other = by_xlsxwriter(lambda workbook, sheet: sheet.write_row(1, 1, [99, 99]))
    unique = name.replace("heet1", "heet~")
    content = archive(*_parts(sheet()), (unique, dict(_parts(other))["xl/worksheets/sheet1.xml"]))
    return content.replace(unique.encode(), name.encode())


def _with_other_names() -> bytes:
    """A zip is read by its directory; who reads the names before the data finds the other sheet."""
    other = by_xlsxwriter(lambda workbook, sheet: sheet.write_row(1, 1, [99, 99]))
    content = archive(*_parts(sheet()), ("xl/worksheets/sheet2.xml", dict(_parts(other))["xl/worksheets/sheet1.xml"]))
    first, _, rest = content.partition(b"xl/worksheets/sheet1.xml")
    local, _, directory = rest.partition(b"xl/worksheets/sheet2.xml")
    return first + b"xl/worksheets/sheet2.xml" + local + b"xl/worksheets/sheet1.xml" + directory


def _without(name: str) -> bytes:
    return archive(*(part for part in _parts(sheet()) if part[0] != name))


def _parts(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def _bombs() -> Iterator[Hazard]:
    yield book("zip-bomb", "1 MB that unpacks to 1.2 GB", _bomb)
    yield book("lying-zip-bomb", "the same, declared as 1 kB", lambda: _bomb(declared_bytes=1000))
    yield book(
        "zip-of-many-parts",
        "20,000 parts",
        lambda: archive(*_parts(sheet()), *((f"xl/{n}.xml", b"") for n in range(20_000))),
    )
    yield book("row-bomb", "a million rows without a cell, well packed", lambda: by_hand(HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><v>1.5</v></c></row>' + "".join(f'<row r="{n}"/>' for n in range(3, 1_048_577))), {"A=X": "BID 1.5"})  # fmt: skip
    yield book("merge-bomb", "50,000 merged cells, one over the other", lambda: by_hand(HEADER_ROW + '<row r="9999"><c r="B9999"><v>1</v></c></row>', after="<mergeCells>" + '<mergeCell ref="A2:XFD9999"/>' * 50_000 + "</mergeCells>"))  # fmt: skip


def _bomb(declared_bytes: int = 0) -> bytes:
    """A sheet of spaces, of which one MB is packed and repeated."""
    size, piece = 1200 << 20, b" " * (1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = begin + again * ((size >> 20) - 1) + packer.flush()
    content = archive(
        *_parts(_without("xl/worksheets/sheet1.xml")), ("xl/worksheets/sheet1.xml", b"@@"), packed=zipfile.ZIP_STORED
    )
    start = content.index(b"@@")
    local = bytearray(content[:start])
    at = local.rindex(b"PK\x03\x04")
    struct.pack_into("<HxxxxIII", local, at + 8, zipfile.ZIP_DEFLATED, 0, len(packed), declared_bytes or size)
    directory = bytearray(content[start + 2 :])
    entry = directory.rindex(b"PK\x01\x02")
    struct.pack_into("<HxxxxIII", directory, entry + 10, zipfile.ZIP_DEFLATED, 0, len(packed), declared_bytes or size)
    end = directory.rindex(b"PK\x05\x06")
    offset = struct.unpack_from("<I", directory, end + 16)[0]
    struct.pack_into("<I", directory, end + 16, offset + len(packed) - 2)
    return bytes(local) + packed + bytes(directory)


LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY outside SYSTEM "file:///etc/hostname">]>'


def _xml_attacks() -> Iterator[Hazard]:
    for part in (
        "xl/worksheets/sheet1.xml",
        "xl/workbook.xml",
        "xl/sharedStrings.xml",
        "xl/styles.xml",
        "xl/_rels/workbook.xml.rels",
    ):
        short = part.rpartition("/")[2].removesuffix(".xml").lower().replace(".", "-")
        yield book(
            f"billion-laughs-in-{short}",
            f"an entity of a billion words in {part}",
            lambda part=part: _with_dtd(part, LAUGHS),
        )
    for part in ("[Content_Types].xml", "docProps/core.xml", "xl/theme/theme1.xml"):
        short = part.rpartition("/")[2].removesuffix(".xml").strip("[]").lower()
        yield book(
            f"billion-laughs-in-{short}",
            f"the same in {part}, used",
            lambda part=part: _with_dtd(part, LAUGHS, "&l9;"),
            {},
        )
    yield book("outside-entity", "an entity that reads a file of this machine", lambda: _with_dtd("xl/worksheets/sheet1.xml", OUTSIDE, "&outside;"))  # fmt: skip
    yield book(
        "comment-in-a-value", "a comment that splits a price", lambda: cells("<c r='B2'><v>1<!-- -->5</v></c>")
    )
    yield book("cdata-in-a-value", "a price as CDATA", lambda: cells("<c r='B2'><v><![CDATA[15]]></v></c>"))
    yield book("utf-16-parts", "a sheet in UTF-16", lambda: edited(sheet(), lambda n, p: p.decode().encode("utf-16") if "sheet1" in n else p))  # fmt: skip


def _with_dtd(part: str, dtd: str, use: str = "") -> bytes:
    def edit(name: str, content: bytes) -> bytes:
        if name != part:
            return content
        text = content.decode()
        head, end, body = text.partition("?>") if text.startswith("<?xml") else ("", "", text)
        if use:
            body = body.replace("</", f"{use}</", 1)
        return (head + end + dtd + body).encode()

    return edited(sheet(), edit)
