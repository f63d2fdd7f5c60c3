"""The promises, held against random histories of drops, faults of the ADS, and processes that die at any step.

Set HISTORY_EXAMPLES for more examples than an ordinary run's, and for a death at every single step in test_loop.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from history_model import BAD, CLEAR, FIELDS, Table, check_prices, check_reports, check_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_site import Killed, Site, make_feed

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import ConnectionFailed
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript

EXAMPLES = int(os.environ.get("HISTORY_EXAMPLES", "40"))
RICS = ("A=", "B=", "C=")
NAK_CODES = ("AccessDenied", "GatewayDown", "NoResponse", "SymbolUnknown", "132")

PROPERTY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="HISTORY_EXAMPLES" not in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Step:
    """Files are saved, and then a process runs that may die."""

    saved: tuple[tuple[str, Table], ...]
    """Feed and content of each file."""
    die_at: int | None = None


@dataclass(frozen=True)
class World:
    """A history, what the ADS gets wrong in it, and how fast it is posted."""

    history: list[Step]
    faults: list[Fault]
    window: int = 256
    pack: int = 1
    rate_limit: int = 0


cells = st.sampled_from(("", "1", "2", "3.5", "3.50", CLEAR, "1", "2", BAD[0]))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    fields = tuple(draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True)))
    width = len(fields)
    row = st.tuples(st.sampled_from(RICS), st.tuples(*[cells] * width))
    return Table(fields, tuple(draw(st.lists(row, min_size=1, max_size=4))))


post_faults = st.builds(
    Fault,
    kind=st.sampled_from(sorted(set(FaultKind) - {FaultKind.REFUSE_LOGIN})),
    ric=st.sampled_from(("*", *RICS)),
    nth=st.none() | st.integers(1, 6),
    times=st.integers(1, 6),
    code=st.sampled_from(NAK_CODES),
    delay_s=st.sampled_from((0.5, 14.995, 20.0, 60.0)),
    debug=st.booleans(),
)
login_faults = st.builds(
    Fault,
    kind=st.just(FaultKind.REFUSE_LOGIN),
    nth=st.integers(1, 3),
    code=st.just("UserUnknownToPermSys"),
    text=st.sampled_from(("", "Already pending login")),
)
fault_scripts = st.lists(st.one_of(post_faults, post_faults, login_faults), max_size=4)
feed_names = st.sampled_from(("fx", "fx", "desk"))
saves = st.lists(st.tuples(feed_names, tables()), max_size=3).map(tuple)
steps = st.lists(st.builds(Step, saves, st.none() | st.integers(1, 250)), min_size=1, max_size=4)


worlds = st.builds(
    World,
    history=steps,
    faults=fault_scripts,
    window=st.sampled_from((1, 2, 256)),
    pack=st.sampled_from((1, 3)),
    rate_limit=st.sampled_from((0, 2)),
)


@PROPERTY
@given(world=worlds)
def test_after_any_history_the_ads_holds_what_the_newest_drops_say(dictionary: Dictionary, world: World) -> None:
    live(dictionary, world)


def live(dictionary: Dictionary, world: World) -> None:
    """Play a history, let the faults end, and hold every promise against what is there then."""
    with tempfile.TemporaryDirectory() as folder:
        limits = {"window": world.window, "pack": world.pack, "rate_limit": world.rate_limit}
        feeds = (make_feed("fx"), make_feed("desk"))
        site = Site(Path(folder), dictionary, *feeds, faults=world.faults, **limits)
        saved = play(site, world.history)
        settle(site)
        check_reports(site, saved)
        check_snapshot(site, cache_was_lost=any(fault.kind is FaultKind.FORGET_CACHE for fault in world.faults))
        check_prices(site, saved, feeds=len({feed for step in world.history for feed, _ in step.saved}))
        check_quiet(site)


def play(site: Site, history: list[Step]) -> dict[Path, Table]:
    """Live through a history; what every file held."""
    saved: dict[Path, Table] = {}
    for step in history:
        for feed, table in step.saved:
            saved[site.save(table.text(), f"{len(saved)}.csv", feed)] = table
        try:
            site.run(die_at=step.die_at)
        except (Killed, ConnectionFailed):
            continue
    return saved


def settle(site: Site) -> None:
    """The faults are over, and a process runs to its end."""
    site.ads.faults = FaultScript().start()
    site.run()


def check_quiet(site: Site) -> None:
    """A further run finds nothing to do."""
    posts, reports = len(site.posts), site.report_files()
    assert site.run() == []
    assert len(site.posts) == posts
    assert site.report_files() == reports
