"""Rows that two programs read differently are not posted, and say so."""

from __future__ import annotations

import csv
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import xlsxwriter
from virtual_site import NewSite, Site, make_feed

from contrib_watch.core.model import DropStatus, Quotes
from contrib_watch.pipeline.second_look import _rows

PRICES = [("A=", 1.5, None), ("B=", 45000.25, "*d0"), ("C=", 3, None)]
"""RIC, BID and its number format; one of the two programs takes ``*d0``, which fills a cell with d, for a date's."""


@pytest.fixture
def doubtful(tmp_path: Path) -> bytes:
    """A workbook on whose row 3 the two programs differ."""
    path = tmp_path / "doubtful.xlsx"
    write_prices(path, PRICES)
    return path.read_bytes()


def write_prices(path: Path, prices: list[tuple[str, float, str | None]]) -> None:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["RIC", "BID"])
        for row, (ric, bid, number_format) in enumerate(prices, 1):
            sheet.write_string(row, 0, ric)
            sheet.write_number(row, 1, bid, book.add_format({"num_format": number_format or "General"}))


def reported(site: Site, report: Path) -> list[dict[str, str]]:
    with report.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_on_which_they_differ_is_rejected_and_the_others_go(site: Site, doubtful: bytes) -> None:
    site.save(doubtful, "prices.xlsx")
    (finished,) = site.run()
    assert [post[1] for post in site.sent()] == ["A=", "C="]
    assert site.statuses(1) == {"A=": "acked", "B=": "rejected", "C=": "acked"}
    row = reported(site, finished.report)[0]
    assert (row["row"], row["status"]) == ("Sheet1!3", "rejected")
    assert "Sheet1!B3" in row["text"]
    assert '"45000.25 (number) / 2023-03-15T06:00:00 (datetime)"' in row["text"]
    assert "was read differently by a second program: save the file again" in row["text"]
    page = finished.report.with_suffix(".html").read_text(encoding="utf-8")
    assert "second reading: differed on 1 of 3 rows, which is not posted" in page


def test_a_feed_may_do_without(new_site: NewSite, doubtful: bytes) -> None:
    site = new_site(replace(make_feed("fx"), second_reading="never"))
    site.save(doubtful, "prices.xlsx")
    (finished,) = site.run()
    assert site.statuses(1) == {"A=": "acked", "B=": "acked", "C=": "acked"}
    page = finished.report.with_suffix(".html").read_text(encoding="utf-8")
    assert "second reading: not done (second_reading = &#34;never&#34;)" in page


def test_only_what_would_be_posted_is_compared(new_site: NewSite, doubtful: bytes) -> None:
    site = new_site(replace(make_feed("fx"), second_reading="never"))
    site.save(doubtful, "prices.xlsx")
    site.run()
    site.settings = replace(
        site.settings, feeds=tuple(replace(feed, second_reading="always") for feed in site.settings.feeds)
    )
    path = site.base / "changed.xlsx"
    write_prices(path, [PRICES[0], PRICES[1], ("C=", 4, None)])
    site.save(path.read_bytes(), "prices.xlsx")
    (finished,) = site.run()
    assert site.statuses(2)["C="] == "acked"
    assert finished.totals == {**dict.fromkeys(finished.totals, 0), "unchanged": 2, "acked": 1}
    page = finished.report.with_suffix(".html").read_text(encoding="utf-8")
    assert "second reading: agreed on 1 row" in page


def test_copies_of_a_row_in_doubt_are_in_doubt(site: Site) -> None:
    path = site.base / "copies.xlsx"
    write_prices(path, [("A=", 45000.25, None), ("B=", 1, None), ("A=", 45000.25, "*d0")])
    site.save(path.read_bytes(), "prices.xlsx")
    (finished,) = site.run()
    assert [post[1] for post in site.sent()] == ["B="]
    texts = {row["row"]: row["text"] for row in reported(site, finished.report) if row["status"] == "rejected"}
    assert set(texts) == {"Sheet1!2", "Sheet1!4"}
    assert all("Sheet1!B4" in text for text in texts.values())


def test_a_row_in_doubt_supersedes_nothing(site: Site, doubtful: bytes) -> None:
    site.save("RIC,BID\nA=,7\nB=,8\n", "prices.csv")
    site.save(doubtful, "prices.xlsx")
    site.run()
    assert site.statuses(1) == {"A=": "superseded", "B=": "acked"}
    assert site.value("B=", "BID") == 8


def test_a_file_that_the_second_program_cannot_read_is_rejected(site: Site, doubtful: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "doubtful.xlsx") as plain, zipfile.ZipFile(tmp_path / "odd.xlsx", "w") as odd:
        for name in plain.namelist():
            created = re.sub(rb"(<dcterms:created[^>]*>)[^<]*", rb"\1once upon a time", plain.read(name))
            odd.writestr(name, created)
    site.save((tmp_path / "odd.xlsx").read_bytes(), "prices.xlsx")
    (finished,) = site.run()
    assert finished.drop.status is DropStatus.REJECTED
    assert "the second program that reads every file gave up on it" in finished.drop.reason
    assert site.sent() == []


def test_a_ric_that_no_row_has_is_not_taken_for_another_row() -> None:
    rics = pd.Index(["A=", "B="], dtype="str")
    quotes = Quotes(pd.DataFrame(index=rics), pd.Series([2, 3], rics), twins={}, problems=(), rows_read=2)
    assert _rows(quotes, rics[1:]) == {3: "B="}
    with pytest.raises(KeyError):
        _rows(quotes, pd.Index(["C="], dtype="str"))
