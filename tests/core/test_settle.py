from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.core.settle import (
    DISTURBED_MIN_S,
    DOUBT_MIN_S,
    OTHER_WORKBOOK,
    Judgement,
    LatestDrop,
    Signature,
    Verdict,
    Wait,
    candidate,
    disturbed,
    doubted,
    judge,
    lacks_marker,
    marked_file,
    next_due_s,
    observe,
    settled,
)

PATTERNS = ("*.csv", "*.xlsx")
DAY_NS = 86400 * 10**9


def sig(size_bytes: int = 10, mtime_ns: int = 1, ctime_ns: int = 1, inode: int = 1) -> Signature:
    return Signature(size_bytes, mtime_ns, ctime_ns, inode)


# --- settling


def test_a_file_is_settled_once_it_stayed_the_same_for_the_whole_time() -> None:
    waits = observe({}, {"a.csv": sig()}, now_s=100.0, settle_s=2.0)
    assert settled(waits, 100.0) == []
    waits = observe(waits, {"a.csv": sig()}, now_s=101.9, settle_s=2.0)
    assert settled(waits, 101.9) == []
    waits = observe(waits, {"a.csv": sig()}, now_s=102.0, settle_s=2.0)
    assert settled(waits, 102.0) == ["a.csv"]


@pytest.mark.parametrize("changed", [sig(size_bytes=11), sig(mtime_ns=2), sig(ctime_ns=2), sig(inode=2)])
def test_any_change_starts_the_wait_anew(changed: Signature) -> None:
    waits = observe({}, {"a.csv": sig()}, now_s=0.0, settle_s=2.0)
    waits = observe(waits, {"a.csv": changed}, now_s=2.0, settle_s=2.0)
    assert settled(waits, 3.9) == []
    assert settled(waits, 4.0) == ["a.csv"]


def test_a_file_that_was_gone_for_one_scan_starts_anew() -> None:
    waits = observe({}, {"a.csv": sig()}, now_s=0.0, settle_s=2.0)
    waits = observe(waits, {}, now_s=1.0, settle_s=2.0)
    waits = observe(waits, {"a.csv": sig()}, now_s=2.0, settle_s=2.0)
    assert settled(waits, 2.0) == []


def test_an_old_mtime_proves_nothing() -> None:
    waits = observe({}, {"a.csv": sig(mtime_ns=0)}, now_s=1e9, settle_s=2.0)
    assert settled(waits, 1e9) == []


def test_settling_can_be_turned_off() -> None:
    assert settled(observe({}, {"a.csv": sig()}, now_s=5.0, settle_s=0.0), 5.0) == ["a.csv"]


def test_files_are_numbered_by_mtime_and_then_by_name() -> None:
    seen = {"c.csv": sig(mtime_ns=1), "b.csv": sig(mtime_ns=2), "a.csv": sig(mtime_ns=2), "d.csv": sig(mtime_ns=0)}
    assert settled(observe({}, seen, now_s=0.0, settle_s=0.0), 0.0) == ["d.csv", "c.csv", "a.csv", "b.csv"]


def test_a_broken_file_waits_once_more_and_two_seconds_at_least() -> None:
    wait = Wait(sig(), due_s=10.0)
    assert doubted(wait, "cut short", now_s=10.0, settle_s=0.0) == Wait(sig(), 10.0 + DOUBT_MIN_S, "cut short")
    assert doubted(wait, "cut short", now_s=10.0, settle_s=7.0).due_s == 17.0


def test_a_doubted_file_that_changes_is_a_new_file() -> None:
    waits = {"a.csv": doubted(Wait(sig(), 0.0), "cut short", now_s=0.0, settle_s=2.0)}
    assert observe(waits, {"a.csv": sig()}, now_s=1.0, settle_s=2.0) == waits
    assert observe(waits, {"a.csv": sig(size_bytes=20)}, now_s=1.0, settle_s=2.0)["a.csv"].doubt == ""


def test_a_file_that_changed_while_it_was_read_is_left_alone_for_a_moment() -> None:
    assert disturbed(sig(), now_s=1.0, settle_s=0.0).due_s == 1.0 + DISTURBED_MIN_S
    assert disturbed(sig(), now_s=1.0, settle_s=3.0).due_s == 4.0


def test_the_next_look_is_when_the_next_file_settles() -> None:
    waits = [Wait(sig(), 3.0), Wait(sig(), 7.0), Wait(sig(), 5.0)]
    assert next_due_s(waits, now_s=3.0) == 5.0
    assert next_due_s(waits, now_s=7.0) is None


@given(
    steps=st.lists(
        st.tuples(st.integers(min_value=1, max_value=5), st.integers(min_value=0, max_value=2)), max_size=30
    ),
    settle_s=st.integers(min_value=0, max_value=10),
)
def test_settled_means_that_every_scan_of_the_last_settle_time_saw_the_same(
    steps: list[tuple[int, int]], settle_s: int
) -> None:
    waits: dict[str, Wait] = {}
    history: list[tuple[int, int]] = []
    now_s = 0
    for pause_s, version in steps:
        now_s += pause_s
        history.append((now_s, version))
        waits = observe(waits, {"a.csv": sig(ctime_ns=version)}, now_s=now_s, settle_s=settle_s)
        since_s = now_s
        for seen_s, seen in reversed(history):
            if seen != version:
                break
            since_s = seen_s
        assert (settled(waits, now_s) == ["a.csv"]) == (now_s - since_s >= settle_s)


# --- candidates


@pytest.mark.parametrize(
    "name",
    [
        "prices.csv",
        "PRICES.CSV",
        "Book 1.XlsX",
        "a\nb.csv",
        "'\"<b>&.csv",
        "преис.csv",
        "~prices.csv",
        "$.csv",
        "x" * 251 + ".csv",
        "prices.ack.csv",
        "prices.csv.2026.ack.csv",
        "20261122T163000Z.ack.csv",
    ],
)
def test_names_that_can_be_drops(name: str) -> None:
    assert candidate(name, PATTERNS) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("~$book.xlsx", "Excel"),
        (".~lock.book.xlsx#", "LibreOffice"),
        (".prices.csv", "hidden"),
        ("prices.csv.tmp", ".tmp"),
        ("prices.csv.PART", ".part"),
        ("prices.partial", ".partial"),
        ("prices.csv.crdownload", ".crdownload"),
        ("prices.txt", "*.csv, *.xlsx"),
        ("prices", "*.csv, *.xlsx"),
        ("5A3F2B10", "*.csv, *.xlsx"),
        ("prices.csv~", "*.csv, *.xlsx"),
        ("prices.csv\n", "*.csv, *.xlsx"),
        ("prices.csv.done", "*.csv, *.xlsx"),
        ("prices.csv.20261122T163000Z.ack.csv", "report"),
        ("prices.csv.20261122T163000Z.ack.html", "report"),
        ("prices.csv.20261122T163000Z-2.ack.csv", "report"),
        ("prices.csv.20261122T163000Z.simulated.ack.csv", "report"),
        ("prices.csv.20261122T163000Z-13.simulated.ack.csv", "report"),
        ("a\nb.csv.20261122T163000Z.ack.csv", "report"),
        ("pr\udce9ces.csv", "UTF-8"),
    ],
)
def test_names_that_are_never_drops_and_why(name: str, reason: str) -> None:
    assert reason in candidate(name, PATTERNS)


def test_a_pattern_can_be_more_than_an_ending() -> None:
    assert candidate("FX_Fixing.csv", ("fx_*.CSV",)) == ""
    assert candidate("NAV.csv", ("fx_*.CSV",)) != ""


@pytest.mark.parametrize(
    "name", ["p.csv~", "p.csv.old", "p.csv.OLD", "p.bak", "p.docx", "5A3F2B10", "p.csv.done", "p.", "p.csv\n"]
)
@pytest.mark.parametrize("pattern", ["*", "p*", "?*", "*.*", "p.csv*"])
def test_no_wildcard_takes_an_ending_that_no_sheet_has(name: str, pattern: str) -> None:
    assert candidate(name, (pattern,)) != ""


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("p.csv", "*"),
        ("p.XLSX", "p*"),
        ("p.txt", "*.*"),
        ("P.DAT", "*.dat"),
        ("p.a", "*.A"),
        ("p", "p"),
        ("p_1", "p_*"),
    ],
)
def test_an_ending_that_is_a_sheets_or_is_spelt_out_is_taken(name: str, pattern: str) -> None:
    assert candidate(name, (pattern,)) == ""


@pytest.mark.parametrize("name", ["prices.xls", "PRICES.XLS", "prices.xlsb", "prices.ods"])
def test_a_workbook_of_another_format_is_told_what_to_do(name: str) -> None:
    assert candidate(name, PATTERNS) == OTHER_WORKBOOK
    assert "save it as .xlsx" in OTHER_WORKBOOK
    assert "fx_*" in candidate(name, ("fx_*.xlsx",))  # no format would help
    assert candidate(name, ("*",)) == ""  # a drop, whose rejection has a report


# --- what is a new drop

A, B = "a" * 64, "b" * 64
NOW_NS = 1000 * DAY_NS


def verdict(
    sha256: str = A,
    mtime_ns: int = NOW_NS,
    *,
    latest: LatestDrop | None = None,
    feed_is_new: bool = False,
    max_age_s: float = 7 * 86400.0,
) -> Judgement:
    return judge(sha256, mtime_ns, latest=latest, feed_is_new=feed_is_new, taken_ns=NOW_NS, max_age_s=max_age_s)


def latest(
    sha256: str = A, mtime_ns: int = NOW_NS, *, is_feed_latest: bool = True, has_problem_rows: bool = False
) -> LatestDrop:
    return LatestDrop(41, sha256, mtime_ns, is_feed_latest, has_problem_rows)


def test_a_path_without_a_drop_has_a_new_one() -> None:
    assert verdict() == Judgement(Verdict.NEW)


def test_another_content_is_a_new_drop() -> None:
    assert verdict(A, latest=latest(B)).verdict is Verdict.NEW


@pytest.mark.parametrize("is_feed_latest", [True, False])
@pytest.mark.parametrize("has_problem_rows", [True, False])
def test_the_same_content_and_mtime_is_the_same_drop(is_feed_latest: bool, has_problem_rows: bool) -> None:
    before = latest(is_feed_latest=is_feed_latest, has_problem_rows=has_problem_rows)
    assert verdict(latest=before) == Judgement(Verdict.SAME, "same as drop 41", 41)


@pytest.mark.parametrize(
    ("is_feed_latest", "has_problem_rows", "expected"),
    [
        (True, False, Verdict.SAME),
        (False, False, Verdict.NEW),
        (True, True, Verdict.NEW),
        (False, True, Verdict.NEW),
    ],
)
@pytest.mark.parametrize("moved_ns", [1, -1])
def test_saved_again_is_new_only_when_it_can_matter(
    is_feed_latest: bool, has_problem_rows: bool, expected: Verdict, moved_ns: int
) -> None:
    before = latest(is_feed_latest=is_feed_latest, has_problem_rows=has_problem_rows)
    judgement = verdict(A, NOW_NS + moved_ns, latest=before)
    assert judgement.verdict is expected
    assert judgement.same_as == (41 if expected is Verdict.SAME else None)
    assert judgement.reason.endswith("same as drop 41" if expected is Verdict.SAME else "")


def test_a_file_at_the_age_limit_is_sent_and_an_older_one_is_not() -> None:
    assert verdict(mtime_ns=NOW_NS - 7 * DAY_NS).verdict is Verdict.NEW
    assert verdict(mtime_ns=NOW_NS - 7 * DAY_NS - 10**9).verdict is Verdict.HELD
    assert verdict(mtime_ns=NOW_NS - 7 * DAY_NS - 10**9, feed_is_new=True).verdict is Verdict.BACKLOG


def test_the_age_is_told() -> None:
    assert verdict(mtime_ns=NOW_NS - 400 * DAY_NS).reason == (
        "last saved 400 days before it was seen (max_age is 7 days)"
    )
    assert verdict(mtime_ns=NOW_NS - DAY_NS, max_age_s=43200.0).reason == (
        "last saved 1 day before it was seen (max_age is 0.5 days)"
    )


def test_a_file_from_the_future_is_not_old() -> None:
    assert verdict(mtime_ns=NOW_NS + 400 * DAY_NS).verdict is Verdict.NEW


def test_an_old_file_that_was_a_drop_before_stays_the_same_drop() -> None:
    old_ns = NOW_NS - 30 * DAY_NS
    assert verdict(A, old_ns, latest=latest(A, old_ns)).verdict is Verdict.SAME


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(min_value=0, max_value=2)), max_size=12))
def test_the_last_content_saved_at_a_path_is_its_latest_drop(saves: list[tuple[str, int]]) -> None:
    """A, B, A ends with A, whatever the mtimes."""
    drop: LatestDrop | None = None
    for number, (sha256, mtime_ns) in enumerate(saves):
        judgement = judge(sha256, mtime_ns, latest=drop, feed_is_new=False, taken_ns=mtime_ns, max_age_s=86400.0)
        if judgement.verdict is Verdict.NEW:
            drop = LatestDrop(number, sha256, mtime_ns, is_feed_latest=True, has_problem_rows=False)
        assert drop is not None
        assert drop.sha256 == sha256


# --- done-markers


def test_a_marker_names_its_file() -> None:
    assert marked_file("prices.csv.done", ".done") == "prices.csv"
    assert marked_file("prices.csv", ".done") == ""
    assert marked_file(".done", ".done") == ""
    assert marked_file("prices.csv", "") == ""
    assert marked_file("Prices.csv.DONE", ".done") == "Prices.csv"
    assert marked_file("pr\udce9ces.csv.done", ".done") == ""


def test_a_marker_counts_when_the_file_did_not_change_after_it() -> None:
    file = sig(mtime_ns=9, ctime_ns=5)
    assert lacks_marker("a.csv", file, ".done", {}) == "waits for its marker a.csv.done"
    assert lacks_marker("a.csv", file, ".done", {"b.csv": 7}) != ""
    assert "changed after its marker a.csv.done" in lacks_marker("a.csv", file, ".done", {"a.csv": 4})
    for ctime_ns in (5, 6):  # a file system whose clock is coarse gives both the same time
        assert lacks_marker("a.csv", file, ".done", {"a.csv": ctime_ns}) == ""


def test_a_rewritten_file_is_known_as_such() -> None:
    waits = observe({}, {"a.csv": sig()}, now_s=0.0, settle_s=2.0)
    assert not waits["a.csv"].rewritten
    waits = observe(waits, {"a.csv": sig(size_bytes=11)}, now_s=1.0, settle_s=2.0)
    assert waits["a.csv"].rewritten
    assert observe(waits, {"a.csv": sig(size_bytes=11)}, now_s=2.0, settle_s=2.0)["a.csv"].rewritten
