"""Complete files become numbered drops, or are known already, or wait for a person."""

from __future__ import annotations

from pathlib import Path

import structlog

from contrib_watch.adapters.folder import CompleteFile, Scan
from contrib_watch.core.model import NOBODY, Drop, DropStatus, Person, Source
from contrib_watch.core.settle import LatestDrop, Verdict, judge
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import SeenFile
from contrib_watch.store.record import run_record

log = structlog.get_logger()

IGNORED = "ignored"
"""The state of a backlog file that a person decided not to send."""


def accept(desk: Desk, feed: str, scan: Scan) -> list[Drop]:
    """Decide about the files that one scan found, in their order; returns the new drops."""
    if scan.outage:
        return []
    accepted = []
    with desk.state.transaction():
        is_new = desk.drops.feed_is_new(feed)
        for file in scan.files:
            drop = _decide(desk, feed, file, feed_is_new=is_new)
            if drop is not None:
                accepted.append(drop)
        # The first look is over only when nothing of it still settles or waits for room.
        if is_new and scan.next_look_s is None and not scan.postponed:
            desk.drops.feed_scanned(feed, desk.clock.utc())
    return accepted


def _decide(desk: Desk, feed: str, file: CompleteFile, *, feed_is_new: bool) -> Drop | None:
    now = desk.clock.utc()
    judgement = judge(
        file.sha256,
        file.signature.mtime_ns,
        latest=desk.drops.latest(feed, str(file.path))
        or _before_a_move(desk, feed, file)
        or _before_a_renaming(desk, feed, file),
        feed_is_new=feed_is_new,
        taken_ns=int(now.timestamp() * 1_000_000_000),
        max_age_s=desk.feeds[feed].max_age_s,
    )
    drop, drop_id = None, judgement.same_as
    if judgement.verdict in (Verdict.NEW, Verdict.HELD):
        drop = desk.drops.accept(
            feed=feed,
            path=str(file.path),
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            mtime_ns=file.signature.mtime_ns,
            owner=desk.feeds[feed].dropped_by or file.owner,
            owner_source=_known_by(desk, feed),
            seen_at_utc=now,
            held_because=judgement.reason,
        )
        drop_id = drop.id
    desk.drops.remember(
        SeenFile(
            feed=feed,
            name=file.name,
            path=str(file.path),
            signature=file.signature,
            state=judgement.verdict,
            reason=judgement.reason,
            sha256=file.sha256,
            owner=file.owner,
            drop_id=drop_id,
        )
    )
    log.info("file seen", feed=feed, file=file.name, verdict=judgement.verdict.value, drop=drop_id)
    return drop


def _before_a_move(desk: Desk, feed: str, file: CompleteFile) -> LatestDrop | None:
    """The latest drop of a file from before its feed had this folder, or this name; None: it is another one now.

    What was sent to the same Service is not sent again: older files, and what a person has undone, would come over
    the newest prices. A drop that is not over goes on by itself, if its feed is not gone.
    """
    seen = desk.drops.file(feed, file.name)
    if seen is not None and seen.path != str(file.path):
        latest = desk.drops.latest(feed, seen.path)
        return latest if latest and _service_of(desk, latest.id) in ("", desk.feeds[feed].service) else None
    gone = (desk.drops.latest(name, str(file.path)) for name in desk.drops.watched() - desk.feeds.keys())
    latest = max(filter(None, gone), key=lambda one: one.id, default=None)
    if latest is None or (latest.sha256, latest.mtime_ns) != (file.sha256, file.signature.mtime_ns):
        return None
    was_sent = desk.drops.drop(latest.id).status is DropStatus.DONE
    return latest if was_sent and _service_of(desk, latest.id) == desk.feeds[feed].service else None


def _before_a_renaming(desk: Desk, feed: str, file: CompleteFile) -> LatestDrop | None:
    """The drop of this very file by another name, where a newer drop came since; None: there is none.

    Who tidies a folder, or restores a file from elsewhere, asks for no older prices over the newer ones, nor decides
    about what is held. What was refused may have had an ending by which it could not be read.
    """
    earlier = desk.drops.of_content(feed, file.sha256, file.signature.mtime_ns) if file.sha256 else None
    if earlier is None or earlier.is_feed_latest:
        return None
    drop = desk.drops.drop(earlier.id)
    was_refused = drop.status in (DropStatus.REJECTED, DropStatus.FAILED)
    if was_refused and Path(drop.path).suffix.lower() != file.path.suffix.lower():
        return None
    return earlier if _service_of(desk, drop.id) in ("", desk.feeds[feed].service) else None


def _service_of(desk: Desk, drop_id: int) -> str:
    """To which Service a drop went; empty: it is not over."""
    found = run_record(desk.state, drop_id, desk.drops.drop(drop_id).run)
    return found[1]["service"] if found else ""


def _known_by(desk: Desk, feed: str) -> Source:
    """How it is known who drops files."""
    return Source.DROP_FOLDER if desk.feeds[feed].dropped_by else Source.FILE_OWNER


def adopt(desk: Desk, feed: str, choice: str, by: Person = NOBODY, why: str = "") -> list[Drop]:
    """Decide about a feed's backlog: ``ignore`` it, or make drops of ``newest`` (by mtime) or ``all`` of it."""
    if feed not in desk.feeds:
        raise ConfigurationError(f"there is no feed {feed!r}", hint=f"The feeds are: {', '.join(desk.feeds)}")
    adopted = []
    with desk.state.transaction():
        backlog = [file for file in desk.drops.files(feed) if file.state == Verdict.BACKLOG]
        backlog.sort(key=lambda file: (file.signature.mtime_ns, file.name))
        chosen = {"ignore": [], "newest": backlog[-1:], "all": backlog}[choice]
        for file in backlog:
            if file not in chosen:
                desk.drops.remember(file.decided(IGNORED, "backlog that was adopted as ignored"))
                left = {"feed": feed, "path": file.path, "sha256": file.sha256}
                desk.state.append("decision", {**by.told(why), "decision": "adopt, ignored", **left})
                continue
            drop = desk.drops.accept(
                feed=feed,
                path=file.path,
                sha256=file.sha256,
                size_bytes=file.signature.size_bytes,
                mtime_ns=file.signature.mtime_ns,
                owner=desk.feeds[feed].dropped_by or file.owner,
                owner_source=_known_by(desk, feed),
                seen_at_utc=desk.clock.utc(),
                adopted=True,
            )
            told = {**by.told(why), "decision": "adopt", "drop": drop.id, "run": drop.run}
            desk.state.append("decision", told, drop.id)
            desk.drops.remember(file.decided(Verdict.NEW, "adopted from the backlog", drop.id))
            adopted.append(drop)
    return adopted
