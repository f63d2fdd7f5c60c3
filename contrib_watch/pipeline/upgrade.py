"""Whether the program, configuration and dictionary of today make of past drops what was made of them then.

EU 2018/1639, art. 4, asks contributors for a check after each change of the software. Each drop's bytes are read and
planned once more, against what the ADS had acknowledged before it, as the record tells. Compared are which rows are
refused, and the posts: Refresh or Update, with which fields and values. Where the record does not tell all that a
plan hung on (a RIC in doubt, one that is older than the record, a newer drop's values), the file's values alone are
compared. What guards and people decided is taken as it was. Nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from contrib_watch.ads.delivery import WAS_UNKNOWN
from contrib_watch.core.chain import Link
from contrib_watch.core.diff import SNAPSHOT, diff
from contrib_watch.core.model import CLEARED, Action, Drop, DropStatus, Post, Problem, Quotes, Status
from contrib_watch.core.posts import GAINS_A_FIELD, IN_DOUBT, KEPT_NEWER, TAKEN_OVER, plan, posts
from contrib_watch.core.tokens import tokens_of
from contrib_watch.errors import StateError, UnreadableFile
from contrib_watch.pipeline.desk import Desk, Reading
from contrib_watch.pipeline.second_look import second_look
from contrib_watch.store import utc_text
from contrib_watch.store.history import History
from contrib_watch.store.record import run_record

_HANGS_ON_MORE = (IN_DOUBT, KEPT_NEWER, TAKEN_OVER, WAS_UNKNOWN)
"""Notes of posts that hung on what the record does not tell, or that were changed on their way."""
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
        _, told = found
        try:
            reading: Reading | None = desk.reading(drop)
            now = ""
        except UnreadableFile as error:
            reading, now = None, str(error)
        except StateError as error:
            not_checked.append(f"drop {drop.id}: {error}")
            continue
        if reading is None or not told["read"]:
            if told["read"] or reading is not None:
                then = "it was read" if told["read"] else told["reason"]
                differences.append(Difference(drop.id, None, "", then, now or "it would be read"))
            continue
        if (service := desk.feeds[drop.feed].service) != told["service"]:
            then, now = (f"posted to the Service {one}" for one in (told["service"], service))
            differences.append(Difference(drop.id, None, "", then, now))
        rows += reading.quotes.rows_read
        differences += _Past(desk, drop, reading, found).differences()
    return Checked(len(seen) - len(not_checked), rows, tuple(differences), tuple(not_checked))


def _why_not(desk: Desk, drop: Drop, recorded: bool) -> str:
    if drop.feed not in desk.feeds:
        return f"its feed {drop.feed!r} is not in the configuration"
    if not recorded:
        return "it is not over, or is older than the record"
    return "it failed" if drop.status is DropStatus.FAILED else ""


class _Sent(NamedTuple):
    """A post."""

    action: str
    fields: Mapping[str, str]
    """Field to token."""


class _Past:
    """A drop as it was processed, and as it would be."""

    def __init__(self, desk: Desk, drop: Drop, reading: Reading, recorded: tuple[Link, Mapping[str, Any]]) -> None:
        record, told = recorded
        history = History(desk.state)
        self._desk, self._drop, self._reading, self._quotes = desk, drop, reading, reading.quotes
        self._then = {row["row"]: row for row in history.rows(drop.id, drop.run)}
        self._by_state = {problem["row"] for problem in told["findings"]["problems"]}
        """Rows that were refused for what the state or a second program said."""
        sent = [row["sent_at_utc"] for row in self._then.values() if row["sent_at_utc"]]
        before = _just_before(min([*sent, json.loads(record.text)["at_utc"]]))
        service, rics = str(told["service"]), self._quotes.values.index.tolist()
        self._market = _market(history, before, drop, service, rics)

    def differences(self) -> Iterator[Difference]:
        """What would be done otherwise."""
        drop, quotes = self._drop, self._quotes
        changes = diff(quotes, _snapshot(drop.feed, self._market), feed=drop.feed, configured={})
        look = second_look(self._desk, *self._desk.file_of(drop), self._reading, changes.rics)
        planned = {post.ric: post for post in posts(plan(look.applied(changes)))}
        yield from self._refusals([*quotes.problems, *look.problems])
        refused = {problem.ric for problem in (*changes.problems, *look.problems)}
        for ric, row, given in _given(quotes):
            if ric not in refused:
                yield from self._of_row(ric, row, given, planned.get(ric))

    def _refusals(self, problems: Iterable[Problem]) -> Iterator[Difference]:
        for row, problem in {problem.row: problem for problem in problems}.items():
            then = self._then.get(row)
            if then is None or then["status"] != Status.REJECTED:
                was = then["changes"] or then["status"] if then else "unchanged"
                yield Difference(self._drop.id, row, problem.ric, was, f"would be rejected: {problem}")

    def _of_row(self, ric: str, row: int, given: Mapping[str, str], post: Post | None) -> Iterator[Difference]:
        """A row that is read without a problem."""
        then, is_known = self._then.get(row), ric in self._market
        if then is None:
            if is_known and post is not None:
                yield Difference(self._drop.id, row, ric, "unchanged", _told(_of_post(post)))
        elif not then["full"]:
            if then["status"] == Status.REJECTED and row not in self._by_state:
                yield Difference(self._drop.id, row, ric, f"rejected: {then['text']}", f"would be read: {given}")
        elif not _was_as_planned(then, is_known=is_known):
            yield from _values(self._drop.id, row, ric, then, given)
        else:
            was, now = _of_outcome(then), None if post is None else _of_post(post)
            if was != now:
                yield Difference(self._drop.id, row, ric, _told(was), _told(now) if now else "unchanged")


def _just_before(at_utc: str) -> str:
    return utc_text(datetime.fromisoformat(at_utc) - timedelta(milliseconds=1))


def _market(history: History, at_utc: str, drop: Drop, service: str, rics: Sequence[str]) -> dict[str, str]:
    """What the ADS had acknowledged of these RICs by a time, before a drop, as JSON objects.

    Where the clock was set back, the time alone would tell values of later drops.
    """
    found: dict[str, str] = {}
    for start in range(0, len(rics), _RICS_AT_ONCE):
        chunk = rics[start : start + _RICS_AT_ONCE]
        for one in history.as_of(at_utc, chunk):
            if one.service == service and (drop.run > 1 or (one.drop or 0) < drop.id):
                found[one.ric] = one.fields
    return found


def _snapshot(feed: str, market: Mapping[str, str]) -> pa.RecordBatch:
    """The same as core.diff takes it."""
    alike = {"feed": feed, "carried": "{}", "attempts": 0}
    return pa.RecordBatch.from_pylist([{"ric": ric, "fields": one, **alike} for ric, one in market.items()], SNAPSHOT)


def _was_as_planned(then: Mapping[str, Any], *, is_known: bool) -> bool:
    """Whether the record tells all that a row's post hung on, and it was not changed on its way."""
    if not then["action"] or then["attempts"] > 1 or any(words in then["text"] for words in _HANGS_ON_MORE):
        return False
    return is_known or (then["action"] == Action.REFRESH and GAINS_A_FIELD not in then["text"])


def _of_outcome(then: Mapping[str, Any]) -> _Sent:
    """The post of a row as it was."""
    full = tokens_of(then["full"])
    if then["action"] == Action.REFRESH:
        return _Sent(Action.REFRESH, full)
    return _Sent(then["action"], {name: full[name] for name in then["changed"].split(",") if name in full})


def _of_post(post: Post) -> _Sent:
    return _Sent(post.action, tokens_of(post.fields))


def _told(sent: _Sent) -> str:
    """``Update BID 22.3, ASK 24.6``"""
    return f"{sent.action} " + ", ".join(f"{name} {value}" for name, value in sent.fields.items())


def _given(quotes: Quotes) -> Iterator[tuple[str, int, dict[str, str]]]:
    """RIC, row and the values that the file gives for it."""
    names = list(quotes.values.columns)
    columns = [quotes.values[name].tolist() for name in names]
    for index, (ric, number) in enumerate(zip(quotes.values.index, quotes.rows, strict=True)):
        values = {name: column[index] for name, column in zip(names, columns, strict=True)}
        yield str(ric), int(number), {name: value for name, value in values.items() if isinstance(value, str)}


def _values(drop: int, row: int, ric: str, then: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[Difference]:
    """What a row that was to be posted gives now, against what it was to post."""
    full = tokens_of(then["full"])
    changed = then["changed"].split(",") if then["changed"] else []
    kept = KEPT_NEWER in then["text"]
    for name in dict.fromkeys([*changed, *(() if kept else given)]):
        was, now = full.get(name, "nothing"), given.get(name, "nothing")
        if was != now and {was, now} != {"nothing", CLEARED}:  # clearing what is not there posts nothing
            yield Difference(drop, row, ric, f"{name} {was}", f"{name} {now}")
