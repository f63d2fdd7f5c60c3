"""Drops that are processed late: what newer ones said stays, field by field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from virtual_site import SERVICE, NewSite, Site, make_feed, script, sheet

from contrib_watch.core.model import DropStatus
from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.faults import Fault, FaultKind


def held(site: Site) -> dict[str, str]:
    """What the ADS holds of ``A=``."""
    return {name: str(value) for name, value in site.cache()[SERVICE, "A="].items()}


def test_a_retry_sends_only_what_no_newer_drop_has_replaced(new_site: NewSite) -> None:
    site = new_site(faults=(Fault(kind=FaultKind.NAK, ric="A=", times=1, code="AccessDenied"),))
    site.save(sheet("RIC,BID,ASK", "A=,1,1.1"), "morning.csv")
    site.run()
    site.save(sheet("RIC,BID", "A=,2"), "correction.csv")
    site.run()
    site.retry(1)
    site.run()
    assert held(site) == {"BID": "2", "ASK": "1.1"}
    (row,) = site.rows(1)
    assert (row["status"], row["changes"]) == ("acked", "ASK 1.1")
    assert "BID" in row["text"]


def test_a_retry_gives_way_to_several_drops_that_gave_a_field_each(site: Site) -> None:
    for columns, row, name in (("RIC,BID,ASK", "A=,1,1", "1"), ("RIC,BID", "A=,2", "2"), ("RIC,ASK", "A=,3", "3")):
        site.save(sheet(columns, row), f"{name}.csv")
        site.run()
    site.retry(1)
    site.run()
    assert site.statuses(1) == {"A=": "superseded"}
    assert held(site) == {"BID": "2", "ASK": "3"}


def test_what_a_newer_drop_found_unchanged_is_its_word_too(new_site: NewSite) -> None:
    site = new_site(faults=(Fault(kind=FaultKind.NAK, nth=2, times=1, code="AccessDenied"),))
    for value, name in ((1, "first"), (2, "refused"), (1, "third")):
        site.save(sheet("RIC,BID", f"A=,{value}"), f"{name}.csv")
        site.run()
    site.retry(2)
    site.run()
    assert site.statuses(2) == {"A=": "superseded"}
    assert held(site) == {"BID": "1"}


def test_a_held_drop_says_nothing_by_what_it_calls_unchanged(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", valid_for_s=60.0))
    site.save(sheet("RIC,BID", "A=,2"))
    site.run()
    site.save(sheet("RIC,BID", "A=,1"), age_s=100)
    site.run()
    site.save(sheet("RIC,BID", "A=,2", "B=,2"), age_s=90)
    site.run()
    assert site.statuses(3) == {"A=": "unchanged", "B=": "held"}
    site.approve(2)
    site.run()
    assert site.statuses(2) == {"A=": "acked"}
    assert held(site) == {"BID": "1"}


def test_what_a_newer_drop_sent_before_it_was_held_stays_and_what_it_had_no_answer_for(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", valid_for_s=4.0), rate_limit=1, retries=0, ack_timeout_s=2.0)
    rics = [f"R{number}=" for number in range(9)]
    site.save(sheet("RIC,BID", *(f"{ric},1" for ric in rics)), age_s=100)
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK, ric="R0="))
    site.save(sheet("RIC,BID", *(f"{ric},2" for ric in rics)))
    site.run()
    ended = site.statuses(2)
    assert {"acked", "held"} < set(ended.values())
    assert ended["R0="] == "unconfirmed"
    site.settings = replace(site.settings, ads=replace(site.settings.ads, rate_limit=0))
    with pytest.raises(ConfigurationError, match="the snapshot has moved"):
        site.approve(1)
    site.approve(1)
    site.run()
    gave_way = {ric for ric, status in site.statuses(1).items() if status == "superseded"}
    assert gave_way == {ric for ric in rics if ended[ric] == "acked"}
    assert {ric: site.value(ric, "BID") for ric in rics} == {ric: 1 if ended[ric] == "held" else 2 for ric in rics}


def test_an_adopted_file_gives_way_to_what_was_saved_later(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,1"), "old.csv", age_s=10 * 86400)
    site.save(sheet("RIC,BID", "A=,2"), "new.csv")
    site.run()
    site.adopt("newest")
    site.run()
    assert held(site) == {"BID": "2", "ASK": "1"}


def damage(copy: Path) -> None:
    copy.chmod(0o600)
    copy.write_bytes(b"RIC,BID\nA=,7\n")


@pytest.mark.parametrize("lose", [Path.unlink, damage])
@pytest.mark.parametrize("newest", [1, 3])
def test_a_retry_fails_where_a_newer_drops_word_is_lost_changed_or_unchanged(
    new_site: NewSite, lose: Callable[[Path], None], newest: int
) -> None:
    site = new_site(faults=(Fault(kind=FaultKind.NAK, nth=2, times=1, code="AccessDenied"),))
    for value, name in ((1, "first"), (2, "refused"), (newest, "newest")):
        site.save(sheet("RIC,BID", f"A=,{value}"), f"{name}.csv")
        site.run()
    with site.desk() as desk:
        lose(desk.spooled(site.drops()[2].sha256))
    before = len(site.posts)
    site.retry(2)
    site.run()
    late = site.drops()[1]
    assert late.status is DropStatus.FAILED
    assert "older than drop 3, which can no longer be read" in late.reason
    assert len(site.posts) == before
    assert held(site) == {"BID": str(newest)}


@pytest.mark.parametrize("together", [False, True])
def test_a_failed_retry_of_a_newer_drop_takes_nothing_back_of_what_it_said(new_site: NewSite, together: bool) -> None:
    site = new_site(faults=(Fault(kind=FaultKind.NAK, nth=2, times=1, code="AccessDenied"),))
    for value, name in ((1, "first"), (2, "refused"), (1, "newest")):
        site.save(sheet("RIC,BID", f"A=,{value}"), f"{name}.csv")
        site.run()
    with site.desk() as desk:
        desk.spooled(site.drops()[2].sha256).unlink()
    site.retry(3)
    if not together:
        site.run()
    site.retry(2)
    site.run()
    assert [drop.status for drop in site.drops()] == [DropStatus.DONE, DropStatus.FAILED, DropStatus.FAILED]
    assert held(site) == {"BID": "1"}


def test_an_adopted_file_fails_where_the_word_of_what_was_saved_later_is_lost(site: Site) -> None:
    site.save(sheet("RIC,BID", "A=,1"), "old.csv", age_s=10 * 86400)
    site.save(sheet("RIC,BID", "A=,2"), "new.csv")
    site.run()
    with site.desk() as desk:
        desk.spooled(site.drops()[-1].sha256).unlink()
    site.adopt("newest")
    site.run()
    assert [drop.status for drop in site.drops() if drop.adopted] == [DropStatus.FAILED]
    assert held(site) == {"BID": "2"}
