"""The watch: real inotify, real threads."""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from folder_site import (
    LIMIT_S,
    as_somebody_else,
    contents,
    open_folder,
    posix_only,
    whole,
)
from watchdog.observers.api import ObservedWatch

from contrib_watch.adapters.folder import Folder, Scan, Watch
from contrib_watch.adapters.folder import watch as watch_module
from contrib_watch.core.model import Feed


class Recorder:
    """What a Watch handed over, for a test to wait on."""

    def __init__(self) -> None:
        self.scans: list[Scan] = []
        self.found: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def __call__(self, feed: str, scan: Scan) -> None:
        with self._changed:
            assert feed == "bonds"
            self.scans.append(scan)
            self.found |= contents(scan)
            self._changed.notify_all()

    def wait(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, LIMIT_S), [scan.states for scan in self.scans[-3:]]

    def wait_for_file(self, name: str, content: bytes) -> None:
        self.wait(lambda: self.found.get(name) == content)

    def wait_for_scans(self, more: int = 1) -> None:
        count = len(self.scans) + more
        self.wait(lambda: len(self.scans) >= count)


@contextmanager
def watching(
    inbox: Path, *, interval_s: float = 60.0, settle_seconds: float = 0.05, **options: object
) -> Iterator[tuple[Watch, Recorder]]:
    """A running Watch whose first scan is over. By default its interval is too long to find anything by itself."""
    recorder = Recorder()
    folder = open_folder(inbox, time.monotonic, settle_seconds=settle_seconds, **options)
    watch = Watch(folder, interval_s, recorder)
    watch.start()
    try:
        recorder.wait(lambda: bool(recorder.scans))
        yield watch, recorder
    finally:
        assert watch.stop(LIMIT_S)


def test_files_from_before_the_start_are_found(inbox: Path) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    with watching(inbox) as (_, recorder):
        recorder.wait_for_file("prices.csv", b"x")


@pytest.mark.parametrize("observer", ["auto", "native", "polling"])
def test_the_observer_wakes_the_scan(inbox: Path, observer: str) -> None:
    with watching(inbox, observer=observer) as (_, recorder):
        (inbox / "created.csv").write_bytes(b"1")
        recorder.wait_for_file("created.csv", b"1")
        (inbox.parent / "outside").write_bytes(b"2")
        (inbox.parent / "outside").rename(inbox / "renamed.csv")
        recorder.wait_for_file("renamed.csv", b"2")
        (inbox / "4F5A").write_bytes(b"3")
        (inbox / "4F5A").replace(inbox / "created.csv")
        recorder.wait_for_file("created.csv", b"3")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say that a file was closed")
def test_a_file_that_is_complete_is_not_kept_waiting_for_further_events(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_GATHER_S", 2 * LIMIT_S)
    with watching(inbox, settle_seconds=0) as (_, recorder):
        (inbox / "written.csv").write_bytes(b"1")
        recorder.wait_for_file("written.csv", b"1")
        (inbox / ".hidden").write_bytes(b"2")
        (inbox / ".hidden").rename(inbox / "renamed.csv")
        recorder.wait_for_file("renamed.csv", b"2")


def test_a_slow_writer_is_waited_for(inbox: Path) -> None:
    rows = [b"row %d\n" % number for number in range(10)]
    with watching(inbox, settle_seconds=1.5) as (_, recorder), (inbox / "prices.csv").open("wb", 0) as file:
        for row in rows:
            file.write(row)
            recorder.wait_for_scans()
            assert recorder.found == {}
        recorder.wait_for_file("prices.csv", b"".join(rows))


def test_six_hundred_files_while_watching(inbox: Path) -> None:
    with watching(inbox, settle_seconds=0.5) as (_, recorder):
        for number in range(600):
            (inbox / f"{number}.csv").write_bytes(b"%d" % number)
        recorder.wait(lambda: len(recorder.found) == 600)
        assert sum(len(scan.files) for scan in recorder.scans) == 600


def test_the_interval_alone_finds_what_the_observer_does_not_say(inbox: Path) -> None:
    with watching(inbox, interval_s=0.1) as (watch, recorder):
        watch._listener._observer.unschedule_all()
        (inbox / "prices.csv").write_bytes(b"x")
        recorder.wait_for_file("prices.csv", b"x")


def test_wake_scans_at_once(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        for _ in range(3):
            count = len(recorder.scans)
            watch.wake()
            recorder.wait(lambda count=count: len(recorder.scans) > count)


def hears_again(watch: Watch, recorder: Recorder, inbox: Path) -> None:
    """After one more scan, which rebuilds the observer, a file is found without waking the watch."""
    count = len(recorder.scans)
    watch.wake()
    recorder.wait(lambda: len(recorder.scans) > count and not recorder.scans[-1].outage)
    (inbox / "again.csv").write_bytes(b"back")
    recorder.wait_for_file("again.csv", b"back")


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_folder_that_is_deleted_and_made_again(inbox: Path, observer: str) -> None:
    with watching(inbox, observer=observer) as (watch, recorder):
        inbox.rmdir()
        recorder.wait(lambda: "does not exist" in recorder.scans[-1].outage)
        inbox.mkdir()
        hears_again(watch, recorder, inbox)


@posix_only
def test_a_folder_that_another_takes_the_place_of(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        inbox.rename(inbox.parent / "away")
        inbox.mkdir()
        hears_again(watch, recorder, inbox)


def test_a_folder_that_is_missing_at_the_start(tmp_path: Path) -> None:
    with watching(tmp_path / "inbox") as (watch, recorder):
        assert recorder.scans[0].outage
        (tmp_path / "inbox").mkdir()
        hears_again(watch, recorder, tmp_path / "inbox")


def test_an_observer_whose_threads_ended_is_rebuilt(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        for emitter in watch._listener._observer.emitters:
            emitter.stop()
            emitter.join(LIMIT_S)
        hears_again(watch, recorder, inbox)
        watch._listener._observer.stop()
        watch._listener._observer.join(LIMIT_S)
        (inbox / "again.csv").unlink()
        hears_again(watch, recorder, inbox)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_observer_whose_thread_was_ended_by_an_exception_is_rebuilt(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        watch._listener._observer.event_queue.put(None)  # no event: dispatching it raises
        watch._listener._observer.join(LIMIT_S)
        hears_again(watch, recorder, inbox)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify's limit on instances")
def test_without_an_observer_the_interval_goes_on_until_there_is_one() -> None:
    with as_somebody_else(54322) as place:  # the limit is a user's; nobody else must run into it
        (place / "inbox").mkdir()
        taken = []
        while (descriptor := ctypes.CDLL(None).inotify_init()) >= 0:
            taken.append(descriptor)
        try:
            with watching(place / "inbox", interval_s=0.1, observer="native") as (watch, recorder):
                assert watch._listener is None
                (place / "inbox" / "prices.csv").write_bytes(b"x")
                recorder.wait_for_file("prices.csv", b"x")
                while taken:
                    os.close(taken.pop())
                recorder.wait(lambda: watch._listener is not None)
        finally:
            for descriptor in taken:
                os.close(descriptor)


def test_files_that_could_not_be_accepted_are_offered_again(inbox: Path) -> None:
    recorder = Recorder()
    failures = [OSError("database is locked"), ValueError("once more")]

    def accept(feed: str, scan: Scan) -> None:
        if scan.files and failures:
            raise failures.pop()
        recorder(feed, scan)

    (inbox / "prices.csv").write_bytes(b"x")
    watch = Watch(open_folder(inbox, time.monotonic, settle_seconds=0.0), 0.1, accept)
    watch.start()
    recorder.wait_for_file("prices.csv", b"x")
    assert watch.stop(LIMIT_S)
    assert failures == []


def test_a_scan_that_raises_is_an_outage_and_not_the_end(inbox: Path) -> None:
    spool = inbox.parent / "spool"
    spool.write_bytes(b"in the way")
    with watching(inbox, interval_s=0.1) as (_, recorder):
        (inbox / "prices.csv").write_bytes(b"x")
        recorder.wait(lambda: "cannot be written" in recorder.scans[-1].outage)
        spool.unlink()
        recorder.wait_for_file("prices.csv", b"x")
        recorder.wait(lambda: not recorder.scans[-1].outage)


def test_stop_leaves_no_thread_behind(inbox: Path) -> None:
    before = set(threading.enumerate())
    with watching(inbox):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before


def test_the_receiver_of_a_scan_can_stop_the_watch(inbox: Path) -> None:
    ended = threading.Event()

    def stop(feed: str, scan: Scan) -> None:
        watch.stop()
        ended.set()

    watch = Watch(open_folder(inbox, time.monotonic), 60.0, stop)
    watch.start()
    assert ended.wait(LIMIT_S)
    assert watch.stop(LIMIT_S)


class Hanging(Folder):
    """A folder on a share that does not answer until it is told to."""

    answers: threading.Event
    asked: threading.Event

    def scan(self) -> Scan:
        self.asked.set()
        assert self.answers.wait(LIMIT_S)
        return super().scan()


@contextmanager
def hanging(inbox: Path) -> Iterator[tuple[Watch, Hanging, Recorder]]:
    """A Watch whose first scan has begun and does not end."""
    feed = Feed(name="bonds", folder=inbox, service="NIPROV", settle_seconds=0.0)
    folder, recorder = Hanging(feed, inbox.parent / "spool", {}, whole), Recorder()
    folder.answers, folder.asked = threading.Event(), threading.Event()
    watch = Watch(folder, 60.0, recorder)
    watch.start()
    try:
        assert folder.asked.wait(LIMIT_S)
        yield watch, folder, recorder
    finally:
        folder.answers.set()
        assert watch.stop(LIMIT_S)


def test_a_share_that_answers_late_is_waited_for_and_told(inbox: Path) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    with hanging(inbox) as (watch, folder, recorder):
        until_s = time.monotonic() + LIMIT_S
        while watch.silent_s() < 0.05:
            assert time.monotonic() < until_s
        assert recorder.scans == []
        folder.answers.set()
        recorder.wait_for_file("prices.csv", b"x")
        assert watch.silent_s() == 0.0


def test_a_stop_does_not_wait_for_a_share_that_does_not_answer(inbox: Path) -> None:
    with hanging(inbox) as (watch, _, _):
        before_s = time.monotonic()
        assert not watch.stop(0.05)
        assert time.monotonic() - before_s < LIMIT_S / 2


def test_a_share_that_does_not_answer_holds_up_no_other_folder(inbox: Path) -> None:
    other = inbox.parent / "other"
    other.mkdir()
    with hanging(inbox), watching(other) as (_, recorder):
        (other / "prices.csv").write_bytes(b"x")
        recorder.wait_for_file("prices.csv", b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_an_event_at_the_moment_of_a_stop_is_not_told(inbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    from watchdog.observers.inotify import InotifyEmitter

    stopped = InotifyEmitter(queue.Queue(), ObservedWatch(str(inbox), recursive=False))
    stopped.queue_events(0.0)
    assert caplog.records == []
