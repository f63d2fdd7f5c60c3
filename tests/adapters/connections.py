"""A connection with a real socket, and how a test waits for what comes of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from contrib_watch.adapters.connection import Collected, Connection, ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint
from contrib_watch.ads.backoff import Waits
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.config import load_dictionary
from contrib_watch.config.settings import Fields
from contrib_watch.core.model import Action
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import Fault, FaultScript
from contrib_watch.simulator.server import SimulatedServer

DEADLINE_S = 15.0
PROMPT_S = 2.5
"""The longest that close() may take in any state."""
FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
DICTIONARY = load_dictionary(Fields())
SOON = Waits(first_refused_s=0.1)


def simulated(*faults: Fault, ping_timeout_s: float = 30, users: Iterable[str] | None = None) -> SimulatedAds:
    users = None if users is None else frozenset(users)
    return SimulatedAds(DICTIONARY, FaultScript(faults), ping_timeout_s=ping_timeout_s, users=users)


def endpoint(server: SimulatedServer, *, proxy: str = "") -> Endpoint:
    return Endpoint(host=server.host, port=server.port, proxy=proxy)


def made(
    *endpoints: Endpoint,
    connect_timeout_s: float = 10,
    window: int = 256,
    rate_limit: float = 0,
    waits: Waits = SOON,
) -> Connection:
    session = Session(
        Login(user="analyst", app_id="256", position="127.0.0.1"), Limits(window=window, rate_limit=rate_limit)
    )
    return Connection(endpoints, session, connect_timeout_s=connect_timeout_s, waits=waits)


@contextmanager
def started(
    *endpoints: Endpoint, connect_timeout_s: float = 10, window: int = 256, waits: Waits = SOON
) -> Iterator[Connection]:
    with running(made(*endpoints, connect_timeout_s=connect_timeout_s, window=window, waits=waits)) as connection:
        yield connection


@contextmanager
def running(connection: Connection) -> Iterator[Connection]:
    """Started; and closed promptly, in whatever state it is."""
    connection.start()
    try:
        yield connection
    finally:
        begun_s = time.monotonic()
        connection.close()
        assert time.monotonic() - begun_s < PROMPT_S


def posts(first: int, count: int, *, fields: str = '{"BID":22.1}') -> list[Outgoing]:
    return [Outgoing(n, FORM.text(n, f"R{n}", Action.REFRESH, fields)) for n in range(first, first + count)]


def until(connection: Connection, enough: Callable[[Collected], bool]) -> Collected:
    """All answers and events, until they are enough."""
    deadline_s = time.monotonic() + DEADLINE_S
    gathered = Collected([], [])
    while not enough(gathered):
        left_s = deadline_s - time.monotonic()
        assert left_s > 0, f"waited in vain; so far {gathered}"
        answers, events, *_ = connection.collect(left_s)
        gathered.answers.extend(answers)
        gathered.events.extend(events)
    return gathered


def answered(connection: Connection, count: int) -> list[Answer]:
    return until(connection, lambda came: len(came.answers) >= count).answers


def seen(connection: Connection, kind: type) -> Collected:
    return until(connection, lambda came: any(isinstance(event, kind) for event in came.events))


def lost(connection: Connection) -> ConnectionLost:
    event = seen(connection, ConnectionLost).events[-1]
    assert isinstance(event, ConnectionLost)
    return event


def unused() -> Endpoint:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Endpoint(host="127.0.0.1", port=taken.getsockname()[1])
