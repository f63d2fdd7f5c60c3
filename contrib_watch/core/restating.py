"""Values that the program drops by itself, because a person said so, in a form that no feed's declarations change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from contrib_watch.core.model import CLEARED, Feed
from contrib_watch.core.tokens import unquoted

ABOUT_READING = (
    "sheet", "header_row", "ric_column", "columns", "ignore_columns", "encoding", "delimiter", "decimal", "thousands",
    "date_format", "percent", "final_newline", "blank", "clear_token",
)  # fmt: skip
"""The keys of a feed that say how its files are read."""


def restated(feed: Feed) -> Feed:
    """The feed as such a drop is read and judged: no declarations, and no guards that are about whole files."""
    plain = Feed(name=feed.name, folder=feed.folder, service=feed.service)
    strict = {one.name: getattr(plain, one.name) for one in fields(Feed) if one.name in (*ABOUT_READING, "complete")}
    return replace(feed, **strict, guards=feed.guards.of_values_only())


def sheet_of(values: Mapping[str, Mapping[str, str]]) -> bytes:
    """A CSV of these tokens, by RIC and field, that is read as ``restated`` says."""
    names = list(dict.fromkeys(name for row in values.values() for name in row))
    lines = [["RIC", *names], *([ric, *(_text(row.get(name)) for name in names)] for ric, row in values.items())]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines).encode()


def _text(token: str | None) -> str:
    if token is None:
        return ""
    if token == CLEARED:
        return Feed.clear_token
    return unquoted(token)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
