"""``check`` and ``status``: what they find, what they exit with, and that no secret is in what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_site import CLOSED, PROGRAM, Site, ads, posts, sheet

PASSWORD = "correct horse battery"  # nobody else's


def findings(site: Site) -> tuple[int, dict[str, list[dict[str, object]]]]:
    """The exit code of ``check --json``, and what it found by subject."""
    done = site.invoke("check", "--json")
    found: dict[str, list[dict[str, object]]] = {}
    for one in json.loads(done.stdout)["checks"]:
        found.setdefault(one["subject"], []).append(one)
    return done.exit_code, found


# check


def test_all_is_well(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        done = site.run("check", COLUMNS="80")
        code, found = findings(site)
        assert posts(server) == []
    assert (done.returncode, code) == (0, 0)
    assert "FAIL" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(one["ok"] for ones in found.values() for one in ones)
    assert "accepted for tester" in str(found["login"])
    assert "1 feed" in str(found["configuration"][0]["text"])
    assert not (site.home / ".contrib_watch").exists()


def test_no_server(site: Site) -> None:
    site.configure(CLOSED)
    code, found = findings(site)
    assert code == 5
    assert found["login"][0]["text"] == f"no connection: {CLOSED}: Connection refused"


def test_every_host_is_named_with_its_reason(site: Site) -> None:
    site.configure(CLOSED)
    text = site.config.read_text().replace(f'["{CLOSED}"]', f'["{CLOSED}", "127.0.0.1:2"]')
    site.config.write_text(text)
    _, found = findings(site)
    assert found["login"][0]["text"] == (
        f"no connection: {CLOSED}: Connection refused; 127.0.0.1:2: Connection refused"
    )


def test_a_refused_login(site: Site) -> None:
    with ads({"kind": "refuse_login", "code": "UserUnknownToPermSys", "text": "who is tester?"}) as server:
        site.configure(server.address)
        code, found = findings(site)
    assert code == 5
    assert "UserUnknownToPermSys: who is tester?" in str(found["login"])
    assert "Market Data team" in str(found["login"])


def test_a_missing_folder(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, feed={"folder": "not_mounted"})
        code, found = findings(site)
    assert code == 2
    assert "not_mounted is not there" in str(found["feed prices"])
    assert "make it, or mount the share" in str(found["feed prices"])


def test_reports_that_could_not_be_written(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, feed={"report_folder": "not_mounted"})
        code, found = findings(site)
    assert code == 2
    assert "not_mounted cannot be written" in str(found["feed prices"])


def test_a_folder_that_this_user_may_only_read(site: Site) -> None:
    """Root may write everywhere, unless it gives up that very right."""
    line = [str(PROGRAM), "check", "--json", "--config", str(site.config)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to give up its right to write everywhere")
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    with ads() as server:
        site.configure(server.address)
        site.inbox.chmod(0o555)
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        site.inbox.chmod(0o755)
    assert done.returncode == 2, done.stderr
    (bad,) = (one for one in json.loads(done.stdout)["checks"] if not one["ok"])
    assert bad["text"].startswith(f"{site.inbox} cannot be written")


def test_who_can_write_the_folder(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.inbox.chmod(0o777)
        _, found = findings(site)
    assert "can be written by everybody" in str(found["feed prices"])


def test_the_state_of_another_target(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, target="uat")
        assert site.once() == (0, [])
        site.configure(server.address, target="production")
        code, found = findings(site)
    assert code == 2
    assert "'uat'" in str(found["state"][0]["text"])


# status


def test_a_state_that_is_not_there_yet(site: Site) -> None:
    site.configure(CLOSED)
    found = site.status()
    assert (found["running"], found["drops"], found["connection"]) == (None, [], {"state": "never tried"})
    assert not (site.home / ".contrib_watch").exists()
    assert "connection never tried" in site.invoke("status").stdout


def test_a_folder_that_is_still_to_be_made_is_no_outage_of_a_share(site: Site) -> None:
    site.inbox.rmdir()
    for host, told in (("simulated", "the next run makes it"), (CLOSED, "was it deleted, or its share unmounted?")):
        site.configure(host)
        assert told in site.invoke("status").stdout


def test_drops_and_what_waits_for_a_decision(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("good.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        site.drop("old.csv", sheet("A=T,0.5"), age_days=30)
        assert site.once()[0] == 3
    done = site.invoke("status", COLUMNS="80")
    found = site.status()
    assert [(one["drop"], one["status"]) for one in found["drops"]] == [(2, "held"), (1, "done")]
    (waiting,) = found["waiting_for_a_decision"]
    assert (waiting["drop"], waiting["file"]) == (2, str(site.inbox / "old.csv"))
    assert "30 days" in waiting["reason"]
    assert "waiting for a decision" in done.stdout
    assert "1 acked" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout


def test_reports_that_are_not_beside_their_files(site: Site) -> None:
    """Nobody can make a file in /proc, not even root."""
    with ads() as server:
        site.configure(server.address, feed={"report_folder": "/proc"})
        site.drop("prices.csv", sheet("A=T,1"))
        done = site.invoke("run", "--once")
    own = site.home / ".contrib_watch" / "reports"
    assert "report not beside its file" in done.stderr
    told = " ".join(site.invoke("status").stdout.split())
    assert f"not beside its file but in {own}: the report of drop 1" in told
    (drop,) = site.status()["drops"]
    assert Path(drop["report"]).parent == own


def test_reports_that_can_be_written_nowhere(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, feed={"report_folder": "/proc"})
        site.drop("prices.csv", sheet("A=T,1"))
        own = site.home / ".contrib_watch" / "reports"
        own.parent.mkdir()
        own.touch()
        assert site.once()[0] == 2
        told = "not written: the report of drop 1; the log tells why"
        assert told in " ".join(site.invoke("status").stdout.split())
        own.unlink()
        assert site.once()[0] == 0
    assert told not in " ".join(site.invoke("status").stdout.split())


def test_brackets_in_names_are_no_markup(site: Site) -> None:
    name = "[red]prices[bold].csv"
    with ads() as server:
        site.configure(server.address)
        site.drop(name, sheet("A=T,1"))
        assert name in site.invoke("run", "--once").stdout
    assert name in site.invoke("status").stdout


# secrets


@pytest.mark.parametrize("command", ["run --once", "check", "status"])
def test_no_command_tells_a_password_in_the_configuration(site: Site, command: str) -> None:
    url = f"postgresql://watch:{PASSWORD}@127.0.0.1:1/prices"
    site.configure(CLOSED, connect_timeout_s=0.2, more=f'[state]\nurl = "{url}"\n')
    done = site.invoke(command)
    assert done.exit_code == 2
    said = done.stdout + done.stderr + repr(done.exception)
    assert "state.url" in said  # this test is of its failure
    assert PASSWORD not in said
    assert PASSWORD.replace(" ", "%20") not in said
    assert PASSWORD.replace(" ", "+") not in said
