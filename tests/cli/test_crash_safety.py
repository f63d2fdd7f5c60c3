"""A state that is lost, damaged, full or not to be written, and two installations on one folder."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli_site import CLOSED, DEADLINE_S, SERVICE, Site, ads, eventually, held, posts, sheet

from contrib_watch.simulator.faults import FaultScript

SMALL = 'folder = "disk/state"\nmin_free = "2MB"'


def state_folder(site: Site) -> Path:
    return site.home / ".contrib_watch"


def spooled(site: Site) -> Path:
    (found,) = (path for path in (state_folder(site) / "spool").rglob("*") if path.is_file())
    return found


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def one_bit_other(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # the last digit of a price
    path.write_bytes(content)


# the copies of the files


@pytest.mark.parametrize("damage", [emptied, one_bit_other, Path.unlink])
def test_a_damaged_copy_is_not_read(site: Site, damage: Callable[[Path], None]) -> None:
    site.configure(CLOSED, connect_timeout_s=0.2)
    site.drop("prices.csv", sheet("A=T,12.5"))
    assert site.invoke("run", "--once").exit_code == 5  # accepted, and not sent
    damage(spooled(site))
    with ads() as server:
        site.configure(server.address)
        code, (drop,) = site.once()
        assert (code, drop["status"]) == (3, "failed")
        reason = site.status()["drops"][0]["reason"]
        assert "damaged" in reason or "cannot be read" in reason
        assert "Save the file again" in reason
        assert reason.startswith(str(site.inbox / "prices.csv"))
        assert posts(server) == []
        site.drop("prices.csv", sheet("A=T,12.5"))
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "12.5"}


def test_a_report_that_cannot_be_made_anew_stops_nothing_else(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("old.csv", sheet("OLD=T,1"))
        site.once()
        with contextlib.closing(sqlite3.connect(site.database)) as connection, connection:
            connection.execute("UPDATE reports SET whole = 0")  # it was not known to be on the disk yet
        emptied(spooled(site))
        site.drop("new.csv", sheet("NEW=T,2"))
        done = site.invoke("run", "--once")
        assert done.exit_code == 0
        assert "report not written" in done.stderr
        assert "is damaged" in done.stderr
        assert held(server) == {"OLD=T": "1", "NEW=T": "2"}


def test_an_empty_report_left_by_a_power_cut_is_not_taken_for_the_report(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        (report,) = site.reports()
        emptied(report)
        emptied(report.with_suffix(".html"))
        with contextlib.closing(sqlite3.connect(site.database)) as connection, connection:
            connection.execute("UPDATE reports SET whole = 0")  # it was not known to be on the disk yet
        assert site.once()[0] == 0
    whole = [path for path in site.reports() if path.stat().st_size]
    assert len(whole) == 1
    assert "A=T" in whole[0].read_text()


# a state that is gone


def test_a_lost_database_is_not_taken_for_a_first_start(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        site.database.unlink()
        for command in ("run", "status", "approve"):
            done = site.invoke(command, *{"run": ["--once"], "status": [], "approve": ["1"]}[command])
            assert done.exit_code == 2
            assert "state restore" in done.stderr
        assert len(posts(server)) == 1
        done = site.invoke("run", "--once", "--accept-empty-state")
        assert done.exit_code == 0, done.stderr
        assert len(posts(server)) == 2
        assert site.invoke("run", "--once").exit_code == 0
        assert len(posts(server)) == 2


def test_a_lost_folder_is_not_taken_for_a_first_start_either(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        lost = site.status()["state"]["id"]
        shutil.rmtree(state_folder(site))
        for _ in range(2):  # the first refusal makes no state that the second one would take for the old one
            done = site.invoke("run", "--once")
            assert done.exit_code == 2
            assert lost in done.stderr
            assert "state restore FILE" in done.stderr
            assert "--accept-empty-state" in done.stderr
        assert len(posts(server)) == 1
        assert site.invoke("run", "--once", "--accept-empty-state").exit_code == 0
        assert site.invoke("run", "--once").exit_code == 0
        assert len(posts(server)) == 2


def test_an_accepted_empty_state_is_accepted_before_its_first_drop_too(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        path = site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        path.unlink()
        shutil.rmtree(state_folder(site))
        assert site.invoke("run", "--once", "--accept-empty-state").exit_code == 0
        assert site.invoke("run", "--once").exit_code == 0


def test_reports_whose_page_is_gone_count_too(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        shutil.rmtree(state_folder(site))
        for page in site.inbox.glob("*.html"):
            page.unlink()
        done = site.invoke("run", "--once")
    assert done.exit_code == 2
    assert "reports of another state" in done.stderr


def test_reports_of_a_try_with_the_simulated_ads_stop_no_first_start(site: Site) -> None:
    site.configure("simulated")
    site.drop("prices.csv", sheet("A=T,1"))
    assert site.once()[0] == 0
    shutil.rmtree(state_folder(site))
    with ads() as server:
        site.configure(server.address)
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "1"}


# backups


def test_a_damaged_state_is_restored_and_the_next_drop_goes_out_in_full(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1,2", "B=T,5,6", header="RIC,BID,ASK"))
        assert site.once()[0] == 0
        made = site.invoke("state backup", str(site.home / "backup.db"))
        assert made.exit_code == 0, made.stderr
        assert made.stdout.strip() == str(site.home / "backup.db")
        site.drop("prices.csv", sheet("A=T,1.5,2", "B=T,5,6", header="RIC,BID,ASK"))
        assert site.once()[0] == 0
        numbers = [drop["drop"] for drop in site.status()["drops"]]
        site.database.write_bytes(b"\0" * 8192)
        refused = site.invoke("run", "--once")
        assert refused.exit_code == 2
        assert "contrib-watch state restore" in refused.stderr
        restored = site.invoke("state restore", str(site.home / "backup.db"))
        assert restored.exit_code == 0, restored.stderr
        assert "posts each of its RICs in full" in restored.stderr
        (kept,) = state_folder(site).glob("state-replaced-*.db")
        assert kept.read_bytes() == b"\0" * 8192
        before = posts(server)
        code, (drop,) = site.once()  # what was dropped after the backup is processed again
        assert (code, drop["totals"]["acked"]) == (0, 2)
        after = posts(server)[len(before) :]
        assert [(post.ric, post.kind) for post in after] == [("A=T", "Refresh"), ("B=T", "Refresh")]
        ids = [post.post_id for post in posts(server)]
        assert len(set(ids)) == len(ids)
        assert drop["drop"] not in numbers
        assert held(server) == {"A=T": "1.5", "B=T": "5"}
        assert held(server, "ASK") == {"A=T": "2", "B=T": "6"}
        assert site.once() == (0, [])


def test_each_days_run_makes_a_backup(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.invoke("run", "--once").exit_code == 0
        assert site.status()["state"]["backup"] == ""
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        backup = Path(site.status()["state"]["backup"])
        before = backup.read_bytes()
        site.drop("prices.csv", sheet("A=T,2"))
        site.once()
        assert list(backup.parent.iterdir()) == [backup]
        assert backup.read_bytes() == before
        assert site.invoke("state restore", str(backup)).exit_code == 0
        assert site.once()[0] == 0


def test_a_backup_while_it_runs_and_no_restoring_then(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        with site.running() as process:
            eventually(lambda: site.over(1), "the drop is reported")
            made = site.invoke("state backup")
            assert made.exit_code == 0, made.stderr
            backup = Path(made.stdout.strip())
            assert backup.parent == state_folder(site) / "backups"
            refused = site.invoke("state restore", str(backup))
            assert refused.exit_code == 2
            assert f"in use by process {process.pid}" in refused.stderr
            process.terminate()
            assert process.wait(DEADLINE_S) == 0


# room


@pytest.fixture
def disk(site: Site) -> Iterator[Path]:
    """A file system of 8 MB for the state."""
    folder = site.home / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip("a small disk is mounted by root alone")
    site.database = folder / "state" / "state.db"
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int) -> Path:
    """Let so much be free; the program may be writing meanwhile."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while shutil.disk_usage(disk).free > leave_bytes:
            file.write(bytes(4096))
    return filler


def test_files_wait_for_room_and_are_then_taken(site: Site, disk: Path) -> None:
    with ads() as server:
        site.configure(server.address, more=f"[state]\n{SMALL}\n")
        with site.running() as process:
            eventually(lambda: site.query("SELECT count(*) FROM drops"), "its state is made")
            filler = fill(disk, 1_500_000)
            site.drop("prices.csv", sheet("A=T,1"))
            eventually(lambda: "files are not taken" in site.log.read_text(), "the log says it")
            eventually(
                lambda: any(file["state"] == "postponed" for file in site.status()["feeds"][0]["files"]),
                "status says it",
            )
            told = site.invoke("status", "prices.csv").stdout
            assert "postponed" in told
            assert "min_free is 2.0 MB" in told
            assert "No file is taken" in site.invoke("status").stdout
            assert site.query("SELECT count(*) FROM drops") == [(0,)]
            assert not list((disk / "state" / "spool").iterdir())
            filler.unlink()
            eventually(lambda: site.over(1), "the drop is reported")
            assert held(server) == {"A=T": "1"}
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
    assert "files are taken again" in site.log.read_text()


def test_a_single_run_without_room_says_so(site: Site, disk: Path) -> None:
    with ads() as server:
        site.configure(server.address, more=f"[state]\n{SMALL}\n")
        site.once()
        site.drop("old.csv", sheet("OLD=T,1"), age_days=30)
        site.drop("prices.csv", sheet("A=T,1"))
        filler = fill(disk, 1_500_000)
        done = site.invoke("run", "--once")
        assert done.exit_code == 2
        assert "files of a feed were not taken" in done.stderr
        assert "nothing to do" not in done.stderr
        filler.unlink()
        assert site.once()[0] in (0, 3)
        assert held(server) == {"A=T": "1"}


def test_what_is_in_hand_goes_on_when_a_full_disk_has_room_again(site: Site, disk: Path) -> None:
    rows = 1_500
    with ads() as server:
        site.configure(server.address, rate_limit=400, more=f"[state]\n{SMALL}\n")
        site.drop("prices.csv", sheet(*(f"R{n}=T,{n}" for n in range(rows))))
        with site.running() as process:
            eventually(lambda: len(posts(server)) > 100, "some of it is sent")
            filler = fill(disk, 0)
            eventually(lambda: "waiting until it can" in site.log.read_text(), "the disk is full")
            assert process.poll() is None
            filler.unlink()
            eventually(lambda: site.over(1), "the drop is reported")
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        assert held(server) == {f"R{n}=T": str(n) for n in range(rows)}
        ids = [post.post_id for post in posts(server)]
        assert len(set(ids)) == len(ids)
    assert {row["status"] for row in site.rows("prices.csv")} == {"acked"}
    assert len(site.rows("prices.csv")) == rows
    assert "Traceback" not in site.log.read_text()


def test_a_state_folder_that_cannot_be_written(site: Site, disk: Path) -> None:
    site.configure(CLOSED, connect_timeout_s=0.2, more=f"[state]\n{SMALL}\n")
    site.drop("prices.csv", sheet("A=T,1"))
    assert site.invoke("run", "--once").exit_code == 5
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = site.invoke("run", "--once")
    assert done.exit_code == 2
    assert "state folder cannot be used: Read-only file system" in done.stderr
    assert "state.folder" in done.stderr


def test_a_report_that_a_death_left_unwritten_is_made_by_the_configuration_of_then(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1", "B=T,x"))
        assert site.once()[0] == 3
        files = {path: path.read_bytes() for path in site.inbox.glob("*.ack.*")}
        assert len(files) == 2
        for feed in ({"ric_column": "Code", "columns": {"RIC": "DSPLY_NAME"}}, {"name": "renamed"}):
            for path in files:
                path.unlink()
            with closing(sqlite3.connect(site.database)) as database, database:
                database.execute("UPDATE reports SET whole = 0 WHERE drop_id = 1")
            site.configure(server.address, feed=feed)
            site.once()
            assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize("feed", [{"name": "renamed"}, {"ric_column": "Code"}, {"service": "OTHER"}])
def test_what_a_drop_sent_before_it_failed_is_reported_and_proven(site: Site, feed: dict[str, str]) -> None:
    with ads({"kind": "lose_ack", "ric": "B=T"}) as server:
        site.configure(server.address, window=1)
        site.drop("prices.csv", sheet("A=T,1", "B=T,2", "C=T,3"))
        with site.running() as process:
            eventually(lambda: len(posts(server)) == 2, "B=T is sent, whose Ack is lost")
            eventually(lambda: site.query("SELECT ric FROM snapshot"), "A=T is recorded as acknowledged")
            process.kill()
        site.configure(server.address, feed=feed)
        with server.inspect() as simulated:
            simulated.faults = FaultScript().start()
        code, drops = site.once()
    assert code == 4
    assert (1, "failed") in [(drop["drop"], drop["status"]) for drop in drops]
    (report,) = site.query("SELECT folder || '/' || base || '.ack.csv' FROM reports WHERE drop_id = 1")
    with Path(*report).open(encoding="utf-8", newline="") as lines:
        told = {row["ric"]: row["status"] for row in csv.DictReader(lines)}
    assert {"A=T": "acked", "": "rejected"}.items() <= told.items()
    assert told["B=T"] == "unconfirmed"
    proven = site.invoke("audit verify")
    assert proven.exit_code == 0, proven.stdout


def test_a_drop_goes_to_one_service_whatever_the_configuration_says_meanwhile(site: Site) -> None:
    whole = sheet("A=T,2", "B=T,2")
    with ads({"kind": "lose_ack", "ric": "B=T", "nth": 2}) as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1", "B=T,1"))
        assert site.once()[0] == 0
        site.configure(server.address, window=1, feed={"service": "OTHER"})
        site.drop("prices.csv", whole)
        with site.running() as process:
            eventually(lambda: len(posts(server)) == 4, "B=T is sent, whose Ack is lost")
            eventually(lambda: site.query("SELECT 1 FROM snapshot WHERE service = 'OTHER'"), "A=T is recorded")
            process.kill()
        assert site.invoke("audit verify").exit_code == 0  # in the middle of it
        site.configure(server.address)
        code, (drop,) = site.once()
        assert (code, drop["status"], len(posts(server))) == (4, "failed", 4)
        assert "was being sent to the Service 'OTHER'" in site.invoke("status", "--json").stdout
        assert site.invoke("retry", str(drop["drop"])).exit_code == 0
        assert site.once()[0] == 0
        with server.inspect() as simulated:
            assert {str(simulated.cache[SERVICE, ric]["BID"]) for ric in ("A=T", "B=T")} == {"2"}
    assert site.invoke("audit verify").exit_code == 0


IMPATIENT = """
from contrib_watch.cli import main
from contrib_watch.store import state

state.BUSY_TIMEOUT_S = 0.2
main()
"""
"""The program, which does not wait as long for whoever has the database locked."""


def test_a_daemon_outlives_a_program_that_keeps_the_database_locked(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, rate_limit=20)
        site.drop("prices.csv", sheet(*(f"R{n}=T,{n}" for n in range(30))))
        with site.running(program=(sys.executable, "-c", IMPATIENT)) as process:
            eventually(lambda: len(posts(server)) > 5, "some of it is sent")
            with closing(sqlite3.connect(site.database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                eventually(lambda: site.log.read_text().count("waiting until it can") > 1, "it has waited twice")
                assert "the database was locked by another program" in site.log.read_text()
                assert process.poll() is None
            eventually(lambda: site.over(1), "the drop is reported")
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        assert held(server) == {f"R{n}=T": str(n) for n in range(30)}
        ids = [post.post_id for post in posts(server)]
        assert len(set(ids)) == len(ids)
    assert {row["status"] for row in site.rows("prices.csv")} == {"acked"}


# two installations


@pytest.fixture
def neighbour(site: Site, tmp_path: Path) -> Site:
    """Another installation, with a state of its own, on the same folder."""
    home = tmp_path / "neighbour"
    home.mkdir()
    other = Site(home)
    other.inbox.rmdir()
    other.inbox.symlink_to(site.inbox)
    return other


def test_a_second_installation_is_refused_while_the_first_one_lives(site: Site, neighbour: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        neighbour.configure(server.address)
        with site.running() as process:
            eventually(lambda: list(site.inbox.glob(".contrib-watch-lease.json")), "it has its lease")
            lease = json.loads((site.inbox / ".contrib-watch-lease.json").read_text())
            assert lease["pid"] == process.pid
            refused = neighbour.invoke("run", "--once")
            assert refused.exit_code == 2
            assert f"process {process.pid} on {lease['host']}, state {lease['state']}" in refused.stderr
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        assert list(site.inbox.iterdir()) == []
        assert neighbour.invoke("run", "--once").exit_code == 0


def test_a_killed_process_holds_up_no_restart(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        with site.running() as process:
            eventually(lambda: list(site.inbox.glob(".contrib-watch-lease.json")), "it has its lease")
            os.kill(process.pid, signal.SIGKILL)
            process.wait(DEADLINE_S)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "1"}
    assert [path.name for path in site.inbox.iterdir() if path.name.startswith(".")] == []
