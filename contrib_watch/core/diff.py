"""Quotes against the snapshot: what has changed, what is new, and what must be sent again.

The two are joined by RIC, once; all else is done to whole columns (core.columns). Equal values are equal
tokens (see core.model). Rows that are the very text of what the snapshot holds (:func:`row_texts`) may be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import (
    Columns,
    any_of,
    arrow_column,
    differs,
    filtered,
    filtered_index,
    joined,
    marked_names,
    object_column,
    only,
    text_columns,
    token_columns,
)
from contrib_watch.core.model import CLEARED, Problem, Quotes
from contrib_watch.core.readers import matches, shell_pattern

_TEXTS = ("ric", "feed", "fields", "carried", "acked_on", "attempted", "attempted_by")
SNAPSHOT = pa.schema([*((name, pa.string()) for name in _TEXTS), ("attempts", pa.int64())])
"""The columns of a snapshot, which has each RIC once.

``feed`` owns the RIC. ``fields`` is the acknowledged JSON object; missing: never acknowledged. ``attempted`` is the
JSON object that was posted without an answer, by the drop of the number ``attempted_by``; missing: the RIC is clean.
``acked_on`` is the ISO date of the last Ack and, behind a space, the number of its drop; ``carried`` a JSON object of
older such texts for the fields that the last post only carried on. ``attempts`` counts the posts without an answer
that the drop at hand has already made.
"""


@dataclass(frozen=True)
class Later:
    """What newer drops of a feed have said already, which an older one must not undo.

    A newer drop that still waits is no matter here: it is sent afterwards, and has the last word.
    """

    drops: Collection[int] = ()
    """The numbers of all newer drops: a value that one of them brought stays."""
    stated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """RIC to the fields for which one of them that is over gives a value, even one that was there already."""


@dataclass(frozen=True)
class Changes:
    """The rows of a drop that have to be posted, in file order unless said otherwise, and what was found about the
    others."""

    rics: pd.Index[str]
    """Of the rows to post; the columns below have an element for each."""
    given: Columns
    """Tokens that the file gives, by field; missing: blank."""
    held: Columns
    """Tokens that the ADS holds as far as anybody knows: attempted before acknowledged. A superset of the fields."""
    facts: Columns
    """``row``, ``attempts`` (int64), ``new``, ``dirty`` (bool), and as text ``fields`` where the RIC is in doubt,
    ``carried`` and ``acked_on`` of the snapshot, ``newer``: the fields that keep a newer drop's value, with a comma
    between, and ``heir_of``: the feed that had the RIC and has it no more, where that alone is why it is posted, else
    empty."""
    problems: tuple[Problem, ...] = ()
    """Rows that only the snapshot shows to be wrong: another feed's RIC, a new RIC without a value."""
    replaced: tuple[tuple[int, str], ...] = ()
    """Row and RIC of what would change something, had not newer drops given a value for each of its fields."""
    unchanged: int = 0
    """RICs whose values the snapshot already holds."""
    missing: tuple[str, ...] = ()
    """RICs of a complete feed that this drop lacks."""
    kept_blanks: int = 0
    """Blank cells for which the ADS keeps an earlier value."""
    oldest_kept: str = ""
    """The ISO date of the oldest such value."""
    lost_fields: tuple[str, ...] = ()
    """Fields for which RICs of this drop have a value, and the file has no column."""

    def acknowledged(self) -> Columns:
        """What the ADS acknowledged of the RICs to post, with the fields of ``held``."""
        dirty = self.facts["dirty"]
        if not pc.any(dirty).as_py():
            return self.held
        acked = token_columns(self.facts["fields"], first=self.held)
        return {name: pc.if_else(dirty, acked[name], column) for name, column in self.held.items()}

    def acknowledged_before(self) -> pa.BooleanArray:
        """Of which RICs to post the ADS has acknowledged anything."""
        new, dirty = self.facts["new"], self.facts["dirty"]
        return pc.or_(pc.invert(pc.or_(new, dirty)), pc.is_valid(self.facts["fields"]))

    def rejecting(self, problems: Sequence[Problem]) -> Changes:
        """The same changes without the RICs of these problems, which are added to the others."""
        if not problems:
            return self
        kept = self._where(~self.rics.isin([problem.ric for problem in problems]))
        return replace(kept, problems=tuple(sorted([*self.problems, *problems], key=lambda problem: problem.row)))

    def beyond(self, recorded: Collection[int]) -> Changes:
        """The same changes without rows that have ended already."""
        if not recorded:
            return self
        return self._where(~np.isin(self.facts["row"].to_numpy(), list(recorded)))

    def by(self, turns: Sequence[int]) -> Changes:
        """The same changes, those of the smallest turn first; ``turns`` has one for each RIC."""
        order = pc.array_sort_indices(pa.array(turns, pa.int64()))  # stable
        given, held, facts = (
            {name: column.take(order) for name, column in columns.items()}
            for columns in (self.given, self.held, self.facts)
        )
        return replace(self, rics=self.rics[order.to_numpy()], given=given, held=held, facts=facts)

    def pieces(self, rows: int) -> Iterator[Changes]:
        """The rows to post, some after the other, at most so many at a time; nothing is copied."""
        for start in range(0, len(self.rics), rows):
            given, held, facts = (
                {name: column.slice(start, rows) for name, column in columns.items()}
                for columns in (self.given, self.held, self.facts)
            )
            yield Changes(self.rics[start : start + rows], given, held, facts)

    def _where(self, kept: npt.NDArray[np.bool_]) -> Changes:
        mask = pa.array(kept)
        return replace(
            self,
            rics=self.rics[kept],
            given=filtered(self.given, mask),
            held=filtered(self.held, mask),
            facts=filtered(self.facts, mask),
        )

    def without(self, claimed: Mapping[str, str], quotes: Quotes) -> Changes:
        """The same changes, with RICs rejected that other feeds (RIC to feed) are posting at this moment."""
        theirs = self.rics[self.rics.isin(list(claimed))]
        return self.rejecting([_foreign_row(quotes, ric, f"feed {claimed[ric]!r}") for ric in theirs])


def diff(
    quotes: Quotes,
    snapshot: pa.RecordBatch,
    *,
    feed: str,
    configured: Mapping[str, str],
    owned: Collection[str] | None = None,
    later: Later | None = None,
    same: pa.BooleanArray | None = None,
) -> Changes:
    """What a drop changes.

    ``snapshot`` is one of SNAPSHOT; RICs that it lacks are new. ``configured`` names the feeds that post to the
    Service, each with its ``ric_pattern``: only those can own a RIC, and none that does not match. ``owned`` lists
    all RICs of a feed that posts complete lists. ``later`` is what an older drop gives way to, field by field; None:
    it is the newest. ``same`` marks rows that are known to be unchanged, of which ``snapshot`` need not tell.
    """
    rows = _beside(quotes, snapshot, same)
    foreign = _foreign(rows, {other: pattern for other, pattern in configured.items() if other != feed})
    problems = [_foreign_row(quotes, ric, f"feed {owner!r}") for _, ric, owner in rows.marked(foreign)]
    rows = rows.where(pc.invert(foreign))
    asked = _asked(rows, feed, later)
    problems += [_empty_row(quotes, row, ric) for row, ric, _ in rows.marked(asked.empty)]
    replaced = tuple((row, ric) for row, ric, _ in rows.marked(asked.replaced))
    facts = _facts(rows, asked)
    kept = {
        name: _is_kept(column, asked.held[name], asked.newer.get(name))
        for name, column in asked.given.items()
        if column.null_count
    }
    return Changes(
        rics=filtered_index(rows.rics, asked.posted),
        given=filtered(asked.given, asked.posted),
        held=filtered(asked.held, asked.posted),
        facts=filtered(facts, asked.posted),
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        replaced=replaced,
        unchanged=len(quotes.values) - len(problems) - len(replaced) - asked.posted.true_count,
        missing=_missing(quotes, owned),
        kept_blanks=sum(marks.true_count for marks in kept.values()),
        oldest_kept=_oldest(kept, facts),
        lost_fields=tuple(
            name for name, column in asked.held.items() if name not in rows.given and _has_value(column)
        ),
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of a drop, and what the snapshot has of each: columns of one length."""

    rics: pd.Index[str]
    numbers: pa.Int64Array
    given: Columns
    known: Columns
    """The columns of SNAPSHOT behind the RIC; missing: a RIC that is new."""

    def __len__(self) -> int:
        return len(self.rics)

    def where(self, marks: pa.BooleanArray) -> _Rows:
        """Those that are marked."""
        if marks.true_count == len(marks):
            return self
        rics = filtered_index(self.rics, marks)
        return _Rows(rics, self.numbers.filter(marks), filtered(self.given, marks), filtered(self.known, marks))

    def marked(self, marks: pa.BooleanArray) -> Iterator[tuple[int, str, str]]:
        """The number, the RIC and its feed of those that are marked."""
        for index in pc.indices_nonzero(marks).to_pylist():
            yield self.numbers[index].as_py(), str(self.rics[index]), self.known["feed"][index].as_py()


def _beside(quotes: Quotes, snapshot: pa.RecordBatch, same: pa.BooleanArray | None) -> _Rows:
    """The rows that are not known to be unchanged."""
    rows = _Rows(quotes.values.index, arrow_column(quotes.rows, pa.int64()), text_columns(quotes.values), {})
    if same is not None:
        rows = rows.where(pc.invert(same))
    return replace(rows, known=_joined(rows.rics, snapshot))


def _foreign(rows: _Rows, others: Mapping[str, str]) -> pa.BooleanArray:
    """Whose RICs are another feed's, which may still contribute them."""
    owner = rows.known["feed"]
    foreign = pc.is_in(owner, value_set=pa.array(list(others), pa.string()))
    if not foreign.true_count:
        return foreign
    for other, pattern in others.items():
        if pattern:
            beyond = pc.invert(matches(arrow_column(rows.rics), shell_pattern(pattern)))
            foreign = pc.and_not(foreign, pc.and_(pc.fill_null(pc.equal(owner, other), False), beyond))
    return foreign


class _Asked(NamedTuple):
    """What rows ask for: columns, and marks of rows."""

    given: Columns
    """Without what clears nothing, and without what newer drops have given."""
    held: Columns
    newer: Columns
    """Marks by field: what newer drops have given; empty: nothing."""
    new: pa.BooleanArray
    dirty: pa.BooleanArray
    heir: pa.BooleanArray
    """Posted only because the feed that had the RIC has it no more."""
    empty: pa.BooleanArray
    """New, without any value."""
    posted: pa.BooleanArray
    replaced: pa.BooleanArray
    """They ask for something, and for nothing that newer drops have not given."""


def _asked(rows: _Rows, feed: str, later: Later | None) -> _Asked:
    known, count = rows.known, len(rows)
    dirty = pc.is_valid(known["attempted"])
    base = pc.coalesce(known["attempted"], known["fields"]) if dirty.true_count else known["fields"]  # a copy of all
    new = pc.is_null(base)
    held = token_columns(base, first=rows.given)
    given = {name: _without_idle_clears(column, held[name]) for name, column in rows.given.items()}
    empty = pc.and_not(new, _any_value(given, count))
    asks = changes = _asks(given, held, new, count)
    newer = {} if later is None else _said_later(rows.rics, given, held, known, later)
    if newer:
        given = {name: only(column, pc.invert(newer[name])) for name, column in given.items()}
        changes = _asks(given, held, pc.and_(new, _any_value(given, count)), count)
    changes = pc.or_(changes, dirty)
    # A RIC whose feed has it no more becomes this one's by a post; without it nobody would look after it.
    heir = pc.and_not(pc.fill_null(pc.not_equal(known["feed"], feed), False), changes)
    posted = pc.and_not(pc.or_(changes, heir), empty)
    given_way = pc.and_(asks, any_of(newer.values(), count))
    replaced = pc.and_not(pc.and_not(given_way, posted), empty)
    return _Asked(given, held, newer, new, dirty, heir, empty, posted, replaced)


def _facts(rows: _Rows, asked: _Asked) -> Columns:
    """See Changes.facts."""
    known = rows.known
    return {
        "row": rows.numbers,
        "new": asked.new,
        "dirty": asked.dirty,
        "fields": only(known["fields"], asked.dirty),  # ``held`` has those of all others
        "carried": known["carried"],
        "acked_on": known["acked_on"],
        "newer": marked_names(asked.newer, len(rows)),
        "heir_of": pc.if_else(asked.heir, known["feed"], ""),
        "attempts": pc.fill_null(known["attempts"], 0),
    }


def row_texts(values: pd.DataFrame) -> pa.StringArray:
    """Each row's RIC and, as a JSON object, its tokens: unchanged is what the ADS acknowledged in this very text."""
    return joined(arrow_column(values.index), object_column(text_columns(values), len(values)))


def dates_kept(kept: Columns, facts: Columns) -> dict[str, pa.StringArray]:
    """Since when, and of which drop, the ADS has each value marked in ``kept``, as JSON texts (``"2026-11-03 12"``).

    Missing where nothing is marked, and where nothing was ever acknowledged.
    """
    older = token_columns(facts["carried"], first=kept)
    acked_on = joined('"', facts["acked_on"], '"')
    return {name: only(pc.coalesce(older[name], acked_on), marks) for name, marks in kept.items()}


def _joined(rics: pd.Index[str], snapshot: pa.RecordBatch) -> dict[str, pa.Array]:
    """What the snapshot has for each RIC of the file, in the file's order: a left join of the two by RIC."""
    (_, known), *columns = zip(snapshot.schema.names, snapshot.columns, strict=True)
    wanted = arrow_column(rics)
    if known.equals(wanted):
        return dict(columns)
    at = pc.index_in(wanted, value_set=known)
    return {name: column.take(at) for name, column in columns}


def _without_idle_clears(given: pa.StringArray, held: pa.StringArray) -> pa.StringArray:
    """Clearing a field that the item does not have is nothing to do, and gives it no such field."""
    clears = pc.equal(given, CLEARED)
    return pc.if_else(pc.and_(clears, pc.is_null(held)), None, given) if pc.any(clears).as_py() else given


def _asks(given: Columns, held: Columns, is_new: pa.BooleanArray, rows: int) -> pa.BooleanArray:
    """Which rows ask for something: a value that the ADS does not hold, or a new RIC."""
    return any_of([is_new, *(differs(column, held[name]) for name, column in given.items())], rows)


def _any_value(given: Columns, rows: int) -> pa.BooleanArray:
    """Which rows give a value for some field."""
    return any_of(map(pc.is_valid, given.values()), rows)


def _is_kept(given: pa.StringArray, held: pa.StringArray, newer: pa.BooleanArray | None) -> pa.BooleanArray:
    """Where a blank cell keeps a value; a cleared field has none, and a newer drop's value is no blank's."""
    has_value = pc.fill_null(pc.not_equal(held, CLEARED), False)
    kept = pc.and_(pc.is_null(given), has_value)
    return kept if newer is None else pc.and_not(kept, newer)


def _has_value(held: pa.StringArray) -> bool:
    """Whether some item has a value; a cleared field has none."""
    return pc.any(pc.not_equal(held, CLEARED)).as_py() is True


def _oldest(kept: Columns, facts: Columns) -> str:
    """The oldest date among the values that blank cells keep."""
    some = any_of(kept.values(), len(facts["row"]))
    if not some.true_count:
        return ""
    dates = dates_kept(filtered(kept, some), filtered(facts, some))
    oldest = [pc.min(column).as_py() for column in dates.values()]
    return min((date for date in oldest if date is not None), default="").strip('"').partition(" ")[0]


def _said_later(rics: pd.Index[str], given: Columns, held: Columns, known: Columns, later: Later) -> Columns:
    """Where a newer drop has given a value for what this one gives a value for; with the fields of ``given``.

    The snapshot tells which drop a value came from; what a newer drop found to be there already only its own bytes
    tell (``later.stated``).
    """
    since = dates_kept({name: pc.is_valid(held[name]) for name in given}, known)
    by_newer = pa.array([str(drop) for drop in later.drops], pa.string())
    lost_later = pc.is_in(known["attempted_by"], value_set=by_newer)
    acked = token_columns(known["fields"], first=given)
    marks = {}
    for name, column in given.items():
        drop = pc.struct_field(pc.extract_regex(since[name], ' (?P<drop>[0-9]+)"$'), "drop")
        by_ack = pc.is_in(drop, value_set=by_newer)
        attempted = pc.and_(lost_later, differs(held[name], acked[name]))
        stated = pa.array([name in later.stated.get(ric, ()) for ric in rics], pa.bool_())
        marks[name] = pc.and_(pc.is_valid(column), pc.or_(pc.or_(by_ack, attempted), stated))
    return marks


def _missing(quotes: Quotes, owned: Collection[str] | None) -> tuple[str, ...]:
    if owned is None:
        return ()
    mentioned = set(quotes.values.index) | {problem.ric for problem in quotes.problems}
    return tuple(sorted(ric for ric in owned if ric not in mentioned))


def _foreign_row(quotes: Quotes, ric: str, owner: str) -> Problem:
    row = int(quotes.rows[ric])
    return Problem(
        row,
        ric,
        f"row {quotes.label(row)}",
        ric,
        "belongs to another feed",
        f"{owner} was first to post this RIC; take it out of one of the two; what its ric_pattern excludes is free",
    )


def _empty_row(quotes: Quotes, row: int, ric: str) -> Problem:
    mend = "give it at least one value, or take the row out"
    return Problem(row, ric, f"row {quotes.label(row)}", ric, "is a new RIC without any value", mend)
