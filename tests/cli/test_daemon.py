"""``run`` as the daemon: what it picks up, and what other processes see and decide while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_site import CLOSED, DEADLINE_S, PROMPTLY_S, Site, ads, eventually, held, posts, sheet

SETTLE_S = 0.3


@contextmanager
def daemon(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A daemon that has looked at its folder once, and that stops in good order at the end."""
    with site.running() as process:

        def looked() -> bool:
            assert process.poll() is None, site.log.read_text()
            found = site.status()
            return bool(found["running"] == process.pid and found["feeds"][0]["last_scan_utc"])

        eventually(looked, "the daemon has looked at its folder")
        yield process
        assert process.poll() is None, site.log.read_text()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0, site.log.read_text()
    assert "Traceback" not in site.log.read_text()


def test_each_way_of_arriving_is_one_whole_drop(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, feed={"settle_seconds": SETTLE_S})
        with daemon(site):
            (site.inbox / "created.csv").write_text(sheet("CREATED=T,1"))
            site.drop("renamed.csv", sheet("RENAMED=T,2"))
            with (site.inbox / "appended.csv").open("w") as slow:
                slow.write("RIC,BID\n")
                for n in range(12):
                    slow.write(f"APPENDED{n}=T,{n}.5\n")
                    slow.flush()
                    time.sleep(SETTLE_S / 4)  # the writer's own pace
            eventually(lambda: site.over(3), "three files are reported")

            # Excel saves to a file without an ending beside the old one, and renames it over the old one.
            book, temporary = site.inbox / "renamed.csv", site.inbox / "9A3F2C10"
            temporary.write_text(sheet("RENAMED=T,2.25"))
            temporary.replace(book)
            eventually(lambda: site.over(4), "the saved file is reported")
            eventually(lambda: held(server).get("RENAMED=T") == "2.25", "its value is there")
    expected = {"CREATED=T": "1", "RENAMED=T": "2.25"} | {f"APPENDED{n}=T": f"{n}.5" for n in range(12)}
    assert held(server) == expected
    assert len(posts(server)) == len(expected) + 1
    assert len(site.rows("appended.csv")) == 12
    assert len(site.reports("renamed.csv")) == 2
    assert site.query("SELECT count(*) FROM drops") == [(4,)]


def test_two_hundred_at_once(site: Site) -> None:
    """Each is accepted once, in order, and none is lost by stopping when only some of them are sent."""
    names = [f"p{n:03}.csv" for n in range(200)]
    with ads() as server:
        site.configure(server.address, feed={"settle_seconds": SETTLE_S})
        with daemon(site):
            for n, name in enumerate(names):
                site.drop(name, sheet(f"R{n}=T,{n}"))
            eventually(lambda: site.query("SELECT count(*) FROM drops") == [(200,)], "all of them are drops")
            eventually(lambda: len(posts(server)) > 10, "some of them are sent")
    numbered = [Path(path).name for (path,) in site.query("SELECT path FROM drops ORDER BY id")]
    assert numbered == names
    done = site.query("SELECT count(*) FROM drops WHERE status = 'done'")[0][0]
    assert held(server) == {f"R{n}=T": str(n) for n in range(len(posts(server)))}
    assert len(site.reports()) == done >= 10
    assert site.query("SELECT count(*) FROM drops WHERE status IN ('waiting', 'sending')") == [(200 - done,)]


def test_a_folder_that_vanishes_and_returns(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        with daemon(site):
            site.inbox.rename(site.home / "gone")
            eventually(lambda: site.status()["feeds"][0]["outage"], "the outage is told")
            site.inbox.mkdir()
            site.drop("prices.csv", sheet("A=T,1"))
            eventually(lambda: site.over(1), "the file in the new folder is reported")
            assert site.status()["feeds"][0]["outage"] == ""
    assert held(server) == {"A=T": "1"}


def test_decisions_of_another_process_are_acted_on(site: Site) -> None:
    """adopt, approve, reject and retry while the daemon runs."""
    with ads({"kind": "nak", "ric": "NAK=T", "code": "AccessDenied", "text": "Not yet", "times": 1}) as server:
        site.configure(server.address, retries=0)
        site.drop("first.csv", sheet("OLD=T,1"), age_days=60)
        site.drop("second.csv", sheet("NEWEST=T,2"), age_days=50)
        with daemon(site):
            assert posts(server) == []
            assert "backlog" in site.invoke("status").stdout
            adopted = site.invoke("adopt", "prices", "--newest")
            assert adopted.exit_code == 0
            assert "prices: 1" in adopted.stderr
            eventually(lambda: site.over(1), "the adopted drop is reported")
            assert held(server) == {"NEWEST=T": "2"}

            site.drop("third.csv", sheet("HELD=T,3"), age_days=40)
            site.drop("fourth.csv", sheet("NEVER=T,4"), age_days=30)
            eventually(lambda: site.over(3), "both are held")
            assert held(server) == {"NEWEST=T": "2"}
            (second,), (third,) = (
                site.query(f"SELECT id FROM drops WHERE path LIKE '%{n}.csv'")[0] for n in ("third", "fourth")
            )
            assert site.invoke("approve", str(second)).exit_code == 0
            assert site.invoke("reject", str(third)).exit_code == 0
            eventually(lambda: site.over(5), "both have their second report")
            assert held(server) == {"NEWEST=T": "2", "HELD=T": "3"}
            assert len(site.reports("third.csv")) == len(site.reports("fourth.csv")) == 2

            site.drop("fifth.csv", sheet("NAK=T,5"))
            eventually(lambda: site.over(6), "the Nak is reported")
            assert "NAK=T" not in held(server)
            assert site.invoke("retry", "4").exit_code == 0
            eventually(lambda: site.over(7), "the retried drop is reported")
            assert held(server)["NAK=T"] == "5"


def test_status_while_it_runs(site: Site) -> None:
    with ads({"kind": "nak", "ric": "B=T", "code": "AccessDenied"}) as server:
        site.configure(server.address, feed={"settle_seconds": SETTLE_S})
        with daemon(site) as process:
            site.drop("prices.csv", sheet("A=T,1", "B=T,2"))
            (site.inbox / "notes.txt").write_text("call Anna")
            eventually(lambda: site.over(1), "the drop is reported")
            found = site.status()
            table = site.invoke("status", COLUMNS="80").stdout
            assert "notes.txt" in table
    assert found["running"] == process.pid
    assert found["connection"]["state"] == "up"
    assert found["target"] == "default"
    (drop,) = found["drops"]
    assert (drop["drop"], drop["status"], drop["totals"]["nakked"]) == (1, "done", 1)
    assert drop["report"] == str(site.reports("prices.csv")[0])
    assert f"run by process {process.pid}" in table.replace("\n", " ")
    assert "1 acked, 1 nakked" in table
    over = site.status()
    assert (over["running"], over["connection"]["state"]) == (None, "closed")


def test_it_waits_for_an_ads_that_is_away(site: Site) -> None:
    with ads() as server:
        port = server.port
    site.configure(server.address, connect_timeout_s=0.2)
    site.drop("prices.csv", sheet("A=T,1"))
    with daemon(site):
        eventually(lambda: "down" in site.invoke("status").stdout, "status says that it is down")
        with ads(port=port) as back:
            eventually(lambda: site.over(1), "the drop is reported")
            assert held(back) == {"A=T": "1"}


def test_a_refused_login_ends_it(site: Site) -> None:
    with ads({"kind": "refuse_login", "code": "UserUnknownToPermSys", "text": "unknown"}) as server:
        site.configure(server.address)
        done = site.run("run")
    assert done.returncode == 5
    assert "UserUnknownToPermSys: unknown" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_idle_daemon_stops_at_once(site: Site, number: signal.Signals) -> None:
    site.configure(CLOSED)
    with site.running() as process:
        eventually(lambda: site.query("SELECT 1 FROM meta WHERE key = 'connection'"), "it looks for the ADS")
        began_s = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(DEADLINE_S) == 0
        assert time.monotonic() - began_s < PROMPTLY_S
    assert "watching feeds=prices target=default" in site.log.read_text()
    assert "Traceback" not in site.log.read_text()
