"""Undoing what is in the market: the values before a drop, or none at all.

Both are drops of their own, which pass the guards, wait for approvals, and have reports as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from contrib_watch.adapters.folder import keep
from contrib_watch.core.model import CLEARED, UNKNOWN, Drop, DropStatus, Feed, Person
from contrib_watch.core.restating import restated, sheet_of
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store.history import History, tokens

Values = dict[str, dict[str, str]]
"""RIC to field to token."""


def revert(desk: Desk, drop_id: int, by: Person, why: str = "") -> Drop:
    """Drop the values that the ADS had acknowledged before a drop, where that drop's are still the last ones.

    What it brought first is cleared. Raises ConfigurationError where nothing of it can be put back, or where it is
    not known what was there before.
    """
    try:
        drop = desk.drops.drop(drop_id)
    except KeyError:
        hint = "`contrib-watch status` lists the drops"
        raise ConfigurationError(f"there is no drop {drop_id}", hint=hint) from None
    if drop.feed not in desk.feeds:
        raise ConfigurationError(f"drop {drop_id} is of feed {drop.feed!r}, which is not in the configuration")
    if drop.status in (DropStatus.WAITING, DropStatus.SENDING):
        hint = "Pause its feed, or let it end first"
        raise ConfigurationError(f"drop {drop_id} is {drop.status.value}, so it cannot be reverted yet", hint=hint)
    feed = desk.feeds[drop.feed]
    values = _values_before(desk, drop, feed)
    if not values:
        what = f"nothing of drop {drop_id} can be put back: the ADS holds no value that it brought"
        raise ConfigurationError(what)
    return _drop(desk, feed, values, f"revert of drop {drop_id}", by, why)


def withdraw(desk: Desk, rics: Sequence[str], service: str | None, by: Person, why: str = "") -> list[Drop]:
    """Drop nulls for every value that the ADS has acknowledged of these RICs; a drop for each feed that owns some.

    Raises ConfigurationError where one of them has no value in any (or the given) Service.
    """
    found: dict[str, Values] = {}
    for one in dict.fromkeys(feed.service for feed in desk.feeds.values()):
        if service in (None, one):
            known = desk.ledger.snapshot(one, list(rics))
            for ric, feed, held in zip(known.index, known["feed"], known["fields"], strict=True):
                cleared = {name: CLEARED for name, token in _tokens(held).items() if token != CLEARED}
                if cleared and feed in desk.feeds:
                    found.setdefault(feed, {})[str(ric)] = cleared
    lost = set(rics) - {ric for values in found.values() for ric in values}
    if lost:
        raise ConfigurationError(f"there is nothing to withdraw of {', '.join(sorted(lost))}")
    with desk.state.transaction():
        return [_drop(desk, desk.feeds[feed], values, "withdrawal", by, why) for feed, values in found.items()]


def _values_before(desk: Desk, drop: Drop, feed: Feed) -> Values:
    values: Values = {}
    brought = list(History(desk.state).brought_by(drop.id, feed.service))
    now = desk.ledger.snapshot(feed.service, [one.ric for one in brought])["fields"]
    for one in brought:
        if one.before == "":
            what = f"it is not known what {one.ric} was before drop {drop.id}: that is older than the record"
            raise ConfigurationError(what)
        held, before = _tokens(now.get(one.ric)), _tokens(one.before)
        stand = [name for name in one.changed if held.get(name) == tokens(one.after).get(name)]
        if stand:
            values[one.ric] = {name: before.get(name, CLEARED) for name in stand}
    return values


def _tokens(fields: object) -> Mapping[str, str]:
    return tokens(fields) if isinstance(fields, str) else {}


def _drop(desk: Desk, feed: Feed, values: Values, origin: str, by: Person, why: str) -> Drop:
    sha256, path = keep(desk.settings.state.folder / "spool", sheet_of(values))
    name = f"{origin.replace(' ', '-')}.csv"
    _check_as_read(desk.read(path, name, restated(feed)).quotes.values, values)
    now = desk.clock.utc()
    with desk.state.transaction():
        drop = desk.drops.accept(
            feed=feed.name,
            path=str(Path(feed.folder) / name),
            sha256=sha256,
            size_bytes=path.stat().st_size,
            mtime_ns=int(now.timestamp() * 1_000_000_000),
            owner=by.name or UNKNOWN,
            owner_source=by.source,
            seen_at_utc=now,
            origin=origin,
        )
        told = {"decision": origin, "name": by.name, "source": by.source, "account": by.account, "why": why}
        desk.state.append("decision", {**told, "drop": drop.id, "run": drop.run}, drop.id)
        return drop


def _check_as_read(read: pd.DataFrame, values: Values) -> None:
    """Refuse what would not be read as it is meant: a text that means something else in a sheet."""
    for ric, row in values.items():
        for name, token in row.items():
            if ric not in read.index or read.at[ric, name] != token:
                hint = "Drop it as a file of your own"
                raise ConfigurationError(f"{name} of {ric} cannot be put back as {token}", hint=hint)
