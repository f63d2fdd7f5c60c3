"""A source that is down for everything: its Service is left alone, no row is lost, and the others go on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_site import SERVICE, NewSite, Site, make_feed, script, sheet

from contrib_watch.ads.breaker import ANSWERS, FIRST_WAIT_S, LONGEST_WAIT_S, Breaker
from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.core.model import DropStatus
from contrib_watch.errors import NoConnection
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind

DOWN = Fault(kind=FaultKind.NAK, code="SourceDown", text="no route to the source")
RICS = [f"R{number}=" for number in range(300)]


def prices(value: int, *rics: str) -> str:
    """The same BID for each of these RICs."""
    return sheet("RIC,BID", *(f"{ric},{value}" for ric in rics))


def recovery(site: Site) -> Callable[[Loop], None]:
    """The source comes back."""

    def recover(_: Loop) -> None:
        site.ads.faults = script()

    return recover


# --- a drop


@pytest.mark.parametrize("code", ["SourceDown", "GatewayDown", "NoResources"])
def test_a_source_that_comes_back_gets_every_row(site: Site, code: str) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.NAK, code=code))
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={120.0: recovery(site), 240.0: Loop.stop})
    assert site.totals(1) == {"acked": len(RICS)}
    assert site.cache() == site.snapshot()
    assert len(site.posts) < 2.5 * len(RICS)


def test_a_source_that_is_down_is_asked_now_and_then(site: Site) -> None:
    site.ads.faults = script(DOWN)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={600.0: Loop.stop})
    first, *probes = _moments(site, after=5.0)
    waits = [later - earlier for earlier, later in itertools.pairwise([first, *probes])]
    assert waits == pytest.approx([10, 20, 40, 60, 60, 60, 60, 60, 60, 60, 60][: len(waits)], abs=0.1)
    assert len(waits) >= 9


def _moments(site: Site, after: float) -> list[float]:
    """When posts went out, this long after the first."""
    times = [at_s for at_s, _ in site.wire.sent_at]
    return [at_s for at_s in times if at_s - times[0] >= after]


def test_what_is_not_sent_uses_up_no_retry(new_site: NewSite) -> None:
    site = new_site(retries=1)
    site.ads.faults = script(DOWN)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={900.0: recovery(site), 1000.0: Loop.stop})
    assert site.totals(1) == {"acked": len(RICS)}


def test_few_rows_are_refused_after_their_retries(new_site: NewSite) -> None:
    site = new_site(retries=2)
    site.ads.faults = script(DOWN)
    site.save(prices(1, "A=", "B="))
    site.run()
    assert site.statuses(1) == {"A=": "nakked", "B=": "nakked"}
    assert len(site.posts) == 6


def test_a_source_that_refuses_only_some_items_is_not_down(new_site: NewSite) -> None:
    site = new_site(retries=0)
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="*5=", code="SourceDown"))
    site.save(prices(1, *RICS))
    site.run()
    assert site.totals(1) == {"acked": 270, "nakked": 30}


def test_run_once_gives_up_and_the_next_run_goes_on(new_site: NewSite) -> None:
    site = new_site(connect_timeout_s=30)
    site.ads.faults = script(DOWN)
    site.save(prices(1, *RICS))
    begun_s = site.clock.now_s
    with pytest.raises(NoConnection, match=f"{SERVICE}: SourceDown: no route to the source"):
        site.run()
    assert 30 <= site.clock.now_s - begun_s < 40
    assert [drop.status for drop in site.drops()] == [DropStatus.SENDING]
    assert not site.dirty()
    site.ads.faults = script()
    site.run()
    assert site.totals(1) == {"acked": len(RICS)}


def test_other_services_go_on_and_are_finished_before_a_run_gives_up(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk", service="OTHER"), rate_limit=20, connect_timeout_s=5)
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="R*", code="SourceDown"))
    site.save(prices(1, *RICS), feed="fx")
    site.save(prices(1, *(f"S{number}=" for number in range(200))), feed="desk")
    with pytest.raises(NoConnection):
        site.run()
    assert site.totals(2) == {"acked": 200}
    assert site.drops()[0].status is DropStatus.SENDING


def test_status_and_the_state_say_so_while_it_lasts(site: Site) -> None:
    told: list[dict[str, dict[str, str]]] = []

    def ask(loop: Loop) -> None:
        told.append(json.loads(loop._desk.state.get("services_down") or "{}"))

    site.ads.faults = script(DOWN)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={12.0: ask, 13.0: recovery(site), 40.0: ask, 41.0: Loop.stop})
    during, after = told
    assert during[SERVICE]["reason"] == "SourceDown: no route to the source"
    assert during[SERVICE]["since_utc"] < during[SERVICE]["next_try_utc"]
    assert after == {}


def test_a_newer_drop_takes_over_from_one_that_waits(site: Site) -> None:
    def newer(loop: Loop) -> None:
        site.save(prices(2, *RICS), "newer.csv")
        site.arrive(loop)

    site.ads.faults = script(DOWN)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={30.0: newer, 60.0: recovery(site), 300.0: Loop.stop})
    assert site.totals(1) == {"superseded": len(RICS)}
    assert site.totals(2) == {"acked": len(RICS)}
    assert {site.value(ric, "BID") for ric in RICS} == {2}


# --- the breaker alone


def answer(post_id: int, code: str = "", *, at_s: float = 0.0, verdict: Verdict | None = None) -> Answer:
    """An Ack, or a Nak where there is a code."""
    found = verdict or (Verdict.NAKKED if code else Verdict.ACKED)
    return Answer(post_id, found, code, "", at_s, at_s)


def opened() -> Breaker:
    """A breaker that has just seen enough, at 0 s."""
    breaker = Breaker()
    for post_id in range(ANSWERS):
        assert not breaker.open
        breaker.heard(answer(post_id, "SourceDown"))
    assert breaker.open
    return breaker


def test_one_probe_at_a_time() -> None:
    breaker = opened()
    assert (breaker.room(256, FIRST_WAIT_S - 0.1), breaker.due_s()) == (0, FIRST_WAIT_S)
    assert breaker.room(256, FIRST_WAIT_S) == 1
    breaker.sent([99])
    assert (breaker.room(256, 1000.0), breaker.due_s()) == (0, math.inf)


@pytest.mark.parametrize("verdict", [Verdict.LOST, Verdict.RETURNED])
def test_a_probe_that_says_nothing_of_the_source_is_repeated(verdict: Verdict) -> None:
    breaker = opened()
    breaker.sent([99])
    breaker.heard(answer(99, at_s=6.0, verdict=verdict))
    assert breaker.open
    assert breaker.room(256, 6.0) == 1


def test_an_answer_that_never_left_is_none() -> None:
    breaker = opened()
    breaker.heard(Answer(99, Verdict.NAKKED, "TooLarge", "", None, 1.0))
    assert breaker.open


@given(st.lists(st.sampled_from(["", "SourceDown", "GatewayDown", "AccessDenied", "timeout"]), max_size=80))
def test_it_opens_only_after_enough_in_a_row_and_closes_at_anything_else(codes: list[str]) -> None:
    breaker, in_a_row = Breaker(), 0
    for post_id, code in enumerate(codes):
        if code == "timeout":
            breaker.heard(answer(post_id, verdict=Verdict.TIMEOUT))
            continue
        breaker.heard(answer(post_id, code))
        in_a_row = in_a_row + 1 if code in ("SourceDown", "GatewayDown") else 0
        assert breaker.open == (in_a_row >= ANSWERS)


def test_the_waits_have_a_longest() -> None:
    breaker, now_s = opened(), 0.0
    for post_id in range(100, 120):
        waited_s = breaker.due_s() - now_s
        assert waited_s <= LONGEST_WAIT_S
        now_s = breaker.due_s()
        breaker.sent([post_id])
        breaker.heard(answer(post_id, "SourceDown", at_s=now_s))
    assert breaker.due_s() - now_s == LONGEST_WAIT_S
