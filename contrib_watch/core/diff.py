"""Quotes against the snapshot: what has changed, what is new, and what must be sent again.

Everything here works on whole columns. Equal values are equal tokens (see core.model), so a row whose fields, joined
in the file's order, are the very text that the snapshot holds is unchanged, and is not looked at again; the rest is
compared field by field.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.model import CLEARED, Problem, Quotes
from contrib_watch.core.tokens import TOKENS

SNAPSHOT_COLUMNS = ("feed", "fields", "carried", "acked_on", "attempted", "attempted_by", "attempts")
"""The columns of a snapshot table, indexed by RIC; all text but ``attempts`` (int64).

``feed`` owns the RIC. ``fields`` is the acknowledged JSON object; missing: never acknowledged. ``attempted`` is the
JSON object that was posted without an answer, by the drop of the number ``attempted_by``; missing: the RIC is clean.
``acked_on`` is the ISO date of the last Ack and, behind a space, the number of its drop; ``carried`` a JSON object of
older such texts for the fields that the last post only carried on. ``attempts`` counts the posts without an answer
that the drop at hand has already made.
"""

_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^",}]+)'
_NAME = re.compile(r'"([^"]+)"')


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
    """The rows of a drop that have to be posted, and what was found about the others.

    The three tables share one index: the RICs to post, in file order.
    """

    given: pd.DataFrame
    """Tokens that the file gives; missing: blank."""
    held: pd.DataFrame
    """Tokens that the ADS holds as far as anybody knows: attempted before acknowledged. A superset of the columns."""
    facts: pd.DataFrame
    """``row``, ``attempts`` (int64), ``new``, ``dirty`` (bool), and as text ``fields``, ``carried``, ``acked_on`` of
    the snapshot, and ``newer``: the fields that keep a newer drop's value, with a comma between."""
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

    @property
    def lost_fields(self) -> tuple[str, ...]:
        """Fields that RICs of this drop have, and for which the file has no column."""
        return tuple(name for name in self.held.columns if name not in self.given.columns)

    def without(self, claimed: Mapping[str, str], quotes: Quotes) -> Changes:
        """The same changes, with RICs rejected that other feeds (RIC to feed) are posting at this moment."""
        theirs = self.given.index.isin(list(claimed))
        problems = [_foreign_row(quotes, ric, f"feed {claimed[ric]!r}") for ric in self.given.index[theirs]]
        return replace(
            self,
            given=self.given[~theirs],
            held=self.held[~theirs],
            facts=self.facts[~theirs],
            problems=tuple(sorted([*self.problems, *problems], key=lambda problem: problem.row)),
        )


def diff(
    quotes: Quotes,
    snapshot: pd.DataFrame,
    *,
    feed: str,
    configured: Collection[str],
    owned: Collection[str] | None = None,
    later: Later | None = None,
) -> Changes:
    """What a drop changes.

    ``snapshot`` has SNAPSHOT_COLUMNS and is indexed by RIC; RICs that it lacks are new. ``configured`` names the
    feeds that exist: only those can own a RIC. ``owned`` lists all RICs of a feed that posts complete lists.
    ``later`` is what an older drop gives way to, field by field; None: it is the newest.
    """
    values = quotes.values
    known = snapshot.reindex(values.index)
    foreign = known["feed"].notna() & (known["feed"] != feed) & known["feed"].isin(list(configured))
    problems = [_foreign_row(quotes, ric, f"feed {known.at[ric, 'feed']!r}") for ric in values.index[foreign]]

    dirty = known["attempted"].notna()
    same_text = _objects(values) == known["fields"]
    looked_at = ~(foreign | (same_text.fillna(value=False) & ~dirty))

    given = values[looked_at]
    known = known[looked_at]
    base = known["attempted"].where(known["attempted"].notna(), known["fields"])
    held = token_table(base, first=list(values.columns))
    given = _without_idle_clears(given, held)
    is_new = base.isna()

    empty = given.isna().all(axis=1) & is_new
    problems += [_empty_row(quotes, ric) for ric in given.index[empty]]
    asks = differs(given, held).any(axis=1) | is_new
    newer = _said_later(given, held, known, later) if later is not None else given.isna() & given.notna()
    given = given.mask(newer)
    kept = given.isna() & has_value(held[given.columns]) & ~newer
    to_post = (
        differs(given, held).any(axis=1) | (is_new & given.notna().any(axis=1)) | known["attempted"].notna()
    ) & ~empty

    facts = pd.DataFrame(
        {
            "row": quotes.rows.reindex(given.index),
            "new": is_new,
            "dirty": known["attempted"].notna(),
            "fields": known["fields"],
            "carried": known["carried"],
            "acked_on": known["acked_on"],
            "newer": marked_names(newer),
            "attempts": known["attempts"].fillna(0).astype("int64"),
        },
        index=given.index,
    )
    replaced = facts["row"][asks & newer.any(axis=1) & ~to_post & ~empty]
    return Changes(
        given=given[to_post],
        held=held[to_post],
        facts=facts[to_post],
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        replaced=tuple((int(row), str(ric)) for ric, row in replaced.items()),
        unchanged=len(values) - len(problems) - len(replaced) - int(to_post.sum()),
        missing=_missing(quotes, owned),
        kept_blanks=int(kept.to_numpy().sum()),
        oldest_kept=_oldest(kept, facts),
    )


def token_table(objects: pd.Series[str], first: list[str]) -> pd.DataFrame:
    """JSON objects of tokens as a table: a column a field, those of ``first`` before all others.

    ``objects`` may have missing elements: a row without any value. Each token stays as it is written.
    """
    texts = _chunk(objects)
    layouts = pc.unique(pc.replace_substring_regex(texts, f":{_VALUE}", ""))  # {"BID","ASK"}
    names = dict.fromkeys(first)
    for layout in layouts.drop_null().to_pylist():
        names.update(dict.fromkeys(_NAME.findall(layout)))
    # A quote within a text is escaped, so that a name between two bare ones and before a colon is no part of a text.
    patterns = {name: f'"{re.escape(name)}":(?P<token>{_VALUE})' for name in names}
    columns = {name: pc.struct_field(pc.extract_regex(texts, pattern), "token") for name, pattern in patterns.items()}
    return pd.DataFrame({name: pd.array(column, dtype=TOKENS) for name, column in columns.items()}, objects.index)


def object_column(table: pd.DataFrame) -> pa.Array:
    """Each row's tokens as one JSON object, in the order of the columns; blanks are left out."""
    columns = {name: pa.array(table[name].array) for name in table.columns}
    if columns and not any(column.null_count for column in columns.values()):  # in one go: several times faster
        parts = [part for name, column in columns.items() for part in (f',"{name}":', column)]
        return joined("{", parts[0].removeprefix(","), *parts[1:], "}")
    members = [joined(f'"{name}":', column) for name, column in columns.items()]
    return joined("{", enumeration(members, ",", len(table)), "}")


def joined(*parts: str | pa.Array) -> pa.Array:
    """Texts put together row by row; missing where any of them is."""
    return pc.binary_join_element_wise(*parts, "")


def enumeration(columns: list[pa.Array], separator: str, rows: int) -> pa.Array:
    """The texts of each row with a separator between them; what is missing is left out.

    Arrow's own way of skipping what is missing drops the rows in which everything is.
    """
    if not columns:
        return pa.array([""] * rows, pa.string())
    if not any(column.null_count for column in columns):
        return pc.binary_join_element_wise(*columns, separator)
    ended = [pc.coalesce(joined(column, separator), "") for column in columns]
    return pc.utf8_slice_codeunits(joined(*ended), 0, -len(separator))


def differs(given: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """Where the file gives a value that the ADS does not hold; a blank never differs. Shaped like ``given``."""
    held = held[given.columns]
    unequal = (given != held).fillna(value=False).astype(bool)
    return given.notna() & (unequal | held.isna())


def has_value(held: pd.DataFrame) -> pd.DataFrame:
    """Where the ADS holds a value; a cleared field has none."""
    return (held != CLEARED).fillna(value=False).astype(bool)


def marked_names(marks: pd.DataFrame) -> pd.Series[str]:
    """The names of the columns that are true in each row, with a comma between them."""
    parts = [pc.if_else(pa.array(marks[name].to_numpy(dtype=bool)), name, None) for name in marks.columns]
    return pd.Series(pd.array(enumeration(parts, ",", len(marks)), dtype=TOKENS), index=marks.index)


def dates_kept(kept: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Since when, and of which drop, the ADS has each value marked in ``kept``, as JSON texts (``"2026-11-03 12"``).

    Shaped like ``kept``; missing where nothing is marked, and where nothing was ever acknowledged.
    """
    older = token_table(facts["carried"], first=list(kept.columns))
    acked_on = joined('"', _chunk(facts["acked_on"]), '"')
    dates = {name: pd.array(pc.coalesce(_chunk(older[name]), acked_on), dtype=TOKENS) for name in kept.columns}
    return pd.DataFrame(dates, kept.index).where(kept)


def _chunk(column: pd.Series[str]) -> pa.Array:
    """A column of texts as one Arrow array."""
    return pa.array(column.array, pa.string())


def _objects(table: pd.DataFrame) -> pd.Series[str]:
    return pd.Series(pd.array(object_column(table), dtype=TOKENS), index=table.index)


def _without_idle_clears(given: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """Clearing a field that the item does not have is nothing to do, and gives it no such field."""
    idle = (given == CLEARED).fillna(value=False).astype(bool) & held[given.columns].isna()
    return given.mask(idle)


def _oldest(kept: pd.DataFrame, facts: pd.DataFrame) -> str:
    """The oldest date among the values that blank cells keep."""
    some = kept.any(axis=1)
    dates = dates_kept(kept[some], facts[some])
    oldest = [pc.min(_chunk(dates[name])).as_py() for name in dates.columns]
    return min((date for date in oldest if date is not None), default="").strip('"').partition(" ")[0]


def _said_later(given: pd.DataFrame, held: pd.DataFrame, known: pd.DataFrame, later: Later) -> pd.DataFrame:
    """Where a newer drop has given a value for what this one gives a value for; shaped like ``given``.

    The snapshot tells which drop a value came from; what a newer drop found to be there already only its own bytes
    tell (``later.stated``).
    """
    drops = pa.array(list(later.drops), pa.int64())
    since = dates_kept(held[given.columns].notna(), known)
    lost_later = known["attempted_by"].isin([str(drop) for drop in later.drops])
    attempted = differs(held[given.columns], token_table(known["fields"], first=list(given.columns)))
    marks = {}
    for name in given.columns:
        number = pc.struct_field(pc.extract_regex(_chunk(since[name]), ' (?P<drop>[0-9]+)"$'), "drop")
        by_ack = pc.is_in(pc.cast(pc.coalesce(number, "0"), pa.int64()), value_set=drops).to_numpy(
            zero_copy_only=False
        )
        stated = pd.Series([name in later.stated.get(ric, ()) for ric in given.index], given.index, dtype=bool)
        marks[name] = by_ack | (lost_later & attempted[name]) | stated
    return pd.DataFrame(marks, given.index).astype(bool) & given.notna()


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
