"""A second table below the first one: its header names the columns anew, and the rows under it are not the first's.

``RIC, Bid, Ask`` above and ``RIC, Ask, Bid`` below would post each price of the second table to the other field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import Dictionary, FieldDef
from contrib_watch.core.headers import guesses, names_a_column
from contrib_watch.core.model import Cells
from contrib_watch.core.readers import matches

_BETWEEN_CELLS = re.compile(r'[|;,\t"]')
"""What may stand between the cells of a line that was not taken apart."""

_LONGEST_NAME = 60
"""Bytes of what may be a column's name in plain words."""
_LOOKED_AT = 1_000
"""So many different texts of a column, and so many rows with one of them, are looked at for such names."""


def row_of_another_header(
    cells: Cells, ric: int, fields: Mapping[int, FieldDef], refused: Mapping[int, set[int]], dictionary: Dictionary
) -> int | None:
    """The row number of the first line below the header that names the columns otherwise; None: there is none.

    ``ric`` and ``fields`` are the columns that are read; ``refused`` has the indices of the rows whose cell of such a
    column cannot be read. Such a line has a name where another value should be: that of another column, or any
    where the RIC should be the RIC column's own name; or, below a row that is read, it has words of price sheets that
    name something else (``Instrument, Offer, Bid px``). The header once more, as on each page of a report, is none.
    """
    names = {column: _name(cells.header[column]) for column in (ric, *fields)}
    found = [*_in_other_words(cells, fields, refused, dictionary)]
    found += [line.row for line in cells.malformed if _is_header(line.text, names[ric])]
    for column, indices in refused.items():
        if column not in fields:
            continue
        rows = pa.array(sorted(indices), pa.int64())
        texts, rics = _names(cells.columns[column].take(rows)), _names(cells.columns[ric].take(rows))
        others = pa.array([name for name in names.values() if name != names[column]], pa.string())
        is_name = pc.and_(pc.equal(rics, names[ric]), pc.not_equal(texts, names[column]))
        is_name = pc.or_(is_name, pc.is_in(texts, value_set=others))
        if (first := pc.index(is_name, True).as_py()) >= 0:
            found.append(cells.rows[rows[first].as_py()].as_py())
    return min(found, default=None)


def _in_other_words(
    cells: Cells, fields: Mapping[int, FieldDef], refused: Mapping[int, set[int]], dictionary: Dictionary
) -> Iterator[int]:
    """The row numbers of lines below a row that is read, and so no part of the header, that name other columns."""
    not_read = set[int]().union(*refused.values())
    top = next((index for index in range(len(cells.rows)) if index not in not_read), None)
    if top is None:
        return
    first_row = cells.rows[top].as_py()
    header = [_name(name) for name in cells.header]
    for line in cells.malformed:
        texts = [_name(text) for text in _BETWEEN_CELLS.split(line.text)]
        if line.row > first_row and _are_names(texts) and not _stand_alike(texts, header):
            yield line.row
    candidates: set[int] = set()
    for column, definition in fields.items():
        rows = pa.array(sorted(index for index in refused.get(column, ()) if index > top), pa.int64())
        texts = pc.ascii_trim(cells.columns[column].take(rows).cast(pa.string()).fill_null(""), characters=" ")
        is_short = pc.less_equal(pc.binary_length(texts), _LONGEST_NAME)
        words = pc.unique(texts.filter(pc.and_(is_short, matches(texts, "[A-Za-z]"))))[:_LOOKED_AT].to_pylist()
        others = [
            text
            for text in words
            if _name(text) != _name(cells.header[column])
            and names_a_column(text)
            and definition.acronym not in (guess.acronym for guess in guesses(text, dictionary))
        ]
        candidates.update(rows.filter(pc.is_in(texts, value_set=pa.array(others, pa.string()))).to_pylist())
    for index in sorted(candidates)[:_LOOKED_AT]:
        if _are_names([column[index].as_py() or "" for column in cells.columns]):
            yield cells.rows[index].as_py()


def _are_names(texts: list[str]) -> bool:
    """Whether there is no number among the texts of a line, but two names of columns."""
    written = {_name(text) for text in texts} - {""}
    return all(any(map(str.isalpha, text)) for text in written) and sum(map(names_a_column, written)) > 1


def _stand_alike(texts: list[str], header: list[str]) -> bool:
    """Whether each name of a column in a line stands where the header has it, as in ``Corporates, Bid, Ask``."""
    pairs = zip_longest(texts, header, fillvalue="")
    return all(text == name for text, name in pairs if names_a_column(text))


def _is_header(line: str, ric: str) -> bool:
    """Whether a line that was not taken apart has the RIC column's name beside another."""
    words = {_name(piece) for piece in _BETWEEN_CELLS.split(line)} - {""}
    return ric in words and len(words) > 1


def _name(text: str) -> str:
    return text.strip(" \ufeff").lower()


def _names(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_lower(pc.ascii_trim(texts.cast(pa.string()).fill_null(""), characters=" "))
