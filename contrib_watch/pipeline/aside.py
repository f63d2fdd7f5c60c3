"""Work that may take long, beside the run loop: reading a file, writing to a share.

Such work touches neither the state nor the loop's own data. A procedure that needs some of it is written as a
generator, :data:`Steps`: it yields each piece of work and goes on with what came of it, and all of its own code runs
in the loop's thread. Where it has something to do beside a piece of work, it yields that as :class:`Begun`, is sent
a Future at once, and yields the Future later to wait for it. Work may wait for what was begun before it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from contrib_watch.core.columns import Each

T = TypeVar("T")

_MANY_ROWS = 5_000
"""From so many on, it pays to start threads for the parts of a table."""


@dataclass(frozen=True, slots=True)
class Begun(Generic[T]):
    """Work that is to be begun, and not waited for."""

    work: Callable[[], T]


Steps = Generator[Callable[[], Any] | Begun[Any] | Future[Any], Any, T]
"""A procedure: yields work, is sent its result or thrown its exception, and returns a T."""


class Aside(Protocol):
    """Does a piece of work, now or in a while."""

    def __call__(self, work: Callable[[], T], /) -> Future[T]:
        """What will come of the work."""
        ...


def at_once(work: Callable[[], T], /) -> Future[T]:
    """Do the work here and now."""
    future: Future[T] = Future()
    _fulfil(future, work)
    return future


def in_thread(work: Callable[[], T], /) -> Future[T]:
    """Do the work in a thread of its own, which dies with the process where it hangs."""
    future: Future[T] = Future()
    threading.Thread(target=_fulfil, args=(future, work), name="aside", daemon=True).start()
    return future


def _fulfil(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
        future.set_exception(error)


@contextmanager
def side_by_side(rows: int) -> Iterator[Each]:
    """A way to call a function with each of several columns or parts of a table of so many rows.

    Where they are many, that is done in as many threads as there are processors: Arrow lets go of Python's lock.
    """
    if rows < _MANY_ROWS:
        yield map
        return
    with ThreadPoolExecutor(os.cpu_count(), "side by side") as pool:
        yield pool.map


class Procedure(Generic[T]):
    """Steps on their way."""

    def __init__(self, steps: Steps[T], aside: Aside, on_progress: Callable[[], object] = lambda: None) -> None:
        """``on_progress`` is called, from any thread, when :meth:`advance` can go on."""
        self._steps = steps
        self._aside = aside
        self._on_progress = on_progress
        self._work: Future[Any] | None = None
        self._result: Future[T] = Future()

    def advance(self) -> bool:
        """Go on as far as that is possible without waiting; True once it is over."""
        while not self._result.done() and (self._work is None or self._work.done()):
            try:
                work = self._next()
            except StopIteration as end:
                self._result.set_result(end.value)
            except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
                self._result.set_exception(error)
            else:
                self._work = self._under_way(work)
                if not self._work.done():  # or else it is gone on with here and now
                    self._work.add_done_callback(lambda _: self._on_progress())
        return self._result.done()

    def give_up(self, error: Exception) -> Future[Any]:
        """Do not wait any longer for the work in hand: to the steps it has failed with this error.

        Returns what may still come of it. Only while :meth:`advance` says that it is not over.
        """
        abandoned, self._work = self._work, Future()
        self._work.set_exception(error)
        if abandoned is None:
            raise RuntimeError("no work is in hand")
        return abandoned

    def result(self) -> T:
        """What the steps returned, or raised; only once it is over."""
        return self._result.result(timeout=0)

    def _under_way(self, work: Callable[[], Any] | Begun[Any] | Future[Any]) -> Future[Any]:
        """What the steps wait for."""
        if isinstance(work, Future):
            return work
        if isinstance(work, Begun):
            return at_once(partial(self._aside, work.work))
        return self._aside(work)

    def _next(self) -> Callable[[], Any] | Begun[Any] | Future[Any]:
        if self._work is None:
            return next(self._steps)
        error = self._work.exception()
        if error is not None:
            return self._steps.throw(error)
        return self._steps.send(self._work.result())


def done_at_once(steps: Steps[T]) -> T:
    """Go through all of the steps here and now."""
    procedure = Procedure(steps, at_once)
    procedure.advance()
    return procedure.result()
