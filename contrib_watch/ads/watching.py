"""Items watched on an ADS: each one's values, then every change, until it is closed.

Like the session that owns it, this has no socket and no clock. A connection that is lost takes all streams with it;
after the next login they are opened anew, as are those that the server closes for now (ClosedRecover). What it closes
for good stays closed.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from contrib_watch.ads import messages
from contrib_watch.ads.messages import ServerMessage, StreamState
from contrib_watch.ads.reading import (
    BATCH_ITEMS,
    LAST_STREAM,
    NO_BATCHES,
    ItemRequest,
    Wanted,
    free_streams,
    next_batch,
    why,
)

STREAMS = range(LAST_STREAM + 1, 3 * 2**29)
"""The ids of these streams (int32): none is ever one of ``ads.reading`` or ``ads.item_streams``."""
REOPEN_S = 5.0
"""How long an item that the server closed for now is left alone."""
CLOSED_AT_ONCE = 1000
"""Streams that one frame closes, at most."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Change(StrEnum):
    """What happened to a watched item."""

    REFRESH = "Refresh"
    """All its fields (of the view); what is not among them, it no longer has."""
    UPDATE = "Update"
    """The fields that changed."""
    STATUS = "Status"
    """Its state alone."""


class ItemChange(NamedTuple):
    """Something that happened to a watched item."""

    service: str
    """As it was asked for; empty: the server's default one."""
    name: str
    """The RIC."""
    change: Change
    fields: Mapping[str, str] = _NOTHING
    """Acronym to the value as the server wrote it in JSON, so that numbers keep their exact text."""
    state: StreamState | None = None
    """None where the message had none, as Updates have."""
    over: bool = False
    """It is closed for good, and not opened again."""


_CHANGES = frozenset(change.value for change in Change)


class Watching:
    """The items that a session watches."""

    def __init__(self) -> None:
        self.batches = True
        """Whether the server takes several names in one request; the session learns it from the login."""
        self._queue: deque[Wanted] = deque()
        self._open: dict[int, Wanted] = {}
        self._batch: dict[int, range] = {}  # a batch's own stream -> the streams of its items
        self._closed: deque[tuple[float, Wanted]] = deque()  # for now; with the time to open them again
        self._next_stream = STREAMS.start
        self._changes: list[ItemChange] = []

    @property
    def due_s(self) -> float | None:
        """When the next item is to be opened again; None: no item waits for that."""
        return self._closed[0][0] if self._closed else None

    def changes(self) -> list[ItemChange]:
        """What happened since the last call, in order."""
        taken, self._changes = self._changes, []
        return taken

    def watch(self, wanted: ItemRequest) -> None:
        """Open items; they stay open, or are opened again, until the server closes them for good."""
        self._queue.extend(Wanted(wanted.service, name, wanted.view) for name in wanted.names)

    def frames(self, most_bytes: int) -> Iterator[str]:
        """What is to be sent, each frame of at most ``most_bytes``."""
        while self._queue:
            yield from self._open_next(most_bytes)

    def takes(self, message: ServerMessage, now_s: float) -> bool:
        """Whether a message is about one of these streams; what it says is then recorded."""
        if message.id in self._batch:
            self._on_batch(message)
        elif message.id in self._open:
            self._on_item(message, now_s)
        else:
            return False
        return True

    def tick(self, now_s: float) -> None:
        """Open again what was closed for now, and waited long enough."""
        while self._closed and now_s >= self._closed[0][0]:
            self._queue.append(self._closed.popleft()[1])

    def close(self) -> Iterator[str]:
        """Frames that close every stream; nothing is opened again."""
        streams = iter(self._open)
        while some := list(islice(streams, CLOSED_AT_ONCE)):
            yield messages.close_request(*some)
        for waiting in (self._open, self._batch, self._queue, self._closed):
            waiting.clear()

    def lost(self, reason: str) -> None:
        """The connection is gone, and all streams with it: they are opened again after the next login."""
        state = StreamState(stream="ClosedRecover", data="Suspect", text=reason)
        for item in self._open.values():
            self._changes.append(ItemChange(item.service, item.name, Change.STATUS, state=state))
        self._queue.extendleft(reversed(self._open.values()))
        self._queue.extend(item for _, item in self._closed)
        for gone in (self._open, self._batch, self._closed):
            gone.clear()

    def _open_next(self, most_bytes: int) -> Iterator[str]:
        """The request for the next items; none where not even the first one fits a frame."""
        room = BATCH_ITEMS if self.batches else 1
        items = next_batch(self._queue, room)
        while items:
            is_batch = len(items) > 1
            stream = free_streams(len(items) + is_batch, self._next_stream, STREAMS, self._open, self._batch)
            text = _request(stream, items)
            if len(text.encode()) <= most_bytes:
                self._opened(stream, items, is_batch=is_batch)
                yield text
                return
            items = items[: len(items) // 2]
        self._end(self._queue.popleft(), StreamState("Closed", "Suspect", "TooLarge", "the request was not sent"))

    def _opened(self, stream: int, items: Sequence[Wanted], *, is_batch: bool) -> None:
        streams = range(stream + is_batch, stream + is_batch + len(items))
        if is_batch:
            self._batch[stream] = streams
        for one in streams:
            self._open[one] = self._queue.popleft()
        self._next_stream = streams.stop

    def _on_batch(self, message: ServerMessage) -> None:
        """The batch's own stream closes in any case; where it went wrong, no item will be answered."""
        streams = self._batch.pop(message.id)
        if message.type != "Error" and (message.state is None or message.state.data == "Ok"):
            return
        code, text = why(message)
        items = [self._open.pop(stream) for stream in streams if stream in self._open]
        if code == NO_BATCHES:
            self.batches = False
            self._queue.extendleft(reversed(items))
            return
        for item in items:
            self._end(item, StreamState("Closed", "Suspect", code, text))

    def _on_item(self, message: ServerMessage, now_s: float) -> None:
        item, state = self._open[message.id], message.state
        if message.type == "Error":
            del self._open[message.id]
            self._end(item, StreamState("Closed", "Suspect", text=message.text))
            return
        if message.type not in _CHANGES:
            return
        ended = state is not None and state.stream not in ("Open", "")
        again = state is not None and state.stream == "ClosedRecover"
        if ended:
            del self._open[message.id]
        if again:
            self._closed.append((now_s + REOPEN_S, item))
        fields = messages.field_texts(message)
        over = ended and not again
        self._changes.append(ItemChange(item.service, item.name, Change(message.type), fields, state, over))

    def _end(self, item: Wanted, state: StreamState) -> None:
        self._changes.append(ItemChange(item.service, item.name, Change.STATUS, state=state, over=True))


def _request(stream: int, items: Sequence[Wanted]) -> str:
    names = [item.name for item in items]
    return messages.item_request(stream, items[0].service, names, items[0].view, streaming=True)
