"""Reverting and withdrawing: what is put back, what is left alone, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from virtual_site import EPOCH, NewSite, Site, make_feed, script, sheet

from contrib_watch.core.limits import Guards, Limit
from contrib_watch.core.model import Drop, DropStatus, Person, Source
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline import arrivals, decisions, undo
from contrib_watch.simulator.faults import Fault, FaultKind
from contrib_watch.store import utc_text
from contrib_watch.store.history import History

ROOT = Person("root", Source.OS_USER, "root")
BOB = Person("bob", Source.ASSERTED, "root")


def send(site: Site, *rows: str, header: str = "RIC,BID") -> None:
    site.save(sheet(header, *rows))
    site.run()
    assert site.drops()[-1].status is DropStatus.DONE


def revert(site: Site, drop: int, by: Person = ROOT) -> Drop:
    with site.desk() as desk:
        return undo.revert(desk, drop, by)


def approve(site: Site, drop: int) -> None:
    with site.desk() as desk:
        decisions.approve(desk, drop, BOB)
    site.run()


def test_nothing_is_reverted_while_a_correction_is_on_its_way(site: Site) -> None:
    send(site, "A=,1")
    send(site, "A=,100")
    site.save(sheet("RIC,BID", "A=,1.1"))
    with site.desk() as desk:
        (feed,) = site.settings.feeds
        arrivals.accept(desk, "fx", site.scan(desk, feed))
    with pytest.raises(ConfigurationError, match="drop 2 cannot be reverted yet: drop 3 of its feed is waiting"):
        revert(site, 2)
    site.run()
    assert str(site.value("A=", "BID")) == "1.1"


def test_what_a_newer_file_affirmed_stays(site: Site) -> None:
    send(site, "A=,1", "B=,1", "C=,1")
    send(site, "A=,2", "B=,1", "C=,2")
    send(site, "A=,2", "B=,3")
    revert(site, 2)
    site.run()
    assert site.statuses(4) == {"C=": "acked"}
    assert [site.value(ric, "BID") for ric in ("A=", "B=", "C=")] == [2, 3, 1]


def test_what_is_affirmed_by_all_that_is_newer_cannot_be_reverted(site: Site) -> None:
    send(site, "A=,1")
    send(site, "A=,2")
    site.save(sheet("RIC,BID", "A=,2"), "again.csv")
    site.run()
    with pytest.raises(ConfigurationError, match="or newer drops give the same one") as refused:
        revert(site, 2)
    assert "contrib-watch withdraw" in refused.value.hint


def test_what_a_file_affirms_at_that_moment_is_not_reverted(site: Site) -> None:
    send(site, "A=,1")
    send(site, "A=,2")

    def affirmed() -> None:
        site.save(sheet("RIC,BID", "A=,2"), "again.csv")
        site.run()

    with pytest.raises(ConfigurationError, match="a newer drop of its feed has ended meanwhile"):
        site.interrupted(lambda desk: undo.revert(desk, 2, ROOT), affirmed)
    site.run()
    assert site.value("A=", "BID") == 2


def test_drops_are_reverted_one_after_the_other(site: Site) -> None:
    for price in (1, 2, 3):
        send(site, f"A=,{price}")
    for drop, price in ((3, 2), (2, 1)):
        revert(site, drop)
        site.run()
        assert site.value("A=", "BID") == price


def test_a_file_that_was_undone_does_not_come_back_by_another_name(site: Site) -> None:
    for bid in (1, 2):
        wrong = site.save(sheet("RIC,BID", f"A=,{bid}"))
        site.run()
    revert(site, 2)
    site.run()
    wrong.rename(wrong.with_name("wrong.csv"))
    assert site.run() == []
    assert site.value("A=", "BID") == 1


def test_a_revert_can_be_reverted(site: Site) -> None:
    for price in (1, 2, 3):
        send(site, f"A=,{price}")
    revert(site, 3)
    site.run()
    revert(site, 4)
    site.run()
    assert site.value("A=", "BID") == 3
    with pytest.raises(ConfigurationError, match="nothing of drop 2 can be put back"):
        revert(site, 2)


def test_what_has_another_value_by_now_is_left_alone(site: Site) -> None:
    send(site, "A=,1", "B=,1")
    send(site, "A=,2", "B=,2")
    revert(site, 2)
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("""UPDATE snapshot SET fields = '{"BID":1.5}' WHERE ric = 'A='""")
    site.run()
    assert site.statuses(3) == {"A=": "superseded", "B=": "acked"}


def test_texts_and_cleared_values_come_back(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", clear_token="#CLEAR"))
    names = "RIC,BID,DSPLY_NAME"
    send(site, 'A=,1,"a ""b""; \\c"', "B=,1,x", header=names)
    send(site, "A=,#CLEAR,", header=names)
    send(site, "A=,2,new", "B=,,y", header=names)
    revert(site, 3)
    site.run()
    assert site.statuses(4) == {"A=": "acked", "B=": "acked"}
    assert (site.value("A=", "BID"), site.value("A=", "DSPLY_NAME")) == (None, 'a "b"; \\c')
    assert site.value("B=", "DSPLY_NAME") == "x"


def test_a_clock_that_was_ahead_changes_nothing(site: Site) -> None:
    send(site, "A=,1")
    site.clock.ahead_s = 36_000.0
    send(site, "A=,2")
    send(site, "A=,3")
    site.clock.ahead_s = 0.0
    send(site, "A=,4")
    with site.desk() as desk:
        (now,) = History(desk.state).as_of(utc_text(EPOCH + timedelta(days=1)))
        assert (now.drop, now.fields) == (4, '{"BID":4}')
    revert(site, 4)
    site.run()
    assert site.value("A=", "BID") == 3


def test_what_the_record_tells_in_two_ways_is_not_put_back(site: Site) -> None:
    send(site, "A=,1")
    send(site, "A=,2")
    with site.desk() as desk, desk.state.transaction() as connection:
        connection.exec_driver_sql("""UPDATE outcomes SET full = '{"BID":7}' WHERE drop_id = 1""")
    with pytest.raises(ConfigurationError, match="what drop 2 replaced of A= is not what the record has"):
        revert(site, 2)


def test_who_reverts_under_another_name_cannot_approve_it(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", approval="always"))
    anna = Person("anna", Source.ASSERTED, "mary")
    for price in (1, 2):
        site.save(sheet("RIC,BID", f"A=,{price}"))
        site.run()
        with site.desk() as desk:
            decisions.approve(desk, price, anna)
        site.run()
    revert(site, 2, BOB)
    site.run()
    assert site.drops()[-1].status is DropStatus.HELD
    for by, source in ((ROOT, "OS user"), (BOB, "asserted")):
        with pytest.raises(ConfigurationError, match=f"dropped it .{source}."), site.desk() as desk:
            decisions.approve(desk, 3, by)
    with site.desk() as desk:
        decisions.approve(desk, 3, anna)
    site.run()
    assert site.value("A=", "BID") == 1


def test_where_there_are_approvers_the_name_must_be_the_os_users(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", approvers=("root", "anna")))
    send(site, "A=,1")
    send(site, "A=,2")
    with pytest.raises(ConfigurationError, match="--as must be the OS user, who is root"):
        revert(site, 2, BOB)
    with pytest.raises(ConfigurationError, match="--as must be the OS user"), site.desk() as desk:
        undo.withdraw(desk, ["A="], None, BOB)
    revert(site, 2)


def test_a_ric_in_doubt_that_is_named_twice_is_withdrawn_once(new_site: NewSite) -> None:
    site = new_site(retries=0, ack_timeout_s=1.0)
    send(site, "A=,1", "B=,1")
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
    send(site, "A=,2")
    site.ads.faults = script()
    assert site.dirty() == {("NIPROV", "A=")}
    with site.desk() as desk:
        undo.withdraw(desk, ["A=", "B=", "A="], None, ROOT)
    site.run()
    assert site.statuses(3) == {"A=": "acked", "B=": "acked"}
    assert [site.value(ric, "BID") for ric in ("A=", "B=")] == [None, None]


def lose_acks(site: Site, *rows: str) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
    send(site, *rows)
    site.ads.faults = script()


def test_what_was_posted_without_an_answer_is_put_back_too(new_site: NewSite) -> None:
    site = new_site(retries=0, ack_timeout_s=1.0)
    send(site, "A=,1")
    lose_acks(site, "A=,2", "NEW=,2")
    assert [site.value(ric, "BID") for ric in ("A=", "NEW=")] == [2, 2]
    revert(site, 2)
    site.run()
    assert site.statuses(3) == {"A=": "acked", "NEW=": "acked"}
    assert [site.value(ric, "BID") for ric in ("A=", "NEW=")] == [1, None]
    assert not site.dirty()


def test_what_was_confirmed_by_a_post_by_hand_is_put_back_too(new_site: NewSite) -> None:
    site = new_site(retries=0, ack_timeout_s=1.0)
    send(site, "A=,1")
    lose_acks(site, "A=,2")
    site.task(lambda task: task.resend(["NIPROV"], "*", advanced=lambda _: None))
    assert not site.dirty()
    revert(site, 2)
    site.run()
    assert site.value("A=", "BID") == 1


def test_what_the_ads_refused_of_a_newer_drop_keeps_no_wrong_price_in_the_market(site: Site) -> None:
    send(site, "A=,1", "B=,1")
    send(site, "A=,100", "B=,100")
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="A=", code="AccessDenied"))
    send(site, "A=,1.1", "B=,100")
    site.ads.faults = script()
    revert(site, 2)
    site.run()
    assert site.statuses(4) == {"A=": "acked"}
    assert [site.value(ric, "BID") for ric in ("A=", "B=")] == [1, 100]


def test_what_a_failed_drop_left_in_doubt_is_put_back(new_site: NewSite) -> None:
    site = new_site(retries=0, ack_timeout_s=1.0)
    send(site, "A=,1")
    lose_acks(site, "A=,2")
    with site.desk() as desk, desk.state.transaction() as connection:  # as where it failed after a stop
        connection.exec_driver_sql("UPDATE outcomes SET post_id = NULL, changed = '' WHERE drop_id = 2")
    revert(site, 2)
    site.run()
    assert site.value("A=", "BID") == 1


def test_a_correction_that_was_held_meanwhile_goes_before_a_revert_of_what_is_older(new_site: NewSite) -> None:
    feed = make_feed("fx", guards=Guards(max_move={"BID": Limit(Decimal(50), percent=True)}))
    site = new_site(feed)
    for price in (1, 100):
        site.save(sheet("RIC,BID", f"A=,{price}", "B=,1"))
        site.run()
    approve(site, 2)
    site.save(sheet("RIC,BID", "A=,1.2"))
    site.run()
    assert site.drops()[-1].status is DropStatus.HELD
    revert(site, 2)
    site.run()
    approve(site, 4)
    assert site.value("A=", "BID") == 1
    with pytest.raises(ConfigurationError, match="the snapshot has moved"):
        approve(site, 3)
    approve(site, 3)
    assert site.statuses(3) == {"A=": "acked"}
    assert site.value("A=", "BID") == Decimal("1.2")
    with site.desk() as desk:  # what was undone stays undone
        decisions.retry(desk, 2, BOB)
    site.run()
    assert site.value("A=", "BID") == Decimal("1.2")


def test_a_revert_that_waits_covers_nothing_of_what_was_approved_meanwhile(site: Site) -> None:
    send(site, "A=,1")
    send(site, "A=,100")
    site.save(sheet("RIC,BID", "A=,1.2"), "late.csv", age_s=10 * 86400)
    site.run()
    assert site.drops()[-1].status is DropStatus.HELD
    revert(site, 2)
    approve(site, 3)
    assert [site.statuses(drop) for drop in (3, 4)] == [{"A=": "acked"}, {"A=": "superseded"}]
    assert site.value("A=", "BID") == Decimal("1.2")


def test_what_was_posted_without_an_answer_is_withdrawn_too(new_site: NewSite) -> None:
    site = new_site(retries=0, ack_timeout_s=1.0)
    send(site, "A=,1")
    site.ads.faults = script(Fault(kind=FaultKind.LOSE_ACK))
    send(site, "A=,1,9", "NEW=,2,3", header="RIC,BID,ASK")
    site.ads.faults = script()
    with site.desk() as desk:
        undo.withdraw(desk, ["A=", "NEW="], None, ROOT)
    site.run()
    assert site.statuses(3) == {"A=": "acked", "NEW=": "acked"}
    assert {site.value(ric, field) for ric in ("A=", "NEW=") for field in ("BID", "ASK")} == {None}


def test_who_withdraws_what_is_not_there_yet_is_told_what_may_bring_it(site: Site) -> None:
    send(site, "B=,1")
    site.save(sheet("RIC,BID", "A=,1"))
    with site.desk() as desk:
        (feed,) = site.settings.feeds
        arrivals.accept(desk, "fx", site.scan(desk, feed))
        with pytest.raises(ConfigurationError, match="nothing to withdraw of A=") as refused:
            undo.withdraw(desk, ["A="], None, ROOT)
    assert refused.value.hint.startswith("Drop 2 is on its way and may bring one")
