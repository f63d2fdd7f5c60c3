"""What a person has read back or posted again: when it is given up, and when nothing may be posted."""

from __future__ import annotations

from collections import Counter

import pytest
from virtual_site import NewSite, Site, make_feed, script, sheet

from contrib_watch.core.model import NOBODY, Status
from contrib_watch.errors import ConfigurationError, NoConnection
from contrib_watch.pipeline import brake
from contrib_watch.pipeline.patience import LOSSES
from contrib_watch.pipeline.reconciling import Task
from contrib_watch.simulator.faults import Fault, FaultKind

FORTY = sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(40)))


def again(task: Task) -> dict[Status, int]:
    return task.resend(["NIPROV"], "*", advanced=lambda _: None)


def test_connections_that_bring_answers_are_not_counted(site: Site) -> None:
    site.save(FORTY)
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_BEFORE, every=2, times=2 * LOSSES))
    before = site.wire.connections
    assert site.task(again) == {Status.ACKED: 40}
    assert site.wire.connections > before + LOSSES


def test_connections_that_are_all_lost_at_a_post_end_it(site: Site) -> None:
    site.save(FORTY)
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_BEFORE))
    before = site.wire.connections
    with pytest.raises(NoConnection, match="10 times in a row"):
        site.task(again)
    assert site.wire.connections == before + LOSSES


def test_a_source_that_is_down_does_not_end_what_another_one_takes(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("slow", service="SLOW"), rate_limit=1, connect_timeout_s=10)
    site.save(FORTY)
    site.save(FORTY.replace("R", "S").replace("SIC", "RIC"), feed="slow")
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="R*", code="SourceDown"))
    with pytest.raises(NoConnection, match="SourceDown"):
        site.task(lambda task: task.resend(["NIPROV", "SLOW"], "*", advanced=lambda _: None))
    times = Counter(ric for _, ric, _ in site.sent())
    assert {ric: times[ric] for ric in times if ric.startswith("S")} == {f"S{number}=": 2 for number in range(40)}


def test_a_pause_calls_back_what_has_not_left(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), rate_limit=1)
    site.save(FORTY)
    site.run()
    posted = len(site.posts)

    def paused_meanwhile(task: Task) -> None:
        assert site.link is not None
        site.link.at(site.clock.now_s + 3.0, lambda: brake.pause(task._desk, "fx", NOBODY))
        again(task)

    with pytest.raises(ConfigurationError, match="nothing is posted: feed fx is paused"):
        site.task(paused_meanwhile)
    assert 0 < len(site.posts) - posted < 10
    with site.desk() as desk:
        assert desk.ledger.uncertain()["in_flight"] == 0
        brake.resume(desk, "fx", NOBODY)
    assert site.task(again) == {Status.ACKED: 40}
