"""What a session puts on the wire and when, rule by rule; all rules together: test_joined."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sessions import LOGIN_OK, ack, error, ids, login_ok, opened, outgoing, posts, verdicts

from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.ads.messages import MAX_CONVERTED_BYTES
from contrib_watch.ads.session import (
    DEFAULT_PING_TIMEOUT_S,
    RATE_BURST_S,
    Phase,
)


class TestFlow:
    def test_window_bounds_what_is_unanswered(self) -> None:
        session = opened(window=3)
        session.post(posts(1, 2, 3, 4, 5), 0.0)
        assert ids(session.output()) == [[1], [2], [3]]
        session.receive(ack(2), 1.0)
        assert ids(session.output()) == [[4]]
        session.receive(ack(1, nak="DeniedBySrc"), 1.0)
        assert ids(session.output()) == [[5]]
        assert sorted(session._outstanding) == [3, 4, 5]

    def test_expired_post_frees_its_place(self) -> None:
        session = opened(window=1, ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.output()
        session.tick(5.0)
        session.post(posts(3), 5.0)
        assert ids(session.output()) == [[3]]
        assert verdicts(session) == {1: Verdict.TIMEOUT, 2: Verdict.LOST}

    def test_what_is_to_go_apart_shares_no_frame_and_keeps_the_others_flowing(self) -> None:
        session = opened(pack=10)
        session.post([*posts(1, 2), replace(outgoing(3), apart=True), *posts(4, 5)], 0.0)
        sent = [json.loads(frame) for frame in session.output()]
        assert [[one["PostID"] for one in ([said] if isinstance(said, dict) else said)] for said in sent] == [
            [1, 2], [3], [4, 5]
        ]  # fmt: skip

    def test_pack_fills_frames_up_to_the_window(self) -> None:
        session = opened(window=5, pack=3)
        session.post(posts(*range(1, 8)), 0.0)
        assert ids(session.output()) == [[1, 2, 3], [4, 5]]
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[6]]

    def test_single_post_goes_without_an_array(self) -> None:
        session = opened(pack=10)
        session.post(posts(1), 0.0)
        assert session.output() == [outgoing(1).text]

    @given(
        sizes=st.lists(st.integers(0, 900), min_size=1, max_size=12),
        most_bytes=st.integers(300, 1500),
        non_ascii=st.booleans(),
    )
    def test_no_frame_is_above_max_msg_size(self, sizes: list[int], most_bytes: int, non_ascii: bool) -> None:
        session = opened(login=login_ok(max_msg_size=most_bytes), pack=5)
        letter = "é" if non_ascii else "e"
        made = [outgoing(n, fields=f'{{"DSPLY_NAME":"{letter * size}"}}') for n, size in enumerate(sizes, 1)]
        session.post(made, 0.0)
        frames = session.output()
        assert all(len(frame.encode()) <= most_bytes for frame in frames)
        too_large = {post.post_id for post in made if len(post.text.encode()) > most_bytes}
        refused = session.answers()
        assert {answer.post_id for answer in refused} == too_large
        for answer in refused:
            assert (answer.verdict, answer.code, answer.sent_s) == (Verdict.NAKKED, "TooLarge", None)
            assert f"the server takes {most_bytes}" in answer.text
        assert sorted(itertools.chain(*ids(frames))) == [n for n in range(1, len(sizes) + 1) if n not in too_large]

    def test_post_of_exactly_max_msg_size_goes(self) -> None:
        size = len(outgoing(1).text)
        session = opened(login=login_ok(max_msg_size=size), pack=5)
        session.post(posts(1, 2), 0.0)
        assert ids(session.output()) == [[1], [2]]
        session = opened(login=login_ok(max_msg_size=size - 1))
        session.post(posts(1), 0.0)
        assert session.output() == []
        assert verdicts(session) == {1: Verdict.NAKKED}

    def test_converter_limit_holds_where_the_server_takes_more(self) -> None:
        session = opened(login=login_ok(max_msg_size=1000000))
        session.post([outgoing(1, fields='{"DSPLY_NAME":"' + "x" * MAX_CONVERTED_BYTES + '"}')], 0.0)
        assert session.output() == []
        (answer,) = session.answers()
        assert str(MAX_CONVERTED_BYTES) in answer.text

    def test_too_large_post_is_refused_without_waiting_for_room(self) -> None:
        session = opened(login=login_ok(max_msg_size=400), window=1)
        session.post([*posts(1), outgoing(2, fields='{"DSPLY_NAME":"' + "x" * 400 + '"}')], 0.0)
        session.receive(ack(1), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED}


class TestAlone:
    def test_nothing_else_is_outstanding_before_with_or_after(self) -> None:
        session = opened(pack=10)
        session.post([*posts(1, 2), outgoing(3, alone=True), *posts(4, 5)], 0.0)
        assert not session.searching
        assert ids(session.output()) == [[1, 2]]
        session.receive(ack(1), 1.0)
        assert session.output() == []
        session.receive(ack(2), 1.0)
        assert ids(session.output()) == [[3]]
        session.receive(ack(3), 2.0)
        assert ids(session.output()) == [[4, 5]]

    def test_several_go_one_after_the_other(self) -> None:
        session = opened(pack=10)
        session.post([outgoing(n, alone=True) for n in (1, 2)], 0.0)
        assert session.searching
        assert ids(session.output()) == [[1]]
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[2]]

    def test_too_large_post_before_it_opens_no_gap(self) -> None:
        session = opened(login=login_ok(max_msg_size=400))
        large = outgoing(2, fields='{"DSPLY_NAME":"' + "x" * 400 + '"}')
        session.post([*posts(1), large, outgoing(3, alone=True)], 0.0)
        assert ids(session.output()) == [[1]]
        assert verdicts(session) == {2: Verdict.NAKKED}

    def test_error_that_names_no_post_is_its_own(self) -> None:
        session = opened()
        session.post([outgoing(1, alone=True), *posts(2)], 0.0)
        session.output()
        session.receive(error(), 1.0)
        (answer,) = session.answers()
        assert answer == Answer(1, Verdict.NAKKED, "", "JSON Unexpected FID", 0.0, 1.0)
        assert ids(session.output()) == [[2]]


class TestStall:
    """What a fast server's window would have taken soon, and one that answers nothing would take for hours."""

    def test_what_has_not_left_comes_back_from_a_server_that_answers_nothing(self) -> None:
        session = opened(window=2, ack_timeout_s=15.0)
        session.post(posts(*range(1, 7)), 0.0)
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[1], [2], [3]]
        assert verdicts(session) == {1: Verdict.ACKED}
        session.tick(15.0)  # of the second, which may be lost alone: the first was answered since
        assert verdicts(session) == {2: Verdict.TIMEOUT}
        assert ids(session.output()) == [[4]]
        session.tick(16.0)
        answers = {answer.post_id: answer for answer in session.answers()}
        assert {key: (one.verdict, one.sent_s) for key, one in answers.items()} == {
            3: (Verdict.TIMEOUT, 1.0),
            5: (Verdict.LOST, None),
            6: (Verdict.LOST, None),
        }
        assert answers[5].text == "not sent: the server answers no posts"
        session.receive(ack(4), 17.0)
        session.post(posts(7), 17.0)
        assert ids(session.output()) == [[7]]

    def test_what_is_recalled_comes_back_unsent_and_what_is_on_the_wire_stays(self) -> None:
        session = opened(window=1)
        on_stream = replace(outgoing(3), service="NIPROV", ric="R3")  # waits for its item's stream
        session.post([*posts(1, 2), on_stream], 0.0)
        session.recall(posts(4), 1.0)
        answers = {answer.post_id: answer for answer in session.answers()}
        assert {key: (one.verdict, one.sent_s, one.text) for key, one in answers.items()} == {
            2: (Verdict.LOST, None, "not sent: recalled"),
            3: (Verdict.LOST, None, "not sent: recalled"),
            4: (Verdict.LOST, None, "not sent: recalled"),
        }
        session.receive(ack(1), 2.0)
        assert verdicts(session) == {1: Verdict.ACKED}
        session.post(posts(5), 2.0)
        assert [5] in ids(frame for frame in session.output() if "PostID" in frame)


@given(
    rate=st.floats(0.5, 20_000) | st.integers(1, 2_000),
    start_s=st.floats(0, 1e7),
    count=st.integers(1, 120),
    pack=st.integers(1, 20),
)
def test_rate_limit_is_a_token_bucket(rate: float, start_s: float, count: int, pack: int) -> None:
    """Never more than rate x time + burst; and who sleeps exactly until due_s is done when the bucket allows it."""
    session = opened(start_s, rate_limit=rate, pack=pack, window=1000, ack_timeout_s=1e6)
    sent_s: list[float] = []
    now_s, ticks = start_s, 0
    session.post(posts(*range(1, count + 1)), now_s)
    while True:
        for frame in ids(session.output()):
            sent_s += [now_s] * len(frame)
            for post_id in frame:
                session.receive(ack(post_id), now_s)
        if len(sent_s) == count:
            break
        due_s = session.due_s
        assert due_s is not None
        assert due_s > now_s
        now_s, ticks = due_s, ticks + 1
        if now_s - start_s < DEFAULT_PING_TIMEOUT_S:
            session.tick(now_s)
        else:
            session.receive("[]", now_s)
        assert session.phase is Phase.OPEN
    burst = rate * RATE_BURST_S + 1
    rounding_s = count * start_s * 4e-16 + 1e-9
    for first, last in itertools.combinations(range(count), 2):
        assert last - first + 1 <= rate * (sent_s[last] - sent_s[first] + rounding_s) + burst + 1e-6
    assert ticks <= count
    expected_s = max(0.0, (count - burst) / rate)
    assert now_s - start_s <= expected_s + 1 / rate + rounding_s


def test_rate_limit_goes_on_over_a_reconnect() -> None:
    session = opened(rate_limit=10, window=100)
    session.post(posts(1, 2, 3), 0.0)
    assert len(session.output()) == 2
    session.disconnected(0.0, "gone")
    session.connected(0.0)
    session.receive(LOGIN_OK, 0.0)
    session.output()
    session.post(posts(4), 0.0)
    assert session.output() == []
    assert session.due_s == pytest.approx(0.1)


def test_no_rate_limit_sends_all_at_once() -> None:
    session = opened(rate_limit=0, window=1000)
    session.post(posts(*range(1, 501)), 0.0)
    assert len(session.output()) == 500
