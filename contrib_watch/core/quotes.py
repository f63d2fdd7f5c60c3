"""Raw cells -> Quotes: which row is which RIC, and every value typed or refused.

The header decides whether the file can be trusted at all: a doubt about it rejects the file (core.sheet_columns). A
doubt about a cell rejects its row, with a Problem for each such cell.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import Columns, Each, filtered, table_of, text_index
from contrib_watch.core.fields import (
    ANNOTATED,
    STRUCK_OUT,
    Dictionary,
    FieldDef,
    Kind,
    Typed,
    read_column,
    type_column,
)
from contrib_watch.core.model import CellKind, Cells, Feed, Problem, Quotes, shown
from contrib_watch.core.numerals import SAFE_DIGITS
from contrib_watch.core.readers import (
    ERROR_TEXT,
    Complaint,
    bare,
    error_text,
    foreign_character,
    matches,
    shell_pattern,
)
from contrib_watch.core.sheet_columns import SheetColumns, header_address, headers_of, is_written, sheet_columns
from contrib_watch.core.stacked import row_of_another_header
from contrib_watch.core.tokens import TOKENS
from contrib_watch.errors import UnreadableFile

MAX_RIC_BYTES = 255
"""A longer ``Key.Name`` is an Error (seen on LSEG's SDK provider)."""

_RIC = r"^[ !#-\[\]-~]+$"
"""Printable ASCII but the two characters that JSON escapes: the ADS does not unescape ``Key.Name``."""

TOTALS = (
    r"(?i)^(?:(?:grand |sub-?)?total|average|gesamt(?:ergebnis|summe)?|(?:zwischen)?summe|durchschnitt|mittelwert)"
    r"(?:[ :].*)?$"
)
"""What stands in the column of RICs beside the sum or the mean of the others: those of pivot tables, too."""


_DAY = FieldDef("AS_OF", 0, Kind.DATE, "DATE", 10, "DATE", 0)
"""Types the guards' ``as_of`` column, whatever field it is, if any."""

_EXAMPLES = 3
"""So many RICs or rows are named in a message that could name thousands."""


def read_quotes(cells: Cells, feed: Feed, dictionary: Dictionary, *, each: Each = map) -> Quotes:
    """Type the cells of one sheet by the field dictionary, as the feed declares them.

    ``each`` goes through the columns, which may be done beside one another.

    Rows that hold nothing but ASCII spaces are not counted. Raises UnreadableFile where the header leaves a doubt
    (a column that is neither RIC, field nor ignored; two columns for one field; no field), or no data row is there.
    """
    layout = sheet_columns(cells, feed, dictionary)
    cells = _without_empty_rows(cells, layout)
    if not len(cells.rows) and not cells.malformed:
        raise UnreadableFile(
            "there is no data row below the header",
            where=header_address(cells),
            hint="Check header_row, if the data begins elsewhere",
        )
    table = _typed(cells, layout, feed, each)
    table.refusals.extend(_below_another_header(cells, layout, table, dictionary))
    refused = _indices(table.refusals)
    groups = _repeated_rics(table)
    twins, conflicts = _compare_copies(table, groups, refused)
    doubtful = _doubtful_copies(cells, layout, table)
    twins = {ric: copies for ric, copies in twins.items() if _indices(doubtful).isdisjoint(copies)}
    refusals = [*table.refusals, *_conflict_refusals(cells, layout, conflicts), *doubtful]

    accepted = np.ones(len(cells.rows), dtype=bool)
    accepted[list(_indices(refusals))] = False
    accepted[[index for copies in twins.values() for index in copies[1:]]] = False
    index, rows, tokens = _accepted(cells, table, accepted)
    twin_rows = {ric: tuple(_row(cells, index) for index in copies[1:]) for ric, copies in twins.items()}
    return Quotes(
        values=table_of(tokens, index),
        rows=rows,
        twins=twin_rows,
        problems=_problems(cells, table.rics, refusals),
        rows_read=len(cells.rows) + len(cells.malformed),
        sheet=cells.sheet,
        warnings=(
            *cells.warnings,
            *layout.warnings(),
            *_twin_warnings(rows, twin_rows),
            *_precision_warnings(
                index, {one.acronym: tokens[one.acronym] for one in layout.fields.values() if one.kind is Kind.REAL}
            ),
        ),
        missing_columns=tuple(layout.missing),
        places={
            definition.acronym: (cells.letters if cells.sheet else cells.header)[column]
            for column, definition in layout.fields.items()
        },
        as_of=_as_of(cells, feed, accepted, index),
    )


def written_rics(cells: Cells, feed: Feed) -> pa.StringArray:
    """What stands in the RIC column of each row of ``cells.rows``; empty where it cannot be a RIC for its length.

    Known before anything is typed, so that it can be looked up meanwhile. All empty where there is no such column.
    """
    headers = headers_of(cells)
    if feed.ric_column not in headers:
        return pa.repeat("", len(cells.rows))
    rics = _rics(cells, headers.index(feed.ric_column))
    return pc.if_else(_fits(rics), rics, "")


def _without_empty_rows(cells: Cells, layout: SheetColumns) -> Cells:
    empty = pc.invert(is_written(cells, layout.ric))
    for column in range(len(cells.columns)):
        if not pc.any(empty).as_py():  # after the RIC's column already, as a rule
            return cells
        empty = pc.and_not(empty, is_written(cells, column))
    kept = pc.invert(empty)
    return replace(
        cells,
        columns=tuple(column.filter(kept) for column in cells.columns),
        kinds=cells.kinds and tuple(kinds.filter(kept) for kinds in cells.kinds),
        rows=cells.rows.filter(kept),
    )


@dataclass(frozen=True, order=True, slots=True)
class _Refusal:
    """A cell that rejects its row: indices into ``Cells.rows`` and ``Cells.header``."""

    index: int
    column: int
    cause: str
    mend: str


@dataclass(frozen=True)
class _Table:
    """The typed columns, before rows are sorted out."""

    rics: pa.StringArray
    is_ric: pa.BooleanArray
    """Which of ``rics`` can be one."""
    tokens: Mapping[str, pa.StringArray]
    refusals: list[_Refusal]


def _typed(cells: Cells, layout: SheetColumns, feed: Feed, each: Each) -> _Table:
    def kinds_of(column: int) -> pa.Array | None:
        return None if cells.kinds is None else cells.kinds[column]

    def typed(field: tuple[int, FieldDef]) -> Typed:
        column, definition = field
        return type_column(definition, cells.columns[column], kinds_of(column), feed)

    columns = each(typed, layout.fields.items())  # perhaps under way from here on
    rics = _rics(cells, layout.ric)
    is_ric = pc.and_(matches(rics, _RIC), _fits(rics))
    is_ric = pc.and_not(is_ric, pc.or_(matches(rics, ERROR_TEXT), matches(rics, TOTALS)))
    if feed.ric_pattern:
        is_ric = pc.and_(is_ric, matches(rics, shell_pattern(feed.ric_pattern)))
    if cells.kinds is not None:
        is_ric = pc.and_(is_ric, pc.equal(cells.kinds[layout.ric], CellKind.TEXT.value))
    refusals = [
        _Refusal(index, layout.ric, *_ric_complaint(rics[index].as_py(), kinds_of(layout.ric), index, feed))
        for index in pc.indices_nonzero(pc.invert(is_ric)).to_pylist()
    ]
    tokens = {}
    for (column, definition), values in zip(layout.fields.items(), columns, strict=True):
        tokens[definition.acronym] = values.tokens
        refusals += [_Refusal(index, column, cause, mend) for index, cause, mend in values.problems]
    return _Table(rics, is_ric, tokens, refusals)


def _rics(cells: Cells, column: int) -> pa.StringArray:
    return pc.ascii_trim(cells.columns[column].cast(pa.string()).fill_null(""), characters=" ")


def _fits(rics: pa.StringArray) -> pa.BooleanArray:
    return pc.less_equal(pc.binary_length(rics), MAX_RIC_BYTES)


def _ric_complaint(ric: str, kinds: pa.Array | None, index: int, feed: Feed) -> Complaint:
    kind = CellKind.TEXT if kinds is None else CellKind(kinds[index].as_py())
    match kind:
        case CellKind.DISGUISED:
            return Complaint(
                "is not what a person sees, because of its format", "format the cell as Text and check the RIC"
            )
        case CellKind.STRUCK:
            return STRUCK_OUT
        case CellKind.RAISED:
            return ANNOTATED
    if kind not in (CellKind.TEXT, CellKind.BLANK):
        return Complaint("is not a text cell, as a RIC must be", "format the cell as Text and type the RIC again")
    if not ric:
        return Complaint("is a row without a RIC", "write the RIC into every row, also where cells are merged")
    if complaint := error_text(ric):
        return complaint
    if complaint := foreign_character(ric):
        return Complaint(complaint.cause, "type the RIC again with the characters of a plain English keyboard")
    if len(ric) > MAX_RIC_BYTES:
        return Complaint(f"is longer than the {MAX_RIC_BYTES} bytes of a RIC", "check the RIC")
    if re.match(TOTALS, ric):
        return Complaint("is the row of a total or a mean, not a RIC", "take the row out, or onto another sheet")
    if re.match(_RIC, ric):
        return Complaint(
            f'is not a RIC of this feed, whose ric_pattern is "{feed.ric_pattern}"',
            "remove the row, or drop it in the folder of the feed that contributes this RIC",
        )
    return Complaint("contains a quotation mark or backslash, which the ADS does not take in a RIC", "check the RIC")


def _repeated_rics(table: _Table) -> dict[str, list[int]]:
    """RICs that stand in several rows -> the rows' indices."""
    encoded = table.rics.dictionary_encode()
    if len(encoded.dictionary) == len(encoded):
        return {}
    codes = pd.Series(encoded.indices.to_numpy())[table.is_ric.to_numpy(zero_copy_only=False)]
    groups: dict[str, list[int]] = defaultdict(list)
    for index in codes.index[codes.duplicated(keep=False)].tolist():
        groups[table.rics[index].as_py()].append(index)
    return groups


def _compare_copies(
    table: _Table, groups: Mapping[str, list[int]], refused: set[int]
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Split the RICs with several rows into those whose rows are equal (twins) and those in conflict.

    A copy that cannot be read might differ, so that it is in conflict with the others.
    """
    if not groups:
        return {}, {}
    indices = [index for copies in groups.values() for index in copies]
    columns = [tokens.take(pa.array(indices, pa.int64())).to_pylist() for tokens in table.tokens.values()]
    row_of = dict(zip(indices, zip(*columns, strict=True), strict=True))
    twins: dict[str, list[int]] = {}
    conflicts: dict[str, list[int]] = {}
    for ric, copies in groups.items():
        are_equal = refused.isdisjoint(copies) and len({row_of[index] for index in copies}) == 1
        (twins if are_equal else conflicts)[ric] = copies
    return twins, conflicts


def _conflict_refusals(cells: Cells, layout: SheetColumns, conflicts: Mapping[str, list[int]]) -> list[_Refusal]:
    refusals = []
    for copies in conflicts.values():
        rows = [_row(cells, index) for index in copies]
        refusals += [
            _Refusal(
                index,
                layout.ric,
                "stands in several rows that differ",
                f"keep one of them; it is also in {_rows([other for other in rows if other != row])}",
            )
            for index, row in zip(copies, rows, strict=True)
        ]
    return refusals


def _doubtful_copies(cells: Cells, layout: SheetColumns, table: _Table) -> list[_Refusal]:
    """Rows whose RIC also stands in a row that is not read, or looks like one that cannot be a RIC (``A=X`` with a
    no-break space, 5930 as a number): that row may be another copy of them, with other values. One that is struck out
    says itself that it is not meant.
    """
    lines: dict[str, list[int]] = defaultdict(list)
    for line in cells.malformed:
        for ric in line.rics:
            lines[ric].append(line.row)
    is_other = pc.invert(table.is_ric)
    if cells.kinds is not None:
        is_other = pc.and_(is_other, pc.not_equal(cells.kinds[layout.ric], CellKind.STRUCK.value))
    others = pc.indices_nonzero(is_other)
    for index, seen in zip(others.to_pylist(), bare(table.rics.take(others)).to_pylist(), strict=True):
        if seen:
            lines[seen].append(_row(cells, index))
    if not lines:
        return []
    seen_rics = bare(table.rics)
    doubted = pc.and_(table.is_ric, pc.is_in(seen_rics, value_set=pa.array(list(lines), pa.string())))
    return [
        _Refusal(
            index,
            layout.ric,
            "also stands in a row that is not read",
            f"mend or remove {_rows(lines[seen_rics[index].as_py()])}",
        )
        for index in pc.indices_nonzero(doubted).to_pylist()
    ]


def _below_another_header(
    cells: Cells, layout: SheetColumns, table: _Table, dictionary: Dictionary
) -> list[_Refusal]:
    """The readable rows that stand below a second table's header."""
    refused: dict[int, set[int]] = defaultdict(set)
    for refusal in table.refusals:
        refused[refusal.column].add(refusal.index)
    header = row_of_another_header(cells, layout.ric, layout.fields, refused, dictionary)
    if header is None:
        return []
    below = pc.and_(table.is_ric, pc.greater(cells.rows, header))
    return [
        _Refusal(
            index,
            layout.ric,
            f"stands below another header, in row {header}, which names the columns otherwise",
            "give that table a sheet or file of its own, or the same columns as the first",
        )
        for index in pc.indices_nonzero(below).to_pylist()
    ]


def _indices(refusals: Sequence[_Refusal]) -> set[int]:
    return {refusal.index for refusal in refusals}


def _row(cells: Cells, index: int) -> int:
    row: int = cells.rows[index].as_py()
    return row


def _rows(rows: Sequence[int]) -> str:
    named = ", ".join(str(row) for row in rows[:_EXAMPLES])
    more = f" and {len(rows) - _EXAMPLES} more" if len(rows) > _EXAMPLES else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"


def _accepted(
    cells: Cells, table: _Table, accepted: np.typing.NDArray[np.bool_]
) -> tuple[pd.Index[str], pd.Series[int], dict[str, pa.StringArray]]:
    """The RICs, the numbers and the tokens of the accepted rows."""
    mask = pa.array(accepted)
    index = text_index(table.rics.filter(mask), "RIC")
    rows = pd.Series(cells.rows.filter(mask).to_numpy(zero_copy_only=False), index=index, name="row", copy=False)
    return index, rows, filtered(table.tokens, mask)


def _as_of(
    cells: Cells, feed: Feed, accepted: np.typing.NDArray[np.bool_], index: pd.Index[str]
) -> pd.Series[str] | None:
    """The dates of the guards' ``as_of`` column, which need be no field; what is no date is missing."""
    headers = headers_of(cells)
    names = [feed.guards.as_of, *(header for header, acronym in feed.columns.items() if acronym == feed.guards.as_of)]
    column = next((headers.index(name) for name in names if name and name in headers), None)
    if column is None:
        return None
    kinds = None if cells.kinds is None else cells.kinds[column]
    tokens, _ = read_column(_DAY, cells.columns[column], kinds, feed)
    dates = pc.utf8_trim(tokens.filter(pa.array(accepted)), characters='"')
    return pd.Series(pd.array(dates, dtype=TOKENS), index=index)


def _problems(cells: Cells, rics: pa.StringArray, refusals: Sequence[_Refusal]) -> tuple[Problem, ...]:
    """The refused cells and malformed lines as people read of them, in file order."""
    place = f"row {cells.sheet}!" if cells.sheet else "row "
    found = [Problem(one.row, "", f"{place}{one.row}", one.text, one.cause, one.mend) for one in cells.malformed]
    found += [
        Problem(
            row=_row(cells, refusal.index),
            ric=shown(rics[refusal.index].as_py()),
            where=cells.address(refusal.index, refusal.column),
            text=shown(cells.columns[refusal.column][refusal.index].as_py() or ""),
            cause=refusal.cause,
            mend=refusal.mend,
        )
        for refusal in sorted(refusals)
    ]
    return tuple(sorted(found, key=lambda problem: problem.row))


def _twin_warnings(rows: pd.Series[int], twins: Mapping[str, tuple[int, ...]]) -> list[str]:
    if not twins:
        return []
    examples = [f"{ric} in {_rows([int(rows[ric]), *others])}" for ric, others in list(twins.items())[:_EXAMPLES]]
    more = f" and {len(twins) - _EXAMPLES} other RICs" if len(twins) > _EXAMPLES else ""
    return [f"equal rows are posted once: {', '.join(examples)}{more}"]


def _precision_warnings(rics: pd.Index[str], reals: Columns) -> list[str]:
    """LSEG's SDK for Java acknowledges a REAL of more digits than a double has, and stores another one."""
    count, example = 0, ""
    for acronym, tokens in reals.items():
        if (pc.max(pc.binary_length(tokens)).as_py() or 0) <= SAFE_DIGITS:
            continue
        digits = pc.replace_substring(pc.ascii_ltrim(tokens, characters="-0."), ".", "")
        long = pc.greater(pc.binary_length(pc.ascii_rtrim(digits, characters="0")), SAFE_DIGITS)
        if (first := pc.index(long, True).as_py()) >= 0:
            count += pc.sum(long).as_py()
            example = example or f"{acronym} of {rics[first]}, {tokens[first].as_py()}"
    if not count:
        return []
    many = "1 value has" if count == 1 else f"{count:,} values have"
    return [
        f"{many} more than {SAFE_DIGITS} significant digits ({example}): posted exactly, but some servers "
        "acknowledge such a number and keep another, so round it, or read it back"
    ]
