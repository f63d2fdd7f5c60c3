"""What a workbook says of the tables on a sheet (Excel's Insert, Table), in parts of their own."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from contrib_watch.adapters.sheets.markup import Attributes, BrokenMarkup, area, walk


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


def table_parts(sheet: str, relations: bytes) -> list[str]:
    """The parts of the tables on the sheet in the part ``sheet``, from its relations."""
    parts: list[str] = []

    def relation(tag: str, attributes: Attributes) -> None:
        if tag == "Relationship" and attributes.get("Type", "").endswith("/table"):
            target = posixpath.join("/", posixpath.dirname(sheet), attributes["Target"])
            parts.append(posixpath.normpath(target)[1:])

    walk(relations, relation)
    return parts


def sheet_table(part: bytes) -> SheetTable:
    """The table in a part such as ``xl/tables/table1.xml``.

    Raises:
        BrokenMarkup: not well-formed, or not a table.
    """
    found: list[SheetTable] = []

    def element(tag: str, attributes: Attributes) -> None:
        if tag == "table":
            top, left, bottom, right = area(attributes["ref"])
            headers = int(attributes.get("headerRowCount", "1"))
            end = bottom - int(attributes.get("totalsRowCount", "0")) + 1
            columns, rows = range(left, right + 1), range(top + headers, end)
            found.append(SheetTable(columns, top if headers else 0, rows, range(end, bottom + 1)))

    walk(part, element)
    if len(found) != 1:
        raise BrokenMarkup("a table's part does not hold one table")
    return found[0]
