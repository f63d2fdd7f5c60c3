"""Commands and exit codes. What a command needs is imported when it runs, so that ``--help`` comes at once.

Exit codes, the highest that applies: 0 all well; 1 a fault of the program; 2 configuration, usage or state; 3 some
rows nakked, rejected or held, or a file not taken; 4 some unconfirmed; 5 login or certificate refused, or no
connection.

Data goes to stdout, messages to stderr.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from contrib_watch.cli.audit import audit
from contrib_watch.cli.options import AS, CONFIG, EXISTING, JSON, REASON, TRACE, TextGroup
from contrib_watch.cli.options import configured as _configured
from contrib_watch.cli.options import opened as _desk
from contrib_watch.cli.terminal import visible
from contrib_watch.errors import ContribWatchError


class _Program(TextGroup):
    """Turns what the program raises on purpose into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ContribWatchError as error:
            # What it quotes of a file is other people's text.
            click.echo("\n".join(map(visible, f"contrib-watch: {error}".split("\n"))), err=True)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort; what is expected was told above
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            click.echo(f"contrib-watch: a fault of the program: {what}. Report it with the lines above", err=True)
            ctx.exit(1)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="contrib-watch")
def main() -> None:
    """Contributes what changed in dropped spreadsheets to an LSEG ADS, with an Ack report beside each file."""
    # Modules stay, and rows hold no cycles: to look for garbage every 700 objects would cost a seventh of a start
    # and half of the time in which rows are read from the state. All modules together are some 250,000 objects.
    gc.set_threshold(300_000, 50, 100)
    # NumPy's wheels bring a pool of threads for matrices, which nobody here multiplies: at a start they spin for as
    # long as a tenth of a second, on the processors that read the first file.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Arrow's allocator asks for pages of 2 MB, and to clear them costs the kernel more than they spare: with plain
    # ones, a first load of 100,000 rows takes 8 % less of the processor's time, and 7 % less memory.
    os.environ.setdefault("MIMALLOC_ALLOW_THP", "0")
    # What a drop has used is kept for the next one: to have pages taken away and given anew after every few
    # milliseconds costs a tenth of a drop in which little has changed. In milliseconds: ten minutes.
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "600000")
    atexit.register(gc.freeze)  # an exit would look through all of them three times: a tenth of a run without a drop


@main.command(short_help="Watch the folders and contribute what changes.")
@CONFIG
@JSON
@TRACE
@click.option("--once", is_flag=True, help="Do all that is there, waiting for files to settle, then exit.")
@click.option("--accept-empty-state", is_flag=True, help="Begin anew even where an earlier state was lost.")
def run(config_path: Path, as_json: bool, once: bool, trace_path: Path | None, accept_empty_state: bool) -> None:
    """Watch the feeds' folders and contribute what changes."""
    from contrib_watch.cli.running import run_feeds, traced, worst
    from contrib_watch.cli.views import print_json, print_left, print_outcomes, run_json

    if as_json and not once:
        raise click.UsageError("--json goes with --once: the daemon never ends, its log is on stderr")
    settings, dictionary = _configured(config_path)
    with traced(trace_path) as trace:
        result = run_feeds(settings, dictionary, once=once, trace=trace, accept_empty=accept_empty_state)
    if as_json:
        print_json(run_json(result.finished, result.left, stopped=result.stopped, waiting=result.waiting))
    elif once and result.finished:
        print_outcomes(result.finished)
    if once and result.stopped:
        wait = "1 drop waits" if result.waiting == 1 else f"{result.waiting:,} drops wait"
        click.echo(f"stopped; {wait} to be sent" if result.waiting else "stopped; no drop waits to be sent", err=True)
    elif once and result.is_empty and not as_json:
        click.echo("nothing to do: there is no new file, and no drop waits to be sent", err=True)
    if once:
        print_left(result.left)
    if result.failure is not None:
        raise result.failure
    sys.exit(worst(result) if once else 0)


@main.command(short_help="Show what a file would post; send nothing.")
@CONFIG
@JSON
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--feed", "feed_name", help="Read it by this feed's rules. [default: the feed whose folder it is in]")
def preview(config_path: Path, as_json: bool, file: Path, feed_name: str | None) -> None:
    """Show what dropping FILE would post and what would be rejected. Sends nothing."""
    from contrib_watch.cli.previewing import look_at
    from contrib_watch.cli.views import preview_json, print_json, print_preview

    with _desk(config_path, reading=True) as desk:
        preview = look_at(desk, file, feed_name)
    if as_json:
        print_json(preview_json(preview))
    else:
        print_preview(preview)
    sys.exit(3 if preview.problems or preview.held else 0)


@main.command(short_help="Propose a feed for a sheet; write nothing.")
@click.option(
    "--config",
    "config_path",
    type=EXISTING,
    help="Its dictionary, Service and feeds' names are minded. [default: config.toml, where it is]",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def init(config_path: Path | None, file: Path) -> None:
    """Look at FILE, whose layout no feed declares, and print a [[feeds]] block for config.toml, for you to finish.

    What it is not sure of says "doubt"; nothing is written to any file.
    """
    from contrib_watch.cli.logs import configure
    from contrib_watch.cli.proposing import feed_for
    from contrib_watch.config import Log

    configure(Log())  # else what is logged would be part of the block on stdout
    here = Path("config.toml")
    click.echo(feed_for(file, config_path or (here if here.exists() else None)))


@main.command(short_help="Check the configuration, folders, dictionary, login.")
@CONFIG
@JSON
@TRACE
def check(config_path: Path, as_json: bool, trace_path: Path | None) -> None:
    """Check the configuration, the folders and who can write them, the dictionary, and the login."""
    from contrib_watch.cli.checking import check_all
    from contrib_watch.cli.running import traced
    from contrib_watch.cli.stopping import terminated_as_interrupted
    from contrib_watch.cli.views import print_checks, print_json

    settings, dictionary = _configured(config_path)
    with terminated_as_interrupted(), traced(trace_path) as trace:
        findings = check_all(settings, dictionary, trace=trace)
    if as_json:
        print_json({"checks": [finding._asdict() for finding in findings]})
    else:
        print_checks(findings)
    sys.exit(max((finding.exit_code for finding in findings), default=0))


@main.command(short_help="Show feeds, files, drops and the connection.")
@CONFIG
@JSON
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
def status(config_path: Path, as_json: bool, files: tuple[Path, ...]) -> None:
    """Show the feeds, every file in their folders, what waits for a decision, and the connection.

    With FILE (a name, or a path): only what became of that file, or why it was not picked up.
    """
    from contrib_watch.cli.status import answers, status_of
    from contrib_watch.cli.views import print_answers, print_json, print_status

    with _desk(config_path, reading=True) as desk:
        found = status_of(desk)
    if files and as_json:
        print_json({"files": answers(found, files)})
    elif files:
        print_answers(answers(found, files))
    elif as_json:
        print_json(found)
    else:
        print_status(found)


@main.command("upgrade-check", short_help="Read past drops by today's program, and compare.")
@CONFIG
@JSON
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="How far to go back.")
def upgrade_check(config_path: Path, as_json: bool, days: int) -> None:
    """Run the kept files of the last days through the installed program, configuration and dictionary.

    Prints "identical posts", or every row and value that would be another one today (exit code 2). Sends nothing.
    What guards and people decided is taken as it was: a changed guard makes no difference here.
    """
    from contrib_watch.cli.auditing import show_upgrade

    with _desk(config_path, reading=True) as desk:
        sys.exit(show_upgrade(desk, days, as_json=as_json))


@main.command(short_help="Release a held drop.")
@CONFIG
@click.argument("drop", type=int)
@AS
@REASON
def approve(config_path: Path, drop: int, as_name: str | None, reason: str) -> None:
    """Release held DROP: the running daemon, or the next run, sends it.

    What is released is what its last report shows. Where the snapshot has moved since, there is a new report to look
    at first. In a feed with guards, approval or approvers, whoever dropped a file cannot release it.
    """
    from contrib_watch.cli.people import person
    from contrib_watch.core.model import DropStatus
    from contrib_watch.pipeline.decisions import approve as decide

    with _desk(config_path) as desk:
        decided = decide(desk, drop, person(as_name), reason)
        newer = [f"drop {one.id}" for one in desk.drops.newer(decided) if one.status is DropStatus.HELD]
    if decided.status is DropStatus.HELD:
        click.echo(f"drop {drop} has one approval, and needs a second one of somebody else", err=True)
    else:
        click.echo(f"drop {drop} is approved; it is sent by the running daemon, or by the next run", err=True)
    if newer:
        click.echo(f"newer, and waiting for a decision too: {', '.join(newer)}", err=True)


@main.command(short_help="End a held drop; nothing of it is sent.")
@CONFIG
@click.argument("drop", type=int)
@AS
@REASON
def reject(config_path: Path, drop: int, as_name: str | None, reason: str) -> None:
    """End held DROP: nothing of it is sent, and a second report says so."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.decisions import reject as decide

    with _desk(config_path) as desk:
        report = decide(desk, drop, person(as_name), reason)
    click.echo(f"drop {drop} is rejected: {report or 'its report is not written yet'}", err=True)


@main.command(short_help="Process a drop again.")
@CONFIG
@click.argument("drop", type=int)
@AS
@REASON
def retry(config_path: Path, drop: int, as_name: str | None, reason: str) -> None:
    """Process DROP again under today's configuration; a newer drop's values are not overwritten."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.decisions import retry as decide

    with _desk(config_path) as desk:
        decide(desk, drop, person(as_name), reason)
    click.echo(f"drop {drop} is processed again by the running daemon, or by the next run", err=True)


@main.command(short_help="Send nothing of a feed, or of any, until resumed.")
@CONFIG
@click.argument("feed", required=False)
@AS
@REASON
def pause(config_path: Path, feed: str | None, as_name: str | None, reason: str) -> None:
    """Send nothing of FEED, or of any feed, until `resume`, also after a restart. Files are still taken, and wait."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.brake import pause as brake

    with _desk(config_path) as desk:
        brake(desk, feed, person(as_name), reason)
    click.echo(f"{feed or 'every feed'} is paused, also for the next runs", err=True)


@main.command(short_help="End a pause.")
@CONFIG
@click.argument("feed", required=False)
@AS
@REASON
def resume(config_path: Path, feed: str | None, as_name: str | None, reason: str) -> None:
    """Send again what waits of FEED; without FEED, all pauses end."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.brake import resume as release

    with _desk(config_path) as desk:
        release(desk, feed, person(as_name), reason)
    click.echo(f"{feed or 'every feed'} goes on, with the running daemon or the next run", err=True)


@main.command(short_help="Put back the values before a drop.")
@CONFIG
@click.argument("drop", type=int)
@AS
@REASON
def revert(config_path: Path, drop: int, as_name: str | None, reason: str) -> None:
    """Put back the values before DROP, as a new drop that passes the guards. What changed since is left alone."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.undo import revert as undo

    with _desk(config_path) as desk:
        made = undo(desk, drop, person(as_name), reason)
    click.echo(f"drop {made.id} puts back what was before drop {drop}, with the daemon or the next run", err=True)


@main.command(short_help="Clear every value of RICs on the ADS.")
@CONFIG
@click.argument("rics", nargs=-1, required=True, metavar="RIC...")
@click.option("--service", metavar="SERVICE", help="Only on this Service. [default: all to which feeds post]")
@AS
@REASON
def withdraw(config_path: Path, rics: tuple[str, ...], service: str | None, as_name: str | None, reason: str) -> None:
    """Clear every value of these RICs on the ADS, as a new drop that passes the guards."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.undo import withdraw as undo

    with _desk(config_path) as desk:
        made = undo(desk, rics, service, person(as_name), reason)
        feeds = {drop.feed: drop.id for drop in made}
        earlier = [drop.id for drop in desk.drops.pending() if drop.id < feeds.get(drop.feed, 0)]
    numbers = ", ".join(str(drop.id) for drop in made)
    click.echo(f"withdrawn with the daemon or the next run, as drop {numbers}", err=True)
    if earlier:
        click.echo(
            f"drop {', '.join(map(str, earlier))} is still on its way: values that the ADS does not hold yet are not "
            "withdrawn; look with `contrib-watch get` once it is over",
            err=True,
        )


@main.command(short_help="Decide about the old files of a new feed.")
@CONFIG
@click.argument("feed")
@click.option("--ignore", "choice", flag_value="ignore", help="Send none of the backlog.")
@click.option("--newest", "choice", flag_value="newest", help="Make a drop of the newest file alone.")
@click.option("--all", "choice", flag_value="all", help="Make a drop of every file, the oldest first.")
@AS
@REASON
def adopt(config_path: Path, feed: str, choice: str | None, as_name: str | None, reason: str) -> None:
    """Decide about the old files that lay in FEED's folder when it was first watched."""
    from contrib_watch.cli.people import person
    from contrib_watch.pipeline.arrivals import adopt as decide

    if choice is None:
        raise click.UsageError("say which: --ignore, --newest or --all")
    with _desk(config_path) as desk:
        adopted = decide(desk, feed, choice, person(as_name), reason)
    numbers = ", ".join(str(drop.id) for drop in adopted) or "none"
    click.echo(f"drops made of the backlog of {feed}: {numbers}", err=True)


@main.command(short_help="Compare what the ADS holds with what it should hold.")
@CONFIG
@JSON
@click.option("--repair", is_flag=True, help="Post again, in full, what is missing or different.")
@click.option("--service", metavar="SERVICE", help="Only this Service. [default: all to which feeds post]")
def reconcile(config_path: Path, as_json: bool, repair: bool, service: str | None) -> None:
    """Read back all that the ADS acknowledged, and show what it does not hold. Nothing else may be running.

    Values that were posted and never acknowledged are shown, too, and left to the next drop.
    """
    from contrib_watch.cli.reconciling import print_reconciled, reconciled_json
    from contrib_watch.cli.reconciling import reconcile as compare
    from contrib_watch.cli.views import print_json

    result = compare(*_configured(config_path), service=service, repair=repair)
    if as_json:
        print_json(reconciled_json(result))
    else:
        print_reconciled(result)
    sys.exit(result.exit_code)


@main.command(short_help="Show items of the ADS as they change.")
@click.option(
    "--config",
    "config_path",
    type=EXISTING,
    help="The configuration file; with --host or --client-id only its dictionary. [default: config.toml]",
)
@JSON
@TRACE
@click.argument("rics", nargs=-1, required=True, metavar="RIC...")
@click.option("--service", "services", multiple=True, metavar="SERVICE", help="Ask in this Service; may be repeated.")
@click.option("--view", metavar="F,F", default="", help="Only these fields, such as BID,ASK. [default: all]")
@click.option("--snapshot", is_flag=True, help="The values of this moment, then exit.")
@click.option("--host", "hosts", multiple=True, metavar="HOST:PORT", help="Connect to this ADS; may be repeated.")
@click.option("--user", default="", help="The DACS user; with --client-id the machine id.")
@click.option("--app-id", default="", metavar="ID", help="The login's ApplicationId. [default: 256]")
@click.option("--position", default="", help="The login's Position. [default: this machine's IPv4]")
@click.option("--tls", is_flag=True, help="Connect with TLS (wss).")
@click.option("--ca-file", default="", metavar="FILE", help="PEM file of the authorities to trust with TLS.")
@click.option("--client-id", default="", metavar="ID", help="Log in by token: the AppKey, or the service account.")
@click.option("--region", default="", help="The endpoints to use where --client-id is given without --host.")
def get(
    config_path: Path | None,
    as_json: bool,
    trace_path: Path | None,
    rics: tuple[str, ...],
    services: tuple[str, ...],
    view: str,
    snapshot: bool,
    **connection: Any,
) -> None:
    """Show what the ADS has of each RIC, then every change until Ctrl-C.

    The connection is the configuration's. With --host or --client-id none is needed; the secret that goes with
    --client-id is in the environment: CONTRIB_WATCH_CLOUD_PASSWORD with --user, else _CLIENT_SECRET.
    """
    from contrib_watch.cli.getting import Options, Wanted, services_of, source
    from contrib_watch.cli.getting import get as show
    from contrib_watch.cli.running import traced

    found = source(Options(**connection), config_path)
    fields = tuple(name for name in view.split(",") if name)
    wanted = Wanted(rics=rics, services=services_of(found, services), view=fields, snapshot=snapshot)
    with traced(trace_path) as trace:
        sys.exit(show(found, wanted, as_json=as_json, trace=trace))


@main.command(short_help="Post everything again, in full.")
@CONFIG
@click.argument("pattern", default="*")
@click.option("--service", metavar="SERVICE", help="Only this Service. [default: all to which feeds post]")
def resend(config_path: Path, pattern: str, service: str | None) -> None:
    """Post again, in full, what the ADS should hold of the RICs that PATTERN fits, such as "*=ACME". [default: all]

    That is what it acknowledged, and where newer values were posted without an answer, those; after `state restore`
    it may be older than what the ADS holds. Nothing else may be running.
    """
    from contrib_watch.cli.reconciling import exit_code_of, print_resent
    from contrib_watch.cli.reconciling import resend as post_again

    totals = post_again(*_configured(config_path), service=service, pattern=pattern)
    print_resent(totals)
    sys.exit(exit_code_of(totals))


@main.group(short_help="Back up the state, or put a backup in its place.")
def state() -> None:
    """Copies of the program's record: what the ADS acknowledged, the drops, and what became of every row.

    `run` makes one a day by itself, and keeps the last seven in the folder `backups` of the state. The files that
    were dropped are not in a backup; they are in the folder `spool` of the state.
    """


@state.command(short_help="Copy the database, also while `run` is running.")
@CONFIG
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def backup(config_path: Path, file: Path | None) -> None:
    """Copy the state's database to FILE, also while `run` is running. [default: a new one in its folder backups]"""
    from contrib_watch.cli.safeguards import backup_by_hand

    settings, _ = _configured(config_path)
    click.echo(backup_by_hand(settings.state, file))


@state.command(short_help="Put a backup in the database's place.")
@CONFIG
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(config_path: Path, file: Path) -> None:
    """Put the backup FILE in the database's place, which is kept under another name. Nothing may be running.

    What the ADS acknowledged after the backup is then unknown: the next drop posts each of its RICs in full, and
    drops that were not over in the backup are held.
    """
    from contrib_watch.cli.safeguards import restore_backup

    settings, _ = _configured(config_path)
    click.echo(restore_backup(settings, file), err=True)


@main.command(short_help="Run the simulated ADS alone.")
@click.option("--cloud", is_flag=True, help="Behind a simulated platform: tokens, discovery, endpoints over TLS.")
@click.option("--port", type=click.IntRange(0, 65535), default=15000, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--faults", type=EXISTING, help="A fault script (TOML).")
@click.option("--config", "config_path", type=EXISTING, help="Use its field dictionary. [default: the built-in one]")
def simulate(cloud: bool, port: int, host: str, faults: Path | None, config_path: Path | None) -> None:
    """Run the simulated ADS alone, until interrupted.

    With --cloud, what config.toml needs to reach the platform is printed; its endpoints are on the next three ports.
    """
    from contrib_watch.cli.simulating import simulate as serve
    from contrib_watch.cli.simulating import simulate_cloud
    from contrib_watch.config import Fields, load, load_dictionary

    if cloud and host != "127.0.0.1":
        raise click.UsageError("--host does not go with --cloud: its certificate is for 127.0.0.1")
    fields = load(config_path, os.environ).fields if config_path is not None else Fields()
    if cloud:
        simulate_cloud(port, faults, load_dictionary(fields))
    else:
        serve(host, port, faults, load_dictionary(fields))


@main.command(short_help="Play two days of sample data, to see it work.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Work in this new folder. [default: a temporary one, kept]"
)
@click.option("--cloud", is_flag=True, help="Reach the simulated ADS by token, discovery and TLS.")
def demo(folder: Path | None, cloud: bool) -> None:
    """Drop two days of sample data against the simulated ADS and show what becomes of them."""
    from contrib_watch.cli.demo import play, play_by_token

    sys.exit(play_by_token(folder) if cloud else play(folder))


main.add_command(audit)
