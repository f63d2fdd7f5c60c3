"""Where everything stands, and why a file was not picked up.

While a process runs (``run``), the files are told as its last scan saw them; otherwise ``status`` looks at the
folders itself, and copies, decides and records nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from contrib_watch.adapters.folder import FileStatus
from contrib_watch.core.model import Drop, DropStatus
from contrib_watch.core.settle import Verdict
from contrib_watch.pipeline.brake import paused
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.expected import absences
from contrib_watch.pipeline.inbox import SeenState, Sight, last_sight, sights
from contrib_watch.store import Lock, SeenFile, daily_backups, last_of_kind, utc_text

_FACTS = {"version": "program", "config": "configuration", "dictionary": "dictionary", "holidays": "holidays"}
"""What a process goes by as it was at its start, by its name in the record."""
NOT_SEEN_YET = "not seen yet"
NOT_WATCHED = "not watched"
NOT_THERE = "not there"


def status_of(desk: Desk) -> dict[str, Any]:
    """The feeds with their files, the newest drops, what is held, what failed, and the connection, as JSON.

    ``state`` has its ``folder`` and ``id``, ``shortage`` (why no file is taken for want of room, or empty), and the
    newest daily ``backup`` (or empty). ``changed_since_start`` names what the running process does not know of as it
    is now: ``program``, ``configuration``, ``dictionary``, ``holidays``. ``connection`` has ``state``, ``reason``,
    ``since_utc`` and, where another try is made, ``next_try_utc``; so has each of ``services_down``, by Service:
    posts for it wait, because its source takes none. ``running`` is the pid of the process that sends, or null:
    nobody sends. ``presence`` is what the last read-back of all or of a sample found: ``state`` is ``never checked``,
    ``fine``, ``suspect`` (all of it is read back, or will be), ``repairing``, ``repaired``, ``incomplete`` (some of
    it could not be repaired), ``unreadable`` (this user may not read items back) or ``resent`` (a person had all of
    it posted again since); beside it ``at_utc``, ``why``, counts of items. ``paused`` has, by feed, who paused it and
    ``since_utc``; ``missing_files`` the files that were due and did not come. ``now_utc`` is when this was asked.
    Each of ``feeds`` has:

    - ``feed``, ``folder``, and ``drops``, the number of drops by status;
    - ``last_scan_utc``: when the folder was last looked at; ``last_good_scan_utc``: when that last succeeded, and
      what ``files`` tells of; ``outage``: why the last look failed, or empty;
    - ``files``, every entry of the folder: ``name``; ``state``; ``reason``, a sentence or empty; ``drop``, the number
      of the drop that came of it or has the same content, or null; ``taken_in_s``, the seconds until it is taken if
      it does not change, or null.

    A file's ``state`` is ``settling``, ``being written``, ``waiting for its marker``, ``found`` (nobody runs who
    would take it), ``postponed`` (complete, but nothing may be taken at present), ``ignored``, ``unreadable``,
    ``same`` (the content of an earlier drop), ``backlog`` (old when the feed was first watched), or the status of
    its drop: ``waiting``, ``sending``, ``done``, ``held``, ``rejected``, ``failed``.
    """
    running = Lock.holder(desk.settings.state.url)
    seen = {name: last_sight(desk, name) for name in desk.feeds} if running else sights(desk)
    with desk.state.transaction():
        counts = desk.drops.counts()
        return {
            "target": desk.settings.ads.target,
            "state": _state(desk),
            "running": running,
            "changed_since_start": _changed_since_start(desk, running),
            "now_utc": utc_text(desk.clock.utc()),
            "connection": json.loads(desk.state.get("connection") or '{"state": "never tried"}'),
            "services_down": json.loads(desk.state.get("services_down") or "{}"),
            "presence": json.loads(desk.state.get("presence") or '{"state": "never checked"}'),
            **desk.ledger.uncertain(),
            "paused": paused(desk),
            "missing_files": [
                {"feed": one.feed, "day": str(one.day), "due_utc": utc_text(one.due_utc)} for one in absences(desk)
            ],
            "feeds": [_feed(desk, name, sight, counts.get(name, {})) for name, sight in seen.items()],
            "waiting_for_a_decision": [_drop(desk, drop) for drop in desk.drops.with_status(DropStatus.HELD)],
            "failed": [_drop(desk, drop) for drop in desk.drops.with_status(DropStatus.FAILED)],
            "drops": [_drop(desk, drop) for drop in desk.drops.recent()],
        }


def answers(found: Mapping[str, Any], asked: Sequence[Path]) -> list[dict[str, Any]]:
    """What became of single files: by name alone, in any feed's folder; or by path.

    ``found`` is what status_of says. Each answer has ``asked``, ``feed`` (or null), what status_of has for a file,
    and the ``totals`` and ``report`` of its drop where that is among the newest (else null); its ``state`` may also
    be ``not seen yet``, ``not watched`` or ``not there``. A name in the folders of two feeds has two answers.
    """
    drops = {drop["drop"]: drop for drop in (*found["waiting_for_a_decision"], *found["failed"], *found["drops"])}
    answered = []
    for path in asked:
        for answer in _answers(found, path):
            drop = drops.get(answer["drop"], {})
            answered.append(
                {"asked": str(path), **answer, "totals": drop.get("totals"), "report": drop.get("report")}
            )
    return answered


def _answers(found: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    by_name = path.name == str(path) and not path.exists()
    here = [feed for feed in found["feeds"] if by_name or _same_folder(feed["folder"], path)]
    listed = [{"feed": feed["feed"], **file} for feed in here for file in feed["files"] if file["name"] == path.name]
    return listed or [_unlisted(found, here, path)]


def _unlisted(found: Mapping[str, Any], here: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Any]:
    """The answer for a file that no folder's listing has."""
    feed = here[0]["feed"] if len(here) == 1 else None
    of_path = [drop for drop in found["drops"] if Path(drop["file"]).name == path.name]
    gone = {"feed": feed, "name": path.name, "drop": of_path[0]["drop"] if of_path else None, "taken_in_s": None}
    if not path.exists():
        earlier = f"; drop {gone['drop']} was a file of this name" if of_path else ""
        return gone | {"state": NOT_THERE, "reason": f"there is no such file in the folder of any feed{earlier}"}
    if here:
        seen = here[0]["outage"] or f"the last good scan was at {here[0]['last_good_scan_utc'] or '(never)'}"
        return gone | {"state": NOT_SEEN_YET, "reason": f"it lies in the feed's folder, but {seen}"}
    above = [one for one in found["feeds"] if Path(one["folder"]).resolve() in path.resolve().parents]
    if above:
        reason = f"it lies in a folder within {above[0]['folder']}: only files directly in a feed's folder are read"
    else:
        folders = ", ".join(f"{one['folder']} ({one['feed']})" for one in found["feeds"])
        reason = f"no feed watches its folder; the feeds' folders are {folders}"
    return gone | {"state": NOT_WATCHED, "reason": reason}


def _same_folder(folder: str, path: Path) -> bool:
    # The path's folder is resolved and not the path, which may be a link.
    return Path(folder).resolve() == path.absolute().parent.resolve()


def _changed_since_start(desk: Desk, running: int | None) -> list[str]:
    begun = last_of_kind(desk.state, "start")
    if begun is None or begun["pid"] != running:  # a command that posts is none, and its configuration is of just now
        return []
    now = desk.environment.facts()
    return [what for fact, what in _FACTS.items() if begun.get(fact, now[fact]) != now[fact]]


def _state(desk: Desk) -> dict[str, str]:
    folder = desk.settings.state.folder
    newest = max(map(str, daily_backups(folder)), default="")
    return {"folder": str(folder), "id": desk.state.state_id, "shortage": desk.shortage(), "backup": newest}


def _feed(desk: Desk, name: str, sight: Sight, drops: Mapping[str, int]) -> dict[str, Any]:
    decided = {file.name: file for file in desk.drops.files(name)}
    folder, outage = Path(desk.feeds[name].folder), sight.outage
    if outage and desk.settings.ads.simulated and not folder.exists():
        outage = "it is not there; the next run makes it"  # as it does where the program is tried out
    return {
        "feed": name,
        "folder": str(folder),
        "last_scan_utc": sight.at_utc,
        "last_good_scan_utc": sight.good_utc,
        "outage": outage,
        "drops": drops,
        "files": [_file(desk, file, seen, decided.get(file)) for file, seen in sorted(sight.files.items())],
    }


def _file(desk: Desk, name: str, seen: SeenState, decided: SeenFile | None) -> dict[str, Any]:
    state, reason, drop_id = seen.state, seen.reason, None
    if decided is not None and state in (FileStatus.KNOWN, FileStatus.TAKEN):
        state, reason, drop_id = decided.state, decided.reason, decided.drop_id
        if drop_id is not None and state != Verdict.SAME:
            drop = desk.drops.drop(drop_id)
            state, reason = drop.status.value, drop.reason or drop.held_because
    return {
        "name": name,
        "state": str(state),
        "reason": reason,
        "drop": drop_id,
        "taken_in_s": _remaining_s(desk, seen.due_utc),
    }


def _remaining_s(desk: Desk, due_utc: str) -> float | None:
    if not due_utc:
        return None
    return round(max(0.0, (datetime.fromisoformat(due_utc) - desk.clock.utc()).total_seconds()), 1)


def _drop(desk: Desk, drop: Drop) -> dict[str, Any]:
    report = desk.drops.report(drop)
    return {
        "drop": drop.id,
        "feed": drop.feed,
        "file": drop.path,
        "sha256": drop.sha256,
        "owner": drop.owner,
        "status": drop.status.value,
        "reason": drop.reason or drop.held_because,
        "seen_at_utc": utc_text(drop.seen_at_utc),
        "totals": desk.drops.totals(drop),
        "report": str(Path(report.folder) / f"{report.base}.ack.csv") if report and report.whole else None,
    }
