"""Guards: what is wrong with a drop as a whole, although each of its values can be read.

They look at what would be posted, against the last *acknowledged* values: a value that was attempted without an
answer is no base to measure from. Everything is compared in columns and as decimals; only what is told is a Python
object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import Columns, any_of, differs
from contrib_watch.core.diff import Changes
from contrib_watch.core.limits import Guards, Limit, plain
from contrib_watch.core.model import Quotes
from contrib_watch.core.tokens import unquoted
from contrib_watch.core.wording import plural

MOVES_SHOWN = 10
CELLS_SHOWN = 5
"""Cells that a breach names."""

_NUMBER = pa.decimal256(40, 14)
"""Holds every number that a field can have: 14 decimals at most, and 20 digits before them."""
_FACTOR = pa.decimal256(20, 6)
_HUNDRED = pa.scalar(Decimal(100), pa.decimal256(3, 0))


@dataclass(frozen=True, slots=True)
class Breach:
    """One guard that a drop does not pass."""

    rule: str
    """The guard's key, such as ``max_move``."""
    what: str
    """Value and limit in words: ``BID moved 9,900 % (limit 20 %)``; of the worst, where there are several."""
    count: int = 1
    """Cells, rows or RICs that are beyond the limit."""
    cells: tuple[str, ...] = ()
    """Where a person finds the first of them: ``Sheet1!C7 "2210"``; empty where it is about the whole file."""


class Move(NamedTuple):
    """One value that changes."""

    ric: str
    where: str
    """``Sheet1!C7``"""
    field: str
    old: str
    new: str
    move: str
    """In percent of the old value, ``9,900 %``; ``from 0`` where there is no percentage."""


@dataclass(frozen=True)
class Circumstances:
    """What the guards have to know beside the drop."""

    known_rics: int
    """RICs that the feed owns."""
    is_first: bool
    """No drop before this one brought any of them."""
    days: tuple[date, ...]
    """The dates that an as-of column may have: today, and the last business day."""


def check(guards: Guards, quotes: Quotes, changes: Changes, around: Circumstances) -> tuple[Breach, ...]:
    """Every breach, those of values before those of rows.

    ``changes`` are those of ``quotes``, without the rows that only the second reading refused; for
    ``max_missing_rows`` they must have been made with all RICs that the feed owns.
    """
    return (*_of_values(guards, quotes, changes), *_of_rows(guards, quotes, changes, around))


def largest_moves(quotes: Quotes, changes: Changes) -> tuple[Move, ...]:
    """The numbers that change most in percent, the largest first; at most MOVES_SHOWN."""
    known = changes.acknowledged()
    found: list[tuple[float, Move]] = []
    for name in changes.given:
        moves = _Moves.of(changes, known, name)
        rank = moves.rank()
        largest = rank.nlargest(MOVES_SHOWN).items()
        found += [(float(size), moves.told(quotes, index)) for index, size in largest]
    found.sort(key=lambda one: -one[0])
    return tuple(move for _, move in found[:MOVES_SHOWN])


# --- values


def _of_values(guards: Guards, quotes: Quotes, changes: Changes) -> Iterator[Breach]:
    if not (guards.max_move or guards.range or guards.bid_not_above_ask):
        return
    known = changes.acknowledged()
    for name, limit in guards.max_move.items():
        if name in changes.given:
            yield from _far_moves(quotes, changes, known, name, limit)
    if guards.bid_not_above_ask:
        yield from _crossed(quotes, changes, known)
    for name, (least, most) in guards.range.items():
        if name in changes.given:
            yield from _out_of_range(quotes, changes, known, name, least, most)


@dataclass(frozen=True)
class _Moves:
    """One field's numbers before and after, row by row."""

    changes: Changes
    name: str
    old: pa.Array
    new: pa.Array

    @classmethod
    def of(cls, changes: Changes, known: Columns, name: str) -> _Moves:
        return cls(changes, name, _numbers(known[name]), _numbers(changes.given[name]))

    def distance(self) -> pa.Array:
        return pc.abs(pc.subtract(self.new, self.old))

    def beyond(self, limit: Limit) -> pa.Array:
        """Which of them are farther than the limit; any move from 0 is farther than every percentage."""
        factor = pa.scalar(limit.value, _FACTOR)
        if not limit.percent:
            return pc.greater(self.distance(), factor)
        return pc.greater(pc.multiply(self.distance(), _HUNDRED), pc.multiply(pc.abs(self.old), factor))

    def rank(self) -> pd.Series[float]:
        """How large each move is, by position: good enough to find the largest, and for nothing else."""
        distance = pd.Series(pc.cast(self.distance(), pa.float64()).to_numpy(zero_copy_only=False))
        old = pd.Series(pc.cast(pc.abs(self.old), pa.float64()).to_numpy(zero_copy_only=False))
        return (distance[distance > 0] / old[distance > 0]).dropna()

    def told(self, quotes: Quotes, index: int, limit: Limit | None = None) -> Move:
        old, new = self.old[index].as_py(), self.new[index].as_py()
        ric = self.changes.rics[index]
        where = quotes.address(self.changes.facts["row"][index].as_py(), self.name)
        move = f"{_beyond(abs(new - old) * 100 / abs(old), limit)} %" if old else "from 0"
        return Move(ric, where, self.name, plain(old), plain(new), move)


def _far_moves(quotes: Quotes, changes: Changes, known: Columns, name: str, limit: Limit) -> Iterator[Breach]:
    moves = _Moves.of(changes, known, name)
    far = pc.indices_nonzero(moves.beyond(limit)).to_pylist()
    if not far:
        return
    if limit.percent:
        worst = int(moves.rank().loc[far].idxmax())
        told = moves.told(quotes, worst, limit)
        how_far = f"from 0 to {told.new}" if told.move == "from 0" else told.move
    else:
        distances = moves.distance()
        worst = max(far, key=lambda index: distances[index].as_py())
        how_far = plain(distances[worst].as_py())
    first = [worst, *(index for index in far if index != worst)]
    yield Breach(
        "max_move", f"{name} moved {how_far} (limit {limit})", len(far), _cells(quotes, changes, name, first)
    )


def _crossed(quotes: Quotes, changes: Changes, known: Columns) -> Iterator[Breach]:
    """Bids above their asks in what the ADS would hold: the new value, else the one that the post leaves there."""
    sides = [name for name in ("BID", "ASK") if name in changes.given]
    if not sides or not {"BID", "ASK"} <= changes.held.keys():
        return
    bid, ask = (_numbers(_afterwards(changes, name)) for name in ("BID", "ASK"))
    touched = any_of((differs(changes.given[name], known[name]) for name in sides), len(changes.rics))
    crossed = pc.indices_nonzero(pc.and_(touched, pc.greater(bid, ask).fill_null(fill_value=False))).to_pylist()
    if crossed:
        first = crossed[0]
        what = f"BID {plain(bid[first].as_py())} is above ASK {plain(ask[first].as_py())}"
        yield Breach("bid_not_above_ask", what, len(crossed), _cells(quotes, changes, sides[0], crossed))


def _afterwards(changes: Changes, name: str) -> pa.StringArray:
    held = changes.held[name]
    return pc.coalesce(changes.given[name], held) if name in changes.given else held


def _out_of_range(
    quotes: Quotes, changes: Changes, known: Columns, name: str, least: Decimal, most: Decimal
) -> Iterator[Breach]:
    changed = differs(changes.given[name], known[name])
    numbers = _numbers(changes.given[name])
    low, high = (pa.scalar(bound, _NUMBER) for bound in (least, most))
    outside = pc.or_(pc.less(numbers, low), pc.greater(numbers, high)).fill_null(fill_value=False)
    found = pc.indices_nonzero(pc.and_(changed, outside)).to_pylist()
    if found:
        what = f"{name} is {plain(numbers[found[0]].as_py())}, outside {plain(least)} to {plain(most)}"
        yield Breach("range", what, len(found), _cells(quotes, changes, name, found))


def _numbers(tokens: pa.StringArray) -> pa.Array:
    """Tokens as decimals; missing where a token is missing, null or no number."""
    return pc.cast(pc.if_else(pc.match_substring_regex(tokens, "^-?[0-9]"), tokens, None), _NUMBER)


def _cells(quotes: Quotes, changes: Changes, name: str, indices: Sequence[int]) -> tuple[str, ...]:
    """The first of these cells with what they give: ``Sheet1!C7 "2210"``."""
    told = []
    for index in indices[:CELLS_SHOWN]:
        token = changes.given[name][index].as_py()
        where = quotes.address(changes.facts["row"][index].as_py(), name)
        told.append(where if token is None else f'{where} "{unquoted(token)}"')
    return tuple(told)


# --- rows


def _of_rows(guards: Guards, quotes: Quotes, changes: Changes, around: Circumstances) -> Iterator[Breach]:
    facts, read = changes.facts, len(quotes.values)
    new = facts["new"].true_count
    if guards.max_changed_rows is not None:
        known = changes.acknowledged()
        changed = pc.and_(
            any_of((differs(column, known[name]) for name, column in changes.given.items()), len(changes.rics)),
            changes.acknowledged_before(),
        ).true_count
        yield from _too_many(
            "max_changed_rows", changed, read - new, guards.max_changed_rows, "known rows", "changed"
        )
    if guards.max_missing_rows is not None:
        missing = _too_many(
            "max_missing_rows",
            len(changes.missing),
            around.known_rics,
            guards.max_missing_rows,
            "known RICs",
            "missing",
        )
        for breach in missing:
            yield Breach(breach.rule, breach.what, breach.count, changes.missing[:CELLS_SHOWN])
    problems = sorted((*quotes.problems, *changes.problems), key=lambda problem: problem.row)
    rejected = len({problem.row for problem in problems})
    if guards.max_rejected_rows is not None:
        yield from _too_many(
            "max_rejected_rows", rejected, quotes.rows_read, guards.max_rejected_rows, "rows", "rejected"
        )
    if guards.max_blank is not None:
        blank = int(quotes.values.isna().to_numpy().sum())
        yield from _too_many("max_blank", blank, quotes.values.size, guards.max_blank, "cells", "blank")
    if guards.max_new_rics is not None and not around.is_first:
        for breach in _too_many("max_new_rics", new, read, guards.max_new_rics, "RICs", "new"):
            examples = changes.rics[facts["new"].to_numpy(zero_copy_only=False)][:CELLS_SHOWN]
            yield Breach(breach.rule, breach.what, breach.count, tuple(map(str, examples)))
    if quotes.rows_read < guards.min_rows:
        yield Breach("min_rows", f"the file has {plural(quotes.rows_read, 'row')} (at least {guards.min_rows:,})")
    if guards.as_of:
        yield from _stale(guards.as_of, quotes, around.days)
    if guards.all_or_nothing and rejected:
        yield Breach("all_or_nothing", f"{rejected:,} of {quotes.rows_read:,} rows rejected (limit 0)", rejected,
                     tuple(problem.where for problem in problems[:CELLS_SHOWN]))  # fmt: skip


def _too_many(rule: str, count: int, whole: int, limit: Limit, of: str, what: str) -> Iterator[Breach]:
    if not limit.exceeded(count, whole):
        return
    share = f", {_beyond(Decimal(count * 100) / whole, limit)} %" if limit.percent else ""
    yield Breach(rule, f"{count:,} of {whole:,} {of} {what}{share} (limit {limit})", count)


def _stale(column: str, quotes: Quotes, days: Sequence[date]) -> Iterator[Breach]:
    """Rows whose as-of date is missing, cannot be read, or is none of the days."""
    if quotes.as_of is None:
        yield Breach("as_of", f'there is no column "{column}" with the as-of date')
        return
    wanted = [day.isoformat() for day in dict.fromkeys(days)]
    stale = quotes.as_of[~quotes.as_of.isin(wanted)]
    if len(stale):
        dates = stale.dropna()
        given = f"is {dates.iloc[0]}" if len(dates) else "has no date"
        cells = tuple(f"row {quotes.label(int(quotes.rows[ric]))}" for ric in stale.index[:CELLS_SHOWN])
        yield Breach("as_of", f"{column} {given} (must be {' or '.join(wanted)})", len(stale), cells)


def _beyond(percentage: Decimal, limit: Limit | None) -> str:
    """A percentage in as few decimals as show it to be above its limit: 20.004 is never told as 20."""
    for places in (0, 1, 2, 4, 8):
        rounded = percentage.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
        exact_enough = limit is None or not limit.percent or rounded > limit.value
        if exact_enough and (places or rounded >= 10 or rounded == percentage):
            return plain(rounded)
    return plain(percentage)
