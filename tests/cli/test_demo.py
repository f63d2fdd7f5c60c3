"""``demo``: the two days run as they are written, and what they print can be read at 80 columns."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cli_site import PROGRAM, Site
from click.testing import CliRunner

from contrib_watch.cli import main


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The demo in a process and a folder of its own."""
    home = tmp_path_factory.mktemp("demo") / "new" / "home"
    line = [str(PROGRAM), "demo", "--folder", str(home)]
    env = {"PATH": "/usr/bin:/bin", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=60), home


def test_it_runs_as_scripted(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, home = played
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("6 drops: 95 rows acknowledged, 1 nakked, 3 rejected")
    assert (home / "config.toml").exists()


def test_the_mistakes_are_explained(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    text = " ".join(played[0].stdout.split())
    for ric, because in (
        ("XS9990002909=CWTST nakked", "DeniedBySrc Not"),
        ("XS9990002271=CWTST rejected", '"98,75" is not a number'),
        ("CZKFIX=CWTST rejected", '"2026-11-31"'),
        ("CWEMDB=CWTST rejected", '"103.61"'),
    ):
        assert ric in text
        assert because in text


def test_it_shows_some_changes_and_says_how_many_more(
    played: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    text = played[0].stdout
    changes = text[text.index("day 2: some of what") : text.index("day 2: not published")]
    assert changes.count("=CWTST") == 12
    assert "EURFIX=CWTST" in changes
    assert "BID 1.08413 -> 1.08641; 3 more" in changes
    assert sum(int(more) for more in re.findall(r"^  (\d+) more +in its report", changes, re.MULTILINE)) == 25 - 12


def test_a_page_of_80_columns(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    lines = played[0].stdout.splitlines()
    reports = [line for line in lines if line.startswith("  /")]
    assert len(lines) < 70
    assert max(len(line) for line in lines if line not in reports) <= 80
    assert not any("…" in line for line in lines)
    assert not any("superseded" in line for line in lines)  # no columns of zeros


def test_every_report_that_it_names_is_there(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, home = played
    named = [Path(line.strip()) for line in done.stdout.splitlines() if line.endswith(".ack.html")]
    assert len(named) == 6
    assert sorted(named) == sorted(home.resolve().rglob("*.simulated.ack.html"))


def test_its_folder_can_be_worked_with(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    config = str(played[1] / "config.toml")
    done = CliRunner().invoke(main, ["run", "--once", "--config", config])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "6 done" not in done.stderr
    assert "2 done" in CliRunner().invoke(main, ["status", "--config", config]).stdout


def test_a_folder_that_exists_is_left_alone(site: Site) -> None:
    before = sorted(site.home.rglob("*"))
    done = CliRunner().invoke(main, ["demo", "--folder", str(site.home)])
    assert done.exit_code == 2
    assert f"{site.home}: the demo's folder exists" in done.stderr
    assert "not there yet" in done.stderr
    assert sorted(site.home.rglob("*")) == before


def test_a_folder_that_cannot_be_made(site: Site) -> None:
    (site.home / "file").touch()
    done = CliRunner().invoke(main, ["demo", "--folder", str(site.home / "file" / "home")])
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr


def test_the_readme_shows_what_it_prints(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Its first lines and its last; drops are numbered as they arrive, which differs from run to run."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    printed = played[0].stdout.splitlines()
    for line in ("day 1: three files are dropped", "day 2: not published, on purpose", printed[-1]):
        assert line in printed
        assert line in readme
