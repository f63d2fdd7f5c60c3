"""The rows of a report: what became of each row of a file, once, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import arrow_column, joined, repeated
from contrib_watch.core.model import Problem, Quotes, Status
from contrib_watch.errors import ContribWatchError

COLUMNS = (
    "row", "ric", "action", "status", "post_id", "changes",
    "nak_code", "text", "sent_at_utc", "acked_at_utc", "attempts",
)  # fmt: skip
"""The columns of a report's rows and of its CSV, in this order."""

PROBLEM_STATUSES = (Status.REJECTED, Status.NAKKED, Status.UNCONFIRMED, Status.HELD)
"""The statuses of rows that are not known to be in the market, and that a person should look at."""

_TYPES = {**dict.fromkeys(COLUMNS, pa.string()), **dict.fromkeys(("row", "post_id", "attempts"), pa.int64())}
_PROBLEM_WORDS = pa.array([status.value for status in PROBLEM_STATUSES])


def numbered_rows(quotes: Quotes, outcomes: pa.Table, problems: Sequence[Problem]) -> pa.Table:
    """Every row of the file with COLUMNS, once, in the report's order; ``row`` is still the file's number.

    Raises ContribWatchError where the rows do not add up to what was read: a fault of the program.
    """
    recorded = recorded_rows(outcomes)
    _check_recorded(recorded, quotes, problems)
    first = pa.table({"row": pa.array(quotes.rows.to_numpy()), "ric": arrow_column(quotes.values.index)})
    unchanged = unchanged_rows(_unrecorded(first, recorded))
    rows = pa.concat_tables([recorded, unchanged, *_twin_rows(quotes, first, recorded)])
    if len(rows) != quotes.rows_read:
        raise _fault(f"the file has {quotes.rows_read:,} rows, but {len(rows):,} are accounted for")
    return in_order(_explained(rows, problems))


def recorded_rows(outcomes: pa.Table) -> pa.Table:
    """COLUMNS of outcomes; absent text becomes empty."""
    found = outcomes.select(COLUMNS)
    texts = (name for name, kind in _TYPES.items() if kind == pa.string() and found[name].null_count)
    return with_columns(found, **{name: pc.fill_null(found[name], "") for name in texts})


def unchanged_rows(rows: pa.Table) -> pa.Table:
    """Rows of a file (``row``, ``ric``) with COLUMNS, as unchanged ones."""
    empty, nothing = repeated("", len(rows)), pa.nulls(len(rows), pa.int64())
    columns = {name: empty if kind == pa.string() else nothing for name, kind in _TYPES.items()}
    columns["status"] = repeated(Status.UNCHANGED.value, len(rows))
    columns["attempts"] = pc.fill_null(nothing, 0)
    return pa.table({**columns, "row": rows["row"], "ric": rows["ric"]})


def in_order(rows: pa.Table) -> pa.Table:
    """Problems first, then by ``row``; rows that are in order already are not copied."""
    order = np.argsort(rows["row"].to_numpy(), kind="stable")  # which is quick where they are in order part by part
    first = are_problems(rows).to_numpy()[order]
    order = np.concatenate([order[first], order[~first]])
    return rows if np.array_equal(order, np.arange(len(rows))) else rows.combine_chunks().take(order)


def are_problems(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows have one of PROBLEM_STATUSES."""
    return pc.is_in(rows["status"], value_set=_PROBLEM_WORDS)


def _check_recorded(recorded: pa.Table, quotes: Quotes, problems: Sequence[Problem]) -> None:
    unknown = set(recorded["status"].unique().to_pylist()) - set(Status)
    if unknown:
        raise _fault(f"an outcome has the status {min(unknown)!r}, which does not exist")
    numbers, times = np.unique(recorded["row"].to_numpy(), return_counts=True)
    if len(numbers) != len(recorded):
        raise _fault(f"row {numbers[times > 1][0]} has two outcomes")
    foreign = set(numbers[~np.isin(numbers, quotes.rows.to_numpy())].tolist())
    others = (problem.row for problem in chain(quotes.problems, problems))
    foreign -= {*chain.from_iterable(quotes.twins.values()), *others}
    if foreign:
        raise _fault(f"row {min(foreign)} has an outcome, but the file has no such row")


def _unrecorded(known: pa.Table, recorded: pa.Table) -> pa.Table:
    """The rows of ``known`` without an outcome."""
    return known.filter(pc.invert(pc.is_in(known["row"], value_set=recorded["row"])))


def _twin_rows(quotes: Quotes, first: pa.Table, recorded: pa.Table) -> Iterator[pa.Table]:
    """The equal copies without an outcome: they share the post of their RIC's first row, so also its fate."""
    if not quotes.twins:
        return
    pairs = [(row, ric) for ric, rows in quotes.twins.items() for row in rows]
    twins = _unrecorded(pa.table([*zip(*pairs, strict=True)], first.schema), recorded)
    posted = recorded.filter(pc.is_in(recorded["row"], value_set=first["row"])).combine_chunks()
    at = pc.index_in(twins["ric"], value_set=posted["ric"])
    shared = posted.take(pc.drop_null(at))
    yield shared.set_column(0, "row", twins["row"].filter(pc.is_valid(at)))
    yield unchanged_rows(twins.filter(pc.is_null(at)))


def _explained(rows: pa.Table, problems: Sequence[Problem]) -> pa.Table:
    """The rows with their texts; a rejected row that was recorded without one gets its problems'."""
    bare = pc.and_(pc.equal(rows["status"], Status.REJECTED.value), pc.equal(rows["text"], ""))
    if not pc.any(bare).as_py():
        return rows
    reasons: dict[int, str] = {}
    for problem in problems:
        reasons[problem.row] = f"{reasons[problem.row]}; {problem}" if problem.row in reasons else str(problem)
    numbers = pc.if_else(bare, rows["row"], None).to_pylist()
    told = pa.array([None if row is None else reasons.get(row) for row in numbers], pa.string())
    return with_columns(rows, text=pc.coalesce(told, rows["text"]))


def with_columns(rows: pa.Table, **columns: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The same rows with other columns in the place of their own."""
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def labelled(numbered: pa.Table, sheet: str) -> pa.Table:
    """The rows with labels (``7``, ``Sheet1!7``) for their numbers."""
    label = pc.cast(numbered["row"], pa.string())
    return with_columns(numbered, row=joined(f"{sheet}!", label) if sheet else label)


def totals_of(rows: pa.Table) -> dict[Status, int]:
    """How many rows have each status, with every status."""
    found = {pair["values"]: pair["counts"] for pair in rows["status"].value_counts().to_pylist()}
    return {status: found.get(status.value, 0) for status in Status}


def _fault(what: str) -> ContribWatchError:
    return ContribWatchError(
        f"the report does not add up: {what}", hint="This is a fault of the program: please report it"
    )
