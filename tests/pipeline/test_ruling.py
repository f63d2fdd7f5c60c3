"""When a drop is judged: at every sending, by what was approved, and while its values are good."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from virtual_site import SERVICE, Killed, NewSite, Site, make_feed, script, sheet

from contrib_watch.core.limits import Guards, Limit
from contrib_watch.core.model import DropStatus, Person, Source
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline import arrivals, decisions
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind

BOB = Person("bob", Source.ASSERTED, "root")
BOB_HIMSELF, ANNA = Person("bob", Source.OS_USER, "bob"), Person("anna", Source.OS_USER, "anna")
GUARDS = Guards(max_move={"BID": Limit(Decimal(20), percent=True)})
OLD = sheet("RIC,BID", *(f"R{n}=,10" for n in range(6)))
TIMES_100 = sheet("RIC,BID", *(f"R{n}=,1000" for n in range(6)))


def accept(site: Site) -> None:
    """The files are seen, and not sent yet."""
    with site.desk() as desk:
        (feed,) = site.settings.feeds
        assert arrivals.accept(desk, feed.name, site.scan(desk, feed))


def approve(site: Site, drop: int, by: Person = BOB) -> None:
    with site.desk() as desk:
        decisions.approve(desk, drop, by, "seen")


@pytest.fixture
def guarded(new_site: NewSite) -> Site:
    """A drop that is held for its moves; it is drop 2."""
    site = new_site(make_feed("fx", guards=GUARDS), window=2)
    site.save(OLD)
    site.run()
    site.save(TIMES_100)
    site.run()
    assert site.drops()[-1].status is DropStatus.HELD
    assert site.drops()[-1].reason == "BID moved 9,900 % (limit 20 %)"
    return site


def test_what_was_approved_is_sent_through_every_crash(guarded: Site) -> None:
    approve(guarded, 2)
    for die_at in range(10, 1000, 9):
        try:
            guarded.run(die_at=die_at)
        except Killed:
            continue
        break
    assert guarded.drops()[-1].status is DropStatus.DONE
    assert {guarded.value(f"R{n}=", "BID") for n in range(6)} == {1000}


def test_an_approval_is_checked_again_when_its_turn_comes(guarded: Site) -> None:
    approve(guarded, 2)
    with guarded.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("""UPDATE snapshot SET fields = '{"BID":11}' WHERE ric = 'R0='""")
    guarded.run()
    drop = guarded.drops()[-1]
    assert drop.status is DropStatus.HELD
    assert "approved by bob (asserted by root): seen, but the snapshot has moved since" in drop.reason
    assert len(guarded.posts) == 6


def test_what_was_approved_and_is_in_the_market_already_is_not_held(new_site: NewSite) -> None:
    """A person posted it once more, after a stop had left it without an answer."""
    site = new_site(make_feed("fx", approval="always"))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    approve(site, 1)
    for die_at in range(60, 1000, 3):
        with suppress(Killed):
            site.run(die_at=die_at)
        if site.posts:
            break
    assert site.dirty()
    site.task(lambda task: task.resend([SERVICE], "*", advanced=lambda _: None))
    assert len(site.posts) == 2
    site.run()
    assert site.drops()[-1].status is DropStatus.DONE
    assert site.statuses(1) == {"A=": "unchanged"}


def test_a_retry_of_an_approved_drop_is_judged_again(guarded: Site) -> None:
    approve(guarded, 2)
    guarded.run()
    guarded.save(sheet("RIC,BID", "R0=,1001"))
    guarded.run()
    with guarded.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("""UPDATE snapshot SET fields = '{"BID":10}', drop_id = 1 WHERE ric = 'R1='""")
    with guarded.desk() as desk:
        decisions.retry(desk, 2)
    guarded.run()
    assert guarded.drops()[1].status is DropStatus.HELD
    assert guarded.statuses(2)["R1="] == "held"


def test_a_drop_that_is_held_anew_tells_its_breach_too(new_site: NewSite) -> None:
    hundred = {"BID": (Decimal(0), Decimal(100))}
    site = new_site(make_feed("fx", guards=Guards(max_move=GUARDS.max_move, range=hundred)))
    for content in (OLD, TIMES_100):
        site.save(content)
        site.run()
    site.save(sheet("RIC,BID", "R0=,11"))
    site.run()
    with pytest.raises(ConfigurationError, match="the snapshot has moved"):
        approve(site, 2)
    reason = site.drops()[1].reason
    assert reason.startswith("it would change other values than its last report showed")
    assert reason.endswith("; BID moved 9,900 % (limit 20 %); and 1 more reason")


def test_a_breach_may_reject(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", guards=Guards(max_move=GUARDS.max_move, rejecting=frozenset({"max_move"}))))
    site.save(OLD)
    site.run()
    site.save(TIMES_100)
    site.run()
    assert site.drops()[-1].status is DropStatus.REJECTED
    assert site.totals(2) == {"rejected": 6}
    assert len(site.posts) == 6


def test_a_newer_drop_that_may_be_held_does_not_keep_an_older_one_from_the_market(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", guards=GUARDS))
    site.save(OLD)
    site.run()
    site.save(OLD.replace(",10", ",11"), "a.csv")
    site.save(TIMES_100, "b.csv")
    site.run()
    assert site.totals(2) == {"acked": 6}
    assert site.totals(3) == {"held": 6}


def with_feed(site: Site, **keys: Any) -> None:
    """Another configuration of the one feed."""
    (feed,) = site.settings.feeds
    site.settings = replace(site.settings, feeds=(replace(feed, **keys),))


def test_an_approval_is_for_the_service_that_the_report_names(guarded: Site) -> None:
    approve(guarded, 2)
    with_feed(guarded, service="OTHER", guards=Guards())
    guarded.run()
    assert guarded.drops()[-1].status is DropStatus.HELD
    assert "the snapshot has moved since, or the configuration" in guarded.drops()[-1].reason
    assert len(guarded.posts) == 6


def test_a_held_drop_whose_service_is_another_one_now_must_be_looked_at_again(guarded: Site) -> None:
    with guarded.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM snapshot")  # so that the changes are the same on each Service
    with_feed(guarded, approval="always", guards=Guards())
    guarded.save(sheet("RIC,BID", "NEW=,1"))
    guarded.run()
    with_feed(guarded, service="OTHER")
    with pytest.raises(ConfigurationError, match="or the configuration"):
        approve(guarded, 3)
    approve(guarded, 3)  # of its new report


def test_who_approved_is_judged_by_the_configuration_of_the_process_that_sends(guarded: Site) -> None:
    approve(guarded, 2)  # bob, whom nothing knows
    with_feed(guarded, approvers=("anna",))
    guarded.run()
    assert guarded.drops()[-1].status is DropStatus.HELD
    assert "approved by bob (asserted by root): seen, but feed fx has approvers" in guarded.drops()[-1].reason
    assert len(guarded.posts) == 6


def test_a_second_approver_is_asked_for_where_it_is_sent(guarded: Site) -> None:
    with guarded.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("UPDATE drops SET owner = 'unknown'")
    approve(guarded, 2, ANNA)
    with_feed(guarded, approvers=("anna", "bob"))
    guarded.run()
    assert "and a second approver is needed" in guarded.drops()[-1].reason
    assert len(guarded.posts) == 6


def test_a_run_that_nobody_decided_on_is_held(guarded: Site) -> None:
    with guarded.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("UPDATE drops SET status = 'waiting', run = 2, approved = 1 WHERE id = 2")
        connection.exec_driver_sql("""UPDATE snapshot SET fields = '{"BID":1000}' WHERE ric <> 'R0='""")
    with_feed(guarded, guards=Guards())
    guarded.run()
    drop = guarded.drops()[-1]
    assert (drop.status, len(guarded.posts)) == (DropStatus.HELD, 6)
    assert "the record has no decision that says so" in drop.reason


def test_a_retry_is_no_first_drop_where_the_first_run_brought_something(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", guards=Guards(max_new_rics=Limit(Decimal(1), percent=False))))
    site.save(OLD)
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="R[1-5]=", code="AccessDenied"))
    site.run()
    assert site.totals(1) == {"acked": 1, "nakked": 5}
    with site.desk() as desk:
        decisions.retry(desk, 1)
    site.run()
    assert site.totals(1) == {"unchanged": 1, "held": 5}


@pytest.fixture
def unknown(new_site: NewSite) -> Site:
    """Drop 1 is held, two must approve it, and anna and bob may."""
    site = new_site(make_feed("fx", guards=GUARDS, approvers=("anna", "bob"), approval="always"))
    site.save(OLD)
    site.run()
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("UPDATE drops SET owner = 'unknown'")
    return site


def test_two_must_approve_what_nobody_knows_who_dropped(unknown: Site) -> None:
    approve(unknown, 1, ANNA)
    unknown.run()
    assert unknown.posts == []
    with pytest.raises(ConfigurationError, match="anna has approved it already"):
        approve(unknown, 1, ANNA)
    approve(unknown, 1, BOB_HIMSELF)
    unknown.run()
    assert unknown.totals(1) == {"acked": 6}


def test_two_who_approve_at_the_same_moment_are_two(unknown: Site) -> None:
    unknown.interrupted(lambda desk: decisions.approve(desk, 1, ANNA), lambda: approve(unknown, 1, BOB_HIMSELF))
    unknown.run()
    assert unknown.totals(1) == {"acked": 6}


def test_one_who_approves_twice_at_the_same_moment_is_one(unknown: Site) -> None:
    with pytest.raises(ConfigurationError, match="anna has approved it already"):
        unknown.interrupted(lambda desk: decisions.approve(desk, 1, ANNA), lambda: approve(unknown, 1, ANNA))
    unknown.run()
    assert unknown.posts == []


@pytest.mark.parametrize("first", [decisions.approve, decisions.reject])
@pytest.mark.parametrize("second", [decisions.approve, decisions.reject])
def test_of_two_decisions_at_the_same_moment_the_first_one_counts(
    guarded: Site, first: Callable[[Desk, int, Person], object], second: Callable[[Desk, int, Person], object]
) -> None:
    def decide() -> None:
        with guarded.desk() as desk:
            first(desk, 2, BOB)

    with pytest.raises(ConfigurationError, match="drop 2 has changed meanwhile: somebody else has decided about it"):
        guarded.interrupted(lambda desk: second(desk, 2, ANNA), decide)
    guarded.run()
    assert guarded.totals(2) == {"acked" if first is decisions.approve else "rejected": 6}
    assert guarded.drops()[1].run == 2


def test_a_drop_that_was_approved_and_is_held_anew_is_not_what_somebody_else_looks_at(guarded: Site) -> None:
    def moved_on() -> None:
        approve(guarded, 2)
        with guarded.desk() as desk, desk.state.transaction() as connection:
            connection.exec_driver_sql("""UPDATE snapshot SET fields = '{"BID":12}' WHERE ric = 'R0='""")
        guarded.run(scan=False)
        assert guarded.drops()[1].status is DropStatus.HELD

    with pytest.raises(ConfigurationError, match="somebody else has decided about it"):
        guarded.interrupted(lambda desk: decisions.approve(desk, 2, ANNA), moved_on)
    assert guarded.drops()[1].run == 2
    guarded.run(scan=False)
    assert len(guarded.posts) == 6


class TestValidFor:
    def test_what_waited_longer_is_held_until_somebody_decides(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=60.0))
        site.save(OLD)
        accept(site)
        site.clock.now_s += 61
        site.run()
        assert site.posts == []
        assert site.drops()[0].status is DropStatus.HELD
        assert "expired: its values were good until" in site.drops()[0].reason
        approve(site, 1)  # which begins the time anew
        site.clock.now_s += 59
        site.run()
        assert site.totals(1) == {"acked": 6}

    def test_a_file_is_as_old_as_it_says(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=60.0))
        site.save(OLD, age_s=100)
        site.run()
        assert (site.totals(1), site.posts) == ({"held": 6}, [])
        assert "expired" in site.drops()[0].reason

    def test_what_is_not_on_the_wire_in_time_is_held(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=4.0), rate_limit=1)
        site.save(OLD)
        site.run()
        totals = site.totals(1)
        assert totals["acked"] + totals["held"] == 6
        assert totals["acked"] >= 3
        assert totals["held"] >= 1
        assert site.drops()[0].status is DropStatus.HELD
        assert len(site.posts) == totals["acked"]
        with pytest.raises(ConfigurationError, match="drop 1 is held"), site.desk() as desk:
            decisions.retry(desk, 1)

    def test_what_was_posted_without_an_answer_stays_unconfirmed(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=20.0), retries=3, ack_timeout_s=15.0)
        site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
        site.save(sheet("RIC,BID", "R0=,10"))
        site.run()
        assert site.totals(1) == {"unconfirmed": 1}
        assert "expired" in site.rows(1)[0]["text"]
        assert site.dirty() == {("NIPROV", "R0=")}

    def test_nor_is_it_held_where_the_program_was_stopped_meanwhile(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=20.0), rate_limit=1)
        site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
        site.save(sheet("RIC,BID", *(f"R{number}=,10" for number in range(9))))
        site.run(once=False, meanwhile={2: Loop.stop})
        site.clock.now_s += 60
        posted = {post.ric for post in site.posts}
        assert 0 < len(posted) < 9
        site.run()
        rows = {row["ric"]: row for row in site.rows(1)}
        assert {ric for ric, row in rows.items() if row["status"] == "unconfirmed"} == posted
        assert {row["status"] for ric, row in rows.items() if ric not in posted} == {"held"}
        assert rows["R0="]["attempts"] == "1"
        assert "expired" in rows["R0="]["text"]
        assert "it was posted once before, without an answer" in rows["R0="]["text"]

    def test_what_was_held_halfway_is_approved_with_what_is_not_acknowledged_of_it(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=4.0), rate_limit=1, retries=0, ack_timeout_s=2.0)
        site.ads.faults = script(
            Fault(kind=FaultKind.LOSE_ACK, ric="R0="), Fault(kind=FaultKind.NAK, ric="R1=", code="AccessDenied")
        )
        site.save(OLD)
        site.run()
        assert site.totals(1).keys() == {"acked", "held", "nakked", "unconfirmed"}
        approve(site, 1)
        site.ads.faults = script()
        site.settings = replace(site.settings, ads=replace(site.settings.ads, rate_limit=0))
        site.run()
        totals = site.totals(1)
        assert totals.keys() <= {"acked", "unchanged"}
        assert sum(totals.values()) == 6

    def test_nor_where_its_time_ends_before_it_could_be_posted_again(self, new_site: NewSite) -> None:
        site = new_site(make_feed("fx", valid_for_s=20.0), rate_limit=1)
        site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
        site.save(sheet("RIC,BID", *(f"R{number}=,10" for number in range(9))))
        site.run(once=False, meanwhile={5: Loop.stop})
        posted = {post.ric for post in site.posts}
        before = len(site.posts)
        site.clock.now_s += 7
        site.ads.faults = script()
        site.run()
        rows = {row["ric"]: row["status"] for row in site.rows(1)}
        again = {post.ric for post in site.posts[before:]}
        assert again < posted
        assert {rows[ric] for ric in posted - again} == {"unconfirmed"}

    def test_what_did_not_leave_when_it_was_to_go_again_is_unconfirmed_and_not_refused(
        self, new_site: NewSite
    ) -> None:
        site = new_site(make_feed("fx", valid_for_s=6.0), window=2, retries=9)
        site.ads.faults = script(Fault(kind=FaultKind.DROP_CONNECTION_AFTER))
        site.save(sheet("RIC,BID", "R0=,10", "R1=,10"))
        site.run(once=False, meanwhile={60: Loop.stop})
        assert site.totals(1) == {"unconfirmed": 2}
