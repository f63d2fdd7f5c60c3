"""What is written beside the thread that decides: in order, before anything else is asked, and never half known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from contrib_watch.errors import StateError
from contrib_watch.pipeline.aside import at_once, in_thread
from contrib_watch.store import State, Writing

DEADLINE_S = 30.0


class Gate:
    """An aside whose work, each in a thread of its own, begins when it is let."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, work: Callable[[], None], /) -> Future[None]:
        def gated() -> None:
            assert self.opened.wait(DEADLINE_S)
            work()

        return in_thread(gated)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(url=f"sqlite:///{tmp_path}/state.db", folder=tmp_path, target="prod")


def test_whatever_asks_the_state_waits_for_what_is_being_written(state: State) -> None:
    gate = Gate()
    writing = Writing(gate)
    with state, state.written_aside(writing):
        writing.begin(lambda: state.put("key", "new"))
        assert writing.busy
        threading.Timer(0.01, gate.opened.set).start()
        assert state.get("key") == "new"
        assert not writing.busy


def test_what_is_written_aside_is_one_transaction_of_its_thread(state: State) -> None:
    """The writer's transaction is none that another thread could be a part of, nor is another's the writer's."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with state.transaction():
            state.put("one", "1")
            begun.set()
            assert go_on.wait(DEADLINE_S)
            state.put("two", "2")
            raise ValueError("undone")

    def turn() -> None:
        writing = Writing(in_thread)
        with state.written_aside(writing):
            writing.begin(work)
            assert begun.wait(DEADLINE_S)
            threading.Timer(0.01, go_on.set).start()
            with pytest.raises(ValueError, match="undone"):
                state.put("three", "3")

    with state:
        with pytest.raises(ValueError, match="undone"):
            turn()
        assert [state.get(key) for key in ("one", "two", "three")] == [None, None, None]


@pytest.mark.parametrize("aside", [at_once, in_thread])
def test_pieces_are_written_one_after_the_other(state: State, aside: Callable[..., Future[None]]) -> None:
    writing = Writing(aside)
    with state, state.written_aside(writing):
        for number in range(50):

            def work(number: int = number) -> None:
                assert int(state.get("number") or 0) == number
                state.put("number", str(number + 1))

            writing.begin(work)
        assert state.get("number") == "50"


def full() -> None:
    raise StateError("the disk is full")


def test_after_a_failure_the_state_is_of_no_use_to_anybody_before_the_end(state: State) -> None:
    gate = Gate()

    def turn() -> None:
        writing = Writing(gate)
        with state.written_aside(writing):
            writing.begin(full)
            gate.opened.set()
            for _ in range(2):
                with pytest.raises(StateError, match="disk is full"):
                    state.get("key")
            with pytest.raises(StateError, match="disk is full"):
                writing.begin(lambda: state.put("key", "late"))

    with state:
        with pytest.raises(StateError, match="disk is full"):
            turn()
        assert state.get("key") is None


def test_an_error_of_the_one_who_decides_leaves_nothing_half_written(state: State) -> None:
    gate = Gate()
    writing = Writing(gate)

    def turn() -> None:
        with state.written_aside(writing):
            writing.begin(lambda: state.put("key", "written"))
            threading.Timer(0.01, gate.opened.set).start()
            raise KeyError

    with state:
        with pytest.raises(KeyError):
            turn()
        assert not writing.busy
        assert state.get("key") == "written"


def test_a_failure_is_not_lost_behind_another_error(state: State) -> None:
    gate = Gate()

    def turn() -> None:
        writing = Writing(gate)
        with state.written_aside(writing):
            writing.begin(full)
            threading.Timer(0.01, gate.opened.set).start()
            raise KeyError("connection")

    with state, pytest.raises(StateError, match="disk is full") as caught:
        turn()
    assert isinstance(caught.value.__context__, KeyError)


def test_what_fails_at_once_is_told_at_once() -> None:
    with pytest.raises(StateError, match="disk is full"):
        Writing(at_once).begin(full)
