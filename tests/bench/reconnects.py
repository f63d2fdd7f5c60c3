"""How soon an ADS that returns gets its posts, and whether refused connections leave anything behind.

    python tests/bench/reconnects.py

The first part has outages of several lengths, each several times over; the time that counts is from when the ADS
listens again to its first Ack, and its upper bound is the wait that the back-off has reached by then. The second part
is refused without waits in between: by a port where nobody listens, by a server that closes each handshake, and by
logins that are still pending. Memory is the process's resident set, in MB; threads and files are what the operating
system counts.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import structlog
from rich.console import Console
from rich.table import Table

from contrib_watch.adapters.connection import Connection, ConnectionLost, Endpoint
from contrib_watch.ads.backoff import USUAL_WAITS, Waits
from contrib_watch.ads.exchange import LoggedIn, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.model import Action
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.server import SimulatedServer

DICTIONARY = load_dictionary(Fields())
FORM = PostFormat(service="S", address="127.0.0.1", user_id=1)
AT_ONCE = Waits(first_s=0.0, longest_s=0.0, first_refused_s=0.0, longest_refused_s=0.0)


class Usage(NamedTuple):
    """What this process holds."""

    memory_mb: float
    threads: int
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outages", type=float, nargs="+", default=[0.1, 2.0, 10.0, 60.0], help="their seconds")
    parser.add_argument("--repeat", type=int, default=3, help="how often each outage happens")
    parser.add_argument("--refusals", type=int, default=10_000)
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # thousands of logins are no news
    console = Console(width=110)
    if options.repeat:
        table = Table("outage", "first Ack after the return, median", "worst", title="seconds")
        for outage_s in options.outages:
            found = [return_to_ack_s(outage_s) for _ in range(options.repeat)]
            table.add_row(f"{outage_s:g}", f"{statistics.median(found):.2f}", f"{max(found):.2f}")
        console.print(table)
    columns = ("refused", "times", "seconds", "MB", "MB after", "threads", "after", "files", "after")
    table = Table(*columns, title="refused connections")
    for name, refusing in (("nobody listens", nobody), ("handshake closed", hung_up), ("login pending", pending)):
        with refusing() as where:
            took_s, before, after = refused(where, options.refusals)
        pairs = [
            f"{value:.1f}" if isinstance(value, float) else str(value)
            for both in zip(before, after, strict=True)
            for value in both
        ]
        table.add_row(name, f"{options.refusals:,}", f"{took_s:.1f}", *pairs)
    console.print(table)


def return_to_ack_s(outage_s: float) -> float:
    """From when the ADS listens again to the Ack of a post that was waiting for it."""
    with (
        SimulatedServer(SimulatedAds(DICTIONARY, FaultScript())) as server,
        started([Endpoint(host=server.host, port=server.port)], USUAL_WAITS) as connection,
    ):
        until(connection, lambda came: any(isinstance(event, LoggedIn) for event in came))
        server.refuse(True)
        server.drop_all()
        time.sleep(outage_s)
        connection.post([Outgoing(1, FORM.text(1, "A=", Action.REFRESH, '{"BID":1}'))])
        server.refuse(False)
        returned_s = time.monotonic()
        while not connection.collect(60.0).answers:
            pass
        return time.monotonic() - returned_s


def refused(where: Endpoint, times: int) -> tuple[float, Usage, Usage]:
    """Be refused so often: how long that took, and what was held after the first hundred and at the end."""
    with started([where], AT_ONCE) as connection:
        begun_s = time.monotonic()
        count_losses(connection, min(100, times))
        before = usage()
        count_losses(connection, times)
        return time.monotonic() - begun_s, before, usage()


def count_losses(connection: Connection, count: int) -> None:
    while count > 0:
        count -= sum(isinstance(event, ConnectionLost) for event in connection.collect(60.0).events)


def until(connection: Connection, enough: Callable[[Sequence[object]], bool]) -> None:
    while not enough(connection.collect(60.0).events):
        pass


@contextmanager
def started(endpoints: Sequence[Endpoint], waits: Waits) -> Iterator[Connection]:
    session = Session(Login(user="bench", app_id="256", position="127.0.0.1"), Limits())
    connection = Connection(endpoints, session, connect_timeout_s=10, waits=waits)
    connection.start()
    with closing(connection):
        yield connection


@contextmanager
def nobody() -> Iterator[Endpoint]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Endpoint(host="127.0.0.1", port=taken.getsockname()[1])


@contextmanager
def hung_up() -> Iterator[Endpoint]:
    """A server that closes each connection before it has said anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint(host="127.0.0.1", port=listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def pending() -> Iterator[Endpoint]:
    """An ADS that still holds an earlier login."""
    fault = Fault(kind=FaultKind.REFUSE_LOGIN, code="NotEntitled", text="Already pending login")
    with SimulatedServer(SimulatedAds(DICTIONARY, FaultScript((fault,)))) as server:
        yield Endpoint(host=server.host, port=server.port)


def usage() -> Usage:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads, files = (len(list(Path("/proc/self", name).iterdir())) for name in ("task", "fd"))
    return Usage(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threads, files)


if __name__ == "__main__":
    main()
