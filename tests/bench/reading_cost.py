"""What reading costs: 100,000 RICs x 10 numbers as CSV and as .xlsx, by each step of the way, side by side.

    python tests/bench/reading_cost.py [ROWS]

Each step is timed by itself on the same file, the best of three (of one where it takes more than ten seconds). The
last column is the time against the first step's; a workbook's first step is what pandas does with it.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import pandas as pd
import xlsxwriter

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.reader import Reader
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.dictionary import Dictionary
from contrib_watch.core.model import Feed
from contrib_watch.core.quotes import read_quotes

FIELDS = ("BID", "ASK", "MID_PRICE", "OPEN_PRC", "HIGH_1", "LOW_1", "HST_CLOSE", "YRHIGH", "YRLOW", "YIELD")
FEED = Feed(name="bench", folder=PurePath("bench"), service="TEST", percent="points")


def table(rows: int) -> Iterator[tuple[str, list[float]]]:
    """Prices with two to four decimals, the same ones every time."""
    rng = random.Random(1)
    for number in range(rows):
        price = rng.uniform(1, 200)
        yield f"RIC{number:06}=X", [round(price + rng.uniform(-1, 1), rng.choice((2, 3, 4))) for _ in FIELDS]


def as_csv(rows: int) -> bytes:
    lines = [",".join(("RIC", *FIELDS)), *(",".join((ric, *map(str, prices))) for ric, prices in table(rows))]
    return "".join(f"{line}\r\n" for line in lines).encode()


def as_workbook(rows: int, *, with_percent: bool = False) -> bytes:
    """With one percent cell the sheet is no plain one any more, and every cell is looked at."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Prices")
    sheet.write_row(0, 0, ["RIC", *FIELDS])
    for number, (ric, prices) in enumerate(table(rows), 1):
        sheet.write_row(number, 0, [ric, *prices])
    if with_percent:
        sheet.write(rows, 1, 0.045, book.add_format({"num_format": "0.0%"}))
    book.close()
    return file.getvalue()


def best(step: Callable[[], object]) -> float:
    """Seconds."""
    took_s = []
    while len(took_s) < 3 and sum(took_s) < 10:
        begun_s = time.perf_counter()
        step()
        took_s.append(time.perf_counter() - begun_s)
    return min(took_s)


def main(rows: int) -> None:
    """Print the table."""
    dictionary = load_dictionary(Fields())
    files = {"prices.csv": as_csv(rows), "prices.xlsx": as_workbook(rows)}
    files["percent.xlsx"] = as_workbook(rows, with_percent=True)
    print(f"{rows:,} rows x {len(FIELDS)} numbers\n\n{'':12} {'MB':>5}  {'step':42} {'s':>7}  ratio")
    with tempfile.TemporaryDirectory() as folder, Reader(patience_s=600) as reader:
        for name, content in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            first_s = 0.0
            for title, step in steps_of(path, name, reader, dictionary):
                took_s = best(step)
                first_s = first_s or took_s
                print(
                    f"{name:12} {len(content) / 1e6:5.1f}  {title:42} {took_s:7.3f}  {took_s / first_s:5.2f}",
                    flush=True,
                )


def steps_of(
    path: Path, name: str, reader: Reader, dictionary: Dictionary
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The steps with their titles."""
    if name.endswith(".xlsx"):
        yield "pandas.read_excel, by openpyxl", lambda: pd.read_excel(path, engine="openpyxl")
    content, cells = path.read_bytes(), reader.read_cells(path, name, FEED)
    numbers = cells.rows.to_pylist()
    yield "read_cells, in this process", lambda: read_cells(content, name, FEED)
    yield "read_cells, in the reading process", lambda: reader.read_cells(path, name, FEED)
    yield (
        "the same, and typed: what a drop waits for",
        lambda: read_quotes(reader.read_cells(path, name, FEED), FEED, dictionary),
    )
    yield "read_quotes (typing)", lambda: read_quotes(cells, FEED, dictionary)
    yield "second reading of 1 % of the rows", lambda: reader.second_reading(path, name, FEED, cells, numbers[::100])
    yield "second reading of all rows", lambda: reader.second_reading(path, name, FEED, cells, numbers)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
