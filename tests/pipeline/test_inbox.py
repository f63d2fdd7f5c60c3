"""The folders of all feeds at once, and what is left of a scan for people to see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from virtual_site import NewSite, Site, make_feed

from contrib_watch.adapters.folder import FileState, FileStatus, Folder, Scan
from contrib_watch.core.settle import Signature
from contrib_watch.pipeline import inbox as inbox_module
from contrib_watch.pipeline.inbox import Inbox, SeenState, known, last_sight, record_scan, sights

LIMIT_S = 10.0


class Share:
    """The file system of feed ``dead``: it answers when it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def hang(self, patch: pytest.MonkeyPatch, method: str) -> None:
        answering: Callable[[Folder], Scan] = getattr(Folder, method)

        def late(folder: Folder) -> Scan:
            if folder.feed.name == "dead":
                assert self.answers.wait(LIMIT_S)
            return answering(folder)

        patch.setattr(Folder, method, late)


@pytest.fixture
def share() -> Iterator[Share]:
    share = Share()
    yield share
    share.answers.set()


@pytest.fixture
def two(new_site: NewSite) -> Site:
    return new_site(make_feed("dead"), make_feed("live"))


@contextmanager
def watched(site: Site, answer_timeout_s: float) -> Iterator[tuple[Inbox, dict[str, Scan]]]:
    scans: dict[str, Scan] = {}
    with site.desk() as desk:
        inbox = Inbox(desk, scans.__setitem__, answer_timeout_s=answer_timeout_s)
        inbox.start()
        try:
            yield inbox, scans
        finally:
            inbox.stop()


def eventually(true: Callable[[], object]) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_folder_that_does_not_answer_holds_up_nobody_else(
    two: Site, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.hang(monkeypatch, "scan")
    two.save("RIC,BID\nA=,1\n", feed="live")
    with watched(two, answer_timeout_s=LIMIT_S) as (inbox, scans):
        eventually(lambda: "live" in scans)
        assert "prices.csv" in scans["live"].states
        assert not inbox.quiet()  # the other may still answer
        assert inbox.outages() == {}
        share.answers.set()
        eventually(lambda: "dead" in scans)


def test_a_run_that_is_to_end_gives_up_on_a_folder_that_says_nothing(
    two: Site, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.hang(monkeypatch, "scan")
    with watched(two, answer_timeout_s=0.05) as (inbox, scans):
        eventually(inbox.quiet)
        assert "dead" not in scans
        assert inbox.outages() == {"dead": "the folder has not answered for 0.05 s: is its share down?"}
        share.answers.set()
        eventually(lambda: inbox.quiet() and not inbox.outages())


def test_a_stop_waits_once_and_not_for_each_folder_that_hangs(
    new_site: NewSite, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "STOP_TIMEOUT_S", 0.2)

    def hang(folder: Folder) -> Scan:
        assert share.answers.wait(LIMIT_S)
        return Scan()

    monkeypatch.setattr(Folder, "scan", hang)
    site = new_site(*(make_feed(f"f{number}") for number in range(20)))
    with site.desk() as desk:
        inbox = Inbox(desk, lambda feed, scan: None)
        inbox.start()
        before_s = time.monotonic()
        inbox.stop()
        assert 0.2 <= time.monotonic() - before_s < 3.5  # one after the other would take 4
        share.answers.set()
        inbox.stop()


# --- what scans leave for status


SETTLING = FileState(FileStatus.SETTLING, "wait", 1.5, Signature(1, 2, 3, 4))


def test_what_a_scan_saw_is_there_for_others_to_read(site: Site) -> None:
    with site.desk() as desk:
        assert last_sight(desk, "fx").at_utc == ""
        record_scan(desk, "fx", Scan(states={"a.csv": SETTLING, "b.csv": FileState(FileStatus.KNOWN)}))
        sight = last_sight(desk, "fx")
        assert sight.at_utc == sight.good_utc != ""
        assert sight.files["b.csv"] == SeenState("known", "")
        assert sight.files["a.csv"].due_utc > sight.at_utc
        record_scan(desk, "fx", Scan())
        assert last_sight(desk, "fx").files == {}


def test_an_outage_keeps_what_the_last_good_scan_saw_and_when(site: Site) -> None:
    with site.desk() as desk:
        record_scan(desk, "fx", Scan(states={"a.csv": SETTLING}))
        good = last_sight(desk, "fx")
        site.clock.now_s += 60
        record_scan(desk, "fx", Scan(outage="gone"))
        sight = last_sight(desk, "fx")
        assert sight.outage == "gone"
        assert sight.good_utc == good.good_utc < sight.at_utc
        assert sight.files == good.files


# --- a look without a daemon


def test_a_look_changes_neither_folder_nor_state(site: Site) -> None:
    site.save("RIC,BID\nA=,1\n")
    before = entries(site.base)
    with site.desk() as desk:
        made = entries(site.base) - before
        files = sights(desk)["fx"].files
        assert files["prices.csv"].state == "found"
        assert "the next run takes it" in files["prices.csv"].reason
        assert desk.drops.recent() == []
        assert desk.drops.feed_is_new("fx")
        assert last_sight(desk, "fx").at_utc == ""
    assert {path for path in entries(site.base) - before - made if not path.name.startswith("state.db")} == set()


def test_a_look_foresees_what_the_next_run_will_not_send(site: Site) -> None:
    site.save("RIC,BID\nA=,1\n", age_s=timedelta(days=30).total_seconds())
    with site.desk() as desk:
        assert "will not send it by itself, last saved 30 days" in sights(desk)["fx"].files["prices.csv"].reason


def test_a_look_gives_up_on_a_folder_that_does_not_answer(
    two: Site, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.hang(monkeypatch, "look")
    monkeypatch.setattr(inbox_module, "LOOK_TIMEOUT_S", 0.2)
    two.save("RIC,BID\nA=,1\n", feed="live")
    with two.desk() as desk:
        seen = sights(desk)
    assert "has not answered" in seen["dead"].outage
    assert seen["live"].files.keys() == {"prices.csv"}


# --- too large


def test_a_file_above_the_limit_is_a_rejected_drop_and_is_read_once_the_limit_allows_it(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", max_bytes=10))
    site.save("RIC,BID\nA=,1\n")
    (finished,) = site.run()
    assert finished.drop.status == "rejected"
    assert "above the feed's max_bytes" in finished.drop.reason
    assert {status: count for status, count in finished.totals.items() if count} == {"rejected": 1}
    assert finished.report.exists()
    assert site.run() == []
    with site.desk() as desk:
        feed = desk.feeds["fx"]
        assert known(desk, feed).keys() == {"prices.csv"}
    allowed = new_site(make_feed("fx"))
    with allowed.desk() as desk:
        assert known(desk, desk.feeds["fx"]) == {}


def entries(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
