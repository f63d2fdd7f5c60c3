"""Options that many commands have, and what they open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contrib_watch.errors import ConfigurationError

if TYPE_CHECKING:
    from contrib_watch.config import Settings
    from contrib_watch.core.dictionary import Dictionary
    from contrib_watch.pipeline.desk import Desk


class TextCommand(click.Command):
    """A command whose texts can be stored and sent: none has bytes that are not UTF-8, as the names of files may."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        left = super().parse_args(ctx, args)
        for parameter in self.get_params(ctx):
            given = ctx.params.get(parameter.name or "")
            for text in given if isinstance(given, tuple) else (given,):
                if isinstance(text, str) and not _is_unicode(text):
                    raise click.BadParameter(f"{text!a} is not text in UTF-8.", ctx, parameter)
        return left


class TextGroup(click.Group):
    """A group of such commands."""

    command_class = TextCommand


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The configuration file.",
)
TRACE = click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every frame sent and received to FILE; 10 MB, then FILE.1 to FILE.5; without tokens.",
)
AS = click.option("--as", "as_name", metavar="NAME", help="Who decides. [default: the OS user]")
REASON = click.option("--reason", default="", metavar="TEXT", help="Why; the record keeps it.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def configured(config_path: Path) -> tuple[Settings, Dictionary]:
    """The settings and the field dictionary, both checked, with the log set up."""
    from contrib_watch.cli.logs import configure
    from contrib_watch.config import check_mappings, load, load_dictionary

    if not config_path.exists():
        hint = "Give its path with --config; `contrib-watch demo --folder NEW` leaves one to start from in NEW"
        raise ConfigurationError("there is no such configuration file", where=str(config_path), hint=hint)
    settings = load(config_path, os.environ)
    configure(settings.log)
    dictionary = load_dictionary(settings.fields)
    check_mappings(settings, dictionary)
    return settings, dictionary


@contextmanager
def opened(config_path: Path, *, reading: bool = False) -> Iterator[Desk]:
    """The state of a configuration, with all that goes with it."""
    from contrib_watch.pipeline.desk import Desk

    settings, dictionary = configured(config_path)
    desk = Desk.open(settings, dictionary, reading=reading)
    with desk.state:
        yield desk
