"""Changes as posts: a Refresh or an Update for each RIC, and which fields each carries.

- A new RIC, a dirty one, and one that gains a field gets a Refresh: only a Refresh creates an item or changes its
  field list (LSEG's rule for contributions).
- Every other gets an Update with just the fields that changed, or a Refresh where none has and only the feed is new.
- A Refresh carries every field that the RIC has, because the ADS clears what a Refresh does not carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import (
    Columns,
    any_of,
    arrow_column,
    differs,
    enumeration,
    filtered,
    joined,
    marked_names,
    object_column,
    only,
    repeated,
)
from contrib_watch.core.diff import Changes, dates_kept
from contrib_watch.core.model import Action, Post, Quotes

_ACTIONS = {action.value: action for action in Action}
GAINS_A_FIELD = "gains a field: sent in full"
IN_DOUBT = "its last post was not answered: sent in full"
TAKEN_OVER = "taken over from a feed that"
KEPT_NEWER = "kept as a newer drop gave it"
"""What notes of posts begin with."""
PIECE_ROWS = 10_000
"""Posts that are planned at one time: their texts need several times the memory of the file."""
HUGE_ROWS = 250_000
"""A drop of more needs the memory for itself: nothing is kept of it that can be had again."""
CHUNK_ROWS = 4096
"""Posts that are Python objects at one time."""


def plan(changes: Changes) -> pa.Table:
    """What to post, a row a RIC in file order.

    Columns: ``row`` and ``attempts`` (int64), ``ric``, ``action``, ``fields``, ``full``, ``changes``, ``changed``,
    ``note``, ``carried`` (text). See core.model.Post for what they mean.
    """
    given, held, facts, rows = changes.given, changes.held, changes.facts, len(changes.rics)
    new, dirty = facts["new"], facts["dirty"]
    full = {name: _over(given.get(name), old) for name, old in held.items()}
    differing = {name: differs(column, held[name]) for name, column in given.items()}
    changed = {name: only(column, differing[name]) for name, column in given.items()}
    lacked = {name: pc.is_null(old) for name, old in held.items() if name in given and old.null_count}
    gains = any_of((pc.and_(lacks, pc.is_valid(given[name])) for name, lacks in lacked.items()), rows)
    refresh = pc.or_(pc.or_(new, dirty), pc.or_(gains, pc.not_equal(facts["heir_of"], "")))
    everything = object_column(full, rows)
    # Whether the ADS has what was attempted is unknown: of a RIC in doubt all of it has to go.
    to_go = {name: pc.and_(pc.is_valid(column), pc.or_(differing[name], dirty)) for name, column in given.items()}
    columns = {
        "row": facts["row"],
        "ric": arrow_column(changes.rics),
        "action": pc.if_else(refresh, Action.REFRESH.value, Action.UPDATE.value),
        "fields": everything,
        "full": everything,
        "changed": marked_names(to_go, rows),
        "changes": _change_texts(changed, held, rows) if not dirty.true_count else _told_of_doubt(full, changes),
        "note": _notes(pc.and_not(gains, new), dirty, facts),
        "carried": _carried(changes),
        "attempts": facts["attempts"],
    }
    if refresh.true_count < rows:
        columns["fields"] = pc.if_else(refresh, everything, object_column(changed, rows))
    return pa.table(columns)


def plans(changes: Changes) -> Iterator[pa.Table]:
    """The plan in pieces, one after the other: each is made when it is asked for."""
    for piece in changes.pieces(PIECE_ROWS):
        yield plan(piece)


def planned_posts(changes: Changes) -> Iterator[Post]:
    """What is to be posted, planned piece by piece."""
    return chain.from_iterable(map(posts, plans(changes)))


def posts(planned: pa.Table) -> Iterator[Post]:
    """The rows of a plan as Posts, made in chunks."""
    return chain.from_iterable(map(_posts, planned.to_batches(CHUNK_ROWS)))


def _posts(chunk: pa.RecordBatch) -> Iterator[Post]:
    actions = [_ACTIONS[action] for action in _strings(chunk["action"])]
    full = _strings(chunk["full"])
    # A Refresh carries all of them: the same string, not another one.
    fields = full if Action.UPDATE not in actions else _strings(chunk["fields"])
    texts = [_strings(chunk[name]) for name in ("changes", "changed", "note", "carried")]
    rows, attempts = (chunk[name].to_pylist() for name in ("row", "attempts"))
    return map(Post, rows, _strings(chunk["ric"]), actions, fields, full, *texts, attempts)


class Coverage:
    """What the drops of one feed give values for, so that an older one need not send what a newer one replaces."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[frozenset[str], int]] = {}  # RIC -> fields of a row -> newest drop with them

    def add(self, drop_id: int, quotes: Quotes) -> None:
        """A drop that is neither rejected nor held; its rejected rows are not among its values and cover nothing."""
        for ric, fields in _field_sets(quotes.values.notna()):
            known = self._newest.setdefault(ric, {})
            known[fields] = max(drop_id, known.get(fields, 0))

    def fields(self) -> dict[str, frozenset[str]]:
        """RIC to all the fields for which some drop gives a value."""
        return {ric: frozenset().union(*known) for ric, known in self._newest.items()}

    def newest(self, ric: str, changed: str) -> int:
        """The newest drop with a row that gives a value for every field named in ``changed``; 0: none does."""
        known = self._newest.get(ric)
        if not known:
            return 0
        needed = frozenset(changed.split(",")) if changed else frozenset()
        return max((drop for fields, drop in known.items() if needed <= fields), default=0)


def _field_sets(present: pd.DataFrame) -> Iterator[tuple[str, frozenset[str]]]:
    """Each RIC with the names of the columns that are true in its row."""
    sets: dict[bytes, frozenset[str]] = {}
    for ric, row in zip(present.index, present.to_numpy(dtype=bool), strict=True):
        key = row.tobytes()
        if key not in sets:
            sets[key] = frozenset(present.columns[row])
        yield ric, sets[key]


def _strings(column: pa.StringArray) -> list[str]:
    """A column of texts as strings; by way of NumPy, which is several times faster than to_pylist()."""
    return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def _notes(gains: pa.BooleanArray, dirty: pa.BooleanArray, facts: Columns) -> pa.StringArray:
    """Why a post is a Refresh, or lacks values, where a person would not expect it: the last reason that applies."""
    heir_of, newer = facts["heir_of"], facts["newer"]
    notes = pc.if_else(dirty, IN_DOUBT, pc.if_else(gains, GAINS_A_FIELD, ""))
    notes = pc.if_else(
        pc.not_equal(heir_of, ""), joined(f"{TAKEN_OVER} has it no more, ", heir_of, ": sent in full"), notes
    )
    return pc.if_else(pc.not_equal(newer, ""), joined(f"{KEPT_NEWER}: ", newer), notes)


def _over(given: pa.StringArray | None, held: pa.StringArray) -> pa.StringArray:
    """What a field has once the file is posted: the file's value where it gives one."""
    if given is None:
        return held
    return pc.coalesce(given, held) if given.null_count else given


def _told_of_doubt(full: Columns, changes: Changes) -> pa.StringArray:
    """What changes where some RICs are in doubt.

    Their old values are the acknowledged ones, so that a value which was only attempted does not come to the market
    untold; where the post goes back to what was acknowledged, it is the attempted one.
    """
    held, acked = changes.held, changes.acknowledged()
    before = {name: pc.if_else(differs(full[name], acked[name]), acked[name], held[name]) for name in held}
    changed = {name: only(column, differs(column, before[name])) for name, column in full.items()}
    return _change_texts(changed, before, len(changes.rics))


def _change_texts(changed: Columns, before: Columns, rows: int) -> pa.StringArray:
    """``BID 22.1 -> 22.3; ASK 24.5 -> 24.6``; for a value that was not there ``BID 22.1``."""
    texts = {}
    for name, column in changed.items():
        old, new = before[name], _readable(column)
        if not old.null_count:
            new = joined(_readable(old), " -> ", new)
        elif old.null_count < rows:
            new = joined(pc.coalesce(joined(_readable(old), " -> "), ""), new)
        texts[f"{name} "] = new
    return enumeration(texts, "; ", rows)


def _readable(tokens: pa.StringArray) -> pa.StringArray:
    """Tokens as people read them, in columns."""
    is_text = pc.starts_with(tokens, '"')
    if not pc.any(is_text).as_py():
        return tokens
    inner = pc.utf8_slice_codeunits(tokens, 1, -1)
    inner = pc.replace_substring(inner, '\\"', '"')
    inner = pc.replace_substring(inner, "\\\\", "\\")
    return pc.if_else(is_text, inner, tokens)


def _carried(changes: Changes) -> pa.StringArray:
    """The dates of the values that a post carries on without the file having given them, as JSON objects."""
    given, rows = changes.given, len(changes.rics)
    kept = {
        name: pc.and_(pc.is_valid(column), pc.is_null(given[name])) if name in given else pc.is_valid(column)
        for name, column in changes.held.items()
    }
    some = any_of(kept.values(), rows)
    carried = repeated("", rows)
    if not some.true_count:
        return carried
    dates = object_column(dates_kept(filtered(kept, some), filtered(changes.facts, some)), some.true_count)
    return pc.replace_with_mask(carried, some, pc.if_else(pc.equal(dates, "{}"), "", dates))
