"""What goes on the wire once somebody has paused a feed, or stopped the program: nothing more."""

from __future__ import annotations

from virtual_site import NewSite, Site, make_feed, script, sheet

from contrib_watch.core.model import NOBODY, Feed
from contrib_watch.pipeline import brake
from contrib_watch.pipeline.loop import FAREWELL_S, LONGEST_TURN_S, Loop
from contrib_watch.simulator.faults import Fault, FaultKind

PAUSED_AFTER_S = 4.0
RICS = [*(f"FAST{n:03}=" for n in range(300)), *(f"SLOW{n:03}=" for n in range(200))]


def becoming_slow(new_site: NewSite, *feeds: Feed, delay_s: float) -> Site:
    """A drop of the first feed, for an ADS that answers its last RICs after ``delay_s``."""
    slow = Fault(kind=FaultKind.DELAY_ACK, ric="SLOW*", delay_s=delay_s)
    site = new_site(*feeds, faults=[slow], window=5, rate_limit=0)
    site.save(sheet("RIC,BID", *(f"{ric},1" for ric in RICS)))
    return site


def test_a_pause_calls_back_what_waits_at_an_ads_that_has_become_slow(new_site: NewSite) -> None:
    """The connection was given as much as the ADS answered in its best quarter of a second."""
    site = becoming_slow(new_site, make_feed("fx"), make_feed("other"), delay_s=5.0)
    site.save(sheet("RIC,BID", "OTHER=,1"), feed="other")
    paused_s: list[float] = []

    def pause(loop: Loop) -> None:
        brake.pause(loop._desk, "fx", NOBODY)
        paused_s.append(site.clock.now_s)

    site.run(meanwhile={PAUSED_AFTER_S: pause})
    assert any(ric.startswith("SLOW") for at_s, ric in site.wire.sent_at if at_s <= paused_s[0])
    after = [at_s for at_s, _ in site.wire.sent_at if at_s > paused_s[0] + LONGEST_TURN_S]
    assert after == []
    with site.desk() as desk:
        assert desk.ledger.uncertain() == {"in_flight": 0, "dirty": 0}
        brake.resume(desk, "fx", NOBODY)
    site.ads.faults = script()
    site.run()
    assert set(site.statuses(1).values()) == {"acked"}
    assert len(site.posts) == len(RICS) + 1


def test_a_stop_calls_it_back_too(new_site: NewSite) -> None:
    site = becoming_slow(new_site, make_feed("fx"), delay_s=FAREWELL_S - 1.0)
    stopped_s: list[float] = []

    def stop(loop: Loop) -> None:
        stopped_s.append(site.clock.now_s)
        loop.stop()

    site.run(meanwhile={PAUSED_AFTER_S: stop})
    assert any(ric.startswith("SLOW") for at_s, ric in site.wire.sent_at if at_s <= stopped_s[0])
    assert [ric for at_s, ric in site.wire.sent_at if at_s > stopped_s[0]] == []
    assert site.dirty() == set()
    site.ads.faults = script()
    site.run()
    assert set(site.statuses(1).values()) == {"acked"}
    assert len(site.posts) == len(RICS)
