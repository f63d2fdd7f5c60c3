"""A second table below the first one: its header names the columns anew, and the rows under it are not the first's.

``RIC, Bid, Ask`` above and ``RIC, Ask, Bid`` below would post each price of the second table to the other field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.model import Cells

_BETWEEN_CELLS = re.compile(r'[|;,\t"]')
"""What may stand between the cells of a line that was not taken apart."""


def row_of_another_header(
    cells: Cells, ric: int, fields: Iterable[int], refused: Mapping[int, set[int]]
) -> int | None:
    """The row number of the first line below the header that names the columns otherwise; None: there is none.

    ``ric`` and ``fields`` are the columns that are read; ``refused`` has the indices of the rows whose cell of such a
    column cannot be read. Such a line has a name where another value should be: that of another column, or any
    where the RIC should be the RIC column's own name. The header once more, as on each page of a report, is none.
    """
    names = {column: _name(cells.header[column]) for column in (ric, *fields)}
    found = [line.row for line in cells.malformed if _is_header(line.text, names[ric])]
    for column, indices in refused.items():
        if column == ric:
            continue
        rows = pa.array(sorted(indices), pa.int64())
        texts, rics = _names(cells.columns[column].take(rows)), _names(cells.columns[ric].take(rows))
        others = pa.array([name for name in names.values() if name != names[column]], pa.string())
        is_name = pc.and_(pc.equal(rics, names[ric]), pc.not_equal(texts, names[column]))
        is_name = pc.or_(is_name, pc.is_in(texts, value_set=others))
        if (first := pc.index(is_name, True).as_py()) >= 0:
            found.append(cells.rows[rows[first].as_py()].as_py())
    return min(found, default=None)


def _is_header(line: str, ric: str) -> bool:
    """Whether a line that was not taken apart has the RIC column's name beside another."""
    words = {_name(piece) for piece in _BETWEEN_CELLS.split(line)} - {""}
    return ric in words and len(words) > 1


def _name(text: str) -> str:
    return text.strip(" \ufeff").lower()


def _names(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_lower(pc.ascii_trim(texts.cast(pa.string()).fill_null(""), characters=" "))
