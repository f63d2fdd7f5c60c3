"""The waits between connections: growing, bounded, spread, and never a storm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.backoff import USUAL_WAITS, Backoff, Waits


def lost(
    backoff: Backoff,
    logged_in_s: float | None = None,
    *,
    refused: bool = False,
    tried: bool = True,
    reached: bool = True,
    searching: bool = False,
    chance: float = 1.0,
) -> float:
    """A connection ends: the wait."""
    return backoff.wait_s(
        logged_in_s=logged_in_s, refused=refused, tried=tried, reached=reached, searching=searching, chance=chance
    )


def test_hosts_are_tried_in_order_and_the_wait_doubles_with_each_round() -> None:
    backoff = Backoff(3, USUAL_WAITS)
    tried, waits = [], []
    for _ in range(9):
        tried.append(backoff.host)
        waits.append(lost(backoff))
    assert tried == [0, 1, 2] * 3
    assert waits == [0.5, 0.5, 1, 1, 1, 2, 2, 2, 4]


def test_a_login_that_lasted_begins_anew_with_the_first_host() -> None:
    backoff = Backoff(2, USUAL_WAITS)
    for _ in range(9):
        lost(backoff)
    assert lost(backoff, USUAL_WAITS.lasting_s) == USUAL_WAITS.first_s
    assert backoff.host == 0


def test_a_host_keeps_its_turn_where_there_was_no_token_for_it() -> None:
    backoff = Backoff(2, USUAL_WAITS)
    assert [lost(backoff, tried=False) for _ in range(4)] == [0.5, 1, 1, 2]
    assert (backoff.host, backoff.all_tried) == (0, False)


def test_all_hosts_were_tried_once_each_had_its_turn_since_the_last_login() -> None:
    backoff = Backoff(2, USUAL_WAITS)
    told = []
    for logged_in_s in (None, 0.1, None, None, None):
        lost(backoff, logged_in_s)
        told.append(backoff.all_tried)
    assert told == [False, False, False, True, True]


def test_other_hosts_are_tried_from_the_first() -> None:
    backoff = Backoff(3, USUAL_WAITS)
    lost(backoff)
    backoff.begin_with(2)
    tried = []
    for _ in range(4):
        tried.append(backoff.host)
        lost(backoff)
    assert tried == [0, 1, 0, 1]


def test_a_server_that_takes_each_login_and_drops_it_sees_growing_waits() -> None:
    backoff = Backoff(1, USUAL_WAITS)
    waits = [lost(backoff, 0.1) for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_search_for_the_post_at_fault_goes_on_within_seconds() -> None:
    backoff = Backoff(1, USUAL_WAITS)
    waits = [lost(backoff, 0.1, searching=True) for _ in range(20)]
    assert waits[-1] == USUAL_WAITS.longest_unreached_s
    assert lost(backoff, 0.1) == USUAL_WAITS.longest_s


def test_an_ads_that_is_not_there_is_asked_again_within_seconds() -> None:
    backoff = Backoff(1, USUAL_WAITS)
    assert [lost(backoff, reached=False) for _ in range(6)] == [1, 2, 4, 5, 5, 5]
    assert [lost(backoff, 0.1) for _ in range(6)] == [1, 2, 4, 8, 16, 30]  # it is back, and drops each login


def test_a_host_that_drops_each_login_sees_growing_waits_beside_one_that_is_not_there() -> None:
    backoff = Backoff(2, USUAL_WAITS)
    waits = [lost(backoff, 0.1 if backoff.host else None, reached=backoff.host == 1) for _ in range(40)]
    assert waits[1::2][-1] == 30
    assert max(waits[::2]) == 2.5


def test_all_hosts_are_tried_in_the_time_of_one() -> None:
    backoff = Backoff(5, USUAL_WAITS)
    assert [lost(backoff, reached=False) for _ in range(10)][-5:] == [1.0] * 5


def test_a_refusal_for_now_waits_a_minute_and_then_minutes() -> None:
    backoff = Backoff(2, USUAL_WAITS)
    assert [lost(backoff, refused=True, chance=0.0) for _ in range(6)] == [60, 120, 240, 480, 600, 600]
    lost(backoff, 1.0)  # taken, and dropped at once
    assert lost(backoff, refused=True, chance=0.0) == 600
    lost(backoff, 100.0)
    assert lost(backoff, refused=True, chance=0.0) == 60


def test_waits_of_ones_own() -> None:
    backoff = Backoff(1, Waits(first_s=0.0))
    assert {lost(backoff) for _ in range(5000)} == {0.0}


ends = st.one_of(
    st.tuples(st.none() | st.floats(0, 1000), st.booleans(), st.just(True), st.floats(0, 1)),
    st.tuples(st.none(), st.just(False), st.just(False), st.floats(0, 1)),
)


@given(st.integers(1, 5), st.lists(ends, max_size=60))
def test_never_a_storm(hosts: int, endings: list[tuple[float | None, bool, bool, float]]) -> None:
    """However connections end, an hour sees some hundreds of logins at most, and a connection every few seconds."""
    backoff, passed_s, logins = Backoff(hosts, USUAL_WAITS), 0.0, 0
    for attempts, (logged_in_s, refused, reached, chance) in enumerate(endings, 1):
        assert 0 <= backoff.host < hosts
        wait_s = lost(backoff, logged_in_s, refused=refused, reached=reached, chance=chance)
        assert wait_s >= (60 if refused else 0.25)
        assert wait_s <= (750 if refused else 30 if reached else 5)
        passed_s += wait_s + (logged_in_s or 0.0)
        logins += reached
        assert logins <= 10 * hosts + passed_s / 7
        assert attempts <= 10 * hosts + passed_s / 2


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_waits_are_spread(chance: float) -> None:
    assert lost(Backoff(2, USUAL_WAITS), chance=chance) == 0.25 * (1 + chance)
