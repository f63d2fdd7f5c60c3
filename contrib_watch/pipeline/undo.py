"""Undoing what is in the market: the values before a drop, or none at all.

Both are drops of their own, which pass the guards, wait for approvals, and have reports as any other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from contrib_watch.adapters.folder import keep
from contrib_watch.core.model import CLEARED, UNKNOWN, Drop, DropStatus, Feed, Person, Quotes, Source
from contrib_watch.core.restating import restated, sheet_of
from contrib_watch.core.tokens import tokens_of
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.aside import done_at_once
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.later import REVERT, stated_by, undone_by
from contrib_watch.pipeline.readback import owners
from contrib_watch.store.brought import brought_by
from contrib_watch.store.history import History

Values = dict[str, dict[str, str]]
"""RIC to field to token."""


def revert(desk: Desk, drop_id: int, by: Person, why: str = "") -> Drop:
    """Drop the values that the ADS had acknowledged before a drop, where that drop's are still the last ones.

    Those that it posted without an answer count as such. What it brought first is cleared; what a newer drop gives as
    well stays, unless the ADS refused that, or it was reverted, too. Raises ConfigurationError where nothing of it
    can be put back, where it is not known what was there before or what newer drops say, while a drop of its feed is
    on its way, and where this person may not drop anything.
    """
    drop = desk.drop_named(drop_id)
    if drop.feed not in desk.feeds:
        raise ConfigurationError(f"drop {drop_id} is of feed {drop.feed!r}, which is not in the configuration")
    feed = desk.feeds[drop.feed]
    _check_person(feed, by)
    newer = _over_since(desk, drop)
    stated = done_at_once(stated_by(desk, drop, besides=_reverted(desk), refused=False))
    values = _values_before(desk, drop, feed, stated)
    if not values:
        what = f"nothing of drop {drop_id} can be put back: the ADS holds no value that it brought to the Service "
        what += f"{feed.service!r}, where its feed posts, or newer drops give the same one"
        hint = "Drop a file with other values, or clear these by `contrib-watch withdraw`"
        raise ConfigurationError(what, hint=hint)
    sheet = _kept(desk, feed, values, f"{REVERT}{drop_id}")
    with desk.state.transaction():
        if _over_since(desk, drop) != newer:
            what = f"drop {drop_id} is not reverted: a newer drop of its feed has ended meanwhile"
            raise ConfigurationError(what, hint="Look at that one, then revert again")
        return _drop(desk, sheet, by, why)


def withdraw(desk: Desk, rics: Sequence[str], service: str | None, by: Person, why: str = "") -> list[Drop]:
    """Drop nulls for every value that the ADS has, or may have, of these RICs; a drop for each feed that owns some.

    Raises ConfigurationError where one of them has no value in any (or the given) Service that is its feed's.
    """
    found: dict[str, Values] = {}
    for one in dict.fromkeys(feed.service for feed in desk.feeds.values()):
        if service in (None, one):
            known = desk.ledger.snapshot(one, list(dict.fromkeys(rics)))
            columns = (known[name].to_pylist() for name in ("ric", "feed", "fields", "attempted"))
            for ric, feed, held, attempted in zip(*columns, strict=True):
                told = (*_tokens(held).items(), *_tokens(attempted).items())
                cleared = {name: CLEARED for name, token in told if token != CLEARED}
                if cleared and feed in owners(desk, one):
                    found.setdefault(feed, {})[ric] = cleared
    lost = set(rics) - {ric for values in found.values() for ric in values}
    if lost:
        what = f"there is nothing to withdraw of {', '.join(sorted(lost))}: "
        coming = ", ".join(str(one.id) for one in desk.drops.pending())
        hint = f"Drop {coming} is on its way and may bring one: look again once it is over" if coming else ""
        raise ConfigurationError(what + "no feed has a value of it in the Service to which it posts", hint=hint)
    for feed in found:
        _check_person(desk.feeds[feed], by)
    sheets = [_kept(desk, desk.feeds[feed], values, "withdrawal") for feed, values in found.items()]
    with desk.state.transaction():
        return [_drop(desk, sheet, by, why) for sheet in sheets]


def _check_person(feed: Feed, by: Person) -> None:
    """Whoever drops something is told apart from who approves it, so that a feed with approvers must know them."""
    if feed.approvers and by.source is not Source.OS_USER:
        raise ConfigurationError(f"feed {feed.name} has approvers: --as must be the OS user, who is {by.account}")


def _over_since(desk: Desk, drop: Drop) -> list[Drop]:
    """The newer drops of a feed, which are all over.

    One of those on their way may be a correction: what is put back would be newer than it, and stay.
    """
    for one in desk.drops.pending():
        if one.feed == drop.feed:
            what = f"drop {drop.id} cannot be reverted yet: drop {one.id} of its feed is {one.status.value}"
            raise ConfigurationError(what, where=one.path, hint="Let it end first; `contrib-watch status` shows it")
    return desk.drops.newer(drop)


def _reverted(desk: Desk) -> set[int]:
    """The drops that a person had undone, and those that undid them: what they say does not stand by itself."""
    silent: set[int] = set()
    for one in reversed(desk.drops.with_status(DropStatus.DONE)):
        undone = undone_by(one)
        if undone is not None and one.id not in silent:  # which a later revert may have undone
            silent |= {one.id, undone}
    return silent


def moved_on(desk: Desk, drop: Drop, quotes: Quotes) -> dict[str, frozenset[str]]:
    """RIC to the fields that a revert must leave as they are: they no longer have the value that it is to undo."""
    if (reverted := undone_by(drop)) is None:
        return {}
    service, given = desk.feeds[drop.feed].service, quotes.values
    brought = History(desk.state).applied_of(reverted, service)
    now = _fields_now(desk, service, given.index.tolist())
    left: dict[str, frozenset[str]] = {}
    for ric, row in zip(given.index, given.to_dict("records"), strict=True):
        held, undone = _tokens(now.get(ric)), tokens_of(brought[ric][-1].full) if ric in brought else {}
        names = [name for name, token in row.items() if held.get(name, CLEARED) not in (undone.get(name), token)]
        if names:
            left[str(ric)] = frozenset(map(str, names))
    return left


def _fields_now(desk: Desk, service: str, rics: Sequence[str]) -> dict[str, str | None]:
    """What the ADS has acknowledged of RICs, as JSON objects."""
    known = desk.ledger.snapshot(service, rics)
    return dict(zip(known["ric"].to_pylist(), known["fields"].to_pylist(), strict=True))


def _values_before(desk: Desk, drop: Drop, feed: Feed, stated: Mapping[str, Collection[str]]) -> Values:
    values: Values = {}
    brought = brought_by(desk.state, drop.id, feed.service)
    in_doubt = {ric: tokens_of(full) for ric, full, _ in desk.ledger.doubtful(drop, feed.service)}
    now = _fields_now(desk, feed.service, list(dict.fromkeys([*(one.ric for one in brought), *in_doubt])))
    for one in brought:
        if one.before == "":
            what = f"it is not known what {one.ric} was before drop {drop.id}: that is older than the record"
            raise ConfigurationError(what)
        if not one.is_told:
            what = f"what drop {drop.id} replaced of {one.ric} is not what the record has from before it"
            raise ConfigurationError(what, hint=f"`contrib-watch audit ric {one.ric}` shows both")
        held, before = _tokens(now.get(one.ric)), _tokens(one.before)
        kept, posted = stated.get(one.ric, ()), in_doubt.pop(one.ric, {})
        after = tokens_of(one.after)
        names = [name for name in one.changed if name not in kept]
        if stand := [name for name in names if after.get(name) in (held.get(name), posted.get(name))]:
            values[one.ric] = {name: before.get(name, CLEARED) for name in stand}
    for ric, posted in in_doubt.items():  # of which there is no outcome with its post, as where the drop failed
        held, kept = _tokens(now.get(ric)), stated.get(ric, ())
        if stand := [name for name, token in posted.items() if name not in kept and token != held.get(name)]:
            values[ric] = {name: held.get(name, CLEARED) for name in stand}
    return values


def _tokens(fields: object) -> Mapping[str, str]:
    return tokens_of(fields) if isinstance(fields, str) else {}


class _Sheet(NamedTuple):
    """What is to be dropped, in the spool."""

    feed: Feed
    origin: str
    name: str
    sha256: str
    size_bytes: int


def _kept(desk: Desk, feed: Feed, values: Values, origin: str) -> _Sheet:
    """Values as a CSV that is read as it is meant; made before a transaction, in which nobody else can write."""
    sha256, path = keep(desk.settings.state.folder / "spool", sheet_of(values))
    name = f"{origin.replace(' ', '-')}.csv"
    _check_as_read(desk.read(path, name, restated(feed)).quotes.values, values)
    return _Sheet(feed, origin, name, sha256, path.stat().st_size)


def _drop(desk: Desk, sheet: _Sheet, by: Person, why: str) -> Drop:
    """Number it, within the caller's transaction."""
    now = desk.clock.utc()
    drop = desk.drops.accept(
        feed=sheet.feed.name,
        path=str(Path(sheet.feed.folder) / sheet.name),
        sha256=sheet.sha256,
        size_bytes=sheet.size_bytes,
        mtime_ns=int(now.timestamp() * 1_000_000_000),
        owner=by.name or UNKNOWN,
        owner_source=by.source,
        seen_at_utc=now,
        origin=sheet.origin,
    )
    told = {"decision": sheet.origin, "service": sheet.feed.service, **by.told(why)}
    desk.state.append("decision", {**told, "drop": drop.id, "run": drop.run}, drop.id)
    return drop


def _check_as_read(read: pd.DataFrame, values: Values) -> None:
    """Refuse what would not be read as it is meant: a text that means something else in a sheet."""
    for ric, row in values.items():
        for name, token in row.items():
            if ric not in read.index or read.at[ric, name] != token:
                hint = "Drop it as a file of your own"
                raise ConfigurationError(f"{name} of {ric} cannot be put back as {token}", hint=hint)
