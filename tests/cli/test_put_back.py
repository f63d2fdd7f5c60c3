"""A state that was put back from a copy, lost while its share was away, deleted or damaged: no old price goes out."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_site import DEADLINE_S, Site, ads, eventually, held, posts, sheet

from contrib_watch.simulator.server import SimulatedServer


def state_folder(site: Site) -> Path:
    return site.home / ".contrib_watch"


def put_back(site: Site, server: SimulatedServer) -> None:
    """A=T is 2 by the ADS and by a report, and 1 by the state; the analyst has tidied up."""
    site.configure(server.address)
    first = site.drop("mon.csv", sheet("A=T,1", "B=T,1"))
    assert site.once()[0] == 0
    shutil.copytree(state_folder(site), site.home / "snapshot")
    second = site.drop("tue.csv", sheet("A=T,2", "B=T,2"))
    assert site.once()[0] == 0
    first.unlink()
    second.unlink()
    shutil.rmtree(state_folder(site))
    (site.home / "snapshot").rename(state_folder(site))


def test_a_state_that_is_older_than_its_reports_is_refused(site: Site) -> None:
    with ads() as server:
        put_back(site, server)
        for command in (["run", "--once"], ["resend"], ["reconcile", "--repair"]):
            refused = site.invoke(*command)
            assert refused.exit_code == 2
            assert "the state is older than its reports" in refused.stderr
            assert f"state restore {site.database}" in refused.stderr
        assert len(posts(server)) == 4
        for _ in range(2):  # again and again, if need be
            restored = site.invoke("state restore", str(site.database))
            assert restored.exit_code == 0, restored.stderr
            assert site.once() == (0, [])
        assert site.query("SELECT count(*) FROM dirty") == [(2,)]
        site.drop("wed.csv", sheet("A=T,3", "B=T,2"))
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "3", "B=T": "2"}
        assert site.once() == (0, [])


def test_the_same_backup_restored_twice_is_not_older_than_the_reports_between(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("mon.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        backup = site.home / "backup.db"
        assert site.invoke("state backup", str(backup)).exit_code == 0
        for price in (2, 3):
            assert site.invoke("state restore", str(backup)).exit_code == 0
            site.drop("prices.csv", sheet(f"A=T,{price}"))
            assert site.once()[0] == 0
        assert held(server) == {"A=T": "3"}


def test_nothing_is_posted_again_before_the_reports_could_be_read(site: Site) -> None:
    with ads() as server:
        put_back(site, server)
        away = site.inbox.rename(site.home / "away")
        with site.running() as process:
            eventually(lambda: "nothing is sent" in site.log.read_text(), "it says that it waits")
            eventually(lambda: "all of it is read back" in site.log.read_text(), "the ADS is found to differ")
            away.rename(site.inbox)
            assert process.wait(DEADLINE_S) == 2
        assert "the state is older than its reports" in site.log.read_text()
        assert len(posts(server)) == 4


@pytest.mark.parametrize("mount_point", ["gone", "empty"])
def test_a_state_that_was_lost_while_the_share_was_away(site: Site, mount_point: str) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("mon.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        shutil.rmtree(state_folder(site))
        away = site.inbox.rename(site.home / "away")
        if mount_point == "empty":
            site.inbox.mkdir()
        with site.running() as process:
            eventually(
                lambda: site.database.exists() and site.query("SELECT 1 FROM meta WHERE key = 'scan prices'"),
                "a look",
            )
            if mount_point == "empty":
                for left in site.inbox.iterdir():
                    left.rename(away / left.name)
                site.inbox.rmdir()
            away.rename(site.inbox)
            assert process.wait(DEADLINE_S) == 2
        assert "has reports of the state" in site.log.read_text()
        assert len(posts(server)) == 1
        assert site.invoke("run", "--once").exit_code == 2  # it is still not forgotten
        assert site.invoke("run", "--once", "--accept-empty-state").exit_code == 0
        assert len(posts(server)) == 2


def test_a_report_folder_that_is_away_is_not_one_without_reports(site: Site) -> None:
    with ads() as server:
        reports = site.home / "reports"
        reports.mkdir()
        site.configure(server.address, feed={"report_folder": "reports"})
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        shutil.rmtree(state_folder(site))
        away = reports.rename(site.home / "away")
        done = site.invoke("run", "--once")
        assert done.exit_code == 2
        assert "cannot be looked at: No such file or directory" in done.stderr
        away.rename(reports)
        assert "has reports of the state" in site.invoke("run", "--once").stderr
        assert len(posts(server)) == 1


def test_a_state_deleted_under_a_running_process_ends_it(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        with site.running() as process:
            eventually(lambda: "logged in" in site.log.read_text(), "it is connected")
            shutil.rmtree(state_folder(site))
            assert process.wait(DEADLINE_S) == 2
        assert "deleted or replaced while this process used it" in site.log.read_text()


def test_a_damaged_database_is_noticed_at_the_start(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet(*(f"R{n}=T,{n}" for n in range(300))))
        assert site.once()[0] == 0
        with closing(sqlite3.connect(site.database)) as connection:
            (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outcomes'").fetchone()
        content = bytearray(site.database.read_bytes())
        content[(root - 1) * 4096 : root * 4096] = bytes(4096)
        site.database.write_bytes(content)
        done = site.invoke("run", "--once")
        assert done.exit_code == 2
        assert "the database is damaged" in done.stderr
        assert "state restore FILE" in done.stderr


def test_what_a_killed_restore_left_is_taken_away(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.invoke("run", "--once").exit_code == 0
        for name in (".state.db.restoring", ".state.db.restoring-journal", "..state.db.restoring.part"):
            (state_folder(site) / name).write_bytes(b"half")
        assert site.invoke("run", "--once").exit_code == 0
    assert [path.name for path in state_folder(site).iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_anothers_lease_is_watched(site: Site, number: signal.Signals) -> None:
    with ads() as server:
        site.configure(server.address)
        lease = {"host": "farm7", "pid": 12, "state": "0" * 32, "token": "1", "heartbeat_utc": ""}
        (site.inbox / ".contrib-watch-lease.json").write_text(json.dumps(lease))
        with site.running() as process:
            eventually(lambda: "waiting whether its holder lives" in site.log.read_text(), "it waits")
            process.send_signal(number)
            assert process.wait(10) == 0
        assert "Traceback" not in site.log.read_text()
