"""What the program offers stands in README.md, and what stands there is offered."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
from cli_site import PROGRAM
from click.testing import CliRunner

from contrib_watch import cli, errors
from contrib_watch.core.naks import EXPLANATIONS
from contrib_watch.core.report_rows import COLUMNS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README[README.index("| command | what it does |") :].split("\n\n", 1)[0]
COMMANDS = {
    f"{name} {part}" if part else name: command
    for name, group in cli.main.commands.items()
    for part, command in (group.commands.items() if isinstance(group, click.Group) else [("", group)])
}
"""What can be typed; the commands of a group with the group's name: ``state backup``."""
LONGEST_LINE = 118
"""Of the table of commands: its cells are read, its options are looked up with --help."""


def documented() -> dict[str, str]:
    """Command to what its line in the README's table of commands begins with: ``run [--once] [--json]``."""
    usages = re.findall(r"^\| `((?:[^`])+)` \|", TABLE, re.MULTILINE)
    return {_command(usage): usage.replace("\\|", "|") for usage in usages}


def _command(line: str) -> str:
    """The command that a line begins with."""
    words = line.split()
    return next((name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS), words[0])


def test_help_names_every_command() -> None:
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, timeout=60, env={"COLUMNS": "80"})
    table = done.stdout[done.stdout.index("Commands:") :]
    listed = re.findall(r"^  ([a-z-]+)  ", table, re.MULTILINE)
    assert listed == sorted(cli.main.commands)
    assert "..." not in table  # each is told in a line
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_table_has_the_commands_that_there_are() -> None:
    assert sorted(documented()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_arguments_of_a_command_and_what_is_told_of_its_options(name: str) -> None:
    usage = documented()[name]
    options = {opt for param in COMMANDS[name].params for opt in param.opts if opt.startswith("--")}
    arguments = {str(p.name).upper().rstrip("S") for p in COMMANDS[name].params if isinstance(p, click.Argument)}
    assert set(re.findall(r"--[a-z-]+", usage)) <= options
    assert arguments <= set(re.findall(r"\b[A-Z]+\b", usage))


def test_the_table_of_commands_can_be_read() -> None:
    assert max(map(len, TABLE.splitlines())) <= LONGEST_LINE


def test_the_options_of_many_commands() -> None:
    (told,) = re.findall(r"COMMAND --help` has every option\.((?:.+\n)+)", README)
    known = {opt for command in COMMANDS.values() for param in command.params for opt in param.opts}
    assert set(re.findall(r"--[a-z-]+", told)) <= known


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command(name: str) -> None:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(cli.main, [*name.split(), "--help"])
    assert done.exit_code == 0
    undescribed = [
        param.name for param in COMMANDS[name].params if isinstance(param, click.Option) and not param.help
    ]
    assert undescribed == []


def test_options_of_every_command() -> None:
    assert "`--config PATH`" in README
    without = {name for name, command in COMMANDS.items() if "--config" not in str([p.opts for p in command.params])}
    (told,) = re.findall(r"All but ([^.]*?) take `--config PATH`", README)
    assert set(re.findall(r"`(\w+(?: \w+)*)`", told)) == without


def test_the_exit_codes() -> None:
    rows = re.findall(r"^\| (\d) \| (.+) \|$", README[README.index("exit code") :], re.MULTILINE)
    assert [int(code) for code, _ in rows] == [0, 1, 2, 3, 4, 5]
    meanings = {int(code): meaning for code, meaning in rows}
    for error, words in (
        (errors.ContribWatchError, "fault of the program"),
        (errors.ConfigurationError, "configuration"),
        (errors.StateError, "state"),
        (errors.UnreadableFile, "rejected"),
        (errors.LoginRefused, "login"),
        (errors.NoConnection, "no connection"),
    ):
        assert words in meanings[error.exit_code]


def test_the_nak_codes_are_told_as_reports_tell_them() -> None:
    told = re.findall(r"^\| `([A-Z]\w+)` \| (.+) \| (.+) \|$", README, re.MULTILINE)
    assert told == [(code, one.meaning, one.mend) for code, one in sorted(EXPLANATIONS.items())]


def test_the_columns_of_a_report() -> None:
    (told,) = re.findall(r"^4\. \*\*Reports\*\*((?:.+\n)+)", README, re.MULTILINE)
    assert tuple(re.findall(r"`([a-z_]+)`", told)) == COLUMNS


def test_commands_shown_in_blocks_can_be_typed() -> None:
    """Each command line of the README's blocks is one that the program understands."""
    lines = re.findall(r"^(?:.*/)?contrib-watch ([a-z]+(?: [^#\n]*)?)", README, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        known = {opt for param in COMMANDS[_command(line)].params for opt in param.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known
