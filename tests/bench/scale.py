"""Whether the cost of a drop grows with what the state holds: the same drop on a young state and on an old one.

    python tests/bench/scale.py --rics 10000000 --drops 250

The old state knows ``--rics`` RICs of one feed, and has ``--drops`` drops of its own behind it, of each of which
``--changed`` rows were posted. Measured are a drop of ``--rows`` rows of which 2 % change, and ``status``: seconds on
the clock and of processor time. The first run of a day also makes that day's backup, which is measured apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("contrib-watch")
FIELDS = ("BID", "ASK", "HIGH_1", "LOW_1", "OPEN_PRC")
COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
CONFIG = """
[ads]
hosts = ["127.0.0.1:{port}"]
user = "bench"
rate_limit = 0
window = 4000
presence_sample = 0
[log]
level = "error"
[[feeds]]
name = "f"
folder = "inbox"
service = "S"
settle_seconds = 0
"""


class Spent(NamedTuple):
    """What a command took."""

    clock_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.clock_s:.2f} ({self.cpu_s:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rics", type=int, default=1_000_000)
    parser.add_argument("--drops", type=int, default=250)
    parser.add_argument("--changed", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    table = Table("state", "database MB", "first run of a day s (CPU s)", "drop s (CPU s)", "status s (CPU s)")
    server = subprocess.Popen([sys.executable, HERE / "fast_server.py"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        for name, rics, drops in (("young", options.rows, 1), ("old", options.rics, options.drops)):
            with tempfile.TemporaryDirectory(prefix="contrib-watch-scale-") as folder:
                table.add_row(name, *measured(Path(folder), port, rics, drops, options))
    finally:
        server.kill()
        server.wait()
    Console(width=130).print(table)


def measured(work: Path, port: int, rics: int, drops: int, options: argparse.Namespace) -> Sequence[str]:
    inbox = work / "inbox"
    inbox.mkdir()
    config = work / "config.toml"
    config.write_text(CONFIG.format(port=port))
    run = [PROGRAM, "run", "--once", "--config", config]
    write(inbox / "prices.csv", options.rows, 0)
    spent(run)
    database = work / ".contrib_watch" / "state.db"
    grow(database, rics, drops, options.changed)
    shutil.rmtree(work / ".contrib_watch" / "backups")
    daily = spent(run)
    runs = []
    for number in range(1, options.repeat + 1):
        write(inbox / "prices.csv", options.rows, number)
        runs.append(spent(run))
    status = min(spent([PROGRAM, "status", "--config", config]) for _ in range(options.repeat))
    return f"{database.stat().st_size / 2**20:,.0f}", str(daily), str(min(runs)), str(status)


def write(path: Path, rows: int, number: int) -> None:
    """A sheet in which 2 % of the rows have other values than in the one before."""
    with path.open("w") as file:
        file.write("RIC," + ",".join(FIELDS) + "\n")
        for row in range(rows):
            bid = 100 + number if row % 50 == 0 else 100
            file.write(f"R{row * 7919 % 10**9:09d}=T,{bid}.5,101.5,102.5,99.5,100.25\n")


def grow(database: Path, rics: int, drops: int, changed: int) -> None:
    """Give the state a past: RICs of its feed, and drops with their outcomes."""
    fields = ",".join(f'"{name}":100.5' for name in FIELDS)
    with sqlite3.connect(database) as state:
        state.execute(
            f"{COUNT} INSERT OR IGNORE INTO snapshot"
            " SELECT service, printf('Q%09d=T', i), feed, ?, carried, drop_id, acked_at_utc"
            " FROM n, (SELECT * FROM snapshot LIMIT 1)",
            (rics, "{" + fields + "}"),
        )
        own = [row[1] for row in state.execute("PRAGMA table_info(drops)")]
        copied = ", ".join("1000 + i" if name == "id" else f"d.{name}" for name in own)
        state.execute(f"{COUNT} INSERT INTO drops SELECT {copied} FROM n, drops d WHERE d.id = 1", (drops,))
        own = [row[1] for row in state.execute("PRAGMA table_info(outcomes)")]
        copied = ", ".join("1000 + i" if name == "drop_id" else f'o."{name}"' for name in own)
        state.execute(
            f"{COUNT} INSERT INTO outcomes SELECT {copied} FROM n, (SELECT * FROM outcomes LIMIT ?) o",
            (drops, changed),
        )
    state.close()


def spent(command: Sequence[object]) -> Spent:
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Spent(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
