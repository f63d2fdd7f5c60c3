"""The configuration changes while the state lives on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from cli_site import CLOSED, SERVICE, Site, ads, eventually, held, posts, sheet

from contrib_watch.core.model import Feed
from contrib_watch.core.restating import ABOUT_READING

HALF_SENT = (
    {"kind": "drop_connection_after", "ric": "B=T", "times": 1},
    {"kind": "refuse_login", "nth": 2, "code": "UserUnknownToPermSys"},
)
"""A is acknowledged, B is posted without an answer, and the program ends before C."""


def verified(site: Site) -> bool:
    """The record explains everything."""
    return site.invoke("audit verify").exit_code == 0


@pytest.mark.parametrize(
    ("changed", "told", "sent_in_full"),
    [
        ({"service": "OTHER"}, "OTHER", {"A=T": "1", "B=T": "2", "C=T": "3"}),
        ({"ric_column": "Alt", "ignore_columns": ["RIC"]}, "ignore_columns, ric_column", {"X=T": "1"}),
    ],
)
def test_what_is_half_sent_is_not_mixed_with_what_another_configuration_asks_for(
    site: Site, changed: Mapping[str, object], told: str, sent_in_full: Mapping[str, str]
) -> None:
    with ads(*HALF_SENT) as server:
        site.configure(server.address, feed={"ignore_columns": ["Alt"]}, window=1)
        site.drop("prices.csv", sheet("A=T,1,X=T", "B=T,2,Y=T", "C=T,3,Z=T", header="RIC,BID,Alt"))
        assert site.once()[0] == 5
        site.configure(server.address, feed={"ignore_columns": ["Alt"], **changed})
        code, (drop,) = site.once()
        assert (code, drop["status"]) == (4, "failed")
        rows = {row["ric"]: row["status"] for row in site.rows("prices.csv")}
        assert (rows.pop("A=T"), rows.pop("B=T")) == ("acked", "unconfirmed")
        (failed,) = site.status()["failed"]
        assert told in failed["reason"]
        day = json.loads(site.invoke("audit day", failed["seen_at_utc"][:10], "--json").stdout)
        assert {(one["what"], one["status"]) for one in day} == {
            ("contributed", "acked"), ("unconfirmed", "unconfirmed"), ("excluded", "failed"),
        }  # fmt: skip
        assert held(server) == {"A=T": "1", "B=T": "2"}
        assert verified(site)
        site.invoke("retry", "1")
        assert site.once()[0] == 0
        assert sent_in_full.items() <= held(server).items()
        assert verified(site)
        assert SERVICE in site.invoke("audit ric", "B=T", "--json").stdout  # where it was posted to then
        assert site.once() == (0, [])


DESKS = """
[[feeds]]
name = "desk"
folder = "desk"
service = "{service}"
settle_seconds = 0
ric_pattern = "{pattern}"
"""


@pytest.fixture
def desk(site: Site) -> Path:
    """The folder of another feed than ``prices``, ``desk``."""
    folder = site.home / "desk"
    folder.mkdir()
    return folder


def test_a_ric_is_withdrawn_from_the_service_that_has_it_and_from_no_other(site: Site, desk: Path) -> None:
    with ads() as server:
        site.configure(server.address, more=DESKS.format(service=SERVICE, pattern=""))
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        site.configure(server.address, feed={"service": "OTHER"}, more=DESKS.format(service=SERVICE, pattern=""))
        site.drop("prices.csv", sheet("A=T,2"))
        assert site.once()[0] == 0
        refused = site.invoke("withdraw", "A=T", "--service", SERVICE)
        assert refused.exit_code == 2
        assert "no feed has a value of it in the Service" in refused.stderr
        assert site.once() == (0, [])
        assert held(server) == {"A=T": "2"}


@pytest.mark.parametrize(
    ("prices", "desks"),
    [({"service": "OTHER"}, {"pattern": ""}), ({"ric_pattern": "B*"}, {"pattern": "A*"})],
    ids=["a feed that posts to another Service", "a feed that may not contribute it"],
)
def test_a_feed_takes_over_what_another_has_no_more(
    site: Site, desk: Path, prices: Mapping[str, object], desks: Mapping[str, str]
) -> None:
    with ads() as server:
        site.configure(server.address, more=DESKS.format(service=SERVICE, pattern=""))
        site.drop("prices.csv", sheet("A=T,1", "B=T,1"))
        site.once()
        (desk / "first.csv").write_text(sheet("A=T,2"), encoding="utf-8")
        code, (drop,) = site.once()
        assert (code, drop["totals"]["rejected"]) == (3, 1)  # the first feed has it
        site.configure(server.address, feed=prices, more=DESKS.format(service=SERVICE, **desks))
        (desk / "second.csv").write_text(sheet("A=T,3"), encoding="utf-8")
        assert site.once()[0] == 0
        with server.inspect() as simulated:
            assert str(simulated.cache[SERVICE, "A=T"]["BID"]) == "3"
        assert verified(site)
        assert site.once() == (0, [])


@pytest.mark.parametrize(
    "changed", [{"name": "renamed"}, {"folder": "elsewhere"}], ids=["the feed is renamed", "its folder is copied"]
)
def test_files_that_were_sent_are_not_sent_again_after_a_move(site: Site, changed: Mapping[str, object]) -> None:
    guarded = {"guards": {"min_rows": 1}}  # so that a newer drop would not cover an older one
    with ads() as server:
        site.configure(server.address, feed=guarded)
        site.drop("monday.csv", sheet("A=T,1"))
        site.once()
        site.drop("tuesday.csv", sheet("A=T,2"))
        site.once()
        shutil.copytree(site.inbox, site.home / "elsewhere")
        site.configure(server.address, feed={**guarded, **changed})
        assert site.once() == (0, [])
        assert len(posts(server)) == 2
        site.inbox = site.home / str(changed.get("folder", "in"))
        site.drop("monday.csv", sheet("A=T,3"))
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "3"}


@pytest.mark.parametrize("changed", [{"name": "renamed"}, {"folder": "elsewhere"}])
def test_a_feed_that_is_another_one_sends_its_files_to_its_service(site: Site, changed: Mapping[str, object]) -> None:
    with ads() as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        shutil.copytree(site.inbox, site.home / "elsewhere")
        site.configure(server.address, feed={**changed, "service": "OTHER"})
        assert site.once()[0] == 0
        with server.inspect() as simulated:
            assert sorted(simulated.cache) == [("OTHER", "A=T"), (SERVICE, "A=T")]


@pytest.mark.parametrize("undo", [("revert", "2"), ("withdraw", "A=T")])
def test_what_was_to_be_undone_in_one_service_changes_nothing_in_another(site: Site, undo: tuple[str, str]) -> None:
    with ads() as server:
        site.configure(server.address, feed={"service": "OTHER"})
        site.drop("prices.csv", sheet("A=T,2"))
        site.once()
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,2", "B=T,5"))
        site.once()
        assert site.invoke(*undo).exit_code == 0
        site.configure(server.address, feed={"service": "OTHER"})
        code, (drop,) = site.once()
        assert (code, drop["status"]) == (3, "rejected")
        with server.inspect() as simulated:
            assert {str(simulated.cache[service, "A=T"]["BID"]) for service in ("OTHER", SERVICE)} == {"2"}
        again = site.invoke("revert", "2")
        assert "no value that it brought to the Service 'OTHER'" in again.stderr
        assert verified(site)


def test_a_held_drop_can_be_ended_when_its_feed_is_gone(site: Site) -> None:
    site.configure(CLOSED, feed={"approval": "always"})
    site.drop("prices.csv", sheet("A=T,1", "B=T,2"))
    assert site.once()[0] == 3
    (held_report,) = site.reports()
    site.configure(CLOSED, feed={"name": "renamed", "folder": "elsewhere"})
    assert "`reject` ends a drop that is held" in site.invoke("approve", "1", "--as", "bob").stderr
    assert site.invoke("reject", "1").exit_code == 0
    (second,) = set(site.reports()) - {held_report}
    assert "is no longer in the configuration" in second.read_text(encoding="utf-8")
    assert site.status()["waiting_for_a_decision"] == []
    assert verified(site)
    assert [site.invoke("audit replay", "1", "--run", run).exit_code for run in "12"] == [0, 0]


def test_a_paused_feed_does_not_go_on_under_another_name(site: Site) -> None:
    with ads() as server:
        site.configure(server.address)
        assert site.invoke("pause", "prices").exit_code == 0
        site.configure(server.address, feed={"name": "renamed"})
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        assert posts(server) == []
        assert "`contrib-watch resume prices` ends its pause" in site.invoke("status").stdout
        assert site.invoke("resume", "prices").exit_code == 0
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "1"}
        assert verified(site)


def test_a_guard_that_was_set_after_an_approval_is_tried(site: Site) -> None:
    guarded = {"approval": "always", "guards": {"range": {"BID": [5, 6]}}}
    with ads() as server:
        site.configure(server.address, feed={"approval": "always"})
        site.drop("prices.csv", sheet("A=T,1"))
        site.once()
        assert site.invoke("approve", "1", "--as", "bob").exit_code == 0
        site.configure(server.address, feed=guarded)
        code, (drop,) = site.once()
        assert (code, drop["status"], len(posts(server))) == (3, "held", 0)
        assert (
            "before a guard was set: BID is 1, outside 5 to 6" in site.status()["waiting_for_a_decision"][0]["reason"]
        )
        assert site.invoke("approve", "1", "--as", "bob").exit_code == 0  # now it was seen
        assert site.once()[0] == 0
        assert held(server) == {"A=T": "1"}


def test_what_the_running_process_does_not_know_of_is_told(site: Site) -> None:
    holidays = site.home / "holidays.txt"
    holidays.write_text("2026-12-25\n", encoding="utf-8")
    feed = {"calendar": {"holidays": "holidays.txt"}}
    with ads() as server:
        site.configure(server.address, feed=feed)
        with site.running():
            eventually(lambda: site.status()["connection"]["state"] == "up", "it runs")
            assert site.status()["changed_since_start"] == []
            holidays.write_text("2026-12-25\n2026-12-26\n", encoding="utf-8")
            site.configure(server.address, feed={**feed, "guards": {"max_move": {"BID": "1%"}}})
            assert site.status()["changed_since_start"] == ["configuration", "holidays"]
            told = "changed since the process started, which goes on by what was then: configuration, holidays"
            assert told in site.invoke("status", COLUMNS="200").stdout
        assert site.status()["changed_since_start"] == []
        with site.running():
            eventually(lambda: site.status()["running"], "it runs again")
            assert site.status()["changed_since_start"] == []


def test_each_key_of_a_feed_decides_how_its_file_is_read_or_does_not() -> None:
    """A key that does must end a half-sent drop when it is changed; a new one belongs to one of the two."""
    others = (
        "name", "folder", "service", "patterns", "observer", "settle_seconds", "done_marker", "max_age_s",
        "report_folder", "keep_s", "dropped_by", "posting", "verify", "timezone", "calendar", "expect", "valid_for_s",
        "approval", "approvers", "guards", "complete", "max_rows", "max_bytes", "second_reading",
    )  # fmt: skip
    assert sorted([*others, "ric_pattern", *ABOUT_READING]) == sorted(one.name for one in fields(Feed))
