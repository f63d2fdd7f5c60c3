"""What a drop brought to its items, and what the ADS had acknowledged of them before: what a revert puts back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, Row, Select, bindparam, func, select

from contrib_watch.core.model import CLEARED, Status
from contrib_watch.core.tokens import tokens_of, unquoted
from contrib_watch.store import schema
from contrib_watch.store.history import History
from contrib_watch.store.post_ids import next_key, place_of, post_id_of
from contrib_watch.store.state import State

_LOOKED_UP = 4
"""How many rows, one after the other, are read in the time in which one is looked up."""
_OUTCOMES, _RUNS, _REPAIRS = schema.outcomes, schema.runs, schema.repairs


class Brought(NamedTuple):
    """What a drop brought to an item, and what the ADS had acknowledged of it before. Values are JSON objects."""

    ric: str
    changed: tuple[str, ...]
    after: str
    before: str | None
    """None: there was no such item; empty: older than the record, so that nobody knows."""
    is_told: bool
    """The drop's own outcome tells the same old values."""


class _Last(NamedTuple):
    """What was acknowledged last of an item: where its post stands in the order of all, and all values."""

    place: int
    full: str


def brought_by(state: State, drop_id: int, service: str) -> list[Brought]:
    """What the ADS acknowledged of a drop in a Service, or did not answer, all of its runs together, by RIC."""
    next_id = post_id_of(next_key(state))
    with state.transaction() as connection:
        applied = History(state).applied_of(drop_id, service)
        places = {ric: place_of(rows[0].post_id, next_id) for ric, rows in applied.items()}
        of = {"next_id": next_id, "drop": drop_id, "service": service}
        posted = _posted_before(connection, places, of)
        repaired = _each(connection, _REPAIR_BEFORE, places, of)
    found = []
    for ric, rows in sorted(applied.items()):
        names = {name: None for row in rows for name in row.changed.split(",") if name}
        last = max(filter(None, (posted.get(ric), repaired.get(ric))), default=None)
        before = None if last is None else last.full
        found.append(Brought(ric, tuple(names), rows[-1].full, before, _is_told(rows[0], before)))
    return found


def _posted_before(connection: Connection, places: Mapping[str, int], of: Mapping[str, Any]) -> dict[str, _Last]:
    """Of each RIC the outcome of any other drop that was acknowledged last before its place.

    Where the runs that had some of the RICs have not many more rows of other ones, they are read through.
    """
    if not places:
        return {}
    rics = {"rics": json.dumps(list(places))}
    runs = connection.execute(_RUNS_OF_RICS, {**of, **rics}).all()
    if sum(row.last_row for row in runs) > _LOOKED_UP * len(places) * len(runs):
        return _each(connection, _OUTCOME_BEFORE, places, of)
    among = {"runs": json.dumps([(row.drop_id, row.run) for row in runs]), "before": max(places.values())}
    read = connection.execute(_READ_THROUGH, {**of, **rics, **among})
    found = {ric: _Last(place, full) for ric, full, place in read}
    later = {ric: places[ric] for ric, last in found.items() if last.place >= places[ric]}
    sooner = {ric: last for ric, last in found.items() if ric not in later}
    return sooner | _each(connection, _OUTCOME_BEFORE, later, of)


def _each(
    connection: Connection, query: Select[Any], places: Mapping[str, int], of: Mapping[str, Any]
) -> dict[str, _Last]:
    """What a query about one RIC finds before each one's place."""
    asked = ((ric, connection.execute(query, {**of, "ric": ric, "before": place})) for ric, place in places.items())
    return {ric: _Last(row.place, row.full) for ric, result in asked if (row := result.first()) is not None}


def _last_of_one(table: Any, full: Any, *where: Any) -> Select[Any]:
    """The post of one RIC that the ADS acknowledged last, before a place in the order."""
    place = _place(table)
    mine = (table.c.ric == bindparam("ric"), table.c.status == Status.ACKED, place < bindparam("before"), *where)
    return select(full.label("full"), place.label("place")).where(*mine).order_by(place.desc()).limit(1)


def _place(table: Any) -> Any:
    return place_of(table.c.post_id, bindparam("next_id", type_=Integer))


def _pairs() -> tuple[Any, Any]:
    """Runs, given as a JSON list of drops and runs, and the condition that an outcome is of one of them."""
    given = func.json_each(bindparam("runs")).table_valued("value")
    drop_id, run = (func.json_extract(given.c.value, f"$[{index}]") for index in range(2))
    return given, (_OUTCOMES.c.drop_id == drop_id) & (_OUTCOMES.c.run == run)


def _runs_of_rics() -> Select[Any]:
    """The runs of other drops that have outcomes of some RICs, each with the number of its last row."""
    runs = (
        select(_OUTCOMES.c.drop_id, _OUTCOMES.c.run)
        .select_from(_OF_SERVICES)
        .where(_OUTCOMES.c.ric.in_(_GIVEN_RICS), *_OF_OTHERS)
        .distinct()
        .subquery()
    )
    rows = _OUTCOMES.alias()
    last_row = select(func.max(rows.c.row)).where(rows.c.drop_id == runs.c.drop_id, rows.c.run == runs.c.run)
    return select(runs, last_row.scalar_subquery().label("last_row"))


def _read_through() -> Select[Any]:
    """Of each RIC what was acknowledged last in some runs, before one place for all."""
    place = _place(_OUTCOMES)
    given, is_of_one = _pairs()
    # Not the plain RIC: SQLite would look up each one's rows by the index, which this is to save.
    mine = _OUTCOMES.c.ric.concat("").in_(_GIVEN_RICS)
    return (
        select(_OUTCOMES.c.ric, _OUTCOMES.c.full, func.max(place))  # SQLite gives the row that has the maximum
        .select_from(given.outerjoin(_OUTCOMES, is_of_one))
        .where(mine, _OUTCOMES.c.status == Status.ACKED, place < bindparam("before"))
        .group_by(_OUTCOMES.c.ric)
    )


_GIVEN_RICS = select(func.json_each(bindparam("rics")).table_valued("value").c.value)
_OF_OTHERS = (
    _OUTCOMES.c.drop_id != bindparam("drop"),
    func.coalesce(_RUNS.c.service, bindparam("service")) == bindparam("service"),
)
_OF_SERVICES = _OUTCOMES.outerjoin(_RUNS, (_RUNS.c.drop_id == _OUTCOMES.c.drop_id) & (_RUNS.c.run == _OUTCOMES.c.run))
_OUTCOME_BEFORE = _last_of_one(_OUTCOMES, _OUTCOMES.c.full, *_OF_OTHERS).select_from(_OF_SERVICES)
_REPAIR_BEFORE = _last_of_one(_REPAIRS, _REPAIRS.c.fields, _REPAIRS.c.service == bindparam("service"))
_RUNS_OF_RICS, _READ_THROUGH = _runs_of_rics(), _read_through()


def _is_told(outcome: Row[Any], before: str | None) -> bool:
    """Whether an outcome's ``changes`` begin with the values of ``before``, where these are known."""
    old, new = tokens_of(before) if before else {}, tokens_of(outcome.full)
    told = f"; {outcome.changes}; "
    changed = [name for name in outcome.changed.split(",") if name and old.get(name) != new.get(name, CLEARED)]
    return all(
        f"; {name} {f'{unquoted(old[name])} -> ' if name in old else ''}{unquoted(new.get(name, CLEARED))}; " in told
        for name in changed
    )
