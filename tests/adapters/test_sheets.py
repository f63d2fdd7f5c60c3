"""What the bytes are, and whether they are whole; the reading itself has test files of its own."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

import openpyxl
import pytest

from contrib_watch.adapters.sheets import is_whole, read_cells
from contrib_watch.core.model import Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")


def workbook_bytes() -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["RIC", "BID"])
    book.active.append(["A=X", 1.5])
    for number in range(200):
        book.active.append([f"R{number}=X", number / 7])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def other_zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "<a/>")
    return file.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("content", "filename", "what"),
    [
        (b"", "a.csv", "is empty"),
        (b"", "a.xlsx", "is empty"),
        (b"\xef\xbb\xbf", "a.csv", "is empty"),
        (OLE, "a.xlsx", ".xls format"),
        (OLE, "a.csv", ".xls format"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.xlsx", "password"),
        (b"<html><table><tr><td>RIC", "a.xlsx", "HTML"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", "a.csv", "HTML"),
        (b'<?xml version="1.0"?><Workbook>', "a.xlsx", "HTML or XML"),
        (b"RIC,BID\nA=X,1\n", "a.xlsx", "is text"),
        (b"%PDF-1.7", "a.csv", "PDF"),
        (b"{\\rtf1", "a.csv", "RTF"),
        (workbook_bytes(), "a.csv", "is a workbook"),
        (other_zip("[Content_Types].xml", "xl/workbook.bin"), "a.xlsx", ".xlsb"),
        (other_zip("mimetype", "content.xml"), "a.xlsx", ".ods"),
        (other_zip("prices.csv"), "a.xlsx", "not an Excel workbook"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused(content: bytes, filename: str, what: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read_cells(content, filename, FEED)
    assert what in refused.value.what
    assert filename in refused.value.where
    assert refused.value.hint


def test_too_many_bytes_are_refused_unread() -> None:
    feed = Feed(name="f", folder=PurePath("f"), service="S", max_bytes=10)
    with pytest.raises(UnreadableFile, match="limit is 10") as refused:
        read_cells(b"RIC,BID\nA,1\n", "a.csv", feed)
    assert "max_bytes" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (b"", "a.csv"),
        (b"RIC,BID\nA,1\n", "a.csv"),
        (b"RIC,BID\nA,1", "a.csv"),
        ("RIC,BID\nĀA,1\n".encode("utf-16"), "a.csv"),
        ("RIC,BID\nA,1\n".encode("utf-16-le"), "a.csv"),
        (workbook_bytes(), "a.xlsx"),
        (workbook_bytes(), "a.csv"),
        (other_zip("prices.csv"), "a.xlsx"),
        (OLE[:-300] + b"x", "a.xlsx"),
    ],
)
def test_whole_files_are_whole(content: bytes, filename: str) -> None:
    assert is_whole(content, filename) == ""


@pytest.mark.parametrize("nuls", [1, 2, 4096])
def test_an_unwritten_part_of_a_text_is_not_whole(nuls: int) -> None:
    assert is_whole(b"RIC,BID\nA,1\n" + bytes(nuls), "a.csv")
    assert is_whole(b"RIC,BID\n" + bytes(nuls) + b"A,1\n", "a.csv")


def test_a_file_of_nuls_alone_is_not_whole() -> None:
    assert is_whole(bytes(5000), "a.csv")
    assert is_whole(bytes(5000), "a.xlsx")


def test_a_workbook_is_whole_only_at_its_full_length() -> None:
    content = workbook_bytes()
    for length in (*range(4, len(content) - 60, 11), *range(len(content) - 60, len(content))):
        assert is_whole(content[:length], "a.xlsx"), length
        unwritten = content[:length] + bytes(len(content) - length)
        assert is_whole(unwritten, "a.xlsx") or unwritten == content, length


def test_a_cut_workbook_is_never_read() -> None:
    content = workbook_bytes()
    for length in range(len(content)):
        with pytest.raises(UnreadableFile):
            read_cells(content[:length], "a.xlsx", FEED)


def test_a_changed_byte_in_a_workbook_never_changes_what_is_read() -> None:
    content = workbook_bytes()
    original = read_cells(content, "a.xlsx", FEED)
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            cells = read_cells(bytes(damaged), "a.xlsx", FEED)
        except UnreadableFile:
            continue
        assert cells == original, position
