"""What every step of the pipeline works with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from contrib_watch.adapters.folder import content, is_sound, keep
from contrib_watch.adapters.sheets.reader import Reader, shared_reader
from contrib_watch.config import Settings
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Cells, Drop, Feed, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.core.restating import restated
from contrib_watch.errors import ConfigurationError, ContribWatchError, StateError, UnreadableFile
from contrib_watch.pipeline.aside import at_once, in_thread, side_by_side
from contrib_watch.pipeline.environment import KEPT, Environment
from contrib_watch.store import Drops, Ledger, State, shortage, utc_text

_JOURNAL_BYTES = 32 << 20
"""What a drop of some thousand changed rows leaves in the database's journal, which is emptied when it is over; less
where even that could be the room that is to stay free."""
_HASHED_AT_ONCE_BYTES = 1 << 18
"""Up to this size, to hash a file costs less than to start a thread for it."""
_WITHOUT_COPY = (
    "Save the file again: that makes a drop of it anew, which `retry` cannot; a drop that is held is ended by "
    "`contrib-watch reject`. The state must keep its spool"
)


class Clock(Protocol):
    """The two clocks: durations and deadlines are monotonic, what people read is UTC."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        ...

    def utc(self) -> datetime:
        """The time of day, aware; may jump."""
        ...


class SystemClock:
    """This machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)


class Progress(Protocol):
    """Who is told how far things are."""

    def started(self, drop: Drop, posts: int) -> None:
        """A drop has this many posts to send."""
        ...

    def advanced(self, drop: Drop, posts: int) -> None:
        """So many more posts of it have ended."""
        ...

    def finished(self, drop: Drop, totals: Mapping[str, int], report: Path | None) -> None:
        """It is over, and its report is written; None: that has failed."""
        ...

    def waiting(self, what: str, why: str) -> None:
        """Posts wait for the connection or for a Service (``what``); empty ``why``: no longer."""
        ...


class Reading(NamedTuple):
    """A file as it was read."""

    cells: Cells
    quotes: Quotes


@dataclass(frozen=True)
class Desk:
    """The settings, the record, the clocks, and who reads files."""

    settings: Settings
    dictionary: Dictionary
    state: State
    drops: Drops
    ledger: Ledger
    clock: Clock
    feeds: Mapping[str, Feed]
    reader: Reader
    environment: Environment

    @classmethod
    def open(
        cls,
        settings: Settings,
        dictionary: Dictionary,
        clock: Clock | None = None,
        *,
        reading: bool = False,
        accept_empty: bool = False,
    ) -> Desk:
        """Open the state that the settings name, see State.open; raises StateError."""
        where = settings.state
        state = State.open(
            url=where.url,
            folder=where.folder,
            target=settings.ads.target,
            reading=reading,
            accept_empty=accept_empty,
            utc=(clock or SystemClock()).utc,
            journal_bytes=min(_JOURNAL_BYTES, where.min_free_bytes // 4),
        )
        environment = Environment.of(settings)
        if not reading:
            try:
                environment.record(state, settings)
            except ContribWatchError:
                state.close()
                raise
        return cls(
            settings=settings,
            dictionary=dictionary,
            state=state,
            drops=Drops(state),
            ledger=Ledger(state),
            clock=clock or SystemClock(),
            feeds={feed.name: feed for feed in settings.feeds},
            reader=shared_reader(),
            environment=environment,
        )

    def drop_named(self, drop_id: int) -> Drop:
        """The drop that a person names by its number; raises ConfigurationError where there is none."""
        try:
            return self.drops.drop(drop_id)
        except KeyError:
            hint = "`contrib-watch audit drops` lists them"
            raise ConfigurationError(f"there is no drop {drop_id}", hint=hint) from None

    def utc_of(self, monotonic_s: float) -> str:
        """A moment of the monotonic clock as the time of day, in text."""
        return self.utc_reader()(monotonic_s)

    def utc_reader(self) -> Callable[[float], str]:
        """The same for many moments, of which most are the same ones, with one look at the clocks."""
        now_utc, now_s = self.clock.utc(), self.clock.monotonic()

        @cache
        def utc_of(monotonic_s: float) -> str:
            return utc_text(now_utc - timedelta(seconds=now_s - monotonic_s))

        return utc_of

    def shortage(self) -> str:
        """Why no file may be accepted for want of room; empty: there is room."""
        where = self.settings.state
        return shortage(where.folder, where.min_free_bytes)

    def spooled(self, sha256: str) -> Path:
        """Where the bytes of a drop are kept."""
        return self.settings.state.folder.joinpath("spool", sha256[:2], sha256)

    def bytes_of(self, sha256: str) -> bytes:
        """A dropped file, configuration or dictionary that is kept.

        Raises StateError where it is gone, or is no longer what it was.
        """
        path = self.spooled(sha256)
        hint = "Put the state's folders `spool` and `kept` back from your own backups"
        try:
            try:
                found = content(path)
            except FileNotFoundError:
                path = self.settings.state.folder / KEPT / sha256[:2] / sha256
                found = content(path)
        except OSError as error:
            raise StateError(f"a kept file cannot be read: {error.strerror}", where=str(path), hint=hint) from error
        if hashlib.sha256(found).hexdigest() != sha256:
            raise StateError("a kept file does not have the SHA-256 that it is named by", where=str(path), hint=hint)
        return found

    def unpacked(self, sha256: str) -> Path:
        """Where the bytes of a drop are, put there again where they were packed; raises StateError or OSError."""
        path = self.spooled(sha256)
        if not path.exists():
            keep(self.settings.state.folder / "spool", content(path))
        return path

    def file_of(self, drop: Drop) -> tuple[Path, str, Feed]:
        """Where a drop's bytes are, the file's own name, and the feed by whose rules of today it is read."""
        return self.spooled(drop.sha256), Path(drop.path).name, self.feed_of(drop)

    def feed_of(self, drop: Drop) -> Feed:
        """The feed by whose rules of today a drop is read and judged; of what the program made, its own form."""
        feed = self.feeds[drop.feed]
        return restated(feed) if drop.origin else feed

    def reading(self, drop: Drop) -> Reading:
        """Read a drop's bytes by its feed's rules of today; raises as :meth:`cells` does."""
        cells = self.cells(drop)
        return Reading(cells, self.typed(cells, self.feed_of(drop)))

    def cells(self, drop: Drop) -> Cells:
        """A drop's cells, read by its feed's rules of today.

        Raises UnreadableFile, or StateError where the bytes are gone or are not those that were dropped.
        """
        path, name, feed = self.file_of(drop)
        if not drop.sha256:
            what = f"the file has {drop.size_bytes:,} bytes, above the feed's max_bytes, so none of it was read"
            raise UnreadableFile(what, where=name, hint="Split it, or raise max_bytes: the next start reads it")
        check = in_thread if drop.size_bytes > _HASHED_AT_ONCE_BYTES else at_once
        checking = check(lambda: self.check_copy(drop))
        try:
            return self.reader.read_cells(self.unpacked(drop.sha256), name, feed)
        except OSError as error:
            raise _unusable(drop, path, error) from error
        finally:
            checking.result()  # of a damaged copy, nothing counts that its reading came to

    def check_copy(self, drop: Drop) -> None:
        """Raise StateError where the bytes of a drop are gone or are not those that were dropped."""
        path = self.spooled(drop.sha256)
        try:
            is_whole = not drop.sha256 or is_sound(self.unpacked(drop.sha256), drop.sha256)
        except OSError as error:
            raise _unusable(drop, path, error) from error
        if not is_whole:  # a damaged disk, a power cut: nobody knows what it would publish
            what = f"the copy of drop {drop.id} is damaged: its bytes are not those that were recorded ({path})"
            raise StateError(what, where=drop.path, hint=_WITHOUT_COPY)

    def quotes(self, drop: Drop) -> Quotes:
        """A drop's quotes; raises as :meth:`reading` does."""
        return self.reading(drop).quotes

    def read(self, path: Path, filename: str, feed: Feed) -> Reading:
        """A file as cells and typed quotes; raises UnreadableFile, or OSError where it cannot be opened."""
        cells = self.reader.read_cells(path, filename, feed)
        return Reading(cells, self.typed(cells, feed))

    def typed(self, cells: Cells, feed: Feed) -> Quotes:
        """The quotes in these cells; raises UnreadableFile."""
        with side_by_side(len(cells.rows)) as each:
            return read_quotes(cells, feed, self.dictionary, each=each)


def _unusable(drop: Drop, path: Path, error: OSError) -> StateError:
    what = f"the bytes of drop {drop.id} cannot be read: {error.strerror} ({path})"
    return StateError(what, where=drop.path, hint=_WITHOUT_COPY)
