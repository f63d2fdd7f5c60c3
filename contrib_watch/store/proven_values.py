"""Whether what counts as acknowledged, in doubt or on its way is what posts and their answers left."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, FromClause, Row, Select, bindparam, func, or_, select

from contrib_watch.core.model import Status
from contrib_watch.store import in_flight, schema
from contrib_watch.store.drops import PENDING, begun_for
from contrib_watch.store.post_ids import LAST_POST_ID
from contrib_watch.store.repairs import REPAIR

_KNOWN, _OUTCOMES, _REPAIRS, _DROPS = schema.snapshot, schema.outcomes, schema.repairs, schema.drops
_POSTED = select(*(bindparam(name).label(name) for name in ("service", "ric", "feed", "drop_id", "full"))).subquery()
"""A post in flight, in parameters."""
_IS_ACKED = (_OUTCOMES.c.status == Status.ACKED, _OUTCOMES.c.full != "")  # older than the record: without values


class _Acked(NamedTuple):
    """What was acknowledged last of each item."""

    last: dict[tuple[str, str], int]
    """The PostID of a drop's post, by Service and RIC."""
    under_way: dict[tuple[str, str], int]
    """The same of drops that are not over, by feed and RIC, where nothing tells their Service."""
    again: dict[tuple[str, str], _Again]
    """By Service and RIC."""
    in_order: bool
    """No PostID has come up twice, so that the higher one was posted later."""


class _Again(NamedTuple):
    """The last post that was acknowledged of an item for no drop's sake."""

    post_id: int
    fields: str
    acked_at_utc: frozenset[str]
    """When; and when before, of the same values: the snapshot keeps the first time."""


def unexplained(connection: Connection, drops_before: int) -> Iterator[str]:
    """What of the snapshot, and of what is in doubt or in flight, no outcome and no repair explains.

    ``drops_before``: the drops up to this number are older than the record, which knows no values of theirs.
    """
    acked = _Acked(*_last_of_drops(connection), _last_repairs(connection), _post_ids_in_order(connection))
    yield from _of_snapshot(connection, drops_before, acked)
    yield from _not_in_doubt(connection, acked)
    bound = {"drops_before": drops_before}
    yield from _of_attempts(connection, schema.dirty, bound, "in doubt")
    for one in in_flight.without_answer(connection):
        yield from _of_attempts(connection, _POSTED, bound | one._asdict(), "in flight")


def _of_snapshot(connection: Connection, drops_before: int, acked: _Acked) -> Iterator[str]:
    """Every item holds what was acknowledged of it last: by PostID, since a RIC has one outstanding post at most."""
    last, under_way, again, in_order = acked
    seen: set[tuple[str, str]] = set()
    owned: set[tuple[str, str]] = set()
    for row in connection.execute(_snapshot_with_posts()):
        item = (row.service, row.ric)
        seen.add(item)
        owned.add((row.feed, row.ric))
        what = f"the snapshot's values of {row.ric} ({row.service}) are not those that were acknowledged"
        post_id = max(last.get(item, 0), under_way.get((row.feed, row.ric), 0))
        if row.drop_id != REPAIR and row.feed != row.drops_feed:
            yield f"the snapshot says that {row.ric} ({row.service}) is of feed {row.feed!r}: its drop is not"
        if not _fits(row, post_id, again.get(item), in_order) and not _is_older(
            row, post_id, item in again, drops_before
        ):
            yield f"{what} for drop {row.drop_id}" if row.post_id is None else f"{what} last"
    for service, ric in sorted((last.keys() | again.keys()) - seen):
        yield f"{ric} ({service}) was acknowledged, and the snapshot does not have it"
    for feed, ric in sorted(under_way.keys() - owned):
        yield f"{ric} of feed {feed!r} was acknowledged, and the snapshot does not have it"


def _not_in_doubt(connection: Connection, acked: _Acked) -> Iterator[str]:
    """Every item whose last post had no answer is in doubt: only what the ADS acknowledged since ends that."""
    if not acked.in_order:
        return
    unsettled = {ric for _, ric in acked.under_way}
    doubted = {tuple(row) for row in connection.execute(select(schema.dirty.c.service, schema.dirty.c.ric))}
    doubted |= {(one.service, one.ric) for one in in_flight.without_answer(connection)}
    for service, ric, post_id in connection.execute(_unanswered()):
        item = (service, ric)
        again = acked.again.get(item)
        since = max(acked.last.get(item, 0), again.post_id if again else 0)
        if post_id > since and item not in doubted and ric not in unsettled:
            yield f"{ric} ({service}) was posted without an answer, and is not in doubt"


def _fits(row: Row[Any], last: int, again: _Again | None, in_order: bool) -> bool:
    """The row is what the last post of a drop left, or what a repair left after it."""
    from_last = row.post_id is not None and (row.post_id == last or not in_order)
    if again is None or (in_order and again.post_id < last):
        return from_last
    repaired = row.fields == again.fields
    return (repaired and (row.acked_at_utc in again.acked_at_utc or from_last)) or (from_last and not in_order)


def _is_older(row: Row[Any], last: int, repaired: bool, drops_before: int) -> bool:
    """Nothing was acknowledged of it since there is a record."""
    return REPAIR < row.drop_id <= drops_before and not last and not repaired


@cache
def _snapshot_with_posts() -> Select[Any]:
    """The snapshot, each row with the PostID of the outcome that it is from, and the feed of its drop."""
    post_id = (
        select(func.max(_OUTCOMES.c.post_id))
        .where(
            _OUTCOMES.c.ric == _KNOWN.c.ric,
            _OUTCOMES.c.acked_at_utc == _KNOWN.c.acked_at_utc,
            _OUTCOMES.c.drop_id == _KNOWN.c.drop_id,
            _OUTCOMES.c.full == _KNOWN.c.fields,
            _OUTCOMES.c.status == Status.ACKED,
        )
        .scalar_subquery()
    )
    names = ("service", "ric", "feed", "drop_id", "fields", "acked_at_utc")
    return (
        select(*(_KNOWN.c[name] for name in names), post_id.label("post_id"), _DROPS.c.feed.label("drops_feed"))
        .outerjoin(_DROPS, _DROPS.c.id == _KNOWN.c.drop_id)
        .order_by(_KNOWN.c.service, _KNOWN.c.ric)
    )


def _last_of_drops(connection: Connection) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """The highest acknowledged PostID by Service and RIC; by feed and RIC where nothing tells a run's Service."""
    over, going_on = _highest_post_ids()
    by_service = {(service, ric): post_id or 0 for service, ric, post_id in connection.execute(over)}
    by_feed: dict[tuple[str, str], int] = {}
    begun = begun_for(connection)
    for drop_id, run, feed, ric, post_id in connection.execute(going_on):
        service = begun.get((drop_id, run))
        found, whose = (by_feed, feed) if service is None else (by_service, service)
        found[whose, ric] = max(found.get((whose, ric), 0), post_id or 0)
    return by_service, by_feed


@cache
def _highest_post_ids() -> tuple[Select[Any], Select[Any]]:
    """By Service and RIC of the runs that are over; by drop, run, feed and RIC of the others."""
    runs = schema.runs
    told = (runs.c.drop_id == _OUTCOMES.c.drop_id) & (runs.c.run == _OUTCOMES.c.run)
    over = select(runs.c.service, _OUTCOMES.c.ric, func.max(_OUTCOMES.c.post_id)).join(runs, told)
    over = over.where(*_IS_ACKED).group_by(runs.c.service, _OUTCOMES.c.ric)
    which = (_OUTCOMES.c.drop_id, _OUTCOMES.c.run, _DROPS.c.feed, _OUTCOMES.c.ric)
    going_on = (
        select(*which, func.max(_OUTCOMES.c.post_id))
        .join(_DROPS, _DROPS.c.id == _OUTCOMES.c.drop_id)
        .outerjoin(runs, told)
        .where(runs.c.service.is_(None), *_IS_ACKED)
        .group_by(*which)
    )
    return over, going_on


@cache
def _unanswered() -> Select[Any]:
    """Service, RIC and PostID of the last post that had no answer, of the runs that are over."""
    runs = schema.runs
    of_run = (runs.c.drop_id == _OUTCOMES.c.drop_id) & (runs.c.run == _OUTCOMES.c.run)
    item = (runs.c.service, _OUTCOMES.c.ric)
    is_unanswered = (_OUTCOMES.c.status == Status.UNCONFIRMED, _OUTCOMES.c.post_id.is_not(None))
    return select(*item, func.max(_OUTCOMES.c.post_id)).join(runs, of_run).where(*is_unanswered).group_by(*item)


def _last_repairs(connection: Connection) -> dict[tuple[str, str], _Again]:
    query = select(_REPAIRS).where(_REPAIRS.c.status == Status.ACKED).order_by(_REPAIRS.c.id)
    found: dict[tuple[str, str], _Again] = {}
    for row in connection.execute(query):
        before = found.get((row.service, row.ric))
        earlier = before.acked_at_utc if before is not None and before.fields == row.fields else frozenset()
        found[row.service, row.ric] = _Again(row.post_id or 0, row.fields, earlier | {row.acked_at_utc})
    return found


def _post_ids_in_order(connection: Connection) -> bool:
    meta = schema.meta
    key = connection.scalar(select(meta.c.value).where(meta.c.key == "next_post_key"))
    return int(key or 1) <= LAST_POST_ID


def _of_attempts(connection: Connection, attempts: FromClause, bound: dict[str, Any], state: str) -> Iterator[str]:
    for row in connection.execute(_unexplained_attempts(attempts), bound):
        yield f"{row.ric} ({row.service}) is {state} with values that no post of drop {row.drop_id} had"


@cache
def _unexplained_attempts(table: FromClause) -> Select[Any]:
    """Values in doubt or in flight are those of a drop under way, of an outcome or a repair, or acknowledged ones.

    After a crash the last process's posts are in no outcome yet: their drop is under way still.
    """
    same_item = (table.c.service == _KNOWN.c.service) & (table.c.ric == _KNOWN.c.ric)
    acked = select(_KNOWN.c.ric).where(same_item, _KNOWN.c.fields == table.c.full).exists()
    lost = schema.dirty.alias("lost")
    doubted = (
        select(lost.c.ric)
        .where(lost.c.service == table.c.service, lost.c.ric == table.c.ric, lost.c.full == table.c.full)
        .exists()
    )
    of_drop = (
        select(_OUTCOMES.c.ric)
        .where(
            _OUTCOMES.c.ric == table.c.ric, _OUTCOMES.c.drop_id == table.c.drop_id, _OUTCOMES.c.full == table.c.full
        )
        .exists()
    )
    repaired = (
        select(_REPAIRS.c.ric)
        .where(
            _REPAIRS.c.ric == table.c.ric, _REPAIRS.c.service == table.c.service, _REPAIRS.c.fields == table.c.full
        )
        .exists()
    )
    explained = [acked, of_drop, repaired, _DROPS.c.status.in_(PENDING)]
    if table is _POSTED:
        explained.append(doubted)
    recorded = or_(table.c.drop_id > bindparam("drops_before"), table.c.drop_id == REPAIR)
    return (
        select(table.c.service, table.c.ric, table.c.drop_id)
        .outerjoin(_DROPS, (_DROPS.c.id == table.c.drop_id) & (_DROPS.c.feed == table.c.feed))
        .where(recorded, ~func.coalesce(or_(*explained), False))
        .order_by(table.c.service, table.c.ric)
    )
