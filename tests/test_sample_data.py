"""sample_data is read by the shipped feeds, with the mistakes that it has on purpose and no others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.config import load, load_dictionary
from contrib_watch.core.model import CLEARED, Quotes
from contrib_watch.core.quotes import read_quotes

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_data"
NAKKED = "XS9990002909=CWTST"
"""The RIC that the demo's fault script Naks."""


@dataclass(frozen=True)
class Sheet:
    feed: str
    day_one: str
    day_two: str
    rows: tuple[int, int]
    rejected: dict[str, list[tuple[str, str]]]
    """On day two: RIC to the cells and their texts."""
    changed: int
    new: tuple[str, ...]
    left_out: tuple[str, ...] = ()


SHEETS = [
    Sheet(
        feed="fx",
        day_one="fx_fixing_2026-11-19.csv",
        day_two="fx_fixing_2026-11-20.csv",
        rows=(24, 25),
        rejected={"CZKFIX=CWTST": [("row 13, Fixing Date", "2026-11-31")]},
        changed=7,
        new=("EURCHFFIX=CWTST",),
    ),
    Sheet(
        feed="bonds",
        day_one="bond_evaluations_2026-11-19.xlsx",
        day_two="bond_evaluations_2026-11-20.xlsx",
        rows=(26, 28),
        rejected={"XS9990002271=CWTST": [("Evaluations!G23", "98,75"), ("Evaluations!I23", "#VALUE!")]},
        changed=8,
        new=("XS9990002834=CWTST", NAKKED),
    ),
    Sheet(
        feed="funds",
        day_one="fund_navs_2026-11-19.csv",
        day_two="fund_navs_2026-11-20.csv",
        rows=(20, 20),
        rejected={"CWEMDB=CWTST": [("row 10, NAV", "103.61"), ("row 10, Veränderung", "0.13")]},
        changed=7,
        new=("CWBIOT=CWTST",),
        left_out=("CWJPEQ=CWTST",),
    ),
]

each_sheet = pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.feed)


@cache
def quotes(feed_name: str, file: str) -> Quotes:
    settings = load(ROOT / "config.toml", {})
    feed = next(feed for feed in settings.feeds if feed.name == feed_name)
    content = (SAMPLES / feed_name / file).read_bytes()
    return read_quotes(read_cells(content, file, feed), feed, load_dictionary(settings.fields))


@each_sheet
def test_day_one_is_clean(sheet: Sheet) -> None:
    day_one = quotes(sheet.feed, sheet.day_one)
    assert (day_one.rows_read, len(day_one.values)) == (sheet.rows[0], sheet.rows[0])
    assert (day_one.problems, day_one.warnings, day_one.twins) == ((), (), {})


@each_sheet
def test_day_two_has_the_mistakes_that_were_meant(sheet: Sheet) -> None:
    day_two = quotes(sheet.feed, sheet.day_two)
    rejected: dict[str, list[tuple[str, str]]] = {}
    for problem in day_two.problems:
        rejected.setdefault(problem.ric, []).append((problem.where, problem.text))
    assert rejected == sheet.rejected
    assert (day_two.rows_read, len(day_two.values)) == (sheet.rows[1], sheet.rows[1] - len(rejected))
    assert (day_two.warnings, day_two.twins) == ((), {})


@each_sheet
def test_day_two_changes_a_few_rows_and_repeats_the_rest(sheet: Sheet) -> None:
    before, after = (quotes(sheet.feed, file).values for file in (sheet.day_one, sheet.day_two))
    common = after.index.intersection(before.index)
    contributed = after.loc[common].notna()
    differs = (after.loc[common].fillna("") != before.loc[common].fillna("")) & contributed
    assert int(differs.any(axis="columns").sum()) == sheet.changed
    assert tuple(after.index.difference(before.index, sort=False)) == sheet.new
    absent = before.index.difference([*after.index, *sheet.rejected])
    assert tuple(absent) == sheet.left_out


def test_values_arrive_as_the_sheets_mean_them() -> None:
    fx = quotes("fx", "fx_fixing_2026-11-20.csv").values
    assert fx.loc["ILSFIX=CWTST", "BID"] == "3.72754"
    assert fx.loc["BRLFIX=CWTST"].isna().to_dict() == {
        "BID": True, "ASK": True, "MID_PRICE": False, "FIX_DATE": False, "QUOTIM": False, "CTBTR_1": False,
    }  # fmt: skip
    bond = quotes("bonds", "bond_evaluations_2026-11-20.xlsx").values.loc["XS9990001083=CWTST"]
    assert bond.to_dict() == {
        "ISIN_CODE": '"XS9990001083"', "CURRENCY": '"GBP"', "COUPN_RATE": "2.875", "MATUR_DATE": '"2033-10-20"',
        "BID": "96.291", "ASK": "96.411", "MID_PRICE": "96.351", "BID_YIELD": "3.506", "ACCR_INT": "1.142123",
        "MOD_DURTN": "6.19", "QUOTE_DATE": '"2026-11-20"', "QUOTIM": '"16:15:00"',
    }  # fmt: skip
    funds = quotes("funds", "fund_navs_2026-11-20.csv").values
    assert funds.loc["CWGEQI=CWTST", ["NAV", "NAV_NETCHN", "VALUE_DT1"]].tolist() == [
        "12431.18", "-49.37", '"2026-11-20"',
    ]  # fmt: skip
    assert funds.loc["CWEUSC=CWTST", ["DIVIDEND", "EXDIVDATE"]].tolist() == [CLEARED, CLEARED]


def test_every_sheet_blanks_some_cells() -> None:
    for sheet in SHEETS:
        assert quotes(sheet.feed, sheet.day_one).values.isna().to_numpy().any(), sheet.feed


def test_the_readme_names_every_file_and_tells_its_rows_and_mistakes() -> None:
    lines = (SAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    table = {match[1]: line for line in lines if (match := re.match(r"\| `(\S+)` \|", line))}
    assert set(table) == {path.relative_to(SAMPLES).as_posix() for path in SAMPLES.glob("*/*")}
    for sheet in SHEETS:
        assert f"| {sheet.rows[0]} |" in table[f"{sheet.feed}/{sheet.day_one}"]
        line = table[f"{sheet.feed}/{sheet.day_two}"]
        unchanged = sheet.rows[1] - sheet.changed - len(sheet.new) - len(sheet.rejected)
        assert f"| {sheet.rows[1]} | {sheet.changed} rows changed, {len(sheet.new)} new" in line
        assert f"{unchanged} unchanged" in line
        assert all(f"`{ric}`" in line for ric in (*sheet.new, *sheet.rejected, *sheet.left_out))
    assert any(line.startswith(f"`{NAKKED}` is the RIC that the demo's fault script Naks") for line in lines)
