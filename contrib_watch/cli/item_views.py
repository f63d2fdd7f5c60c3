"""Items as they are shown while they change: a live table on a terminal, lines otherwise, JSON lines for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from contrib_watch.ads.watching import Change, ItemChange
from contrib_watch.cli.terminal import escape, visible
from contrib_watch.core.dictionary import Dictionary, Kind
from contrib_watch.core.wording import plural

SIDE_BY_SIDE = 4
"""As many items stand beside each other, with a row for each field; more stand below each other."""
VALUE_COLUMNS = 14
"""The width that a field is given where items stand below each other."""
ITEM_COLUMNS = 50
"""The width that is left for their names and states."""
_BLANK = ("null", '""')


class View(Protocol):
    """Who shows what happens. To be used in a ``with``."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def changed(self, change: ItemChange, at: datetime) -> None:
        """Something happened to an item; ``at`` is in UTC."""
        ...

    def linked(self, what: str, host: str, text: str, at: datetime) -> None:
        """The connection: ``what`` is ``open`` or ``lost``; ``text`` says why."""
        ...


class Names:
    """What values and fields are called."""

    def __init__(self, dictionary: Dictionary) -> None:
        self._dictionary = dictionary
        self._by_fid = {str(definition.fid): definition.acronym for definition in dictionary.fields.values()}

    def named(self, fields: Mapping[str, str]) -> dict[str, str]:
        """The same fields, by acronym where the server gave a FID that the dictionary knows."""
        return {self._by_fid.get(name, name): text for name, text in fields.items()}

    def shown(self, acronym: str, text: str) -> str:
        """A value's JSON as people read it: a blank is empty, an enumerated value its display string."""
        if text in _BLANK:
            return ""
        definition = self._dictionary.get(acronym)
        if definition is not None and definition.kind is Kind.ENUM and text.isdecimal():
            return definition.enum_values.get(int(text), text).strip()
        try:
            return str(msgspec.json.decode(text)) if text.startswith('"') else text
        except msgspec.DecodeError:
            return text


class _Plain:
    """A view with nothing to put up or take down."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class JsonLines(_Plain):
    """One JSON object a line, flushed; a value is as the server wrote it."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def changed(self, change: ItemChange, at: datetime) -> None:
        line: dict[str, Any] = {"at_utc": _utc(at), "type": change.change.value, "ric": change.name}
        if change.service:
            line["service"] = change.service
        if change.state is not None:
            line["state"] = {name: getattr(change.state, name) for name in ("stream", "data", "code", "text")}
        if change.change is not Change.STATUS:
            fields = self._names.named(change.fields)
            line["fields"] = {name: msgspec.Raw(text.encode()) for name, text in fields.items()}
        _say(line)

    def linked(self, what: str, host: str, text: str, at: datetime) -> None:
        said = {"host": host, "text": text}
        _say({"at_utc": _utc(at), "type": "Connection", "state": what} | {k: v for k, v in said.items() if v})


class TextLines(_Plain):
    """One line for each thing that happens."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def changed(self, change: ItemChange, at: datetime) -> None:
        item = visible(f"{change.name} {change.service}".rstrip())
        fields = self._names.named(change.fields)
        values = ", ".join(f"{name} {self._names.shown(name, text)}".rstrip() for name, text in fields.items())
        said = " ".join(filter(None, (_state(change), visible(values))))
        click.echo(f"{_clock(at)} {item} {change.change.value} {said}")

    def linked(self, what: str, host: str, text: str, at: datetime) -> None:
        click.echo(f"{_clock(at)} {_link_text(what, host, text)}", err=True)


@dataclass
class _Shown:
    """An item as it stands."""

    service: str
    ric: str
    fields: dict[str, str] = field(default_factory=dict)
    latest: frozenset[str] = frozenset()
    """The fields of the last Update."""
    state: str = "asked for"
    updates: int = 0
    at: str = ""


class LiveTable:
    """A table that follows the items, and stays on the terminal as it was in the end."""

    def __init__(
        self, items: Iterable[tuple[str, str]], view: Sequence[str], names: Names, console: Console | None = None
    ) -> None:
        """``items``: Service and RIC of each, in the order of showing. ``view``: the fields that are asked for."""
        self._console = console or Console(highlight=False)
        self._names = names
        self._view = tuple(view)
        self._items = {(service, ric): _Shown(service, ric) for service, ric in items}
        self._link = "connecting"
        self._how_to_end = " - Ctrl-C ends"
        self._live = Live(
            get_renderable=self.table, console=self._console, refresh_per_second=4, vertical_overflow="ellipsis"
        )

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.vertical_overflow = "visible"  # what is left behind may be scrolled
        self._how_to_end = ""
        self._live.stop()

    def changed(self, change: ItemChange, at: datetime) -> None:
        item = self._items[change.service, change.name]
        fields = self._names.named(change.fields)
        if change.change is Change.REFRESH:
            item.fields, item.latest = fields, frozenset()
        elif change.change is Change.UPDATE:
            # A new dict, for the table is drawn by another thread.
            item.fields, item.latest = item.fields | fields, frozenset(fields)
            item.updates += 1
        item.state = _state(change) or item.state
        item.at = _clock(at)

    def linked(self, what: str, host: str, text: str, at: datetime) -> None:
        self._link = f"{_clock(at)} {_link_text(what, host, text)}"

    def table(self) -> Table:
        """How the items stand at this moment."""
        items = list(self._items.values())
        table = self._across(items) if len(items) <= SIDE_BY_SIDE else self._below(items)
        table.caption, table.caption_justify = escape(self._link + self._how_to_end), "left"
        return table

    def _across(self, items: Sequence[_Shown]) -> Table:
        table = Table("", box=SIMPLE_HEAD, show_edge=False)
        for item in items:
            table.add_column(escape(f"{item.ric} {item.service}".rstrip()), overflow="fold")
        table.add_row("[dim]state[/]", *(f"[dim]{escape(item.state)}[/]" for item in items))
        told = (f"{item.at}, {plural(item.updates, 'update')}" if item.at else "" for item in items)
        table.add_row("[dim]last[/]", *(f"[dim]{text}[/]" for text in told))
        for name in self._fields(items):
            table.add_row(escape(name), *(self._value(item, name) for item in items))
        return table

    def _below(self, items: Sequence[_Shown]) -> Table:
        fields = self._fields(items)
        shown = fields[: max((self._console.width - ITEM_COLUMNS) // VALUE_COLUMNS, 1)]
        table = Table("RIC", box=SIMPLE_HEAD, show_edge=False)
        by_service = len({item.service for item in items}) > 1
        for header in (*(["Service"] if by_service else []), *map(escape, shown), "last", "state"):
            table.add_column(header, overflow="fold")
        for item in items:
            service = [escape(item.service)] if by_service else []
            values = (self._value(item, name) for name in shown)
            table.add_row(escape(item.ric), *service, *values, item.at, f"[dim]{escape(item.state)}[/]")
        if len(shown) < len(fields):
            table.title = f"{len(shown)} of {len(fields)} fields; choose with --view"
            table.title_justify = "left"
        return table

    def _fields(self, items: Sequence[_Shown]) -> list[str]:
        """Those that were asked for and came; else all that came, in the order of their coming."""
        came = dict.fromkeys(name for item in items for name in item.fields)
        return [name for name in self._view if name in came] or list(came)

    def _value(self, item: _Shown, name: str) -> str:
        text = escape(self._names.shown(name, item.fields.get(name, "null")))
        return f"[bold]{text}[/]" if name in item.latest else text


def _state(change: ItemChange) -> str:
    """``Closed/Suspect NotFound: The record could not be found``; empty where the message says nothing of it."""
    state = change.state
    if state is None:
        return ""
    ok = (state.stream, state.data) in (("Open", "Ok"), ("NonStreaming", "Ok"))
    why = ": ".join(part for part in (state.reason, state.text) if part and not ok)
    return visible(" ".join(filter(None, (f"{state.stream}/{state.data}", why))))


def _link_text(what: str, host: str, text: str) -> str:
    parts = filter(None, (f"connection {what}", host, text))
    return visible(": ".join(parts))


def _say(line: Mapping[str, Any]) -> None:
    click.echo(msgspec.json.encode(line).decode())


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clock(at: datetime) -> str:
    """The time of day here."""
    return at.astimezone().strftime("%H:%M:%S")
