"""The table of results, ``README.md``: what each file of the corpus ends in.

    python tests/corpus/corpus_table.py

writes it anew, and keeps the row of a file that cannot be built on this machine. ``test_corpus.py`` compares every row
with what happens.
"""

# ruff: noqa: E501 - tables read best with a line to each entry
from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path

from hazard import Hazard
from judged import GROUPS, Judged, judge, lacking, open_desk

from contrib_watch.core.model import Problem

README = Path(__file__).with_name("README.md")

INTRODUCTION = """\
# Files that could mislead a reader

Each file is built by the tests, read in the reading process, typed by the built-in field dictionary, and read again by
a second program, like a drop of a feed with the keys in the second column and the defaults for all others. What may be
published of it is written by hand beside the file; what the report says was reviewed here, and a test holds this table
to what happens. `python tests/corpus/corpus_table.py` writes it anew.

Texts longer than 40 characters are cut here, and characters that cannot be seen are shown by their code.
"""

_LONGEST = 40
_HEAD = "| file | what stands in it | published | what the report says |\n|---|---|---|---|\n"


def row_of(hazard: Hazard, judged: Judged) -> str:
    """One line of the table."""
    declared = ", ".join(f"`{key} = {_plain(repr(value))}`" for key, value in hazard.feed.items())
    name = f"**{hazard.name}**" + (f"<br>{declared}" if declared else "")
    note = f"<br>*{hazard.note}*" if hazard.note else ""
    return f"| {name} | {_plain(hazard.story, longest=400, code=False)}{note} | {_published(judged)} | {_report(judged)} |"


def _published(judged: Judged) -> str:
    rows = [f"{_code(ric)} {_plain(tokens, longest=400) or 'no value'}" for ric, tokens in judged.published.items()]
    return "<br>".join(rows) or "nothing"


def _report(judged: Judged) -> str:
    if judged.refused:
        return f"file rejected: {_plain(judged.refused, longest=400)}"
    causes = groupby(sorted(judged.problems, key=lambda problem: problem.cause), key=lambda problem: problem.cause)
    said = [f"{_plain(cause, longest=400)}: {', '.join(map(_cell, problems))}" for cause, problems in causes]
    said += [f"warning: {_plain(warning, longest=400)}" for warning in judged.warnings]
    return "<br>".join(said) or "nothing to mend"


def _cell(problem: Problem) -> str:
    return f"{_plain(problem.where)} {_code(problem.text)}" if problem.text else _plain(problem.where)


def _code(text: str) -> str:
    return f"`{_plain(text)}`"


def _plain(text: str, *, longest: int = _LONGEST, code: bool = True) -> str:
    """Without what would change how a table reads; ``code`` also without what Markdown would take for its own."""
    shown = text if len(text) <= longest else f"{text[:longest]} ..."
    shown = "".join(char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in shown)
    shown = shown.replace("|", "\\|")
    return shown.replace("`", "'").replace("<", "&lt;") if code else shown


def rows_there() -> dict[str, str]:
    """The rows of the table as it stands, by the names of their files."""
    lines = README.read_text(encoding="utf-8").splitlines() if README.exists() else []
    return {line.split("**")[1]: line for line in lines if line.startswith("| **")}


def main() -> None:
    """Write the table."""
    there = rows_there()
    text = INTRODUCTION
    with tempfile.TemporaryDirectory() as place, open_desk(Path(place)) as desk:
        for title, hazards in GROUPS.items():
            text += f"\n## {title}\n\n{_HEAD}"
            for hazard in hazards:
                missing = lacking(hazard)
                text += (there[hazard.name] if missing else row_of(hazard, judge(hazard, desk, Path(place)))) + "\n"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
