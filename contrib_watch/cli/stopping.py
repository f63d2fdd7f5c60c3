"""What a signal does: the first stops in good order, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger()


class Stopping:
    """Whether a run is to stop, and who has to know; for any thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._calls: list[Callable[[], object]] = []

    def set(self) -> None:
        """Stop in good order."""
        self._asked.set()
        for call in tuple(self._calls):
            call()

    def is_set(self) -> bool:
        """The run is to stop."""
        return self._asked.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the run is to stop; False: it is not yet."""
        return self._asked.wait(timeout_s)

    def when_asked(self, call: Callable[[], object]) -> None:
        """Call this, from another thread, when the run is to stop; at once where it is already."""
        self._calls.append(call)
        if self.is_set():
            call()


def _terminations() -> Iterator[int]:
    """SIGTERM, and SIGHUP where there is such a signal and nohup does not ask to survive it."""
    yield signal.SIGTERM
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        yield hangup


@contextmanager
def signals(stop_all: Callable[[], object]) -> Iterator[None]:
    """SIGTERM, Ctrl-C and a terminal that is closed stop in good order; a second of the former stops at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:  # a terminal that is closed may say so twice
            signal.signal(each, _leave if each in (signal.SIGINT, signal.SIGTERM) else signal.SIG_IGN)
        log.info("stopping; once more stops at once", signal=signal.Signals(number).name)
        # In a thread of its own, because the loop's locks may be held by the very code that was interrupted.
        threading.Thread(target=stop_all, name="stop").start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, *_terminations())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does: whoever holds a connection logs out.

    An ADS that is left without a logout may refuse the next login for minutes.
    """
    before = {number: signal.signal(number, signal.default_int_handler) for number in _terminations()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    """End at once: what is recorded is on the disk already, and the next start goes on from there."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h")  # a progress bar has hidden the cursor
    os._exit(128 + number)  # what shells make of an end by this signal
