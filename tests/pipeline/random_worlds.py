"""Worlds: histories of drops, decisions, faults of the ADS, deaths of processes, and whatever else goes wrong.

A number, the seed, gives a :class:`World`; ``random_histories`` plays it. :func:`shrunk` makes a world that breaks a
promise as small as it can be. The worlds of a seed change with this file: what a seed found is kept as a world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from history_model import BAD, CLEAR, FIELDS, Table
from virtual_site import Blow

from contrib_watch.simulator.faults import Fault, FaultKind

RICS = ("A=", "B=", "C=")
FEEDS = ("fx", "fx", "desk")
CELLS = ("", "1", "1", "1.5", "2", "2", "3", "3.5", "3.50", CLEAR, "", "1", "1.5", "2", "2", "3", BAD[0])
NAK_CODES = ("AccessDenied", "GatewayDown", "NoResponse", "SymbolUnknown", "132")
LIE = FaultKind.ACK_UNAPPLIED
POST_FAULTS = (*sorted(set(FaultKind) - {FaultKind.REFUSE_LOGIN}), LIE, LIE)
DAY_S = 86_400.0


@dataclass(frozen=True)
class Save:
    """A file is saved."""

    table: Table
    feed: str = "fx"
    over: int | None = None
    """Over the file that was saved so many saves before, where that was in the same feed; None: a new name."""
    age_s: float = 0.0
    """Its mtime is so old; below 0: in the future."""
    after_s: float | None = None
    """So long after the start of the step's process, should it live that long; None: before it starts."""


class Deed(StrEnum):
    """What a person or the ADS does."""

    APPROVE = "approve"
    REJECT = "reject"
    RETRY = "retry"
    REVERT = "revert"
    WITHDRAW = "withdraw"
    PAUSE = "pause"
    RESUME = "resume"
    EMPTY = "empty"
    """The ADS restarts, and has lost its cache."""
    RESEND = "resend"
    RECONCILE = "reconcile"
    REPAIR = "reconcile --repair"
    BACK_UP = "state backup"
    RESTORE = "state restore"


DECISIONS = (Deed.APPROVE, Deed.REJECT, Deed.RETRY, Deed.REVERT, Deed.WITHDRAW, Deed.PAUSE, Deed.RESUME)
ALONE = (Deed.RESEND, Deed.RECONCILE, Deed.REPAIR, Deed.BACK_UP, Deed.RESTORE)
"""What can only be done while no process sends."""


@dataclass(frozen=True)
class Act:
    """Something is done."""

    deed: Deed
    feed: str = "fx"
    """What is paused, or goes on."""
    which: int = 1
    """To which it is done: the n-th newest drop of those that fit, counted in a circle, or the n-th RIC."""
    after_s: float | None = None
    """As of a save."""
    die_at: int | None = None
    """The process that does it dies at its n-th step; of RESEND, RECONCILE and REPAIR."""


@dataclass(frozen=True)
class Step:
    """Something is done, files are saved, and a process runs, which may die."""

    saves: tuple[Save, ...] = ()
    acts: tuple[Act, ...] = ()
    die_at: int | None = None
    """It dies at its n-th step."""
    full_at: int | None = None
    """From its n-th change on the disk or commit on, the disk is full."""
    at_commit: tuple[int, Blow] | None = None
    """What happens at its n-th commit."""
    stop_s: float | None = None
    """It is told to stop so long after its start, should it live that long."""
    closed: bool = False
    """There is no room for another drop (min_free)."""
    jump_s: float = 0.0
    """Before it, the time of day is set forward, or back."""


@dataclass(frozen=True)
class World:
    """A history, what the ADS gets wrong in it, how the feeds are configured, and how fast they are posted."""

    history: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    window: int = 256
    pack: int = 1
    rate_limit: int = 0
    rules: str = ""
    """What the feed ``fx`` has beside its name, see random_histories.RULES."""
    two_services: bool = False
    """The feed ``desk`` has a Service of its own."""
    readable: bool = True
    """Whether the user may read items."""
    answers: str = ""
    """How the ADS answers packs: a keyword of SimulatedAds that is true."""
    on_stream: bool = False
    """Feeds post on their items' streams; whoever makes the items makes them anew when the ADS has lost its cache."""


# --- making worlds


def world_of(seed: int) -> World:
    """The world of a seed."""
    dice = Random(seed)
    rules = dice.choice(("", "", "approval", "complete", "guarded", "valid_for", "verify"))
    eventful = dice.random() < 0.7
    faults = tuple(_fault(dice, rules) for _ in range(dice.choice((0, 1, 1, 2, 3))))
    return World(
        history=_eventful(dice, rules) if eventful else tuple(_step(dice) for _ in range(dice.choice((1, 2, 2, 3)))),
        faults=faults,
        window=dice.choice((1, 2, 256)),
        pack=dice.choice((1, 1, 3)),
        rate_limit=dice.choice((0, 0, 2)),
        rules=rules,
        two_services=dice.random() < 0.3,
        readable=dice.random() > 0.15,
        answers=dice.choice(("", "", "packed_acks", "errors_first", "errors_lost")),
        on_stream=not any(fault.kind is FaultKind.FORGET_CACHE for fault in faults) and dice.random() < 0.2,
    )


def _eventful(dice: Random, rules: str) -> tuple[Step, ...]:
    """Steps of which most end in order, so that there is something to decide about in the next."""
    deeds = [*DECISIONS, *DECISIONS, *[Deed.REVERT] * 4, Deed.EMPTY, Deed.RESEND, Deed.RECONCILE, Deed.REPAIR]
    deeds += [Deed.APPROVE] * (12 if rules in ("approval", "guarded", "valid_for") else 0)
    steps = [_step(dice, calm=dice.random() < 0.6) for _ in range(dice.choice((2, 3, 3, 4)))]
    for number, step in enumerate(steps[1:], start=1):
        acts = tuple(_act(dice, dice.choice(deeds)) for _ in range(dice.choice((0, 1, 1, 2))))
        steps[number] = replace(step, acts=acts)
    if dice.random() < 0.2:
        first = dice.randrange(len(steps) - 1)
        for number, deed in ((first, Deed.BACK_UP), (dice.randrange(first + 1, len(steps)), Deed.RESTORE)):
            steps[number] = replace(steps[number], acts=(Act(deed), *steps[number].acts))
    return tuple(steps)


def _step(dice: Random, *, calm: bool = False) -> Step:
    end = 0.6 if calm else dice.random()
    saves = tuple(_save(dice) for _ in range(dice.choice((0, 1, 1, 1, 2))))
    return Step(
        saves=_burst(dice) + saves if dice.random() < 0.04 else saves,
        die_at=dice.randint(1, 250) if end < 0.4 else None,
        full_at=dice.randint(1, 40) if 0.4 <= end < 0.5 else None,
        at_commit=(dice.randint(1, 12), dice.choice(tuple(Blow))) if end > 0.8 else None,
        stop_s=dice.choice((0.0, 0.015, 0.025, 0.05, 0.3, 1.0, 5.0)) if dice.random() < 0.1 else None,
        closed=0.75 < end < 0.8,
        jump_s=dice.choice((-2.0, -1.0, 0.04, 1.0, 2.0)) * DAY_S if dice.random() < 0.2 else 0.0,
    )


def _act(dice: Random, deed: Deed) -> Act:
    meanwhile = deed not in ALONE and dice.random() < 0.3
    return Act(
        deed,
        feed=dice.choice(FEEDS),
        which=dice.choice((1, 1, 1, 1, 2, 3)),
        after_s=dice.choice((0.005, 0.015, 0.025, 0.3, 1.0, 5.0)) if meanwhile else None,
        die_at=dice.randint(1, 60) if deed in (Deed.RESEND, Deed.REPAIR) and dice.random() < 0.4 else None,
    )


def _save(dice: Random) -> Save:
    return Save(
        table=_table(dice),
        feed=dice.choice(FEEDS),
        over=dice.randint(1, 3) if dice.random() < 0.3 else None,
        age_s=dice.choice((-DAY_S, -5.0, 3.0, DAY_S, 8 * DAY_S)) if dice.random() < 0.3 else 0.0,
        after_s=dice.choice((0.005, 0.3, 1.0, 5.0, 16.0)) if dice.random() < 0.2 else None,
    )


def _burst(dice: Random) -> tuple[Save, ...]:
    """One feed saves one file again and again, which leaves the other with few turns."""
    feed, every_s = dice.choice(FEEDS), dice.choice((0.005, 0.05, 0.6))
    first = replace(_save(dice), feed=feed, over=None, age_s=0.0, after_s=None)
    times = range(1, dice.randint(3, 6))
    return (first, *(Save(_table(dice), feed, over=1, after_s=number * every_s) for number in times))


def _table(dice: Random) -> Table:
    fields = tuple(dice.sample(FIELDS, dice.randint(1, len(FIELDS))))
    twins = dice.random() < 0.1
    rics = [dice.choice(RICS) for _ in range(4)] if twins else dice.sample(RICS, dice.randint(1, len(RICS)))
    rows = [(ric, tuple(dice.choice(CELLS) for _ in fields)) for ric in rics]
    return Table(fields, tuple(rows))


def _fault(dice: Random, rules: str) -> Fault:
    if dice.random() < 0.15:
        text = dice.choice(("", "Already pending login"))
        return Fault(kind=FaultKind.REFUSE_LOGIN, nth=dice.randint(1, 3), code="UserUnknownToPermSys", text=text)
    kind = dice.choice(POST_FAULTS + (LIE,) * 10 if rules == "verify" else POST_FAULTS)
    return Fault(
        kind=kind,
        ric=dice.choice(("*", *RICS)),
        nth=dice.choice((None, dice.randint(1, 6))),
        times=dice.choice((1, 2, 3, 4, 6, 30)),
        code=dice.choice(NAK_CODES) if kind in (FaultKind.NAK, FaultKind.FORCE_LOGOUT) else "",
        delay_s=dice.choice((0.5, 14.995, 20.0, 60.0)) if kind is FaultKind.DELAY_ACK else 0.0,
        debug=dice.random() < 0.5,
    )


# --- making them smaller


def shrunk(world: World, breaks: Callable[[World], bool]) -> World:
    """A world that still ``breaks`` a promise, and of which nothing can be left out."""
    while True:
        for smaller in _smaller(world):
            if breaks(smaller):
                world = smaller
                break
        else:
            return world


def _smaller(thing: Any) -> Iterator[Any]:
    """A world, or a part of one, with less in it; what has much less first."""
    parts = {one.name: getattr(thing, one.name) for one in fields(thing)}
    lists = {name: part for name, part in parts.items() if isinstance(part, tuple) and part and is_dataclass(part[0])}
    for name, items in lists.items():
        yield from (replace(thing, **{name: fewer}) for fewer in _without_one(items))
    for one in fields(thing):
        if one.default is not MISSING and one.name not in lists and parts[one.name] != one.default:
            yield replace(thing, **{one.name: one.default})
    for name, items in lists.items():
        for index, item in enumerate(items):
            if not isinstance(item, Fault):  # its keys hang together
                for less in _smaller(item):
                    yield replace(thing, **{name: (*items[:index], less, *items[index + 1 :])})
    if isinstance(thing, Save):
        yield from (replace(thing, table=table) for table in _smaller_tables(thing.table))
    for name in ("die_at", "full_at"):
        if number := parts.get(name):
            yield from (replace(thing, **{name: less}) for less in range(max(1, number - 12), number))
    if parts.get("at_commit"):
        number, blow = parts["at_commit"]
        yield from (replace(thing, at_commit=(less, blow)) for less in range(max(1, number - 6), number))


def _smaller_tables(table: Table) -> Iterator[Table]:
    for rows in _without_one(table.rows):
        if rows:
            yield replace(table, rows=rows)
    for index in range(len(table.fields) if len(table.fields) > 1 else 0):
        rows = tuple((ric, cells[:index] + cells[index + 1 :]) for ric, cells in table.rows)
        yield Table(table.fields[:index] + table.fields[index + 1 :], rows)


def _without_one(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for index in range(len(items)):
        yield (*items[:index], *items[index + 1 :])
