"""Stopping, with real processes and signals: once in good order, twice at once, and nothing is lost either way."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openpyxl
import pytest
from cli_site import CLOSED, DEADLINE_S, Site, ads, eventually, held, posts, sheet

from contrib_watch.pipeline.loop import FAREWELL_S

IN_GOOD_ORDER_S = 2 * FAREWELL_S + 5.0
"""A stop may take this long, whatever hangs, even where the machine has much else to do."""
AT_ONCE_S = 2.0
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
ALL = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
ROWS = [f"R{n}=T,{n}" for n in range(800)]


def stop(process: subprocess.Popen[str]) -> float:
    """Stop it in good order; how long that took."""
    begun_s = time.monotonic()
    process.terminate()
    code = process.wait(DEADLINE_S)
    assert code == 0
    return time.monotonic() - begun_s


def finish(site: Site) -> None:
    """The next run does what is left."""
    code, _ = site.once()
    assert code == 0


def every_row_once(site: Site, rows: int) -> None:
    """Each row of the drop has its outcome in its report, and no PostID was used twice."""
    told = site.rows("prices.csv")
    assert [row["status"] for row in told] == ["acked"] * rows
    assert site.query("SELECT count(*) FROM in_flight") == [(0,)]


def test_while_sending(site: Site) -> None:
    with ads() as server:
        site.configure(server.address, rate_limit=300)
        site.drop("prices.csv", sheet(*ROWS))
        with site.running() as process:
            eventually(lambda: len(posts(server)) > 100, "it sends")
            assert stop(process) < IN_GOOD_ORDER_S
        sent = len(posts(server))
        assert sent < len(ROWS)
        assert site.query("SELECT count(*) FROM in_flight") == [(0,)]  # what was on the wire was waited for
        assert site.query("SELECT count(*) FROM snapshot") == [(sent,)]
        assert site.query("SELECT status FROM drops") == [("sending",)]
        site.configure(server.address)
        finish(site)
        assert len(posts(server)) == len(ROWS)
        assert len(held(server)) == len(ROWS)
        every_row_once(site, len(ROWS))
    assert "Traceback" not in site.log.read_text()


@BOTH
def test_twice_while_answers_are_waited_for(site: Site, number: signal.Signals) -> None:
    with ads({"kind": "lose_ack", "nth": 50}) as server:
        site.configure(server.address, rate_limit=300)
        site.drop("prices.csv", sheet(*ROWS))
        with site.running() as process:
            eventually(lambda: len(posts(server)) > 100, "it sends")
            process.send_signal(number)
            eventually(lambda: "once more stops at once" in site.log.read_text(), "it is stopping")
            begun_s = time.monotonic()
            process.send_signal(number)
            assert process.wait(DEADLINE_S) == 128 + number
            assert time.monotonic() - begun_s < AT_ONCE_S
        site.configure(server.address)
        finish(site)
        assert len(held(server)) == len(ROWS)
        every_row_once(site, len(ROWS))
        ids = [record.post_id for record in posts(server)]
        assert len(ids) == len(set(ids))


def test_a_terminal_that_is_closed_and_says_so_twice(site: Site) -> None:
    with ads({"kind": "lose_ack"}) as server:
        site.configure(server.address, ack_timeout_s=60)
        site.drop("prices.csv", sheet("A=T,1"))
        with site.running() as process:
            eventually(lambda: posts(server), "it sends")
            process.send_signal(signal.SIGHUP)
            eventually(lambda: "signal=SIGHUP" in site.log.read_text(), "it is stopping")
            process.send_signal(signal.SIGHUP)
            assert process.wait(DEADLINE_S) == 0
        with server.inspect() as simulated:
            assert simulated.logouts == 1


def test_a_daemon_that_is_to_survive_its_terminal_does(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        try:
            with site.running() as process:
                eventually(lambda: "logged in" in site.log.read_text(), "it runs")
                process.send_signal(signal.SIGHUP)
                site.drop("prices.csv", sheet("A=T,1"))
                eventually(lambda: held(server) == {"A=T": "1"}, "it goes on")
                stop(process)
        finally:
            signal.signal(signal.SIGHUP, before)


def test_an_answer_that_does_not_come_is_not_waited_for_long(site: Site) -> None:
    with ads({"kind": "lose_ack"}) as server:
        site.configure(server.address, ack_timeout_s=60)
        site.drop("prices.csv", sheet("A=T,1"))
        with site.running() as process:
            eventually(lambda: posts(server), "it sends")
            assert FAREWELL_S <= stop(process) < IN_GOOD_ORDER_S
    with ads() as server:
        site.configure(server.address)
        finish(site)
        assert held(server) == {"A=T": "1"}


def test_while_waiting_for_a_connection(site: Site) -> None:
    site.configure(CLOSED)
    site.drop("prices.csv", sheet("A=T,1"))
    with site.running() as process:
        eventually(lambda: site.query("SELECT 1 FROM drops WHERE status = 'sending'"), "the drop is in hand")
        assert stop(process) < FAREWELL_S
    with ads() as server:
        site.configure(server.address)
        finish(site)
        assert held(server) == {"A=T": "1"}


def test_while_a_file_is_read(site: Site) -> None:
    """A workbook that takes many seconds to read; nothing of it is recorded before it is read."""
    with ads() as server:
        site.configure(server.address, feed={"second_reading": "never"})
        book = openpyxl.Workbook(write_only=True)
        lines = book.create_sheet("Sheet")
        lines.append(["RIC", *(f"C{n}" for n in range(40))])
        for n in range(6_000):
            lines.append([f"R{n}=T", *range(40)])
        being_written = site.home / "being_written"
        book.save(being_written)
        being_written.rename(site.inbox / "prices.xlsx")
        with site.running() as process:
            eventually(lambda: site.query("SELECT 1 FROM drops"), "the file is a drop")
            took_s = stop(process)
        assert took_s < FAREWELL_S
        assert site.query("SELECT status FROM drops") in ([("waiting",)], [("rejected",)])
        assert not _children(process.pid)
        code, (drop,) = site.once()
        assert (code, drop["status"]) == (3, "rejected")  # its columns are no fields
    assert "Traceback" not in site.log.read_text()


def _children(pid: int) -> list[int]:
    """Processes that were started by one that is gone, by the session or parent that they name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


@contextmanager
def hanging_reports(site: Site) -> Iterator[Path]:
    """A report folder that does not answer: whoever opens a file in it waits, as in a dead share."""
    folder = site.home / "reports_of_a_dead_share"
    folder.mkdir()
    source = site.home / "dead.c"
    source.write_text(_DEAD_SHARE)
    library = site.home / "dead.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no C compiler, which the dead share of this test is made with")
    os.environ["LD_PRELOAD"], os.environ["DEAD_SHARE"] = str(library), str(folder)
    try:
        yield folder
    finally:
        del os.environ["LD_PRELOAD"], os.environ["DEAD_SHARE"]


_DEAD_SHARE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hang(const char *path) {
    const char *dead = getenv("DEAD_SHARE");
    while (dead && !strncmp(path, dead, strlen(dead))) sleep(1);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    if (flags & O_CREAT) hang(path);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    if (flags & O_CREAT) hang(path);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return real(path, flags, mode);
}
"""


def test_while_a_report_is_written_to_a_share_that_hangs(site: Site) -> None:
    with ads() as server, hanging_reports(site) as folder:
        site.configure(server.address, feed={"report_folder": folder.name})
        site.drop("first.csv", sheet("A=T,1"))
        with site.running() as process:
            eventually(lambda: site.query("SELECT 1 FROM drops WHERE status = 'done'"), "the drop is over")
            site.drop("second.csv", sheet("B=T,2"))
            eventually(lambda: held(server) == {"A=T": "1", "B=T": "2"}, "the next one is sent meanwhile")
            eventually(lambda: site.query("SELECT count(*) FROM drops WHERE status = 'done'") == [(2,)], "it is over")
            assert FAREWELL_S <= stop(process) < IN_GOOD_ORDER_S
    assert list(folder.iterdir()) == []
    with ads() as server:
        site.configure(server.address, feed={"report_folder": folder.name})
        site.invoke("run", "--once")
        assert posts(server) == []
    assert len(list(folder.glob("*.ack.csv"))) == 2


def test_the_trace_of_a_run(site: Site) -> None:
    trace = site.home / "trace.txt"
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.invoke("run", "--once", "--trace", str(trace)).exit_code == 0
        text = trace.read_text()
        assert '"Domain":"Login"' in text
        assert '"AckID":1' in text
        assert stat.S_IMODE(trace.stat().st_mode) == 0o600
        assert site.invoke("check", "--trace", str(trace)).exit_code == 0
        assert len(trace.read_text()) > len(text)
    refused = site.invoke("run", "--once", "--trace", str(site.home / "no" / "trace.txt"))
    assert refused.exit_code == 2
    assert "cannot be written" in refused.stderr


@ALL
def test_a_command_that_posts_ends_with_a_logout(site: Site, number: signal.Signals) -> None:
    with ads({"kind": "lose_ack", "nth": 2}) as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        finish(site)
        with server.inspect() as simulated:
            before = simulated.logouts
        with site.running(command="resend") as process:
            eventually(lambda: len(posts(server)) == 2, "it waits for an Ack")
            process.send_signal(number)
            assert process.wait(DEADLINE_S) == 1
        with server.inspect() as simulated:
            assert simulated.logouts == before + 1
    assert "Aborted!" in site.log.read_text()


def test_a_stopped_run_says_what_waits(site: Site) -> None:
    site.configure(CLOSED, connect_timeout_s=600)
    site.drop("prices.csv", sheet("A=T,1"))
    with site.running("--once", "--json") as process:
        eventually(lambda: "no connection" in site.log.read_text(), "it tries to connect")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait(DEADLINE_S) == 0
    assert json.loads(told) == {"drops": [], "files": [], "stopped": True, "waiting": 1}
    assert site.log.read_text().rstrip().endswith("stopped; 1 drop waits to be sent")
