"""Which rows are unchanged, found out beside the typing, held to what a look at each row finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.config import _built_in_files, parse_dictionary
from contrib_watch.core.model import Action, Cells, Drop, Feed, Post, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.errors import UnreadableFile
from contrib_watch.pipeline.unchanged import LEAST_ROW_BYTES, look_ahead, look_up, unchanged
from contrib_watch.store import Drops, Ledger, State, bulk
from contrib_watch.store import ledger as store_ledger

DICTIONARY = parse_dictionary(*_built_in_files())
FEED = Feed(name="desk", folder=PurePath("inbox"), service="NIPROV")
ACKED_AT = "2026-11-22T16:30:00.123Z"

rics = st.sampled_from(["A=", "B=", " B=", "C=", "D=", "", "A\u00a0=", "A\nB", "#N/A", "L" * 300])
cells = st.sampled_from(["1", "2", "2.0", " 2 ", "", None, "#CLEAR", "one"])
rows = st.lists(st.tuples(rics, cells, cells), max_size=12)
held = st.dictionaries(
    st.sampled_from(["A=", "B=", "C=", "D="]),
    st.tuples(
        st.sampled_from(["desk", "other"]),
        st.sampled_from(['{"BID":1,"ASK":2}', '{"BID":2}', '{"ASK":2}', '{"BID":2,"ASK":null}', "{}"]),
        st.booleans(),
    ),
)
"""RIC to its feed, what was acknowledged, and whether a later post of the same had no answer."""


Known = Mapping[str, tuple[str, str, bool]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    folder = tmp_path_factory.mktemp("state")
    with State.open(url=f"sqlite:///{folder}/state.db", folder=folder, target="prod") as state:
        yield state


def recorded(state: State, known: Known) -> tuple[Ledger, Feed]:
    """What is known of the RICs of a Service of its own, and the feed that is looked at."""
    ledger = Ledger(state)
    drops = {name: accepted(state, name) for name in ("desk", "other")}
    service = f"S{drops['desk'].id}"
    for ric, (feed, fields, in_doubt) in known.items():
        post = Post(2, ric, Action.REFRESH, fields, fields, "", "")
        ledger.in_flight(drops[feed], service, [post])
        ledger.landed(service, drops[feed], [post], [ACKED_AT])
        if in_doubt:
            ledger.in_flight(drops[feed], service, [post])
    ledger.all_unknown()
    return ledger, replace(FEED, service=service)


def accepted(state: State, feed: str) -> Drop:
    return Drops(state).accept(
        feed=feed, path="/in/a.csv", sha256="ab", size_bytes=1, mtime_ns=1, owner="ann",
        seen_at_utc=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip


def sheet(written: list[tuple[str | None, ...]]) -> Cells:
    columns = zip(*written, strict=True) if written else ((), (), ())
    numbers = pa.array(range(2, 2 * len(written) + 2, 2), pa.int64())
    return Cells("", ("RIC", "BID", "ASK"), 1, tuple(pa.array(one, pa.string()) for one in columns), None, numbers)


def one_by_one(quotes: Quotes, known: Known) -> list[bool]:
    """A row is unchanged where its feed owns the RIC, which is in no doubt, and has these very fields and values."""
    found = []
    for ric, row in quotes.values.iterrows():
        given = {name: json.loads(token) for name, token in row.items() if isinstance(token, str)}
        feed, fields, in_doubt = known.get(str(ric), ("", "{}", False))
        found.append(feed == FEED.name and not in_doubt and given == json.loads(fields))
    return found


@given(rows, held, st.sampled_from([1, 3, 50]))
def test_rows_are_unchanged_as_a_look_at_each_finds(
    state: State, written: list[tuple[str | None, ...]], known: Known, piece: int
) -> None:
    ledger, feed = recorded(state, known)
    file = sheet(written)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "JOINED_RICS", piece)
        patch.setattr(store_ledger, "JOINED_RICS", piece)
        looked_up = look_up(ledger, feed, file)
        whole = look_ahead(ledger, feed, size_bytes=1 << 20)
        looked_ahead = look_up(ledger, feed, file, whole)
    assert whole is not None
    try:
        quotes = read_quotes(file, feed, DICTIONARY)
    except UnreadableFile:
        assert not any(ric or bid or ask for ric, bid, ask in written)
        return
    expected = one_by_one(quotes, known)
    assert unchanged(ledger, feed, quotes, looked_up).to_pylist() == expected
    assert unchanged(ledger, feed, quotes, looked_ahead).to_pylist() == expected
    assert unchanged(ledger, feed, quotes).to_pylist() == expected


def test_a_small_file_of_a_large_feed_does_not_bring_all_of_it(state: State) -> None:
    ledger, feed = recorded(state, {f"R{n}": ("desk", '{"BID":1}', False) for n in range(4)})
    assert look_ahead(ledger, feed, 4 * LEAST_ROW_BYTES - 1) is None
    whole = look_ahead(ledger, feed, 4 * LEAST_ROW_BYTES)
    assert whole is not None
    assert len(whole.rics) == 4


def test_a_ric_that_came_into_doubt_while_its_row_was_typed_is_not_unchanged(state: State) -> None:
    file = sheet([("A=", "2", None), ("B=", "2", None)])
    ledger, feed = recorded(state, dict.fromkeys(("A=", "B="), ("desk", '{"BID":2}', False)))
    looked_up = look_up(ledger, feed, file)
    quotes = read_quotes(file, feed, DICTIONARY)
    ledger.under_way(feed.service, [Post(2, "A=", Action.REFRESH, '{"BID":2}', '{"BID":2}', "", "")], [("", 0)])
    ledger.all_unknown()
    assert unchanged(ledger, feed, quotes, looked_up).to_pylist() == [False, True]


def test_without_a_ric_column_there_is_nothing_to_look_up(state: State) -> None:
    ledger, feed = recorded(state, {"A=": ("desk", '{"BID":1}', False)})
    file = Cells("", ("BID",), 1, (pa.array(["1"]),), None, pa.array([2], pa.int64()))
    assert [text for piece in look_up(ledger, feed, file).texts for text in piece.to_pylist()] == [""]
