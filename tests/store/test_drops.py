"""Drops in their order, the files that they came from, and the names of their reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Drop, DropStatus, Problem
from contrib_watch.core.settle import LatestDrop, Signature
from contrib_watch.store import Drops, ReportName, SeenFile, State, utc_text

SEEN = datetime(2026, 11, 22, 16, 30, 0, 123_000, tzinfo=UTC)


def opened(folder: Path) -> State:
    return State.open(url=f"sqlite:///{folder}/state.db", folder=folder, target="prod")


@pytest.fixture
def drops(tmp_path: Path) -> Iterator[Drops]:
    with opened(tmp_path) as state:
        yield Drops(state)


def accept(drops: Drops, feed: str = "desk", path: str = "/in/prices.csv", **keys: Any) -> Drop:
    given: dict[str, Any] = {
        "sha256": "ab", "size_bytes": 10, "mtime_ns": 1, "owner": "ann", "seen_at_utc": SEEN
    } | keys  # fmt: skip
    return drops.accept(feed=feed, path=path, **given)


def finish(drops: Drops, drop: Drop, status: DropStatus = DropStatus.DONE, **keys: Any) -> Drop:
    given: dict[str, Any] = {
        "totals": {}, "findings": Findings(), "has_problem_rows": False, "now_utc": SEEN
    } | keys  # fmt: skip
    return drops.finish(drops.set_status(drop, status), **given)


def test_times_are_utc_whatever_they_were() -> None:
    assert utc_text(SEEN) == "2026-11-22T16:30:00.123Z"
    assert utc_text(SEEN.astimezone(timezone(timedelta(hours=9)))) == "2026-11-22T16:30:00.123Z"
    assert utc_text(SEEN.replace(microsecond=0)) == "2026-11-22T16:30:00.000Z"


# numbering


def test_drops_are_numbered_in_order_over_all_feeds_and_restarts(tmp_path: Path) -> None:
    numbers = []
    for feed in ("desk", "other", "desk"):
        with opened(tmp_path) as state:
            numbers.append(accept(Drops(state), feed).id)
    assert numbers == [1, 2, 3]


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        accept(Drops(state))
        with state.transaction() as connection:
            connection.exec_driver_sql("delete from drops")
        assert accept(Drops(state)).id == 2


def test_a_drop_comes_back_as_it_was_accepted(drops: Drops) -> None:
    path = '/in/a "b"\n€.csv'
    drop = accept(
        drops, "föö", path, sha256="f" * 64, size_bytes=2**40, mtime_ns=-(10**18), owner="unknown", held_because="old"
    )
    assert drop == Drop(
        id=1, feed="föö", path=path, sha256="f" * 64, size_bytes=2**40, mtime_ns=-(10**18), seen_at_utc=SEEN,
        status=DropStatus.WAITING, held_because="old", owner="unknown", approved=False, run=1,
    )  # fmt: skip
    assert drops.drop(1) == drop
    with pytest.raises(KeyError):
        drops.drop(2)


def test_a_file_that_is_dated_2400_by_mistake_is_a_drop_too(drops: Drops) -> None:
    mtime_ns = 13_569_465_600 * 10**9  # beyond 64 bits
    assert accept(drops, mtime_ns=mtime_ns).mtime_ns == mtime_ns
    latest = drops.latest("desk", "/in/prices.csv")
    assert latest is not None
    assert latest.mtime_ns == mtime_ns


# latest


def test_the_latest_drop_of_a_path_decides(drops: Drops) -> None:
    assert drops.latest("desk", "/in/prices.csv") is None
    for number, sha256 in enumerate("aba", start=1):
        accept(drops, sha256=sha256, mtime_ns=number)
        latest = drops.latest("desk", "/in/prices.csv")
        assert latest == LatestDrop(number, sha256, number, is_feed_latest=True, has_problem_rows=False)
    accept(drops, path="/in/PRICES.csv")
    accept(drops, "other")
    assert drops.latest("desk", "/in/prices.csv") == LatestDrop(3, "a", 3, False, False)
    assert drops.latest("desk", "/in/none.csv") is None


def test_another_feeds_drop_changes_nothing_for_this_one(drops: Drops) -> None:
    accept(drops)
    accept(drops, "other")
    latest = drops.latest("desk", "/in/prices.csv")
    assert latest is not None
    assert latest.is_feed_latest


@pytest.mark.parametrize(
    ("status", "problem_rows", "undone"),
    [
        (DropStatus.DONE, False, False),
        (DropStatus.DONE, True, True),
        (DropStatus.REJECTED, True, True),
        (DropStatus.HELD, False, False),
    ],
)
def test_a_drop_that_left_something_undone_may_come_again(
    drops: Drops, status: DropStatus, problem_rows: bool, undone: bool
) -> None:
    finish(drops, accept(drops), status, has_problem_rows=problem_rows)
    latest = drops.latest("desk", "/in/prices.csv")
    assert latest is not None
    assert latest.has_problem_rows is undone


def test_a_drop_that_failed_may_come_again_though_it_never_finished(drops: Drops) -> None:
    drops.set_status(accept(drops), DropStatus.FAILED, "a fault of the program")
    latest = drops.latest("desk", "/in/prices.csv")
    assert latest is not None
    assert latest.has_problem_rows


# on their way


def test_what_is_pending_and_what_is_newer(drops: Drops) -> None:
    assert [*DropStatus] == ["waiting", "sending", "done", "held", "rejected", "failed"]
    by_status = {status: accept(drops, path=f"/in/{status}.csv") for status in DropStatus}
    for status, drop in by_status.items():
        drops.set_status(drop, status, "because")
    other = accept(drops, "other")
    oldest = drops.drop(1)
    waiting, sending = (by_status[s].id for s in (DropStatus.WAITING, DropStatus.SENDING))
    assert [drop.id for drop in drops.pending()] == sorted([waiting, sending, other.id])
    assert [drop.id for drop in drops.newer(oldest)] == [2, 3, 4, 5, 6]
    assert drops.newer(drops.drop(6)) == drops.newer(other) == []
    assert [drop.id for drop in drops.with_status(DropStatus.HELD, DropStatus.FAILED)] == sorted(
        by_status[s].id for s in (DropStatus.HELD, DropStatus.FAILED)
    )
    assert drops.with_status() == []
    assert [drop.id for drop in drops.recent(3)] == [7, 6, 5]
    assert drops.counts() == {"desk": {status.value: 1 for status in DropStatus}, "other": {"waiting": 1}}


def test_a_status_comes_with_its_reason(drops: Drops) -> None:
    held = drops.set_status(accept(drops), DropStatus.HELD, "too old")
    assert (held.status, held.reason) == (DropStatus.HELD, "too old")
    assert drops.drop(held.id) == held
    assert drops.set_status(held, DropStatus.SENDING).reason == ""


def test_a_decision_is_another_run(drops: Drops) -> None:
    held = drops.set_status(accept(drops, held_because="too old"), DropStatus.HELD, "too old")
    approved = drops.decide(held, approved=True)
    assert (approved.status, approved.reason, approved.run, approved.approved) == (DropStatus.WAITING, "", 2, True)
    retried = drops.decide(drops.set_status(approved, DropStatus.DONE), approved=False)
    assert (retried.run, retried.approved, retried.held_because) == (3, False, "")


def test_what_nobody_approved_is_still_to_be_held(drops: Drops) -> None:
    rejected = drops.set_status(accept(drops, held_because="too old"), DropStatus.REJECTED, "rejected by a person")
    again = drops.decide(rejected, approved=False)
    assert (again.reason, again.held_because, again.approved) == ("", "too old", False)


def test_whether_the_last_drop_sent_was_overtaken(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        drops = Drops(state)
        first = accept(drops)
        assert not drops.follows_an_overtaken(first)
        finish(drops, first, totals={"acked": 3, "superseded": 1}, findings=Findings())
        held = drops.set_status(accept(drops), DropStatus.HELD, "too old")
        last = accept(drops)
        assert not drops.follows_an_overtaken(first)
        assert drops.follows_an_overtaken(held)
        assert drops.follows_an_overtaken(last)
        finish(drops, last, totals={"acked": 4, "superseded": 0}, findings=Findings())
        assert not drops.follows_an_overtaken(accept(drops))


def test_what_finish_records_comes_back(tmp_path: Path) -> None:
    problem = Problem(7, "NA", "Sheet1!C7", '1.234,5 "é"\n', "is not a number", 'set decimal = ","')
    findings = Findings((problem,), ("A", "005930"), ("312 blank cells kept their last value",))
    with opened(tmp_path) as state:
        drops = Drops(state)
        drop = accept(drops)
        assert (drops.totals(drop), drops.findings(drop)) == ({}, Findings())
        over = finish(drops, drop, totals={"acked": 3, "nakked": 0}, findings=findings)
        assert (over.id, over.status) == (drop.id, DropStatus.DONE)
    with opened(tmp_path) as state:
        drops = Drops(state)
        assert drops.totals(drop) == {"acked": 3, "nakked": 0}
        assert drops.findings(drop) == findings
        assert drops.drop(drop.id) == over


def test_finish_keeps_the_status_and_reason_that_the_drop_brings(drops: Drops) -> None:
    over = finish(drops, accept(drops), DropStatus.REJECTED)
    assert drops.drop(over.id).status is DropStatus.REJECTED


# files and feeds


def seen(name: str = "prices.csv", feed: str = "desk", inode: int = 7, **keys: Any) -> SeenFile:
    signature = Signature(size_bytes=10, mtime_ns=keys.pop("mtime_ns", 1), ctime_ns=2**62, inode=inode)
    given: dict[str, Any] = {"state": "new", "reason": "", "sha256": "ab", "owner": "ann", "drop_id": 1} | keys
    return SeenFile(feed=feed, name=name, path=f"/in/{name}", signature=signature, **given)


def test_files_are_remembered_as_they_were_decided_about(drops: Drops) -> None:
    odd = seen('€ "x"\n.csv', inode=2**64 - 1, mtime_ns=13_569_465_600 * 10**9, drop_id=None, state="backlog")
    drops.remember(odd)
    drops.remember(seen("b.csv"))
    drops.remember(seen("a.csv"))
    drops.remember(seen("a.csv", feed="other", inode=9))
    assert drops.files("desk") == [seen("a.csv"), seen("b.csv"), odd]
    decided = odd.decided("new", "adopted", 5)
    drops.remember(decided)
    assert drops.files("desk")[-1] == decided
    assert (decided.state, decided.reason, decided.drop_id, decided.signature) == ("new", "adopted", 5, odd.signature)


def test_a_feed_is_new_until_its_folder_was_scanned(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        drops = Drops(state)
        assert drops.feed_is_new("desk")
        drops.feed_scanned("desk", SEEN)
        drops.feed_scanned("desk", SEEN + timedelta(days=1))
        assert drops.feed_is_new("other")
    with opened(tmp_path) as state:
        assert not Drops(state).feed_is_new("desk")


# reports


def test_a_report_is_reserved_then_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        drops = Drops(state)
        drop = accept(drops)
        assert drops.report(drop) is None
        reserved = drops.reserve_report(drop, folder="/in", base="prices.csv.x")
        assert reserved == ReportName(folder="/in", base="prices.csv.x", whole=False)
        assert drops.unreported() == []  # the drop is not over
        finish(drops, drop)
    with opened(tmp_path) as state:
        drops = Drops(state)
        assert [one.id for one in drops.unreported()] == [drop.id]
        assert drops.report(drop) == reserved
        drops.report_whole(drop)
        assert drops.report(drop) == ReportName(folder="/in", base="prices.csv.x", whole=True)
        assert drops.unreported() == []


def test_a_name_that_was_reserved_is_taken(drops: Drops) -> None:
    drop, other = accept(drops), accept(drops)
    drops.reserve_report(drop, folder="/in", base="x")
    assert drops.report_taken(folder="/in", base="x")
    assert not drops.report_taken(folder="/other", base="x")
    assert not drops.report_taken(folder="/in", base="X")
    drops.reserve_report(drop, folder="/in", base="x-2")  # the name was somebody else's on the disk
    assert not drops.report_taken(folder="/in", base="x")
    assert drops.report(other) is None


def test_each_run_has_a_report_of_its_own(drops: Drops) -> None:
    drop = accept(drops)
    drops.reserve_report(drop, folder="/in", base="x")
    finish(drops, drop, DropStatus.HELD)
    drops.report_whole(drop)
    again = drops.decide(drop, approved=True)
    assert drops.report(again) is None
    drops.reserve_report(again, folder="/in", base="x-2")
    over = finish(drops, again)
    assert [one.id for one in drops.unreported()] == [drop.id]
    assert drops.report_taken(folder="/in", base="x")
    drops.report_whole(over)
    assert drops.unreported() == []
    assert drops.report(drop) == ReportName(folder="/in", base="x", whole=True)


def test_reports_that_are_not_written_come_in_the_order_of_their_drops(drops: Drops) -> None:
    for number in range(1, 4):
        drop = accept(drops, path=f"/in/{number}.csv")
        drops.reserve_report(drop, folder="/in", base=str(number))
        finish(drops, drop, DropStatus.REJECTED if number == 2 else DropStatus.DONE)
    assert [drop.id for drop in drops.unreported()] == [1, 2, 3]
