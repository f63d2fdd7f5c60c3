"""Several drops at once: what gives way to what, turns, stops, and processes that die."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from virtual_site import Killed, NewSite, Site, make_feed, page_of, read_report, script, sheet

from contrib_watch.core.model import DropStatus
from contrib_watch.errors import LoginRefused, NoConnection, StateError
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.patience import LOSSES
from contrib_watch.simulator.faults import Fault, FaultKind

STRIDE = 1 if "HISTORY_EXAMPLES" in os.environ else 7
"""Every how many steps a process dies; 7 leads through all kinds of steps, 1 takes minutes."""

RICS = [f"R{number}=" for number in range(1, 7)]


def prices(value: int, *rics: str) -> str:
    """The same BID for each of these RICs."""
    return sheet("RIC,BID", *(f"{ric},{value}" for ric in rics))


def test_a_loop_with_nothing_to_do_leaves_nothing_in_the_journal(site: Site) -> None:
    folder, found = site.settings.state.folder, []

    def look(_loop: Loop) -> None:
        (folder / "copy.db").write_bytes((folder / "state.db").read_bytes())
        with closing(sqlite3.connect(folder / "copy.db")) as database:
            database.execute("PRAGMA journal_mode=DELETE")
            found.extend(database.execute("SELECT count(*) FROM outcomes"))

    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={5.0: look, 5.1: Loop.stop})
    assert found == [(len(RICS),)]


def test_nothing_more_is_handed_over_once_the_database_was_replaced(new_site: NewSite) -> None:
    site = new_site(window=2, rate_limit=20)
    database, seen = site.settings.state.folder / "state.db", []

    def replace_database(_loop: Loop) -> None:
        (database.parent / "other.db").write_bytes(database.read_bytes())
        (database.parent / "other.db").rename(database)
        seen.append(len(site.posts))

    site.save(prices(1, *(f"R{number}=" for number in range(30))))
    with pytest.raises(StateError, match="deleted or replaced"):
        site.run(meanwhile={0.33: replace_database})
    assert 0 < len(site.posts) <= seen[0] + 2  # what was on its way


# --- superseded


def test_of_several_waiting_drops_the_newest_value_goes_out_once(site: Site) -> None:
    for value in (1, 2, 3):
        site.save(prices(value, "A=", f"ONLY{value}="), f"{value}.csv")
    site.run()
    assert site.statuses(1) == {"A=": "superseded", "ONLY1=": "acked"}
    assert site.statuses(2) == {"A=": "superseded", "ONLY2=": "acked"}
    assert site.statuses(3) == {"A=": "acked", "ONLY3=": "acked"}
    assert [fields for _, ric, fields in site.sent() if ric == "A="] == [{"BID": "3"}]
    text = next(row["text"] for row in site.rows(1) if row["ric"] == "A=")
    assert text == "drop 3 is newer and gives a value for each of its fields"


def test_a_drop_that_arrives_while_an_older_one_is_sent_takes_over_what_is_left(new_site: NewSite) -> None:
    site = new_site(rate_limit=1, window=1)

    def newer(loop: Loop) -> None:
        site.save(prices(2, *RICS), "newer.csv")
        site.arrive(loop)

    site.save(prices(1, *RICS))
    site.run(meanwhile={1.5: newer})
    first = site.statuses(1)
    assert set(first.values()) == {"acked", "superseded"}
    assert site.statuses(2) == dict.fromkeys(RICS, "acked")
    assert {site.value(ric, "BID") for ric in RICS} == {2}
    assert len(site.posts) == len(RICS) + list(first.values()).count("acked")


def test_what_had_no_answer_before_it_was_superseded_is_not_called_untaken(site: Site) -> None:
    """The ADS holds it for a while."""
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK, nth=1))

    def newer(loop: Loop) -> None:
        assert site.value("A=", "BID") == 1
        site.save(prices(2, "A="), "newer.csv")
        site.arrive(loop)

    site.save(prices(1, "A="))
    site.run(meanwhile={1.0: newer})
    (row,) = site.rows(1)
    assert (row["status"], row["attempts"]) == ("superseded", "1")
    assert row["text"].endswith("it was posted once before, and was not acknowledged")
    assert site.value("A=", "BID") == 2


@pytest.mark.parametrize(
    "newer",
    [
        sheet("RIC,BID", "A=,x"),
        sheet("RIC,BID", "A=,2", "A=,3"),
        sheet("RIC,BID", "A=,"),
        sheet("RIC,ASK", "A=,2"),
        sheet("RIC,NO_SUCH_FIELD", "A=,2"),
    ],
    ids=["a bad cell", "copies that differ", "a blank", "another field", "an unreadable file"],
)
def test_what_gives_no_value_supersedes_nothing(site: Site, newer: str) -> None:
    site.save(prices(1, "A="), "a.csv")
    site.save(newer, "b.csv")
    site.run()
    assert site.statuses(1) == {"A=": "acked"}
    assert site.value("A=", "BID") == 1


def test_a_row_is_superseded_only_where_every_field_that_it_changes_is_given(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,2", "B=,1,2"))
    site.run()
    site.save(sheet("RIC,BID,ASK", "A=,5,2", "B=,5,6"), "a.csv")
    site.save(sheet("RIC,BID", "A=,7", "B=,7"), "b.csv")
    site.run()
    assert site.statuses(2) == {"A=": "superseded", "B=": "acked"}
    assert (site.value("B=", "BID"), site.value("B=", "ASK")) == (7, 6)


def test_a_value_of_unknown_fate_is_superseded_only_by_one_for_the_same_field(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,1,1"))
    site.run()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
    site.save(sheet("RIC,BID", "A=,2"), "a.csv")
    site.run(once=False, meanwhile={3.0: Loop.stop})
    assert site.dirty()
    site.ads.faults = script()
    site.save(sheet("RIC,ASK", "A=,3"), "b.csv")
    site.run()
    assert site.statuses(2) == {"A=": "acked"}
    assert (site.value("A=", "BID"), site.value("A=", "ASK")) == (2, 3)


def test_a_newer_drop_whose_bytes_are_gone_stops_no_older_one(site: Site) -> None:
    site.wire.reachable = False
    site.save(prices(1, "A="), "a.csv")
    site.save(prices(2, "A="), "b.csv")
    with pytest.raises(NoConnection):
        site.run()
    with site.desk() as desk:
        desk.spooled(site.drops()[1].sha256).unlink()
    site.wire.reachable = True
    site.run()
    assert [drop.status for drop in site.drops()] == [DropStatus.DONE, DropStatus.FAILED]
    assert "cannot be read" in site.drops()[1].reason
    assert site.value("A=", "BID") == 1
    site.save(prices(2, "A="), "b.csv")  # what the reason asks for
    site.run()
    assert site.statuses(3) == {"A=": "acked"}


def test_a_retry_is_not_sent_over_a_newer_drop_that_cannot_be_looked_at(site: Site) -> None:
    site.save(prices(1, "A="), "a.csv")
    site.run()
    site.save(prices(2, "A="), "b.csv")
    site.run()
    with site.desk() as desk:
        desk.spooled(site.drops()[1].sha256).unlink()
    site.retry(1)
    site.run()
    assert site.drops()[0].status is DropStatus.FAILED
    assert site.value("A=", "BID") == 2


# --- turns, stops, logins


def test_a_small_drop_does_not_wait_for_a_large_one(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk"), window=2, rate_limit=100)
    site.save(prices(1, *(f"L{number}=" for number in range(60))), feed="fx")
    site.save(prices(1, "S="), feed="desk")
    site.run()
    assert [ric for _, ric, _ in site.sent()].index("S=") < 10


def test_a_stop_in_good_order_waits_for_answers_and_leaves_the_rest_for_the_next_start(new_site: NewSite) -> None:
    site = new_site(rate_limit=1, window=1)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={2.5: Loop.stop})
    assert 0 < len(site.snapshot()) < len(RICS)
    assert site.report_files() == set()
    site.run()
    assert site.totals(1) == {"acked": len(RICS)}


def test_a_refused_login_ends_the_run_and_the_drop_waits(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.REFUSE_LOGIN, code="UserUnknownToPermSys", text="unknown user"))
    site.save(prices(1, "A="))
    with pytest.raises(LoginRefused, match="unknown user"):
        site.run()
    site.ads.faults = script()
    site.run()
    assert site.statuses(1) == {"A=": "acked"}


def test_a_login_that_is_still_pending_elsewhere_is_tried_again(site: Site) -> None:
    fault = Fault(kind=FaultKind.REFUSE_LOGIN, code="", text="Already pending login", times=3)
    site.ads.faults = script(fault)
    site.save(prices(1, "A="))
    site.run()
    assert site.statuses(1) == {"A=": "acked"}
    assert site.wire.connections == 4


def test_a_drop_that_can_no_longer_be_read_half_way_is_not_called_rejected(new_site: NewSite) -> None:
    site = new_site(rate_limit=1, window=1)
    site.save(prices(1, *RICS))
    site.run(once=False, meanwhile={2.5: Loop.stop})
    (feed,) = site.settings.feeds
    site.settings = replace(site.settings, feeds=(replace(feed, max_rows=1),))
    (finished,) = site.run()
    assert finished.drop.status is DropStatus.FAILED
    assert "was being sent and can no longer be read" in finished.drop.reason
    first = site.report(1)
    rows = read_report(first)
    assert (rows[0]["ric"], rows[0]["status"]) == ("", "rejected")
    assert "not sent by this run, as any row that is not listed" in rows[0]["text"]
    told = {row["ric"]: row["status"] for row in rows[1:]}
    assert told == {ric: "acked" for _, ric, _ in site.sent()}
    assert "FAILED half-way" in page_of(first).read_text("utf-8")
    site.settings = replace(site.settings, feeds=(feed,))
    site.retry(1)
    site.run()
    assert site.cache() == site.snapshot()
    assert set(site.statuses(1).values()) == {"acked", "unchanged"}
    assert site.report(1) != first


def test_what_got_no_answer_before_its_drop_failed_is_unconfirmed(new_site: NewSite) -> None:
    site = new_site()
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK, ric="B="))
    site.save(prices(1, "A=", "B="))
    site.run(once=False, meanwhile={2.5: Loop.stop})
    (feed,) = site.settings.feeds
    site.settings = replace(site.settings, feeds=(replace(feed, ric_column="Code"),))
    (finished,) = site.run()
    assert (finished.drop.status, finished.totals["unconfirmed"]) == (DropStatus.FAILED, 1)
    assert site.statuses(1) == {"": "rejected", "A=": "acked", "B=": "unconfirmed"}
    assert site.dirty() == {("NIPROV", "B=")}


# --- deaths


def test_a_value_that_was_applied_but_not_recorded_is_taken_back_by_the_old_one(site: Site) -> None:
    """The Update reaches the ADS, the process dies before the Ack is recorded, and the file goes back."""
    site.save(prices(1, "A="))
    site.run()
    died_unrecorded = 0
    for die_at in range(1, 1000, STRIDE):
        posts = len(site.posts)
        site.save(prices(2, "A="))
        try:
            site.run(die_at=die_at)
        except Killed:
            applied = site.value("A=", "BID") == 2 and len(site.posts) > posts
            died_unrecorded += applied and bool(site.dirty())
            site.save(prices(1, "A="))
            site.run()
            assert site.value("A=", "BID") == 1, die_at
            assert site.cache() == site.snapshot()
            assert not site.dirty()
        else:
            break
    assert died_unrecorded


@pytest.mark.timeout(600)  # 53 starts: too many for the usual limit on a machine with thirty others at work
def test_a_first_drop_that_dies_at_any_step_is_finished_by_the_next_start(new_site: NewSite) -> None:
    site = new_site(window=2)
    content = sheet("RIC,BID", "A=,1", "A=,1", "B=,x", "C=,3", "D=,4")
    for die_at in range(1, 1000, STRIDE):
        name = f"{die_at}.csv"
        site.save(content.replace("=", f"{die_at}="), name)
        try:
            site.run(die_at=die_at)
        except Killed:
            site.run()
        else:
            break
        drop = site.drops()[-1]
        assert site.totals(drop.id) == {"acked": 4, "rejected": 1}
        assert [row["row"] for row in site.rows(drop.id)] == ["4", "2", "3", "5", "6"]
        assert len(site.report_files()) == 2 * len(site.drops())
    assert die_at > 50
    assert site.cache() == site.snapshot()


def test_an_ads_that_drops_the_connection_at_each_post_is_given_up(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_BEFORE))
    site.save(sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(20))))
    with pytest.raises(NoConnection, match="10 times in a row"):
        site.run()
    assert site.wire.connections == LOSSES
    site.ads.faults = script()
    site.run()
    assert site.totals(1) == {"acked": 19, "unconfirmed": 1}  # one was tried alone for too often


def test_connections_that_bring_answers_are_not_counted(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_BEFORE, every=2, times=2 * LOSSES))
    site.save(sheet("RIC,BID", *(f"R{number}=,{number}" for number in range(40))))
    site.run()
    assert site.wire.connections > LOSSES
    assert site.totals(1) == {"acked": 40}
