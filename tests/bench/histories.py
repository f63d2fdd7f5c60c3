"""Random histories in virtual time, by the number: what an ordinary test run plays two thousand of.

    python tests/bench/histories.py --count 100000 --processes 4
    python tests/bench/histories.py --replay 4711

Seeds are played in order, from ``--seed`` on. One whose history breaks a promise is made as small as it can be and
printed as the world that tests/pipeline/test_histories.py should keep; ``--replay`` plays one seed and lets its
failure be seen. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))

from random_histories import live
from random_worlds import World, shrunk, world_of

from contrib_watch.config import Fields, load_dictionary

DICTIONARY = load_dictionary(Fields())
REPORTED_EVERY = 1000


class Finding(NamedTuple):
    """A seed whose history breaks a promise."""

    seed: int
    world: World
    """As small as it can be."""
    failure: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="how many histories")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--findings", type=Path, help="a file that every finding is added to")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play this one, and nothing else")
    options = parser.parse_args()
    quiet()
    if options.replay is not None:
        print(world_of(options.replay))
        live(DICTIONARY, world_of(options.replay))
        return 0
    console = Console(width=110)
    begun_s, found = time.monotonic(), 0
    seeds = range(options.seed, options.seed + options.count)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=len(seeds), told="")
        for played, finding in enumerate(played_in_order(seeds, options.processes), start=1):
            rate = played / (time.monotonic() - begun_s)
            told = f"{rate:.1f}/s, {found} found"
            progress.update(task, advance=1, told=told)
            if played % REPORTED_EVERY == 0 and not console.is_terminal:
                console.print(f"{played:,} of {len(seeds):,}: {told}")
            if finding is not None:
                found += 1
                report(console, finding, options.findings)
    took_s = time.monotonic() - begun_s
    played_at = f"in {took_s:,.0f} s, {len(seeds) / took_s:.1f} a second in {options.processes} processes"
    console.print(f"{len(seeds):,} histories from seed {options.seed} on, {played_at}: {found} broke a promise")
    return 1 if found else 0


def quiet() -> None:
    """In each process: no log lines, and no looking for garbage among what stays."""
    untold = [lambda _logger, _method, told: told["event"]]  # to put a line together costs more than many a step
    structlog.configure(processors=untold, logger_factory=structlog.ReturnLoggerFactory())
    gc.freeze()
    gc.set_threshold(50_000)


def played_in_order(seeds: range, processes: int) -> Iterator[Finding | None]:
    """What each seed found."""
    if processes == 1:
        yield from map(play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, quiet) as pool:
        yield from pool.imap(play, seeds, chunksize=10)


def play(seed: int) -> Finding | None:
    failure = broken(world_of(seed))
    if failure is None:
        return None
    return Finding(seed, shrunk(world_of(seed), lambda world: broken(world) is not None), failure)


def broken(world: World) -> str | None:
    """The failure of a history that breaks a promise."""
    try:
        live(DICTIONARY, world)
    except Exception:  # noqa: BLE001 - whatever a history ends with is what is looked for
        return traceback.format_exc()
    return None


def report(console: Console, finding: Finding, path: Path | None) -> None:
    text = f"seed {finding.seed}\n{finding.failure}\n{finding.world!r}\n"
    console.print(text, markup=False, highlight=False)
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
