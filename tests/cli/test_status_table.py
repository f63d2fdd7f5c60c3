"""What ``status`` says to people of what it found: the connection, what needs them, and each file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contrib_watch.cli.views import ALIKE_SHOWN, print_status
from contrib_watch.core.settle import OWN_REPORT

NOW = "2026-11-22T16:40:00.000Z"
EARLIER = "2026-11-22T16:30:00.123Z"

Show = Callable[..., str]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """What is printed where some of what status_of tells is other than on a quiet day."""

    def show(**other: Any) -> str:
        quiet = {
            "target": "ads-london",
            "state": {"folder": "/state", "id": "s1", "shortage": "", "backup": ""},
            "running": 4711,
            "changed_since_start": [],
            "now_utc": NOW,
            "connection": {"state": "up", "since_utc": EARLIER},
            "services_down": {},
            "presence": {"state": "never checked"},
            "in_flight": 0,
            "dirty": 0,
            "paused": {},
            "missing_files": [],
            "feeds": [a_feed()],
            "waiting_for_a_decision": [],
            "failed": [],
            "drops": [],
        }
        print_status({**quiet, **other})
        return capsys.readouterr().out

    return show


def a_feed(*files: dict[str, Any], scanned_utc: str = "2026-11-22T16:39:58.000Z", outage: str = "") -> dict[str, Any]:
    return {
        "feed": "bonds",
        "folder": "/srv/bonds",
        "last_scan_utc": scanned_utc,
        "last_good_scan_utc": scanned_utc,
        "outage": outage,
        "drops": {},
        "files": list(files),
    }


def a_file(
    name: str, state: str, reason: str = "", drop: int | None = None, s: float | None = None
) -> dict[str, Any]:
    return {"name": name, "state": state, "reason": reason, "drop": drop, "taken_in_s": s}


DOWN = {"state": "down", "since_utc": EARLIER, "reason": "ads1:15000: Connection refused"}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({}, "run by process 4711; connection up since 2026-11-22 16:30:00 UTC\n"),
        (
            {"running": None},
            "so nothing is sent; connection lost with its process; it was up since 2026-11-22 16:30:00 UTC\n",
        ),
        (
            {"connection": DOWN | {"next_try_utc": "2026-11-22T16:40:12.000Z"}},
            "down since 2026-11-22 16:30:00 UTC (ads1:15000: Connection refused), next try in 12 s\n",
        ),
        ({"connection": DOWN | {"next_try_utc": NOW}}, "(ads1:15000: Connection refused), trying now\n"),
        (
            {"connection": DOWN | {"next_try_utc": NOW}, "running": None},
            "run by no process, so nothing is sent; connection down since 2026-11-22 16:30:00 UTC "
            "(ads1:15000: Connection refused)\n",
        ),
    ],
)
def test_the_first_line_tells_of_the_connection(show: Show, other: dict[str, Any], told: str) -> None:
    text = show(**other)
    assert text.startswith("target ads-london; ")
    assert told in text


@pytest.mark.parametrize(
    ("presence", "told"),
    [
        (
            {"state": "fine", "at_utc": EARLIER, "items": 50},
            "the ADS held what it had acknowledged: 50 items read back",
        ),
        ({"state": "fine", "at_utc": EARLIER, "items": 1, "still_wrong": 2}, "but for 2 that it keeps otherwise"),
        (
            {"state": "resent", "at_utc": EARLIER, "acked": 5},
            "all that the ADS should hold was posted again at 2026-11-22 16:30:00 UTC: 5 acked",
        ),
        (
            {"state": "suspect", "at_utc": EARLIER, "why": "A= is missing"},
            "The ADS may have lost what it acknowledged (2026-11-22 16:30:00 UTC): A= is missing",
        ),
        (
            {"state": "repairing", "at_utc": EARLIER, "items": 9, "missing": 3, "different": 0},
            "(2026-11-22 16:30:00 UTC): 9 items, 3 missing; posting it again",
        ),
        (
            {"state": "repaired", "at_utc": EARLIER, "items": 9, "missing": 3, "acked": 3},
            "all was posted again at 2026-11-22 16:30:00 UTC: 9 items, 3 missing, 3 acked",
        ),
        (
            {"state": "repaired", "at_utc": EARLIER, "items": 9, "missing": 0, "acked": 0},
            "the ADS held all that it had acknowledged: 9 items read back",
        ),
        (
            {"state": "repaired", "at_utc": EARLIER, "items": 0},
            "nothing that the ADS has acknowledged is of a configured feed: no item was to be read back at 2026",
        ),
        (
            {"state": "repaired", "at_utc": EARLIER, "items": 9, "missing": 6, "acked": 0, "left_to_drops": 6},
            "The ADS did not hold what it had acknowledged; all was posted again at 2026-11-22 16:30:00 UTC: "
            "9 items, 6 missing, 6 left to drops",
        ),
        (
            {"state": "repaired", "at_utc": EARLIER, "items": 9, "acked": 0, "still_wrong": 2},
            "9 items read back at 2026-11-22 16:30:00 UTC, but for 2 that it keeps otherwise",
        ),
        (
            {"state": "incomplete", "at_utc": EARLIER, "items": 9, "nakked": 1, "unconfirmed": 2},
            "The ADS does not hold all that it acknowledged (2026-11-22 16:30:00 UTC): "
            "9 items, 1 nakked, 2 unconfirmed; see `reconcile`",
        ),
        (
            {"state": "unreadable", "why": "NotEntitled"},
            "Items cannot be read back, so that a loss would go unseen: Not",
        ),
    ],
)
def test_whether_the_ads_still_holds_what_it_acknowledged(show: Show, presence: dict[str, Any], told: str) -> None:
    assert told in show(presence=presence)


def test_what_it_has_lost_waits_for_the_end_of_a_pause(show: Show) -> None:
    paused = {"bonds": {"name": "anna", "why": "", "since_utc": EARLIER}}
    text = show(presence={"state": "repairing", "at_utc": EARLIER, "items": 9, "missing": 3}, paused=paused)
    assert "9 items, 3 missing; to be posted again once no feed is paused" in text


def test_what_keeps_prices_from_going_out(show: Show) -> None:
    down = {"since_utc": EARLIER, "reason": "SourceDown", "next_try_utc": "2026-11-22T16:43:00.000Z"}
    paused = {"bonds": {"name": "anna", "why": "[wrong] curve", "since_utc": EARLIER}}
    other = {
        "services_down": {"NIPROV": down},
        "in_flight": 1,
        "dirty": 2_000,
        "paused": paused,
        "missing_files": [{"feed": "bonds", "day": "2026-11-20", "due_utc": EARLIER}],
        "state": {"folder": "/state", "id": "s1", "shortage": "only 1 MB are free", "backup": ""},
    }
    assert show(**other).splitlines()[1:6] == [
        "Service NIPROV is down since 2026-11-22 16:30:00 UTC, its posts wait: SourceDown, next try in 3 min",
        "1 RIC in flight, 2,000 of unknown fate: their next post is a full Refresh",
        "bonds is paused by anna: [wrong] curve, since 2026-11-22 16:30:00 UTC",
        "No file came for bonds on 2026-11-20, due at 2026-11-22 16:30:00 UTC",
        "No file is taken: only 1 MB are free",
    ]
    assert "is down" not in show(**other, running=None)  # nobody posts, so nobody knows


@pytest.mark.parametrize(
    ("scanned_utc", "age"),
    [
        ("2026-11-22T16:38:30.000Z", "90 s"),
        ("2026-11-22T15:40:00.000Z", "60 min"),
        ("2026-11-21T10:40:00.000Z", "30 h"),
        ("2026-11-18T16:40:00.000Z", "4 days"),
    ],
)
def test_a_folder_that_does_not_answer_is_told_with_its_age(show: Show, scanned_utc: str, age: str) -> None:
    told = f"{scanned_utc[:19].replace('T', ' ')} ({age} ago)"
    assert f"no answer since {told}" in show(feeds=[a_feed(scanned_utc=scanned_utc)])
    outage = show(feeds=[a_feed(scanned_utc=scanned_utc, outage="it does not exist")])
    assert f"it does not exist; last read {told}" in outage
    assert "yes" in show(feeds=[a_feed(scanned_utc=scanned_utc)], running=None)  # it was looked at just now


def test_a_clock_that_was_set_back_makes_no_negative_age(show: Show) -> None:
    told = show(running=4711, feeds=[a_feed(scanned_utc="2027-11-22T17:00:00.000Z")])
    assert "2027-11-22 17:00:00 (by a clock that was set back since)" in " ".join(told.split())


def test_files_that_need_somebody_come_first_and_many_alike_are_one_line(show: Show) -> None:
    alike = [a_file(f"old{number}.csv", "backlog", "saved 30 days ago") for number in range(ALIKE_SHOWN + 1)]
    files = [
        a_file("done.csv", "done", drop=7),
        a_file("a.ack.csv", "ignored", OWN_REPORT),
        a_file("a.ack.html", "ignored", OWN_REPORT),
        a_file("new.csv", "settling", "not changed for 0.5 s", s=1.5),
        *alike,
    ]
    text = show(feeds=[a_feed(*files)])
    lines = [line.split(maxsplit=1)[1].split() for line in text.splitlines() if line.startswith("bonds ")][1:]
    assert [" ".join(words) for words in lines] == [
        f"old0.csv and {ALIKE_SHOWN} more backlog saved 30 days ago",
        "new.csv settling not changed for 0.5 s: in 1.5 s",
        "done.csv done 7",
        f"(2 files) ignored {OWN_REPORT}",
    ]
