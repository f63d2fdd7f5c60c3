"""Hazards from a file in a folder to the Ack report beside it, as the program runs; and what opens such reports."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from judged import HAZARDS
from workbooks import OFFICE

from contrib_watch.cli import main
from contrib_watch.core.report import spreadsheet_raw

BY_NAME = {hazard.name: hazard for hazard in HAZARDS}
REJECTED, ACKED, NOTHING_DONE = "rejected", "acked", 3


def run(home: Path, *names: str, feed: Mapping[str, Any] | None = None) -> dict[str, Path]:
    """Drop these hazards, run once against the simulated ADS, and give the CSV report of each."""
    (home / "in").mkdir()
    lines = ["[ads]", 'hosts = ["simulated"]', 'user = "tester"', "rate_limit = 0"]
    lines += ["[[feeds]]", 'name = "prices"', 'folder = "in"', 'service = "TEST"', "settle_seconds = 0"]
    (home / "config.toml").write_text(
        "\n".join([*lines, *(f"{key} = {value}" for key, value in (feed or {}).items())])
    )
    for name in names:
        hazard = BY_NAME[name]
        (home / "in" / f"{name}{Path(hazard.filename).suffix}").write_bytes(hazard.build())
    done = CliRunner().invoke(main, ["run", "--config", str(home / "config.toml"), "--once"])
    assert done.exit_code == NOTHING_DONE, done.output
    reports = {path.name.partition(".")[0]: path for path in (home / "in").glob("*.ack.csv")}
    assert set(reports) == set(names)
    return reports


def rows(report: Path) -> list[dict[str, str]]:
    with report.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_hazards_end_in_reports_that_explain_them(tmp_path: Path) -> None:
    names = (
        "error-cells",
        "unquoted-thousands",
        "password-by-hand",
        "array-nobody-calculated",
        "unclosed-quote",
    )
    reports = run(tmp_path, *names)
    statuses = {name: [(row["row"], row["ric"], row["status"]) for row in rows(reports[name])] for name in names}
    assert statuses["error-cells"] == [(f"Prices!{n}", f"R{n}=X", REJECTED) for n in range(2, 9)]
    assert statuses["unquoted-thousands"] == [("3", "", REJECTED), ("2", "GOOD=X", ACKED)]
    assert statuses["password-by-hand"] == statuses["unclosed-quote"] == [("", "", REJECTED)]
    assert ("Prices!3", "A=X", REJECTED) in statuses["array-nobody-calculated"]
    (password,) = rows(reports["password-by-hand"])
    assert "password" in password["text"]
    assert "without a password" in password["text"]
    assert "line 3" in rows(reports["unclosed-quote"])[0]["text"]
    assert "1,234.5" in rows(reports["unquoted-thousands"])[0]["text"]
    for row in rows(reports["error-cells"]):
        assert f"Prices!B{row['row'].removeprefix('Prices!')}" in row["text"]


def test_no_formula_reaches_a_spreadsheet_program(tmp_path: Path) -> None:
    report = run(tmp_path, "formula-injection")["formula-injection"]
    found = rows(report)
    dangerous = [value for row in found for value in row.values() if value[:1] in tuple("=+-@\t\r")]
    assert dangerous == []
    rics = pa.array([row["ric"] for row in found])
    assert set(spreadsheet_raw(rics).to_pylist()) == {
        "=cmd|'/C calc'!A0",
        "@SUM(1)",
        "A=X",
        "-2+3",
    }  # nothing is lost


@pytest.mark.skipif(not OFFICE, reason="LibreOffice is not installed")
def test_libreoffice_finds_no_formula_in_a_report(tmp_path: Path) -> None:
    report = run(tmp_path, "formula-injection")["formula-injection"]
    line = [OFFICE, "--headless", f"-env:UserInstallation=file://{tmp_path}/profile", "--convert-to", "xlsx"]
    subprocess.run([*line, "--outdir", str(tmp_path), str(report)], check=True, capture_output=True, timeout=90)
    sheet = openpyxl.load_workbook(tmp_path / f"{report.stem}.xlsx").worksheets[0]
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert any("cmd" in str(cell.value) for cell in cells)
    assert [cell.coordinate for cell in cells if cell.data_type == "f"] == []


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_markup_of_a_file_reaches_its_page(tmp_path: Path) -> None:
    report = run(tmp_path, "html-injection")["html-injection"]
    page = report.with_suffix(".html").read_text(encoding="utf-8")
    assert "&lt;img src=x&gt;" in page
    elements = _Elements()
    elements.feed(page)
    tags = {tag for tag, _ in elements.found}
    assert tags.isdisjoint({"img", "svg", "iframe", "object"})
    assert not any(name.startswith("on") or name == "src" for _, attributes in elements.found for name in attributes)
    assert not any(text in page for text in ("<script>alert", "<b>bold"))
