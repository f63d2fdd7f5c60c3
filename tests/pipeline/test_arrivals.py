"""Which files become drops, in which order, and which wait for a person."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from virtual_site import NewSite, Site, make_feed, script, sheet

from contrib_watch.core.limits import Guards, Limit
from contrib_watch.core.model import DropStatus
from contrib_watch.core.settle import Verdict
from contrib_watch.errors import ContribWatchError, NoConnection
from contrib_watch.simulator.faults import Fault, FaultKind

DAY_S = 86400.0
OLD_S = 8 * DAY_S
Tidy = Callable[[Path, Path], object]


def states(site: Site) -> dict[str, str]:
    """File to what was decided about it."""
    with site.desk() as desk:
        return {file.name: file.state for file in desk.drops.files("fx")}


def test_the_files_of_one_scan_are_numbered_by_the_time_they_were_saved(site: Site) -> None:
    for name in ("z.csv", "m.csv", "a.csv"):
        site.save(sheet("RIC,BID", f"{name[0].upper()}=,1"), name)
    site.run()
    assert [drop.path.rsplit("/", 1)[1] for drop in site.drops()] == ["z.csv", "m.csv", "a.csv"]


def test_files_that_come_all_at_once_are_a_drop_each(site: Site) -> None:
    for number in range(40):
        site.save("", f"{number}.csv")  # empty files cost least: each is read, and rejected
    assert len(site.run()) == 40
    assert len(site.report_files()) == 80


def test_a_file_saved_again_unchanged_is_the_same_drop(site: Site) -> None:
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    site.save(sheet("RIC,BID", "A=,1"))
    assert site.run() == []
    assert states(site) == {"prices.csv": Verdict.SAME}


def test_a_file_saved_again_after_a_later_drop_is_a_drop_again(site: Site) -> None:
    site.save(sheet("RIC,BID", "A=,1"), "a.csv")
    site.run()
    site.save(sheet("RIC,BID", "A=,2"), "b.csv")
    site.run()
    site.save(sheet("RIC,BID", "A=,1"), "a.csv")
    site.run()
    assert site.value("A=", "BID") == 1


@pytest.mark.parametrize("tidy", [Path.rename, shutil.copy2], ids=["renamed", "copied with its time"])
def test_an_older_file_by_another_name_is_not_sent_over_newer_prices(site: Site, tidy: Tidy) -> None:
    older = site.save(sheet("RIC,BID", "A=,1"), "monday.csv")
    site.run()
    site.save(sheet("RIC,BID", "A=,2"), "tuesday.csv")
    site.run()
    tidy(older, older.with_name("monday_old.csv"))
    assert site.run() == []
    assert states(site)["monday_old.csv"] == Verdict.SAME
    assert site.value("A=", "BID") == 2
    site.save(sheet("RIC,BID", "A=,1"), "monday_old.csv")
    site.run()
    assert site.value("A=", "BID") == 1


@pytest.mark.parametrize("put", [Path.replace, shutil.copy2], ids=["renamed", "copied with its time"])
def test_an_older_file_in_the_place_of_another_is_its_new_content(site: Site, put: Tidy) -> None:
    older = site.save(sheet("RIC,BID", "A=,1"), "monday.csv")
    site.run()
    newer = site.save(sheet("RIC,BID", "A=,2"), "prices.csv")
    site.run()
    put(older, newer)
    site.run()
    assert site.value("A=", "BID") == 1


def test_an_older_file_that_waits_does_not_overtake_a_newer_one_by_another_name(site: Site) -> None:
    site.wire.reachable = False
    older = site.save(sheet("RIC,BID", "A=,1"), "monday.csv")
    with pytest.raises(NoConnection):
        site.run()
    site.save(sheet("RIC,BID", "A=,2"), "tuesday.csv")
    with pytest.raises(NoConnection):
        site.run()
    older.rename(older.with_name("monday_old.csv"))
    site.wire.reachable = True
    site.run()
    assert site.value("A=", "BID") == 2


def test_what_is_held_is_not_judged_anew_by_another_name(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", guards=Guards(max_move={"BID": Limit(Decimal(50), percent=True)})))
    site.save(sheet("RIC,BID", "A=,10"))
    site.run()
    held = site.save(sheet("RIC,BID", "A=,20"), "jump.csv")
    site.run()
    site.save(sheet("RIC,BID", "A=,14"))
    site.run()
    held.rename(held.with_name("again.csv"))
    assert site.run() == []
    assert [drop.status for drop in site.drops()] == [DropStatus.DONE, DropStatus.HELD, DropStatus.DONE]
    assert site.value("A=", "BID") == 14


def test_a_file_that_was_not_read_is_read_anew_by_another_name(site: Site) -> None:
    refused = site.save(sheet("RIC,BID", "A=,1"), "prices.xlsx")
    site.run()
    site.save(sheet("RIC,BID", "B=,1"), "others.csv")
    site.run()
    refused.rename(refused.with_suffix(".csv"))
    site.run()
    assert [drop.status for drop in site.drops()] == [DropStatus.REJECTED, DropStatus.DONE, DropStatus.DONE]
    assert site.value("A=", "BID") == 1


def test_a_file_saved_again_after_a_nak_is_a_drop_again(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.NAK, code="AccessDenied", times=1))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    assert site.statuses(2) == {"A=": "acked"}


def test_a_held_file_saved_again_unchanged_still_waits_for_its_decision(site: Site) -> None:
    site.save(sheet("RIC,BID", "A=,1"), "new.csv")
    site.run()
    for age_s in (OLD_S, 0.0):
        site.save(sheet("RIC,BID", "A=,2"), "old.csv", age_s=age_s)
        site.run()
    assert [drop.status for drop in site.drops()] == [DropStatus.DONE, DropStatus.HELD]
    assert site.value("A=", "BID") == 1
    with site.desk() as desk:
        assert {file.name: file.reason for file in desk.drops.files("fx")}["old.csv"] == "saved again, same as drop 2"


def test_a_file_that_vanishes_withdraws_nothing(site: Site) -> None:
    path = site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    path.unlink()
    assert site.run() == []
    assert site.value("A=", "BID") == 1


def test_a_folder_that_is_gone_is_no_empty_folder(site: Site) -> None:
    path = site.save(sheet("RIC,BID", "A=,1"))
    path.parent.rename(path.parent.with_name("away"))
    assert site.run() == []
    path.parent.with_name("away").rename(path.parent)
    assert len(site.run()) == 1


def test_what_lay_in_a_new_feeds_folder_for_long_is_backlog_and_not_news(site: Site) -> None:
    site.save(sheet("RIC,BID", "OLD=,1"), "old.csv", age_s=OLD_S)
    site.save(sheet("RIC,BID", "NEW=,1"), "new.csv")
    site.run()
    assert [ric for _, ric, _ in site.sent()] == ["NEW="]
    assert states(site) == {"old.csv": Verdict.BACKLOG, "new.csv": Verdict.NEW}
    assert site.run() == []


@pytest.mark.parametrize(("choice", "sent"), [("ignore", []), ("newest", ["B="]), ("all", ["A=", "B="])])
def test_a_backlog_is_adopted_as_a_person_decides(site: Site, choice: str, sent: list[str]) -> None:
    site.save(sheet("RIC,BID", "A=,1"), "z.csv", age_s=OLD_S + DAY_S)
    site.save(sheet("RIC,BID", "B=,1"), "a.csv", age_s=OLD_S)
    site.run()
    site.adopt(choice)
    site.run()
    assert [ric for _, ric, _ in site.sent()] == sent
    assert site.adopt("all") == []


def test_only_a_feed_has_a_backlog(site: Site) -> None:
    with pytest.raises(ContribWatchError, match="there is no feed 'fxx'"):
        site.adopt("all", feed="fxx")


def test_an_old_file_that_comes_later_is_held_and_sent_once_approved(site: Site) -> None:
    site.run()
    site.save(sheet("RIC,BID", "A=,1"), age_s=OLD_S)
    site.run()
    assert site.drops()[0].status is DropStatus.HELD
    assert site.statuses(1) == {"A=": "held"}
    assert "last saved 8 days before it was seen" in site.rows(1)[0]["text"]
    assert site.posts == []
    site.approve(1)
    site.run()
    assert site.statuses(1) == {"A=": "acked"}
    assert len(site.report_files()) == 4


def test_a_file_that_waited_too_long_to_be_taken_is_held_although_it_was_new_when_it_came(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", max_age_s=60.0))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    site.save(sheet("RIC,BID", "A=,2"))
    site.closed = "the disk is full"
    site.run()
    site.clock.now_s += 100.0
    site.closed = ""
    site.run()
    assert site.drops()[1].status is DropStatus.HELD
    assert site.value("A=", "BID") == 1


def test_a_file_saved_in_the_future_is_the_newest_of_its_scan_and_not_held(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", max_age_s=60.0))
    site.save(sheet("RIC,BID", "A=,1"), age_s=-3600.0)
    site.save(sheet("RIC,BID", "A=,2"), "later.csv")
    site.run()
    assert site.value("A=", "BID") == 1
    assert site.totals(2) == {"acked": 1}


def test_a_symbolic_link_out_of_the_folder_is_no_drop(site: Site) -> None:
    outside = site.base / "outside.csv"
    outside.write_text(sheet("RIC,BID", "A=,1"))
    (site.base / "inbox" / "fx" / "link.csv").symlink_to(outside)
    assert site.run() == []
