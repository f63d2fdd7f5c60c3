"""What a delivery decides for every answer, how often, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contrib_watch.ads.delivery import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    LOSSES_TOGETHER,
    RETRYABLE_NAKS,
    Decision,
    Delivery,
    Next,
    as_refresh,
)
from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.core.model import Action, Post, Status

SPEC_NAKS = (
    "AccessDenied",
    "DeniedBySrc",
    "GatewayDown",
    "InvalidContent",
    "NoResources",
    "NoResponse",
    "NotOpen",
    "SourceDown",
    "SourceUnknown",
    "SymbolUnknown",
)
FULL = '{"BID":1,"ASK":2}'


def update(ric: str = "A") -> Post:
    return Post(2, ric, Action.UPDATE, '{"BID":1}', FULL, "BID 0 -> 1")


def refresh(ric: str = "A") -> Post:
    return Post(2, ric, Action.REFRESH, FULL, FULL, "BID 1; ASK 2")


def attempts_of(decision: Decision) -> int:
    """How often the post has been on the wire, this time included; one that never left was no attempt."""
    return decision.post.attempts + (decision.answer.sent_s is not None)


class Desk:
    """Numbers what a delivery gives, and answers it."""

    def __init__(self, *posts: Post, retries: int = 3) -> None:
        self.delivery = Delivery(posts, retries=retries)
        self.now_s = 100.0
        self._last_id = 0

    def send(self, room: int = 100) -> list[tuple[int, Post]]:
        posts = self.delivery.take(room, self.now_s)
        post_ids = [self._last_id + number for number in range(1, len(posts) + 1)]
        self._last_id += len(posts)
        self.delivery.sent(post_ids, posts)
        return list(zip(post_ids, posts, strict=True))

    def send_one(self) -> tuple[int, Post]:
        (one,) = self.send()
        return one

    def answer(self, post_id: int, verdict: Verdict, code: str = "", *, left: bool = True) -> Decision:
        sent_s = self.now_s - 1 if left else None
        decision = self.delivery.settle(Answer(post_id, verdict, code, "text", sent_s, self.now_s))
        assert decision is not None
        return decision

    def next(self, verdict: Verdict, code: str = "", *, left: bool = True) -> Decision:
        """Send the one post that is due and answer it."""
        due_s = self.delivery.due_s()
        assert due_s is not None
        self.now_s = max(self.now_s, due_s)
        return self.answer(self.send_one()[0], verdict, code, left=left)


def test_a_refusal_of_what_never_left_says_nothing_of_an_earlier_post_without_an_answer() -> None:
    assert Desk(refresh()).next(Verdict.NAKKED, "ItemClosed", left=False).status is Status.NAKKED
    lost_before_a_stop = Desk(replace(refresh(), attempts=1))
    assert lost_before_a_stop.next(Verdict.NAKKED, "ItemClosed", left=False).status is Status.UNCONFIRMED
    for earlier, code, status in (
        (Verdict.LOST, "", Status.UNCONFIRMED),
        (Verdict.TIMEOUT, "", Status.UNCONFIRMED),
        (Verdict.NAKKED, "NoResponse", Status.UNCONFIRMED),
        (Verdict.NAKKED, "GatewayDown", Status.NAKKED),
    ):
        desk = Desk(refresh())
        assert desk.next(earlier, code).status is None
        decision = desk.next(Verdict.NAKKED, "ItemClosed", left=False)
        assert (decision.next, decision.status, attempts_of(decision)) == (Next.REFUSED, status, 1)


class TestTaking:
    def test_room_order_and_end(self) -> None:
        desk = Desk(update("A"), update("B"), update("C"))
        assert desk.delivery.due_s() == -math.inf
        assert [post.ric for _, post in desk.send(2)] == ["A", "B"]
        assert desk.delivery.take(0, 0.0) == desk.delivery.take(-5, 0.0) == []
        assert [post.ric for _, post in desk.send(2)] == ["C"]
        assert desk.delivery.due_s() is None
        assert desk.delivery.on_wire == 3
        assert not desk.delivery.done
        for post_id in (1, 2, 3):
            desk.answer(post_id, Verdict.ACKED)
        assert desk.delivery.done
        assert desk.delivery.on_wire == 0

    def test_empty_delivery_is_done(self) -> None:
        delivery = Delivery([], retries=3)
        assert delivery.done
        assert delivery.due_s() is None
        assert delivery.take(10, 0.0) == []

    def test_posts_are_drawn_only_as_they_are_taken(self) -> None:
        drawn: list[str] = []

        def lazily() -> Iterator[Post]:
            for ric in "ABCD":
                drawn.append(ric)
                yield update(ric)

        delivery = Delivery(lazily(), retries=0)
        delivery.take(2, 0.0)
        assert drawn == ["A", "B", "C"]

    def test_what_was_taken_and_not_sent_is_the_drivers(self) -> None:
        """A superseded post is taken, and ends without an answer."""
        delivery = Delivery([update()], retries=0)
        assert len(delivery.take(1, 0.0)) == 1
        assert delivery.done

    def test_answer_of_another_delivery_is_none_of_this_ones(self) -> None:
        desk = Desk(update())
        assert desk.delivery.settle(Answer(77, Verdict.ACKED, "", "", 0.0, 1.0)) is None
        post_id, _ = desk.send_one()
        desk.answer(post_id, Verdict.ACKED)
        assert desk.delivery.settle(Answer(post_id, Verdict.ACKED, "", "", 0.0, 1.0)) is None

    def test_what_goes_again_goes_before_what_is_fresh(self) -> None:
        desk = Desk(update("A"), update("B"))
        (post_id, _), *_ = desk.send(1)
        desk.answer(post_id, Verdict.LOST)
        assert [post.ric for _, post in desk.send(5)] == ["A", "B"]


class TestVerdicts:
    def test_acked(self) -> None:
        desk = Desk(update())
        decision = desk.next(Verdict.ACKED)
        assert (decision.next, decision.status) == (Next.ADVANCE, Status.ACKED)
        assert (decision.post, attempts_of(decision)) == (update(), 1)

    @pytest.mark.parametrize("code", [*sorted({*SPEC_NAKS} - RETRYABLE_NAKS), "132", "", "Unheard"])
    def test_final_nak_ends_a_refresh_at_once(self, code: str) -> None:
        desk = Desk(refresh())
        decision = desk.next(Verdict.NAKKED, code)
        assert (decision.next, decision.status) == (Next.REFUSED, Status.NAKKED)
        assert desk.delivery.done
        assert not desk.delivery.healed

    @pytest.mark.parametrize("code", sorted({*SPEC_NAKS} - RETRYABLE_NAKS - {"SymbolUnknown"}))
    def test_final_nak_ends_an_update_at_once(self, code: str) -> None:
        assert Desk(update()).next(Verdict.NAKKED, code).status is Status.NAKKED

    @pytest.mark.parametrize("code", ["GatewayDown", "NoResources", "SourceDown"])
    def test_retryable_nak_goes_again_as_it_was(self, code: str) -> None:
        desk = Desk(update(), retries=2)
        for attempt in (1, 2):
            decision = desk.next(Verdict.NAKKED, code)
            assert (decision.next, decision.status) == (Next.AGAIN, None)
            assert decision.post == replace(update(), attempts=attempt - 1)
            assert attempts_of(decision) == attempt
        decision = desk.next(Verdict.NAKKED, code)
        assert (decision.next, decision.status) == (Next.REFUSED, Status.NAKKED)
        assert attempts_of(decision) == 3
        assert desk.delivery.done

    def test_no_response_leaves_the_ric_unknown_and_goes_again_in_full(self) -> None:
        desk = Desk(update(), retries=1)
        decision = desk.next(Verdict.NAKKED, "NoResponse")
        assert (decision.next, decision.status) == (Next.AGAIN_UNKNOWN, None)
        decision = desk.next(Verdict.NAKKED, "NoResponse")
        assert (decision.post.action, decision.post.fields) == (Action.REFRESH, FULL)
        assert (decision.next, decision.status) == (Next.UNKNOWN, Status.NAKKED)

    def test_timeout_goes_again_in_full_and_ends_unconfirmed(self) -> None:
        desk = Desk(update(), retries=1)
        decision = desk.next(Verdict.TIMEOUT)
        assert (decision.next, decision.status) == (Next.AGAIN_UNKNOWN, None)
        decision = desk.next(Verdict.TIMEOUT)
        assert (decision.post.action, decision.post.fields) == (Action.REFRESH, FULL)
        assert (decision.next, decision.status) == (Next.UNKNOWN, Status.UNCONFIRMED)
        assert desk.delivery.done

    def test_without_retries_the_first_timeout_is_the_last(self) -> None:
        assert Desk(update(), retries=0).next(Verdict.TIMEOUT).status is Status.UNCONFIRMED

    def test_returned_goes_again_at_once_alone_and_in_full(self) -> None:
        desk = Desk(update(), retries=0)
        decision = desk.next(Verdict.RETURNED)
        assert (decision.next, decision.status) == (Next.AGAIN_UNKNOWN, None)
        assert desk.delivery.due_s() == -math.inf
        _, again = desk.send_one()
        assert again == replace(as_refresh(update()), alone=True, attempts=1)

    def test_returned_though_alone_is_no_endless_loop(self) -> None:
        desk = Desk(update(), retries=2)
        statuses = [desk.next(Verdict.RETURNED).status for _ in range(4)]
        assert statuses == [None, None, None, Status.UNCONFIRMED]

    def test_a_post_that_never_left_is_no_attempt_and_leaves_nothing_unknown(self) -> None:
        desk = Desk(update(), retries=0)
        for _ in range(20):
            decision = desk.next(Verdict.LOST, left=False)
            assert (decision.next, decision.status) == (Next.AGAIN, None)
        decision = desk.next(Verdict.ACKED)
        assert (decision.post, attempts_of(decision)) == (update(), 1)

    def test_too_large_was_never_an_attempt(self) -> None:
        decision = Desk(update()).next(Verdict.NAKKED, "TooLarge", left=False)
        assert (decision.next, decision.status, attempts_of(decision)) == (Next.REFUSED, Status.NAKKED, 0)


class TestHealing:
    def test_update_of_an_unknown_item_is_followed_by_one_full_refresh(self) -> None:
        desk = Desk(update(), retries=0)
        decision = desk.next(Verdict.NAKKED, "SymbolUnknown")
        assert (decision.next, decision.status) == (Next.AGAIN, None)
        assert len(desk.delivery.healed) == 1
        decision = desk.next(Verdict.ACKED)
        assert (decision.post.action, decision.post.fields) == (Action.REFRESH, FULL)
        assert "sent in full" in decision.post.note
        assert len(desk.delivery.healed) == 1

    def test_healing_happens_once(self) -> None:
        desk = Desk(update(), retries=3)
        desk.next(Verdict.NAKKED, "SymbolUnknown")
        assert desk.next(Verdict.NAKKED, "SymbolUnknown").status is Status.NAKKED
        assert desk.delivery.done

    def test_healing_counts_rics(self) -> None:
        desk = Desk(update("A"), update("B"), update("C"))
        for post_id, post in desk.send():
            desk.answer(post_id, Verdict.NAKKED, "NotOpen" if post.ric == "C" else "SymbolUnknown")
        assert len(desk.delivery.healed) == 2


class TestLosses:
    def test_lost_connections_use_up_no_retry(self) -> None:
        desk = Desk(update(), retries=1)
        for _ in range(LOSSES_TOGETHER):
            assert desk.next(Verdict.LOST).next is Next.AGAIN_UNKNOWN
        assert desk.next(Verdict.TIMEOUT).status is None
        assert desk.next(Verdict.ACKED).status is Status.ACKED

    def test_what_was_lost_goes_again_in_full_and_later_alone(self) -> None:
        desk = Desk(update())
        desk.next(Verdict.LOST)
        post_id, again = desk.send_one()
        assert again == replace(as_refresh(update()), attempts=1)
        desk.answer(post_id, Verdict.LOST)
        _, again = desk.send_one()
        assert again.alone

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_what_always_takes_the_connection_down_is_given_up(self, retries: int) -> None:
        desk = Desk(update(), retries=retries)
        decisions = [desk.next(Verdict.LOST) for _ in range(LOSSES_TOGETHER + retries + 1)]
        assert [one.status for one in decisions] == [None] * (LOSSES_TOGETHER + retries) + [Status.UNCONFIRMED]
        assert decisions[-1].next is Next.UNKNOWN
        assert decisions[-1].post.alone


class TestWaiting:
    def test_waits_grow_up_to_a_limit(self) -> None:
        desk = Desk(update(), retries=8)
        waits = []
        for _ in range(8):
            desk.next(Verdict.TIMEOUT)
            due_s = desk.delivery.due_s()
            assert due_s is not None
            waits.append(due_s - desk.now_s)
        assert waits == [min(FIRST_WAIT_S * 2**n, LONGEST_WAIT_S) for n in range(8)]

    def test_nothing_goes_before_its_time(self) -> None:
        desk = Desk(update(), retries=1)
        desk.next(Verdict.TIMEOUT)
        assert desk.delivery.due_s() == 100.0 + FIRST_WAIT_S
        desk.now_s += FIRST_WAIT_S - 0.001
        assert desk.send() == []
        assert not desk.delivery.done
        desk.now_s = 100.0 + FIRST_WAIT_S
        assert len(desk.send()) == 1
        assert desk.delivery.due_s() is None

    def test_retries_are_counted_for_each_ric(self) -> None:
        desk = Desk(update("A"), update("B"), retries=1)
        for post_id, _ in desk.send():
            assert desk.answer(post_id, Verdict.TIMEOUT).status is None
        desk.now_s += FIRST_WAIT_S
        statuses = [desk.answer(post_id, Verdict.TIMEOUT).status for post_id, _ in desk.send()]
        assert statuses == [Status.UNCONFIRMED] * 2

    def test_timeouts_and_naks_share_the_retries(self) -> None:
        desk = Desk(update(), retries=2)
        desk.next(Verdict.TIMEOUT)
        desk.next(Verdict.NAKKED, "SourceDown")
        assert desk.next(Verdict.TIMEOUT).status is Status.UNCONFIRMED

    def test_the_earliest_wait_comes_first(self) -> None:
        desk = Desk(update("A"), update("B"), retries=5)
        (first, _), (second, _) = desk.send()
        desk.answer(first, Verdict.TIMEOUT)
        desk.now_s += 0.5
        desk.answer(second, Verdict.TIMEOUT)
        assert desk.delivery.due_s() == 101.0
        desk.now_s = 200.0
        assert [post.ric for _, post in desk.send()] == ["A", "B"]


ANSWERS = st.one_of(
    st.tuples(st.just(Verdict.NAKKED), st.sampled_from((*SPEC_NAKS, "132", "")), st.just(True)),
    st.tuples(st.sampled_from(Verdict), st.just(""), st.just(True)),
    st.tuples(st.just(Verdict.LOST), st.just(""), st.just(False)),
    st.tuples(st.just(Verdict.NAKKED), st.just("TooLarge"), st.just(False)),
)


@given(
    scripts=st.lists(st.lists(ANSWERS, max_size=25), min_size=1, max_size=6),
    endlessly=st.sampled_from((Verdict.TIMEOUT, Verdict.LOST, Verdict.RETURNED, Verdict.ACKED, Verdict.NAKKED)),
    retries=st.integers(0, 4),
    room=st.integers(1, 4),
)
def test_whatever_is_answered_every_post_ends_once(
    scripts: list[list[tuple[Verdict, str, bool]]], endlessly: Verdict, retries: int, room: int
) -> None:
    """Each RIC's answers come from its script, then always the same one: the delivery ends all the same."""
    posts = {f"R{n}": (update if n % 2 else refresh)(f"R{n}") for n in range(len(scripts))}
    left = {f"R{n}": list(script) for n, script in enumerate(scripts)}
    desk = Desk(*posts.values(), retries=retries)
    ended: dict[str, Decision] = {}
    on_wire: dict[str, int] = {}
    attempts = dict.fromkeys(posts, 0)
    unsent = sum(not has_left for script in scripts for *_, has_left in script)
    most_sends = len(scripts) * (2 + LOSSES_TOGETHER + 2 * retries + 3) + unsent
    sends = 0
    while not desk.delivery.done:
        due_s = desk.delivery.due_s()
        if due_s is not None:
            desk.now_s = max(desk.now_s, due_s)
        for post_id, post in desk.send(room):
            assert post.ric not in on_wire
            assert post.ric not in ended
            assert post.full == FULL
            on_wire[post.ric] = post_id
            sends += 1
        assert sends <= most_sends
        assert desk.delivery.on_wire == len(on_wire)
        ric, post_id = on_wire.popitem()
        verdict, code, has_left = left[ric].pop(0) if left[ric] else (endlessly, "SourceDown", True)
        attempts[ric] += has_left
        decision = desk.answer(post_id, verdict, code, left=has_left)
        assert attempts_of(decision) == attempts[ric]
        assert (decision.status is None) == (decision.next in (Next.AGAIN, Next.AGAIN_UNKNOWN))
        assert (decision.status is Status.ACKED) == (verdict is Verdict.ACKED) == (decision.next is Next.ADVANCE)
        if decision.status is not None:
            ended[ric] = decision
    assert ended.keys() == posts.keys()
    assert desk.delivery.due_s() is None
