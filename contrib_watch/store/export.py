"""The record as Parquet files, for DuckDB, pandas and whatever else reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Boolean, Integer, Select, and_, select

from contrib_watch.errors import StateError
from contrib_watch.store import schema
from contrib_watch.store.bulk import plain_rows
from contrib_watch.store.state import State


def export(
    state: State,
    folder: Path,
    from_utc: str = "",
    to_utc: str = "~",
    progress: Callable[[int], object] = lambda _: None,
) -> dict[Path, int]:
    """Write ``drops``, ``outcomes``, ``repairs`` and ``record`` to ``folder``; returns each file with its rows.

    The columns are those of the tables; outcomes have their drop's feed, Service, file and columns, too. Of the drops
    that were seen from ``from_utc`` (included) to ``to_utc`` (excluded) and their outcomes; of repairs and records
    all. ``progress`` is told how many more rows are written. Raises StateError where one of the files is there
    already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = {}
        with state.transaction():  # all of one moment, also beside `run`
            for name, query in _queries(from_utc, to_utc).items():
                path = folder / f"{name}.parquet"
                if path.exists():
                    raise StateError("there is such a file already", where=str(path), hint="Name another folder")
                written[path] = _write(state, query, path, progress)
    except OSError as error:
        raise StateError(f"the export cannot be written: {error.strerror}", where=str(folder)) from error
    return written


def _queries(from_utc: str, to_utc: str) -> dict[str, Select[tuple[object, ...]]]:
    drops, outcomes, runs = schema.drops, schema.outcomes, schema.runs
    wanted = and_(drops.c.seen_at_utc >= from_utc, drops.c.seen_at_utc < to_utc)
    beside = (drops.c.feed, drops.c.path, runs.c.service, runs.c.sheet, runs.c.places)
    return {
        "drops": select(drops).where(wanted).order_by(drops.c.id),
        "outcomes": (
            select(*outcomes.c, *beside)
            .join(drops, drops.c.id == outcomes.c.drop_id)
            .outerjoin(runs, and_(runs.c.drop_id == outcomes.c.drop_id, runs.c.run == outcomes.c.run))
            .where(wanted)
            .order_by(outcomes.c.drop_id, outcomes.c.run, outcomes.c.row)
        ),
        "repairs": select(schema.repairs).order_by(schema.repairs.c.id),
        "record": select(schema.record).order_by(schema.record.c.number),
    }


def _write(state: State, query: Select[tuple[object, ...]], path: Path, progress: Callable[[int], object]) -> int:
    """Write the rows of a query under a temporary name, then rename; returns how many there are."""
    types = {column.name: _arrow_type(column.type) for column in query.selected_columns}
    layout = pa.schema(list(types.items()))
    temporary, count = path.with_name(f".{path.name}.part"), 0
    try:
        with pq.ParquetWriter(temporary, layout, compression="zstd") as writer, state.transaction() as connection:
            for rows in plain_rows(connection, query):
                columns = zip(zip(*rows, strict=True), types.values(), strict=True)
                arrays = [_array(values, kind) for values, kind in columns]
                writer.write_table(pa.table(arrays, schema=layout))
                count += len(rows)
                progress(len(rows))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):  # numbers in SQLite
        values = [bool(value) for value in values]
    return pa.array(values, kind)


def _arrow_type(kind: object) -> pa.DataType:
    if isinstance(kind, Boolean):
        return pa.bool_()
    return pa.int64() if isinstance(kind, Integer) else pa.string()  # BigInteger is an Integer
