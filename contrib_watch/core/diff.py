"""Quotes against the snapshot: what has changed, what is new, and what must be sent again.

pandas joins the two tables by RIC, once; all else is done to whole columns (core.columns). Equal values are equal
tokens (see core.model), so a row whose fields, joined in the file's order, are the very text that the snapshot holds
is unchanged, and is not looked at again; the rest is compared field by field.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    joined,
    marked_names,
    object_column,
    only,
    repeated,
    text_columns,
    token_columns,
)
from contrib_watch.core.model import CLEARED, Problem, Quotes

SNAPSHOT_COLUMNS = ("feed", "fields", "carried", "acked_on", "attempted", "attempted_by", "attempts")
"""The columns of a snapshot table, indexed by RIC; all text but ``attempts`` (int64).

``feed`` owns the RIC. ``fields`` is the acknowledged JSON object; missing: never acknowledged. ``attempted`` is the
JSON object that was posted without an answer, by the drop of the number ``attempted_by``; missing: the RIC is clean.
``acked_on`` is the ISO date of the last Ack and, behind a space, the number of its drop; ``carried`` a JSON object of
older such texts for the fields that the last post only carried on. ``attempts`` counts the posts without an answer
that the drop at hand has already made.
"""

_TYPES = {**dict.fromkeys(SNAPSHOT_COLUMNS, pa.string()), "attempts": pa.int64()}


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
    """The rows of a drop that have to be posted, in file order, and what was found about the others."""

    rics: pd.Index[str]
    """Of the rows to post; the columns below have an element for each."""
    given: Columns
    """Tokens that the file gives, by field; missing: blank."""
    held: Columns
    """Tokens that the ADS holds as far as anybody knows: attempted before acknowledged. A superset of the fields."""
    facts: Columns
    """``row``, ``attempts`` (int64), ``new``, ``dirty`` (bool), and as text ``fields``, ``carried``, ``acked_on`` of
    the snapshot, ``newer``: the fields that keep a newer drop's value, with a comma between, and ``heir_of``: the
    feed that had the RIC and is configured no more, where that alone is why it is posted, else empty."""
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
    snapshot: pd.DataFrame,
    *,
    feed: str,
    configured: Collection[str],
    owned: Collection[str] | None = None,
    later: Later | None = None,
    same: pa.BooleanArray | None = None,
) -> Changes:
    """What a drop changes.

    ``snapshot`` has SNAPSHOT_COLUMNS and is indexed by RIC; RICs that it lacks are new. ``configured`` names the
    feeds that exist: only those can own a RIC. ``owned`` lists all RICs of a feed that posts complete lists.
    ``later`` is what an older drop gives way to, field by field; None: it is the newest. ``same`` marks rows that
    are known to be unchanged, of which ``snapshot`` need not tell.
    """
    rics, numbers = quotes.values.index, arrow_column(quotes.rows, pa.int64())
    given: Columns = text_columns(quotes.values)
    if same is not None:
        rics, numbers, given = _narrowed(rics, numbers, given, pc.invert(same))
    known = _joined(rics, snapshot)
    others = pa.array([one for one in configured if one != feed], pa.string())
    foreign = pc.is_in(known["feed"], value_set=others)
    problems = [
        _foreign_row(quotes, rics[index], f"feed {known['feed'][index].as_py()!r}")
        for index in pc.indices_nonzero(foreign).to_pylist()
    ]
    looked_at = pc.invert(pc.or_(foreign, _are_unchanged(given, known, feed, len(rics))))
    rics, numbers, given = _narrowed(rics, numbers, given, looked_at)
    known = filtered(known, looked_at)

    dirty = pc.is_valid(known["attempted"])
    base = pc.coalesce(known["attempted"], known["fields"])
    is_new = pc.is_null(base)
    held = token_columns(base, first=given)
    given = {name: _without_idle_clears(column, held[name]) for name, column in given.items()}
    has_any = any_of(map(pc.is_valid, given.values()), len(rics))
    empty = pc.and_not(is_new, has_any)
    problems += [_empty_row(quotes, rics[index]) for index in pc.indices_nonzero(empty).to_pylist()]

    asks = _asks(given, held, is_new, len(rics))
    newer = {} if later is None else _said_later(rics, given, held, known, later)
    if newer:
        given = {name: only(column, pc.invert(newer[name])) for name, column in given.items()}
        has_any = any_of(map(pc.is_valid, given.values()), len(rics))
    changing = _asks(given, held, pc.and_(is_new, has_any), len(rics)) if newer else asks
    # A RIC whose feed is configured no more becomes this one's by a post; without it nobody would look after it.
    asked = pc.or_(changing, dirty)
    heir = pc.and_not(pc.fill_null(pc.not_equal(known["feed"], feed), False), asked)
    to_post = pc.and_not(pc.or_(asked, heir), empty)
    blanks = {name: column for name, column in given.items() if column.null_count}
    kept = {name: _is_kept(column, held[name], newer.get(name)) for name, column in blanks.items()}

    facts = {
        "row": numbers,
        "new": is_new,
        "dirty": dirty,
        "fields": known["fields"],
        "carried": known["carried"],
        "acked_on": known["acked_on"],
        "newer": marked_names(newer, len(rics)),
        "heir_of": pc.if_else(heir, known["feed"], ""),
        "attempts": pc.fill_null(known["attempts"], 0),
    }
    given_way = pc.and_(asks, any_of(newer.values(), len(rics)))
    replaced = pc.indices_nonzero(pc.and_not(pc.and_not(given_way, to_post), empty)).to_pylist()
    return Changes(
        rics=rics[to_post.to_numpy(zero_copy_only=False)],
        given=filtered(given, to_post),
        held=filtered(held, to_post),
        facts=filtered(facts, to_post),
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        replaced=tuple((numbers[index].as_py(), str(rics[index])) for index in replaced),
        unchanged=len(quotes.values) - len(problems) - len(replaced) - to_post.true_count,
        missing=_missing(quotes, owned),
        kept_blanks=sum(marks.true_count for marks in kept.values()),
        oldest_kept=_oldest(kept, facts),
        lost_fields=tuple(name for name, column in held.items() if name not in given and _has_value(column)),
    )


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


def _narrowed(
    rics: pd.Index[str], numbers: pa.Int64Array, given: Columns, marks: pa.BooleanArray
) -> tuple[pd.Index[str], pa.Int64Array, Columns]:
    """The rows that are marked."""
    if marks.true_count == len(marks):
        return rics, numbers, given
    return rics[marks.to_numpy(zero_copy_only=False)], numbers.filter(marks), filtered(given, marks)


def _joined(rics: pd.Index[str], snapshot: pd.DataFrame) -> dict[str, pa.Array]:
    """What the snapshot has for each RIC of the file, in the file's order: pandas' left join of the two by RIC."""
    columns = {name: arrow_column(snapshot[name], kind) for name, kind in _TYPES.items()}
    known = snapshot.index.astype(rics.dtype)
    if known.equals(rics):
        return columns
    at = known.get_indexer(rics)
    return {name: column.take(pa.array(at, mask=at < 0)) for name, column in columns.items()}


def _are_unchanged(given: Columns, known: Columns, feed: str, rows: int) -> pa.BooleanArray:
    """Which rows are the very text that the ADS acknowledged for this feed, and are not in doubt."""
    if known["fields"].null_count == rows:
        return repeated(False, rows)
    same = pc.and_(pc.equal(object_column(given, rows), known["fields"]), pc.equal(known["feed"], feed))
    return pc.and_not(pc.fill_null(same, False), pc.is_valid(known["attempted"]))


def _without_idle_clears(given: pa.StringArray, held: pa.StringArray) -> pa.StringArray:
    """Clearing a field that the item does not have is nothing to do, and gives it no such field."""
    clears = pc.equal(given, CLEARED)
    return pc.if_else(pc.and_(clears, pc.is_null(held)), None, given) if pc.any(clears).as_py() else given


def _asks(given: Columns, held: Columns, is_new: pa.BooleanArray, rows: int) -> pa.BooleanArray:
    """Which rows ask for something: a value that the ADS does not hold, or a new RIC."""
    return any_of([is_new, *(differs(column, held[name]) for name, column in given.items())], rows)


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
        f"{owner} was first to post this RIC; take it out of one of the two",
    )


def _empty_row(quotes: Quotes, ric: str) -> Problem:
    row = int(quotes.rows[ric])
    return Problem(
        row,
        ric,
        f"row {quotes.label(row)}",
        ric,
        "is a new RIC without any value",
        "give it at least one value, or take the row out",
    )
