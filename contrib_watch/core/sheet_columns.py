"""The header of a sheet: which column has the RICs and which has which field; any doubt rejects the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.fields import Dictionary, FieldDef, Kind
from contrib_watch.core.model import CellKind, Cells, Feed
from contrib_watch.errors import UnreadableFile

MAX_NAME_LENGTH = 255
"""Characters of a column's name, which messages and pages have to show."""

_NAMES_SHOWN = 20
"""So many columns' names are listed in a message; a header can have thousands."""


@dataclass(frozen=True)
class SheetColumns:
    """What the header says: column indices of the RIC and of each field, in file order."""

    ric: int
    fields: Mapping[int, FieldDef]
    missing: Mapping[str, str]
    """Headers that the feed maps and the file lacks, with their fields."""

    def warnings(self) -> list[str]:
        return [
            f'the column "{header}" is missing: nothing is contributed to {acronym}'
            for header, acronym in self.missing.items()
        ]


def sheet_columns(cells: Cells, feed: Feed, dictionary: Dictionary) -> SheetColumns:
    """The columns of a sheet, as the feed names them.

    Raises UnreadableFile where there is no column of RICs, or one that is neither that, a field nor ignored; two for
    one field, or of one name; none for a field; or one of a type that no sheet can give.
    """
    headers = headers_of(cells)
    _refuse_endless_headers(cells, headers)
    _refuse_repeated_headers(cells, headers)
    if feed.ric_column not in headers:
        raise UnreadableFile(
            f'there is no column "{feed.ric_column}" for the RICs',
            where=header_address(cells),
            hint=_hint_of_another_delimiter(cells, feed)
            or f"Set ric_column or header_row of the feed; the headers are {_listed(headers)}",
        )
    ric = headers.index(feed.ric_column)
    acronyms = {
        column: feed.columns.get(header, header)
        for column, header in enumerate(headers)
        if column != ric and not _is_unused(cells, column, header, feed)
    }
    _refuse_unknown(cells, headers, acronyms, feed, dictionary)
    fields = {column: dictionary.fields[acronym] for column, acronym in acronyms.items()}
    _refuse_unusable(cells, headers, fields)
    present = set(acronyms.values())
    missing = {header: acronym for header, acronym in feed.columns.items() if acronym not in present}
    return SheetColumns(ric, fields, missing)


def headers_of(cells: Cells) -> list[str]:
    return [header.strip(" \ufeff") for header in cells.header]


def header_address(cells: Cells, column: int | None = None) -> str:
    """The header row, or one cell of it in a workbook."""
    letter = cells.letters[column] if cells.sheet and column is not None else ""
    return f"{cells.sheet}!{letter}{cells.header_row}" if cells.sheet else f"row {cells.header_row}"


def is_written(cells: Cells, column: int) -> pa.BooleanArray:
    """Which cells hold anything but ASCII spaces; an error or a lost result is something."""
    text = pc.ascii_trim(cells.columns[column].cast(pa.string()), characters=" ")
    written = pc.not_equal(text.fill_null(""), "")
    if cells.kinds is None:
        return written
    harmless = pc.is_in(cells.kinds[column], value_set=pa.array([CellKind.BLANK, CellKind.TEXT], pa.uint8()))
    return pc.or_(written, pc.invert(harmless))


def _hint_of_another_delimiter(cells: Cells, feed: Feed) -> str:
    """How the header line would have the column of the RICs; empty where no usual delimiter gives it one."""
    if cells.kinds is not None:
        return ""
    line = feed.delimiter.join(headers_of(cells))
    for delimiter in ";,\t|":
        if delimiter != feed.delimiter and feed.ric_column in line.split(delimiter):
            return f"Set delimiter = {json.dumps(delimiter)}: the header line looks separated so"
    return ""


def _refuse_endless_headers(cells: Cells, headers: Sequence[str]) -> None:
    for column, header in enumerate(headers):
        if len(header) > MAX_NAME_LENGTH:
            raise UnreadableFile(
                f"the name of column {column + 1} has {len(header):,} characters, and the limit is {MAX_NAME_LENGTH}",
                where=header_address(cells, column),
                hint="Check that it is the right file, and header_row",
            )


def _refuse_repeated_headers(cells: Cells, headers: Sequence[str]) -> None:
    seen: set[str] = set()
    for column, header in enumerate(headers):
        if header and header in seen:
            raise UnreadableFile(
                f'the header "{header}" stands twice',
                where=header_address(cells, column),
                hint="Remove or rename one of the two columns; names in rows above, such as of groups, are not read",
            )
        seen.add(header)


def _is_unused(cells: Cells, column: int, header: str, feed: Feed) -> bool:
    """Whether the column gives no values: ignored, or without a header and wholly blank."""
    if header:
        return header in feed.ignore_columns and header not in feed.columns
    if pc.any(is_written(cells, column)).as_py():
        raise UnreadableFile(
            f"column {column + 1} has values but no header",
            where=header_address(cells, column),
            hint="Give it a header, and name that in ignore_columns if the column is not to be contributed",
        )
    return True


def _refuse_unknown(
    cells: Cells, headers: Sequence[str], acronyms: Mapping[int, str], feed: Feed, dictionary: Dictionary
) -> None:
    unknown = [column for column, acronym in acronyms.items() if dictionary.get(acronym) is None]
    for column in unknown:
        header, acronym = headers[column], acronyms[column]
        if header in feed.columns:
            near = dictionary.nearest(acronym)
            raise UnreadableFile(
                f'the feed maps the column "{header}" to {acronym}, which is no field of the dictionary',
                where=header_address(cells, column),
                hint=f"Did you mean {near}?" if near else "Correct columns in the feed",
            )
    if unknown:
        names = [headers[column] for column in unknown]
        nearest = ", ".join(f'"{name}" = "{dictionary.nearest(name) or "FIELD"}"' for name in names[:_NAMES_SHOWN])
        raise UnreadableFile(
            f"{_listed(names)} {'is' if len(names) == 1 else 'are'} neither a field, mapped to one, nor ignored",
            where=header_address(cells, unknown[0]),
            hint=f"Map in the feed (the nearest: columns = {{ {nearest} }}), rename, or add to ignore_columns",
        )


def _refuse_unusable(cells: Cells, headers: Sequence[str], fields: Mapping[int, FieldDef]) -> None:
    if not fields:
        raise UnreadableFile(
            "no column holds a field",
            where=header_address(cells),
            hint="Name the columns like fields, or map them with columns in the feed",
        )
    column_of: dict[str, int] = {}
    for column, definition in fields.items():
        first = column_of.setdefault(definition.acronym, column)
        if first != column:
            raise UnreadableFile(
                f'the columns "{headers[first]}" and "{headers[column]}" are both {definition.acronym}',
                where=header_address(cells, column),
                hint="Name one of them in ignore_columns, or remove it",
            )
        if definition.kind is Kind.UNSUPPORTED:
            raise UnreadableFile(
                f'"{headers[column]}" is the field {definition.acronym} of type {definition.rwf_type}, '
                "which cannot be contributed from a sheet",
                where=header_address(cells, column),
                hint="Name it in ignore_columns",
            )


def _listed(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names[:_NAMES_SHOWN]]
    if len(names) > _NAMES_SHOWN:
        quoted.append(f"{len(names) - _NAMES_SHOWN:,} more")
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
