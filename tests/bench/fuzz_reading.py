"""Files that nobody wrote on purpose, given to everything that reads: what may come out is what stands in them.

    python tests/bench/fuzz_reading.py --seconds 900 [--engine atheris|random] [--seed 1] [--findings DIR]

An input is a byte that names a feed, a byte that names what the rest is (a CSV, a workbook, or one part of a workbook
in order), and the rest. The seeds are the files of tests/corpus. atheris, where it is installed, looks for inputs that
reach new lines of the reading; otherwise inputs are changed at random. Each input must end in quotes or in
UnreadableFile, within a time and the reading process's memory, and:

- CSV: the csv module finds each published RIC in a row whose cells say the published values;
- workbook: on each published row, openpyxl reads the same, or the second reading stops the row (counted apart); its
  RIC and its numbers stand in the XML.

What breaks a rule is written to the findings, once for each place in the code, and the exit code is 1.
"""

# ruff: noqa: E501
from __future__ import annotations

import argparse
import atexit
import csv
import io
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from html import unescape
from pathlib import Path, PurePath
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.agreement import compare, compared_headers
from contrib_watch.adapters.sheets.outline import outline
from contrib_watch.adapters.sheets.reader import MEMORY_BYTES
from contrib_watch.adapters.sheets.second import read_again
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.fields import Kind
from contrib_watch.core.model import Feed, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.errors import UnreadableFile

LIMIT_S = 20
_SAID_EVERY = 20_000
MAX_BYTES = 64 << 10
"""Larger inputs only cost time."""

_PLAIN = Feed(name="fuzz", folder=PurePath("fuzz"), service="TEST", max_rows=10_000)
FEEDS = (
    _PLAIN,
    replace(_PLAIN, final_newline="optional", percent="points", blank=("-",)),
    replace(_PLAIN, delimiter=";", decimal=",", thousands=".", date_format="%d.%m.%Y", encoding="cp1252"),
    replace(_PLAIN, encoding="utf-16", delimiter="\t"),
    replace(_PLAIN, header_row=3, percent="fraction", ignore_columns=("Note",)),
)
CSV, BOOK, SHEET, STRINGS, STYLES, WORKBOOK = range(6)
PARTS = {
    SHEET: "xl/worksheets/sheet1.xml",
    STRINGS: "xl/sharedStrings.xml",
    STYLES: "xl/styles.xml",
    WORKBOOK: "xl/workbook.xml",
}

TOKENS = [
    *(b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe2\x80\xa8", b"sep=;\n"),
    *(b"RIC", b"BID", b"ASK", b"DSPLY_NAME", b"A=X", b"1.5", b"-", b"e5", b"%", b"1e400", b"#N/A", b"#CLEAR", b"NA"),
    *(b' t="s"', b' t="str"', b' t="e"', b' t="b"', b' t="d"', b' t="inlineStr"', b' s="1"', b' r="B2"', b' hidden="1"'),
    *(b"<v>", b"</v>", b"<f>", b"</f>", b"<c ", b"<c/>", b"</c>", b"<row>", b"</row>", b"<is><t>", b"</t></is>", b"<t>"),
    *(b"<rPh>", b"_x0041_", b"&amp;", b"&#65;", b"x:", b" ", b"60", b"0.1", b"1900", b'date1904="1"', b'<mergeCell ref="A1:B2"/>'),
]  # fmt: skip


class WrongValue(AssertionError):  # noqa: N818
    """Something was published that does not stand in the file."""


class TooSlow(BaseException):
    """Past every handler of the code under test."""


@cache
def dictionary() -> Any:
    return load_dictionary(Fields())


@cache
def sound_parts() -> dict[str, bytes]:
    """A workbook of every kind of value, by XlsxWriter."""
    import xlsxwriter

    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Prices")
    day, percent = book.add_format({"num_format": "yyyy-mm-dd"}), book.add_format({"num_format": "0.0%"})
    sheet.write_row(0, 0, ["RIC", "BID", "DSPLY_NAME", "MATUR_DATE"])
    for row in range(1, 8):
        sheet.write_row(row, 0, [f"R{row}=X", row * 10.25, f"name {row}"])
        sheet.write_datetime(row, 3, datetime(2026, 11, 22 + row % 3), day)
    sheet.write_formula("B3", "=1+1", None, 2.5)
    sheet.write("B4", 0.045, percent)
    sheet.write("B5", -60)
    sheet.write_boolean("B6", True)
    book.close()
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[PARTS[WORKBOOK]] = parts[PARTS[WORKBOOK]].replace(b' fullCalcOnLoad="1"', b"")
    return parts


def book_with(name: str, part: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for other, content in sound_parts().items():
            archive.writestr(other, part if other == name else content)
    return file.getvalue()


def seeds() -> list[bytes]:
    """The corpus and the parts of a workbook, as inputs."""
    from delimited_hazards import delimited_hazards
    from package_hazards import package_hazards
    from workbook_hazards import sheet_hazards

    found = []
    for hazard in (*delimited_hazards(), *sheet_hazards(), *package_hazards()):
        if hazard.needs or hazard.name.endswith(("bomb", "many-parts", "styled-blanks")):
            continue
        content = hazard.build()
        if len(content) > MAX_BYTES:
            continue
        is_book = hazard.filename.endswith(".xlsx")
        found += [
            bytes([feed, BOOK if is_book else CSV]) + content for feed in range(len(FEEDS) if not is_book else 1)
        ]
        if is_book and content.startswith(b"PK\x03\x04") and zipfile.is_zipfile(io.BytesIO(content)):
            found += _parts_of(content)
    found += [bytes([0, kind]) + sound_parts()[name] for kind, name in PARTS.items()]
    return found


def _parts_of(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for kind, name in PARTS.items():
            try:
                if name in archive.namelist() and archive.getinfo(name).file_size < MAX_BYTES:
                    yield bytes([0, kind]) + archive.read(name)
            except (zipfile.BadZipFile, zlib.error, ValueError):
                return


class Fuzzer:
    """Counts what inputs end in, and keeps what breaks a rule."""

    def __init__(self, findings: Path) -> None:
        self.inputs = 0
        self._begun_s = time.monotonic()
        self.ends: Counter[str] = Counter()
        self.findings = findings
        self.found: set[str] = set()
        self.spool = findings / "workbook"
        self.last = findings / "last"

    def one(self, data: bytes) -> None:
        """Try one input; nothing is raised."""
        if len(data) < 3 or len(data) > MAX_BYTES:
            return
        self.inputs += 1
        if self.inputs % _SAID_EVERY == 0:
            self.say()
        self.last.write_bytes(data)  # what is left to see of an input that ends the process
        signal.alarm(LIMIT_S)
        try:
            self.ends[self._end_of(data)] += 1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a Rust panic is a BaseException
            self._keep(data, error)
        finally:
            signal.alarm(0)

    def say(self) -> None:
        """Print what the inputs have ended in so far; libFuzzer leaves no moment for it at the end."""
        took_s, peak_kb = time.monotonic() - self._begun_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{self.inputs:,} inputs in {took_s:,.0f} s, at most {peak_kb // 1024:,} MB; findings in {self.findings}"
        )
        for end, count in self.ends.most_common():
            print(f"{count:12,}  {end}")
        sys.stdout.flush()

    def _end_of(self, data: bytes) -> str:
        feed, kind = FEEDS[data[0] % len(FEEDS)], data[1] % 6
        content = data[2:] if kind in (CSV, BOOK) else book_with(PARTS[kind], data[2:])
        filename = "fuzz.csv" if kind == CSV else "fuzz.xlsx"
        with suppress(UnreadableFile):
            outline(content, filename)
        try:
            cells = read_cells(content, filename, feed)
            quotes = read_quotes(cells, feed, dictionary())
        except UnreadableFile:
            return "refused"
        if not len(quotes.values):
            return "no row"
        if kind == CSV:
            check_csv(content, feed, quotes)
            return "published"
        return self._check_book(content, filename, feed, cells, quotes)

    def _check_book(self, content: bytes, filename: str, feed: Feed, cells: Any, quotes: Quotes) -> str:
        self.spool.write_bytes(content)
        rows = sorted(int(row) for row in quotes.rows)
        headers = compared_headers(cells, feed)
        try:
            again = read_again(self.spool, filename, feed, headers, rows)
        except TooSlow:
            raise
        except Exception as error:  # noqa: BLE001 - the worker answers any of these with a refusal
            return f"second reading: {type(error).__name__}"
        differing = {difference.row for difference in compare(cells, again, headers, rows)}
        if differing:
            self._keep_disagreement(content, differing)
        agreed = quotes.values[~quotes.rows.isin(differing)]
        check_book(content, agreed)
        return "differed" if differing else "published"

    def _keep(self, data: bytes, error: BaseException) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        self.ends[place] += 1
        if place not in self.found:
            self.found.add(place)
            name = re.sub(r"\W+", "-", place)
            (self.findings / f"{name}.bin").write_bytes(data)
            (self.findings / f"{name}.txt").write_text("".join(traceback.format_exception(error)))
            print(f"found: {place}: {error}", flush=True)

    def _keep_disagreement(self, content: bytes, rows: set[int]) -> None:
        if self.ends["differed"] < 40:
            (self.findings / f"differed-{self.ends['differed']}.xlsx").write_bytes(content)


# --- what stands in a CSV, by the csv module


def check_csv(content: bytes, feed: Feed, quotes: Quotes) -> None:
    """Each published row is a row of the file; raises WrongValue."""
    csv.field_size_limit(sys.maxsize)
    text = content.decode(feed.encoding).lstrip("\ufeff")
    written = {}
    lines = list(io.StringIO(text, newline="\n" if "\n" in text else "\r"))
    first = max(feed.header_row, 2 if re.match(r'"?sep=', text, re.IGNORECASE) else 1) - 1
    records = csv.reader(lines[first:], delimiter=feed.delimiter)
    header = [name.strip(" \ufeff") for name in next(records)]
    for record in records:
        if len(record) == len(header):
            cells = dict(zip(header, record, strict=True))
            written.setdefault(cells["RIC"].strip(" "), []).append(cells)
    for ric, row in zip(quotes.values.index, quotes.values.astype(object).to_dict("records"), strict=True):
        if not any(
            all(_says(cells, field, token, feed) for field, token in row.items()) for cells in written.get(ric, ())
        ):
            raise WrongValue(f"{ric}: {row} of {written.get(ric)}")


def _says(cells: dict[str, str], field: str, token: object, feed: Feed) -> bool:
    """Whether the written cell has the meaning of the token."""
    written = cells[field]
    bare = written.strip(" ")
    if not isinstance(token, str):
        return bare == "" or bare in feed.blank
    if token == "null":
        return bare == feed.clear_token
    match dictionary().fields[field].kind:
        case Kind.REAL | Kind.INT | Kind.UINT:
            return _number(bare, feed) == Decimal(token)
        case Kind.DATE:
            return _date(bare, feed) == json.loads(token)
        case Kind.TIME:
            return (bare if bare.count(":") == 2 else f"{bare}:00").rstrip("0").rstrip(".") == json.loads(
                token
            ).rstrip("0")
        case Kind.ENUM:
            values = dictionary().fields[field].enum_values
            return json.loads(token) in (written, values.get(int(written)) if written.isdigit() else None)
    return bool(json.loads(token) == written)


def _number(text: str, feed: Feed) -> Decimal | None:
    percent = text.endswith("%")
    plain = text.removesuffix("%").replace(feed.thousands or "\0", "").replace(feed.decimal, ".")
    try:
        return Decimal(plain) / (100 if percent and feed.percent == "fraction" else 1)
    except ArithmeticError:
        # A zero stays one, whatever its exponent is; Decimal takes no endless one.
        return Decimal(0) if re.fullmatch(r"[+-]?0*\.?0*[eE][+-]?[0-9]+", plain) else None


def _date(text: str, feed: Feed) -> str | None:
    try:
        return datetime.strptime(text, feed.date_format).date().isoformat()
    except ValueError:
        return None


# --- what stands in a workbook, by its XML


def check_book(content: bytes, values: Any) -> None:
    """Each published RIC and number stands in the XML; raises WrongValue."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if "worksheets/" in name or name == PARTS[STRINGS]]
        xml = "".join(archive.read(name).decode("utf-8-sig", "replace") for name in names)
    if "_x" in xml or re.search(r"<(\w+:)?r[ >]", xml):
        return  # texts in pieces or with escapes: openpyxl's agreement has to do
    runs = {_xml_text(run) for run in re.findall(r">([^<]*)<", xml)}
    rics = {run.strip(" ") for run in runs}
    numbers = {number for run in runs for number in _as_numbers(run)}
    for ric, row in zip(values.index, values.astype(object).to_dict("records"), strict=True):
        if ric not in rics:
            raise WrongValue(f"{ric} stands nowhere")
        token = row.get("BID")
        if isinstance(token, str) and token != "null" and Decimal(token) not in numbers:
            raise WrongValue(f"{ric}: {token} stands nowhere")


def _xml_text(run: str) -> str:
    return unescape(run).replace("\r\n", "\n").replace("\r", "\n")


def _as_numbers(run: str) -> Iterator[Decimal]:
    """The number that a run is, by itself, at Excel's 15 digits, and as a percentage in points."""
    try:
        exact = Decimal(run.strip(" ").removesuffix("%"))
        yield exact
        yield exact.scaleb(-2)
        shown = Decimal(f"{float(run):.15g}")
        yield shown
        yield shown.scaleb(2)
    except (ArithmeticError, ValueError):
        return


# --- engines


def changed(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A few random changes behind the two bytes that say what it is."""
    content = bytearray(data[2:])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 9))):
        at, end = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
        end = min(end, at + rng.choice((1, 4, 16, 64, 4096)))
        match rng.randrange(7):
            case 0 if content:
                content[at % len(content)] = rng.randrange(256)
            case 1:
                del content[at:end]
            case 2:
                content[at:at] = content[at:end]
            case 3 | 4:
                content[at:at] = rng.choice(TOKENS)
            case 5:
                content[at:end] = rng.choice(TOKENS)
            case 6:
                other = rng.choice(others)[2:]
                start = rng.randrange(len(other) + 1)
                content[at:end] = other[start : start + rng.choice((4, 32, 256))]
    feed = rng.randrange(len(FEEDS)) if rng.random() < 0.1 else data[0]
    return bytes([feed, data[1]]) + bytes(content)


def at_random(fuzzer: Fuzzer, seconds: float, seed: int) -> None:
    """Inputs near the seeds, and near inputs that published something."""
    rng = random.Random(seed)
    pool = seeds()
    by_kind = {kind: [data for data in pool if data[1] == kind] for kind in range(6)}
    for data in pool:
        fuzzer.one(data)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        kind = rng.choice((CSV, CSV, BOOK, SHEET, SHEET, SHEET, STRINGS, STYLES, WORKBOOK))
        data = changed(rng.choice(by_kind[kind]), by_kind[kind], rng)
        before = fuzzer.ends["published"]
        fuzzer.one(data)
        if fuzzer.ends["published"] > before and rng.random() < 0.02 and len(data) < MAX_BYTES // 4:
            by_kind[kind].append(data)


def by_atheris(fuzzer: Fuzzer, seconds: float, seed: int) -> None:
    """Inputs that reach new lines; ends the process."""
    import atheris

    for module in [
        name for name in sys.modules if name.startswith(("contrib_watch.adapters.sheets", "contrib_watch.core"))
    ]:
        for function in _functions_of(sys.modules[module]):
            atheris.instrument_func(function)
    corpus = fuzzer.findings / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    words = fuzzer.findings / "words"
    words.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in token) + '"\n' for token in TOKENS))
    options = [
        f"-max_total_time={seconds:.0f}",
        f"-seed={seed}",
        f"-max_len={MAX_BYTES}",
        f"-dict={words}",
        f"-artifact_prefix={fuzzer.findings}/",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], fuzzer.one)
    atheris.Fuzz()


def _functions_of(module: Any) -> Iterator[Callable[..., Any]]:
    for value in vars(module).values():
        inside = vars(value).values() if isinstance(value, type) else [value]
        yield from (one for one in inside if type(one).__name__ == "function" and one.__module__ == module.__name__)


def main() -> int:
    """Fuzz until the time is over, and say how it ended."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--engine", choices=("atheris", "random"), default="random")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--findings", type=Path, default=None)
    options.add_argument("--child", action="store_true", help="fuzz in this process, which an input may end")
    chosen = options.parse_args()
    findings = chosen.findings or Path(tempfile.mkdtemp(prefix="fuzz-reading-"))
    findings.mkdir(parents=True, exist_ok=True)
    if chosen.child:
        return _fuzz(chosen, findings)
    failed, until_s = False, time.monotonic() + chosen.seconds
    while (seconds := until_s - time.monotonic()) > 0:
        line = [sys.executable, __file__, "--child", f"--engine={chosen.engine}", f"--findings={findings}"]
        done = subprocess.run([*line, f"--seed={chosen.seed}", f"--seconds={seconds}"], check=False)
        failed |= done.returncode != 0
        if done.returncode < 0 or done.returncode > 1:
            (findings / "last").rename(findings / f"ended-by-{done.returncode}-seed-{chosen.seed}.bin")
            print(f"found: an input that ends the process ({done.returncode})", flush=True)
        chosen.seed += 1
    return int(failed)


def _fuzz(chosen: argparse.Namespace, findings: Path) -> int:
    """In this process, with the reading process's memory."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _too_slow)
    fuzzer = Fuzzer(findings)
    atexit.register(fuzzer.say)
    {"atheris": by_atheris, "random": at_random}[chosen.engine](fuzzer, chosen.seconds, chosen.seed)
    return 1 if fuzzer.found else 0


def _too_slow(*_: object) -> None:
    raise TooSlow(f"more than {LIMIT_S} s")


if __name__ == "__main__":
    sys.exit(main())
