"""Posts that were recorded before they went on the wire, and have no answer yet.

Each row of a drop is there for a fraction of a second; as rows of a table they would cost half of what their outcomes
do. So some hundreds of them are one row, from whose ``rics`` those go that have an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from contrib_watch.core.model import Post
from contrib_watch.errors import ContribWatchError
from contrib_watch.store import schema
from contrib_watch.store.bulk import add_rows, drop_rics
from contrib_watch.store.prepared import execute, rows

BATCH_POSTS = 500
"""Posts in one row, which is written again when some of them are answered and others are not."""

_table = schema.in_flight
_ALL = select(_table).order_by(_table.c.id)
_OF_SERVICE = _ALL.where(_table.c.service == bindparam("of_service"))
_RICS = select(_table.c.id, _table.c.rics).where(_table.c.service == bindparam("of_service"))
_ADD = insert(_table)
_KEEP = update(_table).where(_table.c.id == bindparam("of_id")).values(rics=bindparam("left"))
_END_ALL = delete(_table)
_END = _END_ALL.where(_table.c.id == bindparam("of_id"))


class Posted(NamedTuple):
    """A post without an answer."""

    service: str
    ric: str
    feed: str
    drop_id: int
    full: str
    """The JSON object of all the RIC's fields once it is acknowledged."""
    attempts: int
    """How often it has been on the wire, this time included."""
    post_id: int


class _Columns(msgspec.Struct):
    """The posts of a row, each with an element of every list."""

    post_id: list[int]
    ric: list[str]
    attempts: list[int]
    full: list[str]


_columns_in = msgspec.json.Decoder(_Columns).decode
_rics_in = msgspec.json.Decoder(list[str]).decode


def put(
    connection: Connection,
    service: str,
    posts: Sequence[Post],
    post_ids: Sequence[int],
    origins: Sequence[tuple[str, int]],
) -> None:
    """Record posts of a Service under their PostIDs; ``origins`` are the feed and the drop of each.

    Raises ContribWatchError, a fault of the program, where a RIC has a post outstanding already.
    """
    every = [*rics_of(connection, service), *(post.ric for post in posts)]
    if len(set(every)) < len(every):
        raise ContribWatchError(f"a RIC of {service} is to be posted again while its last post has no answer")
    for feed, drop_id, here in _batches(origins):
        told = _Columns(
            list(post_ids[here]),
            [post.ric for post in posts[here]],
            [post.attempts + 1 for post in posts[here]],
            [post.full for post in posts[here]],
        )
        of_row = {"service": service, "feed": feed, "drop_id": drop_id}
        execute(connection, _ADD, **of_row, rics=_json(told.ric), posts=_json(told))


def _batches(origins: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, slice]]:
    """Feed and drop of each row, and which posts it has."""
    start = 0
    for (feed, drop_id), same in groupby(origins):
        stop = start + sum(1 for _ in same)
        for first in range(start, stop, BATCH_POSTS):
            yield feed, drop_id, slice(first, min(first + BATCH_POSTS, stop))
        start = stop


def rics_of(connection: Connection, service: str) -> list[str]:
    """The RICs of a Service whose post has no answer."""
    return [ric for _, rics in _rows(connection, service) for ric in rics]


def without_answer(connection: Connection, service: str | None = None) -> list[Posted]:
    """The posts of a Service, or of all, that have no answer, as they were recorded."""
    found = rows(connection, _ALL) if service is None else rows(connection, _OF_SERVICE, of_service=service)
    posted = []
    for row in found:
        outstanding, told = frozenset(_rics_in(row.rics)), _columns_in(row.posts)
        posted += [
            Posted(row.service, ric, row.feed, row.drop_id, full, attempts, post_id)
            for ric, full, attempts, post_id in zip(told.ric, told.full, told.attempts, told.post_id, strict=True)
            if ric in outstanding
        ]
    return posted


def end(connection: Connection, service: str, rics: Collection[str]) -> None:
    """The posts of these RICs have an answer; what has no post is no matter."""
    ended = frozenset(rics)
    if not ended:
        return
    for number, outstanding in _rows(connection, service):
        left = [ric for ric in outstanding if ric not in ended]
        if not left:
            execute(connection, _END, of_id=number)
        elif len(left) < len(outstanding):
            execute(connection, _KEEP, of_id=number, left=_json(left))


def lose(connection: Connection, service: str, rics: Collection[str]) -> None:
    """The posts of these RICs will have no answer: they are dirty, with the values of the posts."""
    wanted = frozenset(rics)
    if wanted:
        _make_dirty(connection, [one for one in without_answer(connection, service) if one.ric in wanted])
        end(connection, service, wanted)


def lose_all(connection: Connection) -> int:
    """No post will have an answer any more. Returns how many had none."""
    posted = without_answer(connection)
    _make_dirty(connection, posted)
    execute(connection, _END_ALL)
    return len(posted)


def _make_dirty(connection: Connection, posted: Sequence[Posted]) -> None:
    for service, found in groupby(sorted(posted), key=itemgetter(0)):
        _, rics, feeds, drop_ids, full, attempts, _ = zip(*found, strict=True)
        drop_rics(connection, schema.dirty, service, rics)
        columns = {"ric": rics, "feed": feeds, "drop_id": drop_ids, "full": full, "attempts": attempts}
        add_rows(connection, schema.dirty, columns, {"service": service})


def _rows(connection: Connection, service: str) -> list[tuple[int, list[str]]]:
    """The rows of a Service: number, and RICs without an answer."""
    return [(number, _rics_in(rics)) for number, rics in rows(connection, _RICS, of_service=service)]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
