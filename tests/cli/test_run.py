"""``run --once``: exit codes by real causes, its output, and stops at any moment."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cli_site import CLOSED, DEADLINE_S, PROGRAM, PROMPTLY_S, Site, ads, eventually, held, posts, sheet
from click.testing import CliRunner

from contrib_watch.cli import main
from contrib_watch.cli.linking import poster_address
from contrib_watch.config import Ads

MANY = 5_000


def many(value: str) -> str:
    return sheet(*(f"R{n:04}=T,{value}" for n in range(MANY)))


@pytest.mark.parametrize(
    ("position", "address"),
    [("10.1.2.3", "10.1.2.3"), ("10.1.2.3/net", "10.1.2.3"), ("desk-7", "127.0.0.1"), ("", "127.0.0.1")],
)
def test_posts_name_the_ipv4_of_the_position(position: str, address: str) -> None:
    assert poster_address(Ads(hosts=("simulated",), position=position)) == address


def test_a_login_and_its_posts_name_the_address_from_which_they_come(site: Site) -> None:
    trace = site.home / "trace.txt"
    with ads() as server:
        site.configure(server.address, user_id=7408)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.invoke("run", "--once", "--trace", str(trace)).exit_code == 0
    told = trace.read_text(encoding="utf-8")
    assert '"Elements":{"ApplicationId":"256","Position":"127.0.0.1"}' in told
    assert '"PostUserInfo":{"Address":"127.0.0.1","UserID":7408}' in told


# What it prints.


def test_json_alone_on_stdout_and_messages_on_stderr(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        path = site.drop("prices.csv", sheet("A=T,1.5", "B=T,2", "C=T,x"))
        done = site.run("run", "--once", "--json")
    (report,) = site.reports()
    (drop,) = json.loads(done.stdout)["drops"]
    assert list(json.loads(done.stdout)) == ["drops", "files", "stopped", "waiting"]
    totals = drop.pop("totals")
    assert drop == {"drop": 1, "feed": "prices", "file": str(path), "status": "done", "report": str(report)}
    statuses = ["acked", "nakked", "unconfirmed", "unchanged", "rejected", "held", "superseded"]
    assert totals == dict.fromkeys(statuses, 0) | {"acked": 2, "rejected": 1}
    assert "drop finished" in done.stderr
    assert "Traceback" not in done.stderr
    assert held(server) == {"A=T": "1.5", "B=T": "2"}


@pytest.mark.parametrize("columns", [80, 100])
def test_a_table_for_people_cuts_nothing_off(site: Site, columns: int) -> None:
    name = "evaluations_of_the_illiquid_bonds_2026-11-20.csv"
    with ads({"kind": "nak", "ric": "C=T", "code": "AccessDenied", "text": "Not yours"}) as server:
        site.configure(server.address)
        site.drop(name, sheet("A=T,1", "B=T,x", "C=T,3"))
        done = site.invoke("run", "--once", COLUMNS=str(columns))
    lines = done.stdout.splitlines()
    table = lines[: lines.index("reports")]
    assert max(map(len, table)) <= columns
    assert "…" not in done.stdout
    header = next(line.split() for line in table if "drop " in line and "feed" in line)
    assert header == ["drop", "feed", "file", "acked", "nakked", "rejected"]  # and no column of zeros
    assert name in "".join(line[12:].split()[0] for line in table[3:-1])  # in one line or folded
    (report,) = site.reports()
    assert f"  {report.with_suffix('.html')}" in lines


def test_why_a_file_was_rejected_is_printed(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1", header="RIC,BIDD"))
        done = site.invoke("run", "--once")
    assert done.exit_code == 3
    assert "drop 1 rejected" in done.stdout
    assert "BIDD" in done.stdout


def test_json_is_for_once_alone(site: Site) -> None:
    site.configure(CLOSED)
    done = site.invoke("run", "--json")
    assert done.exit_code == 2
    assert "--json goes with --once" in done.stderr


# Exit codes.


def test_0_and_the_second_run_sends_nothing(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1", "B=T,2", "C=T,3"))
        assert site.once()[0] == 0
        assert [post.kind for post in posts(server)] == ["Refresh"] * 3
        assert site.once() == (0, [])
        again = site.invoke("run", "--once")
        assert (again.exit_code, again.stdout) == (0, "")
        assert "nothing to do" in again.stderr
    assert len(posts(server)) == 3
    assert len(site.reports()) == 1


def test_nothing_to_do_needs_no_ads_and_no_time(site: Site) -> None:
    site.configure(CLOSED)
    began_s = time.monotonic()
    assert site.once() == (0, [])
    assert time.monotonic() - began_s < PROMPTLY_S  # it takes some 0.1 s; to wait for a connection takes 30


def test_2_a_full_disk_is_told_in_a_sentence(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.once() == (0, [])
        site.drop("prices.csv", many("1.5"))
        done = subprocess.run(
            [str(PROGRAM), "run", "--once", "--json", "--config", str(site.config)],
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384)),
        )
        assert done.returncode == 2
        assert "the state cannot be read or written: disk I/O error" in done.stderr
        assert "make room" in done.stderr
        assert "Traceback" not in done.stderr
        assert posts(server) == []
        assert site.once()[0] == 0  # with room again, nothing is lost
    assert len(held(server)) == MANY


def test_1_a_fault_of_the_program(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.once() == (0, [])
        site.drop("prices.csv", sheet("A=T,1"))
        with closing(sqlite3.connect(site.database)) as connection, connection:  # what nobody can foresee
            connection.execute("INSERT INTO meta VALUES ('pauses', '3')")
        done = site.run("run", "--once")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "contrib-watch: a fault of the program: " in done.stderr.splitlines()[-1]


def test_3_a_fault_of_the_program_in_planning_a_drop_fails_that_drop(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.once() == (0, [])
        site.drop("prices.csv", sheet("A=T,1"))
        with closing(sqlite3.connect(site.database)) as connection, connection:
            connection.execute("UPDATE meta SET value = 'many' WHERE key = 'next_post_key'")
        done = site.run("run", "--once")
    assert done.returncode == 3
    assert "drop failed" in done.stderr
    assert "a fault of the program: ValueError" in done.stderr
    assert held(server) == {}


def test_2_a_drop_whose_feed_is_gone_has_failed(site: Site) -> None:
    site.configure(CLOSED, connect_timeout_s=0.2)
    site.drop("prices.csv", sheet("A=T,1"))
    assert site.once()[0] == 5
    site.configure(CLOSED, feed={"name": "others", "folder": "elsewhere"})
    (site.home / "elsewhere").mkdir()
    code, (drop,) = site.once()
    assert (code, drop["status"], drop["totals"]["rejected"]) == (3, "failed", 1)
    (told,) = site.rows("prices.csv")
    assert "'prices' is no longer in the configuration" in told["text"]
    found = site.status()
    assert "'prices' is no longer in the configuration" in found["failed"][0]["reason"]
    assert found["waiting_for_a_decision"] == []  # approve and reject are not for it
    assert "`retry` processes a drop again" in site.invoke("status").stdout


def test_a_list_of_reports_is_not_announced_where_there_is_none(site: Site) -> None:
    site.configure(CLOSED, connect_timeout_s=0.2)
    site.drop("prices.csv", sheet("A=T,1"))
    assert site.once()[0] == 5
    site.configure(CLOSED, feed={"name": "others"}, connect_timeout_s=0.2)
    shutil.rmtree(site.home / ".contrib_watch" / "kept")  # nobody knows any more where a report of the feed would go
    done = site.invoke("run", "--once")
    assert "is no longer in the configuration" in " ".join(done.stdout.split())
    assert "reports" not in done.stdout


def test_2_no_such_configuration(tmp_path: Path) -> None:
    done = Site(tmp_path).invoke("run", "--once")
    assert done.exit_code == 2
    assert "there is no such configuration file" in done.stderr
    assert "--config" in done.stderr


def test_2_every_problem_of_the_configuration_at_once(site: Site) -> None:
    site.configure(CLOSED, feed={"decimal": ";", "setle_seconds": 1}, windoww=3)
    done = site.invoke("run", "--once")
    assert done.exit_code == 2
    for named in ("decimal", "setle_seconds", 'did you mean "settle_seconds"', 'did you mean "window"'):
        assert named in done.stderr


def test_2_the_state_of_another_target(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, target="uat")
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        site.configure(server.address, target="production")
        site.drop("prices.csv", sheet("A=T,2"))
        done = site.invoke("run", "--once")
    assert done.exit_code == 2
    assert "'uat'" in done.stderr
    assert "'production'" in done.stderr
    assert held(server) == {"A=T": "1"}


def test_2_a_second_process_on_the_same_state(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        with site.running() as daemon:
            eventually(lambda: site.query("SELECT 1 FROM meta WHERE key = 'connection'"), "the daemon is up")
            second = site.invoke("run", "--once")
            assert second.exit_code == 2
            assert f"in use by process {daemon.pid}" in second.stderr
            assert daemon.poll() is None


def test_2_a_folder_that_is_missing_does_not_stop_the_others(site: Site) -> None:
    more = '[[feeds]]\nname = "lost"\nfolder = "not_mounted"\nservice = "TEST"\n'
    with ads() as server:
        site.configure(server.address, more=more)
        site.drop("prices.csv", sheet("A=T,1"))
        done = site.invoke("run", "--once", "--json")
    assert done.exit_code == 2
    assert "lost" in done.stderr
    assert "not_mounted" in done.stderr
    assert [drop["status"] for drop in json.loads(done.stdout)["drops"]] == ["done"]
    assert held(server) == {"A=T": "1"}


def test_3_a_nak(site: Site) -> None:
    with ads({"kind": "nak", "ric": "B=T", "code": "AccessDenied", "text": "Not yours"}) as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1", "B=T,2"))
        code, (drop,) = site.once()
    assert code == 3
    assert (drop["totals"]["acked"], drop["totals"]["nakked"]) == (1, 1)
    (nakked, _) = site.rows("prices.csv")
    assert (nakked["ric"], nakked["status"], nakked["nak_code"]) == ("B=T", "nakked", "AccessDenied")


def test_3_a_file_that_cannot_be_read(site: Site) -> None:
    site.configure(CLOSED)
    site.drop("prices.csv", "RIC,BID,BID\nA=T,1,2\n")
    code, (drop,) = site.once()
    assert (code, drop["status"]) == (3, "rejected")


def test_3_an_old_file_is_held(site: Site) -> None:
    site.configure(CLOSED)
    assert site.once() == (0, [])
    site.drop("prices.csv", sheet("A=T,1"), age_days=30)
    code, (drop,) = site.once()
    assert (code, drop["status"], drop["totals"]["held"]) == (3, "held", 1)


def test_4_an_ack_that_never_comes(site: Site) -> None:
    with ads({"kind": "lose_ack", "ric": "B=T", "times": 1}) as server:
        site.configure(server.address, ack_timeout_s=0.3, retries=0)
        site.drop("prices.csv", sheet("A=T,1", "B=T,2"))
        code, (drop,) = site.once()
        assert code == 4
        assert (drop["totals"]["acked"], drop["totals"]["unconfirmed"]) == (1, 1)
        assert "1 of unknown fate" in site.invoke("status").stdout
        site.drop("prices.csv", sheet("A=T,1", "B=T,2"))  # saved again: the dirty RIC goes once more, in full
        assert site.once()[0] == 0
    assert [(post.ric, post.kind) for post in posts(server)][2:] == [("B=T", "Refresh")]


def test_4_is_higher_than_3(site: Site) -> None:
    with ads({"kind": "lose_ack", "ric": "B=T"}) as server:
        site.configure(server.address, ack_timeout_s=0.3, retries=0)
        site.drop("prices.csv", sheet("A=T,x", "B=T,2"))
        assert site.once()[0] == 4


@contextmanager
def without_privileges() -> Iterator[Site]:
    """A site in whose files no user may read what the modes forbid; root may read anything."""
    with TemporaryDirectory() as home:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(home, 54321, 54321)
            os.seteuid(54321)
        try:
            yield Site(Path(home))
        finally:
            if is_root:
                os.seteuid(0)


def test_3_a_file_that_may_not_be_read(site: Site) -> None:
    site.configure(CLOSED)
    assert site.once() == (0, [])  # what is imported late may not be readable to others
    with without_privileges() as site:
        site.configure(CLOSED)
        site.drop("prices.csv", sheet("A=T,1")).chmod(0)
        done = site.invoke("run", "--once")
        again = site.invoke("run", "--once", "--json")
    assert (done.exit_code, done.stdout) == (3, ""), done.stderr
    assert "not taken: prices.csv (prices): permission denied" in done.stderr
    assert "nothing to do" not in done.stderr
    assert done.stderr.count("file is not taken") == 1
    assert again.stdout, again.stderr
    (told,) = json.loads(again.stdout)["files"]
    assert told.pop("reason").startswith("permission denied")
    assert told == {"feed": "prices", "name": "prices.csv", "state": "unreadable"}


@pytest.mark.parametrize("marked", [False, True])
def test_3_a_file_without_a_marker_or_rewritten_after_it(site: Site, marked: bool) -> None:
    site.configure(CLOSED, feed={"done_marker": ".done"})
    marker = site.drop("prices.csv.done", "") if marked else None
    path = site.drop("prices.csv", sheet("A=T,1"))
    while marker and path.stat().st_ctime_ns <= marker.stat().st_ctime_ns:  # the file system's clock is coarse
        path.touch()
    done = site.invoke("run", "--once", "--json")
    assert done.exit_code == 3
    (told,) = json.loads(done.stdout)["files"]
    why = "changed after its marker" if marked else "waits for its marker"
    assert (told["name"], told["state"]) == ("prices.csv", "waiting for its marker")
    assert told["reason"].startswith(f"{why} prices.csv.done")
    assert f"not taken: prices.csv (prices): {why}" in done.stderr


def test_3_a_workbook_in_a_format_that_is_not_read(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.xls", "x")
        site.drop("notes.docx", "x")
        site.drop("good.csv", sheet("A=T,1"))
        done = site.invoke("run", "--once")
    assert done.exit_code == 3
    assert held(server) == {"A=T": "1"}
    assert done.stderr.count("not taken: prices.xls (prices): ") == 1
    assert "save it as .xlsx" in done.stderr
    assert "notes.docx" not in done.stderr
    assert "save it as .xlsx" in site.invoke("status", "prices.xls").stdout


def test_3_a_name_in_another_encoding_and_a_link_out_of_the_folder(site: Site) -> None:
    for name in (b"M\xe4rz.csv", b"M\xe4rz.docx"):
        (site.inbox / os.fsdecode(name)).write_text(sheet("A=T,1"))
    outside = site.home / "outside.csv"
    outside.write_text(sheet("A=T,1"))
    (site.inbox / "linked.csv").symlink_to(outside)
    (site.inbox / "archive").symlink_to(site.home)
    site.configure(CLOSED)
    done = site.invoke("run", "--once")
    assert done.exit_code == 3
    told = [line.removeprefix("not taken: ") for line in done.stderr.splitlines() if line.startswith("not taken: ")]
    assert told == [
        "M\\xe4rz.csv (prices): its name is not valid UTF-8: rename it",
        "linked.csv (prices): a symbolic link that leaves the folder: copy the file itself into the folder",
    ]


def test_5_a_refused_login_with_its_code_and_text(site: Site) -> None:
    refusal = {"kind": "refuse_login", "code": "UserUnknownToPermSys", "text": "tester is unknown"}
    with ads(refusal) as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        done = site.invoke("run", "--once", "--json")
    assert done.exit_code == 5
    assert json.loads(done.stdout) == {"drops": [], "files": [], "stopped": False, "waiting": 1}
    assert "UserUnknownToPermSys: tester is unknown" in done.stderr
    assert "Market Data team" in done.stderr
    assert "Traceback" not in done.stderr
    assert "UserUnknownToPermSys" in site.invoke("status").stdout


def test_a_first_host_that_hangs_does_not_keep_a_run_from_the_second(site: Site) -> None:
    with ads() as server, socket.create_server(("127.0.0.1", 0)) as hanging:
        hosts = [f"127.0.0.1:{hanging.getsockname()[1]}", server.address]
        site.configure("", hosts=hosts, connect_timeout_s=2)  # the second one must not be too slow for it
        site.drop("prices.csv", sheet("A=T,1"))
        code, _ = site.once()
    assert (code, held(server)) == (0, {"A=T": "1"})


def test_a_host_that_came_back_is_tried_again_after_one_that_hangs(site: Site) -> None:
    cut = {"kind": "drop_connection_before", "nth": 2}
    with ads(cut) as server, socket.create_server(("127.0.0.1", 0)) as hanging:
        hosts = [server.address, f"127.0.0.1:{hanging.getsockname()[1]}"]
        site.configure("", hosts=hosts, connect_timeout_s=2)  # the second one must not be too slow for it
        site.drop("prices.csv", sheet("A=T,1", "B=T,2"))
        code, _ = site.once()
    assert (code, held(server)) == (0, {"A=T": "1", "B=T": "2"})


def test_5_each_host_with_its_reason(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        hangs = f"127.0.0.1:{hanging.getsockname()[1]}"
        site.configure("", hosts=[CLOSED, hangs], connect_timeout_s=0.3)
        site.drop("prices.csv", sheet("A=T,1"))
        done = site.invoke("run", "--once")
    assert done.exit_code == 5
    assert f"{CLOSED}: Connection refused; {hangs}: no WebSocket within 0.3 s" in done.stderr


@pytest.mark.parametrize("command", [("run", "--once"), ("get", "A=T", "--snapshot")])
def test_2_a_ca_file_without_authorities(site: Site, command: tuple[str, ...]) -> None:
    (site.home / "ca.pem").touch()
    site.configure(CLOSED, tls=True, ca_file="ca.pem")
    site.drop("prices.csv", sheet("A=T,1"))
    done = site.invoke(*command)
    assert done.exit_code == 2
    assert "ca.pem: cannot be used as ads.ca_file" in done.stderr


def test_5_no_connection_and_what_was_not_sent_waits(site: Site) -> None:
    with ads() as server:
        address, port = server.address, server.port
    site.configure(address, connect_timeout_s=0.3)
    site.drop("prices.csv", sheet("A=T,1"))
    done = site.invoke("run", "--once")
    assert done.exit_code == 5
    assert address in done.stderr
    assert "Connection refused" in done.stderr
    assert site.reports() == []
    with ads(port=port) as server:
        code, (drop,) = site.once()
    assert (code, drop["totals"]["acked"]) == (0, 1)
    assert held(server) == {"A=T": "1"}


# Waiting, and stopping.


def test_a_file_that_settles_is_waited_for(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, feed={"settle_seconds": 0.4})
        site.drop("prices.csv", sheet("A=T,1"))
        code, drops = site.once()
    assert (code, len(drops)) == (0, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_and_finished_by_the_next_run(site: Site, number: signal.Signals) -> None:
    with ads() as server:
        site.configure(server.address, rate_limit=2_000)
        site.drop("prices.csv", many("1.25"))
        with site.running("--once") as run:
            eventually(lambda: len(posts(server)) > 500, "posts are on the wire")
            stopped_s = time.monotonic()
            run.send_signal(number)
            code = run.wait(DEADLINE_S)
            took_s = time.monotonic() - stopped_s
        before = len(posts(server))
        assert before < MANY
        assert site.reports() == []
        if number is not signal.SIGKILL:
            assert code == 0, site.log.read_text()
            assert took_s < PROMPTLY_S
            assert "Traceback" not in site.log.read_text()
        assert "1 sending" in site.invoke("status").stdout
        site.configure(server.address)
        code, (drop,) = site.once()
    assert (code, drop["totals"]["acked"]) == (0, MANY)
    assert held(server) == {f"R{n:04}=T": "1.25" for n in range(MANY)}
    again = Counter(post.ric for post in posts(server))
    assert max(again.values()) <= 2  # what had no answer yet goes again, and nothing else
    assert sum(again.values()) <= MANY + 2 * 256
    rows = site.rows("prices.csv")
    assert len(rows) == MANY
    assert {row["status"] for row in rows} == {"acked"}
    assert site.query("SELECT count(DISTINCT row), count(*) FROM outcomes") == [(MANY, MANY)]
    assert site.query("SELECT count(*) FROM in_flight") == [(0,)]


def test_log_lines_and_the_bar_share_a_terminal(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, rate_limit=1_000)
        site.drop("prices.csv", sheet(*(f"R{n}=T,1" for n in range(500))))
        text = on_a_terminal([str(PROGRAM), "run", "--once", "--config", str(site.config)])
    lines = re.split(r"[\r\n]+", text)
    assert any("━" in line and "/500" in line for line in lines)
    logged = [line for line in lines if "[info]" in line]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) and "━" not in line for line in logged)
    assert any("drop finished" in line for line in logged)


def on_a_terminal(line: list[str]) -> str:
    """What a command shows on a terminal of 90 columns, without its colours."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="90")
        os.execv(line[0], line)
    pieces = []
    try:
        while piece := os.read(terminal, 65_536):
            pieces.append(piece)
    except OSError:  # how Linux says that nobody holds the other end any more
        os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(pieces).decode())


@pytest.mark.parametrize("where", ["a full disk", "nobody"])
def test_a_log_that_cannot_be_written_keeps_nothing_back(site: Site, where: str) -> None:
    if where == "nobody":
        reader, log = os.pipe()
        os.close(reader)
    else:
        log = os.open("/dev/full", os.O_WRONLY)
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        line = [PROGRAM, "run", "--config", site.config]
        with subprocess.Popen(line, stderr=log) as process:
            os.close(log)
            eventually(lambda: site.over(1), "the drop is reported")
            assert process.poll() is None
            process.terminate()
        assert held(server) == {"A=T": "1"}


def test_the_configuration_is_found_in_the_working_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.home)
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        assert CliRunner().invoke(main, ["run", "--once"]).exit_code == 0
    assert held(server) == {"A=T": "1"}
