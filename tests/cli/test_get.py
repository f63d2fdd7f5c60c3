"""``get`` as a stranger uses it: processes, sockets, signals; and what its table looks like on a terminal."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_site import CLOSED, DEADLINE_S, PROGRAM, SERVICE, Site, ads, dictionary, eventually, sheet
from click.testing import CliRunner, Result
from rich.console import Console

from contrib_watch.ads.messages import StreamState
from contrib_watch.ads.watching import Change, ItemChange
from contrib_watch.cli import main
from contrib_watch.cli.cloud import configuration_for, secrets_for, simulated_platform
from contrib_watch.cli.item_views import LiveTable, Names
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.server import SimulatedServer


def get(*args: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, ["get", *args])


def lines(out: str, *kinds: str) -> list[dict[str, Any]]:
    """The JSON lines of these types, without their time."""
    found = [json.loads(line) for line in out.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("at_utc")) for one in found)
    return [one for one in found if not kinds or one["type"] in kinds]


@contextmanager
def getting(*args: str) -> Iterator[subprocess.Popen[bytes]]:
    """``get`` in a process of its own, with JSON lines; killed at the end where it still runs."""
    line = [str(PROGRAM), "get", *args, "--json"]
    # Unbuffered, so that select() tells of every line.
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], DEADLINE_S)[0], "it says nothing"
    return lines(process.stdout.readline().decode())[0]


def here(server: SimulatedServer) -> tuple[str, ...]:
    return "--host", server.address, "--user", "me", "--service", SERVICE


def load(server: SimulatedServer, ric: str, fields: str, service: str = SERVICE) -> None:
    with server.inspect() as simulated:
        simulated.load(service, ric, fields)


def test_a_snapshot_without_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ads() as server:
        load(server, "A=T", '{"BID":22.10,"ASK":24.5,"CURRENCY":840}')
        load(server, "B=T", '{"BID":1}')
        done = get("A=T", "B=T", *here(server), "--view", "BID,CURRENCY", "--snapshot", "--json")
    assert done.exit_code == 0, done.stderr
    ok = {"stream": "NonStreaming", "data": "Ok", "code": "", "text": ""}
    first, second = lines(done.stdout, "Refresh")
    assert first["fields"] == {"BID": 22.1, "CURRENCY": "USD"}
    assert second == {"type": "Refresh", "ric": "B=T", "service": SERVICE, "state": ok, "fields": {"BID": 1}}
    assert lines(done.stdout, "Connection") == [{"type": "Connection", "state": "open", "host": server.address}]
    assert list(tmp_path.iterdir()) == []


def test_updates_come_until_ctrl_c_which_closes_streams_and_login() -> None:
    with ads() as server:
        load(server, "A=T", '{"BID":1,"ASK":2}')
        with getting("A=T", *here(server)) as process:
            assert next_line(process)["type"] == "Connection"
            assert next_line(process)["fields"] == {"BID": 1, "ASK": 2}
            load(server, "A=T", '{"BID":3}')
            again = next_line(process)
            assert (again["type"], again["fields"]) == ("Refresh", {"BID": 3})
            with server.inspect() as simulated:
                (session,) = simulated.sessions
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, out, err) == (0, b"", b"")
        assert not session._streams
        assert session._login_id is None


def test_what_a_feed_contributes_is_seen_as_updates(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        with getting("A=T", "--config", str(site.config)) as process:
            assert next_line(process)["type"] == "Connection"
            assert next_line(process)["service"] == SERVICE  # the one to which the feed posts
            site.drop("prices.csv", sheet("A=T,2.5"))
            assert site.once()[0] == 0
            update = next_line(process)
            assert update == {"type": "Update", "ric": "A=T", "service": SERVICE, "fields": {"BID": 2.5}}


def test_an_outage_is_told_and_the_items_come_back() -> None:
    with ads() as server:
        load(server, "A=T", '{"BID":1}')
        with getting("A=T", *here(server)) as process:
            assert [next_line(process)["type"] for _ in range(2)] == ["Connection", "Refresh"]
            server.drop_all()
            told = [next_line(process)]
            while told[-1]["type"] != "Refresh":
                told.append(next_line(process))
    states = [one["state"] for one in told if one["type"] == "Connection"]
    assert states[0] == "lost"
    assert states[-1] == "open"
    (status,) = [one for one in told if one["type"] == "Status"]
    assert status["state"]["stream"] == "ClosedRecover"


def test_an_item_that_is_not_there() -> None:
    with ads() as server:
        load(server, "A=T", '{"BID":1}')
        for more in (("--snapshot",), ()):  # without an open item, there is nothing to wait for
            done = get("NONE=T", *here(server), "--json", *more)
            assert done.exit_code == 3
            (status,) = lines(done.stdout, "Status")
            assert status["state"]["code"] == "NotFound"
        done = get("A=T", "NONE=T", *here(server), "--snapshot")
        assert done.exit_code == 3
        assert "A=T TEST Refresh NonStreaming/Ok BID 1" in done.stdout
        assert "NONE=T TEST Status Closed/Suspect NotFound: The record could not be found" in done.stdout


def test_several_services_and_one_that_there_is_not() -> None:
    simulated = SimulatedAds(dictionary(), services=("ONE", "TWO"))
    with SimulatedServer(simulated) as server:
        load(server, "A=T", '{"BID":1}', "ONE")
        load(server, "A=T", '{"BID":2}', "TWO")
        login = ("--host", server.address, "--user", "me", "--snapshot", "--json")
        done = get("A=T", *login, "--service", "ONE", "--service", "TWO")
        assert done.exit_code == 0, done.stderr
        values = {one["service"]: one["fields"]["BID"] for one in lines(done.stdout, "Refresh")}
        assert values == {"ONE": 1, "TWO": 2}
        (default,) = lines(get("A=T", *login).stdout, "Refresh")
        assert "service" not in default
        assert default["fields"] == {"BID": 1}
        done = get("A=T", *login, "--service", "THREE")
        assert done.exit_code == 3
        assert "THREE" in lines(done.stdout, "Status")[0]["state"]["text"]


def test_a_login_that_is_refused() -> None:
    simulated = SimulatedAds(dictionary(), users=("someone",))
    with SimulatedServer(simulated) as server:
        done = get("A=T", *here(server))
    assert done.exit_code == 5
    assert "UserUnknownToPermSys" in done.stderr


def test_no_connection(site: Site) -> None:
    site.configure(CLOSED, connect_timeout_s=0.2)
    done = site.invoke("get", "A=T")
    assert done.exit_code == 5
    assert f"{CLOSED}: no connection for 0.2 s: Connection refused" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--host", "ads1:15000"), "--host needs --user"),
        (("--host", "ads1", "--user", "me"), 'must be "host:port"'),
        (("--client-id", "X", "--user", "GE-A-1"), "cloud.region is required"),
        (("--client-id", "X", "--user", "GE-A-1", "--region", "eu"), "Set CONTRIB_WATCH_CLOUD_PASSWORD"),
        (("--client-id", "X", "--region", "eu"), "Set CONTRIB_WATCH_CLOUD_CLIENT_SECRET"),
        ((), "there is no such configuration file"),
    ],
)
def test_a_command_line_that_does_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = get("A=T", *args)
    assert done.exit_code == 2
    assert said in done.stderr


def test_options_of_a_connection_do_not_go_with_the_configurations(site: Site) -> None:
    site.configure(CLOSED)
    done = site.invoke("get", "A=T", "--app-id", "12")
    assert done.exit_code == 2
    assert "--app-id goes with --host or --client-id" in done.stderr


def test_the_built_in_simulated_ads_holds_what_it_acknowledged(site: Site) -> None:
    site.configure("simulated")
    site.drop("prices.csv", sheet("A=T,1.25"))
    assert site.once()[0] == 0
    done = site.invoke("get", "A=T", "--snapshot", "--json")
    assert done.exit_code == 0, done.stderr
    assert lines(done.stdout, "Refresh")[0]["fields"] == {"BID": 1.25}


def test_by_token_where_discovery_says(site: Site) -> None:
    simulated = SimulatedAds(dictionary())
    with simulated_platform(simulated, site.home) as (server, ca_file):
        simulated.load(SERVICE, "A=T", '{"BID":1}')
        _, table = configuration_for(server, ca_file)
        site.configure("discover", more=table, ca_file=str(ca_file))
        done = site.invoke("get", "A=T", "--snapshot", "--json", **secrets_for(server))
    assert done.exit_code == 0, done.stderr
    assert lines(done.stdout, "Refresh")[0]["fields"] == {"BID": 1}


# What is on a terminal.

AT = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
OPEN = StreamState("Open", "Ok")


def drawn(table: LiveTable, width: int = 100) -> str:
    console = Console(width=width, record=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    with console.file:
        console.print(table.table())
        return console.export_text()


def rows(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


def test_the_table_of_a_few_items() -> None:
    table = LiveTable([("S", "A=T"), ("S", "B[red]")], (), Names(dictionary()), Console(width=100))
    assert "asked for" in drawn(table)
    table.linked("open", "", "", AT)
    table.changed(ItemChange("S", "A=T", Change.REFRESH, {"BID": "22.10", "CURRENCY": "840", "25": "3"}, OPEN), AT)
    table.changed(ItemChange("S", "A=T", Change.UPDATE, {"BID": "22.30", "ASK": "null"}), AT)
    closed = StreamState("Closed", "Suspect", "NotFound", "no\x1b[2Jsuch")
    table.changed(ItemChange("S", "B[red]", Change.STATUS, state=closed, over=True), AT)
    text = drawn(table)
    found = rows(text)
    assert found[0] == ["A=T S", "B[red] S"]
    assert ["BID", "22.30"] in found
    assert ["CURRENCY", "USD"] in found
    assert ["ASK"] in found
    assert "1 update" in text
    assert r"Closed/Suspect NotFound: no\x1b[2Jsuch" in " ".join(text.split())
    assert "connection open - Ctrl-C ends" in text


def test_the_table_of_many_items_has_a_row_for_each() -> None:
    items = [("S", f"R{n}") for n in range(6)]
    table = LiveTable(items, ("ASK", "BID"), Names(dictionary()), Console(width=100))
    for service, ric in items:
        fields = {"BID": "1", "ASK": "2"}
        table.changed(ItemChange(service, ric, Change.REFRESH, fields, OPEN), AT)
    found = rows(drawn(table))
    assert found[0] == ["RIC", "ASK", "BID", "last", "state"]
    assert [row[:3] for row in found if row[0].startswith("R") and row[0] != "RIC"] == [
        [ric, "2", "1"] for _, ric in items
    ]


def test_more_fields_than_fit_are_told() -> None:
    items = [("S", f"R{n}") for n in range(6)]
    table = LiveTable(items, (), Names(dictionary()), Console(width=80))
    fields = dict.fromkeys(("BID", "ASK", "HIGH_1", "LOW_1", "OPEN_PRC"), "1")
    table.changed(ItemChange("S", "R0", Change.REFRESH, fields, OPEN), AT)
    assert "2 of 5 fields; choose with --view" in drawn(table, 80)


def test_on_a_terminal_it_is_a_table() -> None:
    """In a pseudo-terminal, where the table stays when Ctrl-C has ended it."""
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    with ads() as server:
        load(server, "A=T", '{"BID":22.5}')
        line = [str(PROGRAM), "get", "A=T", *here(server)]
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        with subprocess.Popen(line, stdin=terminal, stdout=terminal, stderr=terminal, env=environ) as process:
            seen = bytearray()

            def reading() -> bool:
                if select.select([controller], [], [], 0)[0]:
                    seen.extend(os.read(controller, 65_536))
                return b"22.5" in seen

            eventually(reading, "the value is on the terminal")
            process.send_signal(signal.SIGINT)
            eventually(lambda: reading() and process.poll() is not None, "it has ended")
    os.close(terminal)
    os.close(controller)
    assert process.returncode == 0
    assert b"A=T TEST" in seen
    assert b"Traceback" not in seen
