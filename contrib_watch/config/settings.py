"""What may be configured: the sections as dataclasses, with their types, ranges and defaults.

pydantic checks them; ``FeedTable`` narrows ``contrib_watch.core.model.Feed`` to what may be written.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from encodings.aliases import aliases
from pathlib import Path, PurePath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict
from pydantic import Field as Limits

from contrib_watch.ads.tokens import Account, Grant
from contrib_watch.config.guarding import zone_name
from contrib_watch.config.problems import nearest
from contrib_watch.core.model import SET_ME, Feed
from contrib_watch.core.readers import shell_pattern

SIMULATED = "simulated"
"""The one host, and the target, that stand for the built-in simulated ADS."""
DISCOVER = "discover"
"""The one host that stands for what LSEG's service discovery names."""
TOKEN_URLS = {
    Grant.PASSWORD: "https://api.refinitiv.com/auth/oauth2/v1/token",
    Grant.CLIENT_CREDENTIALS: "https://api.refinitiv.com/auth/oauth2/v2/token",
    Grant.JWT: "https://api.refinitiv.com/auth/oauth2/v2/token",
}
"""Where each grant asks for tokens, unless ``cloud.token_url`` says otherwise."""

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


# What one key may hold. Each of these takes the value and returns it as the program uses it.


def _printable(value: str) -> str:
    if not (value and value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError("must be printable ASCII text, not empty, without spaces at its ends")
    return value


def _host(value: str) -> str:
    if value in (SIMULATED, DISCOVER):
        return value
    if "://" in value:
        raise ValueError(f'must be "host:port" without a scheme: "{value.split("://")[1].split("/")[0]}"')
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]+)", value)
    if not match:
        raise ValueError('must be "host:port", such as "ads1.example.com:15000"')
    if not 1 <= int(match[1]) <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    return value


def _https(value: str) -> str:
    parts = urlsplit(value)
    if not (parts.scheme == "https" and parts.hostname and value.isascii() and value.isprintable()):
        raise ValueError('must be an address that begins with "https://"')
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password")
    return value


def _proxy(value: str) -> str:
    if not value:
        return value
    if not value.startswith("http://"):
        raise ValueError('must be "http://host:port", or empty: without a proxy')
    if "@" in value:
        raise ValueError("must not hold a user or password: proxies that ask for a login are not supported")
    return "http://" + _host(value.removeprefix("http://").removesuffix("/"))


def _application_id(value: str) -> str:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise ValueError('must be a whole number from 1 to 65535 in quotes: "256" unless LSEG assigned another')
    return value


def _seconds(value: object) -> object:
    """Text such as ``7d`` or ``36 hours`` -> seconds; anything else as it is."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) ?(s|m|min|h|d|w|second|minute|hour|day|week)s?", value.strip())
    if not match:
        raise ValueError('must be seconds, or text such as "7d", "36h" or "90 minutes"')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}[match[2][0]]


def _bytes(value: object) -> object:
    """Text such as ``256MB`` (1024 * 1024 * 256) -> bytes; anything else as it is."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+) ?([KMG]?)i?B", value.strip())
    if not match:
        raise ValueError('must be bytes, or text such as "256MB" (KB, MB or GB)')
    return int(match[1]) * 1024 ** " KMG".index(match[2] or " ")


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _folder(value: PurePath) -> PurePath:
    if value == PurePath():
        raise ValueError("must be a path, not empty and not the configuration file's own folder")
    return value


def _feed_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(
            "must be 1 to 64 letters, digits, hyphens, underscores or dots, beginning with a letter or digit: "
            "it stands in file names and on command lines"
        )
    return value


def _pattern(value: str) -> str:
    if not value.strip() or "/" in value or "\\" in value:
        raise ValueError('must be a file name pattern such as "*.csv", without a folder')
    return value


def _done_marker(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9._~-]*[A-Za-z0-9]", value):
        raise ValueError('must be the end of a file name such as ".done", or empty: files need no marker')
    return value


def _header(value: str) -> str:
    if not value or value != value.strip(" "):
        raise ValueError("must be a column header without spaces at its ends, because headers are trimmed")
    return value


def _acronym(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value) or value != value.upper():
        raise ValueError('must be a field acronym in capital letters, such as "BID" or "TRDPRC_1"')
    return value


_NOTATIONS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Python calls them encodings, but they are ways to write one text as another."""


def _encoding(value: str) -> str:
    try:
        "".encode(value)
        is_known = codecs.lookup(value).name not in _NOTATIONS
    except (LookupError, UnicodeError):
        is_known = False
    if not is_known:
        raise ValueError("is no text encoding that Python knows" + nearest(value, {*aliases, "utf-8"}))
    return value


def _delimiter(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\r\n\0+-':
        raise ValueError(r'must be one character that stands in no value, such as ",", ";", "|" or "\t"')
    return value


def _thousands(value: str) -> str:
    if value not in ("", ",", ".", " ", "'", "’", "\u00a0", "\u202f"):
        raise ValueError("must be a comma, a point, an apostrophe or a (no-break) space, or empty: none is accepted")
    return value


def _date_format(value: str) -> str:
    if "%y" in value.replace("%%", ""):
        raise ValueError('must not have "%y": the century of a year of two digits would be guessed; use "%Y"')
    day = datetime(2026, 11, 22)  # noqa: DTZ001 - a calendar day, no moment
    try:
        whole = datetime.strptime(day.strftime(value), value) == day  # noqa: DTZ007
    except ValueError:
        whole = False
    if not whole:
        raise ValueError('must be strptime\'s notation for a day, month and year, such as "%d.%m.%Y"')
    return value


def _service(value: str) -> str:
    if value == SET_ME:
        raise ValueError("must be set: the Service to post to, as your Market Data team names it")
    return _printable(value)


def _ric_pattern(value: str) -> str:
    if value:
        shell_pattern(_printable(value))
    return value


def _clear_token(value: str) -> str:
    if not value or value != value.strip():
        raise ValueError("must not be empty or have spaces at its ends: a blank cell never clears a field")
    return value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    # Not as a minimum length: pydantic counts only the sound items, and would report a lone wrong one twice.
    if not value:
        raise ValueError("must not be empty")
    return value


_Printable = Annotated[str, AfterValidator(_printable)]
_Header = Annotated[str, AfterValidator(_header)]
_FilePath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
_Positive = Annotated[float, Limits(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Ads:
    """``[ads]``: where posts go, as whom, and how fast."""

    __pydantic_config__ = _STRICT

    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], AfterValidator(_not_empty)]
    """``host:port`` of each ADS, tried in this order; or one word alone: ``simulated``, the built-in one in this
    process, or ``discover``, those that service discovery names."""
    target: Annotated[str, AfterValidator(lambda value: value and _printable(value))] = ""
    """The name of the system behind the hosts; a state belongs to one. ``load`` fills in an empty one."""
    user: _Printable = ""
    """The DACS user of the login; a login by token needs none."""
    app_id: Annotated[str, AfterValidator(_application_id)] = "256"
    position: Annotated[str, AfterValidator(lambda value: value and _printable(value))] = ""
    """The login's Position; empty: this machine's own IPv4, decided when it connects."""
    user_id: Annotated[int, Limits(ge=0, lt=2**32)] = 0
    """PostUserInfo's UserID; 0: the process id."""
    tls: bool = False
    ca_file: _FilePath = None
    """PEM file of the authorities that ``tls`` trusts; None: the system's."""
    proxy: Annotated[str, AfterValidator(_proxy)] = ""
    """``http://host:port`` of the HTTP proxy on the way to the hosts; empty: none, whatever the environment says."""
    window: Annotated[int, Limits(ge=1, le=10_000)] = 256
    """Posts outstanding at most."""
    pack: Annotated[int, Limits(ge=1, le=100)] = 1
    """Posts in a frame at most."""
    rate_limit: Annotated[int, Limits(ge=0)] = 500
    """Posts a second over all feeds, retries included; 0: no limit."""
    ack_timeout_s: _Positive = 15.0
    """How long a post may go unanswered, counted from its sending."""
    retries: Annotated[int, Limits(ge=0)] = 3
    """How often a post is repeated after a Nak that is worth it, or no answer."""
    connect_timeout_s: _Positive = 30.0
    """How long to look for a connection before saying that there is none."""
    presence_sample: Annotated[int, Limits(ge=0, le=10_000)] = 50
    """Items of each Service that are read back after a login; 0: none, and nothing is posted again by itself."""

    @property
    def simulated(self) -> bool:
        """Whether the ADS is the built-in simulated one."""
        return self.hosts == (SIMULATED,)

    @property
    def on_trial(self) -> bool:
        """Whether nothing that is posted reaches a market."""
        return self.simulated or self.target == SIMULATED

    @property
    def discovered(self) -> bool:
        """Whether service discovery names the endpoints."""
        return self.hosts == (DISCOVER,)


@dataclass(frozen=True, kw_only=True)
class CloudTable:
    """``[cloud]``, as it may be written: logins by token. The secret comes from the environment or the keyring."""

    __pydantic_config__ = _STRICT

    grant: Grant
    client_id: _Printable
    """With ``password`` the AppKey, otherwise the service account."""
    username: Annotated[str, AfterValidator(lambda value: value and _printable(value))] = ""
    """The machine id, with ``password``."""
    region: Annotated[str, AfterValidator(lambda value: value and _printable(value))] = ""
    token_url: Annotated[str, AfterValidator(lambda value: value and _https(value))] = ""
    """Empty: LSEG's, for the grant."""
    discovery_url: Annotated[str, AfterValidator(_https)] = "https://api.refinitiv.com/streaming/pricing/v1/"
    scope: _Printable = "trapi.streaming.pricing.read"


@dataclass(frozen=True, kw_only=True)
class State:
    """``[state]``: what the program remembers, and where."""

    __pydantic_config__ = _STRICT

    folder: Annotated[Path, AfterValidator(_folder)] = Path(".contrib_watch")
    """Absolute after ``load``."""
    url: str = ""
    """The SQLite database as SQLAlchemy writes it, after ``load`` with an absolute path."""
    min_free_bytes: Annotated[int, BeforeValidator(_bytes), Limits(ge=0, validation_alias="min_free")] = 100 * 1024**2
    """With less room for the state, no file is taken: what could not be recorded must not be sent."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """``[fields]``: which field dictionary types the values."""

    __pydantic_config__ = _STRICT

    dictionary: tuple[Annotated[Path, AfterValidator(_folder)], ...] = ()
    """The site's RDMFieldDictionary and enumtype.def in any order; empty: the built-in ones."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """``[log]``: what goes to stderr."""

    __pydantic_config__ = _STRICT

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True, kw_only=True)
class FeedTable(Feed):
    """``[[feeds]]`` as it may be written. What is not narrowed here is as Feed has it; defaults are Feed's."""

    __pydantic_config__ = _STRICT

    name: Annotated[str, AfterValidator(_feed_name)]
    folder: Annotated[PurePath, AfterValidator(_folder)]
    service: Annotated[str, AfterValidator(_service)]
    patterns: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], AfterValidator(_not_empty)] = (
        Feed.patterns
    )
    header_row: Annotated[int, Limits(ge=1)] = Feed.header_row
    ric_column: _Header = Feed.ric_column
    columns: Mapping[_Header, Annotated[str, AfterValidator(_acronym)]] = field(default_factory=dict)
    ignore_columns: tuple[_Header, ...] = Feed.ignore_columns
    encoding: Annotated[str, AfterValidator(_encoding)] = Feed.encoding
    delimiter: Annotated[str, AfterValidator(_delimiter)] = Feed.delimiter
    thousands: Annotated[str, AfterValidator(_thousands)] = Feed.thousands
    date_format: Annotated[str, AfterValidator(_date_format)] = Feed.date_format
    clear_token: Annotated[str, AfterValidator(_clear_token)] = Feed.clear_token
    settle_seconds: Annotated[float, Limits(ge=0)] = Feed.settle_seconds
    done_marker: Annotated[str, AfterValidator(_done_marker)] = Feed.done_marker
    max_age_s: Annotated[float, BeforeValidator(_seconds), Limits(gt=0, validation_alias="max_age")] = Feed.max_age_s
    keep_s: Annotated[float, BeforeValidator(_seconds), Limits(ge=0, validation_alias="keep")] = Feed.keep_s
    ric_pattern: Annotated[str, AfterValidator(_ric_pattern)] = Feed.ric_pattern
    max_rows: Annotated[int, Limits(ge=1)] = Feed.max_rows
    max_bytes: Annotated[int, BeforeValidator(_bytes), Limits(ge=1)] = Feed.max_bytes
    report_folder: Annotated[PurePath | None, BeforeValidator(_none_if_empty)] = Feed.report_folder
    timezone: Annotated[str, AfterValidator(zone_name)] = Feed.timezone
    valid_for_s: Annotated[float, BeforeValidator(_seconds), Limits(ge=0, validation_alias="valid_for")] = (
        Feed.valid_for_s
    )
    approvers: tuple[_Printable, ...] = Feed.approvers


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One configuration file, checked; its paths are absolute."""

    path: Path
    ads: Ads
    cloud: Account | None = None
    """Logins by token; None: by ``ads.user``."""
    state: State
    fields: Fields
    log: Log
    feeds: tuple[Feed, ...]
    sha256: str
    """Of the file's bytes, in hexadecimal: which configuration a drop was processed under."""
    content: bytes = field(default=b"", repr=False, compare=False)
    """The file's bytes, which hold no secret; empty: the settings come from no file."""
