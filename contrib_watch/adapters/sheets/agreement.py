"""Two readings of one file, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.model import CellKind, Cells, Feed, shown

AUTO_CELLS = {"csv": 1_000_000, "workbook": 100_000}
"""Up to so many cells (rows times columns) a second reading takes less than a second: the csv module needs 0.5 us a
cell, openpyxl 7 us."""

_MIDNIGHT = "T00:00:00"


@dataclass(frozen=True)
class Difference:
    """A row that two programs read differently: its first cell in which they do, and the two texts."""

    row: int
    where: str
    """``Sheet1!C7``, or ``row 7, BID``, or ``row 7``."""
    first: str
    second: str


def why_not_read_again(cells: Cells, feed: Feed) -> str:
    """Why the feed's ``second_reading`` asks for none of this sheet; empty: it asks for one."""
    if feed.second_reading == "never":
        return 'second_reading = "never"'
    limit = AUTO_CELLS["workbook" if cells.sheet else "csv"]
    if feed.second_reading == "auto" and len(cells.rows) * len(cells.columns) > limit:
        return f'more than {limit:,} cells, set second_reading = "always"'
    return ""


def compared_headers(cells: Cells, feed: Feed) -> tuple[str, ...]:
    """The headers of the RIC and of every contributed column."""
    ignored = set(feed.ignore_columns) - set(feed.columns)
    names = (header.strip(" \ufeff") for header in cells.header)
    return tuple(name for name in names if name and name not in ignored)


def compare(cells: Cells, again: Cells, headers: Sequence[str], rows: Sequence[int]) -> tuple[Difference, ...]:
    """The ``rows`` whose cells under ``headers`` differ between two readings, in order; one Difference a row.

    Both readings have the headers once at most. A row or a column that one of them lacks is a difference.
    """
    numbers = pa.array(rows, pa.int64())
    here, there = (pc.index_in(numbers, value_set=reading.rows) for reading in (cells, again))
    differences: dict[int, Difference] = {}
    absent = pc.or_(here.is_null(), there.is_null())
    if cells.sheet != again.sheet:
        absent = pa.array([True] * len(rows), pa.bool_())
    for index in pc.indices_nonzero(absent).to_pylist():
        name = f"{cells.sheet}!{rows[index]}" if cells.sheet else str(rows[index])
        where = f"sheet {again.sheet}" if cells.sheet != again.sheet else "no such row"
        differences[index] = Difference(rows[index], f"row {name}", "a row of values", where)
    names = [name.strip(" \ufeff") for name in cells.header]
    for header in headers:
        column = names.index(header)
        first = _Column.of(cells, column, here)
        second = _Column.of(again, again.header.index(header), there) if header in again.header else None
        differ = first.differs(second) if second is not None else pa.array([True] * len(rows), pa.bool_())
        for index in pc.indices_nonzero(differ).to_pylist():
            if index not in differences and not (second is not None and first.is_same_number(second, index)):
                where = cells.address(here[index].as_py(), column)
                texts = first.text(index), second.text(index) if second is not None else "no such column"
                differences[index] = Difference(rows[index], where, *texts)
    return tuple(differences[index] for index in sorted(differences))


@dataclass(frozen=True)
class _Column:
    """The cells of one column in the rows that are compared."""

    texts: pa.Array
    kinds: pa.Array | None

    @classmethod
    def of(cls, cells: Cells, column: int, indices: pa.Array) -> _Column:
        return cls(
            cells.columns[column].take(indices),
            None if cells.kinds is None else cells.kinds[column].take(indices),
        )

    def differs(self, other: _Column) -> pa.BooleanArray:
        """Where texts or kinds are not the same."""
        if self.kinds is None or other.kinds is None:
            return _unequal(self.texts, other.texts)
        mine, others = self._of_one_midnight(), other._of_one_midnight()
        return pc.or_(_unequal(mine.texts, others.texts), _unequal(mine.kinds, others.kinds))

    def is_same_number(self, other: _Column, index: int) -> bool:
        """Whether two texts are one number in two notations: very large and very small ones have several."""
        if self.kinds is None or other.kinds is None or self.kinds[index] != other.kinds[index]:
            return False
        if self.kinds[index].as_py() not in (CellKind.NUMBER, CellKind.PERCENT):
            return False
        return Decimal(self.texts[index].as_py()) == Decimal(other.texts[index].as_py())

    def _of_one_midnight(self) -> _Column:
        """openpyxl knows no date without a time of day, so that a date and its midnight are one and the same."""
        is_midnight = pc.and_(
            pc.equal(self.kinds, int(CellKind.DATETIME)), pc.ends_with(self.texts, _MIDNIGHT).fill_null(False)
        )
        if not pc.any(is_midnight).as_py():
            return self
        dates = pc.utf8_slice_codeunits(self.texts, 0, -len(_MIDNIGHT))
        date = pa.scalar(int(CellKind.DATE), pa.uint8())
        return _Column(pc.if_else(is_midnight, dates, self.texts), pc.if_else(is_midnight, date, self.kinds))

    def text(self, index: int) -> str:
        """The cell as a person is told of it."""
        text = self.texts[index].as_py()
        kind = CellKind.TEXT if self.kinds is None else CellKind(self.kinds[index].as_py())
        if kind is CellKind.BLANK or text is None:
            return "blank" if kind in (CellKind.BLANK, CellKind.TEXT) else kind.name.lower()
        return shown(text) if self.kinds is None else f"{shown(text)} ({kind.name.lower()})"


def _unequal(first: pa.Array, second: pa.Array) -> pa.BooleanArray:
    both_null = pc.and_(first.is_null(), second.is_null())
    return pc.and_not(pc.not_equal(first, second).fill_null(True), both_null)
