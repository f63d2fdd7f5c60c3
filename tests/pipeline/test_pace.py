"""How far the connection is handed posts ahead of their answers."""

from __future__ import annotations

from contrib_watch.pipeline.pace import AHEAD_S, TURN_S, Pace


def test_two_windows_are_handed_over_at_first() -> None:
    pace = Pace(window=10, rate_limit=0)
    assert pace.room(0.0) == 20
    pace.hand_over(20, 0.0)
    assert (pace.room(0.0), pace.due_s) == (0, None)
    pace.answered(5, 0.0)
    assert (pace.handed, pace.room(0.0)) == (15, 5)


def test_what_is_answered_quickly_is_handed_over_in_larger_turns_for_a_while() -> None:
    pace = Pace(window=10, rate_limit=0)
    for turn in range(10):
        pace.hand_over(20, turn * TURN_S / 10)
        pace.answered(20, turn * TURN_S / 10)
    assert pace.room(TURN_S) == 200
    pace.hand_over(200, TURN_S)
    assert (pace.room(TURN_S), pace.due_s) == (0, None)
    pace.answered(1, 3 * TURN_S)  # a server that has become slow
    assert (pace.handed, pace.room(3 * TURN_S)) == (199, 0)
    pace.answered(199, 5 * TURN_S)
    pace.answered(0, 7 * TURN_S)
    assert pace.room(7 * TURN_S) == 20


def test_what_comes_back_unsent_makes_no_room_for_more_than_before() -> None:
    pace = Pace(window=10, rate_limit=0)
    pace.hand_over(100, 0.0)
    pace.answered(100, 1.0, unsent=95)
    assert (pace.handed, pace.room(1.0)) == (0, 20)


def test_a_rate_limit_is_paid_for_ahead() -> None:
    pace = Pace(window=1000, rate_limit=100)
    assert pace.room(0.0) == 1 + AHEAD_S * 100
    pace.hand_over(51, 0.0)
    assert pace.room(0.0) == 0
    due_s = pace.due_s
    assert due_s is not None
    assert pace.room(due_s - 0.001) == 0
    assert pace.room(due_s) == 1


def test_what_comes_back_unsent_is_not_paid_for() -> None:
    pace = Pace(window=1000, rate_limit=100)
    pace.hand_over(51, 0.0)
    pace.answered(41, 0.0, unsent=41)
    assert pace.room(0.0) == 41
