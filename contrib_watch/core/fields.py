"""Columns of text, typed by the field dictionary: what can be read with certainty, and what cannot.

A value is either read exactly as it was written or refused with its cause; there is no third way. The ordinary
case stays in Arrow from end to end; only refused cells are looked at again, one by one, to say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import Dictionary, FieldDef, Kind
from contrib_watch.core.model import CLEARED, CellKind, Feed
from contrib_watch.core.numerals import NumberReader, PercentReader
from contrib_watch.core.readers import ISO_DATE, Complaint, DateReader, EnumReader, Reader, TextReader, TimeReader

__all__ = ["Dictionary", "FieldDef", "Kind", "Typed", "read_column", "type_column"]

MAX_CELL_BYTES = 1_000
"""A longer cell holds no field's value: it is refused before anything looks at its text."""

STRUCK_OUT = Complaint(
    "is struck out, or a part of it or its column's name is",
    "remove what does not hold any more, or take the strikethrough off",
)
ANNOTATED = Complaint(
    "has a part that is raised or lowered, such as a footnote's sign",
    "write the value alone, and footnotes in a column that is not contributed",
)
"""What people do to a cell's looks that makes another value of it, whatever the field."""

_NO_TOKEN = pa.scalar(None, pa.string())


@dataclass(frozen=True)
class Typed:
    """A column of tokens, and what could not be read."""

    tokens: pa.StringArray
    """A token for each cell; null where the cell is blank or refused."""
    problems: list[tuple[int, str, str]]
    """Of each refused cell, in order: its index, the cause and the mend (as in ``model.Problem``)."""


def type_column(definition: FieldDef, text: pa.Array, kinds: pa.Array | None, feed: Feed) -> Typed:
    """Type one column of ``model.Cells`` as the field that ``definition`` describes.

    ``text`` is a string array with an element a cell; ``kinds`` a uint8 array of CellKind beside it, or None where
    every cell is text (CSV). Blank are null, ASCII spaces alone, and ``feed.blank``; ``feed.clear_token`` gives the
    token ``null`` in a field of any kind. A cell above MAX_CELL_BYTES is refused, whatever it holds. Numbers, dates
    and times may have ASCII spaces around them; texts and enumerated values are taken exactly. Raises ValueError for
    a field of kind UNSUPPORTED, and ConfigurationError for a ``feed.date_format`` that does not give a whole date.
    """
    tokens, parts = _read(definition, text, kinds, feed)
    return Typed(tokens, sorted(problem for part in parts for problem in part.problems()))


def read_column(
    definition: FieldDef, text: pa.Array, kinds: pa.Array | None, feed: Feed
) -> tuple[pa.StringArray, pa.BooleanArray]:
    """The tokens of ``type_column``, and which cells are refused, without saying why: that takes time for each."""
    tokens, parts = _read(definition, text, kinds, feed)
    refused = pa.repeat(pa.scalar(False), len(text))
    for part in parts:
        refused = pc.or_(refused, pc.and_(part.mask, pc.is_null(tokens)))
    return tokens, refused


def _read(
    definition: FieldDef, text: pa.Array, kinds: pa.Array | None, feed: Feed
) -> tuple[pa.StringArray, list[_Part]]:
    readers = _readers(definition, feed)
    text = text.cast(pa.string())
    is_long = pc.fill_null(pc.greater(pc.binary_length(text), MAX_CELL_BYTES), False)
    is_blank, is_clear = _blank_and_clear(text, kinds, feed)
    tokens = pc.if_else(pc.and_not(is_clear, is_long), CLEARED, _NO_TOKEN)
    settled = pc.or_(is_long, pc.or_(is_blank, is_clear))
    wanted: list[tuple[Reader, pa.BooleanArray]] = [(_TooLong(), is_long)] if pc.any(is_long).as_py() else []
    wanted += [
        (readers.get(kind) or _WrongKind(definition.kind, kind), mask)
        for kind, mask in _by_kind(pc.invert(settled), kinds)
    ]
    parts = []
    for reader, mask in wanted:
        written = (text if mask.true_count == len(text) else text.filter(mask)).fill_null("")
        read = reader.read(written)
        tokens = read if len(read) == len(text) else pc.replace_with_mask(tokens, mask, read)
        parts.append(_Part(reader, mask, written, read))
    return tokens, parts


@dataclass(frozen=True)
class _Part:
    """The cells of one kind, and how they were read."""

    reader: Reader
    mask: pa.BooleanArray
    """Which cells of the column they are."""
    written: pa.StringArray
    read: pa.StringArray
    """Their tokens; null where refused."""

    def problems(self) -> list[tuple[int, str, str]]:
        if not self.read.null_count:
            return []
        refused = pc.is_null(self.read)
        indices = pc.indices_nonzero(self.mask).filter(refused).to_pylist()
        explain = cache(self.reader.explain)  # the same wrong text often fills a column
        texts = self.written.filter(refused).to_pylist()
        return [(index, *explain(text)) for index, text in zip(indices, texts, strict=True)]


def _readers(definition: FieldDef, feed: Feed) -> Mapping[CellKind, Reader]:
    """Which kinds of cells can give the field a value, and how each is read."""
    match definition.kind:
        case Kind.REAL | Kind.UINT | Kind.INT:
            return _number_readers(definition, feed)
        case Kind.ENUM:
            return {
                CellKind.TEXT: EnumReader(definition),
                CellKind.NUMBER: EnumReader(definition, numbers_only=True),
            }
        case Kind.TEXT:
            return {CellKind.TEXT: TextReader(definition)}
        case Kind.DATE:
            return {CellKind.TEXT: DateReader(feed.date_format), CellKind.DATE: DateReader(ISO_DATE)}
        case Kind.TIME:
            return {CellKind.TEXT: TimeReader(definition), CellKind.TIME: TimeReader(definition)}
        case Kind.UNSUPPORTED:
            raise ValueError(f"{definition.acronym} is a {definition.rwf_type}, which no cell can give")


def _number_readers(definition: FieldDef, feed: Feed) -> Mapping[CellKind, Reader]:
    """A percentage is a number only where the feed declares which: a percent cell of 4.5 % stores 0.045."""
    plain = NumberReader.of(definition, decimal=feed.decimal, thousands=feed.thousands)
    stored = NumberReader.of(definition)
    if not feed.percent:
        return {CellKind.TEXT: plain, CellKind.NUMBER: stored}
    in_points = feed.percent == "points"
    written = replace(plain, shift=0 if in_points else -2)
    return {
        CellKind.TEXT: PercentReader(plain, written),
        CellKind.NUMBER: stored,
        CellKind.PERCENT: replace(stored, shift=2 if in_points else 0),
    }


_MAY_BE_BLANK = pa.array([CellKind.BLANK, CellKind.TEXT, CellKind.NUMBER], pa.uint8())
"""An error, a boolean or a lost result is never a blank, whatever its text is."""


def _blank_and_clear(text: pa.StringArray, kinds: pa.Array | None, feed: Feed) -> tuple[pa.Array, pa.Array]:
    """Which cells are blank, and which ask for the field to be cleared; never both."""
    trimmed = pc.ascii_trim(text, characters=" ")
    is_blank = pc.is_in(trimmed, value_set=pa.array(["", *feed.blank, None], pa.string()))
    is_clear = pc.and_not(pc.fill_null(pc.equal(trimmed, feed.clear_token), False), is_blank)
    if kinds is None:
        return is_blank, is_clear
    eligible = pc.is_in(kinds, value_set=_MAY_BE_BLANK)
    return pc.and_(is_blank, eligible), pc.and_(is_clear, eligible)


def _by_kind(pending: pa.BooleanArray, kinds: pa.Array | None) -> Iterator[tuple[CellKind, pa.BooleanArray]]:
    """The cells that are still to be read, split by what the workbook says they are."""
    if kinds is None:
        if pc.any(pending).as_py():
            yield CellKind.TEXT, pending
        return
    for value in pc.unique(kinds.filter(pending)).to_pylist():
        yield CellKind(value), pc.and_(pending, pc.equal(kinds, value))


class _TooLong:
    """Refuses cells above MAX_CELL_BYTES."""

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        return pa.nulls(len(texts), pa.string())

    def explain(self, text: str) -> Complaint:  # noqa: ARG002 - whatever it holds
        return Complaint(
            f"is longer than the {MAX_CELL_BYTES:,} bytes of a cell", "check that the text is of this column"
        )


class _WrongKind:
    """Refuses cells of a kind that cannot give the field a value."""

    def __init__(self, field: Kind, cell: CellKind) -> None:
        self._field = field
        self._cell = cell

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        return pa.nulls(len(texts), pa.string())

    def explain(self, text: str) -> Complaint:
        match self._cell:
            case CellKind.ERROR:
                return Complaint(f"is the error {text}", "correct the cell's formula, or empty the cell")
            case CellKind.NO_VALUE:
                return Complaint(
                    "is a formula without a stored result", "open the file in Excel, recalculate and save it"
                )
            case CellKind.BOOLEAN:
                return Complaint("is TRUE or FALSE, which no field takes", "write the value itself into the cell")
            case CellKind.STRUCK:
                return STRUCK_OUT
            case CellKind.RAISED:
                return ANNOTATED
            case CellKind.DISGUISED:
                wanted = "Text" if self._field in (Kind.TEXT, Kind.ENUM) else "Number"
                return Complaint(
                    "is not what a person sees, because of its format",
                    f"format the cell as {wanted} and check its value",
                )
        if self._field is Kind.TEXT:
            return Complaint("is not a text cell", "format the cell as Text and type it again")
        found = _CELL_NAMES.get(self._cell, f"a {self._cell.name.lower()} cell")
        wanted, mend = _WANTED[self._field]
        if self._cell is CellKind.PERCENT and self._field in (Kind.REAL, Kind.UINT, Kind.INT):
            mend = _PERCENT_MEND
        return Complaint(f"is {found}, and the field takes {wanted}", mend)


_CELL_NAMES = {
    CellKind.BLANK: "of no known kind",
    CellKind.NUMBER: "a number",
    CellKind.DATE: "a date",
    CellKind.TIME: "a time of day",
    CellKind.DATETIME: "a date with a time of day",
    CellKind.PERCENT: "a percentage",
}

_PERCENT_MEND = 'set percent = "points" (4.5 % is 4.5) or "fraction" (4.5 % is 0.045), or format the cell as Number'
_NUMBER_MEND = "format the cell as Number and check its value"
_WANTED = {
    Kind.REAL: ("a number", _NUMBER_MEND),
    Kind.UINT: ("a whole number", _NUMBER_MEND),
    Kind.INT: ("a whole number", _NUMBER_MEND),
    Kind.ENUM: ("a value's name or number", "format the cell as Text and write the value's display string"),
    Kind.DATE: ("a date alone", "format the cell as Date and enter a date without a time of day"),
    Kind.TIME: ("a time of day alone", "format the cell as Time and enter a time without a date"),
}
"""What each kind of field takes from a workbook, and how to give it."""
