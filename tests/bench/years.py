"""Years of drops at the store's level: what the record costs, and how quickly it answers.

    python tests/bench/years.py [--days 2500] [--drops 10] [--rows 2000] [--rics 20000] [--folder NEW]

Each drop is accepted, its rows are recorded as acknowledged and as the snapshot, and its run is concluded, with the
same calls as in the product; the network, the files and the reports are left out. A day's drops are one
transaction, which is quicker. Printed are the cost of a drop at the start and at the end, the size of the state, a
RIC's history and `as-of` (cold and again), the proof of the whole, and the export, in which
DuckDB must find the same.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import duckdb

from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Action, DropStatus, Outcome, Post, Status, in_columns
from contrib_watch.core.tokens import tokens_of
from contrib_watch.store import Drops, Ledger, State, utc_text
from contrib_watch.store.export import export
from contrib_watch.store.history import History
from contrib_watch.store.proof import prove

SERVICE = "BENCH"
BEGIN = datetime(2016, 11, 22, 7, 0, tzinfo=UTC)
SHOWN_DROPS = 50

T = TypeVar("T")


class Years:
    """A state that ages."""

    def __init__(self, folder: Path, rics: int, rows: int) -> None:
        self.now = BEGIN
        self.state = State.open(
            url=f"sqlite:///{folder}/state.db", folder=folder, target="bench", utc=lambda: self.now
        )
        self._drops, self._ledger = Drops(self.state), Ledger(self.state)
        self._rics = [f"R{n:06}=ACME" for n in range(rics)]
        self._rows = rows
        self._dice = random.Random(7)
        self._key = 0

    def day(self, day: int, drops: int) -> list[float]:
        """One day's drops; the seconds that each took."""
        took_s = []
        with self.state.transaction():
            for number in range(drops):
                self.now = BEGIN + timedelta(days=day, minutes=50 * number)
                began_s = time.perf_counter()
                self._drop(day)
                took_s.append(time.perf_counter() - began_s)
        return took_s

    def _drop(self, day: int) -> None:
        drop = self._drops.accept(
            feed="bench", path=f"/in/{day}.csv", sha256=f"{day:064x}", size_bytes=1, mtime_ns=1, owner="ann",
            seen_at_utc=self.now,
        )  # fmt: skip
        drop = self._drops.set_status(drop, DropStatus.SENDING)
        at = utc_text(self.now)
        posts, outcomes = [], []
        for row, ric in enumerate(sorted(self._dice.sample(self._rics, self._rows)), 2):
            bid = f"{self._dice.randrange(10**6) / 1000:g}"
            full = f'{{"BID":{bid},"ASK":{bid},"CURRENCY":"EUR"}}'
            text = f"BID 1 -> {bid}; ASK 1 -> {bid}"
            self._key += 1
            one = Post(row, ric, Action.UPDATE, full, full, text, "BID,ASK")
            posts.append(one)
            outcomes.append(
                Outcome(row, ric, Status.ACKED, "Update", self._key, text, "", "", at, at, 1, full, "BID,ASK")
            )
        self._ledger.landed(SERVICE, drop, posts, [at] * len(posts))
        self._ledger.record(drop, in_columns(outcomes))
        self._drops.finish(
            replace(drop, status=DropStatus.DONE), totals={"acked": self._rows}, findings=Findings(),
            has_problem_rows=False, now_utc=self.now, service=SERVICE, told={"places": {"BID": "BID", "ASK": "ASK"}},
        )  # fmt: skip


def timed(what: str, ask: Callable[[], T]) -> T:
    """Ask, and print how long it took."""
    began_s = time.perf_counter()
    answer = ask()
    print(f"{what:58} {time.perf_counter() - began_s:9.3f} s")
    return answer


def bench(folder: Path, days: int, drops: int, rows: int, rics: int) -> None:
    """Let a state age, and ask it."""
    years = Years(folder, rics, rows)
    took_s: list[float] = []
    began_s = time.perf_counter()
    for day in range(days):
        took_s += years.day(day, drops)
        if (day + 1) % max(1, days // 10) == 0:
            done = (day + 1) * drops * rows
            print(
                f"  day {day + 1:,}: {done:,} rows, {done / (time.perf_counter() - began_s):,.0f} a second",
                flush=True,
            )
    first, last = sorted(took_s[:SHOWN_DROPS]), sorted(took_s[-SHOWN_DROPS:])
    print(
        f"a drop of {rows:,} rows, median of {len(first)}: at the start {first[len(first) // 2] * 1000:.0f} ms",
        end="",
    )
    print(f", at the end {last[len(last) // 2] * 1000:.0f} ms")
    size_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    print(f"state: {size_bytes / 2**30:.2f} GiB, {size_bytes / len(took_s) / rows:.0f} bytes a row")
    history, ric = History(years.state), f"R{rics // 2:06}=ACME"
    half = utc_text(BEGIN + timedelta(days=days // 2))
    found = timed("history of a RIC, one field", lambda: history.of_ric(ric, field="BID"))
    timed("the same again", lambda: history.of_ric(ric, field="BID"))
    timed("a RIC as of half the time", lambda: list(history.as_of(half, [ric])))
    market = timed(f"all {rics:,} RICs as of half the time", lambda: list(history.as_of(half)))
    timed("the same again", lambda: list(history.as_of(half)))
    proven = timed("proof of the whole", lambda: prove(years.state))
    assert proven.misfit is None, proven.misfit
    files = timed("export", lambda: export(years.state, folder / "export"))
    print(f"export: {sum(path.stat().st_size for path in files) / 2**30:.2f} GiB")
    with duckdb.connect() as database:
        table = f"read_parquet('{folder}/export/outcomes.parquet')"
        asked = (
            f"""SELECT acked_at_utc, "full" ->> '$.BID' FROM {table} WHERE ric = ? ORDER BY acked_at_utc, drop_id"""
        )
        rows_there = timed("DuckDB: the same history", lambda: database.execute(asked, [ric]).fetchall())
        asked = f"""SELECT ric, last("full" ->> '$.BID' ORDER BY acked_at_utc, drop_id) FROM {table}
                    WHERE status = 'acked' AND acked_at_utc <= ? GROUP BY ric ORDER BY ric"""
        market_there = timed("DuckDB: the same market", lambda: database.execute(asked, [half]).fetchall())
    as_numbers = [(one.acked_at_utc, float(one.value)) for one in found]
    assert as_numbers == [(at, float(value)) for at, value in rows_there]
    assert [(one.ric, float(tokens_of(one.fields)["BID"])) for one in market] == [
        (ric, float(value)) for ric, value in market_there
    ]
    print(f"DuckDB gives the same: {len(found):,} values of the RIC, {len(market):,} RICs in the market")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("days", 2500), ("drops", 10), ("rows", 2000), ("rics", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench(folder, asked.days, asked.drops, asked.rows, asked.rics)


if __name__ == "__main__":
    main()
