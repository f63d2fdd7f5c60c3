"""Two days of sample data against the simulated ADS: what a person sees of the product in a minute."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import click
from rich.markup import escape

from contrib_watch.cli.logs import configure
from contrib_watch.cli.running import run_feeds
from contrib_watch.cli.terminal import coloured, print_list, stdout
from contrib_watch.cli.views import print_outcomes
from contrib_watch.config import SIMULATED, Fields, Log, Settings, load, load_dictionary
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Drop, Status
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.ending import Finished
from contrib_watch.pipeline.replay import rebuilt
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript

NAKKED_RIC = "XS9990002909=CWTST"
"""New on day two, and refused by the simulated ADS on purpose."""
FAULTS = FaultScript.from_dict(
    {"faults": [{"kind": "nak", "ric": NAKKED_RIC, "code": "DeniedBySrc", "text": "Not permissioned for this RIC"}]}
)
DAYS = ("2026-11-19", "2026-11-20")
ANY_AGE_S = 100 * 365 * 86_400.0
"""The sample files may be old: that is no matter here."""
CHANGES_SHOWN = 4
"""Rows of each file that the demo shows."""


class _Quiet:
    """The demo tells what happened when it is over."""

    def started(self, drop: Drop, posts: int) -> None:
        click.echo(f"  drop {drop.id}: {Path(drop.path).name}, {posts} posts")

    def advanced(self, drop: Drop, posts: int) -> None:
        """Too quick to be worth a bar."""

    def finished(self, drop: Drop, totals: Mapping[str, int], report: Path | None) -> None:
        """Told in the table at the end."""

    def waiting(self, what: str, why: str) -> None:
        """Its simulated ADS is always there."""


def play(folder: Path | None) -> int:
    """Play both days in a folder of their own; 0 when everything went as scripted, its Nak included."""
    configure(Log(level="error"))
    settings = _prepared(_new_home(folder), _shipped_config(), os.environ)
    return _play(settings, load_dictionary(settings.fields))


def play_by_token(folder: Path | None) -> int:
    """The same behind a simulated platform: tokens, discovery, and endpoints over TLS."""
    from contrib_watch.cli.cloud import leading_to, secrets_for, simulated_platform

    configure(Log(level="error"))
    home = _new_home(folder)
    dictionary = load_dictionary(Fields())
    with simulated_platform(SimulatedAds(dictionary, FAULTS), home) as (server, ca_file):
        settings = _prepared(home, leading_to(server, ca_file, _shipped_config()), secrets_for(server))
        platform = server.platform
        click.echo(f"simulated platform at {server.url}, {len(server.endpoints)} endpoints")
        code = _play(replace(settings, ads=replace(settings.ads, target=SIMULATED)), dictionary)
        click.echo(f"{len(platform.asked)} tokens were given, {len(platform.logins)} logins accepted with them")
    return code


def _play(settings: Settings, dictionary: Dictionary) -> int:
    finished: list[Finished] = []
    for number, day in enumerate(DAYS, start=1):
        click.echo(f"day {number}: three files are dropped")
        for feed in settings.feeds:
            for file in sorted((_samples() / feed.name).glob(f"*{day}*")):
                shutil.copyfile(file, Path(feed.folder) / file.name)
        finished += run_feeds(settings, dictionary, once=True, faults=FAULTS, progress=_Quiet()).finished
    click.echo()
    return _explain(settings, dictionary, finished)


def _explain(settings: Settings, dictionary: Dictionary, finished: list[Finished]) -> int:
    """Show some changes of day two, every problem row, the sums, and where the reports lie."""
    console = stdout()
    changed, problems = [], []
    desk = Desk.open(settings, dictionary, reading=True)
    with desk.state:
        for one in sorted(finished, key=lambda one: one.drop.id)[len(settings.feeds) :]:
            name = escape(Path(one.drop.path).name)
            rows = rebuilt(desk, one.drop).rows.to_pylist()
            acked = [row for row in rows if row["status"] == Status.ACKED]
            changed += [(f"[bold]{name}[/]", "")] + [
                (f"  {escape(row['ric'])}", escape(_first_changes(row["changes"]))) for row in acked[:CHANGES_SHOWN]
            ]
            if len(acked) > CHANGES_SHOWN:
                changed.append((f"  {len(acked) - CHANGES_SHOWN} more", "in its report"))
            for row in rows:
                if row["status"] in (Status.NAKKED, Status.REJECTED):
                    text = f"{row['nak_code']} {row['text']}".strip()
                    problems.append((name, f"{escape(row['ric'])} {coloured(row['status'])}: {escape(text)}"))
    print_list(console, "day 2: some of what the simulated ADS acknowledged", changed)
    print_list(console, "day 2: not published, on purpose", problems)
    print_outcomes(finished)
    acks = sum(one.totals.get(Status.ACKED, 0) for one in finished)
    naks = sum(one.totals.get(Status.NAKKED, 0) for one in finished)
    rejected = sum(one.totals.get(Status.REJECTED, 0) for one in finished)
    click.echo(f"{len(finished)} drops: {acks} rows acknowledged, {naks} nakked, {rejected} rejected")
    as_scripted = len(finished) == 2 * len(settings.feeds) and naks == 1 and rejected == len(settings.feeds)
    if not as_scripted:
        click.echo("This is not how the demo is written: something is wrong.", err=True)
    return 0 if as_scripted else 1


def _first_changes(changes: str) -> str:
    """The first change of a row, and how many more there are."""
    first, *others = changes.split("; ")
    return f"{first}; {len(others)} more" if others else first


def _new_home(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="contrib-watch-demo-"))
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        hint = "Give a folder that is not there yet"
        raise ConfigurationError("the demo's folder exists", where=str(folder), hint=hint) from None
    except OSError as error:
        hint = "Give a folder that this user can make"
        what = f"the demo's folder cannot be made: {error.strerror}"
        raise ConfigurationError(what, where=str(folder), hint=hint) from error
    return folder.resolve()


def _prepared(home: Path, text: str, environ: Mapping[str, str]) -> Settings:
    """A configuration in a new home, with folders to drop into."""
    (home / "config.toml").write_text(text, encoding="utf-8")
    settings = load(home / "config.toml", environ)
    for feed in settings.feeds:
        Path(feed.folder).mkdir(parents=True)
    # The sample files are whole when they are there: nothing to wait for.
    feeds = tuple(replace(feed, settle_seconds=0.0, max_age_s=ANY_AGE_S) for feed in settings.feeds)
    return replace(settings, feeds=feeds)


def _samples() -> Path:
    """The sample data: inside the installed package, or beside it in a checkout."""
    inside = Path(str(files("contrib_watch"))) / "sample_data"
    return inside if inside.exists() else Path(str(files("contrib_watch"))).parent / "sample_data"


def _shipped_config() -> str:
    samples = _samples()
    inside = samples / "config.toml"
    return (inside if inside.exists() else samples.parent / "config.toml").read_text(encoding="utf-8")
