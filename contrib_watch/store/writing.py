"""Writing to a state beside the thread that decides what is written.

A database's steps and its waiting for the disk need no Python, so that whoever decides can go on meanwhile. Whatever
else wants the state waits until that is written, and gets the error that it ended with: nothing is decided by a
record that is older than what was said before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future


class _InThisThread(threading.local):
    writes = False


class Writing:
    """Pieces of work with a state, one after the other, for one thread that hands them over."""

    def __init__(self, aside: Callable[[Callable[[], None]], Future[None]]) -> None:
        """``aside`` does a piece of work, now or in a while."""
        self._aside = aside
        self._last: Future[None] | None = None
        self._in_this_thread = _InThisThread()

    @property
    def busy(self) -> bool:
        """Something is being written: whoever asks the state now has to wait."""
        return self._last is not None and not self._last.done()

    def begin(self, work: Callable[[], object]) -> None:
        """Do some work with the state, once all earlier work is done; raises what any of it ended with so far."""
        self.wait()

        def marked() -> None:
            self._in_this_thread.writes = True
            try:
                work()
            finally:
                self._in_this_thread.writes = False

        self._last = self._aside(marked)
        if self._last.done():
            self._last.result()

    def wait(self) -> None:
        """Until all is written; raises what the last piece of work ended with, whenever it is asked."""
        if self._last is not None and not self._in_this_thread.writes:
            self._last.result()
