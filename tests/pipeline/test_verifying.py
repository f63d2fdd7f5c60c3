"""What was acknowledged is read back before a drop is over, and its report says what was found."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from virtual_site import SERVICE, Killed, NewSite, Site, make_feed, page_of, script, sheet

from contrib_watch.pipeline.ending import MISMATCH_CODE
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.replay import replay
from contrib_watch.simulator import answers, core
from contrib_watch.simulator.core import ServerSession
from contrib_watch.simulator.faults import Fault, FaultKind

PRICES = sheet("RIC,BID,ASK", "A=,1.50,2", "B=,3,4", "C=,5,6")


@pytest.fixture
def site(new_site: NewSite) -> Site:
    return new_site(make_feed("fx", verify=True), presence_sample=0, rate_limit=0)


def verified(site: Site, drop_id: int) -> dict[str, str]:
    rows = site.rows(drop_id)
    assert list(rows[0])[-1] == "verified"
    return {row["ric"]: row["verified"] for row in rows}


def page(site: Site, drop_id: int) -> str:
    return page_of(site.report(drop_id)).read_text(encoding="utf-8")


def answering(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """From now on a request for an item is answered by ``happens(session, stream, request, ric, answer)``."""
    answer = core.ServerSession._open_item

    def opened(session: ServerSession, stream_id: int, request: Any, name: str) -> None:
        happens(session, stream_id, request, name, lambda: answer(session, stream_id, request, name))

    monkeypatch.setattr(core.ServerSession, "_open_item", opened)


def test_what_the_ads_holds_is_verified(site: Site) -> None:
    site.save(PRICES)
    (finished,) = site.run()
    assert finished.fault_code == 0
    assert verified(site, 1) == dict.fromkeys(("A=", "B=", "C="), "yes")
    assert "All 3 rows acknowledged and verified" in page(site, 1)
    site.save(sheet("RIC,BID,ASK", "A=,1.50,2", "B=,7,4", "C=,x,6"))
    site.run()
    assert verified(site, 2) == {"A=": "", "B=": "yes", "C=": ""}  # what was not posted is not read back
    assert "1 acknowledged and verified; 1 unchanged" in page(site, 2)


def test_a_feed_that_does_not_ask_for_it(new_site: NewSite) -> None:
    site = new_site(presence_sample=0)
    site.save(PRICES)
    site.run()
    assert "verified" not in site.rows(1)[0]
    assert "verified" not in page(site, 1).lower()


def test_another_value_than_was_acknowledged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a field that an Update does not carry, too."""
    site.save(PRICES)
    site.run()

    def overwritten(_session: Any, _stream: int, _request: Any, _name: str, answer: Any) -> None:
        site.ads.items._cache[SERVICE, "B="]["ASK"] = Decimal("4.5")
        site.ads.items._cache.pop((SERVICE, "C="), None)
        answer()

    answering(monkeypatch, overwritten)
    site.save(sheet("RIC,BID,ASK", "A=,1.75,2", "B=,3.5,4", "C=,5.5,6"))
    (finished,) = site.run()
    assert finished.fault_code == MISMATCH_CODE
    assert verified(site, 2) == {"A=": "yes", "B=": "no: ASK 4.5 instead of 4", "C=": "no: missing"}
    assert {row["status"] for row in site.rows(2)} == {"acked"}
    text = page(site, 2)
    assert "2 acknowledged rows NOT as posted when read back; all 3 rows acknowledged" in text
    assert "ASK 4.5 instead of 4" in text
    assert "acknowledged and verified" not in text


def test_items_that_may_not_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(session: Any, stream: int, _request: Any, name: str, answer: Any) -> None:
        if name == "A=":
            answer()
        else:
            session._send(answers.closed_item(stream, (SERVICE, name), "NotEntitled", "Access denied"))

    answering(monkeypatch, denied)
    site.save(PRICES)
    (finished,) = site.run()
    assert finished.fault_code == 0
    why = "not available: NotEntitled: Access denied"
    assert verified(site, 1) == {"A=": "yes", "B=": why, "C=": why}
    text = page(site, 1)
    assert "All 3 rows acknowledged; 2 not verified" in text
    assert "2 acknowledged rows could not be read back: NotEntitled: Access denied" in text


def test_an_ads_that_answers_no_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda *_: None)
    site.save(PRICES)
    site.run()
    assert {text.partition(": ")[0] for text in verified(site, 1).values()} == {"not available"}
    assert site.totals(1) == {"acked": 3}


def test_a_connection_that_is_lost_while_reading(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read after the next login; where none comes, the report does not wait for ever."""
    lost: list[str] = []

    def once(session: Any, _stream: int, _request: Any, name: str, answer: Any) -> None:
        if lost:
            answer()
        else:
            lost.append(name)
            session._close = core.Closing.ABRUPT

    answering(monkeypatch, once)
    site.save(PRICES)
    site.run()
    assert lost
    assert set(verified(site, 1).values()) == {"yes"}

    def for_good(session: Any, _stream: int, _request: Any, _name: str, _answer: Any) -> None:
        site.wire.reachable = False
        session._close = core.Closing.ABRUPT

    answering(monkeypatch, for_good)
    site.save(sheet("RIC,BID,ASK", "A=,9,2"))
    site.run()
    assert verified(site, 2) == {"A=": "not available: there was no connection for 30 s"}


def test_a_newer_drop_waits_for_the_read_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is read is what this drop posted, and a "no" is never a newer drop's value."""
    running: list[Loop] = []
    posts_when_read: list[int] = []

    def meanwhile_saved(_session: Any, _stream: int, _request: Any, _name: str, answer: Any) -> None:
        posts_when_read.append(len(site.posts))
        if running:
            site.save(sheet("RIC,BID,ASK", "A=,1.50,2.5", "B=,3,4.5", "C=,5,6.5"))
            site.arrive(running.pop())
        answer()

    answering(monkeypatch, meanwhile_saved)
    site.save(PRICES)
    site.run(meanwhile={0.0: running.append})
    assert posts_when_read == [3, 3, 3, 6, 6, 6]
    for drop in (1, 2):
        assert verified(site, drop) == dict.fromkeys(("A=", "B=", "C="), "yes")


def test_a_drop_that_ends_without_being_posted_needs_no_read_back(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", verify=True, approval="always"))
    site.save(PRICES)
    site.run()
    site.reject(1)
    assert verified(site, 1) == dict.fromkeys(("A=", "B=", "C="), "")


def test_only_what_was_acknowledged(site: Site) -> None:
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="B=", code="AccessDenied"))
    site.save(PRICES)
    site.run()
    assert verified(site, 1) == {"A=": "yes", "B=": "", "C=": "yes"}
    assert "1 of 3 NOT published; 2 acknowledged and verified" in page(site, 1)


def test_a_stop_and_a_crash_before_the_read_back_is_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start goes on with it."""
    with monkeypatch.context() as silent:
        answering(silent, lambda *_: None)
        site.save(PRICES)
        site.run(once=False, meanwhile={3: Loop.stop})
        assert [drop.status.value for drop in site.drops()] == ["sending"]
        assert [row["status"] for row in site.outcomes(1)] == ["acked"] * 3
    site.run()
    assert verified(site, 1) == dict.fromkeys(("A=", "B=", "C="), "yes")
    assert len(site.posts) == 3

    for die_at in range(40, 400, 23):
        name = f"{die_at}.csv"
        site.save(PRICES.replace("=", f"{die_at}="), name)
        try:
            site.run(die_at=die_at)
        except Killed:
            site.run()
        drop = site.drops()[-1]
        assert site.totals(drop.id) == {"acked": 3}
        assert set(verified(site, drop.id).values()) == {"yes"}


def test_the_report_is_made_again_from_the_record(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def overwritten(_session: Any, _stream: int, _request: Any, _name: str, answer: Any) -> None:
        site.ads.items._cache[SERVICE, "B="]["ASK"] = Decimal("4.5")
        answer()

    answering(monkeypatch, overwritten)
    site.save(PRICES)
    site.run()
    table = site.report(1).read_bytes()
    with site.desk() as desk:
        again = replay(desk, 1, None, {})
    assert again.files[site.report(1).name] == table
