"""The item streams that on-stream posts go on: opened for the first post to an item, and kept open for the next.

A post on a stream that is not open is dropped without a word (seen on LSEG's SDK provider), so that a post waits for
its item's Refresh. Nothing is opened for its own sake: a stream that is closed, or lost with the connection, is
opened again by the next post to its item. As in the session that owns it, there is no socket and no clock in here.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from contrib_watch.ads import messages
from contrib_watch.ads.messages import ServerMessage
from contrib_watch.ads.reading import free_streams, why

STREAMS = range(3 * 2**29, 2**31)
"""The ids of these streams (int32): none is ever one of ``ads.reading`` or ``ads.watching``."""
NOT_OPEN = "ItemNotOpen"
"""The item is not open for now, so that a post to it was not sent. This program's own code."""
CLOSED = "ItemClosed"
"""The server will not open the item: there is none, say. This program's own code."""


class Item(NamedTuple):
    """What a stream is of."""

    service: str
    ric: str


class Unopened(NamedTuple):
    """An item that has no open stream any more, or got none."""

    item: Item
    code: str
    """NOT_OPEN or CLOSED."""
    text: str


class ItemStreams:
    """Which items have an open stream, and those to be opened."""

    def __init__(self, *, most_opening: int, timeout_s: float) -> None:
        """``most_opening``: requests without an answer. ``timeout_s``: how long one may stay without."""
        self._most_opening = most_opening
        self._timeout_s = timeout_s
        self._wanted: dict[Item, None] = {}  # in the order of their posts
        self._stream_of: dict[Item, int] = {}  # open, or asked for
        self._item_of: dict[int, Item] = {}
        self._asked_s: dict[int, float] = {}  # of those without a Refresh, so that the first expires first
        self._next_stream = STREAMS.start
        self._to_close: list[int] = []
        self._opened: list[Item] = []
        self._unopened: list[Unopened] = []

    @property
    def due_s(self) -> float | None:
        """When the first request has waited too long; None: none waits."""
        first = next(iter(self._asked_s.values()), None)
        return None if first is None else first + self._timeout_s

    def stream(self, item: Item) -> int | None:
        """The item's stream; None: it has none that is open."""
        stream = self._stream_of.get(item)
        return None if stream in self._asked_s else stream

    def open(self, item: Item) -> None:
        """Ask for an item, unless that is done."""
        if item not in self._stream_of:
            self._wanted[item] = None

    def opened(self) -> list[Item]:
        """The items that were opened since the last call; one may be closed again."""
        taken, self._opened = self._opened, []
        return taken

    def unopened(self) -> list[Unopened]:
        """The items that were closed, or not opened, since the last call."""
        taken, self._unopened = self._unopened, []
        return taken

    def frames(self, now_s: float) -> Iterator[str]:
        """What is to be sent."""
        closing, self._to_close = self._to_close, []
        yield from map(messages.close_request, closing)
        for item in list(islice(self._wanted, self._most_opening - len(self._asked_s))):
            del self._wanted[item]
            stream = free_streams(1, self._next_stream, STREAMS, self._item_of)
            self._next_stream = stream + 1
            self._stream_of[item], self._item_of[stream], self._asked_s[stream] = stream, item, now_s
            yield messages.item_request(stream, item.service, [item.ric], streaming=True)

    def takes(self, message: ServerMessage) -> bool:
        """Whether a message is about one of these items; an Error on an open stream is about a post."""
        stream = message.id
        opening = stream in self._asked_s
        if stream not in self._item_of or (message.type == "Error" and not opening):
            return False
        state = message.state
        if message.type == "Error" or (state is not None and state.stream not in ("Open", "")):
            for_now = state is not None and (state.stream == "ClosedRecover" or not opening)
            code, text = why(message)
            told = f"{code}: {text}" if code and text else code or text or "no reason was given"
            what = "did not open the item" if opening else "closed the item's stream"
            self._give_up(stream, NOT_OPEN if for_now else CLOSED, f"not sent: the server {what} ({told})")
        elif message.type == "Refresh" and opening:
            del self._asked_s[stream]
            self._opened.append(self._item_of[stream])
        return True

    def tick(self, now_s: float) -> None:
        """Give up the requests that waited too long."""
        while self._asked_s:
            stream, asked_s = next(iter(self._asked_s.items()))
            if now_s < asked_s + self._timeout_s:
                return
            self._to_close.append(stream)
            self._give_up(stream, NOT_OPEN, f"not sent: the item was not opened within {self._timeout_s:g} s")

    def lost(self) -> None:
        """The connection is gone, and all streams with it."""
        for gone in (self._wanted, self._stream_of, self._item_of, self._asked_s):
            gone.clear()
        for told in (self._to_close, self._opened, self._unopened):
            told.clear()

    def _give_up(self, stream: int, code: str, text: str) -> None:
        item = self._item_of.pop(stream)
        del self._stream_of[item]
        self._asked_s.pop(stream, None)
        self._unopened.append(Unopened(item, code, text))
