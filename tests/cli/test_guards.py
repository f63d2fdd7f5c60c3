"""The brake: drops that breach a guard are held, and go out once a second person has seen them."""

from __future__ import annotations

import os
import pwd
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_site import Site, ads, eventually, held, posts, sheet

from contrib_watch.simulator.server import SimulatedServer

ME = pwd.getpwuid(os.getuid()).pw_name
"""Who drops the files of a test."""
TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=10)
RICS = [f"XS{n:03}=ACME" for n in range(8)]
HEADER = "RIC,BID,ASK,As of"
GUARDS = """
[feeds.guards]
max_move = { BID = "20%", ASK = "20%" }
bid_not_above_ask = true
max_missing_rows = "25%"
max_new_rics = 100
as_of = "As of"
"""


def prices(rics: list[str] = RICS, *, times: int = 1, day: object = TODAY) -> str:
    return sheet(*(f"{ric},{(10 + n) * times},{(11 + n) * times},{day}" for n, ric in enumerate(rics)), header=HEADER)


def page(site: Site, drop: dict[str, Any]) -> str:
    return Path(drop["report"]).with_suffix(".html").read_text("utf-8")


@pytest.fixture
def guarded(site: Site) -> Any:
    """A site with guards whose first drop is acknowledged, and its ADS."""
    with ads() as server:
        feed = {"ignore_columns": ["As of"], "timezone": "UTC"}
        site.configure(server.address, feed=feed, more=GUARDS)
        site.drop("prices.csv", prices())
        code, (drop,) = site.once()
        assert (code, drop["totals"]["acked"]) == (0, 8)
        yield site, server


BREACHES = {
    "a price times 100": (prices(times=100), "BID moved 9,900 % (limit 20 %)", 8),
    "the date of another day": (prices(times=1, day=OLD).replace(",10,", ",10.5,"), f"As of is {OLD}", 1),
    "half of the rows gone": (
        prices(RICS[:4]).replace(",10,", ",10.5,"),
        "4 of 8 known RICs missing, 50 % (limit 25 %)",
        1,
    ),
    "a wrong suffix": (
        prices([f"X{n:03}=ACMEE" for n in range(500)]) + prices().partition("\n")[2],
        "500 of 508 RICs new (limit 100)",
        500,
    ),
}


@pytest.mark.parametrize("case", BREACHES)
def test_a_breach_is_held_and_goes_out_once_somebody_else_approved_it(
    guarded: tuple[Site, SimulatedServer], case: str
) -> None:
    site, server = guarded
    content, what, rows = BREACHES[case]
    before = len(posts(server))
    site.drop("prices.csv", content)
    code, (drop,) = site.once()
    assert (code, drop["status"], drop["totals"]["held"]) == (3, "held", rows)
    assert what in drop_reason(site)
    assert f"NOTHING PUBLISHED: held, {what}" in page(site, drop)
    assert len(posts(server)) == before

    by_the_dropper = site.invoke("approve", "2")
    assert by_the_dropper.exit_code == 2
    assert f"{ME} dropped it (file owner)" in by_the_dropper.stderr
    assert site.once() == (0, [])
    assert len(posts(server)) == before

    done = site.invoke("approve", "2", "--as", "bob", "--reason", "called the desk")
    assert done.exit_code == 0, done.stderr
    code, (drop,) = site.once()
    assert (code, drop["status"], drop["totals"]["acked"]) == (0, "done", rows)
    assert len(posts(server)) == before + rows
    assert f"approved by bob (asserted by {ME}): called the desk" in page(site, drop)


def drop_reason(site: Site) -> str:
    (waiting,) = site.status()["waiting_for_a_decision"]
    return str(waiting["reason"])


def test_an_approval_of_what_is_no_longer_so_is_refused_with_a_new_report(
    guarded: tuple[Site, SimulatedServer],
) -> None:
    site, server = guarded
    site.config.write_text(site.config.read_text().replace("max_missing_rows", "# max_missing_rows"))
    site.drop("prices.csv", prices(times=100))
    assert site.once()[0] == 3
    site.drop("correction.csv", sheet(f"XS000=ACME,10.5,11,{TODAY}", header=HEADER))
    assert site.once()[0] == 0
    before = len(posts(server))

    refused = site.invoke("approve", "2", "--as", "bob")
    assert refused.exit_code == 2
    assert "drop 2 is not approved: the snapshot has moved since its report" in refused.stderr
    assert site.once() == (0, [])
    assert len(posts(server)) == before
    assert held(server)["XS000=ACME"] == "10.5"
    assert len(site.reports("prices.csv")) == 3

    assert site.invoke("approve", "2", "--as", "bob").exit_code == 0  # of the new report
    code, (drop,) = site.once()
    assert (code, drop["status"]) == (0, "done")
    assert held(server)["XS001=ACME"] == "1100"
    assert held(server)["XS000=ACME"] == "10.5"  # the newer drop's


def test_a_page_shows_the_largest_moves(guarded: tuple[Site, SimulatedServer]) -> None:
    site, _ = guarded
    site.drop("prices.csv", prices().replace(",10,11,", ",1.5,1.75,").replace(",17,18,", ",17,23,"))
    _, (drop,) = site.once()
    found = page(site, drop)
    moves = found[found.index("The largest moves") :]
    assert moves.index("<td>10 → 1.5</td>") < moves.index("<td>11 → 1.75</td>") < moves.index("<td>18 → 23</td>")
    assert "row 2, BID" in moves
    assert "BID moved 85 % (limit 20 %)" in found
    assert "ASK moved 84 % (limit 20 %)" in found


class TestPause:
    def test_nothing_of_a_paused_feed_is_sent_until_it_goes_on(self, site: Site) -> None:
        with ads() as server:
            site.configure(server.address)
            assert site.invoke("pause", "prices", "--reason", "wrong desk").exit_code == 0
            site.drop("prices.csv", sheet("A=T,1"))
            for _ in range(2):  # it survives a restart
                done = site.invoke("run", "--once")
                assert (done.exit_code, posts(server)) == (3, [])
                assert "paused" in done.stderr
                assert f"by {ME}: wrong desk" in done.stderr
            assert site.status()["paused"]["prices"]["why"] == "wrong desk"
            assert f"prices is paused by {ME}: wrong desk" in site.invoke("status").stdout
            assert site.invoke("resume", "prices").exit_code == 0
            assert site.once()[0] == 0
            assert held(server) == {"A=T": "1"}

    def test_a_running_daemon_stops_and_goes_on(self, site: Site) -> None:
        with ads() as server:
            site.configure(server.address, rate_limit=20)
            site.drop("prices.csv", sheet(*(f"R{n}=T,{n}" for n in range(60))))
            with site.running():
                eventually(lambda: posts(server), "something is posted")
                assert site.invoke("pause").exit_code == 0
                eventually(lambda: "is paused: nothing" in site.log.read_text(), "the daemon has seen it")
                eventually(lambda: site.query("SELECT count(*) FROM in_flight") == [(0,)], "all is answered")
                assert len(posts(server)) < 60
                assert site.status()["drops"][0]["status"] == "sending"
                assert site.invoke("resume").exit_code == 0
                eventually(lambda: site.over(1), "the drop is over")
        assert len(posts(server)) == 60

    def test_what_cannot_be_resumed(self, site: Site) -> None:
        with ads() as server:
            site.configure(server.address)
            assert "nothing is paused" in site.invoke("resume").stderr
            assert "there is no feed 'bonds'" in site.invoke("pause", "bonds").stderr
            assert site.invoke("pause").exit_code == 0
            done = site.invoke("resume", "prices")
            assert done.exit_code == 2
            assert "ends the pause of all feeds" in done.stderr


def test_a_file_that_did_not_come_is_told_once_and_shown(site: Site) -> None:
    feed = {"expect": {"by": "00:00", "days": "Mon-Sun"}, "timezone": "UTC"}
    with ads() as server:
        site.configure(server.address, feed=feed)
        assert site.once() == (0, [])
        assert site.status()["missing_files"] == []  # nobody watched when it was due
        with closing(sqlite3.connect(site.database)) as database, database:
            database.execute("UPDATE feeds SET first_scan_utc = '2000-01-01T00:00:00.000Z'")
        (missing,) = site.status()["missing_files"]
        assert missing["feed"] == "prices"
        assert "No file came for prices" in site.invoke("status").stdout
        told = [site.invoke("run", "--once").stderr.count("no file came") for _ in range(2)]
        assert told == [1, 0]
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.once()[0] == 0
        assert site.status()["missing_files"] == []


def test_a_new_feed_is_told_no_file_that_was_due_before_it(site: Site) -> None:
    feed = {"expect": {"by": "00:00", "days": "Mon-Sun"}, "timezone": "UTC", "settle_seconds": 1.2}
    with ads() as server:
        site.configure(server.address, feed=feed)
        assert site.status()["missing_files"] == []
        site.drop("prices.csv", sheet("A=T,1"))
        assert "no file came" not in site.invoke("run", "--once").stderr
    assert site.query("SELECT count(*) FROM absences") == [(0,)]


class TestUndo:
    def test_revert_puts_back_what_still_stands_and_clears_what_was_new(self, site: Site) -> None:
        with ads() as server:
            feed = {"columns": {"Gebot": "BID", "Name": "DSPLY_NAME"}, "delimiter": ";", "decimal": ","}
            site.configure(server.address, feed=feed)
            for rows in (['A=T;1,5;"old, ""one"""', "B=T;2;x", "C=T;3;"], ["A=T;9,5;new", "B=T;8;x", "D=T;7;"]):
                site.drop("prices.csv", sheet(*rows, header="RIC;Gebot;Name"))
                assert site.once()[0] == 0
            site.drop("prices.csv", sheet("B=T;2,5;", header="RIC;Gebot;Name"))
            assert site.once()[0] == 0
            done = site.invoke("revert", "2", "--reason", "wrong file")
            assert done.exit_code == 0, done.stderr
            code, (drop,) = site.once()
        assert (code, drop["drop"], drop["totals"]["acked"]) == (0, 4, 2)
        assert held(server) == {"A=T": "1.5", "B=T": "2.5", "C=T": "3", "D=T": "None"}
        assert held(server, "DSPLY_NAME")["A=T"] == 'old, "one"'
        assert site.reports("revert-of-drop-2.csv")
        assert site.invoke("audit replay", "4").exit_code == 0
        again = site.invoke("revert", "2")
        assert again.exit_code == 2
        assert "nothing of drop 2 can be put back" in again.stderr

    def test_revert_passes_the_guards_of_values(self, guarded: tuple[Site, SimulatedServer]) -> None:
        site, server = guarded
        site.drop("prices.csv", prices(times=100))
        assert site.once()[0] == 3
        assert site.invoke("approve", "2", "--as", "bob").exit_code == 0
        assert site.once()[0] == 0
        before = len(posts(server))
        assert site.invoke("revert", "2").exit_code == 0
        assert site.once()[0] == 3
        assert "BID moved 99 % (limit 20 %)" in drop_reason(site)
        assert len(posts(server)) == before
        assert f"{ME} dropped it (OS user)" in site.invoke("approve", "3").stderr
        assert site.invoke("approve", "3", "--as", "bob").exit_code == 0
        assert site.once()[0] == 0
        assert held(server)["XS000=ACME"] == "10"

    def test_withdraw_clears_every_value(self, site: Site) -> None:
        with ads() as server:
            site.configure(server.address)
            site.drop("prices.csv", sheet("A=T,1,2", "B=T,3,4", header="RIC,BID,ASK"))
            assert site.once()[0] == 0
            assert "nothing to withdraw of X=T" in site.invoke("withdraw", "A=T", "X=T").stderr
            assert site.invoke("withdraw", "A=T").exit_code == 0
            assert site.once()[0] == 0
        assert (held(server), held(server, "ASK")) == ({"A=T": "None", "B=T": "3"}, {"A=T": "None", "B=T": "4"})

    @pytest.mark.parametrize(
        "line",
        [
            ["withdraw", "A=T", b"\xffB=T"],
            ["withdraw", "A=T", "--reason", b"\xff"],
            ["approve", "1", "--as", b"\xff"],
            ["audit ric", b"A=\xff"],
        ],
    )
    def test_a_text_that_is_not_utf_8_is_a_fault_of_usage(self, site: Site, line: list[str | bytes]) -> None:
        site.configure("127.0.0.1:1")
        done = site.invoke(*map(os.fsdecode, line))
        assert done.exit_code == 2
        assert "\\udcff" in done.stderr
        assert "is not text in UTF-8" in done.stderr

    def test_withdraw_names_what_is_still_on_its_way(self, site: Site) -> None:
        with ads() as server:
            site.configure(server.address)
            site.drop("prices.csv", sheet("A=T,1"))
            assert site.once()[0] == 0
        site.configure("127.0.0.1:1", connect_timeout_s=0.2)
        site.drop("prices.csv", sheet("A=T,2"))
        assert site.once()[0] == 5
        assert "drop 2 is still on its way" in site.invoke("withdraw", "A=T").stderr


class TestApprovers:
    @pytest.fixture
    def waiting(self, site: Site) -> Site:
        """Every drop of the feed waits; the folder is Anna's."""
        site.configure("127.0.0.1:1", feed={"approval": "always", "dropped_by": "anna", "approvers": [ME, "anna"]})
        site.drop("prices.csv", sheet("A=T,1"))
        code, (drop,) = site.once()
        assert (code, drop["status"], drop["totals"]["held"]) == (3, "held", 1)
        assert "every drop of this feed waits for an approval" in drop_reason(site)
        return site

    def test_a_name_that_is_only_asserted_is_none_of_the_approvers(self, waiting: Site) -> None:
        done = waiting.invoke("approve", "1", "--as", "bob")
        assert done.exit_code == 2
        assert "--as must be the OS user" in done.stderr
        assert waiting.invoke("approve", "1").exit_code == 0

    def test_who_dropped_it_is_known_by_the_folder(self, waiting: Site) -> None:
        waiting.config.write_text(waiting.config.read_text().replace(f'["{ME}", "anna"]', "[]"))
        done = waiting.invoke("approve", "1", "--as", "Anna")
        assert "Anna dropped it (drop folder)" in done.stderr
        assert waiting.invoke("approve", "1", "--as", "bob").exit_code == 0
