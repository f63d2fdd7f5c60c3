"""One drop after the other: what is posted, what is not, and what the reports say of it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from virtual_site import EPOCH, NewSite, Site, VirtualClock, make_feed, page_of, script, sheet

from contrib_watch.core.model import DropStatus
from contrib_watch.errors import NoConnection
from contrib_watch.simulator.faults import Fault, FaultKind


def workbook(*rows: tuple[object, ...]) -> bytes:
    """The bytes of a workbook with one sheet of these rows."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def with_stored(content: bytes, before: str, after: str) -> bytes:
    """The workbook with another text in its XML: openpyxl itself writes rounded numbers."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(before.encode(), after.encode()))
    return changed.getvalue()


def test_what_shared_a_frame_with_a_post_that_is_dropped_in_silence_is_sent(new_site: NewSite) -> None:
    site = new_site(pack=10, retries=1)
    bad = script(Fault(kind=FaultKind.ERROR, ric="R4="))
    site.ads.faults, site.ads.errors_lost = bad, True
    site.save(sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(10))))
    site.run()
    statuses = site.statuses(1)
    assert [ric for ric, status in statuses.items() if status != "acked"] == ["R4="]
    assert statuses["R4="] == "unconfirmed"
    assert len(site.cache()) == 9


def test_what_is_new_is_refreshed_what_changed_is_updated_and_nothing_is_sent_twice(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,22.1,22.3", "B=,5,6", "C=,7,8"))
    site.run()
    assert site.sent() == [
        ("Refresh", "A=", {"BID": "22.1", "ASK": "22.3"}),
        ("Refresh", "B=", {"BID": "5", "ASK": "6"}),
        ("Refresh", "C=", {"BID": "7", "ASK": "8"}),
    ]
    assert site.statuses(1) == {"A=": "acked", "B=": "acked", "C=": "acked"}
    rows = [("RIC", "BID", "ASK"), ("A=", 22.1, 22.4), ("B=", 5, 6), ("D=", 9, 10)]
    site.save(workbook(*rows), name="later.xlsx")
    site.run()
    assert site.sent(3) == [("Update", "A=", {"ASK": "22.4"}), ("Refresh", "D=", {"BID": "9", "ASK": "10"})]
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged", "D=": "acked"}
    (update,) = [row for row in site.rows(2) if row["ric"] == "A="]
    assert (update["row"], update["action"], update["changes"]) == ("Sheet!2", "Update", "ASK 22.3 -> 22.4")
    assert site.run() == []
    assert len(site.posts) == 5


def test_a_then_b_then_a_again_ends_with_a(site: Site) -> None:
    a, b = sheet("RIC,BID", "A=,1"), sheet("RIC,BID", "A=,2")
    for content in (a, b, a):
        site.save(content)
        site.run()
    assert site.value("A=", "BID") == 1
    assert [drop.status for drop in site.drops()] == [DropStatus.DONE] * 3


def test_rics_and_texts_that_look_like_something_else_arrive_as_they_are_written(site: Site) -> None:
    rics = ["NA", "NULL", "1E5", "005930", "TRUE", "nan"]
    site.save(sheet("RIC,BID,DSPLY_NAME", *(f"{ric},1,0012" for ric in rics)))
    site.run()
    assert [ric for _, ric, _ in site.sent()] == rics
    assert {site.value(ric, "DSPLY_NAME") for ric in rics} == {"0012"}


def test_a_workbooks_number_is_read_at_excels_own_precision(site: Site) -> None:
    content = with_stored(workbook(("RIC", "BID"), ("A=", 0.3)), "<v>0.3</v>", "<v>0.30000000000000004</v>")
    site.save(content, "prices.xlsx")
    site.run()
    assert site.sent() == [("Refresh", "A=", {"BID": "0.3"})]
    site.save(sheet("RIC,BID", "A=,0.3"))
    site.run()
    assert len(site.posts) == 1


def test_a_blank_keeps_a_clear_clears_and_a_field_gained_is_a_full_refresh(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,2"))
    site.run()
    site.save(sheet("RIC,BID,ASK", "A=,,3"))
    site.run()
    assert site.sent(1) == [("Update", "A=", {"ASK": "3"})]
    site.save(sheet("RIC,BID,ASK", "A=,#CLEAR,"))
    site.run()
    assert site.sent(2) == [("Update", "A=", {"BID": "null"})]
    site.save(sheet("RIC,BIDSIZE", "A=,100"))
    site.run()
    assert site.sent(3) == [("Refresh", "A=", {"BID": "null", "ASK": "3", "BIDSIZE": "100"})]
    assert site.cache() == site.snapshot()


def test_a_column_that_a_partial_file_lacks_is_blank_and_told(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", columns={"Middle": "MID_PRICE"}))
    site.save(sheet("RIC,BID,ASK,Middle", "A=,1,2,1.5", "B=,3,4,3.5"))
    site.save(sheet("RIC,BID", "A=,1", "B=,5"), "more.csv")
    site.run()
    page = page_of(site.report(2)).read_text("utf-8")
    assert "no column for ASK, which RICs of this file have: the last values stay" in page
    assert "the column &#34;Middle&#34; is missing: nothing is contributed to MID_PRICE" in page
    assert (site.value("B=", "BID"), site.value("B=", "ASK"), site.value("B=", "MID_PRICE")) == (5, 4, 3.5)


def test_a_partial_drop_leaves_the_others_alone(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,2", "B=,3,4"))
    site.run()
    site.save(sheet("RIC,BID", "A=,5"))
    site.run()
    assert site.sent(2) == [("Update", "A=", {"BID": "5"})]
    assert site.statuses(2) == {"A=": "acked"}
    assert site.value("B=", "BID") == 3


def test_equal_copies_of_a_row_share_a_post_and_its_fate(new_site: NewSite) -> None:
    site = new_site(faults=[Fault(kind=FaultKind.NAK, ric="B=", code="AccessDenied")])
    site.save(sheet("RIC,BID", "A=,1", "A=,1.0", "B=,2", "B=,2", "C=,3", "C=,4"))
    site.run()
    assert [ric for _, ric, _ in site.sent()] == ["A=", "B="]
    found = {row["row"]: (row["ric"], row["status"], row["post_id"]) for row in site.rows(1)}
    assert found == {
        "2": ("A=", "acked", "1"),
        "3": ("A=", "acked", "1"),
        "4": ("B=", "nakked", "2"),
        "5": ("B=", "nakked", "2"),
        "6": ("C=", "rejected", ""),
        "7": ("C=", "rejected", ""),
    }
    assert [record["row"] for record in site.outcomes(1)] == [2, 3, 4, 5, 6, 7]


def test_a_rejected_copy_of_a_row_is_in_the_record_too(site: Site) -> None:
    site.save(sheet("RIC,BID", "NEW=,", "NEW=,", "A=,1"))
    site.run()
    assert [(record["row"], record["status"]) for record in site.outcomes(1)] == [
        (2, "rejected"),
        (3, "rejected"),
        (4, "acked"),
    ]


def test_a_nak_is_explained_and_the_ads_keeps_what_it_had(new_site: NewSite) -> None:
    site = new_site()
    site.save(sheet("RIC,BID", "A=,1", "B=,1"))
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="A=", code="AccessDenied", text="Not yours"))
    site.save(sheet("RIC,BID", "A=,2", "B=,2"))
    site.run()
    first = site.rows(2)[0]
    assert (first["ric"], first["status"], first["nak_code"], first["text"]) == (
        "A=",
        "nakked",
        "AccessDenied",
        "Not yours",
    )
    assert first["attempts"] == "1"
    assert site.value("A=", "BID") == 1
    assert site.cache() == site.snapshot()
    assert site.totals(2) == {"nakked": 1, "acked": 1}


def test_a_post_that_is_never_answered_is_unconfirmed_and_its_next_one_is_full(new_site: NewSite) -> None:
    site = new_site(retries=1)
    site.save(sheet("RIC,BID,ASK", "A=,1,2"))
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
    site.save(sheet("RIC,BID,ASK", "A=,3,2"))
    site.run()
    (row,) = site.rows(2)
    assert (row["status"], row["attempts"], row["acked_at_utc"]) == ("unconfirmed", "2", "")
    assert site.value("A=", "BID") == 3
    site.ads.faults = script()
    site.save(sheet("RIC,BID", "A=,1"))  # what the snapshot holds, and the ADS does not
    site.run()
    assert site.sent()[-1] == ("Refresh", "A=", {"BID": "1", "ASK": "2"})
    assert site.cache() == site.snapshot()
    assert not site.dirty()


def test_an_ads_that_lost_its_cache_gets_the_item_in_full_and_the_report_says_so(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,2"))
    site.run()
    site.ads.items.forget()
    site.save(sheet("RIC,BID,ASK", "A=,3,2"))
    site.run()
    assert site.sent(1) == [("Update", "A=", {"BID": "3"}), ("Refresh", "A=", {"BID": "3", "ASK": "2"})]
    assert "it may have lost its cache" in page_of(site.report(2)).read_text("utf-8")
    assert site.rows(2)[0]["attempts"] == "2"


# --- ownership


def test_a_ric_belongs_to_the_feed_that_posted_it_first(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk"))
    site.save(sheet("RIC,BID", "A=,1"), feed="fx")
    site.run()
    site.save(sheet("RIC,BID", "A=,2", "B=,2"), feed="desk")
    site.run()
    assert site.statuses(2) == {"A=": "rejected", "B=": "acked"}
    assert "feed 'fx'" in site.rows(2)[0]["text"]
    assert site.value("A=", "BID") == 1


def test_two_feeds_that_post_the_same_new_ric_at_once_do_not_both_get_it(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk"), rate_limit=1)
    site.save(sheet("RIC,BID", "A=,1", "B=,1", "C=,1"), feed="fx")
    site.save(sheet("RIC,BID", "D=,2", "C=,2"), feed="desk")
    site.run()
    assert site.statuses(1) == {"A=": "acked", "B=": "acked", "C=": "acked"}
    assert site.statuses(2) == {"C=": "rejected", "D=": "acked"}
    assert site.value("C=", "BID") == 1


def test_the_same_ric_of_two_services_is_two_items(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk", service="OTHER"))
    site.save(sheet("RIC,BID", "A=,1"), feed="fx")
    site.save(sheet("RIC,BID", "A=,2"), feed="desk")
    site.run()
    assert (site.value("A=", "BID"), site.value("A=", "BID", "OTHER")) == (1, 2)


def test_a_feed_that_is_no_longer_configured_owns_nothing(new_site: NewSite) -> None:
    before = new_site(make_feed("fx"))
    before.save(sheet("RIC,BID,ASK", "A=,1,2"))
    before.run()
    site = new_site(make_feed("desk"))
    site.clock.now_s = before.clock.now_s
    site.ads = site.wire.ads = before.ads
    site.wire.post_ids = before.wire.post_ids
    site.save(sheet("RIC,BID", "A=,3"), feed="desk")
    site.run()
    assert site.sent(1) == [("Update", "A=", {"BID": "3"})]


def test_what_a_renamed_feed_has_is_posted_once_in_full_and_looked_after_from_then_on(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"))
    site.save(sheet("RIC,BID,ASK", "A=,1,1.5", "B=,2,2.5"))
    site.run()
    (feed,) = site.settings.feeds
    site.settings = replace(site.settings, feeds=(replace(feed, name="forex"),))
    site.save(sheet("RIC,BID", "A=,1", "B=,9"), feed="forex")
    site.run()
    assert site.sent(2) == [("Refresh", "A=", {"BID": "1", "ASK": "1.5"}), ("Update", "B=", {"BID": "9"})]
    texts = {row["ric"]: row["text"] for row in site.rows(2)}
    assert "taken over from a feed that has it no more, fx: sent in full" in texts["A="]
    assert "taken over" not in texts["B="]
    site.save(sheet("RIC,BID,ASK", "A=,1,1.5", "B=,9,2.5"), feed="forex")
    site.run()
    assert site.sent(4) == []
    site.ads_restarts()
    site.save(sheet("RIC,BID", "A=,1", "B=,10"), feed="forex")
    site.run()
    assert (site.value("A=", "BID"), site.value("B=", "BID")) == (1, 10)


# --- files that are no drop of prices, and reports


def test_an_unreadable_file_has_a_report_of_one_line_and_needs_no_connection(site: Site) -> None:
    site.wire.reachable = False
    site.save(sheet("RIC,NO_SUCH_FIELD", "A=,1"))
    (finished,) = site.run()
    assert finished.drop.status is DropStatus.REJECTED
    (row,) = site.rows(1)
    assert (row["row"], row["ric"], row["status"]) == ("", "", "rejected")
    assert "NO_SUCH_FIELD" in row["text"]
    assert site.wire.connections == 0


def test_a_report_is_named_after_its_file_and_the_moment_it_was_seen(site: Site) -> None:
    path = site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    report = site.report(1)
    assert report.parent == path.parent
    seen = site.drops()[0].seen_at_utc
    assert report.name == f"prices.csv.{seen:%Y%m%dT%H%M%SZ}.ack.csv"
    assert site.report_files() == {report, page_of(report)}


def test_a_report_never_replaces_a_file_that_has_its_name(site: Site) -> None:
    path = site.save(sheet("RIC,BID", "A=,1"))
    first = f"{path.name}.{EPOCH + timedelta(seconds=site.clock.now_s):%Y%m%dT%H%M%SZ}"
    taken = [path.with_name(name) for name in (f"{first}.ack.csv", f"{first}-2.ack.html")]
    for file in taken:
        file.write_text("somebody else's")
    site.run()
    assert [file.read_text() for file in taken] == ["somebody else's"] * 2
    assert site.report(1).name.endswith("-3.ack.csv")
    assert site.statuses(1) == {"A=": "acked"}


@pytest.mark.parametrize("trick", ["a file", "x" * 300])
def test_a_report_that_cannot_stand_beside_its_file_goes_to_the_states_folder(
    new_site: NewSite, tmp_path: Path, trick: str
) -> None:
    (tmp_path / "a file").write_text("no folder")
    site = new_site(make_feed("fx", report_folder=tmp_path / trick / "reports"))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    assert site.report(1).parent == tmp_path / "state" / "reports"
    assert site.statuses(1) == {"A=": "acked"}
    assert site.run() == []


def test_a_drop_whose_report_can_be_written_nowhere_is_done_and_the_next_start_writes_it(
    new_site: NewSite, tmp_path: Path
) -> None:
    site = new_site(make_feed("fx", report_folder=tmp_path / "gone"))
    site.run()
    (reports := tmp_path / "state" / "reports").write_text("no folder")
    site.save(sheet("RIC,BID", "A=,1"))
    (finished,) = site.run()
    assert finished.drop.status is DropStatus.DONE
    assert finished.report is None
    reports.unlink()
    site.run()
    assert site.report(1).parent == reports
    assert site.statuses(1) == {"A=": "acked"}


def test_reports_of_a_feed_go_where_it_says(new_site: NewSite, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    site = new_site(make_feed("fx", report_folder=tmp_path / "elsewhere"))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    assert site.report(1).parent == tmp_path / "elsewhere"


def test_without_a_connection_the_drop_waits_for_the_next_run_which_reports_it_once(site: Site) -> None:
    site.wire.reachable = False
    site.save(sheet("RIC,BID", "A=,1", "B=,x"))
    before_s = site.clock.now_s
    with pytest.raises(NoConnection, match="no connection for 30 s"):
        site.run()
    assert site.clock.now_s - before_s < 35
    assert site.report_files() == set()
    site.wire.reachable = True
    (finished,) = site.run()
    assert finished.totals["acked"] == finished.totals["rejected"] == 1
    assert site.statuses(1) == {"A=": "acked", "B=": "rejected"}
    assert site.rows(1)[1]["attempts"] == "1"
    assert len(site.report_files()) == 2


def test_a_connection_that_is_lost_for_good_leaves_the_rest_for_the_next_run(new_site: NewSite) -> None:
    site = new_site(rate_limit=1)
    site.save(sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(1, 6))))

    def unplug(_: object) -> None:
        site.wire.reachable = False

    with pytest.raises(NoConnection):
        site.run(meanwhile={2.5: unplug})
    sent = len(site.posts)
    assert 0 < sent < 5
    site.wire.reachable = True
    site.run()
    assert site.totals(1) == {"acked": 5}
    assert {item[1]: fields["BID"] for item, fields in site.cache().items()} == {
        f"R{number}=": Decimal(number) for number in range(1, 6)
    }


def test_the_snapshot_and_the_outcomes_tell_one_time_of_an_ack(site: Site) -> None:
    class Drifting(VirtualClock):
        """A time of day that moves on between two looks, as every real one does."""

        def utc(self) -> datetime:
            self.ahead_s += 0.001
            return super().utc()

    site.clock = Drifting()
    site.save(sheet("RIC,BID", "A=,1", "B=,2"))
    site.run()
    with site.desk() as desk, desk.state.transaction() as connection:
        told = connection.exec_driver_sql("SELECT ric, acked_at_utc FROM outcomes ORDER BY ric").all()
        held = connection.exec_driver_sql("SELECT ric, acked_at_utc FROM snapshot ORDER BY ric").all()
    assert held == told
