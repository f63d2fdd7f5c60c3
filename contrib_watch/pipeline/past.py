"""What the reports beside the files know that the state does not.

A state that is put back from a copy of its folder takes old prices for the newest, and one that was lost takes all of
them for new. Neither can tell by itself. The reports lie elsewhere, and each page names its state and the record of
its run (core.chain): a page of a record that the state does not have says that the state is older than the page, and
reports beside a state without drops say that there was another one.

A folder that cannot be read is not one without reports: until its reports could be looked at, nothing of its feed is
taken, sent or posted again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from contrib_watch.adapters.past_reports import PastReport, Testimony, newest_report, newest_testimonies
from contrib_watch.config import Settings
from contrib_watch.core.model import Feed
from contrib_watch.errors import StateError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import Drops, State, utc_text
from contrib_watch.store.backup import database_of
from contrib_watch.store.proof import hash_of
from contrib_watch.store.record import last_number

PATIENCE_S = 10.0
"""How long a start waits for folders that do not answer."""
_ACCEPTED = "accepted_empty_utc"
_UNKNOWN_PAST = "unknown_past"
"""The meta key with the folders whose reports were not shown to be this state's when it had no drop yet."""

log = structlog.get_logger()


class Past:
    """Holds the reports of all feeds against the state: at the start, and once a folder can be read that could not.

    All but :meth:`begin` may be called from any thread.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folders = {feed.name: _reports_of(feed) for feed in settings.feeds}
        self._unseen = dict.fromkeys(self._folders.values(), "it has not answered")
        self._unknown: frozenset[Path] = frozenset()
        """Folders in which another state's reports mean that this one has forgotten them."""
        self._ours: set[Path] = set()
        """Folders with reports that this state knows."""
        self._refused: Callable[[], object] = lambda: None
        self.refusal: StateError | None = None
        """Why the process must not go on; None: it may."""

    def begin(self, desk: Desk, *, accept_empty: bool = False) -> None:
        """Look at all folders, those that hang for PATIENCE_S; raises StateError where reports know more.

        ``accept_empty``: a person says that the state is meant to be new.
        """
        self._unknown = self._remembered(desk, accept_empty=accept_empty)
        # One thread each, which dies with the process where it hangs.
        threads = [threading.Thread(target=self._look, args=(folder,), daemon=True) for folder in self._unseen]
        for thread in threads:
            thread.start()
        until_s = time.monotonic() + PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        if self.refusal is not None:
            raise self.refusal
        for folder, why in dict(self._unseen).items():  # one that hung may answer at this moment
            log.warning("nothing is sent of a feed before its reports can be read", folder=str(folder), why=why)
        if self._unknown:
            desk.state.put(_UNKNOWN_PAST, json.dumps([str(folder) for folder in self._unknown - self._ours.copy()]))

    def when_refused(self, call: Callable[[], object]) -> None:
        """Call this, from another thread, if a folder that could not be read turns out to know more."""
        self._refused = call
        if self.refusal is not None:
            call()

    def answers(self, feed: str) -> None:
        """The feed's folder answers: look at its reports where that was not possible yet."""
        if self._folders[feed] in self._unseen:
            self._look(self._folders[feed])

    def unseen(self) -> dict[str, str]:
        """Feeds of which nothing may be sent or posted again at present, and why."""
        unseen = dict(self._unseen)
        return {
            feed: f"its reports in {folder} cannot be looked at: {unseen[folder]}"
            for feed, folder in self._folders.items()
            if folder in unseen
        }

    def contested(self, folder: Path) -> str:
        """Why nothing may be taken from a watched folder at present; empty: it may.

        The mount point of a share that is away looks like a folder without reports, so these are looked for until
        some of ours are there.
        """
        for feed in self._settings.feeds:
            if Path(feed.folder) == folder:
                if self._folders[feed.name] not in self._ours:
                    self._look(self._folders[feed.name])
                if self.refusal is not None:
                    return self.refusal.what
                if why := self.unseen().get(feed.name):
                    return why
        return ""

    def _remembered(self, desk: Desk, *, accept_empty: bool) -> frozenset[Path]:
        """The folders whose reports may be another state's that was lost."""
        if accept_empty:
            desk.state.put(_ACCEPTED, utc_text(desk.clock.utc()))
            desk.state.put(_UNKNOWN_PAST, "[]")
            return frozenset()
        if not desk.drops.recent(1) and not desk.state.get(_ACCEPTED):
            return frozenset(self._folders.values())
        remembered = set(map(Path, json.loads(desk.state.get(_UNKNOWN_PAST) or "[]")))
        # Files are taken only where the reports were looked at.
        return frozenset(remembered - {folder for feed, folder in self._folders.items() if desk.drops.files(feed)})

    def _look(self, folder: Path) -> None:
        where = self._settings.state
        try:
            newest = newest_report(folder, simulated=self._settings.ads.on_trial)
            pages = newest_testimonies(folder)
            # A state of its own, because this may be any thread.
            with State.open(
                url=where.url, folder=where.folder, target=self._settings.ads.target, reading=True
            ) as state:
                mine = [one for one in pages if one.state == state.state_id and one.number]
                if folder in self._unknown and newest is not None and not _is_ours(state, newest):
                    raise self._forgotten(folder, newest)
                if (unknown := next((one for one in mine if not _is_recorded(state, one)), None)) is not None:
                    raise _older(state, database=where.url, page=unknown)
        except OSError as error:
            self._unseen[folder] = error.strerror or str(error)
        except StateError as error:
            self.refusal = error
            self._refused()
        else:
            if mine:
                self._ours.add(folder)
            self._unseen.pop(folder, None)

    def _forgotten(self, folder: Path, report: PastReport) -> StateError:
        hint = (
            f"If the state of {self._settings.state.folder} was lost, put back a backup: `contrib-watch state "
            "restore FILE`. If it is meant to be new, `contrib-watch run --accept-empty-state`: every file that "
            "is no older than max_age is then posted again"
        )
        named = f"the state {report.state}" if report.state else "another state"
        feeds = ", ".join(feed for feed, one in self._folders.items() if one == folder)
        what = f"the state is new, but the folder of feed {feeds} has reports of {named}"
        return StateError(what, where=str(report.path), hint=hint)


def _is_ours(state: State, report: PastReport) -> bool:
    """The page names the state; or the page is not there yet, and the state has given the CSV its name."""
    if report.state:
        return report.state == state.state_id
    return Drops(state).report_taken(folder=str(report.path.parent), base=report.path.name.removesuffix(".ack.csv"))


def _is_recorded(state: State, told: Testimony) -> bool:
    """The state has the record that a page of its own names, or had it before a backup was restored.

    Of a state that went on from an older one, records of the same number have other hashes.
    """
    return told.number <= _last(state) and hash_of(state, told.number) in (None, told.sha256)


def _last(state: State) -> int:
    with state.transaction() as connection:
        return last_number(connection)


def _older(state: State, *, database: str, page: Testimony) -> StateError:
    hint = (
        "Put back a newer backup with `contrib-watch state restore FILE`; or go on from this one with "
        f"`contrib-watch state restore {database_of(database)}`, which leaves every RIC in doubt and holds "
        "unfinished drops"
    )
    what = (
        f"the state is older than its reports: this one tells of record {page.number}, and the state ends with "
        f"record {_last(state)} and does not have it. It was put back from a copy, and would take old prices for "
        "the newest"
    )
    return StateError(what, where=str(page.path), hint=hint)


def _reports_of(feed: Feed) -> Path:
    return Path(feed.report_folder or feed.folder)
