"""What a person has read back or posted again: when it is given up, and when nothing may be posted."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from virtual_site import Killed, NewSite, Site, make_feed, script, sheet

from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import NOBODY, Status
from contrib_watch.errors import ConfigurationError, NoConnection
from contrib_watch.pipeline import brake
from contrib_watch.pipeline.patience import LOSSES
from contrib_watch.pipeline.reconciling import Task
from contrib_watch.simulator.faults import Fault, FaultKind
from contrib_watch.store import schema
from contrib_watch.store.proof import prove

FORTY = sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(40)))


def again(task: Task) -> dict[Status, int]:
    return task.resend(["NIPROV"], "*", advanced=lambda _: None)


def test_what_was_posted_again_before_a_death_is_in_the_record(tmp_path: Path, dictionary: Dictionary) -> None:
    """Also what was on the wire then: the next process says that it had no answer."""
    lost = 0
    for die_at in itertools.count(20, 7):
        (tmp_path / str(die_at)).mkdir()
        site = Site(tmp_path / str(die_at), dictionary, make_feed("fx"), window=2)
        site.save(FORTY)
        site.run()
        before = len(site.posts)
        try:
            site.task(again, die_at=die_at)
        except Killed:
            site.task(lambda _: None)
            with site.desk() as desk:
                table = schema.repairs.c
                with desk.state.transaction() as connection:
                    told = connection.execute(select(table.post_id, table.status, table.text)).all()
                assert prove(desk.state).misfit is None
            posted = {post.post_id for post in site.posts[before:]}
            assert posted <= {post_id for post_id, _, _ in told}
            without = [text for _, status, text in told if status == Status.UNCONFIRMED]
            assert set(without) <= {"the program was stopped before the answer came"}
            lost += bool(without)
        else:
            break
    assert lost > 3


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
