"""Items read back from an ADS: snapshot requests in batches, and the one answer that each item gets.

Like the session that owns it, this has no socket and no clock: messages and times come in, frames and answers go out.
Requests share a connection with posts, and take nothing of their window or rate limit; instead, at most
MOST_OUTSTANDING items are asked for at a time.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice, takewhile
from types import MappingProxyType
from typing import NamedTuple

from contrib_watch.ads import messages
from contrib_watch.ads.messages import LOGIN_STREAM, ServerMessage

MOST_OUTSTANDING = 200
"""Items without an answer, at most."""
BATCH_ITEMS = 50
"""Items in one request, at most."""
ANSWER_TIMEOUT_S = 10.0
"""How long an item may go without an answer, counted from the sending of its request."""
LAST_STREAM = 2**30 - 1
"""Streams are numbered in order from the login's on, and begin anew after this one; above it are watched items."""
NO_BATCHES = "UnableToRequestAsBatch"
"""The State code of a server that takes single requests alone (spec: State codes)."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Seen(StrEnum):
    """What came of asking for an item."""

    FIELDS = "fields"
    """The ADS has it."""
    CLOSED = "closed"
    """The ADS closed the stream; ``code`` says why: ``NotFound``, ``NotEntitled``, ..."""
    TIMEOUT = "timeout"
    """No answer in time."""
    LOST = "lost"
    """The connection went before the answer came."""


class ItemAnswer(NamedTuple):
    """What an ADS holds of an item. Every item asked for gets exactly one."""

    service: str
    name: str
    """The RIC."""
    seen: Seen
    fields: Mapping[str, str] = _NOTHING
    """Acronym to the value as the server wrote it in JSON, so that numbers keep their exact text. With
    CLOSED they are old: the server itself calls them suspect."""
    code: str = ""
    """The State's Code, by name or number; ``TooLarge`` is this program's own."""
    text: str = ""


class ItemRequest(NamedTuple):
    """Items of one Service to read back, or to watch."""

    service: str
    """Empty: the server's default one."""
    names: tuple[str, ...]
    view: tuple[str, ...] = ()
    """The fields wanted; empty: all."""


class Wanted(NamedTuple):
    """One item, and which of its fields."""

    service: str
    name: str
    view: tuple[str, ...]


class _Asked(NamedTuple):
    item: Wanted
    at_s: float


class Reading:
    """The items that a session is asked for."""

    def __init__(self) -> None:
        self.batches = True
        """Whether the server takes several names in one request; the session learns it from the login."""
        self._queue: deque[Wanted] = deque()
        self._asked: dict[int, _Asked] = {}  # by stream, in the order of sending: the first expires first
        self._batch: dict[int, range] = {}  # a batch's own stream -> the streams of its items
        self._next_stream = LOGIN_STREAM + 1
        self._to_close: list[int] = []
        self._answers: list[ItemAnswer] = []

    @property
    def unanswered(self) -> int:
        """Items that were asked for and have no answer yet."""
        return len(self._queue) + len(self._asked)

    @property
    def due_s(self) -> float | None:
        """When the next item expires; None where none is outstanding."""
        return next(iter(self._asked.values())).at_s + ANSWER_TIMEOUT_S if self._asked else None

    def answers(self) -> list[ItemAnswer]:
        """The items that were answered since the last call."""
        taken, self._answers = self._answers, []
        return taken

    def request(self, wanted: ItemRequest) -> None:
        """Queue items; they go out as there is room for them."""
        self._queue.extend(Wanted(wanted.service, name, wanted.view) for name in wanted.names)

    def frames(self, now_s: float, most_bytes: int) -> Iterator[str]:
        """What may be sent at this moment, each frame of at most ``most_bytes``."""
        if self._to_close:
            yield messages.close_request(*self._to_close)
            self._to_close = []
        while self._queue and len(self._asked) < MOST_OUTSTANDING:
            text, names = self._next_request(most_bytes)
            if names:
                self._sent(names, now_s)
                yield text
            else:
                self._answer(self._queue.popleft(), Seen.CLOSED, code="TooLarge", text="the request was not sent")

    def takes(self, message: ServerMessage) -> bool:
        """Whether a message is about one of these streams; what it says is then recorded."""
        if message.id in self._batch:
            self._on_batch(message)
        elif message.id in self._asked:
            self._on_item(message)
        else:
            return False
        return True

    def tick(self, now_s: float) -> None:
        """Give up what waited too long, and close its stream: its answer may still come."""
        while (due_s := self.due_s) is not None and now_s >= due_s:
            stream = next(iter(self._asked))
            self._to_close.append(stream)
            self._end(stream, Seen.TIMEOUT, text=f"no answer within {ANSWER_TIMEOUT_S:g} s")

    def lost(self, reason: str) -> None:
        """The connection is gone, and all streams with it."""
        for stream in list(self._asked):
            self._end(stream, Seen.LOST, text=reason)
        while self._queue:
            self._answer(self._queue.popleft(), Seen.LOST, text=reason)
        self._to_close.clear()
        self._batch.clear()

    def _next_request(self, most_bytes: int) -> tuple[str, list[Wanted]]:
        """The next request and its items, which stay in the queue; no items: not even the first one fits."""
        room = min(BATCH_ITEMS, MOST_OUTSTANDING - len(self._asked)) if self.batches else 1
        names = next_batch(self._queue, room)
        while names:
            text = self._text(names)
            if len(text.encode()) <= most_bytes:
                break
            names = names[: len(names) // 2]
        return text, names

    def _text(self, items: Sequence[Wanted]) -> str:
        names = [item.name for item in items]
        stream = self._free_streams(len(names) + (len(names) > 1))
        return messages.item_request(stream, items[0].service, names, items[0].view)

    def _free_streams(self, count: int) -> int:
        among = range(LOGIN_STREAM + 1, LAST_STREAM + 1)
        return free_streams(count, self._next_stream, among, self._asked, self._batch)

    def _sent(self, items: Sequence[Wanted], now_s: float) -> None:
        first = self._free_streams(len(items) + (len(items) > 1))
        streams = range(first + (len(items) > 1), first + (len(items) > 1) + len(items))
        if len(items) > 1:
            self._batch[first] = streams
        for stream in streams:
            self._asked[stream] = _Asked(self._queue.popleft(), now_s)
        self._next_stream = streams.stop

    def _on_batch(self, message: ServerMessage) -> None:
        """The batch's own stream closes in any case; where it went wrong, no item will be answered."""
        streams = self._batch.pop(message.id)
        code, text = why(message)
        if message.type != "Error" and (message.state is None or message.state.data == "Ok"):
            return
        unanswered = [stream for stream in streams if stream in self._asked]
        if code == NO_BATCHES:
            self.batches = False
            self._queue.extendleft(self._asked.pop(stream).item for stream in reversed(unanswered))
            return
        for stream in unanswered:
            self._end(stream, Seen.CLOSED, code=code, text=text)

    def _on_item(self, message: ServerMessage) -> None:
        code, text = why(message)
        state = message.state or messages.StreamState()
        if message.type == "Error":
            self._end(message.id, Seen.CLOSED, code=code, text=text)
        elif message.type == "Refresh":
            if state.stream == "Open":  # a snapshot was asked for; this server has opened a stream
                self._to_close.append(message.id)
            if state.data == "Suspect":  # old values: they say nothing about what is held now
                self._end(message.id, Seen.CLOSED, messages.field_texts(message), code=code or "Suspect", text=text)
            else:
                self._end(message.id, Seen.FIELDS, messages.field_texts(message))
        elif message.type == "Status" and state.stream not in ("Open", ""):
            self._end(message.id, Seen.CLOSED, code=code, text=text)

    def _end(
        self, stream: int, seen: Seen, fields: Mapping[str, str] = _NOTHING, *, code: str = "", text: str = ""
    ) -> None:
        self._answer(self._asked.pop(stream).item, seen, fields, code=code, text=text)

    def _answer(
        self, item: Wanted, seen: Seen, fields: Mapping[str, str] = _NOTHING, *, code: str = "", text: str = ""
    ) -> None:
        self._answers.append(ItemAnswer(item.service, item.name, seen, fields, code, text))


def next_batch(queue: Sequence[Wanted], most: int) -> list[Wanted]:
    """The items at the head of ``queue`` that one request may name: of one Service and one view."""
    first = queue[0]
    return list(takewhile(lambda item: (item.service, item.view) == (first.service, first.view), islice(queue, most)))


def free_streams(count: int, first: int, among: range, *in_use: Collection[int]) -> int:
    """The first of ``count`` consecutive free stream ids, from ``first`` on; after the last, from the lowest."""
    first = first if first + count <= among.stop else among.start
    while busy := [one for one in range(first, first + count) if any(one in used for used in in_use)]:
        first = busy[-1] + 1
    return first


def why(message: ServerMessage) -> tuple[str, str]:
    """The code and the text of a message that says no."""
    state = message.state or messages.StreamState()
    return state.reason, state.text or message.text
