"""What the ADS should hold, and what is posted again because it does not.

Posts of a repair belong to no drop: they are in flight, and dirty, under REPAIR in place of a drop's number, unless a
person sends values in doubt once more, which stay their drop's. As with a drop's posts, a RIC has at most one
outstanding, and the record advances in the transaction of the Ack.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, literal, select

from contrib_watch.core.model import Outcome, Outcomes, Post, Status, in_columns
from contrib_watch.store import in_flight, schema
from contrib_watch.store.bulk import add_rows, drop_rics, rows_of
from contrib_watch.store.in_flight import Posted
from contrib_watch.store.ledger import Ledger
from contrib_watch.store.prepared import execute, scalars
from contrib_watch.store.record import REPAIR_COLUMNS, leaves_of, repair_leaves
from contrib_watch.store.state import State

REPAIR = 0
"""Stands where a post of a drop has the drop's number."""

_known, _lost = schema.snapshot.c, schema.dirty.c
_OF_FEEDS, _OF_RICS = (
    select(func.json_each(bindparam(name)).table_valued("value").c.value) for name in ("of_feeds", "of_rics")
)
_ACKED = select(_known.ric).where(_known.service == bindparam("of_service"), _known.feed.in_(_OF_FEEDS))
_DOUBTED = select(_lost.ric).where(_lost.service == bindparam("of_service"), _lost.feed.in_(_OF_FEEDS))
_DOUBTED_BY_DROPS = _DOUBTED.where(_lost.drop_id != REPAIR)
_LOST_TO_DROPS = _DOUBTED_BY_DROPS.join(
    schema.snapshot, and_(_known.service == _lost.service, _known.ric == _lost.ric)
)
_NOT_LOST = delete(schema.dirty).where(
    _lost.service == bindparam("of_service"), _lost.drop_id == REPAIR, _lost.ric.in_(_OF_RICS)
)
_NOT_IN_DOUBT = (
    select(_known.service, _known.ric, _known.feed, literal(REPAIR), _known.fields, literal(0))
    .outerjoin(schema.dirty, and_(_lost.service == _known.service, _lost.ric == _known.ric))
    .where(_known.service == bindparam("of_service"), _known.ric.in_(_OF_RICS), _lost.ric.is_(None))
)
_DOUBT = insert(schema.dirty).from_select(["service", "ric", "feed", "drop_id", "full", "attempts"], _NOT_IN_DOUBT)
_COLUMNS = {
    "snapshot": (_known.feed, _known.drop_id, _known.fields),
    "dirty": (_lost.feed, _lost.drop_id, _lost.full),
}
"""Of a row behind its RIC, by table."""


class Wanted(NamedTuple):
    """What the ADS should hold of an item."""

    feed: str
    """The feed that owns it."""
    drop_id: int
    """The drop whose values they are."""
    fields: str
    """The JSON object that a full Refresh carries: attempted values before acknowledged ones."""
    certain: bool
    """The ADS acknowledged exactly these, and no drop has tried to change them since."""


class Repairs:
    """What a state says the ADS should hold."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._ledger = Ledger(state)

    def rics(self, service: str, feeds: Collection[str], *, uncertain: bool) -> list[str]:
        """The RICs of a Service that these feeds own, in order; ``uncertain``: also those in doubt."""
        owned = {"of_service": service, "of_feeds": json.dumps(list(feeds))}
        with self._state.transaction() as connection:
            rics = set(scalars(connection, _ACKED, **owned))
            if uncertain:
                rics.update(scalars(connection, _DOUBTED, **owned))
            else:
                rics.difference_update(scalars(connection, _DOUBTED_BY_DROPS, **owned))
        return sorted(rics)

    def in_doubt(self, service: str, feeds: Collection[str]) -> set[str]:
        """The RICs of these feeds that the ADS acknowledged once, and that a drop has left in doubt since."""
        with self._state.transaction() as connection:
            return set(scalars(connection, _LOST_TO_DROPS, of_service=service, of_feeds=json.dumps(list(feeds))))

    def wanted(self, service: str, rics: Sequence[str]) -> dict[str, Wanted]:
        """What the ADS should hold of these RICs; left out is what was never posted, or is just on its way."""
        found: dict[str, Wanted] = {}
        with self._state.transaction() as connection:
            for ric, feed, drop_id, fields in self._rows("snapshot", service, rics):
                found[ric] = Wanted(feed, drop_id, fields, certain=True)
            for ric, feed, drop_id, full in self._rows("dirty", service, rics):
                acked = found.get(ric)
                if drop_id != REPAIR or acked is None or acked.fields != full:
                    found[ric] = Wanted(feed, drop_id, full, certain=False)
            for ric in in_flight.rics_of(connection, service):
                found.pop(ric, None)
        return found

    def doubt(self, service: str, rics: Sequence[str]) -> None:
        """The ADS does not hold what it acknowledged of these RICs: from now on their next post is a full Refresh.

        Those that are in doubt already stay as they are.
        """
        with self._state.transaction() as connection:
            execute(connection, _DOUBT, of_service=service, of_rics=json.dumps(rics))

    def present(self, service: str, rics: Sequence[str]) -> None:
        """The ADS was seen to hold what it acknowledged of these RICs: a repair left them in doubt for nothing."""
        with self._state.transaction() as connection:
            execute(connection, _NOT_LOST, of_service=service, of_rics=json.dumps(rics))

    def in_flight(self, service: str, posts: Sequence[Post], wanted: Mapping[str, Wanted]) -> list[int]:
        """Record posts durably before they go on the wire, and give each its PostID."""
        origins = [(one.feed, REPAIR if one.certain else one.drop_id) for one in (wanted[post.ric] for post in posts)]
        return self._ledger.under_way(service, posts, origins)

    def landed(self, service: str, posts: Sequence[Post], acked_at_utc: Sequence[str]) -> None:
        """The ADS acknowledged these posts: their RICs are clean.

        What the snapshot holds already stays as it is, since its values are as old as they were.
        """
        rics = [post.ric for post in posts]
        with self._state.transaction() as connection:
            held = {row.ric: row.fields for row in self._rows("snapshot", service, rics)}
            doubted: dict[str, Posted | _Row] = {
                one.ric: one for one in in_flight.without_answer(connection, service)
            }
            doubted |= {row.ric: row for row in self._rows("dirty", service, rics)}
            rows = [
                {
                    "service": service,
                    "ric": post.ric,
                    "feed": doubted[post.ric].feed,
                    "fields": post.full,
                    "carried": "",
                    "drop_id": doubted[post.ric].drop_id,
                    "acked_at_utc": at_utc,
                }
                for post, at_utc in zip(posts, acked_at_utc, strict=True)
                if held.get(post.ric) != post.full
            ]
            in_flight.end(connection, service, rics)
            drop_rics(connection, schema.dirty, service, rics)
            drop_rics(connection, schema.snapshot, service, [str(row["ric"]) for row in rows])
            if rows:
                connection.execute(insert(schema.snapshot), rows)

    def interrupted(self, going_on: Collection[int], seen_at_utc: str) -> None:
        """At a start: record what was posted again, and had no answer when the last process ended.

        Of posts for drops that are ``going_on`` these tell themselves. When a post was sent is not known any more; in
        place of the answer's time stands when this was seen.
        """
        with self._state.transaction() as connection:
            lost = [one for one in in_flight.without_answer(connection) if one.drop_id not in going_on]
            for service, posted in groupby(sorted(lost), key=attrgetter("service")):
                outcomes = [
                    Outcome(
                        0,
                        one.ric,
                        Status.UNCONFIRMED,
                        post_id=one.post_id,
                        text="the program was stopped before the answer came",
                        acked_at_utc=seen_at_utc,
                        attempts=one.attempts,
                        full=one.full,
                    )
                    for one in posted
                ]
                self.record(service, in_columns(outcomes), {one.ric: "posted again" for one in outcomes})

    def record(self, service: str, outcomes: Outcomes, reasons: Mapping[str, str]) -> None:
        """RICs of a Service whose posting again has ended; ``reasons``: why each was posted again."""
        if outcomes["row"]:
            kept = {name: values for name, values in outcomes.items() if name in REPAIR_COLUMNS}
            columns = {**kept, "reason": [reasons[ric] for ric in outcomes["ric"]], "fields": outcomes["full"]}
            with self._state.transaction() as connection:
                number = schema.repairs.c.id
                before = connection.scalar(select(func.max(number))) or 0
                add_rows(connection, schema.repairs, columns, {"service": service})
                added = select(func.min(number), func.max(number)).where(number > before)
                first, last = connection.execute(added).one()  # after a restore, there is a gap before the first
                leaves = leaves_of(repair_leaves(connection, first, last), REPAIR_COLUMNS)
                self._state.append("repairs", {"first": first, "last": last, "leaves": leaves._asdict()})

    def _rows(self, name: str, service: str, rics: Sequence[str]) -> list[_Row]:
        """The rows of a table that are of these RICs."""
        table = schema.metadata.tables[name]
        with self._state.transaction() as connection:
            pieces = rows_of(connection, table, _COLUMNS[name], service, rics)
            return [_Row(*row) for rows in pieces for row in rows]


class _Row(NamedTuple):
    ric: str
    feed: str
    drop_id: int
    fields: str
