"""The ADS still holds what it acknowledged, or is made whole again, or somebody is told."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from checks import page, repairs, told, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_site import SERVICE, Killed, NewSite, Site, make_feed, many, script, sheet

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import NoConnection
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind


def test_an_ads_that_restarts_empty_is_whole_again_after_the_next_drop(new_site: NewSite) -> None:
    site = new_site(rate_limit=0)
    site.save(many(3000))
    site.run()
    before = site.cache()
    site.ads.items.forget()
    site.save(many(3000, "R0000=,7,8"))
    site.run()
    assert len(site.cache()) == 3000
    assert whole(site)
    assert site.value("R0000=", "BID") == 7
    assert {item: site.cache()[item] for item in before if item[1] != "R0000="} == {
        item: fields for item, fields in before.items() if item[1] != "R0000="
    }
    again = site.sent(since=3000)
    assert len(again) == 3001  # an Update that meets nothing, its Refresh, and one Refresh for each of the others
    assert {kind for kind, ric, _ in again if ric != "R0000="} == {"Refresh"}
    assert repairs(site) == [(f"R{number:04}=", "missing", "acked") for number in range(1, 3000)]
    found = told(site)
    assert (found["state"], found["missing"], found["acked"]) == ("repaired", 2999, 2999)
    assert site.totals(2) == {"acked": 1, "unchanged": 2999}


def test_the_next_report_says_so_once(site: Site) -> None:
    site.save(many(5))
    site.run()
    site.ads.items.forget()
    site.save(many(5, "R0000=,7,8"))
    site.run()
    site.save(many(5, "R0000=,9,8"))
    site.run()
    site.save(many(5, "R0000=,10,8"))
    site.run()
    text = "4 were missing and 0 different; posted again: 4 acknowledged"
    assert [text in page(site, drop) for drop in (1, 2, 3, 4)] == [False, False, True, False]
    assert len(list(site.base.rglob("*.ack.csv"))) == 4  # a repair has no report of its own


def test_nothing_wrong_and_nothing_is_posted(site: Site) -> None:
    site.save(many(80))
    site.run()
    site.save(many(80, "R0000=,7,8"))
    site.run()
    assert len(site.posts) == 81
    assert repairs(site) == []
    assert told(site)["state"] == "fine"
    assert told(site)["items"] == 50


def test_a_run_without_anything_to_post_makes_no_connection_for_a_check_within_a_day(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.run()  # the first sample was read before anything was acknowledged, and counts all the same
    connections = site.wire.connections
    site.clock.ahead_s += 80_000
    site.save(many(3), "again.csv")
    site.run()
    assert site.totals(2) == {"unchanged": 3}
    assert site.wire.connections == connections


def test_unchanged_rows_are_checked_once_a_day_by_runs_that_post_nothing(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.ads.items.forget()
    site.clock.ahead_s += 90_000
    connections = site.wire.connections
    site.run()
    assert site.wire.connections == connections  # no row was called unchanged
    site.save(many(3), "again.csv")
    site.run()
    assert site.totals(2) == {"unchanged": 3}
    assert whole(site)
    assert [status for _, _, status in repairs(site)] == ["acked"] * 3
    connections = site.wire.connections
    site.save(many(3), "and again.csv")
    site.run()
    assert site.wire.connections == connections


def test_a_daily_check_gives_up_as_everything_does_without_a_connection(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.clock.ahead_s += 90_000
    site.wire.reachable = False
    site.save(many(3), "again.csv")
    with pytest.raises(NoConnection):
        site.run()
    assert site.totals(2) == {"unchanged": 3}


def test_a_daemon_repairs_at_its_login_without_any_drop(site: Site) -> None:
    site.save(many(120))
    site.run()
    site.ads.items.forget()
    site.run(once=False, meanwhile={20: Loop.stop})
    assert whole(site)
    assert len(repairs(site)) == 120


def test_after_every_login(site: Site) -> None:
    site.save(many(3))
    site.run()

    def restart(_: Loop) -> None:
        site.ads.items.forget()
        site.wire.reachable = False

    def back(_: Loop) -> None:
        site.wire.reachable = True

    site.run(once=False, meanwhile={20: restart, 30: back, 60: restart, 70: back, 100: Loop.stop})
    assert whole(site)
    assert len(repairs(site)) == 6


def test_a_value_that_differs_is_posted_again(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.ads.load(SERVICE, "R0001=", '{"BID":99,"ASK":1,"BIDSIZE":5}')
    site.run(once=False, meanwhile={20: Loop.stop})
    assert site.value("R0001=", "BID") == Decimal("1.5")
    assert repairs(site) == [("R0001=", "BID 99 instead of 1.5", "acked")]
    assert site.sent(since=3) == [("Refresh", "R0001=", {"BID": "1.5", "ASK": "1"})]


def test_fields_of_others_are_no_difference(site: Site) -> None:
    site.save(many(3))
    site.run()
    for number in range(3):
        site.ads.load(SERVICE, f"R{number:04}=", f'{{"BID":{number}.50,"ASK":{number},"BIDSIZE":5}}')
    site.run(once=False, meanwhile={20: Loop.stop})
    assert len(site.posts) == 3


def test_0_reads_nothing_back(new_site: NewSite) -> None:
    site = new_site(presence_sample=0)
    site.save(many(3))
    site.run()
    site.ads.items.forget()
    site.save(many(3, "R0000=,7,8"))
    site.run()
    assert {ric for _, ric in site.cache()} == {"R0000="}
    assert told(site) == {}


def test_an_update_that_meets_nothing_raises_the_alarm_while_connected(site: Site) -> None:
    site.save(many(200))

    def lose(loop: Loop) -> None:
        site.ads.items.forget()
        site.save(many(200, "R0000=,7,8"))
        site.arrive(loop)

    site.run(once=False, meanwhile={30: lose, 60: Loop.stop})
    assert whole(site)
    assert len(repairs(site)) == 199
    assert site.wire.connections == 1


def test_the_alarm_is_raised_while_a_sample_waits_for_drops_that_post_to_all_of_it(site: Site) -> None:
    site.save(many(5))
    site.run()
    with site.desk() as desk:
        desk.state.put("sampled_utc", "")
    site.ads.items.forget()
    site.save(many(5), "same.csv")
    site.save(sheet("RIC,BID,ASK", *(f"R{number:04}=,{number}.75,{number}" for number in range(5))), "new.csv")
    site.run()  # it ends
    assert told(site)["state"] == "repaired"
    assert (told(site)["items"], whole(site)) == (5, True)


def test_a_source_that_goes_down_after_the_sample_leaves_the_target_suspect(
    new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(presence_sample=1)
    site.save(many(5))
    site.run()
    site.ads.items.forget()
    of_the_sample = iter([True])
    with monkeypatch.context() as patched:
        patched.setattr(site.ads, "entitles", lambda _: next(of_the_sample, False))
        site.run(once=False, meanwhile={20: Loop.stop})
    assert (told(site)["state"], repairs(site)) == ("unreadable", [])
    assert "is not as it was acknowledged: missing" in told(site, "suspect")["why"]
    site.run(once=False, meanwhile={20: Loop.stop})
    assert (told(site)["state"], whole(site)) == ("repaired", True)


def test_where_items_cannot_be_read_it_is_told_and_nothing_is_posted(site: Site) -> None:
    site.save(many(5))
    site.run()
    site.ads.readable = False
    site.ads.items.forget()
    site.run(once=False, meanwhile={20: Loop.stop})
    assert len(site.posts) == 5
    found = told(site)
    assert (found["state"], found["why"]) == ("unreadable", "NotEntitled: Access denied to this item")
    site.save(many(5, "R0000=,7,8"))
    site.run()
    assert len(site.posts) == 7  # the Update, and the Refresh after it
    site.save(many(5, "R0000=,9,8"))
    site.run()
    assert "this user cannot read items back" in page(site, 2)


def test_that_items_cannot_be_read_any_more_is_told_although_they_could_meanwhile(site: Site) -> None:
    site.save(many(5))
    site.run()
    states = []

    def cut(readable: bool) -> None:
        states.append(told(site).get("state"))
        site.ads.readable = readable
        assert site.link is not None
        site.link.cut("a while ago")

    changes = {10: lambda _: cut(False), 20: lambda _: cut(True), 30: lambda _: cut(False)}
    site.run(once=False, meanwhile={**changes, 40: Loop.stop})
    assert [*states[1:], told(site)["state"]] == ["unreadable", "fine", "unreadable"]


def test_a_person_who_repairs_the_rest_has_the_last_word(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="R0001=", code="AccessDenied", text="Not yours"))
    site.run(once=False, meanwhile={20: Loop.stop})
    assert told(site)["state"] == "incomplete"
    site.ads.faults = script()
    site.task(lambda task: task.reconcile([SERVICE], repair=True, advanced=lambda _: None))
    found = told(site)
    assert (found["state"], found["missing"], found["acked"]) == ("repaired", 1, 1)


def test_a_run_without_a_drop_tries_once_a_day_whether_items_can_be_read_again(site: Site) -> None:
    site.save(many(5))
    site.run()
    site.ads.readable = False
    site.ads.items.forget()
    site.save(many(5, "R0000=,7,8"))
    site.run()  # an Update met an unknown item
    site.run()
    connections = site.wire.connections
    site.ads.readable = True
    site.run()
    assert site.wire.connections == connections
    assert told(site, "suspect")
    site.clock.ahead_s += 90_000
    site.run()
    assert whole(site)
    assert told(site, "suspect") == {}


def test_a_refused_repair_leaves_the_ric_to_the_next_drop(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="R0001=", code="AccessDenied", text="Not yours"))
    site.run(once=False, meanwhile={20: Loop.stop})
    assert {(ric, status) for ric, _, status in repairs(site)} == {
        ("R0000=", "acked"),
        ("R0001=", "nakked"),
        ("R0002=", "acked"),
    }
    assert site.dirty() == {(SERVICE, "R0001=")}
    found = told(site)
    assert (found["state"], found["nakked"], found["acked"]) == ("incomplete", 1, 2)
    site.ads.faults = script()
    site.save(many(3, "R0000=,7,8"))
    site.run()
    assert site.sent(since=6) == [
        ("Update", "R0000=", {"BID": "7", "ASK": "8"}),
        ("Refresh", "R0001=", {"BID": "1.5", "ASK": "1"}),
    ]
    assert whole(site)


def test_what_stays_different_although_acknowledged_is_posted_once(site: Site) -> None:
    site.save(many(3))
    site.run()
    connections = []

    def spoil(_: Loop) -> None:
        connections.append(site.wire.connections)
        site.wire.reachable = False
        site.ads.load(SERVICE, "R0001=", '{"BID":99,"ASK":1}')

    def back(_: Loop) -> None:
        site.wire.reachable = True

    apply = site.ads.items.apply

    def keeps_its_own(post: Any, key: tuple[str, str]) -> bool:
        applied = apply(post, key)
        if key[1] == "R0001=":
            site.ads.items._cache[key]["BID"] = Decimal(99)
        return applied

    site.ads.items.apply = keeps_its_own  # type: ignore[method-assign]
    site.run(once=False, meanwhile={10: spoil, 20: back, 40: spoil, 50: back, 80: Loop.stop})
    assert connections == [2, 3]
    assert repairs(site) == [("R0001=", "BID 99 instead of 1.5", "acked")]
    assert told(site)["state"] == "fine"
    assert told(site)["still_wrong"] == 1
    posts = len(site.posts)
    site.run(once=False, meanwhile={40: Loop.stop})  # another process knows it too
    assert len(site.posts) == posts
    del site.ads.items._cache[SERVICE, "R0002="]
    site.run(once=False, meanwhile={40: Loop.stop})  # and says so when another item is repaired
    found = told(site)
    assert (found["state"], found["acked"], found["still_wrong"]) == ("repaired", 1, 1)
    site.save(many(3, "R0000=,0.5,0", "R0001=,3,1"))  # until the record has another value for it
    site.run()
    site.run(once=False, meanwhile={40: Loop.stop})
    assert repairs(site)[2:] == [("R0001=", "BID 99 instead of 3", "acked")]


def test_a_lost_connection_during_the_repair_does_not_end_it(site: Site) -> None:
    site.save(many(50))
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_AFTER, nth=20))
    site.run(once=False, meanwhile={60: Loop.stop})
    assert whole(site)
    found = told(site)
    assert (found["state"], found["missing"], found["acked"]) == ("repaired", 50, 50)


@pytest.mark.parametrize("once", [False, True])
def test_a_process_that_dies_during_the_repair_changes_nothing(
    tmp_path: Path, dictionary: Dictionary, once: bool
) -> None:
    for die_at in range(60, 1000, 47):
        (tmp_path / str(die_at)).mkdir()
        site = Site(tmp_path / str(die_at), dictionary, make_feed("fx"), rate_limit=0, window=2)
        site.save(many(12))
        site.run()
        site.ads.items.forget()
        site.save(many(12, "R0000=,7,8"))
        try:
            site.run(die_at=die_at)
        except Killed:
            site.run(once=once, meanwhile={60: Loop.stop})
        else:
            assert die_at > 200, "it died at no step that matters"
            return
        assert site.value("R0000=", "BID") == 7
        assert whole(site), die_at
        assert told(site, "suspect") == {}
    raise AssertionError("the process never ended")


def test_a_report_promises_no_posts_of_which_none_was_left_after_a_stop(site: Site) -> None:
    site.save(many(3))
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))

    def die(loop: Loop) -> None:
        assert len(site.cache()) == 3
        raise Killed

    with suppress(Killed):
        site.run(once=False, meanwhile={5: die})
    site.ads.faults = script()
    site.run(once=False, meanwhile={60: Loop.stop})
    assert told(site)["state"] == "repaired"
    site.save(many(3, "R0000=,9,8"))
    site.run()
    assert "after a stop of the program nothing was left to be posted again" in page(site, 2)
    assert "will be posted again" not in page(site, 2)


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    lost=st.sets(st.integers(0, 11)),
    spoiled=st.sets(st.integers(0, 11)),
    fault=st.none()
    | st.builds(
        Fault,
        kind=st.sampled_from(
            (FaultKind.LOSE_ACK, FaultKind.LOSE_POST, FaultKind.DROP_CONNECTION_AFTER, FaultKind.FORGET_CACHE)
        ),
        nth=st.integers(1, 10),
    ),
    die_at=st.none() | st.integers(20, 400),
)
def test_whatever_was_lost_and_whatever_happens_meanwhile_it_ends_whole(
    tmp_path_factory: pytest.TempPathFactory,
    dictionary: Dictionary,
    lost: set[int],
    spoiled: set[int],
    fault: Fault | None,
    die_at: int | None,
) -> None:
    site = Site(tmp_path_factory.mktemp("site"), dictionary, make_feed("fx"), rate_limit=0, window=3)
    site.save(many(12))
    site.run()
    for number in lost:
        del site.ads.items._cache[SERVICE, f"R{number:04}="]
    for number in spoiled:
        site.ads.load(SERVICE, f"R{number:04}=", '{"BID":1000,"ASK":1}')
    site.ads.faults = script(*([fault] if fault else []))
    with suppress(Killed):
        site.run(once=False, die_at=die_at, meanwhile={100: Loop.stop})
    site.ads.faults = script()
    site.run(once=False, meanwhile={100: Loop.stop})
    assert whole(site)


def test_folders_of_a_site_stay_free_of_reports_of_repairs(site: Site, tmp_path: Path) -> None:
    site.save(many(2))
    site.run()
    before = site.report_files()
    site.ads.items.forget()
    site.run(once=False, meanwhile={20: Loop.stop})
    assert len(repairs(site)) == 2
    assert site.report_files() == before
