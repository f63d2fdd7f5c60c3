"""``reconcile`` and ``resend`` over real sockets, and what ``run`` and ``status`` tell of an ADS that lost items."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from cli_site import CLOSED, SERVICE, Site, ads, eventually, held, posts, sheet

from contrib_watch.simulator.server import SimulatedServer
from contrib_watch.store import Lock

FIVE = sheet("A=T,1", "B=T,2", "C=T,3", "D=ACME,4", "E=ACME,5")
ALL = {"A=T": "1", "B=T": "2", "C=T": "3", "D=ACME": "4", "E=ACME": "5"}


@pytest.fixture
def server() -> Any:
    with ads() as started:
        yield started


def contribute(site: Site, server: SimulatedServer, **of_ads: Any) -> None:
    """Five items, acknowledged."""
    site.configure(server.address, **of_ads)
    site.drop("prices.csv", FIVE)
    assert site.invoke("run", "--once").exit_code == 0


def spoil(server: SimulatedServer) -> None:
    """One item is gone, and another has a value of somebody else."""
    with server.inspect() as seen:
        del seen.items._cache[SERVICE, "B=T"]
        seen.load(SERVICE, "C=T", '{"BID":99,"ASK":1}')


def forget(server: SimulatedServer) -> None:
    with server.inspect() as seen:
        seen.items.forget()


# reconcile


def test_all_as_acknowledged(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    done = site.invoke("reconcile")
    assert done.exit_code == 0, done.output
    assert "5 items read back: 5 same, 0 missing, 0 different, 0 unreadable" in done.stdout
    assert len(posts(server)) == 5


def test_differences_are_shown_and_nothing_is_posted(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    spoil(server)
    done = site.invoke("reconcile")
    assert done.exit_code == 3
    assert "5 items read back: 3 same, 1 missing, 1 different" in done.stdout
    assert "BID 99 instead of 3" in done.stdout
    assert len(posts(server)) == 5


def test_nothing_is_posted_while_a_feed_is_paused(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    spoil(server)
    assert site.invoke("pause", "prices", "--reason", "wrong desk").exit_code == 0
    for command in (["resend"], ["reconcile", "--repair"]):
        done = site.invoke(*command)
        assert done.exit_code == 2
        assert "nothing is posted: feed prices is paused by" in done.stderr
        assert "wrong desk" in done.stderr
    assert len(posts(server)) == 5
    assert site.invoke("reconcile").exit_code == 3  # which only looks
    assert site.invoke("resume").exit_code == 0
    assert site.invoke("resend").exit_code == 0
    told = json.loads(site.invoke("status", "--json").stdout)["presence"]
    assert (told["state"], told["acked"]) == ("resent", 5)


def test_nothing_is_posted_before_the_reports_could_be_looked_at(site: Site, server: SimulatedServer) -> None:
    """They alone tell that a state was put back from an older copy, and would take old prices for the newest."""
    contribute(site, server)
    spoil(server)
    away = site.inbox.rename(site.home / "away")
    for command in (["resend"], ["reconcile", "--repair"]):
        done = site.invoke(*command)
        assert done.exit_code == 2
        assert f"nothing is posted of feed prices: its reports in {site.inbox} cannot be looked at" in done.stderr
    assert len(posts(server)) == 5
    assert site.invoke("reconcile").exit_code == 3  # which only looks
    away.rename(site.inbox)
    assert site.invoke("resend").exit_code == 0


def test_a_pause_stops_what_is_being_posted_again(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    site.configure(server.address, rate_limit=1, window=1)
    with site.running(command="resend") as resending:
        eventually(lambda: len(posts(server)) > 5, "something is posted again")
        assert site.invoke("pause", "--reason", "wrong desk").exit_code == 0
        assert resending.wait(20) == 2
    assert len(posts(server)) < 10


def test_repair(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    spoil(server)
    done = site.invoke("reconcile", "--repair", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(one["ric"], one["held"], one["in_doubt"]) for one in told["found"]] == [
        ("B=T", "missing", False),
        ("C=T", "different", False),
    ]
    assert told["found"][1]["differences"] == [{"field": "BID", "wanted": "3", "held": "99"}]
    assert (told["items"], told["resent"], told["left"]) == (5, {"acked": 2}, [])
    assert held(server) == ALL
    assert site.invoke("reconcile").exit_code == 0
    assert site.query("SELECT ric, reason, status FROM repairs ORDER BY ric") == [
        ("B=T", "missing", "acked"),
        ("C=T", "BID 99 instead of 3", "acked"),
    ]
    assert len(site.reports()) == 1


def test_a_refused_repair_is_3(site: Site) -> None:
    with ads({"kind": "nak", "ric": "B=T", "code": "AccessDenied", "nth": 2}) as server:
        contribute(site, server)
        spoil(server)
        done = site.invoke("reconcile", "--repair")
    assert done.exit_code == 3
    assert "posted again: 1 acked, 1 nakked; still not right: 1" in done.stdout


def test_another_service_is_refused(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    done = site.invoke("reconcile", "--service", "OTHER")
    assert done.exit_code == 2
    assert f"There are: {SERVICE}" in done.stderr
    assert site.invoke("reconcile", "--service", SERVICE).exit_code == 0


def test_values_in_doubt_are_shown_and_left(site: Site) -> None:
    """Two posts of a RIC without an answer: the second one's values may be there or not."""
    with ads({"kind": "lose_post", "ric": "A=T", "nth": 2}) as server:
        contribute(site, server, ack_timeout_s=0.3, retries=0)
        site.drop("prices.csv", sheet("A=T,1.5"))
        assert site.invoke("run", "--once").exit_code == 4
        done = site.invoke("reconcile", "--repair")
        assert done.exit_code == 3
        assert "BID 1 instead of 1.5" in done.stdout
        assert "left to the next drop" in done.stdout
        assert held(server)["A=T"] == "1"
        assert site.invoke("resend", "A=T").exit_code == 0
        assert held(server)["A=T"] == "1.5"
        assert site.query("SELECT count(*) FROM dirty") == [(0,)]
        assert site.query("SELECT fields, drop_id FROM snapshot WHERE ric = 'A=T'") == [('{"BID":1.5}', 2)]


def test_no_connection_is_5(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    site.configure(CLOSED, connect_timeout_s=0.2)
    for command in ("reconcile", "resend"):
        done = site.invoke(command)
        assert done.exit_code == 5
        assert "no connection" in done.stderr


def test_what_keeps_a_command_waiting_is_told(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    site.configure("", hosts=[CLOSED, server.address])
    done = site.invoke("resend")
    assert done.exit_code == 0
    assert f"[warning] no connection endpoint={CLOSED}" in done.stderr


def test_a_refused_login_is_5(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    with ads({"kind": "refuse_login", "code": "UserUnknownToPermSys", "text": "tester, unknown"}) as strict:
        site.configure(strict.address)
        done = site.invoke("resend")
    assert done.exit_code == 5
    assert "UserUnknownToPermSys" in done.stderr


@pytest.mark.parametrize("command", ["reconcile", "resend"])
def test_not_while_a_process_sends(site: Site, server: SimulatedServer, command: str) -> None:
    contribute(site, server)
    lock = Lock(f"sqlite:///{site.database}")
    try:
        done = site.invoke(command)
    finally:
        lock.release()
    assert done.exit_code == 2
    assert f"the state is in use by process {os.getpid()}" in done.stderr
    assert "Stop it first" in done.stderr


def test_the_shipped_simulated_ads_holds_what_it_acknowledged(site: Site) -> None:
    site.configure("simulated")
    site.drop("prices.csv", FIVE)
    assert site.invoke("run", "--once").exit_code == 0
    assert site.invoke("reconcile").exit_code == 0


# resend


def test_everything_again(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    forget(server)
    done = site.invoke("resend")
    assert done.exit_code == 0, done.output
    assert "5 RICs posted again: 5 acked" in done.stdout
    assert held(server) == ALL
    again = posts(server)[5:]
    assert {post.kind for post in again} == {"Refresh"}
    assert len({post.post_id for post in posts(server)}) == 10


def test_by_pattern(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    forget(server)
    assert site.invoke("resend", "*=ACME").exit_code == 0
    assert set(held(server)) == {"D=ACME", "E=ACME"}


def test_a_pattern_that_fits_nothing(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    done = site.invoke("resend", "X*")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing to post" in done.stderr


def test_some_refused_is_3_and_unanswered_4(site: Site) -> None:
    with ads(
        {"kind": "nak", "ric": "A=T", "code": "AccessDenied", "nth": 2},
        {"kind": "lose_ack", "ric": "B=T", "nth": 3},
    ) as server:
        contribute(site, server, ack_timeout_s=0.3, retries=0)
        done = site.invoke("resend")
        assert done.exit_code == 3
        assert "4 acked, 1 nakked" in done.stdout
        assert site.invoke("resend").exit_code == 4
        assert site.query("SELECT ric, drop_id FROM dirty ORDER BY ric") == [("B=T", 0)]


def test_values_stay_as_old_as_they_are(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    before = site.query("SELECT * FROM snapshot ORDER BY ric")
    assert site.invoke("resend").exit_code == 0
    assert site.query("SELECT * FROM snapshot ORDER BY ric") == before


# run and status


def test_an_ads_that_lost_its_cache_is_whole_after_the_next_drop(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    forget(server)
    site.drop("prices.csv", FIVE.replace("A=T,1", "A=T,1.5"))
    done = site.invoke("run", "--once")
    assert done.exit_code == 0, done.stderr
    assert held(server) == ALL | {"A=T": "1.5"}
    assert "the ADS does not hold what it acknowledged, posting it again" in done.stderr
    found = json.loads(site.invoke("status", "--json").stdout)["presence"]
    assert (found["state"], found["missing"], found["acked"]) == ("repaired", 4, 4)
    assert "all was posted again" in " ".join(site.invoke("status").stdout.split())


def suspect(site: Site) -> None:
    """As a process leaves it that dies before it has read everything back."""
    with closing(sqlite3.connect(site.database)) as database, database:
        told = json.dumps({"why": "it did not hold A=T"})
        database.execute("INSERT OR REPLACE INTO meta VALUES ('suspect', ?)", [told])


def test_a_run_that_only_repairs_does_not_say_there_was_nothing_to_do(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    assert "nothing to do" in site.invoke("run", "--once").stderr
    suspect(site)
    forget(server)
    done = site.invoke("run", "--once")
    assert done.exit_code == 0, done.stderr
    assert held(server) == ALL
    assert "nothing to do" not in done.stderr
    suspect(site)
    assert "nothing to do" in site.invoke("run", "--once").stderr  # all was there


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "nak", "code": "AccessDenied"}, 3),
        ({"kind": "ack_unapplied"}, 3),
        ({"kind": "lose_post"}, 4),
    ],
)
def test_what_the_ads_has_lost_for_good_is_no_exit_code_0(site: Site, fault: dict[str, Any], code: int) -> None:
    with ads(fault | {"ric": "B=T", "nth": 2}) as server:
        contribute(site, server, ack_timeout_s=0.3, retries=0)
        forget(server)
        site.drop("prices.csv", FIVE.replace("A=T,1", "A=T,1.5"))
        done = site.invoke("run", "--once")
    assert done.exit_code == code, done.stderr
    assert held(server).keys() == ALL.keys() - {"B=T"}


def test_status_after_a_check_without_a_find(site: Site, server: SimulatedServer) -> None:
    site.configure(server.address)
    assert json.loads(site.invoke("status", "--json").stdout)["presence"] == {"state": "never checked"}
    contribute(site, server)
    site.drop("prices.csv", FIVE.replace("A=T,1", "A=T,1.5"))
    assert site.invoke("run", "--once").exit_code == 0
    found = json.loads(site.invoke("status", "--json").stdout)["presence"]
    assert (found["state"], found["items"]) == ("fine", 5)


def test_a_service_of_which_no_items_can_be_read_is_not_said_to_hold_all(site: Site, server: SimulatedServer) -> None:
    desk = site.home / "desk"
    desk.mkdir()
    second = f'[[feeds]]\nname = "desk"\nfolder = "{desk}"\nservice = "OTHER"\nsettle_seconds = 0\n'
    site.configure(server.address, more=second)
    site.drop("prices.csv", FIVE)
    site.drop("others.new", sheet("X=T,1", "Y=T,2")).rename(desk / "others.csv")
    assert site.once()[0] == 0
    with server.inspect() as simulated:
        simulated.readable = {SERVICE}
    site.drop("prices.csv", FIVE.replace("A=T,1", "A=T,1.5"))
    done = site.invoke("run", "--once")
    assert done.exit_code == 0
    assert "items cannot be read back" in done.stderr
    told = " ".join(site.invoke("status").stdout.split())
    assert "the ADS held what it had acknowledged: 5 items read back" in told
    assert "2 items of this sample cannot be read back, so that a loss of such would go unseen: NotEntitled" in told


def test_a_state_of_before_repairs_gets_their_table(site: Site, server: SimulatedServer) -> None:
    contribute(site, server)
    with closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute("DROP TABLE repairs")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    assert site.invoke("resend").exit_code == 0
    assert site.query("SELECT count(*) FROM repairs") == [(5,)]
