"""A place where the program is used as a stranger uses it: a configuration, a folder to drop into, real processes."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from contrib_watch.cli import main
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.core import PostRecord, SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.server import SimulatedServer

PROGRAM = Path(sys.executable).with_name("contrib-watch")
DEADLINE_S = 30.0
"""How long a test waits for anything. It is never waited out where the program is right."""
PROMPTLY_S = 10.0
"""What ends at once ends within this, even where the machine has much else to do."""
SERVICE = "TEST"
CLOSED = "127.0.0.1:1"
"""An address where nobody listens."""


@cache
def dictionary() -> Dictionary:
    """The built-in field dictionary."""
    return load_dictionary(Fields())


def eventually(true: Callable[[], object], what: str) -> None:
    """Wait until something is true; fails after the deadline."""
    asked_s = time.monotonic()
    until_s = asked_s + DEADLINE_S
    while not true():
        answered_s = time.monotonic()
        assert answered_s < until_s, f"waited {DEADLINE_S:g} s in vain until {what}"
        time.sleep(max(0.02, answered_s - asked_s))  # a question that costs much leaves the processor to the others
        asked_s = time.monotonic()


@contextmanager
def ads(*faults: Mapping[str, Any], port: int = 0) -> Iterator[SimulatedServer]:
    """A simulated ADS in this process, with these faults."""
    script = FaultScript.from_dict({"faults": list(faults)})
    with SimulatedServer(SimulatedAds(dictionary(), script), port=port) as server:
        yield server


def posts(server: SimulatedServer) -> list[PostRecord]:
    """What came on the wire, in order."""
    with server.inspect() as seen:
        return list(seen.posts)


def held(server: SimulatedServer, field: str = "BID") -> dict[str, str]:
    """RIC to the value that the ADS holds."""
    with server.inspect() as seen:
        return {ric: str(values[field]) for (_, ric), values in seen.cache.items() if field in values}


def sheet(*rows: str, header: str = "RIC,BID") -> str:
    """A CSV of these lines."""
    return "".join(f"{line}\n" for line in (header, *rows))


class Site:
    """A configuration with one feed, ``prices``, whose folder is ``in``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inbox = home / "in"
        self.inbox.mkdir()
        self.config = home / "config.toml"
        self.database = home / ".contrib_watch" / "state.db"

    def configure(
        self, host: str, *, more: str = "", feed: Mapping[str, object] | None = None, **of_ads: Any
    ) -> None:
        """Write the configuration: keys of [ads], keys of the feed, and further sections as text."""
        in_ads = {"hosts": [host], "user": "tester", "rate_limit": 0, **of_ads}
        in_feed = {"name": "prices", "folder": "in", "service": SERVICE, "settle_seconds": 0, **(feed or {})}
        tables = (("[ads]", in_ads), ("[[feeds]]", in_feed))
        lines = [f"{name}\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in table.items()) for name, table in tables]
        self.config.write_text("\n".join((*lines, more)), encoding="utf-8")

    def drop(self, name: str, text: str, *, age_days: float = 0) -> Path:
        """Put a file into the feed's folder at once, as a rename does."""
        path, temporary = self.inbox / name, self.home / "being_written"
        temporary.write_text(text, encoding="utf-8")
        moment = time.time() - age_days * 86_400
        os.utime(temporary, (moment, moment))
        return temporary.rename(path)

    def run(self, command: str, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A command in a process of its own, to its end."""
        return subprocess.run(
            self._line(command, args), env=self._environ(environ), capture_output=True, text=True, timeout=60
        )

    def invoke(self, command: str, *args: str, **environ: str) -> Result:
        """A command in this process, which is quicker."""
        return CliRunner(env=environ).invoke(main, self._words(command, args))

    def once(self) -> tuple[int, list[dict[str, Any]]]:
        """``run --once --json`` in this process: its exit code and drops."""
        done = self.invoke("run", "--once", "--json")
        assert done.stdout, done.stderr
        return done.exit_code, json.loads(done.stdout)["drops"]

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says."""
        done = self.invoke("status", "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    @contextmanager
    def running(
        self, *args: str, command: str = "run", program: Sequence[str] = (str(PROGRAM),)
    ) -> Iterator[subprocess.Popen[str]]:
        """``run``, or another command, in the background; killed at the end where it still runs.

        Its stderr goes to ``log``.
        """
        with self.log.open("w") as log:
            line = [*program, *self._words(command, args)]
            process = subprocess.Popen(line, env=self._environ({}), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=DEADLINE_S)

    @property
    def log(self) -> Path:
        """What ``running`` wrote to stderr."""
        return self.home / "stderr.txt"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the state with SQL; nothing where there is no state yet."""
        if not self.database.exists():
            return []
        try:
            with closing(sqlite3.connect(self.database, timeout=DEADLINE_S)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:  # its tables are not made yet
            return []

    def over(self, drops: int) -> bool:
        """So many drops are over, with their reports written."""
        return self.query("SELECT count(*) FROM reports WHERE whole")[0:1] == [(drops,)]

    def reports(self, name: str = "") -> list[Path]:
        """The CSV reports, of one file or of all."""
        return sorted(self.inbox.glob(f"{name}*.ack.csv"))

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a file's only report."""
        (report,) = self.reports(name)
        with report.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))

    def _line(self, command: str, args: Sequence[str]) -> list[str]:
        return [str(PROGRAM), *self._words(command, args)]

    def _words(self, command: str, args: Sequence[str]) -> list[str]:
        return [*command.split(), "--config", str(self.config), *args]

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if k != "COLUMNS"} | more


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)
