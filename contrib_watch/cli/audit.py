"""``contrib-watch audit ...``: questions to the record, and the proof that nobody has changed it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from contrib_watch.cli.options import CONFIG, JSON, TextGroup, opened

CSV = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
RUN = click.option("--run", type=int, help="Which of its processings. [default: the last]")
FROM = click.option("--from", "since", metavar="TIME", help="Not before this date or time (ISO 8601, local).")
TO = click.option("--to", "until", metavar="TIME", help="Before this time, or until the end of this date.")


@click.group(cls=TextGroup, short_help="Ask the record what was contributed, and prove it.")
def audit() -> None:
    """What was contributed, from which file and cell, by whom, and what the ADS said; and that it is unchanged.

    Dates and times are local where they name no time zone; what is printed is UTC.
    """


@audit.command(short_help="Every value of a RIC, with its file and Ack.")
@CONFIG
@JSON
@CSV
@click.argument("ric")
@click.option("--field", default="", help="Only this field.")
@click.option("--service", default="", help="Only this Service.")
@FROM
@TO
def ric(
    config_path: Path,
    as_json: bool,
    as_csv: bool,
    ric: str,
    field: str,
    service: str,
    since: str | None,
    until: str | None,
) -> None:
    """Every value of RIC that was posted or kept back: when, from which file and cell, and what the ADS said."""
    from contrib_watch.cli.auditing import bounds, of_ric, show

    with opened(config_path, reading=True) as desk:
        found = of_ric(desk, ric, field, service, *bounds(since, until))
    show(found, ("at_utc", "field", "value", "status", "drop", "file", "cell", "post_id", "text"), as_json, as_csv)


@audit.command(short_help="One drop: its events, and each of its rows.")
@CONFIG
@JSON
@CSV
@click.argument("drop", type=int)
@click.option("--run", type=int, help="Only of this processing. [default: of all]")
def drop(config_path: Path, as_json: bool, as_csv: bool, drop: int, run: int | None) -> None:
    """What happened to DROP, and what became of each of its rows that was not unchanged."""
    from contrib_watch.cli.auditing import events_of, one_drop, show, show_events

    with opened(config_path, reading=True) as desk:
        found, rows = one_drop(desk, drop, run)
        events = events_of(desk, drop)
    if as_json:
        show([{**found, "events": events, "rows": rows}], (), True, False)
        return
    if not as_csv:
        show_events(found, events)
    if rows or as_csv:
        show(
            rows,
            ("run", "row", "ric", "action", "status", "post_id", "changes", "text", "acked_at_utc"),
            False,
            as_csv,
        )


@audit.command(short_help="The drops of a time, a feed or a status.")
@CONFIG
@JSON
@CSV
@click.option("--status", default="", help="waiting, sending, done, held, rejected or failed.")
@click.option("--feed", default="", help="Only of this feed.")
@FROM
@TO
def drops(
    config_path: Path, as_json: bool, as_csv: bool, status: str, feed: str, since: str | None, until: str | None
) -> None:
    """The drops, each with its file, its SHA-256, who dropped it, and what became of it."""
    from contrib_watch.cli.auditing import all_drops, bounds, show

    with opened(config_path, reading=True) as desk:
        found = all_drops(desk, status, feed, *bounds(since, until))
    show(found, ("drop", "feed", "file", "status", "owner", "seen_at_utc", "totals", "reason"), as_json, as_csv)


@audit.command(short_help="What was contributed on a day, and what was not.")
@CONFIG
@JSON
@CSV
@click.argument("date")
def day(config_path: Path, as_json: bool, as_csv: bool, date: str) -> None:
    """What the drops of DATE contributed, by feed, what had no answer, what was excluded, and what is missing."""
    from contrib_watch.cli.auditing import one_day, show

    with opened(config_path, reading=True) as desk:
        found = one_day(desk, date)
    show(found, ("feed", "drop", "run", "file", "what", "status", "count", "why", "rics"), as_json, as_csv)


@audit.command("as-of", short_help="The last acknowledged values at a time.")
@CONFIG
@JSON
@CSV
@click.argument("time")
@click.argument("ric", nargs=-1)
def as_of(config_path: Path, as_json: bool, as_csv: bool, time: str, ric: tuple[str, ...]) -> None:
    """What the ADS had acknowledged of every item, or of each RIC, at TIME; where that is a date, at its end.

    What it was posted without an answer it may have held instead: `audit ric` shows that as unconfirmed.
    """
    from contrib_watch.cli.auditing import show, values_as_of

    with opened(config_path, reading=True) as desk:
        found = values_as_of(desk, time, ric)
    show(found, ("service", "ric", "field", "value", "acked_at_utc", "drop", "file", "row"), as_json, as_csv)


@audit.command(short_help="Prove that the record is whole.")
@CONFIG
@click.option(
    "--reports",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare it with the Ack reports in and below this folder; may be given several times.",
)
def verify(config_path: Path, reports: tuple[Path, ...]) -> None:
    """Check every record, row and kept file, and name the first that does not fit (exit code 2).

    Only what has left the machine shows a record that was computed anew as a whole: give the folders of the reports.
    """
    from contrib_watch.cli.terminal import visible
    from contrib_watch.cli.verifying import verified

    with opened(config_path, reading=True) as desk:
        lines, sound = verified(desk, reports)
    click.echo("\n".join(map(visible, lines)))
    sys.exit(0 if sound else 2)


@audit.command(short_help="The proof of one row, as a small file.")
@CONFIG
@click.argument("drop", type=int)
@click.argument("row")
@RUN
def prove(config_path: Path, drop: int, row: str, run: int | None) -> None:
    """Print the proof (JSON) that ROW of DROP is in the record, for the program that `audit checker` prints."""
    from contrib_watch.cli.auditing import proof_of

    with opened(config_path, reading=True) as desk:
        click.echo(proof_of(desk, drop, row, run))


@audit.command(short_help="Print the program that checks proofs.")
def checker() -> None:
    """Print a short Python program, which imports nothing of this one, that checks what `audit prove` prints."""
    from importlib.resources import files

    click.echo((files("contrib_watch") / "data" / "check_proof.py").read_text("utf-8"), nl=False)


@audit.command(short_help="Write the record as Parquet files.")
@CONFIG
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@FROM
@TO
def export(config_path: Path, folder: Path, since: str | None, until: str | None) -> None:
    """Write drops, outcomes, repairs and records to Parquet files in FOLDER, which must not have them yet."""
    from contrib_watch.cli.auditing import bounds
    from contrib_watch.cli.progress import counting
    from contrib_watch.core.wording import plural
    from contrib_watch.store.export import export as write

    with opened(config_path, reading=True) as desk, counting("rows written") as progress:
        counts = write(desk.state, folder, *bounds(since, until), progress)
    click.echo("\n".join(f"{path}: {plural(count, 'row')}" for path, count in counts.items()))


@audit.command(short_help="Make a report again, and compare it.")
@CONFIG
@click.argument("drop", type=int)
@RUN
def replay(config_path: Path, drop: int, run: int | None) -> None:
    """Make the report of DROP again from the record and the kept file, and compare it with the one that was written.

    It is read by the configuration and the dictionary of that time. Exit code 2: it is not the same.
    """
    from contrib_watch.cli.auditing import replayed
    from contrib_watch.cli.terminal import visible

    with opened(config_path, reading=True) as desk:
        lines, same = replayed(desk, drop, run)
    click.echo("\n".join(map(visible, lines)))
    sys.exit(0 if same else 2)
