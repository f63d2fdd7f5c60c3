"""Times and peak memory of the product beside what others do, and beside the limit of the wire.

    python tests/bench
    python tests/bench --rows 100000 --format xlsx --cases first same
    python tests/bench --rows 1000 --delay-ms 1 --packed --lseg-python ~/lseg/bin/python
    python tests/bench --rows 1000000 --without loop "warm loop" --repeat 1

The first one takes five minutes on two quiet cores. All sides are measured one after the other, ``--repeat`` times,
against one fast server; medians are shown. Only the ratios mean something where a machine is shared.

Cases: ``first`` load; ``1 %`` of the rows have another value; the ``same`` values in another order; ``all`` values
are others. Sides: ``run`` is ``contrib-watch run --once``, its start included; ``daemon`` is a running one, from a
file's appearance to its report's; ``loop`` is the loop that every example teaches, its start included, and ``warm
loop`` without it; ``lseg`` and ``lseg 16`` are LSEG's lseg-data package, from the open session on, by its contribute
and 16 at a time by its contribute_async, timed on at most ``--lseg-rows`` rows and scaled; ``wire`` are the same
posts, encoded before the clock starts, over a raw socket. A ratio is how many times as long the first side takes;
``wire/daemon`` is the share of the wire's limit that the product reaches. ``MB`` is the run's peak, ``x file`` what
of it is above a run with nothing to do, in sizes of the file.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import xlsxwriter
from rich.console import Console
from rich.table import Table

import contrib_watch

HERE = Path(__file__).parent
FIELDS = ("BID", "ASK", "TRDPRC_1", "HIGH_1", "LOW_1", "OPEN_PRC", "HST_CLOSE", "YIELD", "NETCHNG_1", "PCTCHNG")
CASES = ("first", "1 %", "same", "all")
BEFORE = {"first": (), "1 %": ("first",), "same": ("first", "1 %"), "all": ("first",)}
"""The drops that must come before each case's."""
SIDES = ("run", "daemon", "loop", "warm loop", "lseg", "lseg 16", "wire")
RATIOS = (("loop", "run"), ("warm loop", "daemon"), ("lseg", "daemon"), ("lseg 16", "daemon"), ("wire", "daemon"))
"""What starts beside what starts, and what runs already beside what runs already."""
MORE = ("CPU s, run / loop", "MB", "x file")
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
max_rows = 2000000
"""


class Measured(NamedTuple):
    """One run of a command."""

    seconds: float
    peak_mb: float = 0.0
    cpu_s: float | None = None
    """Processor time of the command, its own processes included; what a busy machine disturbs least."""
    peak_files: float = 0.0
    """Peak memory above that of a run with nothing to do, in sizes of the file."""
    output: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--format", choices=["csv", "xlsx"], nargs="+", default=["csv"])
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--without", choices=SIDES[1:], nargs="+", default=[])
    parser.add_argument("--packed", action="store_true", help="the server packs its Acks")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="the server's delay before an Ack")
    parser.add_argument("--lseg-python", help="a Python with lseg-data; without it, that package is left out")
    parser.add_argument("--lseg-rows", type=int, default=2_000)
    options = parser.parse_args()
    # A start is that of an installed program, also where the environment keeps Python from writing bytecode.
    compileall.compile_dir(Path(contrib_watch.__file__).parent, quiet=1)
    sides = [side for side in SIDES if side not in options.without and (options.lseg_python or "lseg" not in side)]
    ratios = [(one, other) for one, other in RATIOS if one in sides and other in sides]
    table = Table("rows", "case", *(f"{side} s" for side in sides), *map("/".join, ratios), *MORE)
    for file_format, rows in itertools.product(options.format, options.rows):
        runs: dict[str, list[dict[str, Measured]]] = {}
        for _ in range(options.repeat):
            with server(packed=options.packed, delay_ms=options.delay_ms) as port, folder() as work:
                for case, found in Round(work, rows, file_format, port, sides, options).measure():
                    runs.setdefault(case, []).append(found)
        for case, measured in runs.items():
            table.add_row(f"{rows:,} {file_format}", case, *cells(sides, ratios, measured))
    Console(width=170).print(table)


def cells(
    sides: Sequence[str], ratios: Sequence[tuple[str, str]], runs: Sequence[dict[str, Measured]]
) -> Iterator[str]:
    """The medians of the sides, their ratios, and the product's memory."""
    seconds = {side: [run[side].seconds for run in runs if side in run] for side in sides}
    medians = {side: statistics.median(found) if found else None for side, found in seconds.items()}
    yield from ("" if one is None else f"{one:.2f}" for one in medians.values())
    for one, other in ratios:
        yield "" if medians[one] is None else f"{medians[one] / medians[other]:.2f}"
    spent = {side: statistics.median(run[side].cpu_s for run in runs) for side in ("run", "loop") if side in sides}
    yield " / ".join(f"{one:.2f}" for one in spent.values())
    yield f"{max(run['run'].peak_mb for run in runs):.0f}"
    yield f"{max(run['run'].peak_files for run in runs):.1f}"


class Round:
    """Each case for each side, one after the other, against one server."""

    def __init__(
        self, work: Path, rows: int, file_format: str, port: int, sides: Sequence[str], options: argparse.Namespace
    ) -> None:
        self._work, self._rows, self._port, self._sides, self._options = work, rows, port, sides, options
        # In a process of its own: the peak of a command counts what the process that started it had at that time.
        with ProcessPoolExecutor(1) as apart:
            self._files = apart.submit(files, work, rows, file_format).result()
        self._ending = f".{file_format}"

    def measure(self) -> Iterator[tuple[str, dict[str, Measured]]]:
        """Yields the case and what each side took."""
        config, inbox = self._site("run")
        product = [Path(sys.executable).with_name("contrib-watch"), "run", "--once", "--config", config]
        idle_mb = run(product).peak_mb
        wanted = {case for one in self._options.cases for case in (*BEFORE[one], one)}
        with ExitStack() as stack:
            daemon = stack.enter_context(self._daemon()) if "daemon" in self._sides else None
            for case in filter(wanted.__contains__, CASES):
                file = self._files[case]
                shutil.copyfile(file, inbox / f"prices{self._ending}")
                once = run(product)
                size_mb = file.stat().st_size / 2**20
                found = {"run": once._replace(peak_files=(once.peak_mb - idle_mb) / size_mb)}
                if daemon is not None:
                    found["daemon"] = self._dropped(daemon, file)
                found |= dict(self._others(case, file))
                if case in self._options.cases:
                    yield case, found

    def _others(self, case: str, file: Path) -> Iterator[tuple[str, Measured]]:
        if "loop" in self._sides or "warm loop" in self._sides:
            loop = run([sys.executable, HERE / "seed_loop.py", self._port, file, self._work / "sent.csv"])
            yield "loop", loop
            yield "warm loop", Measured(float(loop.output))
        if case not in ("first", "all"):
            return  # the others do not look for what changed
        if "wire" in self._sides:
            yield "wire", told([sys.executable, HERE / "wire_limit.py", self._port, file])
        for side, way in (("lseg", "sync"), ("lseg 16", "async")):
            if side in self._sides and self._ending == ".csv":
                posts = min(self._rows, self._options.lseg_rows)
                spent = told([self._options.lseg_python, HERE / "lseg_data.py", self._port, file, posts, way])
                yield side, Measured(spent.seconds * self._rows / posts)

    def _site(self, name: str) -> tuple[Path, Path]:
        """A configuration and its empty folder."""
        inbox = self._work / name / "inbox"
        inbox.mkdir(parents=True)
        config = inbox.with_name("config.toml")
        config.write_text(CONFIG.format(port=self._port))
        return config, inbox

    @contextmanager
    def _daemon(self) -> Iterator[Path]:
        """A running program; gives its folder."""
        config, inbox = self._site("daemon")
        command = [Path(sys.executable).with_name("contrib-watch"), "run", "--config", config]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            self._dropped(inbox, self._files["tiny"])  # connected, and its reading process warm
            yield inbox
        finally:
            process.terminate()
            process.wait()

    def _dropped(self, inbox: Path, file: Path) -> Measured:
        """From the moment when a file is there to that when its report is."""
        before = len(list(inbox.glob("*.ack.html")))
        hidden = inbox / ".incoming"
        shutil.copyfile(file, hidden)
        hidden.rename(inbox / f"prices{self._ending}")
        start = time.perf_counter()
        while len(list(inbox.glob("*.ack.html"))) == before:
            time.sleep(0.005)
        return Measured(time.perf_counter() - start)


def run(command: Sequence[object]) -> Measured:
    """Run a command to its end: wall time and peak memory, its own start included."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as messages:
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        messages.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}: {messages.read()}")
        return Measured(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, output=out.read())


def told(command: Sequence[object]) -> Measured:
    """Run a command that prints its seconds."""
    ended = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return Measured(float(ended.stdout))


def files(work: Path, rows: int, file_format: str) -> dict[str, Path]:
    """A sheet of prices for each case, and a tiny one to warm up."""
    dice = random.Random(rows)
    values = [[f"{dice.randint(1, 10**6) / 1000}" for _ in FIELDS] for _ in range(rows)]
    chosen = dice.sample(range(rows), max(rows // 100, 1))
    few = list(values)
    for number in chosen:
        few[number] = ["0.125", *values[number][1:]]
    tables = {
        "first": values,
        "1 %": few,
        "same": few[1:] + few[:1],  # the diff is by RIC
        "all": [[f"1{value}" for value in row] for row in values],
        "tiny": values[:1],
    }
    names = [f"XS{number:09d}=T" for number in range(rows)]
    write = _write_csv if file_format == "csv" else _write_xlsx
    made = {}
    for case, table in tables.items():
        rics = names[1:] + names[:1] if case == "same" else names[: len(table)]
        made[case] = work / f"{case.replace(' ', '')}.{file_format}"
        write(made[case], rics, table)
    return made


def _write_csv(path: Path, rics: Sequence[str], values: Sequence[Sequence[str]]) -> None:
    with path.open("w") as file:
        file.write("RIC," + ",".join(FIELDS) + "\n")
        file.writelines(f"{ric},{','.join(row)}\n" for ric, row in zip(rics, values, strict=True))


def _write_xlsx(path: Path, rics: Sequence[str], values: Sequence[Sequence[str]]) -> None:
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ("RIC", *FIELDS))
        for number, (ric, row) in enumerate(zip(rics, values, strict=True), start=1):
            sheet.write_row(number, 0, (ric, *map(float, row)))


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
