"""Which rows the ADS acknowledged as they are: most rows of most drops, so that is found out before anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import arrow_column, repeated
from contrib_watch.core.diff import row_texts
from contrib_watch.core.model import Cells, Feed, Quotes
from contrib_watch.core.posts import HUGE_ROWS, PIECE_ROWS
from contrib_watch.core.quotes import written_rics
from contrib_watch.pipeline.aside import side_by_side
from contrib_watch.store import Ledger, Whole

LEAST_ROW_BYTES = 16
"""A file of fewer for each RIC of its feed does not have most of them, not even as a workbook, which is packed."""


class Held(NamedTuple):
    """What the snapshot has of the rows of a file."""

    rows: pa.Int64Array
    """The file's own numbers of the rows."""
    texts: Iterable[pa.StringArray]
    """Of each of these rows, in pieces, what Ledger.held() tells."""


def look_ahead(ledger: Ledger, feed: Feed, size_bytes: int) -> Whole | None:
    """All that the feed owns, where a file of that size may have most of it; the file may be read meanwhile.

    To bring all in order takes half of what it takes to look each up. It holds good as what look_up() tells.
    """
    return ledger.whole(feed.service, feed.name, min(size_bytes // LEAST_ROW_BYTES, HUGE_ROWS))


def look_up(ledger: Ledger, feed: Feed, cells: Cells, whole: Whole | None = None) -> Held:
    """What the snapshot has of the rows of these cells, which may be typed meanwhile; ``whole``: see look_ahead().

    It holds good for as long as the feed posts nothing: what others post takes no RIC from it and changes no value of
    it, but may leave one in doubt, which is looked at when they are compared.
    """
    return Held(cells.rows, ledger.held(feed.service, feed.name, written_rics(cells, feed), whole).chunks)


def unchanged(ledger: Ledger, feed: Feed, quotes: Quotes, held: Held | None = None) -> pa.BooleanArray:
    """Which quotes the ADS acknowledged as they are; ``held`` is of the cells that they were read from.

    The texts of the quotes, longer than the file, are made a part at a time.
    """
    rics, rows = quotes.values.index, arrow_column(quotes.rows, pa.int64())
    held = held or _in_parts(ledger, feed, quotes, rows)
    with side_by_side(len(rics)) as each:
        same = pa.chunked_array(each(_equal, _parts(quotes, rows, held)), pa.bool_()).combine_chunks()
    doubtful = ledger.in_doubt(feed.service, rics)
    return pc.and_not(same, pa.array(rics.isin(doubtful))) if doubtful else same


class _Part(NamedTuple):
    """Some quotes, and what the snapshot has of the rows that they are among."""

    values: pd.DataFrame
    texts: pa.StringArray
    are_quotes: pa.BooleanArray
    """Not every row that was looked up became a quote."""


def _parts(quotes: Quotes, rows: pa.Int64Array, held: Held) -> Iterator[_Part]:
    accepted = pc.is_in(held.rows, value_set=rows)
    looked_at, start = 0, 0
    for texts in held.texts:
        mask = accepted.slice(looked_at, len(texts))
        part = quotes.values.iloc[start : start + mask.true_count]
        looked_at, start = looked_at + len(texts), start + len(part)
        yield _Part(part, texts, mask)


def _equal(part: _Part) -> pa.BooleanArray:
    held = part.texts if len(part.values) == len(part.texts) else part.texts.filter(part.are_quotes)
    if not pc.any(pc.not_equal(held, "")).as_py():  # new, all of them
        return repeated(False, len(held))
    return pc.equal(row_texts(part.values), held)


def _in_parts(ledger: Ledger, feed: Feed, quotes: Quotes, rows: pa.Int64Array) -> Held:
    """The same as :func:`look_up` for rows that are typed already, a part at a time when it is needed."""

    def texts() -> Iterator[pa.StringArray]:
        rics = arrow_column(quotes.values.index)
        for start in range(0, len(rics), PIECE_ROWS):
            yield from ledger.held(feed.service, feed.name, rics.slice(start, PIECE_ROWS)).chunks

    return Held(rows, texts())
