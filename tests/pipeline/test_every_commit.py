"""A process that dies, or whose database fails, at each of its commits in turn: before it, and after it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from history_model import Table, check_drops, check_prices, check_reports, check_snapshot
from shared_parts import folder_in_memory
from virtual_site import Blow, Killed, Site, make_feed, script

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import StateError
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind
from contrib_watch.store.proof import prove

FIRST = Table(("BID", "ASK"), (("A=", ("1", "2")), ("B=", ("1", "")), ("B=", ("1", "")), ("E=", ("1", "2"))))
SECOND = {
    "fx": Table(("BID",), (("A=", ("3",)), ("B=", ("2",)), ("C=", ("1",)), ("D=", ("x1",)))),
    "desk": Table(("BID", "ASK"), (("D=", ("4", "5")), ("A=", ("9", "9")))),
}
LAST = Table(("ASK", "BID"), (("A=", ("7", "#CLEAR")), ("C=", ("2", ""))))
ADS_FAULTS = (
    Fault(kind=FaultKind.NAK, ric="B=", code="AccessDenied", times=1),
    Fault(kind=FaultKind.NAK, ric="D=", code="GatewayDown", times=1),
    Fault(kind=FaultKind.LOSE_ACK, ric="A=", nth=2, times=1),
    Fault(kind=FaultKind.DROP_CONNECTION_AFTER, ric="C=", nth=1, times=1),
)


class Scenario:
    """Two feeds and four drops, of which one comes while another is sent; a Nak, a retry, a lost Ack, a lost
    connection, and an ADS that loses its cache, which is repaired."""

    def __init__(self, dictionary: Dictionary, folder: Path) -> None:
        feeds = (make_feed("fx"), make_feed("desk"))
        self.site = Site(folder, dictionary, *feeds, faults=ADS_FAULTS, quick=True, rate_limit=20)
        self.tables: dict[str, Table] = {}
        self._saves = 0

    def play(self, at_commit: tuple[int, Blow] | None = None) -> int:
        """One process is struck at its n-th commit; the one after it finishes. Returns how many commits it made."""
        self._save(FIRST, "fx")
        self.site.run()
        self.site.ads.items.forget()
        for feed, table in SECOND.items():
            self._save(table, feed)
        try:
            self.site.run(at_commit=at_commit, meanwhile={0.06: self._save_last})
        except (Killed, StateError):
            assert at_commit is not None
        commits = self.site.clock.life.commits
        self.site.ads.faults = script()
        if self._saves == 1 + len(SECOND):
            self._save(LAST, "fx")
        self.site.run(once=False, meanwhile={5.0: Loop.stop})  # which connects, even if there is nothing to send
        return commits

    def check(self) -> None:
        """The promises."""
        check_drops(self.site)
        check_reports(self.site, self.tables)
        check_snapshot(self.site, may_lack=False, forgot=False)
        check_prices(self.site, self.tables, feeds=2, forgot=False)
        assert not self.site.dirty()
        assert self.site.cache() == self.site.snapshot()
        self._check_quiet()
        with self.site.desk() as desk:
            assert prove(desk.state).misfit is None

    def _check_quiet(self) -> None:
        """A further run finds nothing to do."""
        posts, reports = len(self.site.posts), self.site.report_files()
        assert self.site.run() == []
        assert len(self.site.posts) == posts
        assert self.site.report_files() == reports

    def _save(self, table: Table, feed: str) -> None:
        self._saves += 1
        self.tables[sha256(table.text().encode()).hexdigest()] = table
        self.site.save(table.text(), f"{self._saves}.csv", feed)

    def _save_last(self, loop: Loop) -> None:
        self._save(LAST, "fx")
        self.site.arrive(loop)


def test_the_scenario_has_all_that_it_is_for(dictionary: Dictionary) -> None:
    with folder_in_memory() as folder:
        scenario = Scenario(dictionary, folder)
        scenario.play()
        scenario.check()
        site = scenario.site
        told = [row for drop in site.drops() for row in site.rows(drop.id)]
        assert {row["status"] for row in told} >= {"acked", "nakked", "rejected", "superseded"}
        assert max(int(row["attempts"]) for row in told) > 1
        with site.desk() as desk, desk.state.transaction() as connection:
            repairs = connection.exec_driver_sql("SELECT ric, status FROM repairs").all()
        assert ("E=", "acked") in [tuple(row) for row in repairs]


@pytest.fixture(scope="module")
def commits(dictionary: Dictionary) -> int:
    """How many a process makes that nothing happens to."""
    with folder_in_memory() as folder:
        return Scenario(dictionary, folder).play()


DEATHS_FROM, FAILURES_FROM = ((1, 2), (1, 2)) if "HISTORY_EXAMPLES" in os.environ else ((1,), (2,))
"""Deaths at odd commits and failures at even ones: what is done between two commits is next to one of each."""
BLOWS = [
    *((blow, first) for blow in (Blow.DIE_BEFORE, Blow.DIE_AFTER) for first in DEATHS_FROM),
    *((blow, first) for blow in (Blow.FAIL_BEFORE, Blow.FAIL_AFTER) for first in FAILURES_FROM),
]


@pytest.mark.parametrize(("blow", "first"), BLOWS)
def test_every_commit(dictionary: Dictionary, commits: int, blow: Blow, first: int) -> None:
    """Every second one from ``first`` on; with HISTORY_EXAMPLES, every blow at every one."""
    assert commits > 30
    for number in range(first, commits + 1, 2):
        with folder_in_memory() as folder:
            scenario = Scenario(dictionary, folder)
            assert scenario.play((number, blow)) == number
            try:
                scenario.check()
            except Exception as error:
                error.add_note(f"{blow} commit {number} of {commits}")
                raise
