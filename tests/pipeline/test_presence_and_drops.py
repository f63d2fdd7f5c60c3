"""Drops that come while what the ADS lost is posted again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from checks import page, repairs, told, whole
from virtual_site import SERVICE, NewSite, make_feed, many, script, sheet

from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind


def test_what_a_drop_posts_is_left_to_the_drop(new_site: NewSite) -> None:
    site = new_site(rate_limit=2)
    site.save(many(6))
    site.run()
    site.ads.items.forget()
    site.save(sheet("RIC,BID,ASK", *(f"R{number:04}=,{number}.75,{number}" for number in range(3))))
    site.run()
    assert whole(site)
    assert {ric for ric, _, _ in repairs(site)} == {"R0003=", "R0004=", "R0005="}
    assert site.value("R0001=", "BID") == Decimal("1.75")


def test_a_drop_that_comes_during_a_repair_wins(new_site: NewSite) -> None:
    site = new_site(rate_limit=2)
    site.save(many(20))
    site.run()
    site.ads.items.forget()

    def newer(loop: Loop) -> None:
        site.save(sheet("RIC,BID,ASK", *(f"R{number:04}=,1000,{number}" for number in range(20))), "new.csv")
        site.arrive(loop)

    site.run(once=False, meanwhile={3: newer, 200: Loop.stop})
    assert 0 < len(repairs(site)) < 20
    found = told(site)
    assert (found["state"], found["missing"], found["acked"]) == ("repaired", 20, len(repairs(site)))
    assert found["left_to_drops"] == 20 - found["acked"]
    assert {fields["BID"] for fields in site.cache().values()} == {Decimal(1000)}
    assert whole(site)
    newest: dict[str, str] = {}
    for _, ric, fields in site.sent():
        assert newest.get(ric) != "1000", "an older price went out after a newer one"
        newest[ric] = fields["BID"]


@pytest.mark.parametrize("cut_s", [None, 6.5])
def test_where_a_drop_ends_in_doubt_what_was_left_to_it_is_not_called_repaired(
    new_site: NewSite, cut_s: float | None
) -> None:
    """Nor where everything is read once more, because the connection was lost after that."""
    site = new_site(rate_limit=2, retries=0, ack_timeout_s=2.0)
    site.save(many(10))
    site.run()
    site.ads.items.forget()

    def lost(loop: Loop) -> None:
        site.ads.faults = script(Fault(kind=FaultKind.LOSE_POST, ric="R0009="))
        site.save(sheet("RIC,BID,ASK", "R0009=,1000,1"), "new.csv")
        site.arrive(loop)

    cut = {} if cut_s is None else {cut_s: lambda _: site.link.cut("the server is gone")}
    site.run(once=False, meanwhile={2: lost, **cut, 100: Loop.stop})
    found = told(site)
    assert (found["state"], found["acked"], found["left_to_drops"], found["in_doubt"]) == ("incomplete", 9, 1, 1)
    assert found["items"] == found["missing"] == 10
    assert (SERVICE, "R0009=") not in site.cache()
    site.save(many(10))
    site.run()
    assert "1 were left to drops that posted to them; 1 are in doubt after drops that posted to them" in page(site, 3)


def test_what_cannot_be_read_after_it_was_posted_again_is_not_called_repaired(new_site: NewSite) -> None:
    site = new_site(rate_limit=5)
    site.save(many(20))
    site.run()
    site.ads.items.forget()

    def unreadable(_: Loop) -> None:
        site.ads.readable = False

    site.run(once=False, meanwhile={2: unreadable, 60: Loop.stop})
    found = told(site)
    assert (found["state"], found["acked"], found["unreadable"]) == ("incomplete", 20, 20)


def test_what_is_lost_once_more_during_a_repair_is_missed(new_site: NewSite) -> None:
    site = new_site(rate_limit=5)
    site.save(many(40))
    site.run()
    for number in range(10, 20):
        del site.ads.items._cache[SERVICE, f"R{number:04}="]

    def again(loop: Loop) -> None:
        site.ads.items.forget()
        site.save(many(40, "R0000=,7,8"))
        site.arrive(loop)

    site.run(once=False, meanwhile={0.5: again, 60: Loop.stop})
    assert whole(site)
    found = told(site)
    assert (found["state"], found["acked"] + found["left_to_drops"]) == ("repaired", found["missing"])
    assert site.wire.connections == 2


@pytest.mark.parametrize("after_s", [3, 6])
def test_what_is_lost_once_more_is_missed_by_a_drop_whose_item_another_drop_had_brought_back(
    new_site: NewSite, after_s: int
) -> None:
    """The first reading left it to that drop, so that only the drop knows that it was there again."""
    site = new_site(make_feed("fx"), make_feed("busy"), rate_limit=2)
    site.save(many(30))
    site.save(sheet("RIC,BID", "B=,1"), feed="busy")
    site.run()

    def lose(loop: Loop, numbers: range) -> None:
        for ric in ("B=", *(f"R{number:04}=" for number in numbers)):
            site.ads.items._cache.pop((SERVICE, ric), None)
        site.save(sheet("RIC,BID", f"B=,{len(numbers)}"), f"{len(numbers)}.csv", feed="busy")
        site.arrive(loop, "busy")

    moments = {20: lambda loop: lose(loop, range(10)), 20 + after_s: lambda loop: lose(loop, range(30))}
    site.run(once=False, meanwhile={**moments, 200: Loop.stop})
    assert whole(site)
    assert told(site)["state"] == "repaired"
    assert site.wire.connections == 2


def test_a_value_that_a_drop_brings_after_the_repair_is_posted_again_where_it_is_not_there(
    new_site: NewSite,
) -> None:
    site = new_site(rate_limit=2)
    site.save(many(20))
    site.run()
    site.ads.items.forget()

    def newer(loop: Loop) -> None:
        assert ("R0000=", "missing", "acked") in repairs(site)
        site.ads.faults = script(Fault(kind=FaultKind.ACK_UNAPPLIED, ric="R0000=", times=1))
        site.save(sheet("RIC,BID,ASK", "R0000=,1000,1"), "new.csv")
        site.arrive(loop)

    site.run(once=False, meanwhile={3: newer, 100: Loop.stop})
    assert whole(site)
    assert told(site)["state"] == "repaired"
    assert site.stubborn() == set()


def test_where_a_drop_that_the_reading_left_out_ends_in_doubt_it_is_not_called_repaired(new_site: NewSite) -> None:
    site = new_site(make_feed("quiet"), make_feed("busy"), rate_limit=2, retries=0, ack_timeout_s=2.0)
    busy = [f"B{number}=" for number in range(20)]
    site.save(sheet("RIC,BID", *(f"Q{number}=,1" for number in range(10))), feed="quiet")
    site.save(sheet("RIC,BID", *(f"{ric},1" for ric in busy)), feed="busy")
    site.run()

    def newer(loop: Loop) -> None:
        site.ads.faults = script(Fault(kind=FaultKind.LOSE_POST, ric="B9="))
        site.save(sheet("RIC,BID", *(f"{ric},2" for ric in busy)), "2.csv", feed="busy")
        site.arrive(loop, "busy")

    site.run(once=False, meanwhile={5: lambda _: site.ads.items.forget(), 6: newer, 100: Loop.stop})
    found = told(site)
    assert (found["state"], found["in_doubt"]) == ("incomplete", 1)
    assert (SERVICE, "B9=") in site.dirty()


def test_what_was_in_doubt_before_is_not_called_repaired(new_site: NewSite) -> None:
    """It is told, and the exit code is that of what is new."""
    site = new_site(rate_limit=0, retries=0, ack_timeout_s=1.0)
    site.save(many(4))
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_POST, ric="R0003="))
    site.save(sheet("RIC,BID,ASK", "R0003=,1000,1"))
    site.run()
    site.ads.items.forget()
    site.ads.faults = script()
    loops: list[Loop] = []

    def stop(loop: Loop) -> None:
        loops.append(loop)
        loop.stop()

    site.run(once=False, meanwhile={20: stop})
    found = told(site)
    assert (found["state"], found["missing"], found["acked"], found["in_doubt"]) == ("incomplete", 3, 3, 1)
    assert loops[0].repair_code == 0
    assert not told(site, "suspect")


def test_what_a_drop_is_still_posting_is_not_in_doubt_after_it(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("other"), rate_limit=0, retries=3, ack_timeout_s=5.0)
    site.save(many(6))
    site.save(sheet("RIC,BID", "O=,1"), feed="other")
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK, ric="O=", times=2))
    site.save(sheet("RIC,BID", "O=,2"), feed="other")
    site.run(meanwhile={2: lambda _: site.ads_restarts()})
    found = told(site)
    assert (found["state"], found["missing"], found["acked"], found["in_doubt"]) == ("repaired", 6, 6, 0)
    assert site.cache() == site.snapshot()
