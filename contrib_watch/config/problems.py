"""What is wrong with a configuration: each problem with its line, its key and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import ErrorDetails

from contrib_watch.errors import ConfigurationError

Key = tuple[str | int, ...]
"""A key of the file: ``("feeds", 2, "decimal")``; positions in lists count from 1."""


class InvalidConfiguration(ConfigurationError):  # noqa: N818 - reads as what it is
    """Everything that is wrong with a configuration, not just the first."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        """``problems``: one line each, in the order in which they stand in the file."""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join((count, *problems)), where=str(path))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    keys: tuple[Key, ...]
    """The keys that are at fault together; the first is the one to show."""
    text: str


_WORDS = {
    "missing": "is required",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "mapping_type": 'must be a table, such as { "Bid Price" = "BID" }',
    "dict_type": 'must be a table, such as { "Bid Price" = "BID" }',
    "path_type": "must be a path in quotes",
}

_LOGIN = re.compile(r'(?:[^"\\]|\\.)*:(?:[^"\\]|\\.)*@')
"""The part of a quoted address that may be somebody's user and password, with all that stands before it."""


def from_pydantic(section: Key, detail: ErrorDetails, known: Iterable[str]) -> Problem:
    """pydantic's finding in the words of the file."""
    *_, last = loc = [part + 1 if isinstance(part, int) else part for part in detail["loc"]]
    if detail["type"] == "unexpected_keyword_argument":
        return unknown_key((*section, *loc), known)
    if last == "[key]":
        loc.pop()
    text = _WORDS.get(detail["type"]) or detail["msg"].replace("Input should", "must").replace("Value error, ", "")
    if detail["type"] != "missing":
        text += f" (it is {json.dumps(detail['input'], ensure_ascii=False, default=str)})"
    return Problem(((*section, *loc),), _LOGIN.sub("***@", text))


def unknown_key(key: Key, known: Iterable[str]) -> Problem:
    return Problem((key,), "is not a known key" + (nearest(str(key[-1]), known) or f"; known are {', '.join(known)}"))


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean "..."?`` with the most similar of ``known``; empty where none is similar."""
    from rapidfuzz import fuzz, process  # needed where something is wrong alone

    match = process.extractOne(name, sorted(known), scorer=fuzz.ratio, score_cutoff=60)
    return f'; did you mean "{match[0]}"?' if match else ""


def lines_of(problems: Sequence[Problem], text: str) -> list[str]:
    """One line a problem, in the file's order; a key that is not in the file is named without its line."""
    lines = _line_numbers(text)

    def line(problem: Problem) -> int:
        key = problem.keys[0]
        return next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 0)

    ordered = sorted(problems, key=line)
    return [(f"line {line(p)}, " if line(p) else "") + f"{_spelled(p.keys[0])} {p.text}" for p in ordered]


def _spelled(key: Key) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{_quoted(part)}" for part in key)
    return "".join(parts).removeprefix(".")


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _line_numbers(text: str) -> dict[Key, int]:
    """Where each table and key begins. tomllib does not tell; keys inside inline tables and lists are not found."""
    found: dict[Key, int] = {}
    table: Key = ()
    feeds = 0
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.-]+)\s*]", line):
            names = header[2].split(".")
            feeds += header[1] == "[[" and names == ["feeds"]
            table = ("feeds", feeds, *names[1:]) if names[0] == "feeds" and feeds else tuple(names)
            found.setdefault(table, number)
        elif key := re.match(r"""\s*(?:([\w-]+)|"([^"]*)"|'([^']*)')\s*=""", line):
            found.setdefault((*table, key[1] or key[2] or key[3]), number)
    return found
