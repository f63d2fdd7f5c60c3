"""A configuration with one feed whose posts go to a provider, and what became of its files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from sdk_provider import DEADLINE_S, SERVICE

from contrib_watch.cli import main


class Site:
    """A folder with ``config.toml`` and the feed's folder ``in``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inbox = home / "in"
        self.inbox.mkdir()
        self.config = home / "config.toml"

    def configure(self, host: str, *, dictionary: list[str] | None = None, **of_ads: Any) -> None:
        """Writes the configuration; ``of_ads`` are keys of [ads]."""
        ads = {"hosts": [host], "user": "analyst", "position": "127.0.0.1", "rate_limit": 0, **of_ads}
        feed = {"name": "prices", "folder": "in", "service": SERVICE, "settle_seconds": 0}
        tables = {"[ads]": ads, "[fields]": {"dictionary": dictionary or []}, "[[feeds]]": feed}
        lines = [
            "\n".join((name, *(f"{key} = {json.dumps(value)}" for key, value in table.items())))
            for name, table in tables.items()
        ]
        self.config.write_text("\n\n".join(lines) + "\n", encoding="utf-8")

    def drop(self, name: str, text: str) -> None:
        """Puts a CSV into the folder at once, as a rename does."""
        being_written = self.home / "being_written"
        being_written.write_text(text, encoding="utf-8")
        being_written.rename(self.inbox / name)

    def once(self) -> int:
        """``run --once`` in this process; its exit code."""
        done = self.invoke("run", "--once")
        self.said = done.output
        return done.exit_code

    def invoke(self, command: str, *args: str) -> Result:
        """A command in this process."""
        return CliRunner().invoke(main, [command, *args, "--config", str(self.config)])

    @contextmanager
    def running_once(self) -> Iterator[subprocess.Popen[str]]:
        """``run --once`` in a process of its own, waited for at the end."""
        program = Path(sys.executable).with_name("contrib-watch")
        line = [str(program), "run", "--once", "--config", str(self.config)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
                process.communicate(timeout=2 * DEADLINE_S)
            finally:
                process.kill()

    def rows(self, name: str) -> dict[str, dict[str, str]]:
        """RIC to its row in the file's only report."""
        (report,) = self.inbox.glob(f"{name}*.ack.csv")
        with report.open(encoding="utf-8", newline="") as lines:
            return {row["ric"]: row for row in csv.DictReader(lines)}
