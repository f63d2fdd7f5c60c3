"""A connection to the simulated ADS in memory, for the pipeline's Link.

The :class:`Wire` is the world outside: it outlives the processes, watches every post and every answer, and fails a
test when two posts for one RIC are outstanding or a PostID comes twice. The :class:`VirtualLink` is the end of one
process.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from contrib_watch.adapters.connection import Collected, ConnectionLost
from contrib_watch.ads.exchange import Answer, CloseConnection, Event, LoginEnded, Outgoing
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.ads.session import Session
from contrib_watch.errors import LoginRefused
from contrib_watch.simulator.core import Closing, Reactions, ServerSession, SimulatedAds

LATENCY_S = 0.01
RECONNECT_S = 0.5
NO_ROUTE = "no route to host"


class Clock(Protocol):
    """The part of the virtual clock that a link moves."""

    now_s: float

    def monotonic(self) -> float: ...


class Wire:
    """What anybody who listens on the line knows."""

    def __init__(self, ads: SimulatedAds) -> None:
        self.ads = ads
        self.reachable = True
        self.connections = 0
        self.post_ids: set[int] = set()
        self.outstanding: dict[tuple[str, str], int] = {}
        self.streams: dict[int, tuple[str, str]] = {}
        """The item that each stream was last asked for."""
        self.held: defaultdict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
        """Everything that the ADS ever held of an item after a post for it."""
        self.before: dict[int, dict[str, object]] = {}
        """By PostID: what the ADS held of the item when its post went out."""
        self.sent_at: list[tuple[float, str]] = []
        """When which RIC was posted to, in order."""

    def posted(self, frame: str) -> list[tuple[str, str]]:
        """A frame goes out: the items that it posts to."""
        said = json.loads(frame)
        items = []
        for message in said if isinstance(said, list) else [said]:
            key = message.get("Key", {})
            if "Type" not in message and "Service" in key and isinstance(key["Name"], str):  # a request of one item
                self.streams[message["ID"]] = key["Service"], key["Name"]
            if message.get("Type") != "Post":
                continue
            item = (key["Service"], key["Name"]) if key else self.streams[message["ID"]]
            post_id = message["PostID"]
            assert post_id not in self.post_ids, f"PostID {post_id} comes again"
            assert item not in self.outstanding, f"{item} has two posts outstanding"
            self.post_ids.add(post_id)
            self.outstanding[item] = post_id
            self.before[post_id] = dict(self.ads.cache.get(item, {}))
            items.append(item)
        return items

    def arrived(self, items: list[tuple[str, str]]) -> None:
        """The ADS has dealt with posts to these items."""
        for item in items:
            if item in self.ads.cache:
                self.held[item].append(dict(self.ads.cache[item]))

    def answered(self, answers: Sequence[Answer]) -> None:
        """The session has ended these posts."""
        ended = {answer.post_id for answer in answers}
        self.outstanding = {item: post_id for item, post_id in self.outstanding.items() if post_id not in ended}

    def hang_up(self) -> None:
        """The process is gone, and its connection with it."""
        for session in tuple(self.ads.sessions):
            session.disconnected()
        self.outstanding.clear()


class VirtualLink:
    """Drives a session against the ADS; waiting moves the clock to whatever comes next."""

    def __init__(self, session: Session, wire: Wire, clock: Clock) -> None:
        self._session = session
        self._wire = wire
        self._clock = clock
        self._server: ServerSession | None = None
        self._connect_at_s: float | None = None
        self._breaks_at_s: float | None = None
        self._inbound: list[tuple[float, int, str]] = []
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = itertools.count()
        self._answers: list[Answer] = []
        self._items: list[ItemAnswer] = []
        self._events: list[Event | ConnectionLost] = []
        self._refused: LoginRefused | None = None

    def at(self, when_s: float, happens: Callable[[], object]) -> None:
        """Something from outside that happens at a moment of the clock."""
        heapq.heappush(self._agenda, (when_s, next(self._tie), happens))

    def cut(self, reason: str) -> None:
        """The connection is gone, where there is one."""
        if self._server is not None:
            self._lose(reason)

    # The Link of the loop.

    def start(self) -> None:
        self._connect_at_s = self._clock.monotonic()

    def post(self, posts: Sequence[Outgoing]) -> None:
        self._clock.monotonic()  # a place to die: in flight, but never said
        self._session.post(posts, self._clock.now_s)
        self._exchange()

    def recall(self) -> None:
        self._clock.monotonic()
        self._session.recall((), self._clock.now_s)
        self._exchange()

    def request(self, wanted: ItemRequest) -> None:
        self._clock.monotonic()
        self._session.request(wanted, self._clock.now_s)
        self._exchange()

    def collect(self, timeout_s: float) -> Collected:
        until_s = self._clock.monotonic() + timeout_s
        while True:
            self._turn()
            if self._answers or self._events or self._items or self._refused:
                break
            next_s = min(self._due())
            if next_s > until_s:
                self._clock.now_s = max(self._clock.now_s, until_s)
                break
            self._clock.now_s = max(self._clock.now_s, next_s)
        collected = Collected(self._answers, self._events, tuple(self._items))
        self._answers, self._events, self._items = [], [], []
        if self._refused is not None and not collected.answers:
            raise self._refused
        return collected

    def interrupt(self) -> None:
        """Nothing to do: nobody waits in virtual time."""

    def close(self) -> None:
        self._clock.monotonic()
        self._session.logout()
        self._exchange()

    # The line.

    def _due(self) -> list[float]:
        """Moments at which something happens by itself; infinity is always among them."""
        due = [float("inf")]
        if self._server is None:
            due += [self._connect_at_s] if self._connect_at_s is not None else []
        else:
            session_due, server_due = self._session.due_s, self._server.next_due_s
            due += [moment for moment in (session_due, server_due, self._breaks_at_s) if moment is not None]
            due += [self._inbound[0][0]] if self._inbound else []
        due += [self._agenda[0][0]] if self._agenda else []
        return due

    def _turn(self) -> None:
        """Everything that is due now."""
        while self._agenda and self._agenda[0][0] <= self._clock.now_s:
            heapq.heappop(self._agenda)[2]()
        if self._server is None:
            if self._connect_at_s is not None and self._clock.now_s >= self._connect_at_s:
                self._connect()
            return
        if self._server.next_due_s is not None and self._clock.now_s >= self._server.next_due_s:
            self._react(self._server.tick(self._clock.now_s))
        while self._inbound and self._inbound[0][0] <= self._clock.now_s:
            self._session.receive(heapq.heappop(self._inbound)[2], self._clock.now_s)
            self._exchange()
        if self._breaks_at_s is not None and self._clock.now_s >= self._breaks_at_s:
            self._lose("the server closed the connection")
        elif not self._wire.reachable:
            self._lose(NO_ROUTE)
        else:
            self._session.tick(self._clock.now_s)
            self._exchange()

    def _connect(self) -> None:
        if not self._wire.reachable:
            self._connect_at_s = self._clock.now_s + RECONNECT_S
            self._events.append(ConnectionLost("ads1:15000", NO_ROUTE))
            return
        self._wire.connections += 1
        self._server = self._wire.ads.connect(self._clock.now_s)
        self._session.connected(self._clock.now_s)
        self._exchange()

    def _exchange(self) -> None:
        """What the session says goes to the server; what it learned goes to the loop."""
        for frame in self._session.output():
            if self._server is None:
                continue
            items = self._wire.posted(frame)
            self._wire.sent_at += [(self._clock.now_s, ric) for _, ric in items]
            self._react(self._server.receive(frame, self._clock.now_s))
            self._wire.arrived(items)
        self._learn()
        for event in self._session.events():
            self._events.append(event)
            if isinstance(event, LoginEnded) and event.final:
                self._refused = LoginRefused(f"the login was refused: {event.code}: {event.text}")
            if isinstance(event, CloseConnection) and self._server is not None:
                self._lose(event.reason)

    def _react(self, reactions: Reactions) -> None:
        for frame in reactions.frames:
            due_s = self._clock.now_s + LATENCY_S + frame.delay_s
            heapq.heappush(self._inbound, (due_s, next(self._tie), frame.text))
        if reactions.close is not Closing.NO and self._breaks_at_s is None:
            self._breaks_at_s = self._clock.now_s + LATENCY_S

    def _lose(self, reason: str) -> None:
        assert self._server is not None
        self._server.disconnected()
        self._server, self._breaks_at_s, self._inbound = None, None, []
        self._connect_at_s = self._clock.now_s + RECONNECT_S
        self._session.disconnected(self._clock.now_s, reason)
        self._learn()
        self._events.append(ConnectionLost("ads1:15000", reason))

    def _learn(self) -> None:
        answers = self._session.answers()
        self._wire.answered(answers)
        self._answers += answers
        self._items += self._session.item_answers()
