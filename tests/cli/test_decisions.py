"""approve, reject, retry and adopt between two runs: what they change, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_site import CLOSED, Site, ads, held, posts, sheet


@pytest.fixture
def waiting(site: Site) -> Site:
    """A site where drop 1 is held."""
    site.configure(CLOSED)
    assert site.once() == (0, [])
    site.drop("old.csv", sheet("A=T,1", "B=T,x"), age_days=30)
    assert site.once()[0] == 3
    return site


def test_approve_sends_it_with_the_next_run(waiting: Site) -> None:
    done = waiting.run("approve", "1")
    assert (done.returncode, done.stdout) == (0, "")
    assert "drop 1 is approved" in done.stderr
    with ads() as server:
        waiting.configure(server.address)
        code, (drop,) = waiting.once()
    assert (code, drop["drop"], drop["status"]) == (3, 1, "done")  # its other row is still rejected
    assert held(server) == {"A=T": "1"}
    assert len(waiting.reports("old.csv")) == 2


def test_what_is_released_has_no_held_rows_any_more(waiting: Site) -> None:
    assert waiting.status()["drops"][0]["totals"]["held"] == 1
    assert waiting.invoke("approve", "1").exit_code == 0
    (drop,) = waiting.status()["drops"]
    assert (drop["status"], drop["totals"]) == ("waiting", {})


def test_two_held_drops_are_approved_the_older_first(waiting: Site) -> None:
    waiting.drop("next.csv", sheet("A=T,3"), age_days=20)
    assert waiting.once()[0] == 3
    with ads() as server:
        waiting.configure(server.address)
        first, second = waiting.invoke("approve", "1"), waiting.invoke("approve", "2")
        assert (first.exit_code, second.exit_code) == (0, 0)
        assert "waiting for a decision too: drop 2" in first.stderr
        assert "newer" not in second.stderr
        _, drops = waiting.once()
        # What the second would change is no longer what was approved: the first was sent in between.
        assert [(drop["drop"], drop["status"]) for drop in drops] == [(1, "done"), (2, "held")]
        assert waiting.invoke("approve", "2").exit_code == 0
        assert waiting.once()[0] == 0
    assert held(server) == {"A=T": "3"}


def test_reject_ends_it_at_once_with_a_second_report(waiting: Site) -> None:
    done = waiting.invoke("reject", "1")
    assert done.exit_code == 0
    first, second = sorted(waiting.reports("old.csv"), key=lambda path: path.stat().st_mtime_ns)
    assert str(second) in done.stderr
    assert "held" in first.read_text()
    assert "rejected by a person" in second.read_text()
    assert waiting.once() == (0, [])
    assert waiting.status()["waiting_for_a_decision"] == []


def test_a_decision_is_taken_once(waiting: Site) -> None:
    assert waiting.invoke("reject", "1").exit_code == 0
    again = waiting.invoke("approve", "1")
    assert again.exit_code == 2
    assert "drop 1 is rejected" in again.stderr
    assert "held" in again.stderr


@pytest.mark.parametrize("command", ["approve", "reject", "retry"])
def test_no_such_drop(site: Site, command: str) -> None:
    site.configure(CLOSED)
    done = site.invoke(command, "7")
    assert done.exit_code == 2
    assert "there is no drop 7" in done.stderr
    assert "contrib-watch audit drops" in done.stderr


@pytest.mark.parametrize("command", ["approve", "reject", "retry"])
def test_a_drop_is_a_number(site: Site, command: str) -> None:
    site.configure(CLOSED)
    assert site.invoke(command, "prices.csv").exit_code == 2


def test_retry_is_for_drops_that_are_over(waiting: Site) -> None:
    done = waiting.invoke("retry", "1")
    assert done.exit_code == 2
    assert "drop 1 is held" in done.stderr


def test_retry_reads_by_todays_configuration(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1.5,2", header="RIC,BID,Offer"))
        assert site.once()[0] == 3
        assert posts(server) == []
        site.configure(server.address, feed={"columns": {"Offer": "ASK"}})
        assert site.once() == (0, [])
        assert site.invoke("retry", "1").exit_code == 0
        code, (drop,) = site.once()
    assert (code, drop["totals"]["acked"]) == (0, 1)
    assert (held(server, "BID"), held(server, "ASK")) == ({"A=T": "1.5"}, {"A=T": "2"})
    assert len(site.reports("prices.csv")) == 2


class TestAdopt:
    @pytest.fixture(autouse=True)
    def backlog(self, site: Site) -> None:
        """Three old files in a feed that is new."""
        site.configure(CLOSED, connect_timeout_s=0.2)
        for n, age_days in enumerate((60, 50, 40)):
            site.drop(f"{n}.csv", sheet(f"R{n}=T,{n}"), age_days=age_days)
        assert site.once() == (0, [])

    def test_each_run_tells_of_what_waits(self, site: Site) -> None:
        told = site.invoke("run", "--once").stderr
        assert "old files are not sent before somebody decides" in told
        assert "contrib-watch adopt prices --ignore, --newest or --all" in told
        assert "files=3" in told

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [("--ignore", {}), ("--newest", {"R2=T": "2"}), ("--all", {f"R{n}=T": f"{n}" for n in range(3)})],
    )
    def test_each_choice(self, site: Site, choice: str, sent: dict[str, str]) -> None:
        done = site.invoke("adopt", "prices", choice)
        assert done.exit_code == 0
        assert "drops made of the backlog of prices: " in done.stderr
        with ads() as server:
            site.configure(server.address)
            code, drops = site.once()
        assert (code, len(drops)) == (0, len(sent))
        assert held(server) == sent
        assert "none" in site.invoke("adopt", "prices", "--all").stderr  # it is decided

    def test_the_record_has_who_decided_about_each_file_and_why(self, site: Site) -> None:
        asked = ("prices", "--newest", "--as", "anna", "--reason", "the others are last month's")
        assert site.invoke("adopt", *asked).exit_code == 0
        records = site.query("SELECT text FROM record WHERE kind = 'decision' ORDER BY number")
        told = [json.loads(text)["body"] for (text,) in records]
        assert {(one["name"], one["why"]) for one in told} == {("anna", "the others are last month's")}
        left = [Path(one["path"]).name for one in told if one["decision"] == "adopt, ignored"]
        assert len(left) == 2
        assert [one["drop"] for one in told if one["decision"] == "adopt"] == [1]
        assert site.invoke("audit verify").exit_code == 0

    def test_without_a_choice(self, site: Site) -> None:
        done = site.invoke("adopt", "prices")
        assert done.exit_code == 2
        assert "--ignore, --newest or --all" in done.stderr

    def test_no_such_feed(self, site: Site) -> None:
        done = site.invoke("adopt", "bonds", "--all")
        assert done.exit_code == 2
        assert "there is no feed 'bonds'. The feeds are: prices" in done.stderr
