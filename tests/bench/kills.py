"""Real processes, a real simulated ADS that loses Acks and connections, real files, and SIGKILL at random moments.

    python tests/bench/kills.py --count 500

A round has an installation of its own, with two feeds. Its program is started and killed several times while files
come in; then the ADS is well again, ``run --once`` goes to its end, and the promises are held against what the ADS
holds, the posts that it saw, and the reports. Each process is forked from one that has imported the program already,
so that a start takes no second; what it runs is the ``contrib-watch`` command. Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from cli_site import SERVICE, Site, dictionary
from history_model import BAD, CLEAR, FIELDS, Table, Told, newest
from virtual_site import read_report

from contrib_watch.cli import main as program
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.server import SimulatedServer

KILLS_A_ROUND = 10
FEEDS = ("prices", "desk")
CELLS = ("", "1", "2", "3.5", "4", "5.25", CLEAR, BAD[0])
FAULTS = FaultScript(
    (
        Fault(kind=FaultKind.LOSE_ACK, every=13),
        Fault(kind=FaultKind.DELAY_ACK, every=5, delay_s=0.05),
        Fault(kind=FaultKind.DROP_CONNECTION_AFTER, every=37),
        Fault(kind=FaultKind.DROP_CONNECTION_BEFORE, every=53),
        Fault(kind=FaultKind.NAK, every=17, code="GatewayDown"),
        Fault(kind=FaultKind.NAK, every=29, code="AccessDenied"),
    )
)
SECOND_FEED = f'[[feeds]]\nname = "desk"\nfolder = "desk"\nservice = "{SERVICE}"\nsettle_seconds = 0\n'
SOON_S = 1.5
PATIENCE_S = 4.0
"""How long a process that is to die while it sends has for getting there."""
DEADLINE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="how many processes are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    options = parser.parse_args()
    begun_s, seen = time.monotonic(), Counter[str]()
    for number in range(-(-options.count // KILLS_A_ROUND)):
        kills = min(KILLS_A_ROUND, options.count - number * KILLS_A_ROUND)
        try:
            seen += play(options.seed + number, kills)
        except AssertionError as error:
            print(f"round {options.seed + number}: {error}")
            return 1
        told = ", ".join(f"{count:,} {what}" for what, count in seen.items())
        print(f"{time.monotonic() - begun_s:,.0f} s: {told}", flush=True)
    return 0


def play(seed: int, kills: int) -> Counter[str]:
    """One round; what happened in it. Raises AssertionError where a promise is broken."""
    with tempfile.TemporaryDirectory(prefix="kills") as folder, ads() as server:
        here = Round(Path(folder), server, Random(seed))
        for _ in range(kills):
            here.strike()
        server.ask("calm")
        here.save()
        here.finish()
        posts = server.ask("count")
        here.check()
        here.finish()
        assert server.ask("count") == posts, "a further run has sent something"
        return here.seen


class Round:
    """An installation, its files, and what should become of them."""

    def __init__(self, home: Path, server: Server, dice: Random) -> None:
        self.seen = Counter[str]()
        self._site = Site(home)
        (home / "desk").mkdir()
        self._site.configure(server.address, more=SECOND_FEED, ack_timeout_s=0.5, rate_limit=200, window=8)
        self._server = server
        self._dice = dice
        self._tables: dict[str, Table] = {}
        self._files = 0

    def strike(self) -> None:
        """Start the program, drop files before and meanwhile, and kill it: at any moment, or just after a post."""
        for _ in range(self._dice.choice((0, 1, 2))):
            self.save()
        posts = self._server.ask("count")
        process = self._start("run")
        busy = self._dice.random() < 0.6
        dies_s = time.monotonic() + (PATIENCE_S if busy else self._dice.uniform(0, SOON_S))
        at_posts = posts + self._dice.randint(1, 12)
        if self._dice.random() < 0.5:
            time.sleep(self._dice.uniform(0, 0.3))
            self.save()
        while time.monotonic() < dies_s and not (busy and self._server.ask("count") >= at_posts):
            time.sleep(0.002)
        assert process.exitcode is None, f"it has ended by itself: {self._site.log.read_text()}"
        self.seen["in flight when killed"] += bool(self._site.query("SELECT 1 FROM in_flight"))
        process.kill()
        process.join(DEADLINE_S)
        self.seen["kills"] += 1

    def save(self) -> None:
        """A file for one of the feeds; sometimes over one of before."""
        feed = self._dice.choice(FEEDS)
        fields = tuple(self._dice.sample(FIELDS, self._dice.randint(1, len(FIELDS))))
        rics = self._dice.sample(range(40), self._dice.randint(1, 30))
        rows = tuple((f"{feed.upper()}{ric}=", tuple(self._dice.choice(CELLS) for _ in fields)) for ric in rics)
        table = Table(fields, rows)
        self._tables[sha256(table.text().encode()).hexdigest()] = table
        self._files += 1
        name = f"{self._dice.randint(1, self._files)}.csv"
        path = self._site.drop(f"new.{self._files}", table.text())  # hidden from the patterns until it is renamed
        path.rename(self._site.home / {"prices": "in"}.get(feed, feed) / name)

    def finish(self) -> None:
        """A run to its end."""
        process = self._start("run", "--once")
        process.join(DEADLINE_S)
        assert process.exitcode in (0, 3, 4), f"exit code {process.exitcode}: {self._site.log.read_text()}"

    def check(self) -> None:
        """The promises."""
        post_ids = [post_id for post_id, _ in self._server.ask("posts")]
        assert len(set(post_ids)) == len(post_ids), "a PostID came twice"
        dirty = {
            ric
            for (ric,) in self._site.query("SELECT ric FROM dirty UNION SELECT value FROM in_flight, json_each(rics)")
        }
        told = defaultdict(list)
        columns = "drops.id, drops.sha256, drops.status, reports.folder, reports.base, reports.whole"
        query = f"SELECT {columns} FROM drops LEFT JOIN reports ON drop_id = id AND reports.run = drops.run"
        for number, content, status, folder, base, whole in self._site.query(f"{query} ORDER BY id DESC"):
            assert (status, whole) == ("done", 1), f"drop {number} is {status}"
            table, rows = self._tables[content], read_report(Path(folder, f"{base}.ack.csv"))
            numbers = sorted(int(row["row"]) for row in rows)
            assert numbers == list(range(2, len(table.rows) + 2)), f"drop {number} reports the rows {numbers}"
            for row in rows:
                index = int(row["row"]) - 2
                assert row["status"] == "rejected" or not table.must_be_rejected(index), row
                told[row["ric"]].append(Told(table.given(index), row, late=False, revert=False, spoken=True))
                self.seen[row["status"]] += 1
        self._check_files()
        cache = self._server.ask("cache")
        for ric, rows in told.items():
            for field in FIELDS if ric not in dirty else ():
                expected = newest(field, rows, by_reports_alone=True)
                held = cache.get(ric, {}).get(field)
                assert not expected or held in expected, f"{ric} {field} is {held} and not {expected}"
        self.seen["drops"] += self._site.query("SELECT count(*) FROM drops")[0][0]
        self.seen["posts"] += len(post_ids)
        self.seen["left dirty"] += len(dirty)

    def _check_files(self) -> None:
        """What lies in the folders is the latest drop of its path."""
        latest = dict(self._site.query("SELECT path, sha256 FROM drops ORDER BY id"))
        for folder in ("in", "desk"):
            for path in (self._site.home / folder).glob("*.csv"):
                if not path.name.endswith(".ack.csv"):
                    assert latest.get(str(path)) == sha256(path.read_bytes()).hexdigest(), f"{path} was lost"

    def _start(self, *words: str) -> multiprocessing.process.BaseProcess:
        log = str(self._site.log)
        process = _context().Process(target=_run, args=([*words, "--config", str(self._site.config)], log))
        process.start()
        return process


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["contrib_watch.cli"])
    return context


def _run(words: list[str], log: str) -> None:
    """The program in this process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    program(words)


# --- the ADS


class Server:
    """The ADS of another process."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self.address = str(line.recv())

    def ask(self, what: str) -> Any:
        """``posts``: the PostID and RIC of each; ``count``: how many those are; ``cache``: RIC to fields.

        ``calm``: from now on nothing goes wrong.
        """
        self._line.send(what)
        return self._line.recv()


@contextmanager
def ads():
    """A simulated ADS with FAULTS, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of that process is heard of
    try:
        yield Server(ours)
    finally:
        ours.send("end")
        process.join(DEADLINE_S)


def _serve(line: Connection) -> None:
    with SimulatedServer(SimulatedAds(dictionary(), FAULTS)) as server:
        line.send(server.address)
        while (what := line.recv()) != "end":
            with server.inspect() as simulated:
                if what == "count":
                    line.send(len(simulated.posts))
                elif what == "posts":
                    line.send([(post.post_id, post.ric) for post in simulated.posts])
                elif what == "cache":
                    line.send({ric: dict(fields) for (_, ric), fields in simulated.cache.items()})
                else:
                    simulated.faults = FaultScript().start()
                    line.send(None)


if __name__ == "__main__":
    sys.exit(main())
