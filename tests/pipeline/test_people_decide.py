"""Complete lists, and what people decide: approve, reject, retry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from virtual_site import Killed, NewSite, Site, make_feed, page_of, script, sheet

from contrib_watch.core.model import DropStatus
from contrib_watch.errors import ConfigurationError, StateError, UnreadableFile
from contrib_watch.pipeline import decisions, publishing
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """A feed of complete lists; two RICs with two fields are acknowledged."""
    site = new_site(make_feed("fx", complete=True))
    site.save(sheet("RIC,BID,ASK", "A=,1,2", "B=,3,4"))
    site.run()
    return site


def hold(site: Site) -> int:
    """A drop that has lost a column; its number."""
    site.save(sheet("RIC,BID", "A=,5", "B=,3", "C=,6"))
    site.run()
    drop = site.drops()[-1]
    assert drop.status is DropStatus.HELD
    return drop.id


def test_a_ric_that_a_complete_list_lacks_is_reported_and_stays(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,9,2"))
    site.run()
    assert site.statuses(2) == {"A=": "acked"}
    assert "1 known RIC missing from the file" in page_of(site.report(2)).read_text("utf-8")
    assert (site.value("A=", "BID"), site.value("B=", "BID")) == (9, 3)


def test_a_complete_list_that_lost_a_column_is_held_with_every_row_that_it_would_send(site: Site) -> None:
    hold(site)
    assert site.statuses(2) == {"A=": "held", "B=": "unchanged", "C=": "held"}
    assert "lacks ASK" in site.rows(2)[0]["text"]
    assert len(site.posts) == 2


def test_approve_releases_a_held_drop_and_gives_a_second_report(site: Site) -> None:
    first = site.report(hold(site))
    site.approve(2)
    site.run()
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged", "C=": "acked"}
    assert site.report(2) != first
    assert {first, site.report(2)} < site.report_files()
    assert site.run() == []


def test_reject_ends_a_held_drop_at_once_with_a_second_report(site: Site) -> None:
    first = site.report(hold(site))
    second = site.reject(2)
    assert second == site.report(2) != first
    assert site.statuses(2) == {"A=": "rejected", "B=": "unchanged", "C=": "rejected"}
    assert site.drops()[1].status is DropStatus.REJECTED
    assert site.run() == []
    assert len(site.posts) == 2


def test_a_rejection_that_dies_at_any_step_is_whole_or_never_was(site: Site) -> None:
    hold(site)
    for die_at in range(1, 1000):
        try:
            site.reject(2, die_at=die_at)
        except Killed:
            site.run()  # another process meets whatever was left
        drop = site.drops()[1]
        assert len(site.posts) == 2
        if drop.status is DropStatus.REJECTED:
            break
        assert (drop.status, drop.run) == (DropStatus.HELD, 1)
    assert drop.reason == "rejected by a person"
    assert site.statuses(2) == {"A=": "rejected", "B=": "unchanged", "C=": "rejected"}
    assert len(site.report_files()) == 2 * 3


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_only_a_held_drop_can_be_decided_about(site: Site, decision: str) -> None:
    with pytest.raises(ConfigurationError, match="drop 1 is done; this is for a drop that is held"):
        getattr(site, decision)(1)
    with pytest.raises(ConfigurationError, match="there is no drop 7"):
        getattr(site, decision)(7)


def unwrite_report(site: Site, drop_id: int) -> Path:
    """As where the process died before the report of a drop was written; where it will be."""
    report = site.report(drop_id)
    report.unlink()
    page_of(report).unlink()
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE reports SET whole = 0 WHERE drop_id = {drop_id}")
    return report


def broken(*_: object) -> None:
    raise RuntimeError("no page can be made of it")


def test_nobody_approves_a_drop_before_its_report_is_written_which_the_decision_does(site: Site) -> None:
    hold(site)
    report = unwrite_report(site, 2)
    with pytest.raises(
        ConfigurationError, match=r"drop 2 is not approved: its report was not written until now"
    ) as no:
        site.approve(2)
    assert str(report) in str(no.value)
    assert site.report(2) == report
    assert site.statuses(2) == {"A=": "held", "B=": "unchanged", "C=": "held"}
    site.approve(2)
    site.run()
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged", "C=": "acked"}


@pytest.mark.parametrize(("drop", "decide"), [(1, Site.retry), (2, Site.reject)])
def test_a_decision_that_needs_no_look_writes_the_report_that_is_missing(
    site: Site, drop: int, decide: Callable[[Site, int], object]
) -> None:
    hold(site)
    first = unwrite_report(site, drop)
    decide(site, drop)
    site.run()
    assert site.reports(drop)[0] == first != site.reports(drop)[1]
    assert {first, page_of(first)} < site.report_files()


def test_a_held_drop_whose_report_can_be_written_nowhere_can_be_ended(site: Site) -> None:
    hold(site)
    elsewhere = unwrite_report(site, 2).parent
    (site.settings.state.folder / "reports").write_bytes(b"")
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE reports SET folder = '{elsewhere}/gone' WHERE drop_id = 2")
    site.run()  # it cannot write it either, and goes on
    with pytest.raises(ConfigurationError, match=r"drop 2 can be written neither .*contrib-watch reject"):
        site.approve(2)
    site.reject(2)
    assert site.drops()[1].status is DropStatus.REJECTED
    assert site.run() == []
    assert site.statuses(2) == {"A=": "rejected", "B=": "unchanged", "C=": "rejected"}
    page = page_of(site.report(2)).read_text("utf-8")
    assert "there is no report of run 1 of this drop" in page
    assert "contrib-watch audit drop 2" in page


def test_a_held_drop_whose_copy_is_damaged_can_be_ended_although_its_report_will_never_be_written(site: Site) -> None:
    hold(site)
    held = site.drops()[1]
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("UPDATE reports SET whole = 0 WHERE drop_id = 2")
        desk.spooled(held.sha256).write_bytes(b"")
    site.run()  # it cannot make the report anew, and goes on
    with pytest.raises(StateError, match=r"is damaged.*contrib-watch reject"):
        site.approve(2)
    report = site.reject(2)
    assert site.drops()[1].status is DropStatus.REJECTED
    assert report == site.report(2)
    (row,) = site.rows(2)
    assert row["status"] == "rejected"
    assert "is damaged" in row["text"]
    assert "rejected by a person" in row["text"]
    unwrite_report(site, 2)
    assert site.run() == []
    assert site.rows(2) == [row]
    assert len(site.posts) == 2


def test_a_held_drop_whose_report_fails_stays_held(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "write_report", broken)
        site.save(sheet("RIC,BID", "A=,5", "B=,3"))
        (finished,) = site.run()
    assert (finished.drop.status, finished.totals["held"], finished.fault_code) == (DropStatus.HELD, 1, 1)
    assert site.drops()[1].status is DropStatus.HELD
    site.run()
    assert site.statuses(2) == {"A=": "held", "B=": "unchanged"}
    site.approve(2)
    site.run()
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged"}


def test_a_report_that_was_not_written_is_nowhere(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", approval="always", report_folder=Path("gone")))
    site.save(sheet("RIC,BID", "A=,5"))
    (site.settings.state.folder).mkdir()
    (site.settings.state.folder / "reports").write_bytes(b"")
    (finished,) = site.run()
    assert (finished.drop.status, finished.report) == (DropStatus.HELD, None)
    assert site.reject(1) is None
    (site.settings.state.folder / "reports").unlink()
    site.run()
    assert "there is no report of run 1 of this drop" in page_of(site.report(1)).read_text("utf-8")


def test_a_held_drop_whose_report_fails_again_and_again_can_be_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(site)
    unwrite_report(site, 2)
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "write_report", broken)
        with pytest.raises(RuntimeError):
            site.approve(2)
        with pytest.raises(RuntimeError):
            site.reject(2)  # by its second report
        assert site.drops()[1].status is DropStatus.REJECTED
    site.run()
    assert "there is no report of run 1 of this drop: RuntimeError: no page" in page_of(site.report(2)).read_text()
    assert len(site.posts) == 2


@pytest.fixture
def late(new_site: NewSite) -> Site:
    """Drop 1 was held when some of its rows had been sent."""
    site = new_site(make_feed("fx", valid_for_s=3.0), rate_limit=1)
    site.save(sheet("RIC,BID", *(f"R{number}=,1" for number in range(9))))
    site.run()
    assert site.drops()[0].status is DropStatus.HELD
    assert site.posts
    return site


def test_a_held_drop_whose_copy_is_gone_can_be_ended_and_its_report_tells_what_was_sent(late: Site) -> None:
    with late.desk() as desk:
        desk.spooled(late.drops()[0].sha256).unlink()
    page = page_of(late.reject(1)).read_text("utf-8")
    assert "cannot be read" in page
    assert f"{len(late.posts)} rows of this drop had been posted before it was held" in page


def test_a_held_drop_that_turns_out_to_be_unreadable_tells_what_was_sent(late: Site) -> None:
    def misread() -> None:
        raise UnreadableFile("it has another layout now")

    with pytest.raises(ConfigurationError, match="drop 1 is not approved"):
        late.interrupted(lambda desk: decisions.approve(desk, 1), misread)
    page = page_of(late.report(1)).read_text("utf-8")
    assert "it has another layout now" in page
    assert f"{len(late.posts)} rows of this drop had been posted before it was held" in page


def test_a_held_drop_cannot_be_retried(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="drop 2 is held"):
        site.retry(hold(site))


def test_a_held_drop_supersedes_nothing(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", complete=True), rate_limit=1)
    site.save(sheet("RIC,BID,ASK", "A=,1,2", "B=,3,4"))
    site.run()
    site.save(sheet("RIC,BID,ASK", "A=,5,6", "B=,7,8"), "a.csv")
    site.save(sheet("RIC,BID", "A=,9", "B=,9"), "b.csv")
    site.run()
    assert site.statuses(2) == {"A=": "acked", "B=": "acked"}
    assert site.statuses(3) == {"A=": "held", "B=": "held"}


def test_a_drop_that_will_be_held_for_a_column_that_an_older_one_brings_supersedes_nothing(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", complete=True))
    site.save(sheet("RIC,BID", "A=,1", "B=,1"))
    site.run()
    site.save(sheet("RIC,BID,ASK", "A=,2,", "B=,2,2"), "a.csv")
    site.save(sheet("RIC,BID", "A=,3", "B=,3"), "b.csv")
    site.run()
    assert site.drops()[2].status is DropStatus.HELD
    assert site.statuses(2) == {"A=": "acked", "B=": "acked"}
    assert site.value("A=", "BID") == 2


def test_an_approval_is_for_one_run(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="C=", code="AccessDenied"))
    hold(site)
    site.approve(2)
    site.run()
    assert site.statuses(2)["C="] == "nakked"
    site.retry(2)
    site.run()
    assert site.drops()[1].status is DropStatus.HELD
    assert site.statuses(2) == {"A=": "unchanged", "B=": "unchanged", "C=": "held"}


def test_an_approved_drop_gives_way_to_what_is_newer(site: Site) -> None:
    hold(site)
    site.save(sheet("RIC,BID,ASK", "A=,7,8", "B=,3,4"), "newer.csv")
    site.run()
    with pytest.raises(ConfigurationError, match="the snapshot has moved since its report"):
        site.approve(2)
    assert site.statuses(2) == {"A=": "superseded", "B=": "unchanged", "C=": "held"}
    site.approve(2)
    site.run()
    assert site.statuses(2) == {"A=": "superseded", "B=": "unchanged", "C=": "acked"}
    assert "newer drops have given a value" in next(row["text"] for row in site.rows(2) if row["ric"] == "A=")
    assert site.value("A=", "BID") == 7


def test_retry_sends_again_what_was_refused(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="A=", code="AccessDenied"))
    site.save(sheet("RIC,BID,ASK", "A=,5,6", "B=,7,8"))
    site.run()
    site.ads.faults = script()
    site.retry(2)
    site.run()
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged"}
    assert site.value("A=", "BID") == 5


def test_a_retry_gives_way_to_what_is_newer_also_in_a_process_that_has_seen_both(new_site: NewSite) -> None:
    site = new_site()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, code="AccessDenied", nth=1))
    site.save(sheet("RIC,BID", "A=,1", "B=,1"), "a.csv")
    site.save(sheet("RIC,BID", "B=,2"), "b.csv")

    def newer(loop: Loop) -> None:
        site.save(sheet("RIC,BID", "A=,3"), "c.csv")
        site.arrive(loop)

    site.run(
        once=False,
        meanwhile={5.0: newer, 10.0: lambda loop: decisions.retry(loop._desk, 1), 20.0: Loop.stop},
    )
    assert site.drops()[0].run == 2
    assert site.statuses(1) == {"A=": "superseded", "B=": "superseded"}
    assert (site.value("A=", "BID"), site.value("B=", "BID")) == (3, 2)
