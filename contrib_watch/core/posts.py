"""Changes as posts: a Refresh or an Update for each RIC, and which fields each carries.

- A new RIC, a dirty one, and one that gains a field gets a Refresh: only a Refresh creates an item or changes its
  field list (LSEG's rule for contributions).
- Every other gets an Update with just the fields that changed.
- A Refresh carries every field that the RIC has, because the ADS clears what a Refresh does not carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.diff import (
    Changes,
    dates_kept,
    differs,
    enumeration,
    joined,
    marked_names,
    object_column,
    token_table,
)
from contrib_watch.core.model import Action, Post, Quotes
from contrib_watch.core.tokens import TOKENS

_ACTIONS = {action.value: action for action in Action}
GAINS_A_FIELD = "gains a field: sent in full"
IN_DOUBT = "its last post was not answered: sent in full"
KEPT_NEWER = "kept as a newer drop gave it"
"""What notes of posts begin with."""
CHUNK_ROWS = 4096
"""Posts that are Python objects at one time."""


def plan(changes: Changes) -> pd.DataFrame:
    """What to post, a row a RIC in file order.

    Columns: ``row`` and ``attempts`` (int64), ``action``, ``fields``, ``full``, ``changes``, ``changed``, ``note``,
    ``carried`` (text); indexed by RIC. See core.model.Post for what they mean.
    """
    given, held, facts = changes.given, changes.held, changes.facts
    full = held.copy()
    for name in given.columns:
        full[name] = given[name].fillna(held[name])
    differing = differs(given, held)
    changed = given.where(differing)
    differing[facts["dirty"]] = True  # whether the ADS has what was attempted is unknown: all of it has to go
    gains = (given.notna() & held[given.columns].isna()).any(axis=1)
    refresh = facts["new"] | facts["dirty"] | gains

    everything = _text(object_column(full), full.index)
    notes = pd.Series("", index=given.index, dtype=TOKENS)
    notes = notes.mask(gains & ~facts["new"], GAINS_A_FIELD)
    notes = notes.mask(facts["dirty"], IN_DOUBT)
    notes = notes.mask(facts["newer"] != "", f"{KEPT_NEWER}: " + facts["newer"])
    return pd.DataFrame(
        {
            "row": facts["row"],
            "action": pd.Series(Action.UPDATE.value, index=given.index, dtype=TOKENS).mask(
                refresh, Action.REFRESH.value
            ),
            "fields": everything.where(refresh, _text(object_column(changed), given.index)),
            "full": everything,
            "changed": marked_names(differing & given.notna()),
            "changes": _change_texts(full, _known_before(full, held, facts)),
            "note": notes,
            "carried": _carried(changes),
            "attempts": facts["attempts"],
        },
        index=given.index,
    )


def posts(planned: pd.DataFrame) -> Iterator[Post]:
    """The rows of a plan as Posts, made in chunks."""
    for start in range(0, len(planned), CHUNK_ROWS):
        chunk = planned.iloc[start : start + CHUNK_ROWS]
        actions = [_ACTIONS[action] for action in _strings(chunk["action"])]
        texts = [_strings(chunk[name]) for name in ("fields", "full", "changes", "changed", "note", "carried")]
        yield from starmap(
            Post,
            zip(
                chunk["row"].tolist(), chunk.index.tolist(), actions, *texts, chunk["attempts"].tolist(), strict=True
            ),
        )


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


def _strings(column: pd.Series[str]) -> list[str]:
    """A column of texts as strings; by way of NumPy, which is several times faster than tolist()."""
    return pa.array(column.array, pa.string()).to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def _text(column: pa.Array, index: pd.Index[str]) -> pd.Series[str]:
    return pd.Series(pd.array(column, dtype=TOKENS), index=index)


def _known_before(full: pd.DataFrame, held: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """What a report names as the old values.

    Of a RIC in doubt these are the acknowledged ones, so that a value which was only attempted does not come to the
    market untold; where the post goes back to what was acknowledged, it is the attempted one.
    """
    dirty = facts["dirty"]
    if not dirty.any():
        return held
    acked = token_table(facts["fields"][dirty], first=list(held.columns))[held.columns]
    return pd.concat([held[~dirty], acked.where(differs(full[dirty], acked), held[dirty])]).reindex(held.index)


def _change_texts(full: pd.DataFrame, before: pd.DataFrame) -> pd.Series[str]:
    """``BID 22.1 -> 22.3; ASK 24.5 -> 24.6``; for a value that was not there ``BID 22.1``."""
    changed = full.where(differs(full, before))
    parts = []
    for name in changed.columns:
        old, new = pa.array(before[name].array), _readable(pa.array(changed[name].array))
        if old.null_count < len(old):
            new = joined(pc.coalesce(joined(_readable(old), " -> "), ""), new)
        parts.append(joined(f"{name} ", new))
    return _text(enumeration(parts, "; ", len(full)), full.index)


def _readable(tokens: pa.Array) -> pa.Array:
    """Tokens as people read them, in columns."""
    is_text = pc.starts_with(tokens, '"')
    if not pc.any(is_text).as_py():
        return tokens
    inner = pc.utf8_slice_codeunits(tokens, 1, -1)
    inner = pc.replace_substring(inner, '\\"', '"')
    inner = pc.replace_substring(inner, "\\\\", "\\")
    return pc.if_else(is_text, inner, tokens)


def _carried(changes: Changes) -> pd.Series[str]:
    """The dates of the values that a post carries on without the file having given them, as JSON objects."""
    given, held = changes.given, changes.held
    kept = held.notna()
    kept[given.columns] &= given.isna()
    carried = pd.Series("", index=given.index, dtype=TOKENS)
    some = kept.any(axis=1)
    dates = dates_kept(kept[some], changes.facts[some])
    carried[some] = _text(object_column(dates), dates.index).replace("{}", "")
    return carried
