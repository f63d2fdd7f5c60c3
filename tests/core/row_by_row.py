"""The rules of diff and plan once more, a row at a time with dicts and loops; and random sheets to try them on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

from contrib_watch.core.diff import SNAPSHOT, Later
from contrib_watch.core.model import Problem, Quotes
from contrib_watch.core.tokens import TOKENS

FEED = "desk"
CONFIGURED = {FEED: "", "other desk": "", "a desk with short RICs": "?"}
FOREIGN = "belongs to another feed"
EMPTY = "is a new RIC without any value"

Tokens = Mapping[str, str]


@dataclass(frozen=True)
class Known:
    """What the store knows of one RIC: acknowledged (``fields``), in doubt (``attempted``), or both."""

    fields: Tokens | None = None
    attempted: Tokens | None = None
    feed: str = FEED
    acked_on: str | None = "2026-11-20"
    attempted_by: str = "1"
    carried: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0


@dataclass(frozen=True)
class Case:
    """A drop and what is known before it."""

    columns: list[str]
    rows: dict[str, dict[str, str]]
    known: dict[str, Known]
    owned: set[str] | None = None
    refused: tuple[str, ...] = ()
    """RICs of rows that could not be read."""
    later: Later | None = None

    def quotes(self) -> Quotes:
        return quotes(self.columns, self.rows, self.refused)

    def snapshot(self) -> pa.RecordBatch:
        return snapshot(self.known)


class ExpectedPost(NamedTuple):
    row: int
    ric: str
    action: str
    fields: dict[str, str]
    full: dict[str, str]
    changes: set[str]
    changed: set[str]
    carried: dict[str, str]
    attempts: int
    in_doubt: bool
    gains: bool
    heir_of: str = ""
    newer: tuple[str, ...] = ()


@dataclass
class Expected:
    posts: list[ExpectedPost] = field(default_factory=list)
    problems: list[tuple[int, str, str]] = field(default_factory=list)
    replaced: list[tuple[int, str]] = field(default_factory=list)
    unchanged: int = 0
    kept_blanks: int = 0
    kept_since: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


def row_by_row(case: Case, configured: Mapping[str, str] = CONFIGURED) -> Expected:
    """What diff and plan have to find."""
    expected = Expected()
    for number, (ric, cells) in enumerate(case.rows.items(), start=2):
        known = case.known.get(ric, Known(acked_on=None))
        pattern = configured.get(known.feed)
        if ric in case.known and known.feed != FEED and pattern is not None and fnmatchcase(ric, pattern or "*"):
            expected.problems.append((number, ric, FOREIGN))
            continue
        is_new = known.fields is None and known.attempted is None
        in_doubt = known.attempted is not None
        held = {**(known.fields or {}), **(known.attempted or {})}
        given = {name: token for name, token in cells.items() if token != "null" or name in held}
        if is_new and not given:
            expected.problems.append((number, ric, EMPTY))
            continue
        acked = known.fields or {}
        asks = is_new or any(held.get(name) != token for name, token in given.items())
        newer = tuple(name for name in given if _is_later(name, ric, known, held, case.later))
        given = {name: token for name, token in given.items() if name not in newer}
        for name in case.columns:
            if name not in given and name not in newer and held.get(name, "null") != "null":
                expected.kept_blanks += 1
                if known.acked_on is not None:
                    expected.kept_since.add(known.carried.get(name, known.acked_on))
        changed = {name: token for name, token in given.items() if held.get(name) != token}
        gains = any(name not in held for name in given)
        heir_of = "" if is_new or in_doubt or changed else known.feed
        if heir_of == FEED or (is_new and not given):
            if asks and newer:
                expected.replaced.append((number, ric))
            else:
                expected.unchanged += 1
            continue
        full = {**held, **given}
        refresh = is_new or in_doubt or gains or bool(heir_of)
        carried = {name: known.carried.get(name, known.acked_on) for name in held if name not in given}
        expected.posts.append(
            ExpectedPost(
                row=number,
                ric=ric,
                action="Refresh" if refresh else "Update",
                fields=full if refresh else changed,
                full=full,
                changes={
                    change_text(name, before, token)
                    for name, token in full.items()
                    for before in [acked.get(name) if acked.get(name) != token else held.get(name)]
                    if before != token
                },
                changed=set(given if in_doubt else changed),
                carried={name: date for name, date in carried.items() if date is not None},
                attempts=known.attempts,
                in_doubt=in_doubt,
                gains=gains and not is_new,
                heir_of=heir_of,
                newer=newer,
            )
        )
    if case.owned is not None:
        expected.missing = {ric for ric in case.owned if ric not in case.rows and ric not in case.refused}
    return expected


def _is_later(name: str, ric: str, known: Known, held: Tokens, later: Later | None) -> bool:
    """Whether a newer drop has given this value: it brought or attempted it, or found it to be there."""
    if later is None:
        return False
    drops = {str(drop) for drop in later.drops}
    since = known.carried.get(name, known.acked_on) if name in held else None
    brought = since is not None and since.partition(" ")[2] in drops
    tried = name in held and held[name] != (known.fields or {}).get(name)
    attempted = known.attempted is not None and known.attempted_by in drops and tried
    return brought or attempted or name in later.stated.get(ric, ())


def change_text(name: str, before: str | None, after: str) -> str:
    shown = f"{readable(before)} -> {readable(after)}" if before is not None else readable(after)
    return f"{name} {shown}"


def readable(token: str) -> str:
    return json.loads(token) if token.startswith('"') else token


def json_object(tokens: Tokens) -> str:
    return "{" + ",".join(f'"{name}":{token}' for name, token in tokens.items()) + "}"


def exactly(text: str) -> dict[str, Any]:
    """A JSON object whose numbers are compared by their text: ``("number", "22.10")`` is not ``22.1``."""

    def number(literal: str) -> tuple[str, str]:
        return ("number", literal)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs), "a field twice"
        return dict(pairs)

    return json.loads(text, parse_float=number, parse_int=number, parse_constant=refuse, object_pairs_hook=once)


def column(values: list[str | None]) -> pd.api.extensions.ExtensionArray:
    return pd.array(values, dtype=TOKENS)


def quotes(
    columns: list[str], rows: Mapping[str, Tokens], refused: Collection[str] = (), first_row: int = 2
) -> Quotes:
    index = pd.Index(list(rows), dtype="str", name="RIC")
    values = pd.DataFrame(
        {name: column([cells.get(name) for cells in rows.values()]) for name in columns}, index=index
    )
    numbers = pd.Series(range(first_row, first_row + len(rows)), index=index, dtype="int64")
    problems = tuple(
        Problem(first_row + len(rows) + i, ric, "row", "x", "is not a number", "mend it")
        for i, ric in enumerate(refused)
    )
    return Quotes(values, numbers, {}, problems, len(rows) + len(refused))


def snapshot(known: Mapping[str, Known]) -> pa.RecordBatch:
    def text(tokens: Tokens | None) -> str | None:
        return None if tokens is None else json_object(tokens)

    rows = [
        (
            ric,
            one.feed,
            text(one.fields),
            json.dumps(one.carried, separators=(",", ":")) if one.carried else "",
            one.acked_on if one.fields is not None else None,
            text(one.attempted),
            None if one.attempted is None else one.attempted_by,
            one.attempts,
        )
        for ric, one in known.items()
    ]
    return pa.RecordBatch.from_pylist([dict(zip(SNAPSHOT.names, row, strict=True)) for row in rows], SNAPSHOT)


# random sheets

NAMES = ("BID", "ASK", "BID_1", "DSPLY_NAME", "CURRENCY")
RICS = ("A", "a", "NA", "NULL", "nan", "1E5", "005930", "=BRT-", "X;Y")
DATES = st.sampled_from(["2026-11-01 1", "2026-11-03 12", "2026-11-03 3", "2026-11-20 4"])
AWKWARD = ('","BID":1,"', '"', "\\", '\\"', "; ", " -> ", "null", "", "22.1", '{"BID":3}', ',"ASK":', "}", ":", "[")

numbers = st.sampled_from(
    ["0", "1", "22.1", "22.3", "-5", "9223372036854775807", "-0.00000000000001", "123456789.12345678901"]
)
texts = st.one_of(st.sampled_from(AWKWARD), st.text('aé"\\,:;{}[]/ $0', max_size=8)).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
tokens = st.one_of(numbers, numbers, texts, st.just("null"))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A random drop against random knowledge, with many RICs and values in common."""
    rics = draw(st.lists(st.sampled_from(RICS), unique=True))
    known: dict[str, Known] = {}
    for ric in rics:
        if draw(st.booleans()):
            known[ric] = draw(knowledge())
    columns = draw(st.permutations(NAMES).flatmap(lambda names: st.integers(0, len(names)).map(lambda n: names[:n])))
    rows: dict[str, dict[str, str]] = {}
    for ric in draw(st.permutations(rics)):
        if draw(st.integers(0, 4)):
            rows[ric] = draw(cells(list(columns), known.get(ric)))
    refused = tuple(ric for ric in rics if ric not in rows and draw(st.booleans()))
    owned = {ric for ric, one in known.items() if one.fields is not None and one.feed == FEED}
    return Case(list(columns), rows, known, draw(st.sampled_from([None, owned])), refused, draw(st.none() | laters))


laters = st.builds(
    Later,
    st.lists(st.sampled_from([2, 3, 4, 12]), unique=True),
    st.dictionaries(st.sampled_from(RICS), st.frozensets(st.sampled_from(NAMES))),
)


@st.composite
def knowledge(draw: st.DrawFn) -> Known:
    fields = draw(st.none() | st.dictionaries(st.sampled_from(NAMES), tokens, min_size=1))
    attempted = None
    if fields is None or draw(st.integers(0, 3)) == 0:
        tried = draw(st.dictionaries(st.sampled_from(NAMES), tokens, min_size=0 if fields else 1))
        names = draw(st.permutations([*dict.fromkeys([*(fields or {}), *tried])]))
        attempted = {name: {**(fields or {}), **tried}[name] for name in names}
    carried = draw(st.dictionaries(st.sampled_from(sorted(fields)), DATES)) if fields else {}
    feed = draw(st.sampled_from([FEED, FEED, FEED, *list(CONFIGURED)[1:], "a desk that is gone"]))
    acked_on = draw(DATES) if fields is not None else None
    attempted_by, attempts = draw(st.sampled_from(["1", "2", "12"])), draw(st.integers(0, 3)) if attempted else 0
    return Known(fields, attempted, feed, acked_on, attempted_by, carried, attempts)


@st.composite
def cells(draw: st.DrawFn, columns: list[str], known: Known | None) -> dict[str, str]:
    """A row: each cell is blank, what is held already, or something else."""
    held = {**(known.fields or {}), **(known.attempted or {})} if known else {}
    row: dict[str, str] = {}
    same = draw(st.booleans())
    for name in columns:
        choice = "held" if same else draw(st.sampled_from(["blank", "held", "other"]))
        if choice == "held" and name in held:
            row[name] = held[name]
        elif choice == "other":
            row[name] = draw(tokens)
    return row
