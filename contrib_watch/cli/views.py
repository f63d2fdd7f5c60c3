"""What commands print: tables for people on stdout, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from contrib_watch.cli.checking import Finding
from contrib_watch.cli.previewing import Preview
from contrib_watch.cli.terminal import (
    SHOWN,
    coloured,
    counted,
    escape,
    print_list,
    print_more,
    print_table,
    stdout,
    visible,
)
from contrib_watch.core.model import CLEARED, Post, Status
from contrib_watch.core.posts import posts
from contrib_watch.core.settle import OWN_REPORT
from contrib_watch.core.tokens import unquoted
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.ending import Finished
from contrib_watch.pipeline.inbox import LeftFile
from contrib_watch.store import PENDING

ALIKE_SHOWN = 8
"""Files of a feed that are in the same state for the same reason, and are still listed one by one."""
SILENCE_S = 60.0
"""A running process scans every few seconds: after this long without a scan, its folder does not answer."""
_CALM = ("same", "done", "ignored")
"""The states of files about which nobody has to do anything, in the order in which they are listed."""


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def run_json(
    finished: Iterable[Finished], left: Iterable[LeftFile], *, stopped: bool, waiting: int
) -> dict[str, Any]:
    """``run --once --json``: what became of each drop of this run, and the files that could not be taken.

    ``stopped``: somebody stopped it; ``waiting``: so many drops wait to be sent.
    """
    return {
        "drops": [
            {
                "drop": one.drop.id,
                "feed": one.drop.feed,
                "file": one.drop.path,
                "status": one.drop.status.value,
                "totals": one.totals,
                "report": str(one.report) if one.report else None,
            }
            for one in finished
        ],
        "files": [
            {"feed": one.feed, "name": one.name, "state": one.state.value, "reason": one.reason} for one in left
        ],
        "stopped": stopped,
        "waiting": waiting,
    }


def preview_json(preview: Preview) -> dict[str, Any]:
    """``preview --json``: every post and every problem."""
    return {
        "file": str(preview.file),
        "feed": preview.feed.name,
        "service": preview.feed.service,
        "rows_read": preview.quotes.rows_read,
        "held": preview.held,
        "rejected": preview.rejected,
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
        "hints": [{"where": hint.where, "text": hint.text, "declare": list(hint.choices)} for hint in preview.hints],
        "missing": list(preview.changes.missing),
        "warnings": list(preview.warnings),
    }


def print_preview(preview: Preview) -> None:
    """Old and new values side by side, what would be rejected and why, and a one-line sum."""
    console = stdout()
    shown = list(posts(preview.planned.slice(0, SHOWN)))
    changed, new = [], []
    for post in shown:
        values = _old_and_new(preview, post)
        place = (preview.quotes.label(post.row), escape(post.ric), post.action.value)
        if any(old for _, old, _ in values):
            for name, old, value in values:
                changed.append((*place, name, escape(old), f"[bold]{escape(value)}[/]"))
                place = ("", "", "")
        else:
            new.append((*place[:2], escape(post.changes or "all of its values once more")))
    service = escape(preview.feed.service)
    if changed:
        print_table(console, f"changes for {service}", ("row", "RIC", "post", "field", "now", "new"), changed)
    if new:
        print_table(console, f"new for {service}", ("row", "RIC", "values"), new)
    if len(preview.planned) > SHOWN:
        print_more(console, len(preview.planned) - SHOWN)
    if preview.problems:
        reasons = [(escape(one.where), escape(f'"{one.text}" {one.cause}: {one.mend}')) for one in preview.problems]
        print_list(console, "would be rejected", reasons)
    for hint in preview.hints:
        console.print(f"[cyan]hint:[/] {escape(str(hint))}")
    for warning in preview.warnings:
        console.print(f"[yellow]note:[/] {escape(warning)}")
    if preview.changes.missing:
        console.print(f"[yellow]missing from this list:[/] {escape(_some(preview.changes.missing))}")
    if preview.held:
        fate = "rejected as a whole" if preview.rejected else "held"
        console.print(f"[yellow]It would be {fate}:[/] {escape(preview.held)}")
    sums = _sums(preview)
    console.print(
        f"{plural(preview.quotes.rows_read, 'row')}: {sums['refresh']:,} to refresh, {sums['update']:,} to update, "
        f"{sums['unchanged']:,} unchanged, {sums['rejected']:,} rejected. Nothing was sent."
    )


def print_checks(findings: Sequence[Finding]) -> None:
    """A line for each check."""
    marks = {True: "[green]ok[/]", False: "[bold red]FAIL[/]"}
    rows = [(marks[one.ok], escape(f"{one.subject}: {one.text}")) for one in findings]
    print_list(stdout(), "", rows)


def print_status(found: Mapping[str, Any]) -> None:
    """The feeds, the files that are no drops and why, and the newest drops."""
    console = stdout()
    console.print(_connection(found), markup=False)
    for line in _alerts(found):
        console.print(line)
    console.print()
    feeds = []
    for feed in found["feeds"]:
        seen = _last_scan(feed, found["now_utc"], running=found["running"])
        feeds.append((escape(feed["feed"]), escape(feed["folder"]), seen, counted(feed["drops"].items())))
    scanned = "last good scan (UTC)" if found["running"] else "looked at just now"
    print_table(console, "feeds", ("feed", "folder", scanned, "drops"), feeds)
    files = [row for feed in found["feeds"] for row in _files(feed)]
    if files:
        print_table(console, "files", ("feed", "file", "state", ">drop", "why"), files)
    _print_drops(console, "waiting for a decision", found["waiting_for_a_decision"])
    _print_drops(console, "failed: do what the reason says; `retry` processes a drop again", found["failed"])
    _print_drops(console, "newest drops", found["drops"])
    own = Path(found["state"]["folder"]) / "reports"
    diverted = [str(drop["drop"]) for drop in found["drops"] if drop["report"] and Path(drop["report"]).parent == own]
    if diverted:
        where = f"not beside its file but in {own}: the report of drop {', '.join(diverted)}"
        console.print(f"[yellow]{escape(where)}[/]")
    over = [drop for drop in found["drops"] if drop["status"] not in PENDING]
    if unwritten := [str(drop["drop"]) for drop in over if not drop["report"]]:
        what = f"not written: the report of drop {', '.join(unwritten)}; the log tells why"
        console.print(f"[yellow]{escape(what)}[/]")


def _connection(found: Mapping[str, Any]) -> str:
    """The target, who sends to it, and whether there is a connection."""
    running = f"process {found['running']}" if found["running"] else "no process, so nothing is sent"
    connection = found["connection"]
    reason = f" ({connection['reason']})" if connection.get("reason") else ""
    since = f" since {_moment(connection['since_utc'])} UTC" if connection.get("since_utc") else ""
    was_killed = connection["state"] == "up" and not found["running"]
    state = "lost with its process; it was up" if was_killed else connection["state"]
    told = f"target {found['target']}; run by {running}; connection {state}{since}{reason}"
    return told + (_next_try(connection, found["now_utc"]) if found["running"] else "")


def _alerts(found: Mapping[str, Any]) -> Iterator[str]:
    """What keeps prices from going out, leaves their fate unknown, or is not as somebody may believe."""
    if found["changed_since_start"]:
        what = ", ".join(found["changed_since_start"])
        yield f"[yellow]changed since the process started, which goes on by what was then: {what}; restart it[/]"
    for service, down in found["services_down"].items() if found["running"] else ():
        yield (
            f"[bold red]Service {escape(service)} is down[/] since {_moment(down['since_utc'])} UTC, its posts wait: "
            f"{escape(down['reason'])}{_next_try(down, found['now_utc'])}"
        )
    if found["in_flight"] or found["dirty"]:
        yield (
            f"[yellow]{plural(found['in_flight'], 'RIC')} in flight, {found['dirty']:,} of unknown fate: "
            "their next post is a full Refresh[/]"
        )
    yield from _presence(found["presence"], found["paused"])
    for name, told in found["paused"].items():
        why = f": {told['why']}" if told["why"] else ""
        since = _moment(told["since_utc"])
        yield f"[bold yellow]{escape(name)} is paused[/] by {escape(told['name'] + why)}, since {since} UTC"
    for absence in found["missing_files"]:
        due = f"on {absence['day']}, due at {_moment(absence['due_utc'])} UTC"
        yield f"[bold yellow]No file came for {escape(absence['feed'])}[/] {due}"
    if found["state"]["shortage"]:
        yield f"[bold red]No file is taken:[/] {escape(found['state']['shortage'])}"


def print_answers(answers: Iterable[Mapping[str, Any]]) -> None:
    """``status FILE``: what became of each file, and why."""
    for one in answers:
        place = f"{one['name']} ({one['feed']})" if one["feed"] else one["asked"]
        drop = f" (drop {one['drop']})" if one["drop"] else ""
        rows = ", ".join(f"{count:,} {status}" for status, count in (one["totals"] or {}).items() if count)
        report = f"report {one['report']}" if one["report"] else ""
        told = [visible(text) for text in (_reason(one), rows, report) if text]
        click.echo(": ".join((visible(place), f"{one['state']}{drop}", *(["; ".join(told)] if told else []))))


def print_outcomes(finished: Iterable[Finished]) -> None:
    """A line for each drop with its row counts, why it stopped, and where the reports are."""
    console = stdout()
    drops = sorted(finished, key=lambda one: one.drop.id)
    statuses = [status for status in Status if any(one.totals.get(status) for one in drops)]
    rows = [
        (
            str(one.drop.id),
            escape(one.drop.feed),
            escape(Path(one.drop.path).name),
            *(f"{one.totals.get(status, 0):,}" for status in statuses),
        )
        for one in drops
    ]
    headers = (">drop", "feed", "file", *(f">{status.value}" for status in statuses))
    print_table(console, "drops and their rows", headers, rows, gap=1)
    stopped = [
        (f"drop {one.drop.id} {coloured(one.drop.status.value)}", escape(one.drop.reason))
        for one in drops
        if one.drop.reason
    ]
    if stopped:
        print_list(console, "why", stopped)
    reports = [one.report for one in drops if one.report]
    if reports:
        click.echo("reports")
    for report in reports[:SHOWN]:
        click.echo(f"  {visible(str(report.with_suffix('.html')))}")
    if len(reports) > SHOWN:
        print_more(console, len(reports) - SHOWN)


def print_left(left: Iterable[LeftFile]) -> None:
    """A line on stderr for each file that a run could not take."""
    for one in left:
        click.echo(visible(f"not taken: {one.name} ({one.feed}): {one.reason}"), err=True)


def _presence(presence: Mapping[str, Any], paused: Collection[str]) -> Iterator[str]:
    """Whether the ADS still holds what it acknowledged, as far as that was looked at."""
    state, why = presence["state"], escape(presence.get("why", ""))
    counts = ", ".join(
        f"{presence[name]:,} {name.replace('_', ' ')}" for name in _PRESENCE_COUNTS if presence.get(name)
    )
    at = f"{_moment(presence['at_utc'])} UTC" if "at_utc" in presence else ""
    lost = presence.get("missing", 0) + presence.get("different", 0)
    known = presence.get("still_wrong", 0)
    but = f", but for {known:,} that it keeps otherwise, as told before; see `reconcile`" if known else ""
    if state == "fine":
        yield f"the ADS held what it had acknowledged: {plural(presence['items'], 'item')} read back at {at}{but}"
        if unread := presence.get("unreadable", 0):
            what = f"{plural(unread, 'item')} of this sample cannot be read back"
            yield f"[yellow]{what}[/], so that a loss of such would go unseen: {why}"
    elif state == "suspect":
        yield f"[bold yellow]The ADS may have lost what it acknowledged[/] ({at}): {why}"
    elif state == "repairing":
        again = "to be posted again once no feed is paused" if paused else "posting it again"
        yield f"[bold yellow]The ADS did not hold what it had acknowledged[/] ({at}): {counts}; {again}"
    elif state == "repaired" and lost:
        yield f"[yellow]The ADS did not hold what it had acknowledged[/]; all was posted again at {at}: {counts}"
    elif state == "repaired" and not presence["items"]:
        yield f"nothing that the ADS has acknowledged is of a configured feed: no item was to be read back at {at}"
    elif state == "repaired":
        yield f"the ADS held all that it had acknowledged: {plural(presence['items'], 'item')} read back at {at}{but}"
    elif state == "incomplete":
        verb = "does" if known or presence.get("nakked") else "may"
        yield f"[bold red]The ADS {verb} not hold all that it acknowledged[/] ({at}): {counts}; see `reconcile`"
    elif state == "resent":
        yield f"all that the ADS should hold was posted again at {at}: {counts}"
    elif state == "unreadable":
        yield f"[yellow]Items cannot be read back[/], so that a loss would go unseen: {why}"


_PRESENCE_COUNTS = (
    "items",
    "missing",
    "different",
    "acked",
    "nakked",
    "unconfirmed",
    "left_to_drops",
    "in_doubt",
    "still_wrong",
    "unreadable",
)


def _old_and_new(preview: Preview, post: Post) -> list[tuple[str, str, str]]:
    """The fields that a post changes: name, what the ADS holds (empty: nothing) and what it would hold."""
    given, held = preview.changes.given, preview.changes.held
    index = preview.changes.rics.get_loc(post.ric)
    return [
        (
            name,
            _readable(held[name][index].as_py() if name in held else None),
            _readable(given[name][index].as_py()) if name in given else "",
        )
        for name in post.changed.split(",")
        if name
    ]


def _readable(token: object) -> str:
    """A token as people write it."""
    if not isinstance(token, str):
        return ""
    if token == CLEARED:
        return "(cleared)"
    return unquoted(token)


def _sums(preview: Preview) -> dict[str, int]:
    actions = Counter(preview.planned["action"].to_pylist())
    rejected = len({problem.row for problem in preview.problems})
    posted = sum(1 + len(preview.quotes.twins.get(ric, ())) for ric in preview.planned["ric"].to_pylist())
    return {
        "refresh": actions["Refresh"],
        "update": actions["Update"],
        "unchanged": preview.quotes.rows_read - rejected - posted,
        "rejected": rejected,
    }


def _some(rics: Sequence[str]) -> str:
    more = len(rics) - SHOWN
    return ", ".join(rics[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _moment(utc: str) -> str:
    """``2026-11-22T16:30:00.123Z`` to the second, as people read it."""
    return utc[:19].replace("T", " ")


def _last_scan(feed: Mapping[str, Any], now_utc: str, *, running: bool) -> str:
    """When the folder could last be read, and since how long it cannot."""
    good = feed["last_good_scan_utc"]
    age_s = (datetime.fromisoformat(now_utc) - datetime.fromisoformat(good)).total_seconds() if good else 0.0
    since = f"{_duration(age_s)} ago" if age_s >= 0 else "by a clock that was set back since"
    when = f"{_moment(good)} ({since})" if good else "never"
    if feed["outage"]:
        return f"[red]{escape(feed['outage'])}[/]; last read {when}"
    if not running:
        return "yes"
    return f"[red]no answer since[/] {when}" if age_s > SILENCE_S else when


def _next_try(told: Mapping[str, str], now_utc: str) -> str:
    """``, next try in 12 s``; empty where none is made."""
    if "next_try_utc" not in told:
        return ""
    left_s = (datetime.fromisoformat(told["next_try_utc"]) - datetime.fromisoformat(now_utc)).total_seconds()
    return f", next try in {_duration(left_s)}" if left_s >= 1 else ", trying now"


def _duration(duration_s: float) -> str:
    """``40 s``, ``12 min``, ``30 h``, ``4 days``"""
    if duration_s < 120:
        return f"{duration_s:.0f} s"
    if duration_s < 7200:
        return f"{duration_s / 60:.0f} min"
    return f"{duration_s / 3600:.0f} h" if duration_s < 172_800 else f"{duration_s / 86_400:.0f} days"


def _files(feed: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """All files of a feed, what needs a person first; many that are alike are told as one example and a count."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for file in feed["files"]:
        alike.setdefault((file["state"], file["reason"]), []).append(file)
    for (state, reason), files in sorted(alike.items(), key=_urgency):
        if reason == OWN_REPORT:
            yield escape(feed["feed"]), f"({plural(len(files), 'file')})", state, "", reason
            continue
        one_by_one = files if len(files) <= ALIKE_SHOWN else files[:1]
        for file in one_by_one:
            more = len(files) - len(one_by_one)
            name = f"{file['name']} and {more:,} more" if more else file["name"]
            drop = str(file["drop"]) if file["drop"] and not more else ""
            yield escape(feed["feed"]), escape(name), coloured(state), drop, escape(_reason(file))


def _urgency(alike: tuple[tuple[str, str], object]) -> tuple[int, str, str]:
    (state, reason), _ = alike
    if reason == OWN_REPORT:
        return len(_CALM) + 1, state, reason
    return (_CALM.index(state) + 1 if state in _CALM else 0), state, reason


def _reason(file: Mapping[str, Any]) -> str:
    """Why a file is where it is, with the seconds that it still has to wait."""
    if file["taken_in_s"] is None:
        return str(file["reason"])
    return f"{file['reason']}: in {file['taken_in_s']:.1f} s"


def _print_drops(console: Console, title: str, drops: Sequence[Mapping[str, Any]]) -> None:
    if not drops:
        return
    rows = [
        (
            str(drop["drop"]),
            escape(drop["feed"]),
            escape(Path(drop["file"]).name),
            coloured(drop["status"]),
            counted(drop["totals"].items()),
            escape(drop["reason"]),
        )
        for drop in drops
    ]
    print_table(console, title, (">drop", "feed", "file", "status", "rows", "why"), rows)
