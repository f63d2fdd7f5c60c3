"""``[feeds.guards]`` and what decides a feed's days, as they may be written, and what the program makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, ConfigDict
from pydantic import Field as Limits

from contrib_watch.config.problems import Problem, nearest
from contrib_watch.core.business_days import WEEKDAYS, Calendar, Expectation
from contrib_watch.core.dictionary import Dictionary, Kind
from contrib_watch.core.limits import RULES, Guards, Limit

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_LARGEST = Decimal(10) ** 12
"""Neither a limit nor a bound of a range may be farther from 0."""


def zone_name(value: str) -> str:
    """A time zone that this machine knows, or empty: the machine's own."""
    if value:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):  # KeyError: ZoneInfoNotFoundError
            raise ValueError(_NO_ZONE + nearest(value, _zone_names())) from None
    return value


@cache
def _zone_names() -> set[str]:
    return available_timezones()  # reads the whole database of zones


_NO_ZONE = 'must be an IANA time zone such as "Europe/Berlin"'


def _number(value: object) -> Decimal:
    """A TOML number as it is written: its shortest text, which is what stands in the file."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports ValueErrors
    number = Decimal(str(value))
    if not number.is_finite() or abs(number) > _LARGEST or -number.normalize().as_tuple().exponent > 6:  # type: ignore[operator]
        raise ValueError("must be within 10^12 of 0, with 6 decimals at most")
    return number


def _limit(value: object) -> Limit:
    """``"20%"`` or a number."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,9}(?:[.][0-9]{1,6})?) ?%", value.strip())
        if not match:
            raise ValueError('must be a number, or a percentage in quotes such as "20%"')
        return Limit(Decimal(match[1]), percent=True)
    number = _number(value)
    if number < 0:
        raise ValueError("must not be below 0")
    return Limit(number)


def _count_or_share(value: object) -> Limit | None:
    if value is None:
        return None
    limit = _limit(value)
    if not limit.percent and limit.value != limit.value.to_integral_value():
        raise ValueError('must be a whole number, or a percentage in quotes such as "60%"')
    return limit


def _bounds(value: object) -> tuple[Decimal, Decimal]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("must be the smallest and the largest value, such as [0, 200]")
    least, most = map(_number, value)
    if least > most:
        raise ValueError("must have the smaller value first")
    return least, most


def _action(value: object) -> object:
    if value not in ("hold", "reject"):
        raise ValueError('must be "hold" or "reject"')
    return value


def _on_breach(value: object) -> frozenset[str]:
    """The guards that reject: of ``"reject"`` all; of a table those that it names with ``"reject"``."""
    if not isinstance(value, dict):
        return frozenset(RULES) if _action(value) == "reject" else frozenset()
    for rule, action in value.items():
        if rule not in RULES:
            raise ValueError(f'has "{rule}", which is no guard' + nearest(rule, RULES))
        _action(action)
    return frozenset(rule for rule, action in value.items() if action == "reject")


def _weekdays(value: str) -> frozenset[int]:
    """``Mon-Fri``, ``Sat, Sun``, or one day -> days as date.weekday() counts."""
    days: set[int] = set()
    for part in value.split(","):
        first, _, last = (name.strip().title() for name in part.partition("-"))
        if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
            raise ValueError(
                f'must be days such as "Mon-Fri" or "Mon, Wed, Fri"; the names are {", ".join(WEEKDAYS)}'
            )
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(days)


def _days(value: object) -> frozenset[int]:
    if not isinstance(value, str):
        raise ValueError('must be days in quotes, such as "Mon-Fri"')  # noqa: TRY004 - as above
    return _weekdays(value)


def _weekend(value: object) -> frozenset[int]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError('must be a list of days, such as ["Sat", "Sun"]')
    days = frozenset().union(*map(_weekdays, value))
    if len(days) == 7:
        raise ValueError("must leave a day on which people work")
    return days


def _time_of_day(value: object) -> time:
    if not isinstance(value, str) or not re.fullmatch("[0-9]{2}:[0-9]{2}", value):
        raise ValueError('must be a time of day in quotes, such as "16:45"')
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise ValueError('must be a time of day that exists, such as "16:45"') from None


_Share = Annotated[Limit | None, BeforeValidator(_count_or_share)]


@dataclass(frozen=True, kw_only=True)
class GuardsTable:
    """``[feeds.guards]``; the keys are explained at core.limits.Guards."""

    __pydantic_config__ = _STRICT

    max_move: Mapping[str, Annotated[Limit, BeforeValidator(_limit)]] = field(default_factory=dict)
    bid_not_above_ask: bool = False
    range: Mapping[str, Annotated[tuple[Decimal, Decimal], BeforeValidator(_bounds)]] = field(default_factory=dict)
    max_changed_rows: _Share = None
    max_missing_rows: _Share = None
    max_rejected_rows: _Share = None
    max_blank: _Share = None
    max_new_rics: _Share = None
    min_rows: Annotated[int, Limits(ge=0)] = 0
    as_of: str = ""
    all_or_nothing: bool = False
    on_breach: Annotated[frozenset[str], BeforeValidator(_on_breach)] = frozenset()

    def guards(self) -> Guards:
        """The same as the program uses it."""
        return Guards(**{rule: getattr(self, rule) for rule in RULES}, rejecting=self.on_breach)


@dataclass(frozen=True, kw_only=True)
class CalendarTable:
    """``calendar`` of a feed."""

    __pydantic_config__ = _STRICT

    weekend: Annotated[frozenset[int], BeforeValidator(_weekend)] = Calendar.weekend
    holidays: str = ""

    def calendar(self, base: Path, listed: bytes | None = None) -> Calendar:
        """With the days of the file ``holidays``, or those ``listed``; raises ValueError where it cannot be read."""
        if not self.holidays and listed is None:
            return Calendar(self.weekend)
        return Calendar(self.weekend, _holidays(base / self.holidays, listed))


@dataclass(frozen=True, kw_only=True)
class ExpectTable:
    """``expect`` of a feed."""

    __pydantic_config__ = _STRICT

    by: Annotated[time, BeforeValidator(_time_of_day)]
    days: Annotated[frozenset[int] | None, BeforeValidator(_days)] = None

    def expectation(self, calendar: Calendar) -> Expectation:
        """The same as the program uses it; without days, those on which people work."""
        return Expectation(self.by, frozenset(range(7)) - calendar.weekend if self.days is None else self.days)


def _holidays(path: Path, listed: bytes | None) -> frozenset[date]:
    """One ISO date a line; what stands behind ``#`` is a comment."""
    try:
        lines = (path.read_bytes() if listed is None else listed).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"is a file that cannot be read: {path}: {error}") from None
    days = set()
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            try:
                days.add(date.fromisoformat(text))
            except ValueError:
                raise ValueError(
                    f'has in line {number} of {path} "{text}", which is no date like 2026-12-25'
                ) from None
    return frozenset(days)


def check_guards(n: int, guards: Guards, dictionary: Dictionary) -> Iterator[Problem]:
    """Guards of values whose field is no field, or no number; ``n`` is the feed's place in the file, from 1."""
    for rule, names in (("max_move", guards.max_move), ("range", guards.range)):
        for name in names:
            definition = dictionary.get(name)
            key = ("feeds", n, "guards", rule, name)
            if definition is None:
                yield Problem((key,), "is no field of the dictionary" + nearest(name, dictionary.fields))
            elif definition.kind not in (Kind.REAL, Kind.UINT, Kind.INT):
                yield Problem((key,), f"is a field of type {definition.rwf_type}, which is no number")
