"""config.toml -> Settings: every problem at once, each with its line, its key and what to do.

Types, ranges and defaults stand in ``settings``, rules between keys in ``conflicts``, their wording in ``problems``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from contrib_watch.ads.tokens import Account
from contrib_watch.config import conflicts
from contrib_watch.config.guarding import CalendarTable, ExpectTable, GuardsTable, check_guards
from contrib_watch.config.problems import (
    InvalidConfiguration,
    Key,
    Problem,
    from_pydantic,
    lines_of,
    nearest,
    unknown_key,
)
from contrib_watch.config.secrets import CLOUD_SECRETS, from_environment
from contrib_watch.config.settings import (
    SIMULATED,
    TOKEN_URLS,
    Ads,
    CloudTable,
    FeedTable,
    Fields,
    Log,
    Settings,
    State,
)
from contrib_watch.core.business_days import Calendar
from contrib_watch.core.dictionary import Dictionary
from contrib_watch.core.limits import Guards
from contrib_watch.core.model import Feed
from contrib_watch.errors import ConfigurationError

__all__ = [
    "SIMULATED",
    "Ads",
    "Fields",
    "InvalidConfiguration",
    "Log",
    "Settings",
    "State",
    "check_mappings",
    "connecting",
    "dictionary_files",
    "load",
    "load_dictionary",
    "parse",
    "parse_dictionary",
]

_ADS, _STATE, _FIELDS, _LOG = TypeAdapter(Ads), TypeAdapter(State), TypeAdapter(Fields), TypeAdapter(Log)
_CLOUD, _FEED = TypeAdapter(CloudTable), TypeAdapter(FeedTable)
_SECTIONS = ("ads", "cloud", "state", "fields", "log", "feeds")
_GUARDS, _CALENDAR, _EXPECT = TypeAdapter(GuardsTable), TypeAdapter(CalendarTable), TypeAdapter(ExpectTable)

T = TypeVar("T")


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check the configuration; relative paths in it are relative to the file's folder.

    ``environ`` holds the secrets, which never stand in the file. Raises InvalidConfiguration with all problems, or
    ConfigurationError where the file cannot be read, is not TOML, or a secret's file cannot be read.
    """
    path = path.absolute()
    return parse(_read(path), path, environ)


def parse(
    content: bytes, path: Path, environ: Mapping[str, str], *, holidays: Mapping[str, bytes] | None = None
) -> Settings:
    """The same for the bytes of a configuration that stands, or once stood, at ``path`` (absolute).

    ``holidays``: what the feeds' files of holidays had in them then, by feed; None: the files are read.
    """
    text = _decode(content, path)
    document = _parse(text, path)

    problems = [unknown_key((name,), _SECTIONS) for name in document if name not in _SECTIONS]
    ads = _section(_ADS, document, "ads", problems)
    by_token = "cloud" in document
    of_ads = document.get("ads", {})
    if isinstance(of_ads, dict) and "user" not in of_ads and not by_token:
        problems.append(Problem((("ads", "user"),), "is required"))
    cloud = _section(_CLOUD, document, "cloud", problems) if by_token else None
    state = _section(_STATE, document, "state", problems)
    dictionary = _section(_FIELDS, document, "fields", problems)
    log = _section(_LOG, document, "log", problems)
    base = path.parent
    tables = _feed_tables(document, problems)
    read = {n: _feed(n, table, base, holidays, problems) for n, table in tables.items()}
    feeds = {n: feed for n, feed in read.items() if feed is not None}

    ads = ads and _placed_ads(ads, base, by_token=by_token)
    state = state and _placed_state(state, base, problems)
    dictionary = dictionary and Fields(dictionary=tuple(base / file for file in dictionary.dictionary))
    clashes = conflicts.between_keys(ads, cloud, state, dictionary, feeds, by_token=by_token)
    problems += conflicts.unreported(clashes, problems)

    if problems or ads is None or state is None or dictionary is None or log is None:
        raise InvalidConfiguration(path, lines_of(problems, text))
    return Settings(
        path=path,
        ads=ads,
        cloud=None if cloud is None else _placed_cloud(cloud, environ),
        state=state,
        fields=dictionary,
        log=log,
        feeds=tuple(feeds.values()),
        sha256=hashlib.sha256(content).hexdigest(),
        content=content,
    )


def connecting(
    ads: Mapping[str, object], cloud: Mapping[str, object] | None, environ: Mapping[str, str]
) -> tuple[Ads, Account | None]:
    """[ads] and [cloud] without a file: the same keys, checked alike; relative paths are as the process has them.

    Raises ConfigurationError with all problems, each with its key.
    """
    problems: list[Problem] = []
    document = {"ads": ads, "cloud": cloud or {}}
    by_token = cloud is not None
    checked = _section(_ADS, document, "ads", problems)
    table = _section(_CLOUD, document, "cloud", problems) if by_token else None
    checked = checked and _placed_ads(checked, Path.cwd(), by_token=by_token)
    clashes = conflicts.between_keys(checked, table, None, None, {}, by_token=by_token)
    problems += conflicts.unreported(clashes, problems)
    if problems or checked is None:
        raise ConfigurationError("; ".join(lines_of(problems, text="")), where="command line")
    return checked, None if table is None else _placed_cloud(table, environ)


def load_dictionary(configured: Fields) -> Dictionary:
    """The field dictionary that the configuration names, or the built-in one; raises as dictionary_files() does."""
    return parse_dictionary(*dictionary_files(configured))


def dictionary_files(configured: Fields) -> tuple[bytes, bytes]:
    """The bytes of the configured, or else the built-in, RDMFieldDictionary and enumtype.def, in this order.

    Raises ConfigurationError where a file cannot be read, or the two are not one of each kind.
    """
    if not configured.dictionary:
        return _built_in_files()
    fields, enums = sorted(map(_read, configured.dictionary), key=_lists_fields, reverse=True)
    if not _lists_fields(fields) or _lists_fields(enums):
        raise ConfigurationError(
            "one must list fields (RDMFieldDictionary) and the other enumerated values (enumtype.def)",
            where=f"fields.dictionary {' and '.join(map(str, configured.dictionary))}",
            hint="Name the two files as the RTDS installation has them",
        )
    return fields, enums


def parse_dictionary(fields: bytes, enums: bytes) -> Dictionary:
    """A dictionary from its two files' bytes."""
    # Real dictionary files have stray non-ASCII bytes in their comments; latin-1 takes every byte.
    return Dictionary.parse(fields.decode("latin-1"), enums.decode("latin-1"))


@cache
def _built_in_files() -> tuple[bytes, bytes]:
    data = files("contrib_watch") / "data"
    return (data / "RDMFieldDictionary").read_bytes(), (data / "enumtype.def").read_bytes()


def check_mappings(settings: Settings, dictionary: Dictionary) -> None:
    """Raise InvalidConfiguration for every ``columns`` entry whose field the dictionary does not have.

    So it does for every guard of values whose field it does not have, or has not as a number.
    """
    problems = [
        Problem((("feeds", n, "columns", header),), _no_such_field(header, acronym, dictionary))
        for n, feed in enumerate(settings.feeds, 1)
        for header, acronym in feed.columns.items()
        if dictionary.get(acronym) is None
    ]
    for n, feed in enumerate(settings.feeds, 1):
        problems += check_guards(n, feed.guards, dictionary)
    if problems:
        raise InvalidConfiguration(settings.path, lines_of(problems, text=""))


def _no_such_field(header: str, acronym: str, dictionary: Dictionary) -> str:
    if acronym == "RIC":
        return f'is no field of the dictionary; for the column with the RICs set ric_column = "{header}"'
    return f'"{acronym}" is no field of the dictionary' + nearest(acronym, dictionary.fields)


def _lists_fields(content: bytes) -> bool:
    """Whether a dictionary file is RDMFieldDictionary: lines of acronym, "DDE acronym", FID."""
    text = content.decode("latin-1")
    return re.search(r'^(?!\d+\s|!)\S+\s+"[^"]*"\s+-?\d+\s', text, re.MULTILINE) is not None


# Reading the file.


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", where=str(path), hint="Name the right file, or allow reading it"
        ) from error


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")  # Windows' editors begin the file with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"line {line} is not UTF-8", where=str(path), hint="Save the file as UTF-8"
        ) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        escape = "Unescaped" in str(error) or "hex value" in str(error)
        hint = (
            "Write Windows paths in single quotes: 'C:\\prices'" if escape else "See https://toml.io for the notation"
        )
        raise ConfigurationError(f"is not TOML: {error}", where=str(path), hint=hint) from error


# Checking one section.


def _section(adapter: TypeAdapter[T], document: dict[str, Any], name: str, problems: list[Problem]) -> T | None:
    return _validated(adapter, (name,), document.get(name, {}), problems)


def _feed_tables(document: dict[str, Any], problems: list[Problem]) -> dict[int, object]:
    tables = document.get("feeds", [])
    if not isinstance(tables, list):
        problems.append(Problem((("feeds",),), "must be written [[feeds]], in double brackets, once for each feed"))
        return {}
    if not tables:
        problems.append(Problem((("feeds",),), "is required: add a [[feeds]] table with name, folder and service"))
    return dict(enumerate(tables, 1))


def _feed(
    n: int, table: object, base: Path, holidays: Mapping[str, bytes] | None, problems: list[Problem]
) -> Feed | None:
    """One ``[[feeds]]`` table; the tables within it are checked by themselves, so that problems name their keys."""
    if not isinstance(table, dict):
        _validated(_FEED, ("feeds", n), table, problems)
        return None

    def within(adapter: TypeAdapter[T], name: str) -> T | None:
        return _validated(adapter, ("feeds", n, name), table.get(name, {}), problems)

    own = {key: value for key, value in table.items() if key not in ("guards", "calendar", "expect")}
    feed = _validated(_FEED, ("feeds", n), own, problems)
    guards, calendar = within(_GUARDS, "guards"), within(_CALENDAR, "calendar")
    expect = within(_EXPECT, "expect") if table.get("expect") else None
    if feed is None:
        return None
    listed = None if holidays is None else holidays.get(feed.name, b"")
    placed = Calendar() if calendar is None else _placed_calendar(calendar, listed, n, base, problems)
    return replace(
        _placed_feed(feed, base),
        guards=Guards() if guards is None else guards.guards(),
        calendar=placed,
        expect=None if expect is None else expect.expectation(placed),
    )


def _validated(adapter: TypeAdapter[T], key: Key, table: object, problems: list[Problem]) -> T | None:
    """The section, or None where too little of it is right; what is wrong goes to ``problems``.

    A key that is wrong counts as left out, so that the rules between the other keys are still checked.
    """
    if not isinstance(table, dict):
        problems.append(Problem((key,), f"must be a table of keys, not {table!r}"))
        return None
    try:
        return _from_toml(adapter, table)
    except ValidationError as error:
        known = adapter.json_schema()["properties"]
        details = error.errors()
    problems += [from_pydantic(key, detail, known) for detail in details]
    try:
        return _from_toml(adapter, {k: v for k, v in table.items() if k not in {d["loc"][0] for d in details}})
    except ValidationError:  # a required key is missing or wrong, and is among the problems
        return None


def _from_toml(adapter: TypeAdapter[T], table: Mapping[str, Any]) -> T:
    # As JSON, because strict validation of Python objects wants tuples and paths, which TOML does not have.
    return adapter.validate_json(json.dumps(table, default=str))


# Placing what is relative.


def _placed_ads(ads: Ads, base: Path, *, by_token: bool) -> Ads:
    target = ads.target or (SIMULATED if ads.simulated else "cloud" if by_token else "default")
    tls = ads.tls or (by_token and not ads.simulated)  # a token never goes over a connection that others can read
    return replace(ads, target=target, tls=tls, ca_file=ads.ca_file and base / ads.ca_file)


def _placed_cloud(table: CloudTable, environ: Mapping[str, str]) -> Account:
    values = {f.name: getattr(table, f.name) for f in fields(CloudTable)}
    url, secret = table.token_url or TOKEN_URLS[table.grant], from_environment(environ, CLOUD_SECRETS[table.grant])
    return Account(**values | {"token_url": url, "secret": secret or ""})


def _placed_feed(table: FeedTable, base: Path) -> Feed:
    values = {f.name: getattr(table, f.name) for f in fields(Feed)}
    report_folder = table.report_folder and base / table.report_folder
    return Feed(**values | {"folder": base / table.folder, "report_folder": report_folder})


def _placed_calendar(
    table: CalendarTable, listed: bytes | None, n: int, base: Path, problems: list[Problem]
) -> Calendar:
    try:
        return table.calendar(base, listed)
    except ValueError as error:
        problems.append(Problem((("feeds", n, "calendar", "holidays"),), str(error)))
        return Calendar(table.weekend)


def _placed_state(state: State, base: Path, problems: list[Problem]) -> State:
    folder = base / state.folder
    try:
        return replace(state, folder=folder, url=_database_url(state.url, folder, base))
    except ValueError as error:
        problems.append(Problem((("state", "url"),), str(error)))
        return replace(state, folder=folder)


def _database_url(text: str, folder: Path, base: Path) -> str:
    """The whole URL; raises ValueError where the written one cannot be used.

    No database but SQLite will do: its transactions, its file's lock and its backups are what keeps two programs, or
    an old copy, from sending.
    """
    if not text:
        return URL.create("sqlite", database=str(folder / "state.db")).render_as_string()
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError('must be a database URL, such as "sqlite:///.contrib_watch/state.db"') from None
    if url.drivername != "sqlite":  # nor another driver of it, whose errors and transactions may be others
        raise ValueError('must be of SQLite, which alone is supported, such as "sqlite:///.contrib_watch/state.db"')
    if not url.database or url.database == ":memory:":
        raise ValueError("must name a file: a state in memory would post everything again after each start")
    return url.set(database=str(base / url.database)).render_as_string()
