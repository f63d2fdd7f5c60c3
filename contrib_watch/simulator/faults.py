"""The fault script: what the simulated ADS does wrong, to which posts, and how often.

A script is data, and the same script does the same things to the same posts. As a file (TOML)::

    seed = 1
    faults = [
        { kind = "nak", ric = "BAD*", code = "AccessDenied", text = "Not yours" },
        { kind = "lose_ack", every = 100 },
        { kind = "drop_connection_after", nth = 250 },
        { kind = "refuse_login", code = "UserUnknownToPermSys", times = 1 },
    ]
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from contrib_watch.errors import ConfigurationError


class FaultKind(StrEnum):
    """What goes wrong. All but REFUSE_LOGIN happen to a post."""

    NAK = "nak"
    """Not applied; answered with ``code`` and ``text``."""
    ERROR = "error"
    """Not applied; answered with an Error, as if its JSON were at fault: the rest of the frame is lost."""
    LOSE_ACK = "lose_ack"
    """Applied, and never answered."""
    LOSE_POST = "lose_post"
    """Not applied, and never answered."""
    ACK_UNAPPLIED = "ack_unapplied"
    """Not applied, and acknowledged as if it were."""
    DELAY_ACK = "delay_ack"
    """Applied; answered after ``delay_s``."""
    REPEAT_ACK = "repeat_ack"
    """Applied; answered twice."""
    DROP_CONNECTION_BEFORE = "drop_connection_before"
    """The connection breaks off; not applied."""
    DROP_CONNECTION_AFTER = "drop_connection_after"
    """Applied; the connection breaks off before the answer."""
    GARBAGE = "garbage"
    """A frame that is not JSON (``text``, where given) comes before the answer."""
    SILENCE = "silence"
    """Not applied; from here on the connection stays open and nothing more comes, not even a Ping."""
    FORGET_CACHE = "forget_cache"
    """The whole cache is emptied before the post is applied."""
    FORCE_LOGOUT = "force_logout"
    """Applied and answered; then the login stream is closed with ``code`` and ``text``."""
    REFUSE_LOGIN = "refuse_login"
    """A login is refused with ``code`` and ``text``, and the connection closed."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault and the posts (or, for REFUSE_LOGIN, logins) that it happens to.

    All conditions must hold. A fault without conditions happens to every post.
    """

    kind: FaultKind
    ric: str = "*"
    """A pattern as of file names, case-sensitive; for REFUSE_LOGIN it is matched against the user's name."""
    post_ids: tuple[int, ...] = ()
    """Only these; empty: any."""
    nth: int | None = None
    """Only the nth post that fits ``ric`` and ``post_ids``, counted from 1 over all connections."""
    every: int | None = None
    """Every nth post that fits ``ric`` and ``post_ids``."""
    times: int | None = None
    """At most so often."""
    chance: float = 1.0
    """The probability, 0 to 1, drawn from the script's seed."""
    code: str | int = ""
    """NakCode, or the State's Code."""
    text: str = ""
    delay_s: float = 0.0
    debug: bool = True
    """Whether an Error says File, Line and Offset, or only the message."""


_POST_KINDS = frozenset(FaultKind) - {FaultKind.REFUSE_LOGIN}
_ONLY_FOR = {
    "code": {FaultKind.NAK, FaultKind.FORCE_LOGOUT, FaultKind.REFUSE_LOGIN},
    "text": {
        FaultKind.NAK,
        FaultKind.ERROR,
        FaultKind.GARBAGE,
        FaultKind.FORCE_LOGOUT,
        FaultKind.REFUSE_LOGIN,
    },
    "delay_s": {FaultKind.DELAY_ACK},
    "debug": {FaultKind.ERROR},
    "post_ids": _POST_KINDS,
}
_REQUIRED = {FaultKind.NAK: "code", FaultKind.REFUSE_LOGIN: "code", FaultKind.DELAY_ACK: "delay_s"}
_POSITIVE = ("nth", "every", "times", "delay_s")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "kind": ((str,), "a text"),
    "ric": ((str,), "a text"),
    "post_ids": ((list,), "a list of whole numbers"),
    "nth": ((int,), "a whole number"),
    "every": ((int,), "a whole number"),
    "times": ((int,), "a whole number"),
    "chance": ((int, float), "a number"),
    "code": ((str, int), "a text or a whole number"),
    "text": ((str,), "a text"),
    "delay_s": ((int, float), "a number"),
    "debug": ((bool,), "true or false"),
}


@dataclass(frozen=True)
class FaultScript:
    """Faults in the order in which they are considered. Several may happen to one post."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FaultScript:
        """The script of a parsed JSON or TOML file. Raises ConfigurationError that names every problem."""
        problems = [
            f'"{key}" is not a key of a fault script{_nearest(key, ("seed", "faults"))}'
            for key in data
            if key not in ("seed", "faults")
        ]
        seed, entries = data.get("seed", 0), data.get("faults", [])
        if type(seed) is not int:
            problems.append("seed must be a whole number")
        if not isinstance(entries, list):
            problems.append("faults must be a list")
            entries = []
        for index, entry in enumerate(entries):
            problems += [f"faults[{index}]: {problem}" for problem in _problems(entry)]
        if problems:
            raise ConfigurationError(
                "; ".join(problems), where="fault script", hint="Mend the script and start again"
            )
        return cls(tuple(_fault(entry) for entry in entries), seed)

    def start(self) -> FaultRun:
        """The script with its counters at zero."""
        return FaultRun(self)


_NOTHING: Mapping[FaultKind, Fault] = MappingProxyType({})


class FaultRun:
    """A script on its way: knows how many posts and logins there have been."""

    def __init__(self, script: FaultScript) -> None:
        self._post_faults = [_Counted(fault) for fault in script.faults if fault.kind in _POST_KINDS]
        self._login_faults = [_Counted(fault) for fault in script.faults if fault.kind not in _POST_KINDS]
        self._random = random.Random(script.seed)  # noqa: S311 - to be repeatable is its purpose

    def for_post(self, ric: str, post_id: int) -> Mapping[FaultKind, Fault]:
        """What happens to this post: at most one fault of a kind, the first in the script."""
        return self._due(self._post_faults, ric, post_id)

    def for_login(self, user: str) -> Fault | None:
        """The refusal that this login gets, if any."""
        return self._due(self._login_faults, user, None).get(FaultKind.REFUSE_LOGIN)

    def _due(self, counted: list[_Counted], name: str, post_id: int | None) -> Mapping[FaultKind, Fault]:
        if not counted:
            return _NOTHING
        due: dict[FaultKind, Fault] = {}
        for entry in counted:
            if entry.is_due(name, post_id, self._random):
                due.setdefault(entry.fault.kind, entry.fault)
        return due


class _Counted:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._fitting = 0
        self._happened = 0

    def is_due(self, name: str, post_id: int | None, dice: random.Random) -> bool:
        fault = self.fault
        if fault.ric != "*" and not fnmatchcase(name, fault.ric):
            return False
        if fault.post_ids and post_id not in fault.post_ids:
            return False
        self._fitting += 1
        due = (
            (fault.nth is None or self._fitting == fault.nth)
            and (fault.every is None or self._fitting % fault.every == 0)
            and (fault.times is None or self._happened < fault.times)
            and (fault.chance >= 1.0 or dice.random() < fault.chance)
        )
        self._happened += due
        return due


def _fault(entry: Mapping[str, Any]) -> Fault:
    values = dict(entry)
    values["kind"] = FaultKind(values["kind"])
    values["post_ids"] = tuple(values.get("post_ids", ()))
    return Fault(**values)


def _problems(entry: object) -> list[str]:
    if not isinstance(entry, Mapping):
        return ["must be a table of keys and values"]
    problems = [f'"{key}" is not a key of a fault{_nearest(key, _TYPES)}' for key in entry if key not in _TYPES]
    problems += [
        f"{key} must be {_TYPES[key][1]}"
        for key, value in entry.items()
        if key in _TYPES and not _has_type(key, value)
    ]
    return problems or _misuse(entry)


def _has_type(key: str, value: object) -> bool:
    if key == "post_ids":
        return isinstance(value, list) and all(type(post_id) is int for post_id in value)
    return type(value) in _TYPES[key][0]  # exactly: True is no whole number


def _misuse(entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with an entry whose keys and types are right."""
    if "kind" not in entry:
        return ["kind is missing"]
    kinds = [str(kind) for kind in FaultKind]
    if entry["kind"] not in kinds:
        return [f'"{entry["kind"]}" is not a kind of fault{_nearest(entry["kind"], kinds)}']
    kind = FaultKind(entry["kind"])
    problems = [f"{key} means nothing for {kind}" for key in entry if key in _ONLY_FOR and kind not in _ONLY_FOR[key]]
    problems += [f"{key} must be more than 0" for key in _POSITIVE if key in entry and entry[key] <= 0]
    if not 0 <= entry.get("chance", 1) <= 1:
        problems.append("chance must be from 0 to 1")
    if kind in _REQUIRED and _REQUIRED[kind] not in entry:
        problems.append(f"{kind} needs {_REQUIRED[kind]}")
    return problems


def _nearest(word: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(word), list(known), n=1)
    return f', did you mean "{close[0]}"?' if close else ""
