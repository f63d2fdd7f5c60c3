"""What commands print: tables for people on stdout, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contrib_watch.cli.checking import Finding
from contrib_watch.cli.previewing import Preview
from contrib_watch.core.model import Status
from contrib_watch.core.posts import posts
from contrib_watch.pipeline.loop import Finished

SHOWN = 40
"""Rows of a table on the terminal; ``--json`` has them all."""

_COLOURS = {
    "acked": "green",
    "unchanged": "dim",
    "done": "green",
    "nakked": "red",
    "rejected": "red",
    "failed": "red",
    "held": "yellow",
    "unconfirmed": "yellow",
    "superseded": "dim",
}


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def drops_json(finished: Iterable[Finished]) -> dict[str, Any]:
    """``run --once --json``: what became of each drop of this run."""
    return {
        "drops": [
            {
                "drop": one.drop.id,
                "feed": one.drop.feed,
                "file": one.drop.path,
                "status": one.drop.status.value,
                "totals": one.totals,
                "report": str(one.report) if one.report != Path() else None,
            }
            for one in finished
        ]
    }


def preview_json(preview: Preview) -> dict[str, Any]:
    """``preview --json``: every post and every problem."""
    return {
        "file": str(preview.file),
        "feed": preview.feed.name,
        "service": preview.feed.service,
        "rows_read": preview.quotes.rows_read,
        "held": preview.held,
        "totals": _sums(preview),
        "posts": [
            {
                "row": preview.quotes.label(post.row),
                "ric": post.ric,
                "action": post.action.value,
                "changes": post.changes,
                "fields": json.loads(post.fields),
                "note": post.note,
            }
            for post in posts(preview.planned)
        ],
        "problems": [
            {
                "row": preview.quotes.label(problem.row),
                "ric": problem.ric,
                "where": problem.where,
                "text": problem.text,
                "cause": problem.cause,
                "mend": problem.mend,
            }
            for problem in preview.problems
        ],
        "missing": list(preview.changes.missing),
        "warnings": list(preview.quotes.warnings),
    }


def print_preview(preview: Preview) -> None:
    """Old and new values side by side, what would be rejected and why, and a one-line sum."""
    console = Console()
    if len(preview.planned):
        table = Table("row", "RIC", "", "field", "now", "new", title=f"would be posted to {preview.feed.service}")
        for cells in _value_rows(preview):
            table.add_row(*cells)
        console.print(table)
        if len(preview.planned) > SHOWN:
            console.print(f"... and {len(preview.planned) - SHOWN:,} more RICs; --json has them all")
    if preview.problems:
        table = Table("where", "text", "what is wrong", "how to mend it", title="would be rejected")
        for problem in preview.problems[:SHOWN]:
            table.add_row(*(escape(text) for text in (problem.where, problem.text, problem.cause, problem.mend)))
        console.print(table)
        if len(preview.problems) > SHOWN:
            console.print(f"... and {len(preview.problems) - SHOWN:,} more; --json has them all")
    for warning in preview.quotes.warnings:
        console.print(f"[yellow]note:[/] {escape(warning)}")
    if preview.held:
        console.print(f"[yellow]It would be held:[/] {escape(preview.held)}")
    sums = _sums(preview)
    console.print(
        f"{preview.quotes.rows_read:,} rows: {sums['refresh']:,} to refresh, {sums['update']:,} to update, "
        f"{sums['unchanged']:,} unchanged, {sums['rejected']:,} rejected. Nothing was sent."
    )


def print_checks(findings: Sequence[Finding]) -> None:
    """One line a check."""
    console = Console()
    for finding in findings:
        mark = "[green]ok[/]  " if finding.ok else "[red]FAIL[/]"
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.text)}")


def print_status(found: Mapping[str, Any]) -> None:
    """The feeds, the files that are no drops and why, and the newest drops."""
    console = Console()
    connection = found["connection"]
    reason = f" ({connection['reason']})" if connection.get("reason") else ""
    since = f" since {connection['since_utc']}" if connection.get("since_utc") else ""
    console.print(f"target {found['target']}, connection {connection['state']}{since}{escape(reason)}")
    if found["in_flight"] or found["dirty"]:
        console.print(f"[yellow]{found['in_flight']:,} RICs in flight, {found['dirty']:,} of unknown fate[/]")
    feeds = Table("feed", "folder", "last scan (UTC)", "drops", title="feeds")
    for feed in found["feeds"]:
        counts = ", ".join(f"{count:,} {_coloured(status)}" for status, count in feed["drops"].items())
        seen = f"[red]{escape(feed['outage'])}[/]" if feed["outage"] else feed["last_scan_utc"] or "never"
        feeds.add_row(escape(feed["feed"]), escape(feed["folder"]), seen, counts)
    console.print(feeds)
    _print_files(console, found["feeds"])
    _print_drops(console, "waiting for a decision", found["waiting_for_a_decision"])
    _print_drops(console, "newest drops", found["drops"])


def print_outcomes(finished: Iterable[Finished]) -> None:
    """A line for each drop with its row counts, and where its report is."""
    table = Table("drop", "feed", "file", *(status.value for status in Status), title="drops")
    for one in finished:
        counts = [f"{one.totals.get(status, 0):,}" for status in Status]
        table.add_row(str(one.drop.id), one.drop.feed, Path(one.drop.path).name, *counts)
    Console().print(table)


def _value_rows(preview: Preview) -> Iterable[tuple[str, ...]]:
    given, held = preview.changes.given, preview.changes.held
    for post in posts(preview.planned.head(SHOWN)):
        names = [name for name in post.changed.split(",") if name]
        first = (preview.quotes.label(post.row), escape(post.ric), post.action.value)
        for name in names or ["(all)"]:
            new = given.at[post.ric, name] if name in given.columns else "as before"
            old = held.at[post.ric, name] if name in held.columns else None
            yield *first, name, escape(old) if isinstance(old, str) else "", f"[bold]{escape(str(new))}[/]"
            first = ("", "", "")


def _sums(preview: Preview) -> dict[str, int]:
    actions = preview.planned["action"].value_counts()
    rejected = len({problem.row for problem in preview.problems})
    posted = sum(1 + len(preview.quotes.twins.get(ric, ())) for ric in preview.planned.index)
    return {
        "refresh": int(actions.get("Refresh", 0)),
        "update": int(actions.get("Update", 0)),
        "unchanged": preview.quotes.rows_read - rejected - posted,
        "rejected": rejected,
    }


def _print_files(console: Console, feeds: Sequence[Mapping[str, Any]]) -> None:
    table = Table("feed", "file", "state", "why", title="files that are no drop")
    for feed in feeds:
        for file in feed["files"]:
            if file["state"] not in ("new", "held"):
                table.add_row(escape(feed["feed"]), escape(file["name"]), file["state"], escape(file["reason"]))
    if table.row_count:
        console.print(table)


def _print_drops(console: Console, title: str, drops: Sequence[Mapping[str, Any]]) -> None:
    if not drops:
        return
    table = Table("drop", "feed", "file", "status", "rows", "why", title=title)
    for drop in drops:
        rows = ", ".join(f"{count:,} {_coloured(status)}" for status, count in drop["totals"].items() if count)
        name = escape(Path(drop["file"]).name)
        table.add_row(str(drop["drop"]), drop["feed"], name, _coloured(drop["status"]), rows, escape(drop["reason"]))
    console.print(table)


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/]" if colour else status
