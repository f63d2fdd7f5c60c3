"""What was posted, what the ADS acknowledged, and what nobody knows.

The snapshot advances in the transaction that records the Ack, and in no other. A post is recorded in flight, under
its PostID, before it goes on the wire; one that was given up or lost makes its RIC dirty.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, String, bindparam, case, cast, func, select

from contrib_watch.core.columns import repeated
from contrib_watch.core.diff import SNAPSHOT
from contrib_watch.core.model import Drop, Outcomes, Post, in_columns
from contrib_watch.store import in_flight, schema
from contrib_watch.store.bulk import (
    JOINED_RICS,
    add_rows,
    columns_of,
    drop_rics,
    lines,
    put_rics,
    rows_of,
    text_of_each,
)
from contrib_watch.store.outcomes import OUTCOME_COLUMNS, Recorded, read_outcomes, run_of
from contrib_watch.store.post_ids import LAST_POST_ID, next_key, post_id_of, post_ids_of
from contrib_watch.store.prepared import rows, scalar, scalars
from contrib_watch.store.record import ROW_COLUMNS, Leaves, leaves_of, of_run, outcome_leaves
from contrib_watch.store.state import State

_TEXT = pa.string()
_NOTHING = pa.array([], _TEXT)

_known, _lost = schema.snapshot.c, schema.dirty.c
_HELD = (
    _known.feed,
    _known.fields,
    _known.carried,
    func.substr(_known.acked_at_utc, 1, 10).concat(" ").concat(cast(_known.drop_id, String)),
)
_ATTEMPTED = (
    _lost.feed,
    _lost.full,
    cast(_lost.drop_id, String),
    case((_lost.drop_id == bindparam("of_drop"), cast(_lost.attempts, String)), else_="0"),
)
_OWN = case((_known.feed == bindparam("of_feed"), _known.ric.concat(_known.fields)), else_="")
"""With its RIC, so that a text can never be taken for that of another one."""
_ANY_OUTCOME = of_run(("row",)).limit(1)
_OWN_RICS = select(_known.ric).where(_known.feed == bindparam("of_feed"), _known.service == bindparam("of_service"))
_ANY_OWN = _OWN_RICS.limit(1)
_ANY_OWN_BEFORE = _OWN_RICS.where(_known.drop_id != bindparam("of_drop")).limit(1)
_COUNT_OWN = _OWN_RICS.with_only_columns(func.count())
_EVERYTHING = select(_known.service, _known.ric, _known.fields)
_OWN_FROM = _OWN_RICS.where(_known.ric >= bindparam("first"))
_NTH_OWN = _OWN_FROM.order_by(_known.ric).limit(1).offset(bindparam("nth"))
_OWN_PAGE = _OWN_FROM.where(_known.ric < bindparam("after")).with_only_columns(
    func.group_concat(_known.ric, "\n"), func.group_concat(_known.ric.concat(_known.fields), "\n")
)
_BEYOND_TEXT = b""
"""SQLite sorts every text before every blob."""
_GIVEN = func.json_each(bindparam("of_rics")).table_valued("key", "value")
_ANSWERED, _UNANSWERED = (
    func.coalesce(one.correlate(_GIVEN).scalar_subquery(), 0)
    for one in (
        select(schema.outcomes.c.drop_id)
        .join(schema.drops, schema.drops.c.id == schema.outcomes.c.drop_id)
        .where(schema.outcomes.c.ric == _GIVEN.c.value, schema.outcomes.c.acked_at_utc > "")
        .where(schema.drops.c.feed == bindparam("of_feed"))
        .order_by(schema.outcomes.c.acked_at_utc.desc())
        .limit(1),
        select(_lost.drop_id).where(
            _lost.service == bindparam("of_service"),
            _lost.ric == _GIVEN.c.value,
            _lost.feed == bindparam("of_feed"),
        ),
    )
)
_LAST_POSTED = select(func.max(_ANSWERED, _UNANSWERED)).select_from(_GIVEN).order_by(_GIVEN.c.key)
_ANY_DOUBT = select(_lost.ric).where(_lost.service == bindparam("of_service")).limit(1)


class Entry(NamedTuple):
    """What was decided about a drop, to be written at one time."""

    drop: Drop
    service: str
    acked: Sequence[Post] = ()
    """Posts that the ADS acknowledged, ..."""
    acked_at_utc: Sequence[str] = ()
    """... and when, ISO 8601."""
    refused: Sequence[str] = ()
    """RICs whose post it did not take: it holds what it held."""
    unknown: Sequence[str] = ()
    """RICs of which nobody knows whether it took their post."""
    outcomes: Outcomes = in_columns(())
    """Rows that have ended."""
    posts: Sequence[Post] = ()
    """What goes on the wire once it is written that they are in flight, ..."""
    keys: Sequence[int] = ()
    """... under these keys."""


class Whole(NamedTuple):
    """All that a feed has acknowledged, by RIC."""

    rics: pa.StringArray
    texts: pa.StringArray
    """As :meth:`Ledger.held` tells them."""

    def of_each(self, rics: pa.StringArray) -> pa.ChunkedArray:
        """The texts of these RICs, in pieces; empty where there is none."""
        starts = range(0, len(rics), JOINED_RICS)
        if rics.equals(self.rics):  # a list in order, as most are
            return pa.chunked_array([self.texts.slice(start, JOINED_RICS) for start in starts], _TEXT)
        at = pc.index_in(rics, value_set=self.rics)
        pieces = (at.slice(start, JOINED_RICS) for start in starts)
        return pa.chunked_array([pc.fill_null(self.texts.take(piece), "") for piece in pieces], _TEXT)


class Ledger:
    """The snapshot, the posts in flight, and the outcomes of a state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._runs: dict[tuple[int, int], Recorded] = {}
        """By drop and run, while it goes on."""

    def snapshot(self, service: str, rics: Sequence[str] | pd.Index[str], drop: Drop | None = None) -> pa.RecordBatch:
        """What is known of these RICs, each given once, as core.diff's SNAPSHOT has it.

        RICs never posted are left out. ``attempts`` counts the unanswered posts of ``drop``.
        """
        asked = pd.Index(rics)
        with self._state.transaction() as connection:
            known, *held = _columns(columns_of(connection, schema.snapshot, _HELD, service, asked), 1 + len(_HELD))
            doubted = asked if _has_any(connection, service) else asked[:0]
            mine = drop.id if drop is not None else None
            pieces = columns_of(connection, schema.dirty, _ATTEMPTED, service, doubted, of_drop=mine)
            lost, *attempted = _columns(pieces, 1 + len(_ATTEMPTED))
        new = lost.filter(pc.invert(pc.is_in(lost, value_set=known)))  # in doubt since its first post
        found = pa.concat_arrays([known, new])
        if len(new):  # else to put nothing behind them would copy them all
            held = [pa.concat_arrays([one, pa.nulls(len(new), _TEXT)]) for one in held]
        feed, fields, carried, acked_on = held
        at = pc.index_in(found, value_set=lost)
        their_feed, values, by, attempts = (one.take(at) for one in attempted)
        columns = [
            found,
            pc.coalesce(feed, their_feed),
            fields,
            carried,
            acked_on,
            values,
            by,
            pc.fill_null(attempts.cast(pa.int64()), 0),
        ]
        return pa.record_batch(columns, schema=SNAPSHOT)

    def last_posted(self, service: str, feed: str, rics: Iterable[str]) -> list[int]:
        """The number of the last drop of a feed that posted to each of these RICs, whatever the answer.

        0: there was none.
        """
        of = {"of_service": service, "of_feed": feed, "of_rics": json.dumps(list(rics))}
        with self._state.transaction() as connection:
            return scalars(connection, _LAST_POSTED, **of)

    def whole(self, service: str, feed: str, most: int) -> Whole | None:
        """All that a feed owns; None: that is more than ``most`` RICs."""
        own = {"of_service": service, "of_feed": feed}
        with self._state.transaction() as connection:
            if scalar(connection, _NTH_OWN, **own, first="", nth=most) is not None:
                return None
            rics, texts, first = [_NOTHING], [_NOTHING], ""
            while first is not None:
                after = scalar(connection, _NTH_OWN, **own, first=first, nth=JOINED_RICS)
                ((page, their_texts),) = rows(connection, _OWN_PAGE, **own, first=first, after=after or _BEYOND_TEXT)
                if page is not None:
                    rics.append(lines(page))
                    texts.append(lines(their_texts))
                first = after
        return Whole(pa.concat_arrays(rics), pa.concat_arrays(texts))

    def held(self, service: str, feed: str, rics: pa.StringArray, whole: Whole | None = None) -> pa.ChunkedArray:
        """What was acknowledged of each of these RICs, as one text: the RIC and the JSON object of its fields.

        Empty where nothing was, and where the RIC is not this feed's. It brings one text of each RIC, where
        :meth:`snapshot` brings seven. ``whole`` is all that the feed owns, where that is known.
        """
        if whole is not None:
            return whole.of_each(rics)
        with self._state.transaction() as connection:
            if scalar(connection, _ANY_OWN, of_service=service, of_feed=feed) is None:  # its first drop
                return pa.chunked_array([repeated("", len(rics))])
            pieces = text_of_each(connection, schema.snapshot, _OWN, service, rics, of_feed=feed)
            return pa.chunked_array(pieces, _TEXT)

    def in_doubt(self, service: str, rics: pd.Index[str]) -> list[str]:
        """Those of these RICs of which nobody knows what the ADS holds."""
        with self._state.transaction() as connection:
            asked = rics.tolist() if _has_any(connection, service) else []
            return [ric for piece in rows_of(connection, schema.dirty, (), service, asked) for (ric,) in piece]

    def owned(self, service: str, feed: str) -> set[str]:
        """All RICs that a feed has posted and owns."""
        with self._state.transaction() as connection:
            return set(scalars(connection, _OWN_RICS, of_service=service, of_feed=feed))

    def owns_before(self, service: str, feed: str, drop_id: int) -> bool:
        """Whether a feed owns a RIC that another drop than this one brought."""
        with self._state.transaction() as connection:
            of = {"of_service": service, "of_feed": feed, "of_drop": drop_id}
            return scalar(connection, _ANY_OWN_BEFORE, **of) is not None

    def count_owned(self, service: str, feed: str) -> int:
        """How many RICs a feed owns."""
        with self._state.transaction() as connection:
            count: int = scalar(connection, _COUNT_OWN, of_service=service, of_feed=feed)
            return count

    def everything(self) -> list[tuple[str, str, str]]:
        """The whole snapshot: Service, RIC and the JSON object of its fields."""
        with self._state.transaction() as connection:
            return rows(connection, _EVERYTHING)

    def write(self, entries: Iterable[Entry]) -> None:
        """Record what was decided, in one transaction."""
        with self._state.transaction():
            for one in entries:
                self.landed(one.service, one.drop, one.acked, one.acked_at_utc)
                self.refused(one.service, one.refused)
                self.unknown(one.service, one.unknown)
                self.record(one.drop, one.outcomes)
                self.in_flight(one.drop, one.service, one.posts, one.keys)

    def numbered(self, count: int) -> Sequence[int]:
        """Keys for so many posts: given in memory, and on the disk with the posts that are recorded under them.

        One that no post was recorded under has never been on the wire, and comes again after a start.
        """
        keys = self._free_keys(self._next_key(), count)
        if keys:
            self._state.next_post_key = keys[-1] + 1
        return keys

    def _next_key(self) -> int:
        return self._state.next_post_key or next_key(self._state)

    def in_flight(
        self, drop: Drop, service: str, posts: Sequence[Post], keys: Sequence[int] | None = None
    ) -> list[int]:
        """Record posts durably before they go on the wire; their PostIDs, by these ``keys`` or by new ones."""
        return self.under_way(service, posts, [(drop.feed, drop.id)] * len(posts), keys)

    def under_way(
        self,
        service: str,
        posts: Sequence[Post],
        origins: Sequence[tuple[str, int]],
        keys: Sequence[int] | None = None,
    ) -> list[int]:
        """The same for posts of several feeds and drops: ``origins`` are each post's feed and drop."""
        if not posts:
            return []
        with self._state.transaction() as connection:
            if keys is None:
                self._state.next_post_key = None  # what was numbered before is written by now, or never will be
                keys = self._free_keys(self._next_key(), len(posts))
            post_ids = post_ids_of(keys)
            in_flight.put(connection, service, posts, post_ids, origins)
            self._state.put("next_post_key", str(keys[-1] + 1))
        return post_ids

    def _free_keys(self, first: int, count: int) -> Sequence[int]:
        """The next keys whose PostIDs are not in flight."""
        if first + count - 1 <= LAST_POST_ID:  # no PostID has come up twice yet
            return range(first, first + count)
        with self._state.transaction() as connection:
            taken = {one.post_id for one in in_flight.without_answer(connection)}
        free = (key for key in itertools.count(first) if post_id_of(key) not in taken)
        return list(itertools.islice(free, count))

    def landed(self, service: str, drop: Drop, posts: Sequence[Post], acked_at_utc: Sequence[str]) -> None:
        """The ADS acknowledged these posts: the snapshot takes their values, and their RICs are clean."""
        if not posts:
            return
        columns = {
            "ric": [post.ric for post in posts],
            "fields": [post.full for post in posts],
            "carried": [post.carried for post in posts],
            "acked_at_utc": acked_at_utc,
        }
        with self._state.transaction() as connection:
            in_flight.end(connection, service, columns["ric"])
            if _has_any(connection, service):
                drop_rics(connection, schema.dirty, service, columns["ric"])
            put_rics(
                connection, schema.snapshot, columns, {"service": service, "feed": drop.feed, "drop_id": drop.id}
            )

    def refused(self, service: str, rics: Sequence[str]) -> None:
        """The ADS did not take these posts: it holds what it held, and a dirty RIC stays dirty."""
        if not rics:
            return
        with self._state.transaction() as connection:
            in_flight.end(connection, service, rics)

    def unknown(self, service: str, rics: Iterable[str]) -> None:
        """Nobody knows whether the ADS took these posts: their RICs are dirty, and the values are kept."""
        with self._state.transaction() as connection:
            in_flight.lose(connection, service, list(rics))

    def doubtful(self, drop: Drop, service: str) -> list[tuple[str, str, int]]:
        """What a drop posted without an answer: RIC, the JSON object of its fields, and how often, by RIC."""
        table = schema.dirty
        query = (
            select(table.c.ric, table.c.full, table.c.attempts)
            .where(table.c.service == service, table.c.drop_id == drop.id)
            .order_by(table.c.ric)
        )
        with self._state.transaction() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def all_unknown(self) -> int:
        """At a start: whatever was in flight when the last process ended is dirty. Returns how many."""
        self._state.next_post_key = None
        with self._state.transaction() as connection:
            return in_flight.lose_all(connection)

    def record(self, drop: Drop, outcomes: Outcomes) -> None:
        """The rows of a drop that have ended in its present run."""
        if not outcomes["row"]:
            return
        with self._state.transaction() as connection:
            kept = self._kept(drop)
            if kept is None and scalar(connection, _ANY_OUTCOME, **run_of(drop)) is None:
                kept = Recorded(self._state.undone)
            self._runs.pop((drop.id, drop.run), None)  # where this fails, nobody knows how many rows it left
            add_rows(connection, schema.outcomes, outcomes, {"drop_id": drop.id, "run": drop.run})
            if kept is not None:
                kept.add(outcomes)
                self._runs[drop.id, drop.run] = kept

    def leaves(self, drop: Drop) -> Leaves:
        """The hash tree over what was recorded of the drop's present run, which is over."""
        with self._state.transaction() as connection:
            kept = self._kept(drop)
            if kept is not None:
                del self._runs[drop.id, drop.run]
                return kept.leaves()
            return leaves_of(outcome_leaves(connection, drop.id, drop.run), ROW_COLUMNS)

    def outcomes(self, drop: Drop, columns: Sequence[str] = OUTCOME_COLUMNS) -> pa.Table:
        """The recorded rows of the drop's present run, by row: these fields of Outcome."""
        with self._state.transaction() as connection:
            kept = self._kept(drop)
            if kept is not None and kept.has(columns):
                return kept.table(columns)
            return read_outcomes(connection, drop, columns)

    def _kept(self, drop: Drop) -> Recorded | None:
        """The drop's present run as this process recorded it; None: the table may have more of it, or less."""
        kept = self._runs.get((drop.id, drop.run))
        return kept if kept is not None and kept.undone == self._state.undone else None

    def recorded(self, drop: Drop) -> set[int]:
        """The rows of the drop's present run that have ended."""
        with self._state.transaction() as connection:
            return set(scalars(connection, of_run(("row",)), **run_of(drop)))

    def uncertain(self) -> dict[str, int]:
        """How many RICs are in flight and how many dirty, by table name."""
        with self._state.transaction() as connection:
            dirty = connection.scalar(select(func.count()).select_from(schema.dirty)) or 0
            return {"in_flight": len(in_flight.without_answer(connection)), "dirty": dirty}


def _has_any(connection: Connection, service: str) -> bool:
    """Whether any RIC of a Service is in doubt."""
    return scalar(connection, _ANY_DOUBT, of_service=service) is not None


def _columns(pieces: Iterable[list[pa.Array]], count: int) -> list[pa.StringArray]:
    """Columns of texts that came in pieces."""
    found = [*zip(*pieces, strict=True)] or [(_NOTHING,)] * count
    return [pa.concat_arrays(found.pop(0)) for _ in range(count)]  # no column is there twice for longer than it takes
