"""What a file's first bytes say that it is, and what to tell a person who expected something else."""

from __future__ import annotations

from enum import Enum

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<table", b"<meta", b"<?xml", b"<style", b"<workbook")
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_WORKBOOK_NAMES = (".xlsx", ".xlsm")


class Content(Enum):
    """A kind of content: its messages where a workbook and where a CSV was expected, and what to do."""

    ZIP = (
        "",
        "the file is a workbook or another zip file, not text",
        "Save it as .xlsx or as CSV; one that Excel saved as .xlsx need only be renamed",
    )
    ENCRYPTED = (
        "the workbook is protected with a password",
        "the file is a workbook with a password, not text",
        "Save it as .xlsx without a password",
    )
    OLE = (
        "the file is in Excel's old .xls format",
        "the file is in Excel's old .xls format",
        "Save it as .xlsx or as CSV",
    )
    MARKUP = (
        "the file is HTML or XML, not a workbook",
        "the file is HTML or XML, not CSV",
        "Open it in Excel and save it as .xlsx or as CSV",
    )
    PDF = ("the file is a PDF, not a workbook", "the file is a PDF, not CSV", "Save the table as .xlsx or as CSV")
    RTF = (
        "the file is an RTF document, not a workbook",
        "the file is an RTF document, not CSV",
        "Save the table as .xlsx or as CSV",
    )
    TEXT = ("the file is text, not a workbook", "", "Rename it to .csv, or save it as .xlsx from Excel")

    def __init__(self, as_workbook: str, as_text: str, mend: str) -> None:
        self.as_workbook = as_workbook
        self.as_text = as_text
        self.mend = mend


def is_workbook_name(filename: str) -> bool:
    """Whether the name promises a workbook."""
    return filename.lower().endswith(_WORKBOOK_NAMES)


def content_of(content: bytes) -> Content:
    """What the bytes are, by their magic numbers; what has none is text."""
    if content.startswith(_ZIP):
        return Content.ZIP
    if content.startswith(_OLE):
        return Content.ENCRYPTED if _ENCRYPTED_STREAM in content else Content.OLE
    head = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(_MARKUP):
        return Content.MARKUP
    if head.startswith(b"%pdf-"):
        return Content.PDF
    if head.startswith(b"{\\rtf"):
        return Content.RTF
    return Content.TEXT
