"""Where everything stands, from the record alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contrib_watch.core.model import Drop, DropStatus
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inbox import last_scan
from contrib_watch.store import Lock, utc_text


def status_of(desk: Desk) -> dict[str, Any]:
    """The feeds with their files, the newest drops, what waits for a decision, and the connection, as JSON."""
    with desk.state.transaction():
        waiting = desk.drops.with_status(DropStatus.HELD, DropStatus.FAILED)
        return {
            "target": desk.settings.ads.target,
            "state": {"folder": str(desk.settings.state.folder), "id": desk.state.state_id},
            "running": Lock.holder(desk.settings.state.folder),
            "connection": json.loads(desk.state.get("connection") or '{"state": "never tried"}'),
            **desk.ledger.uncertain(),
            "feeds": [_feed(desk, name) for name in desk.feeds],
            "waiting_for_a_decision": [_drop(desk, drop) for drop in waiting],
            "drops": [_drop(desk, drop) for drop in desk.drops.recent()],
        }


def _feed(desk: Desk, name: str) -> dict[str, Any]:
    scan = last_scan(desk, name)
    files = {file.name: (file.state, file.reason, file.drop_id) for file in desk.drops.files(name)}
    files |= {file: (state, reason, None) for file, (state, reason) in scan["files"].items()}
    return {
        "feed": name,
        "folder": str(desk.feeds[name].folder),
        "last_scan_utc": scan["at_utc"],
        "outage": scan["outage"],
        "drops": desk.drops.counts().get(name, {}),
        "files": [
            {"name": file, "state": state, "reason": reason, "drop": drop}
            for file, (state, reason, drop) in sorted(files.items())
        ],
    }


def _drop(desk: Desk, drop: Drop) -> dict[str, Any]:
    report = desk.drops.report(drop)
    return {
        "drop": drop.id,
        "feed": drop.feed,
        "file": drop.path,
        "sha256": drop.sha256,
        "owner": drop.owner,
        "status": drop.status.value,
        "reason": drop.reason,
        "seen_at_utc": utc_text(drop.seen_at_utc),
        "totals": desk.drops.totals(drop),
        "report": str(Path(report.folder) / f"{report.base}.ack.csv") if report and report.whole else None,
    }
