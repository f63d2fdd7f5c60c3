"""A simulated ADS in this process, which remembers what it acknowledged by the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from contrib_watch.adapters.connection import Connection
from contrib_watch.adapters.endpoint import Endpoint
from contrib_watch.adapters.trace import Trace
from contrib_watch.cli.linking import session_of
from contrib_watch.config import Settings
from contrib_watch.core.fields import Dictionary
from contrib_watch.pipeline.desk import Desk
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.server import SimulatedServer


@contextmanager
def simulated_links(
    desk: Desk, dictionary: Dictionary, faults: FaultScript | None, trace: Trace | None
) -> Iterator[Callable[[], Connection]]:
    """Makes connections, not started yet, to one simulated ADS that gets ``faults`` wrong."""
    with SimulatedServer(SimulatedAds(dictionary, faults or FaultScript())) as server:
        yield partial(_SimulatedLink, desk, server, trace)


@contextmanager
def simulated_link(settings: Settings, dictionary: Dictionary, trace: Trace | None) -> Iterator[Connection]:
    """A connection to a simulated ADS that holds what it acknowledged by the state, which is only read."""
    desk = Desk.open(settings, dictionary, reading=True)
    with desk.state, simulated_links(desk, dictionary, None, trace) as connect:
        connection = connect()
        try:
            yield connection
        finally:
            connection.close()


class _SimulatedLink(Connection):
    """Loads the server with what it acknowledged, when it is first used."""

    def __init__(self, desk: Desk, server: SimulatedServer, trace: Trace | None) -> None:
        ads = desk.settings.ads
        here = [Endpoint(host=server.host, port=server.port)]
        super().__init__(here, session_of(ads), connect_timeout_s=ads.connect_timeout_s, trace=trace)
        self._desk = desk
        self._server = server

    def start(self) -> None:
        with self._server.inspect() as simulated:
            for service, ric, fields in self._desk.ledger.everything():
                simulated.load(service, ric, fields)
        super().start()
