"""Where the time of a run goes: the program, with its stages timed from outside.

    python tests/bench/stages.py run --once --config config.toml

Prints the seconds of each stage, on the clock and of its thread's processor time, without those of the stages within
it. Stages in several threads overlap, so that the sum on the clock may be more than the whole.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

START_CPU_S = time.process_time()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from contrib_watch.adapters import report_files  # noqa: E402
from contrib_watch.adapters.connection import Connection  # noqa: E402
from contrib_watch.adapters.folder import spool  # noqa: E402
from contrib_watch.adapters.sheets.reader import Reader  # noqa: E402
from contrib_watch.cli import main, running  # noqa: E402
from contrib_watch.core import posts  # noqa: E402
from contrib_watch.pipeline import desk, inspection, job, posting, publishing  # noqa: E402
from contrib_watch.store import Drops, Ledger, State  # noqa: E402

STAGES = {
    "open the state": (State, "open"),
    "copy the file": (spool, "keep"),
    "read the file (in its own process)": (Reader, "_read"),
    "wait until it is read": (Reader, "read_cells"),
    "type the cells": (desk, "read_quotes"),
    "bring all that the feed owns": (Ledger, "whole"),
    "look up what the snapshot has of it": (Ledger, "held"),
    "compare the two": (inspection, "unchanged"),
    "read the snapshot": (Ledger, "snapshot"),
    "diff": (inspection, "diff"),
    "second reading": (inspection, "second_look"),
    "plan posts": (posts, "plan"),
    "record in flight": (Ledger, "in_flight"),
    "make post texts": (posting, "outgoing"),
    "hand posts to the session": (Connection, "_hand_over"),
    "send frames": (Connection, "_send"),
    "receive Acks": (Connection, "_receive"),
    "wait for Acks": (Connection, "collect"),
    "decide on Acks": (job.Job, "settle"),
    "write and commit a turn": (Ledger, "write"),
    "advance the snapshot": (Ledger, "landed"),
    "record outcomes": (Ledger, "record"),
    "read outcomes back": (Ledger, "outcomes"),
    "build the report": (publishing, "build_report"),
    "seal the record": (Drops, "finish"),
    "make the CSV": (report_files, "_csv_lines"),
    "write the CSV and the page": (report_files, "_publish"),
    "make the page": (report_files, "page"),
    "all else of the run": (running, "run_feeds"),
}


class Stopwatch:
    """Sums up, for each stage, what its calls took without the stages within them."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._within = threading.local()
        self._lock = threading.Lock()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            stack = self._within.__dict__.setdefault("stack", [])
            stack.append([0.0, 0.0])
            before = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                took = time.perf_counter() - before[0], time.thread_time() - before[1]
                inner = stack.pop()
                if stack:
                    stack[-1] = [spent + one for spent, one in zip(stack[-1], took, strict=True)]
                with self._lock:
                    spent = self.spent.setdefault(stage, [0.0, 0.0, 0])
                    spent[0] += took[0] - inner[0]
                    spent[1] += took[1] - inner[1]
                    spent[2] += 1

        return call


def run() -> None:
    watch = Stopwatch()
    for stage, (owner, name) in STAGES.items():
        found = owner.__dict__[name]
        inner = found.__func__ if isinstance(found, classmethod) else found
        timed = watch.timed(stage, inner)
        setattr(owner, name, classmethod(timed) if isinstance(found, classmethod) else timed)
    imports_s, start_s = time.process_time(), time.perf_counter()
    try:
        main(sys.argv[1:])
    finally:
        table = Table("stage", "clock s", "processor s", "calls")
        table.add_row("import the program", "", f"{imports_s - START_CPU_S:.3f}", "")
        for stage in STAGES:
            if stage in watch.spent:
                clock_s, cpu_s, calls = watch.spent[stage]
                table.add_row(stage, f"{clock_s:.3f}", f"{cpu_s:.3f}", str(calls))
        clock_s, cpu_s = time.perf_counter() - start_s, time.process_time() - imports_s
        table.add_row("all, imports aside", f"{clock_s:.3f}", f"{cpu_s:.3f}")
        Console(stderr=True).print(table)


if __name__ == "__main__":
    run()
