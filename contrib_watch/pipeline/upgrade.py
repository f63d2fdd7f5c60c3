"""Whether the program, configuration and dictionary of today make of past drops what was made of them then.

EU 2018/1639, art. 4, asks contributors for a check after each change of the software. What is compared are rows and
values: which rows are refused, and what each of the others gives for each field, against what the record says was
posted, or was in the market already. Nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from contrib_watch.core.model import Drop, DropStatus, Quotes, Status
from contrib_watch.errors import StateError, UnreadableFile
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import utc_text
from contrib_watch.store.history import History, tokens
from contrib_watch.store.record import run_record

_RICS_AT_ONCE = 10_000


class Difference(NamedTuple):
    """Something that would be done otherwise today."""

    drop: int
    row: int | None
    """None: the whole file."""
    ric: str
    then: str
    now: str


@dataclass(frozen=True)
class Checked:
    """What came of the check."""

    drops: int
    rows: int
    differences: tuple[Difference, ...]
    not_checked: tuple[str, ...]
    """Drops that could not be compared, and why."""


def check_upgrade(desk: Desk, since: datetime) -> Checked:
    """Read the drops that were seen since a time once more, and compare their last processings."""
    history, rows = History(desk.state), 0
    differences: list[Difference] = []
    not_checked: list[str] = []
    seen = history.drops(from_utc=utc_text(since))
    for one in seen:
        drop, found = desk.drops.drop(one["drop"]), run_record(desk.state, one["drop"], one["run"])
        why = _why_not(desk, drop, found is not None)
        if why or found is None:
            not_checked.append(f"drop {drop.id}: {why}")
            continue
        record, told = found
        try:
            quotes: Quotes | None = desk.quotes(drop)
            now = ""
        except UnreadableFile as error:
            quotes, now = None, str(error)
        except StateError as error:
            not_checked.append(f"drop {drop.id}: {error}")
            continue
        if quotes is None or not told["read"]:
            if told["read"] or quotes is not None:
                then = "it was read" if told["read"] else told["reason"]
                differences.append(Difference(drop.id, None, "", then, now or "it would be read"))
            continue
        rows += quotes.rows_read
        differences += _compared(history, drop, quotes, told, at_utc=_concluded_utc(record.text))
    return Checked(len(seen) - len(not_checked), rows, tuple(differences), tuple(not_checked))


def _why_not(desk: Desk, drop: Drop, recorded: bool) -> str:
    if drop.feed not in desk.feeds:
        return f"its feed {drop.feed!r} is not in the configuration"
    if not recorded:
        return "it is not over, or is older than the record"
    return "it failed" if drop.status is DropStatus.FAILED else ""


def _concluded_utc(text: str) -> str:
    return str(json.loads(text)["at_utc"])


def _compared(
    history: History, drop: Drop, quotes: Quotes, told: Mapping[str, Any], at_utc: str
) -> Iterator[Difference]:
    outcomes = {row["row"]: row for row in history.rows(drop.id, drop.run)}
    later = {problem["row"] for problem in told["findings"]["problems"]}  # found by the snapshot, not by reading
    refused = {problem.row: problem for problem in quotes.problems}
    for number, problem in refused.items():
        then = outcomes.get(number)
        if then is None or then["status"] != Status.REJECTED:
            was = then["changes"] or then["status"] if then else "unchanged"
            yield Difference(drop.id, number, problem.ric, was, f"would be rejected: {problem}")
    unchanged: dict[str, dict[str, str]] = {}
    for ric, number, given in _given(quotes):
        then = outcomes.get(number)
        if then is None:
            unchanged[ric] = given
        elif then["status"] == Status.REJECTED:
            if number not in later and not then["full"]:
                yield Difference(drop.id, number, ric, f"rejected: {then['text']}", f"would be read: {given}")
        elif then["full"]:
            yield from _values(drop.id, number, ric, then, given)
    yield from _still_there(history, drop.id, quotes, unchanged, at_utc)


def _given(quotes: Quotes) -> Iterator[tuple[str, int, dict[str, str]]]:
    """RIC, row and the values that the file gives for it."""
    names = list(quotes.values.columns)
    columns = [quotes.values[name].tolist() for name in names]
    for index, (ric, number) in enumerate(zip(quotes.values.index, quotes.rows, strict=True)):
        values = {name: column[index] for name, column in zip(names, columns, strict=True)}
        yield str(ric), int(number), {name: value for name, value in values.items() if isinstance(value, str)}


def _values(drop: int, row: int, ric: str, then: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[Difference]:
    """What a row that was to be posted gives now, against what it was to post."""
    full = tokens(then["full"])
    changed = then["changed"].split(",") if then["changed"] else []
    kept = "kept as a newer drop gave it" in then["text"]
    for name in dict.fromkeys([*changed, *(() if kept else given)]):
        was, now = full.get(name, "nothing"), given.get(name, "nothing")
        if was != now:
            yield Difference(drop, row, ric, f"{name} {was}", f"{name} {now}")


def _still_there(
    history: History, drop: int, quotes: Quotes, unchanged: Mapping[str, Mapping[str, str]], at_utc: str
) -> Iterator[Difference]:
    """What rows that changed nothing give now, against what was in the market."""
    rics = list(unchanged)
    for start in range(0, len(rics), _RICS_AT_ONCE):
        chunk = rics[start : start + _RICS_AT_ONCE]
        market = {one.ric: tokens(one.fields) for one in history.as_of(at_utc, chunk)}
        for ric in chunk:
            if ric not in market:  # acknowledged before there was a record
                continue
            for name, now in unchanged[ric].items():
                was = market[ric].get(name, "null")
                if was != now:
                    yield Difference(drop, int(quotes.rows[ric]), ric, f"{name} {was} (unchanged)", f"{name} {now}")
