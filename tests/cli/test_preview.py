"""``preview``: what would happen, with nothing sent and nothing remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_site import CLOSED, SERVICE, Site, ads, posts, sheet

SECOND_FEED = """
[[feeds]]
name = "german"
folder = "de"
service = "TEST"
delimiter = ";"
decimal = ","
"""


@pytest.fixture
def known(site: Site) -> Site:
    """A site whose ADS has acknowledged A=T and B=T, and is gone."""
    with ads() as server:
        site.configure(server.address, target="gone")
        site.drop("first.csv", sheet("A=T,1,2,USD", "B=T,3,4,EUR", header="RIC,BID,ASK,CURRENCY"))
        assert site.once()[0] == 0
        assert len(posts(server)) == 2
    site.configure(CLOSED, target="gone")
    return site


def test_old_and_new_side_by_side(known: Site) -> None:
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,1.5,2,USD", "B=T,3,4,EUR", "C=T,5,6,CHF", header="RIC,BID,ASK,CURRENCY"))
    done = known.invoke("preview", str(path), COLUMNS="80")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["2", "A=T", "Update", "BID", "1", "1.5"] in lines
    assert ["4", "C=T", "BID", "5;", "ASK", "6;", "CURRENCY", "CHF"] in lines
    assert "3 rows: 1 to refresh, 1 to update, 1 unchanged, 0 rejected. Nothing was sent." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_text_and_cleared_values_as_people_write_them(known: Site) -> None:
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,#CLEAR,GBP", header="RIC,BID,CURRENCY"))
    lines = [line.split() for line in known.invoke("preview", str(path)).stdout.splitlines()]
    assert ["2", "A=T", "Update", "BID", "1", "(cleared)"] in lines
    assert ["CURRENCY", "USD", "GBP"] in lines


def test_json_has_every_post_and_problem(known: Site) -> None:
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,1.5", "C=T,x", "D=T,7"))
    done = known.invoke("preview", str(path), "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert (found["file"], found["feed"], found["service"]) == (str(path), "prices", SERVICE)
    assert (found["rows_read"], found["held"]) == (3, "")
    assert found["totals"] == {"refresh": 1, "update": 1, "unchanged": 0, "rejected": 1}
    assert [(post["ric"], post["action"], post["fields"]) for post in found["posts"]] == [
        ("A=T", "Update", {"BID": 1.5}),
        ("D=T", "Refresh", {"BID": 7}),
    ]
    (problem,) = found["problems"]
    assert (problem["row"], problem["ric"], problem["where"], problem["text"]) == ("3", "C=T", "row 3, BID", "x")
    assert problem["cause"]
    assert problem["mend"]


def test_a_column_that_a_partial_list_lacks_is_told(known: Site) -> None:
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,1.5,", "B=T,3,4", header="RIC,BID,ASK"))
    told = ["1 blank cell kept its last value", "no column for CURRENCY, which RICs of this file have"]
    warnings = json.loads(known.invoke("preview", str(path), "--json").stdout)["warnings"]
    assert [warning[: len(begin)] for warning, begin in zip(warnings, told, strict=True)] == told
    printed = " ".join(known.invoke("preview", str(path)).stdout.split())
    assert all(f"note: {begin}" in printed for begin in told)


@pytest.mark.parametrize("columns", ["80", "100"])
def test_what_would_be_rejected_and_why(site: Site, columns: str) -> None:
    site.configure(CLOSED)
    path = site.home / "next.csv"
    path.write_text(sheet("A=T,98;75", "B=T,1"))
    done = site.invoke("preview", str(path), COLUMNS=columns)
    assert done.exit_code == 3
    assert "would be rejected" in done.stdout
    assert 'row 2, BID  "98;75" is not a number' in " ".join(done.stdout.split("\n"))
    assert "…" not in done.stdout


def test_a_first_look_makes_no_state(site: Site) -> None:
    site.configure(CLOSED)
    before = sorted(site.home.rglob("*"))
    path = site.home / "next.csv"
    path.write_text(sheet("A=T,1"))
    assert site.invoke("preview", str(path)).exit_code == 0
    assert sorted(site.home.rglob("*")) == sorted([*before, path])


def test_it_says_what_would_be_held(known: Site) -> None:
    known.configure(CLOSED, target="gone", feed={"complete": True})
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,1"))
    done = known.invoke("preview", str(path))
    assert done.exit_code == 3
    assert "It would be held: a complete list that lacks ASK, CURRENCY" in done.stdout
    assert "B=T" in done.stdout  # missing from the list


def test_what_a_guard_would_reject_is_not_said_to_be_held(known: Site) -> None:
    known.configure(CLOSED, target="gone", more='[feeds.guards]\nmin_rows = 5\non_breach = "reject"\n')
    path = known.home / "next.csv"
    path.write_text(sheet("A=T,1"))
    done = known.invoke("preview", str(path))
    assert done.exit_code == 3
    assert "It would be rejected as a whole: the file has 1 row " in done.stdout
    assert json.loads(known.invoke("preview", "--json", str(path)).stdout)["rejected"] is True


def test_a_file_that_cannot_be_read(site: Site) -> None:
    site.configure(CLOSED)
    path = site.home / "next.xlsx"
    path.write_text("<html><table>")
    done = site.invoke("preview", str(path))
    assert (done.exit_code, done.stdout) == (3, "")
    assert "next.xlsx" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_file(site: Site) -> None:
    site.configure(CLOSED)
    done = site.invoke("preview", str(site.home / "nothing.csv"))
    assert done.exit_code == 2
    assert "does not exist" in done.stderr


class TestWhichFeed:
    @pytest.fixture(autouse=True)
    def two_feeds(self, site: Site) -> None:
        site.configure(CLOSED, more=SECOND_FEED)
        (site.home / "de").mkdir()

    def text(self, path: Path) -> Path:
        path.write_text("RIC;BID\nA=T;1,5\n")
        return path

    def test_by_the_folder_it_is_in(self, site: Site) -> None:
        done = site.invoke("preview", "--json", str(self.text(site.home / "de" / "next.csv")))
        assert json.loads(done.stdout)["feed"] == "german"

    def test_by_a_folder_that_is_a_link(self, site: Site) -> None:
        (site.home / "de").rename(site.home / "elsewhere")
        (site.home / "de").symlink_to("elsewhere")
        done = site.invoke("preview", "--json", str(self.text(site.home / "de" / "next.csv")))
        assert json.loads(done.stdout)["feed"] == "german"

    def test_by_name(self, site: Site) -> None:
        done = site.invoke("preview", "--json", "--feed", "german", str(self.text(site.home / "next.csv")))
        assert json.loads(done.stdout)["posts"][0]["fields"] == {"BID": 1.5}

    def test_not_clear(self, site: Site) -> None:
        done = site.invoke("preview", str(self.text(site.home / "next.csv")))
        assert done.exit_code == 2
        assert "more than one feed takes a file of this name" in done.stderr
        assert "--feed: prices, german" in done.stderr

    def test_no_feed_takes_it(self, site: Site) -> None:
        done = site.invoke("preview", str(self.text(site.home / "next.txt")))
        assert done.exit_code == 2
        assert "no feed takes a file of this name" in done.stderr

    def test_no_such_feed(self, site: Site) -> None:
        done = site.invoke("preview", "--feed", "french", str(self.text(site.home / "next.csv")))
        assert done.exit_code == 2
        assert "there is no feed 'french'" in done.stderr
        assert "prices, german" in done.stderr


def test_the_thousands_mark_may_be_the_delimiter_where_quotes_tell_them_apart(site: Site) -> None:
    site.configure(CLOSED, feed={"thousands": ","})
    file = site.drop("us.csv", sheet('A,"1,234.50"', "B,1,234.50", 'C,"12,34.5"'))
    seen = json.loads(site.invoke("preview", str(file), "--json").stdout)
    assert [(post["ric"], post["fields"]) for post in seen["posts"]] == [("A", {"BID": 1234.5})]
    assert seen["totals"]["rejected"] == 2, "a field too many, and groups that are none of three digits"
