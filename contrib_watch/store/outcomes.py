"""The outcomes of a drop's run in columns: as they are recorded, or read back."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from contrib_watch.core.chain import SUBTREE_LEAVES, hashed, root_over
from contrib_watch.core.model import Drop, Outcome, Outcomes
from contrib_watch.core.posts import HUGE_ROWS
from contrib_watch.store.bulk import Columns, plain_rows
from contrib_watch.store.record import ROW_COLUMNS, Leaves, leaf, of_run

OUTCOME_COLUMNS = Outcome._fields
KEPT_COLUMNS = OUTCOME_COLUMNS[: OUTCOME_COLUMNS.index("full")]
"""What a report shows, and so what is kept of a run that goes on: not the values, which its changes tell as well."""
_NUMBERS = ("row", "post_id", "attempts")
"""What is not text."""
_PIECE_ROWS = 4096
"""So many rows or more are put away at one time."""


class Recorded:
    """All that was recorded of a run so far, so that it need not be read back.

    It takes 40 bytes a row for its place in the hash tree; the columns of a report beside, of a run that is not huge.
    """

    def __init__(self, undone: int) -> None:
        """``undone``: State.undone. When that has become another number, this has rows that were not recorded."""
        self.undone = undone
        self._rows = array("q")
        self._hashes = bytearray()
        self._pieces: list[pa.RecordBatch] = []
        self._latest = _nothing()

    def add(self, outcomes: Outcomes) -> None:
        """Outcomes that were recorded, in any order."""
        self._rows.extend(outcomes["row"])
        rows = zip(*(outcomes[name] for name in ROW_COLUMNS), strict=True)
        self._hashes += b"".join(hashed(map(leaf, rows)))
        if len(self._rows) > HUGE_ROWS:  # 300 bytes each, while the posts of the drop are still to be sent
            self._pieces, self._latest = [], _nothing()
            return
        for name, values in self._latest.items():
            values.extend(outcomes[name])
        if len(self._latest["row"]) >= _PIECE_ROWS:
            self._put_away()

    def has(self, columns: Collection[str]) -> bool:
        """Whether it has these columns of its rows."""
        return len(self._rows) <= HUGE_ROWS and set(columns) <= set(KEPT_COLUMNS)

    def leaves(self) -> Leaves:
        """The same as record.leaves_of finds in the table."""
        order = np.argsort(np.frombuffer(self._rows, np.int64))
        hashes = np.frombuffer(self._hashes, "V32")[order]  # a SHA-256 each
        starts = range(0, len(hashes), SUBTREE_LEAVES)
        pieces = (hashes[start : start + SUBTREE_LEAVES].tolist() for start in starts)
        return Leaves(len(hashes), root_over(chain.from_iterable(pieces)), ROW_COLUMNS)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """The same as :func:`read_outcomes` finds in the table, of columns that it has."""
        self._put_away()
        found = pa.Table.from_batches(self._pieces, _shape(KEPT_COLUMNS)).select(columns)
        rows = np.frombuffer(self._rows, np.int64)
        return found if (rows[1:] > rows[:-1]).all() else found.take(np.argsort(rows))

    def _put_away(self) -> None:
        """Python objects need ten times the memory of columns."""
        if self._latest["row"]:
            self._pieces.append(_batch(self._latest))
            self._latest = _nothing()


def read_outcomes(connection: Connection, drop: Drop, columns: Sequence[str]) -> pa.Table:
    """The recorded rows of the drop's present run, by row: these fields of Outcome."""
    names = tuple(columns)
    pieces = plain_rows(connection, of_run(names), **run_of(drop))
    # They stay in pieces: to put them together is to have them twice.
    batches = [_batch(dict(zip(names, zip(*rows, strict=True), strict=True))) for rows in pieces]
    return pa.Table.from_batches(batches, _shape(names))


def run_of(drop: Drop) -> dict[str, int]:
    """The parameters of statements of a run."""
    return {"of_drop": drop.id, "of_run": drop.run}


def _nothing() -> dict[str, list[Any]]:
    return {name: [] for name in KEPT_COLUMNS}


def _batch(columns: Columns) -> pa.RecordBatch:
    shape = _shape(tuple(columns))
    arrays = [pa.array(values, kind) for kind, values in zip(shape.types, columns.values(), strict=True)]
    return pa.record_batch(arrays, schema=shape)


@cache
def _shape(names: tuple[str, ...]) -> pa.Schema:
    return pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in names])
