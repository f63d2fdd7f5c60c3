"""What a workbook says of the tables on a sheet (Excel's Insert, Table), in parts of their own."""

from __future__ import annotations

import posixpath

from contrib_watch.adapters.sheets.markup import Attributes, area, walk


def table_parts(sheet: str, relations: bytes) -> list[str]:
    """The parts of the tables on the sheet in the part ``sheet``, from its relations."""
    parts: list[str] = []

    def relation(tag: str, attributes: Attributes) -> None:
        if tag == "Relationship" and attributes.get("Type", "").endswith("/table"):
            target = posixpath.join("/", posixpath.dirname(sheet), attributes["Target"])
            parts.append(posixpath.normpath(target)[1:])

    walk(relations, relation)
    return parts


def totals_rows(table: bytes) -> range:
    """The totals rows of a table of Excel's, from ``xl/tables/table1.xml``; as a rule none or one."""
    rows = range(0)

    def element(tag: str, attributes: Attributes) -> None:
        nonlocal rows
        if tag == "table":
            last = area(attributes["ref"])[2]
            rows = range(last - int(attributes.get("totalsRowCount", "0")) + 1, last + 1)

    walk(table, element)
    return rows
