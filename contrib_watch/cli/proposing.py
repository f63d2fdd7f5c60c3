"""A feed for a sheet that nobody has declared, written as the block of config.toml that a person finishes."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from glob import escape
from pathlib import Path, PurePath

from contrib_watch.adapters.sheets.reader import Reader
from contrib_watch.config import Fields, Settings, load, load_dictionary
from contrib_watch.core.headers import is_known
from contrib_watch.core.layout import Layout, header_row_of, names_above
from contrib_watch.core.model import SET_ME, Feed
from contrib_watch.core.proposal import Proposal, propose
from contrib_watch.core.settle import candidate
from contrib_watch.errors import ConfigurationError

_WIDTH = 116
_LATER = {"name", "folder", "service", "columns", "ignore_columns"}
"""Keys that are written apart from those with a plain value."""


def feed_for(file: Path, config_path: Path | None) -> str:
    """The ``[[feeds]]`` block, with its doubts as comments; nothing is written to any file.

    The configuration, where there is one, gives the field dictionary, the Service that all its feeds have in common,
    and the names that are taken. Raises UnreadableFile where the file cannot be a price sheet.
    """
    settings = load(config_path, os.environ) if config_path is not None else None
    dictionary = load_dictionary(settings.fields if settings else Fields())
    try:
        with Reader() as reader:
            layout = reader.outline(file, file.name)
            feed = _laid_out(file, layout, settings)
            cells = reader.read_cells(file, file.name, feed)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", where=str(file)) from error
    doubts = [*_name_doubts(file, feed), *_layout_doubts(layout, feed)]
    return block(file.name, propose(cells, feed, dictionary, doubts))


def block(filename: str, proposal: Proposal) -> str:
    """The proposal as TOML that the configuration takes once what says so is set."""
    return "\n".join(_lines(filename, proposal))


def _laid_out(file: Path, layout: Layout, settings: Settings | None) -> Feed:
    """The feed as far as the layout tells."""
    feeds = settings.feeds if settings else ()
    services = {feed.service for feed in feeds}
    name = _name(file, {feed.name.casefold() for feed in feeds})
    return Feed(
        name=name,
        folder=PurePath("inbox") / name,
        service=services.pop() if len(services) == 1 else SET_ME,
        patterns=(_pattern(file),),
        sheet=layout.sheet if len(layout.sheets) > 1 else "",
        header_row=header_row_of(layout.rows, is_known),
        encoding=layout.encoding,
        delimiter=layout.delimiter,
    )


def _pattern(file: Path) -> str:
    """All files with its ending; of one without an ending, the file alone."""
    return f"*{escape(file.suffix.lower())}" if file.suffix else escape(file.name)


def _name(file: Path, taken: set[str]) -> str:
    """From the file's name without its date; numbered where another feed has it."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"[-_. 0-9]+$", "", file.stem)).strip("_").lower()[:40] or "feed"
    return next(name for n in range(1, len(taken) + 2) if (name := words if n == 1 else f"{words}_{n}") not in taken)


def _name_doubts(file: Path, feed: Feed) -> Iterator[str]:
    if why := candidate(file.name, feed.patterns):
        yield f"a file of this name is never taken: {why}"
    elif not file.suffix:
        yield "the file's name has no ending, so only files of this very name are taken: check patterns"


def _layout_doubts(layout: Layout, feed: Feed) -> Iterator[str]:
    if layout.encoding == "cp1252":
        yield 'the bytes are not UTF-8: encoding = "cp1252" is the likeliest; check the letters with accents'
    if len(layout.sheets) > 1:
        others = ", ".join(f'"{name}"' for name in layout.sheets if name != layout.sheet)
        yield f'the workbook also has the sheets {others}; "{layout.sheet}" has the most cells at its top'
    if feed.header_row > 1:
        yield f"row {feed.header_row} looks like the header; what stands above it is not read"
    if above := names_above(layout.rows, feed.header_row):
        names = ", ".join(f'"{name}"' for name in above)
        yield (
            f"{names} stands in row {feed.header_row - 1}, above a blank cell of row {feed.header_row}: a header is "
            f"one row, so write it into row {feed.header_row} of the sheet (unmerge the cells)"
        )
    if not layout.sheets and not layout.ends_whole:
        yield 'the last line has no line end, so it is rejected; if every file ends so: final_newline = "optional"'


def _lines(filename: str, proposal: Proposal) -> Iterator[str]:
    feed = proposal.feed
    yield from _comment(
        f"Proposed by contrib-watch init for {filename}. Check it line by line, set what says so, and put it into "
        "config.toml; then see what it does: contrib-watch preview FILE"
    )
    yield from _comment(proposal.result)
    for doubt in proposal.doubts:
        yield from _comment(f"doubt: {doubt}")
    yield ""
    yield "[[feeds]]"
    yield f"name = {_value(feed.name)}"
    yield f"folder = {_value(feed.folder.as_posix())}  # set: the folder that the files are dropped into"
    why = "set: the Service to post to" if feed.service == SET_ME else "as the other feeds have it"
    yield f"service = {_value(feed.service)}  # {why}"
    for key in fields(Feed):
        if key.name not in _LATER and (value := getattr(feed, key.name)) != key.default:
            yield f"{key.name} = {_value(value)}" + _beside(key.name, proposal)
    for text, choices in proposal.undecided:
        yield from _comment(f"doubt: {text}")
        for choice, keys in enumerate(choices):
            if choice:
                yield "# or:"
            yield from (f"# {key} = {_value(value)}" for key, value in keys.items())
    if feed.ignore_columns:
        yield "ignore_columns = ["
        yield from (f"    {_value(header)},{_example(header, proposal)}" for header in feed.ignore_columns)
        yield "]"
    own = [
        header for header in proposal.examples if header not in (*feed.columns, *feed.ignore_columns, feed.ric_column)
    ]
    if own:
        yield from _comment(f"These headers are fields' own names, and need no mapping: {', '.join(own)}")
    if feed.columns:
        yield ""
        yield "[feeds.columns]"
        for header, acronym in feed.columns.items():
            doubt = proposal.column_doubts.get(header, "")
            note = f"; doubt: {doubt}" if doubt else ""
            yield f"{_value(header)} = {_value(acronym)}{_example(header, proposal)}{_plain(note)}"


def _beside(key: str, proposal: Proposal) -> str:
    match key:
        case "ric_column" if proposal.feed.ric_column == SET_ME:
            return "  # set: the header of the column with the RICs"
        case "ric_column":
            return _example(proposal.feed.ric_column, proposal)
        case "ric_pattern":
            return "  # every RIC of the file matches; others would be rejected"
        case "blank":
            return "  # doubt: do these words mean an empty cell, which changes nothing?"
        case _:
            return ""


def _example(header: str, proposal: Proposal) -> str:
    example = proposal.examples.get(header, "")
    return f"  # such as {_plain(example)[:60]}" if example else "  # every cell is blank"


def _comment(text: str) -> Iterator[str]:
    lines = textwrap.wrap(_plain(text), _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    yield from (f"# {line}" for line in lines)


def _plain(text: str) -> str:
    """On one line, and without the control characters that TOML refuses in a comment."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def _value(value: object) -> str:
    # A JSON text is a TOML value but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
