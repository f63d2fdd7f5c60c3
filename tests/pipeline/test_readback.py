"""Single steps of a read-back and of a repair, driven by hand."""

from __future__ import annotations

import json
import random

import pytest
from virtual_site import SERVICE, Site, many

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer, Seen
from contrib_watch.pipeline.presence import Presence
from contrib_watch.pipeline.readback import ReadBack
from contrib_watch.pipeline.repair import Repair, nobody
from contrib_watch.store.repairs import Repairs


def test_the_sample_is_drawn_by_the_dice_that_are_given(site: Site) -> None:
    site.save(many(200))
    site.run()

    def sampled(seed: int) -> list[str]:
        with site.desk() as desk:
            presence = Presence(desk, random.Random(seed), lambda _: Breaker(), nobody)
            presence.logged_in()
            (request,) = presence.requests()
            return list(request.names)

    assert len(sampled(1)) == 50
    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


@pytest.mark.parametrize(("claimed", "free_in_sample"), [(0, 50), (20, 30), (100, 25), (190, 10), (200, 0)])
def test_half_of_a_sample_is_of_rics_to_which_no_drop_is_posting(
    site: Site, claimed: int, free_in_sample: int
) -> None:
    """As far as there are as many: the others may have to wait long."""
    theirs = {f"R{number:04}=" for number in range(claimed)}
    site.save(many(200))
    site.run()
    with site.desk() as desk:
        presence = Presence(desk, random.Random(1), lambda _: Breaker(), lambda _, ric: ric in theirs)
        presence.logged_in()
        asked = [ric for request in presence.requests() for ric in request.names]
        assert len(asked) == len(set(asked)) == free_in_sample
        theirs.clear()
        asked += [ric for request in presence.requests() for ric in request.names]
        assert len(asked) == len(set(asked)) == 50


def test_a_repair_never_sends_what_a_drop_has_replaced(site: Site) -> None:
    """The values are looked at when a post is taken for sending, not when the miss was found."""
    site.save(many(2))
    site.run()
    with site.desk() as desk:
        repair = Repair(desk, SERVICE, {"R0000=": "missing", "R0001=": "missing"})
        assert repair.planned == 2
    site.save(many(2, "R0000=,7,8"))
    site.run()
    with site.desk() as desk:
        repair._desk = desk
        repair._repairs = Repairs(desk.state)
        form = PostFormat(service=SERVICE, address="127.0.0.1", user_id=1)
        sent = repair.take(10, form)
        assert [json.loads(one.text)["Key"]["Name"] for one in sent] == ["R0001="]
        assert repair.ended == {}


def test_an_item_is_asked_for_again_where_the_snapshot_has_moved_on_meanwhile(site: Site) -> None:
    site.save(many(1))
    site.run()
    with site.desk() as desk:
        read = ReadBack(desk, SERVICE, ["R0000="])
        assert read.ask() is not None
    site.save(many(1, "R0000=,7,8"))
    site.run()
    with site.desk() as desk:
        read._desk, read._repairs = desk, Repairs(desk.state)
        old = {"BID": "0.5", "ASK": "0"}
        read.hear([ItemAnswer(SERVICE, "R0000=", Seen.FIELDS, old)])
        assert (read.done, read.findings) == (False, [])
        assert read.ask() is not None
        read.hear([ItemAnswer(SERVICE, "R0000=", Seen.FIELDS, {"BID": "7", "ASK": "8.0"})])
        assert (read.done, read.findings, read.same) == (True, [], 1)


def test_two_answers_at_once_are_one_item(site: Site) -> None:
    site.save(many(1))
    site.run()
    with site.desk() as desk:
        read = ReadBack(desk, SERVICE, ["R0000="])
        assert read.ask() is not None
        answer = ItemAnswer(SERVICE, "R0000=", Seen.FIELDS, {"BID": "0.5", "ASK": "0"})
        read.hear([answer, answer])  # a drop that is verified had asked for it, too
        assert (read.done, read.findings, read.same) == (True, [], 1)
