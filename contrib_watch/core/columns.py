"""Columns of text and of marks: the few operations on Arrow arrays that the rules about whole sheets are made of.

``Columns`` are names with arrays of one length. A missing element is the absence of a value, never an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import reduce
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Columns = Mapping[str, pa.Array]

A = TypeVar("A")
B = TypeVar("B")


class Each(Protocol):
    """Calls a function with each item, as ``map`` does; the results are in the items' order."""

    def __call__(self, function: Callable[[A], B], items: Iterable[A], /) -> Iterable[B]: ...


_TEXT = pa.string()
_STR = pd.StringDtype(na_value=np.nan)
"""What pandas takes a ``str`` column for."""

_TAKEN_APART = 65_536
"""JSON objects at one time: what they are split into is as large as they are."""
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^",}]+)'
_NAME = re.compile(r'"([^"]+)"')
_MEMBER = re.compile(rf'"([^"]+)":{_VALUE}')


def arrow_column(column: pd.Series[Any] | pd.Index[Any], kind: pa.DataType = _TEXT) -> pa.Array:
    """A column of a pandas table as one Arrow array."""
    found = pa.array(column.array, kind)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def text_index(texts: pa.StringArray, name: str | None = None) -> pd.Index[str]:
    """A column of texts as an index, or as the names of a table's rows."""
    return pd.Index(_STR.__from_arrow__(texts), name=name)


def text_columns(table: pd.DataFrame) -> dict[str, pa.StringArray]:
    """All columns of a table of texts."""
    return {name: arrow_column(column) for name, column in table.items()}


def table_of(columns: Columns, index: pd.Index[str]) -> pd.DataFrame:
    """Columns as a table with Arrow's types, indexed by RIC; nothing is copied."""
    arrays = {name: pd.arrays.ArrowExtensionArray(column) for name, column in columns.items()}
    return pd.DataFrame(arrays, index=index, copy=False)


def filtered(columns: Columns, mask: pa.BooleanArray) -> dict[str, pa.Array]:
    """The rows that are marked; where all are, nothing is copied."""
    if mask.true_count == len(mask):
        return dict(columns)
    return {name: column.filter(mask) for name, column in columns.items()}


def filtered_index(index: pd.Index[str], mask: pa.BooleanArray) -> pd.Index[str]:
    """The same of an index."""
    return index if mask.true_count == len(mask) else index[mask.to_numpy(zero_copy_only=False)]


def repeated(value: str | bool, rows: int) -> pa.Array:
    """A column of one value."""
    return pa.repeat(pa.scalar(value), rows)


def any_of(marks: Iterable[pa.BooleanArray], rows: int) -> pa.BooleanArray:
    """Which rows are marked in any column."""
    return reduce(pc.or_, marks, repeated(False, rows))


def differs(given: pa.StringArray, held: pa.StringArray) -> pa.BooleanArray:
    """Where the file gives a value that the ADS does not hold; a blank never differs."""
    return pc.and_(pc.is_valid(given), pc.fill_null(pc.not_equal(given, held), True))


def only(texts: pa.StringArray, marks: pa.BooleanArray) -> pa.StringArray:
    """The texts that are marked, all others missing; where all are, or none is, nothing is copied."""
    marked = marks.true_count
    if marked == len(marks):
        return texts
    return pc.if_else(marks, texts, None) if marked else pa.nulls(len(texts), _TEXT)


def joined(*parts: str | pa.Array) -> pa.StringArray:
    """Texts put together row by row; missing where any of them is."""
    return pc.binary_join_element_wise(*parts, "")


def enumeration(members: Columns, separator: str, rows: int, around: tuple[str, str] = ("", "")) -> pa.StringArray:
    """The texts of each row, each behind its name, with a separator between them; what is missing is left out.

    Arrow's own way of skipping what is missing drops the rows in which everything is.
    """
    before, after = around
    if not members:
        return repeated(before + after, rows)
    if any(texts.null_count for texts in members.values()):
        ended = [pc.coalesce(joined(name, texts, separator), "") for name, texts in members.items()]
        return joined(before, pc.utf8_slice_codeunits(joined(*ended), 0, -len(separator)), after)
    parts = [part for name, texts in members.items() for part in (f"{separator}{name}", texts)]
    return joined(before + next(iter(members)), *parts[1:], after)


def marked_names(marks: Columns, rows: int) -> pa.StringArray:
    """The names of the columns that are marked in each row, with a comma between them."""
    if not marks:
        return repeated("", rows)
    return pc.utf8_slice_codeunits(joined(*(pc.if_else(one, f"{name},", "") for name, one in marks.items())), 0, -1)


def object_column(tokens: Columns, rows: int) -> pa.StringArray:
    """Each row's tokens as one JSON object, in the order of the columns; blanks are left out."""
    return enumeration({f'"{name}":': column for name, column in tokens.items()}, ",", rows, around=("{", "}"))


def token_columns(objects: pa.StringArray, first: Collection[str]) -> dict[str, pa.StringArray]:
    """JSON objects of tokens as a column a field, those of ``first`` before all others.

    ``objects`` may have missing and empty elements: rows without any value. Each token stays as it is written.
    """
    starts = range(0, len(objects), _TAKEN_APART) or range(1)
    parts = [_taken_apart(objects.slice(start, _TAKEN_APART)) for start in starts]
    names = dict.fromkeys(chain(first, *parts))
    if len(parts) == 1:
        nothing = pa.nulls(len(objects), _TEXT)
        return {name: parts[0].get(name, nothing) for name in names}
    absent = pa.nulls(_TAKEN_APART, _TEXT)
    sizes = [min(len(objects) - start, _TAKEN_APART) for start in starts]
    return {
        name: pa.concat_arrays([part.pop(name, absent[:rows]) for part, rows in zip(parts, sizes, strict=True)])
        for name in names
    }


def _taken_apart(objects: pa.StringArray) -> dict[str, pa.StringArray]:
    found = _alike(objects)
    return dict(_extracted(objects)) if found is None else found


def _alike(objects: pa.StringArray) -> dict[str, pa.StringArray] | None:
    """The columns of objects that all have the first one's names in its order, and no comma within a text.

    None where they have not. A quote within a text is escaped, so that what begins with a bare name behind a comma
    is a member of the object. That makes the usual case several times faster than looking for each name.
    """
    if objects.null_count == len(objects) or not pc.any(pc.not_equal(objects, "")).as_py():
        return {}
    names = _MEMBER.findall(objects[0].as_py() or "")
    if not names or objects.null_count:
        return None
    members = pc.split_pattern(objects, ",")
    if not pc.all(pc.equal(pc.list_value_length(members), len(names))).as_py():
        return None
    columns = {}
    for number, name in enumerate(names):
        column, head = pc.list_element(members, number), f'"{name}":' if number else f'{{"{name}":'
        if not pc.all(pc.starts_with(column, head)).as_py():
            return None
        columns[name] = pc.utf8_slice_codeunits(column, len(head), None if number < len(names) - 1 else -1)
    return columns


def _extracted(objects: pa.StringArray) -> Iterator[tuple[str, pa.StringArray]]:
    """The columns of objects of any names."""
    layouts = pc.unique(pc.replace_substring_regex(objects, f":{_VALUE}", ""))  # {"BID","ASK"}
    names = dict.fromkeys(name for layout in layouts.drop_null().to_pylist() for name in _NAME.findall(layout))
    # A quote within a text is escaped, so that a name between two bare ones and before a colon is no part of a text.
    for name in names:
        yield name, pc.struct_field(pc.extract_regex(objects, f'"{re.escape(name)}":(?P<token>{_VALUE})'), "token")
