"""The report's page in a real browser: what a person sees in the first five seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from report_site import a_report

from contrib_watch.adapters.report_files import page
from contrib_watch.core.model import DropStatus, Outcome, Problem, Status
from contrib_watch.core.report import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,800",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PROBE = """<script>
const box = (selector) => { const found = document.querySelector(selector);
  return found ? Math.round(found.getBoundingClientRect().bottom) : null; };
window.alerted = 0; window.alert = () => { window.alerted += 1; };
addEventListener("load", () => { document.documentElement.setAttribute("data-probe", JSON.stringify({
  verdict: box("h1"), band: box(".band"), cause: box("ol.causes li"), row: box("tbody tr"),
  width: document.documentElement.scrollWidth, scripts: document.scripts.length, images: document.images.length,
  colours: ["good", "attention", "bad"].flatMap((level) => { document.querySelector("header").className = level;
    return [["h1", "header"], [".band p", ".band"], ["dt", "body"], [".what", "li"], ["td", ".tablebox"]].map(
      (pair) => pair.map((selector) => document.querySelector(selector))).filter((pair) => pair.every(Boolean)).map(
      ([ink, paper]) => [paper.tagName, getComputedStyle(ink).color, getComputedStyle(paper).backgroundColor]); }),
  clipped: [...document.querySelectorAll(".tablebox")].filter((box) => box.scrollWidth > box.clientWidth).length,
  requests: performance.getEntriesByType("resource").length, alerted: window.alerted,
})); });
</script>"""
"""Measures the page from inside. The page's own policy allows no script, so the tests put this in its place."""

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def nakked(row: int) -> Outcome:
    return Outcome(row, f"R{row}", Status.NAKKED, "Update", row, "BID 1 -> 2", "SymbolUnknown", "F44", attempts=1)


Look = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Open a report in the browser: the page as it then is, and what the probe measured."""

    def look(report: Report, *flags: str) -> tuple[str, dict[str, Any]]:
        html, policies = POLICY.subn(PROBE, page(report))
        assert policies == 1
        file = tmp_path / "report.html"
        file.write_text(html, "utf-8")
        command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={tmp_path}/profile", "--dump-dom", file.as_uri()]
        dom = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode("utf-8")
        (probe,) = re.findall(r'data-probe="([^"]*)"', dom)
        return dom, json.loads(unescape(probe))

    return look


def first_line(dom: str) -> str:
    """The text at the top of the page."""
    return re.sub(r"<[^>]+>", "", dom[dom.index("<body>") :]).strip().split("\n")[0]


def test_the_verdict_cause_and_row_are_seen_without_scrolling(look: Look) -> None:
    dom, probe = look(a_report(nakked(3), nakked(5), rows=100))
    assert "<title>2 of 100 NOT published; 98 unchanged" in dom
    assert probe["verdict"] < 120
    assert probe["cause"] < 500
    assert probe["row"] < 800


def test_the_verdict_comes_first_and_the_simulation_is_announced_right_below(look: Look) -> None:
    dom, probe = look(a_report(simulated=True, target="simulated"))
    assert first_line(dom) == "✔Nothing to send: 10 rows unchanged"
    assert probe["verdict"] < probe["band"] < 160
    assert "SIMULATED" in dom[dom.index("<title>") : dom.index("</title>")]
    assert look(a_report())[1]["band"] is None


def test_a_held_and_an_unreadable_file_say_so_in_the_first_line(look: Look) -> None:
    reason = "BID moved 9,900 % (limit 20 %)"
    held = a_report(Outcome(3, "R3", Status.HELD, changes="BID 1 -> 100"), status=DropStatus.HELD, reason=reason)
    dom, probe = look(held)
    assert first_line(dom) == f"✖NOTHING PUBLISHED: held, {reason}"
    assert probe["row"] < 800
    dom, probe = look(a_report(quotes=None, unreadable="the column BID is there twice"))
    assert first_line(dom) == "✖NOTHING PUBLISHED: the file could not be read: the column BID is there twice"
    assert probe["verdict"] < 160


def test_the_page_loads_nothing_and_runs_nothing(look: Look) -> None:
    assert POLICY.findall(page(a_report())) == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "<script" not in page(a_report(nakked(3)))
    assert look(a_report(nakked(3)))[1]["requests"] == 0


EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></title></style>\u202etxt.exe\n\x1b[2J"


def test_hostile_text_is_shown_and_never_obeyed(look: Look) -> None:
    problem = Problem(4, EVIL, EVIL, EVIL, EVIL, EVIL)
    outcomes = (
        Outcome(3, "R3", Status.NAKKED, "", 1, EVIL, EVIL, EVIL, EVIL, EVIL, 1),
        Outcome(4, EVIL, Status.REJECTED, text=EVIL),
        Outcome(5, "R5", Status.ACKED, EVIL, 1, EVIL, "", EVIL, EVIL, EVIL, 1),
    )
    options = dict.fromkeys(("service", "target", "version", "state_id", "config_hash"), EVIL)
    report = a_report(
        *outcomes, path=f"/in/{EVIL}.csv", problems=(problem,), missing=(EVIL,), warnings=(EVIL,), **options
    )
    dom, probe = look(report)
    assert (probe["scripts"], probe["images"], probe["alerted"], probe["requests"]) == (1, 0, 0, 0)
    assert "\u202e" not in dom
    assert "\x1b" not in dom
    assert "\\u202etxt.exe\\u000a" in dom


def test_a_long_name_does_not_widen_the_page(look: Look) -> None:
    reason = "x" * 400
    _, probe = look(a_report(path=f"/inbox/{'n' * 240}.csv", quotes=None, unreadable=reason))
    assert probe["width"] <= 1280


def test_on_a_telephone_nothing_is_beyond_the_edge_and_a_row_follows_its_reason(look: Look) -> None:
    _, probe = look(a_report(nakked(3), nakked(5), rows=100_000), "--window-size=500,900")
    assert probe["width"] <= 500
    assert probe["clipped"] == 0
    assert probe["verdict"] < 160


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance of ``rgb(1, 2, 3)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [[], ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]])
def test_everything_can_be_read_in_light_and_dark(look: Look, scheme: list[str]) -> None:
    """WCAG AA: 4.5 to 1, for each verdict's colour, the band, the facts, the causes and the table."""
    _, probe = look(a_report(nakked(3), simulated=True), *scheme)
    for _, ink, paper in probe["colours"]:
        darker, lighter = sorted((luminance(ink), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, paper)
    papers = {name: {colour for tag, _, colour in probe["colours"] if tag == name} for name in ("HEADER", "BODY")}
    assert len(probe["colours"]) == 15
    assert len(papers["HEADER"]) == 3
    assert (luminance(*papers["BODY"]) < 0.2) == bool(scheme)


def test_a_long_reason_is_not_squeezed_by_long_values(look: Look) -> None:
    reason = 'Sheet1!G23 "98,75" is not a number: write it like 1234.5, or set in the feed decimal = ","; ' * 2
    refused = nakked(5)._replace(changes="; ".join(f"FIELD_{number} {number}.25" for number in range(20)))
    _, probe = look(a_report(Outcome(3, "R3", Status.REJECTED, text=reason), refused, rows=100))
    assert probe["row"] < 800
