"""What a turn decided is written before any of it goes out; where that fails, nothing does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest
from shared_parts import folder_in_memory
from virtual_site import SERVICE, Blow, NewSite, Site, make_feed

from contrib_watch.ads.messages import PostFormat
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Post
from contrib_watch.errors import StateUnavailable
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind

ROWS = 40


def sheet_of(rows: int, value: int = 1) -> str:
    return "".join(("RIC,BID\n", *(f"R{row}=,{value}\n" for row in range(rows))))


@pytest.mark.parametrize("blow", [Blow.FAIL_BEFORE, Blow.FAIL_AFTER])
def test_nothing_is_on_the_wire_that_is_not_recorded_in_flight(dictionary: Dictionary, blow: Blow) -> None:
    """Whichever commit of a run fails: each post that came out of it had been recorded before."""
    commits = failed = 0
    while commits >= failed:
        failed += 1
        with folder_in_memory() as folder:
            site = Site(folder, dictionary, window=4, quick=True)
            site.save(sheet_of(ROWS))
            with suppress(StateUnavailable):
                site.run(at_commit=(failed, blow))
            commits = site.clock.life.commits
            with site.desk() as desk:
                recorded = site.snapshot().keys() | site.dirty()
                assert {(SERVICE, ric) for _, ric, _ in site.sent()} <= recorded
                assert int(desk.state.get("next_post_key") or 0) > max(
                    (post.post_id for post in site.posts), default=0
                )
            posted = len(site.posts)
            site.run()
            assert site.cache() == site.snapshot()
            assert len(site.posts) - posted <= ROWS
    assert failed > 10


def test_a_stop_hands_over_what_was_decided_and_waits_for_its_answers(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), rate_limit=20)
    site.save(sheet_of(ROWS))
    site.run(meanwhile={0.5: Loop.stop})
    assert 0 < len(site.posts) < ROWS
    assert not site.dirty()
    site.run()
    assert [row["status"] for row in site.rows(1)] == ["acked"] * ROWS
    assert len(site.posts) == ROWS


def test_a_fault_in_planning_is_its_drops_alone(new_site: NewSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the wire is waited for; its drop fails, and the other feed's goes on."""
    from contrib_watch.pipeline import job

    def broken_off(planned: object, plan: Callable[[object], object] = job.planned_posts) -> object:
        for number, post in enumerate(plan(planned)):  # type: ignore[call-overload]
            if post.ric == "R20=":
                raise RuntimeError(f"no post can be made of row {number}")
            yield post

    monkeypatch.setattr(job, "planned_posts", broken_off)
    lost = Fault(kind=FaultKind.LOSE_ACK, nth=3)
    site = new_site(make_feed("fx"), make_feed("desk"), window=2, faults=[lost], ack_timeout_s=5.0)
    site.save(sheet_of(ROWS))
    site.save("RIC,BID\nD1=,1\nD2=,2\n", feed="desk")
    first, other = sorted(site.run(), key=lambda one: one.drop.id)
    assert (first.drop.status, other.drop.status) == ("failed", "done")
    assert "a fault of the program: RuntimeError: no post can be made of row 20" in first.drop.reason
    assert site.statuses(2) == {"D1=": "acked", "D2=": "acked"}
    told = site.rows(1)
    acked = {row["ric"] for row in told if row["status"] == "acked"}
    assert {ric for (_, ric) in site.snapshot()} == acked | {"D1=", "D2="}
    assert {row["ric"] for row in told if row["status"] == "unconfirmed"} == {ric for _, ric in site.dirty()}
    assert {ric for _, ric, _ in site.sent()} - {"D1=", "D2="} == acked | {ric for _, ric in site.dirty()}
    assert site.cache().keys() == {*site.snapshot().keys(), *site.dirty()}
    monkeypatch.undo()
    site.save(sheet_of(ROWS, 2))
    site.run()
    assert site.cache() == site.snapshot()
    assert set(site.statuses(3).values()) == {"acked"}


def test_a_fault_in_making_a_message_is_its_drops_alone(new_site: NewSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is on the wire, so nothing is waited for."""

    def broken(self: PostFormat, post_ids: object, posts: Sequence[Post], texts: Any = PostFormat.texts) -> Any:
        if any(post.ric == "R20=" for post in posts):
            raise RuntimeError("no message can be made of R20=")
        return texts(self, post_ids, posts)

    monkeypatch.setattr(PostFormat, "texts", broken)
    site = new_site(make_feed("fx"), make_feed("desk"), window=2)
    site.save(sheet_of(ROWS))
    site.save("RIC,BID\nD1=,1\nD2=,2\n", feed="desk")
    first, other = sorted(site.run(), key=lambda one: one.drop.id)
    assert (first.drop.status, other.drop.status) == ("failed", "done")
    assert "RuntimeError: no message can be made of R20=" in first.drop.reason
    assert site.cache() == site.snapshot()
    assert not site.dirty()


def test_what_quick_sites_share_outlives_a_collection_in_another_thread(dictionary: Dictionary) -> None:
    """Each leaves a connection behind; one that another thread gives back is lost, and with it what is in memory."""
    for _ in range(2):
        with folder_in_memory() as folder:
            site = Site(folder, dictionary, quick=True)
            site.save(sheet_of(1))
            site.run()
            assert len(site.drops()) == 1
        del site
        collection = Thread(target=gc.collect)
        collection.start()
        collection.join()
