"""Why was my file not picked up? Every file of a folder, as ``status`` tells it, with and without a daemon."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_site import CLOSED, Site, ads, eventually, sheet
from click.testing import CliRunner

from contrib_watch.cli import main


def why(site: Site, *args: str) -> str:
    """What ``status`` prints; run in this process, because a test asks many times."""
    done = CliRunner().invoke(main, ["status", "--config", str(site.config), *args])
    assert done.exit_code == 0, done.output
    return done.stdout


def status(site: Site) -> dict[str, Any]:
    return json.loads(why(site, "--json"))


def files(site: Site) -> dict[str, dict[str, Any]]:
    """The files of the only feed, by name."""
    (feed,) = status(site)["feeds"]
    return {file.pop("name"): file for file in feed["files"]}


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@contextmanager
def with_daemon(site: Site) -> Iterator[None]:
    """A daemon that has scanned the folder since it started."""
    before = site.query("SELECT value FROM meta WHERE key = 'scan prices'")
    with site.running():
        eventually(
            lambda: site.query("SELECT value FROM meta WHERE key = 'scan prices'") != before, "the folder is scanned"
        )
        yield


# --- without a daemon


def test_without_a_daemon_status_looks_itself_and_changes_nothing(site: Site) -> None:
    site.configure(CLOSED, feed={"done_marker": ".done", "max_bytes": 1000})
    site.drop("unmarked.csv", sheet("A=,1"))
    site.drop("marked.csv", sheet("A=,1"))
    site.drop("marked.csv.done", "")
    site.drop("old.csv", sheet("A=,1"), age_days=30)
    site.drop("old.csv.done", "")
    site.drop("big.csv", "x" * 1001)
    site.drop("big.csv.done", "")
    site.drop("notes.txt", "")
    (site.inbox / "sub.csv").mkdir()
    before = everything(site.home)
    found = status(site)
    assert found["running"] is None
    assert everything(site.home) == before
    told = {file["name"]: (file["state"], file["reason"]) for file in found["feeds"][0]["files"]}
    assert told.pop("marked.csv") == ("found", "not looked at yet: the next run takes it once it is complete")
    assert told.pop("unmarked.csv") == ("waiting for its marker", "waits for its marker unmarked.csv.done")
    state, reason = told.pop("old.csv")
    assert (state, "will not send it by itself, last saved 30 days" in reason) == ("found", True)
    state, reason = told.pop("big.csv")
    assert (state, "1,001 bytes are above max_bytes" in reason) == ("found", True)
    assert {name: state for name, (state, _) in told.items()} == dict.fromkeys(
        ("marked.csv.done", "old.csv.done", "big.csv.done", "notes.txt", "sub.csv"), "ignored"
    )
    text = why(site)
    assert "run by no process, so nothing is sent" in text
    assert "waits for its marker unmarked.csv.done" in text
    assert everything(site.home) == before


def test_a_folder_that_is_not_there_is_told(site: Site) -> None:
    site.configure(CLOSED)
    site.inbox.rmdir()
    (feed,) = status(site)["feeds"]
    assert "does not exist" in feed["outage"]
    assert "does not exist" in " ".join(why(site).split())


# --- what became of drops


def test_every_file_of_earlier_runs_is_told_with_its_drop(site: Site) -> None:
    with ads() as server:
        site.configure(server.host + f":{server.port}", feed={"max_bytes": 1000})
        site.drop("done.csv", sheet("A=,1"))
        site.drop("empty.csv", "")
        site.drop("broken.csv", "RIC,BID\nA=,1\0\0\0\n")
        site.drop("big.csv", "x" * 1001)
        site.drop("backlog.csv", sheet("B=,1"), age_days=30)
        code, drops = site.once()
        assert code == 3
        site.drop("held.csv", sheet("C=,1"), age_days=30)
        site.once()
        for _ in range(2):  # saved again: a drop after other drops of the feed, and then no more
            site.drop("done.csv", sheet("A=,1"))
            site.once()
    told = files(site)
    number = {Path(drop["file"]).name: drop["drop"] for drop in drops}
    for name in ("empty.csv", "broken.csv", "big.csv"):
        assert (told[name]["state"], told[name]["drop"]) == ("rejected", number[name])
        assert [row["status"] for row in site.rows(name)] == ["rejected"]
    assert "the file is empty" in told["empty.csv"]["reason"]
    assert "NUL" in told["broken.csv"]["reason"]
    assert "1,001 bytes" in told["big.csv"]["reason"]
    assert told["held.csv"]["state"] == "held"
    assert "last saved 30 days" in told["held.csv"]["reason"]
    assert told["backlog.csv"]["state"] == "backlog"
    assert told["done.csv"]["state"] == "same"
    assert told["done.csv"]["reason"] == f"saved again, same as drop {told['done.csv']['drop']}"
    (report,) = site.reports("empty.csv")
    assert why(site, "empty.csv").endswith(f"; 1 rejected; report {report}\n")
    reports = {name: file for name, file in told.items() if ".ack." in name}
    assert {file["reason"] for file in reports.values()} == {"a report of this program"}
    assert told.keys() == {path.name for path in site.inbox.iterdir()}


def test_a_file_that_is_gone_is_not_listed_any_more(site: Site) -> None:
    with ads() as server:
        site.configure(f"{server.host}:{server.port}")
        path = site.drop("prices.csv", sheet("A=,1"))
        site.once()
    path.unlink()
    assert "prices.csv" not in files(site)
    assert "drop 1 was a file of this name" in why(site, "prices.csv")


# --- while a daemon runs


def test_while_a_daemon_runs_its_last_scan_is_told(site: Site) -> None:
    site.configure(CLOSED, feed={"settle_seconds": 3600})
    site.drop("prices.csv", sheet("A=,1"))
    with with_daemon(site):
        found = status(site)
        (feed,) = found["feeds"]
        (file,) = feed["files"]
        assert found["running"]
        assert feed["last_good_scan_utc"]
        assert file["state"] == "settling"
        assert 3000 < file["taken_in_s"] <= 3600
        with (site.inbox / "prices.csv").open("a") as more:
            more.write("B=,2\n")
        eventually(lambda: files(site)["prices.csv"]["state"] == "being written", "the change is seen")
        assert "last good scan" in why(site)


def test_a_drop_that_waits_for_the_connection_is_told(site: Site) -> None:
    site.configure(CLOSED)
    site.drop("prices.csv", sheet("A=,1"))
    with with_daemon(site):
        eventually(lambda: files(site).get("prices.csv", {}).get("state") == "sending", "the drop waits")
        assert files(site)["prices.csv"]["drop"] == 1


def test_a_marker_lets_the_daemon_take_the_file_and_is_left(site: Site) -> None:
    with ads() as server:
        site.configure(f"{server.host}:{server.port}", feed={"done_marker": ".done"})
        site.drop("prices.csv", sheet("A=,1"))
        with with_daemon(site):
            assert files(site)["prices.csv"]["state"] == "waiting for its marker"
            marker = site.inbox / "prices.csv.done"
            marker.touch()
            eventually(lambda: site.over(1), "the drop is over")
            assert marker.exists()
            assert files(site)["prices.csv"]["state"] == "done"


# --- status FILE


def test_status_of_single_files_answers_for_these_alone(site: Site) -> None:
    site.configure(CLOSED)
    site.drop("prices.csv", sheet("A=,1"))
    site.drop("other.csv", sheet("A=,1"))
    elsewhere = site.home / "elsewhere.csv"
    elsewhere.touch()
    (site.inbox / "sub").mkdir()
    below = site.inbox / "sub" / "prices.csv"
    below.touch()
    text = why(site, "prices.csv", str(elsewhere), str(below), "nowhere.csv", "--", "-x.csv")
    lines = text.splitlines()
    assert lines[0] == "prices.csv (prices): found: not looked at yet: the next run takes it once it is complete"
    assert lines[1].startswith(f"{elsewhere}: not watched: no feed watches its folder")
    assert str(site.inbox) in lines[1]
    assert lines[2].startswith(f"{below}: not watched: it lies in a folder within {site.inbox}")
    assert "nowhere.csv: not there" in lines[3].replace(" (prices)", "")
    assert len(lines) == 5
    (answer,) = json.loads(why(site, "--json", str(site.inbox / "prices.csv")))["files"]
    assert (answer["feed"], answer["name"], answer["state"]) == ("prices", "prices.csv", "found")


# --- names


AWKWARD = [
    "a\nb.csv",
    "a\x1b[2Jb\r.csv",
    "'\"; drop `x`.csv",
    "<script>alert(1)<script>.csv",
    "[red]a[bold].csv",
    "x" * 251 + ".csv",
    "я" * 125 + "y.csv",
    "prices\u202evsc.csv",
    "--config=x.csv",
    "a\\..\\..\\b.csv",
    "=1+1.csv",
]


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
def test_no_name_does_harm_in_logs_reports_pages_or_status(site: Site) -> None:
    with ads() as server:
        site.configure(f"{server.host}:{server.port}")
        for number, name in enumerate(AWKWARD):
            site.drop(name, sheet(f"R{number}=,1", f"S{number}=,x"))
        os.mkfifo(site.inbox / "pipe.csv")
        (site.inbox / "out.csv").symlink_to("/etc/passwd")
        before = set(site.home.rglob("*"))
        done = site.invoke("run", "--once")
    assert done.exit_code == 3, done.stderr
    made = {path for path in set(site.home.rglob("*")) - before if ".contrib_watch" not in path.parts}
    assert {path.parent for path in made} == {site.inbox}
    assert len(made) == 2 * len(AWKWARD)
    assert max(len(os.fsencode(path.name)) for path in made) <= 255
    for page in (path for path in made if path.suffix == ".html"):
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
    for text in (done.stdout, done.stderr, why(site), why(site, *AWKWARD[:3])):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\nb.csv" not in text
    logged = [line for line in done.stderr.splitlines() if "file seen" in line]
    assert len(logged) == len(AWKWARD)
    told = files(site)
    assert {told[name]["state"] for name in AWKWARD} == {"done"}
    assert told["pipe.csv"]["state"] == told["out.csv"]["state"] == "ignored"
    assert stat.S_ISFIFO((site.inbox / "pipe.csv").stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
def test_no_name_breaks_a_json_log_line(site: Site) -> None:
    site.configure(CLOSED, more='[log]\nformat = "json"\n', feed={"service": "TEST"}, connect_timeout_s=0.5)
    for name in AWKWARD:
        site.drop(name, "")
    done = site.invoke("run", "--once")
    seen = [line for line in map(json.loads, done.stderr.splitlines()) if line["event"] == "file seen"]
    assert {line["file"] for line in seen} == set(AWKWARD)
