"""What a drop brought, and what was acknowledged before it: however the rows are found, the PostIDs decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from contrib_watch.core.model import Outcome, Status
from contrib_watch.store import State, brought, schema
from contrib_watch.store.brought import brought_by
from contrib_watch.store.post_ids import LAST_POST_ID

DROP, SERVICE = 2, "S"
READ_THROUGH, LOOK_UP = 10**9, 0
"""So many rows are read in the time in which one is looked up: always the one way, or always the other."""


class Posted(NamedTuple):
    """One post, of a run of a drop, or a repair (drop 0)."""

    ric: str
    drop: int
    run: int
    status: Status


POSTED = st.builds(
    Posted,
    st.sampled_from(["A=", "B=", "%"]),
    st.integers(0, 4),
    st.integers(1, 2),
    st.sampled_from([Status.ACKED, Status.ACKED, Status.NAKKED]),
)
SERVICES = st.dictionaries(st.tuples(st.integers(1, 4), st.integers(1, 2)), st.sampled_from([SERVICE, "T"]))
"""Where the runs that are over have posted to; of the others it is not known yet."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(url=f"sqlite:///{tmp_path}/state.db", folder=tmp_path, target="prod") as found:
        yield found


def post_id(place: int, first_id: int) -> int:
    return (first_id - 1 + place) % LAST_POST_ID + 1


def record(state: State, posted: list[Posted], services: dict[tuple[int, int], str], first_id: int) -> None:
    """The tables after these posts, in this order; the clock ran backwards."""
    with state.transaction() as connection:
        for table in (schema.outcomes, schema.runs, schema.repairs):
            connection.execute(delete(table))
        for (drop, run), service in services.items():
            told = {"service": service, "sheet": "", "places": "{}", "record": 1}
            connection.execute(insert(schema.runs).values(drop_id=drop, run=run, **told))
        for place, one in enumerate(posted):
            at = f"2026-11-22T16:30:{59 - place:02}.000Z"
            full, key = f'{{"BID":{place}}}', post_id(place, first_id)
            if one.drop:
                row = Outcome(place, one.ric, one.status, "Update", key, "", "", "", at, at, 1, full, "BID")
                values = {"drop_id": one.drop, "run": one.run, **row._asdict()}
                connection.execute(insert(schema.outcomes).values(**values))
            else:
                told = {"reason": "", "fields": full, "nak_code": "", "text": "", "sent_at_utc": at, "attempts": 1}
                again = {"ric": one.ric, "status": one.status, "post_id": key, "acked_at_utc": at, **told}
                connection.execute(insert(schema.repairs).values(service=SERVICE, **again))
    state.put("next_post_key", str(first_id + len(posted)))


def expected(posted: list[Posted], services: dict[tuple[int, int], str]) -> dict[str, str | None]:
    """RIC to what it was before the drop, one RIC after the other, from a list of everything."""
    here = (one.status is Status.ACKED and services.get((one.drop, one.run), SERVICE) == SERVICE for one in posted)
    acked = [(place, one) for place, (one, counts) in enumerate(zip(posted, here, strict=True)) if counts]
    firsts: dict[str, tuple[int, int]] = {}
    for place, one in acked:
        if one.drop == DROP:
            firsts[one.ric] = min(firsts.get(one.ric, (one.run, place)), (one.run, place))
    before: dict[str, str | None] = dict.fromkeys(firsts)
    for place, one in acked:
        if one.ric in firsts and one.drop != DROP and place < firsts[one.ric][1]:
            before[one.ric] = f'{{"BID":{place}}}'
    return before


@given(
    posted=st.lists(POSTED, max_size=14, unique_by=lambda one: one[:3] if one.drop else object()),
    services=SERVICES,
    first_id=st.sampled_from([1, LAST_POST_ID - 5]),
)
@example(
    posted=[Posted("A=", 1, 1, Status.ACKED), Posted("A=", 2, 1, Status.ACKED), Posted("A=", 3, 1, Status.ACKED)],
    services={},
    first_id=1,
)
@example(  # of a run that another one interrupted
    posted=[
        Posted("A=", 2, 1, Status.ACKED),
        Posted("A=", 1, 2, Status.ACKED),
        Posted("B=", 1, 2, Status.ACKED),
        Posted("B=", 2, 1, Status.ACKED),
    ],
    services={},
    first_id=1,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_before_is_what_had_the_last_post_id_before(
    state: State, posted: list[Posted], services: dict[tuple[int, int], str], first_id: int
) -> None:
    record(state, posted, services, first_id)
    for rows in (READ_THROUGH, LOOK_UP):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(brought, "_LOOKED_UP", rows)
            found = {one.ric: one.before for one in brought_by(state, DROP, SERVICE)}
        assert found == expected(posted, services)
