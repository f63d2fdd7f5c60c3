"""Reports made again from the record and the kept bytes alone, under what their drops were processed under."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import structlog

from contrib_watch.adapters.report_files import csv_bytes, page
from contrib_watch.config import Settings, parse, parse_dictionary
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Drop, DropStatus, Feed, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.core.report import Report, build_report
from contrib_watch.core.report_rows import COLUMNS
from contrib_watch.core.restating import restated
from contrib_watch.errors import ConfigurationError, ContribWatchError, StateError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import Witness
from contrib_watch.store.record import of_kind, report_record, run_record

log = structlog.get_logger()


@dataclass(frozen=True)
class Replay:
    """A report that was made again, and what it is compared with."""

    report: Report
    files: Mapping[str, bytes]
    """File name to what stands in it: the CSV and the page."""
    recorded: Mapping[str, str]
    """File name to SHA-256 (hex) of what was written then; empty: it was never written."""
    folder: Path


def replay(desk: Desk, drop_id: int, run: int | None, environ: Mapping[str, str]) -> Replay:
    """Make the report of a drop's processing (default: the last) again.

    Raises ConfigurationError where there is no such drop or run, StateError where its bytes, its configuration or its
    dictionary are not kept any more.
    """
    drop = desk.drop_named(drop_id)
    drop = replace(drop, run=run or drop.run)
    report = rebuilt(desk, drop, environ)
    name = desk.drops.report(drop)
    if name is None:
        raise StateError(f"drop {drop.id}, run {drop.run}, has no report")
    table = csv_bytes(report)
    html = page(report, hashlib.sha256(table).hexdigest()).encode()
    files = {f"{name.base}.ack.csv": table, f"{name.base}.ack.html": html}
    written = report_record(desk.state, drop.id, drop.run)
    return Replay(report, files, written[1]["sha256"] if written else {}, Path(name.folder))


def rebuilt(desk: Desk, drop: Drop, environ: Mapping[str, str] | None = None) -> Report:
    """The report of a run of a drop that is over, as it was then or would have been; raises as :func:`replay` does.

    ``environ`` may hold secrets, of which no report needs any.
    """
    found = run_record(desk.state, drop.id, drop.run)
    if found is None:
        raise ConfigurationError(f"drop {drop.id} has no run {drop.run} that is over and recorded")
    record, told = found
    drop = replace(drop, status=DropStatus(told["status"]), reason=told["reason"])
    return build_report(
        drop=drop,
        service=told["service"],
        target=told["target"],
        simulated=told["simulated"],
        version=told["version"],
        config_hash=told["config"],
        state_id=desk.state.state_id,
        local_tz=timezone(timedelta(seconds=told["utc_offset_s"])),
        quotes=_quotes(desk, drop, told, environ or {}) if told["read"] else None,
        outcomes=desk.ledger.outcomes(drop, COLUMNS),
        findings=Findings.of(told["findings"]),
        unreadable="" if told["read"] else drop.reason,
        witness=Witness(record.number, record.sha256),
    )


def _quotes(desk: Desk, drop: Drop, told: Mapping[str, Any], environ: Mapping[str, str]) -> Quotes:
    """The drop's bytes, read as they were then."""
    settings, dictionary = environment(desk, told, environ)
    feed = next((feed for feed in settings.feeds if feed.name == drop.feed), None)
    if feed is None:
        raise StateError(f"the configuration {settings.sha256} has no feed {drop.feed!r}")
    feed = restated(feed) if drop.origin else feed
    desk.check_copy(drop)
    cells = desk.reader.read_cells(desk.unpacked(drop.sha256), Path(drop.path).name, feed)
    return read_quotes(cells, feed, dictionary)


def environment(desk: Desk, told: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Settings, Dictionary]:
    """The settings and the dictionary that a record names (Environment.facts), from their kept bytes where they are
    not today's.
    """
    now, hashes, dictionary = desk.environment, told["dictionary"], desk.dictionary
    if tuple(hashes) != now.dictionary:
        dictionary = parse_dictionary(*map(desk.bytes_of, hashes))
    return _settings(desk, told, environ), dictionary


def _settings(desk: Desk, told: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    now = desk.environment
    # Records of earlier versions do not tell of holidays.
    holidays = {feed: desk.bytes_of(listed) for feed, listed in told.get("holidays", {}).items()}
    if (told["config"], told.get("holidays")) == (now.config, now.holidays):
        return desk.settings
    return parse(desk.bytes_of(told["config"]), desk.settings.path, environ, holidays=holidays)


def as_begun(desk: Desk, drop: Drop) -> Desk | None:
    """The desk, with the drop's feed posting to the Service to which this run of the drop began to be sent.

    A feed that is no longer configured is as it last was; None where no configuration that is kept, and that this
    version can read, has it.
    """
    feed = desk.feeds.get(drop.feed) or _last_known(desk, drop.feed)
    if feed is None:
        return None
    if (begun := desk.drops.begun(drop)) is not None:
        feed = replace(feed, service=begun.service)
    return replace(desk, feeds={**desk.feeds, drop.feed: feed})


def _last_known(desk: Desk, name: str) -> Feed | None:
    for told in of_kind(desk.state, "environment"):
        try:
            feeds = _settings(desk, told, {}).feeds
        except ContribWatchError as error:
            log.debug("a configuration of before cannot be read", sha256=told["config"], why=str(error))
            continue
        if found := [feed for feed in feeds if feed.name == name]:
            return found[0]
    return None
