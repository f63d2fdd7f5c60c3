"""A sheet's grid of values -> raw cells in columns, without the rows that nobody can vouch for."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.adapters.sheets.markup import BrokenMarkup, letters_of, number_text
from contrib_watch.adapters.sheets.scanner import Marks
from contrib_watch.adapters.sheets.tables import SheetTable
from contrib_watch.core.model import CellKind, Cells, Feed, Malformed, shown
from contrib_watch.core.readers import bare
from contrib_watch.errors import UnreadableFile

Grid = list[list[Any]]
"""Rows of equal length from A1 on: str ('' for a blank), float, bool, dates and times, or Special."""

Body = list[tuple[int, list[Any]]]
"""Row numbers with their rows."""

MAX_GRID_CELLS = 25_000_000
"""Rows times columns up to the furthest value: the blank ones between are built too."""


@dataclass(frozen=True, slots=True)
class Special:
    """A cell that is not what its stored value alone would make it."""

    kind: CellKind
    text: str


@dataclass(frozen=True)
class _Held:
    """Why a row is not read."""

    cause: str
    mend: str


_HIDDEN = _Held("is hidden", "show the row (clear the filter), or delete it")
_BENEATH = _Held("has a value beneath a merged cell", "unmerge the cells, and delete what should not be there")
_COVERED = _Held(
    "has no value of its own where a merged cell shows one", "unmerge the cells, and write its value into each"
)
_TOTAL = _Held(
    "is the totals row of a table, not a RIC",
    "turn the table's totals row off (Table Design), or keep it on another sheet",
)
_OTHER_TABLE = _Held(
    "belongs to another table of the sheet, whose header names the columns otherwise",
    "give that table a sheet of its own, or the same columns as the first",
)
_BEYOND = _Held("has a value outside the header's columns", "delete it, or give its column a name in the header")


def sheet_cells(grid: Grid, marks: Marks, where: str, sheet: str, feed: Feed) -> Cells:
    """The rows below ``feed.header_row`` that have a value, by column.

    The columns are those of the header, from its first name to its last, and any outside that every row fills.

    Raises:
        UnreadableFile: no header, a hidden header, a hidden column with values, or more than ``feed.max_rows`` rows.
    """
    names = _header_row(grid, marks, where, feed)
    body = [
        (number, row)
        for number, row in enumerate(grid[feed.header_row :], feed.header_row + 1)
        if row.count("") != len(row)
    ]
    if len(body) > feed.max_rows:
        raise UnreadableFile(
            f"the sheet has {len(body):,} rows, and the limit is {feed.max_rows:,}",
            where=where,
            hint="Split it, or raise max_rows",
        )
    _refuse_hidden_columns(body, marks, where)
    held = _merged(grid, marks, names, feed)
    held |= {number: _TOTAL for number, _ in body if any(number in table.totals for table in marks.tables)}
    for table in _other_tables(grid, marks, names, feed):
        held |= {number: _OTHER_TABLE for number, _ in body if number in table.rows}
    held |= dict.fromkeys(marks.hidden_rows, _HIDDEN)
    named = [column for column, name in enumerate(names) if name]
    columns = list(range(named[0], named[-1] + 1))
    visible = _without(body, held)
    full, beyond = _outside(visible, columns)
    held |= dict.fromkeys(beyond, _BEYOND)
    columns = sorted((*columns, *full))
    kept = _without(body, held)
    ric = names.index(feed.ric_column) if feed.ric_column in names else None
    rics = _rics([row for _, row in kept], ric) if held else set()
    header = grid[feed.header_row - 1]
    typed = [_column(header[column], [row[column] for _, row in kept]) for column in columns]
    return Cells(
        sheet=sheet,
        header=tuple(names[column] for column in columns),
        header_row=feed.header_row,
        columns=tuple(texts for texts, _ in typed),
        kinds=tuple(kinds for _, kinds in typed),
        rows=pa.array([number for number, _ in kept], pa.int64()),
        malformed=tuple(
            Malformed(
                number, shown(_line(row)), held[number].cause, held[number].mend, tuple(_rics([row], ric) & rics)
            )
            for number, row in body
            if number in held
        ),
        letters=tuple(letters_of(column + 1) for column in columns),
    )


def _header_row(grid: Grid, marks: Marks, where: str, feed: Feed) -> list[str]:
    """The header's texts from column A on, trimmed."""
    row = grid[feed.header_row - 1] if feed.header_row <= len(grid) else []
    names = [_typed(value)[0].strip(" \ufeff") for value in row]
    if not any(names):
        raise UnreadableFile(
            f"row {feed.header_row} has no column names, and the header should be there",
            where=where,
            hint="Move the header there, or change header_row",
        )
    if feed.header_row in marks.hidden_rows:
        raise UnreadableFile(f"the header in row {feed.header_row} is hidden", where=where, hint="Show the row")
    return names


def _without(body: Body, held: Container[int]) -> Body:
    return [(number, row) for number, row in body if number not in held] if held else body


def _refuse_hidden_columns(body: Body, marks: Marks, where: str) -> None:
    width = len(body[0][1]) if body else 0
    for first, last in marks.hidden_columns:
        for column in range(first, min(last, width) + 1):
            number = next((number for number, row in body if row[column - 1] != ""), None)
            if number is not None:
                raise UnreadableFile(
                    f"column {letters_of(column)} is hidden and has values, the first in row {number}",
                    where=where,
                    hint="Show the column, or delete it",
                )


def _merged(grid: Grid, marks: Marks, names: Sequence[str], feed: Feed) -> dict[int, _Held]:
    """Rows in which a merged cell covers a value, which nobody sees, or shows its own in the place of a missing one.

    A RIC that is missing is told as such.
    """
    unread = _unread(feed) | {feed.ric_column}
    read = frozenset(column for column, name in enumerate(names) if name not in unread)
    held: dict[int, _Held] = {}
    looked_at = 0
    for top, left, bottom, right in marks.merged:
        for number in range(top, min(bottom, len(grid)) + 1):
            # The top left cell is the one that shows.
            first = left if number == top else left - 1
            covered = grid[number - 1][first:right]
            looked_at += len(covered)
            if looked_at > MAX_GRID_CELLS:
                raise BrokenMarkup("its merged cells overlap")
            if covered.count("") != len(covered):
                held[number] = _BENEATH
            elif grid[top - 1][left - 1 : left] not in ([], [""]) and not read.isdisjoint(range(first, right)):
                held.setdefault(number, _COVERED)
    return held


def _unread(feed: Feed) -> set[str]:
    """The names of columns that are not read."""
    return {"", *set(feed.ignore_columns) - set(feed.columns)}


def _other_tables(grid: Grid, marks: Marks, names: Sequence[str], feed: Feed) -> Iterator[SheetTable]:
    """Excel's tables below a row of values whose headers have other names than the columns they stand in."""
    unread = _unread(feed)
    for table in marks.tables:
        above = grid[feed.header_row : max(table.header_row - 1, 0)]
        if table.header_row > len(grid) or all(row.count("") == len(row) for row in above):
            continue
        header = [_typed(value)[0].strip(" ").lower() for value in grid[table.header_row - 1]]
        pairs = [(names[at - 1], header[at - 1]) for at in table.columns if at <= len(names)]
        if any(name not in unread and name.lower() != other for name, other in pairs):
            yield table


def _outside(body: Body, columns: Sequence[int]) -> tuple[list[int], set[int]]:
    """Beside the header's columns: the columns that every row fills, and the rows with a value in any other."""
    width = len(body[0][1]) if body else 0
    full: list[int] = []
    rows: set[int] = set()
    for column in (*range(columns[0]), *range(columns[-1] + 1, width)):
        filled = [number for number, row in body if row[column] != ""]
        if len(filled) == len(body):
            full.append(column)
        else:
            rows.update(filled)
    return full, rows


def _rics(rows: Sequence[list[Any]], column: int | None) -> set[str]:
    """The texts of the RICs' column, bare."""
    texts = [] if column is None else [_typed(row[column])[0] for row in rows]
    return set(bare(pa.array(texts, pa.string())).to_pylist()) - {""}


def _line(row: list[Any]) -> str:
    return " | ".join(_typed(value)[0] for value in row).strip(" |")


def _column(name: Any, values: list[Any]) -> tuple[pa.Array, pa.Array]:
    """Texts (null: blank) and kinds of the column below ``name``, which strikes them out where it is struck out."""
    texts, kinds = _texts_and_kinds(values)
    if isinstance(name, Special) and name.kind is CellKind.STRUCK:
        kinds = pc.if_else(pc.equal(kinds, int(CellKind.BLANK)), kinds, pa.scalar(int(CellKind.STRUCK), pa.uint8()))
    return texts, kinds


def _texts_and_kinds(values: list[Any]) -> tuple[pa.Array, pa.Array]:
    types = set(map(type, values))
    if types == {float}:
        return number_texts(values), _repeat(CellKind.NUMBER, len(values))
    if types == {str}:
        column = pa.array(values, pa.string())
        blank = pc.equal(column, "")
        if not pc.any(blank).as_py():
            return column, _repeat(CellKind.TEXT, len(values))
        kinds = pc.if_else(blank, int(CellKind.BLANK), int(CellKind.TEXT)).cast(pa.uint8())
        return pc.if_else(blank, pa.scalar(None, pa.string()), column), kinds
    typed = [_typed(value) for value in values]
    texts_or_null = [text if kind else None for text, kind in typed]
    return pa.array(texts_or_null, pa.string()), pa.array([kind for _, kind in typed], pa.uint8())


def number_texts(numbers: Sequence[float]) -> pa.Array:
    """The number_text of each.

    Arrow writes the fewest digits that mean the number: where these are 15 at most, they are the 15 that Excel has.
    """
    column = pa.array(numbers, pa.float64())
    texts = pc.cast(column, pa.string())
    short = pc.match_substring_regex(texts, r"^(?:-?[1-9]|0|-?0\.)[0-9.]{0,12}$")
    others = pa.array(map(number_text, column.filter(pc.invert(short)).to_pylist()), pa.string())
    return pc.replace_with_mask(texts, pc.invert(short), others)


def _repeat(kind: CellKind, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(int(kind), pa.uint8()), count)


def _typed(value: Any) -> tuple[str, CellKind]:
    """A cell's text and kind."""
    match value:
        case "":
            return "", CellKind.BLANK
        case str():
            return value, CellKind.TEXT
        case bool():
            return ("TRUE" if value else "FALSE"), CellKind.BOOLEAN
        case float() | int():
            return number_text(value), CellKind.NUMBER
        case Special():
            return value.text, value.kind
        case datetime():
            return f"{value.date().isoformat()}T{_time_text(value.time())}", CellKind.DATETIME
        case date():
            return value.isoformat(), CellKind.DATE
        case time():
            return _time_text(value), CellKind.TIME
        case timedelta():
            return _duration_text(value), CellKind.TIME
        case _:
            raise TypeError(f"calamine gave a {type(value).__name__}")


def _time_text(value: time) -> str:
    text = value.isoformat()
    return text.rstrip("0") if value.microsecond else text


def _duration_text(value: timedelta) -> str:
    """``[h]:mm`` cells; 30 hours read ``30:00:00``, which no time field accepts."""
    micros = value // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text
