"""Times and peak memory of the product beside the loop that every example teaches, and the limit of the wire.

    python tests/bench --rows 1000 10000 100000

Everything is measured side by side in one run against the same server; only the ratios mean something, because the
machines are shared. ``first`` is a first load, ``1 %`` a file in which one row in a hundred has another value,
``same`` the file again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
FIELDS = ("BID", "ASK", "TRDPRC_1", "HIGH_1", "LOW_1", "OPEN_PRC", "HST_CLOSE", "YIELD", "NETCHNG_1", "PCTCHNG")
CONFIG = """
[ads]
hosts = ["127.0.0.1:{port}"]
user = "bench"
rate_limit = 0
window = 4000
pack = 1
presence_sample = 0
[log]
level = "error"
[[feeds]]
name = "f"
folder = "inbox"
service = "S"
settle_seconds = 0
"""


class Measured(NamedTuple):
    """One run of a command."""

    seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--packed", action="store_true", help="the server packs its Acks")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="the server's delay before an Ack")
    arguments = parser.parse_args()
    table = Table("rows", "what", "product s", "loop s", "wire s", "loop / product", "wire / product", "product MB")
    for rows in arguments.rows:
        measured: dict[str, list[list[Measured]]] = {}
        for _ in range(arguments.repeat):
            with server(packed=arguments.packed, delay_ms=arguments.delay_ms) as port, folder() as work:
                for what, sides in once(work, rows, port).items():
                    measured.setdefault(what, []).append(sides)
        for what, runs in measured.items():
            product, loop, *wire = (median(side) for side in zip(*runs, strict=True))
            limit = wire[0].seconds if wire else float("nan")
            cells = (product.seconds, loop.seconds, limit, loop.seconds / product.seconds, limit / product.seconds)
            table.add_row(f"{rows:,}", what, *(f"{cell:.2f}" for cell in cells), f"{product.peak_mb:.0f}")
    Console(width=120).print(table)


def once(work: Path, rows: int, port: int) -> dict[str, list[Measured]]:
    """Each case for the product, the loop, and (a first load) the wire, one after the other."""
    first, changed = files(work, rows)
    (work / "inbox").mkdir()
    (work / "config.toml").write_text(CONFIG.format(port=port))
    drop = work / "inbox" / "prices.csv"
    product = [Path(sys.executable).with_name("contrib-watch"), "run", "--once", "--config", work / "config.toml"]
    loop = [sys.executable, HERE / "seed_loop.py", str(port)]
    found = {}
    for what, file in (("first", first), ("1 %", changed), ("same", changed)):
        shutil.copyfile(file, drop)
        os.utime(drop)
        sides = [run(product), run([*loop, file, work / "sent.csv"])]
        if what == "first":
            wire = subprocess.run(
                [sys.executable, HERE / "wire_limit.py", str(port), file], check=True, capture_output=True, text=True
            )
            sides.append(Measured(float(wire.stdout), 0.0))
        found[what] = sides
    return found


def run(command: Sequence[object]) -> Measured:
    """Run a command to its end: wall time and peak memory, its own start included."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def median(runs: Sequence[Measured]) -> Measured:
    return Measured(statistics.median(one.seconds for one in runs), max(one.peak_mb for one in runs))


def files(work: Path, rows: int) -> tuple[Path, Path]:
    """A sheet of prices, and the same with another value in one row of a hundred."""
    dice = random.Random(rows)
    values = [[f"{dice.randint(1, 10**6) / 1000}" for _ in FIELDS] for _ in range(rows)]
    first = _write(work / "first.csv", values)
    for number in dice.sample(range(rows), max(rows // 100, 1)):
        values[number][0] = "0.125"
    return first, _write(work / "changed.csv", values)


def _write(path: Path, values: list[list[str]]) -> Path:
    with path.open("w") as file:
        file.write("RIC," + ",".join(FIELDS) + "\n")
        file.writelines(f"XS{number:09d}=T,{','.join(row)}\n" for number, row in enumerate(values))
    return path


@contextmanager
def server(*, packed: bool, delay_ms: float) -> Iterator[int]:
    """The fast server in a process of its own; gives its port."""
    options = ["--delay-ms", str(delay_ms), *(["--packed"] if packed else [])]
    process = subprocess.Popen([sys.executable, HERE / "fast_server.py", *options], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="contrib-watch-bench-") as name:
        yield Path(name)


if __name__ == "__main__":
    main()
