"""What ``audit`` asks the record, and how it prints the answers."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

import click

from contrib_watch.cli.terminal import escape, print_list, print_table, stdout, visible
from contrib_watch.cli.views import print_json
from contrib_watch.core.chain import path as path_to_root
from contrib_watch.core.model import CLEARED, DropStatus
from contrib_watch.core.report import spreadsheet_safe_text
from contrib_watch.core.tokens import tokens_of, unquoted
from contrib_watch.core.wording import plural
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.replay import replay
from contrib_watch.pipeline.upgrade import Difference, check_upgrade
from contrib_watch.store import utc_text
from contrib_watch.store.history import History
from contrib_watch.store.record import events, outcome_leaves, run_record

Told = dict[str, Any]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def show(found: Sequence[Mapping[str, Any]], shown: Sequence[str], as_json: bool, as_csv: bool) -> None:
    """Print a list of alike objects: JSON or CSV with all of their keys, or a table with those that are ``shown``."""
    if as_json:
        print_json(list(found))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(found[0]) if found else shown, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _flat(value) for key, value in one.items()} for one in found)
    elif found:
        rows = [[escape(_readable(one[key])) for key in shown] for one in found]
        print_table(stdout(), "", shown, rows)
    else:
        click.echo("nothing is recorded that fits", err=True)


def show_events(drop: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> None:
    """What a drop is, and what happened to it."""
    console = stdout()
    about = [(key, escape(_readable(value))) for key, value in drop.items() if value not in ("", None)]
    print_list(console, "", about)
    lines = [(f"record {one['record']}", escape(f"{one['at_utc']} {one['kind']} {one['text']}")) for one in told]
    print_list(console, "what happened", lines)


def bounds(since: str | None, until: str | None) -> tuple[str, str]:
    """Two times as the tables have them: from (included) and to (excluded); a date means all of its day."""
    return _utc(since) if since else "", _utc(until, end=True) if until else "~"


def of_ric(desk: Desk, ric: str, field: str, service: str, from_utc: str, to_utc: str) -> list[Told]:
    """Every value of an item, with all that is known of it."""
    found = History(desk.state).of_ric(ric, field=field, service=service, from_utc=from_utc, to_utc=to_utc)
    return [{**one._asdict(), "value": _plain(one.value)} for one in found]


def all_drops(desk: Desk, status: str, feed: str, from_utc: str, to_utc: str) -> list[Told]:
    """The drops of a time, a feed or a status; raises ConfigurationError for a status that there is not."""
    if status and status not in list(DropStatus):
        raise ConfigurationError(f"there is no status {status!r}", hint=f"They are: {', '.join(DropStatus)}")
    return History(desk.state).drops(status=status, feed=feed, from_utc=from_utc, to_utc=to_utc)


def one_drop(desk: Desk, drop_id: int, run: int | None = None) -> tuple[Told, list[Told]]:
    """A drop, and the outcomes of its rows (default: of all of its runs); ConfigurationError: no such drop."""
    history = History(desk.state)
    (found,) = history.drops(only=desk.drop_named(drop_id).id)
    return found, history.rows(drop_id, run)


def one_day(desk: Desk, day: str) -> list[Told]:
    """What became of the drops of a day; raises ConfigurationError for what is no date."""
    if not _is_date(day):
        raise ConfigurationError(f"{day!r} is no date", hint="Write 2026-11-22")
    return History(desk.state).day(*bounds(day, day))


def events_of(desk: Desk, drop_id: int) -> list[Told]:
    """The records of a drop, each with what it says in a few words."""
    told = []
    for one in events(desk.state, drop_id):
        record = json.loads(one.text)
        text = ", ".join(
            f"{key} {value}" for key, value in record["body"].items() if key in _SAID and value not in ("", None)
        )
        told.append({"record": one.number, "sha256": one.sha256, "at_utc": record["at_utc"], "kind": record["kind"]})
        told[-1] |= {"text": text, "body": record["body"]}
    return told


_SAID = (
    "run", "status", "reason", "held_because", "decision", "name", "source", "account", "why", "owner",
    "version", "config",
)  # fmt: skip


def values_as_of(desk: Desk, at: str, rics: Sequence[str]) -> list[Told]:
    """What the ADS had acknowledged by a time, or by the end of a date; a dict for each item and field."""
    return [
        {
            "service": one.service,
            "ric": one.ric,
            "field": name,
            "value": _plain(token),
            "acked_at_utc": one.acked_at_utc,
            "drop": one.drop,
            "file": one.file,
            "row": one.row,
        }
        for one in History(desk.state).as_of(_last_moment(at), rics)
        for name, token in tokens_of(one.fields).items()
    ]


def proof_of(desk: Desk, drop_id: int, row: str, run: int | None = None) -> str:
    """The proof of one row of a drop's processing (default: the last), as JSON; ConfigurationError: there is none."""
    drop, rows = one_drop(desk, drop_id)
    run = run or int(drop["run"])
    found = run_record(desk.state, drop_id, run)
    numbers = [one["row"] for one in rows if one["run"] == run]
    sheet, _, wanted = row.rpartition("!")
    if found is None:
        raise ConfigurationError(f"run {run} of drop {drop_id} is not over, or is older than the record")
    if not wanted.isdecimal() or int(wanted) not in numbers or sheet not in ("", found[1].get("sheet", "")):
        hint = "Rows that were unchanged are not recorded: the record of the drop counts them"
        raise ConfigurationError(f"drop {drop_id} has no recorded row {row}", hint=hint)
    record, told = found
    columns, index = told["leaves"]["columns"], numbers.index(int(wanted))
    with desk.state.transaction() as connection:
        leaves = list(outcome_leaves(connection, drop_id, run, columns))
    proof = {
        "columns": columns,
        "row": leaves[index].decode(),
        "index": index,
        "rows": len(leaves),
        "path": path_to_root(leaves, index),
        "record": record.text,
        "sha256": record.sha256,
    }
    return json.dumps(proof, indent=1)


def replayed(desk: Desk, drop_id: int, run: int | None) -> tuple[list[str], bool]:
    """What came of making a report again, in sentences, and whether it is the one that was written."""
    made = replay(desk, drop_id, run, os.environ)
    lines, same = [], True
    for name, content in made.files.items():
        path = made.folder / name
        there = path.read_bytes() if path.is_file() else None
        recorded = made.recorded.get(name) == sha256(content).hexdigest()
        same = same and recorded and there in (None, content)
        beside = "missing" if there is None else "identical" if there == content else "NOT the same"
        lines.append(f"{path}: {'identical to' if recorded else 'NOT'} what was recorded; the file there is {beside}")
    return lines, same


def show_upgrade(desk: Desk, days: int, *, as_json: bool) -> int:
    """Check what today's program would make of the drops of the last days, and print it; returns the exit code."""
    checked = check_upgrade(desk, desk.clock.utc() - timedelta(days=days))
    found = [one._asdict() for one in checked.differences]
    if not as_json:
        of = f"{plural(checked.drops, 'drop')}, {plural(checked.rows, 'row')}, by version {desk.environment.version}"
        identical = "identical posts" if checked.drops else "nothing to compare"
        click.echo(f"{plural(len(found), 'difference')} in {of}" if found else f"{identical} ({of})")
    if as_json or found:
        show(found, Difference._fields, as_json, False)
    for one in checked.not_checked:
        click.echo(visible(f"not checked: {one}"), err=True)
    click.echo("guards, ages and approvals were not judged again: what was decided then is taken as it was", err=True)
    return 2 if checked.differences else 0


def _utc(given: str, *, end: bool = False) -> str:
    """A time as the tables have it; ``end``: of a date, the beginning of the next day."""
    return utc_text(_moment(given, end=end))


def _last_moment(given: str) -> str:
    """A time as the tables have it; of a date, the last that they can have of that day."""
    moment = _moment(given, end=True)
    return utc_text(moment - timedelta(milliseconds=1) if _is_date(given) else moment)


def _moment(given: str, *, end: bool) -> datetime:
    hint = "Write 2026-11-22, 2026-11-22T16:30 or 2026-11-22T16:30:00Z"
    try:
        moment = datetime.fromisoformat(given)
        if end and _is_date(given):
            moment = datetime.combine(moment.date() + timedelta(days=1), time())
        return moment.astimezone(UTC)  # one without a time zone is local, by the rules of its date
    except ValueError:
        raise ConfigurationError(f"{given!r} is no date or time", hint=hint) from None
    except OverflowError:
        raise ConfigurationError(f"{given!r} is beyond the times that can be told", hint=hint) from None


def _is_date(given: str) -> bool:
    """Whether it is a whole day; ``20261122`` is written so, too."""
    try:
        date.fromisoformat(given)
    except ValueError:
        return False
    return True


def _plain(token: str) -> str | None:
    """A token as text: of a number its very digits, None where the field was cleared."""
    return None if token == CLEARED else unquoted(token)


def _flat(value: object) -> object:
    """A value for a CSV, which no spreadsheet program takes for a formula; ``-1.5`` is none."""
    text = json.dumps(value) if isinstance(value, (dict, list)) else value
    return spreadsheet_safe_text(text) if isinstance(text, str) and not _NUMBER.fullmatch(text) else text


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {status}" for status, count in value.items() if count)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
