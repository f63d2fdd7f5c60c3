"""Random histories of drops, faults of the ADS, deaths of processes, failures of the store and jumps of the clock.

A number, the seed, gives a :class:`World`; :func:`live` plays it and holds every promise against what is there in the
end. :func:`shrunk` makes a world that breaks a promise as small as it can be. The worlds of a seed change with this
file: what a seed found is kept as a world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from history_model import BAD, CLEAR, FIELDS, Table, check_drops, check_prices, check_reports, check_snapshot
from shared_parts import folder_in_memory
from virtual_site import Blow, Killed, Site, make_feed

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import ConnectionFailed, StateError
from contrib_watch.pipeline.loop import Loop
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.store.proof import prove

RICS = ("A=", "B=", "C=")
FEEDS = ("fx", "fx", "desk")
CELLS = ("", "1", "1", "2", "2", "3.5", "3.50", CLEAR, BAD[0])
NAK_CODES = ("AccessDenied", "GatewayDown", "NoResponse", "SymbolUnknown", "132")
POST_FAULTS = tuple(sorted(set(FaultKind) - {FaultKind.REFUSE_LOGIN}))
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


@dataclass(frozen=True)
class Step:
    """Files are saved, and a process runs, which may die."""

    saves: tuple[Save, ...] = ()
    die_at: int | None = None
    """It dies at its n-th step."""
    at_commit: tuple[int, Blow] | None = None
    """What happens at its n-th commit."""
    jump_s: float = 0.0
    """Before it, the time of day is set forward, or back."""


@dataclass(frozen=True)
class World:
    """A history, what the ADS gets wrong in it, and how fast it is posted."""

    history: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    window: int = 256
    pack: int = 1
    rate_limit: int = 0


# --- making worlds


def world_of(seed: int) -> World:
    """The world of a seed."""
    dice = Random(seed)
    return World(
        history=tuple(_step(dice) for _ in range(dice.choice((1, 2, 2, 3)))),
        faults=tuple(_fault(dice) for _ in range(dice.choice((0, 1, 1, 2, 3)))),
        window=dice.choice((1, 2, 256)),
        pack=dice.choice((1, 1, 3)),
        rate_limit=dice.choice((0, 0, 2)),
    )


def _step(dice: Random) -> Step:
    end = dice.random()
    return Step(
        saves=tuple(_save(dice) for _ in range(dice.choice((0, 1, 1, 1, 2)))),
        die_at=dice.randint(1, 250) if end < 0.5 else None,
        at_commit=(dice.randint(1, 12), dice.choice(tuple(Blow))) if end > 0.8 else None,
        jump_s=dice.choice((-2.0, -1.0, 0.04, 1.0, 2.0)) * DAY_S if dice.random() < 0.2 else 0.0,
    )


def _save(dice: Random) -> Save:
    return Save(
        table=_table(dice),
        feed=dice.choice(FEEDS),
        over=dice.randint(1, 3) if dice.random() < 0.3 else None,
        age_s=dice.choice((-DAY_S, -5.0, 3.0, DAY_S)) if dice.random() < 0.3 else 0.0,
        after_s=dice.choice((0.005, 0.3, 1.0, 5.0, 16.0)) if dice.random() < 0.2 else None,
    )


def _table(dice: Random) -> Table:
    fields = tuple(dice.sample(FIELDS, dice.randint(1, len(FIELDS))))
    rows = [(dice.choice(RICS), tuple(dice.choice(CELLS) for _ in fields)) for _ in range(dice.randint(1, 4))]
    return Table(fields, tuple(rows))


def _fault(dice: Random) -> Fault:
    if dice.random() < 0.15:
        text = dice.choice(("", "Already pending login"))
        return Fault(kind=FaultKind.REFUSE_LOGIN, nth=dice.randint(1, 3), code="UserUnknownToPermSys", text=text)
    kind = dice.choice(POST_FAULTS)
    return Fault(
        kind=kind,
        ric=dice.choice(("*", *RICS)),
        nth=dice.choice((None, dice.randint(1, 6))),
        times=dice.randint(1, 6),
        code=dice.choice(NAK_CODES) if kind in (FaultKind.NAK, FaultKind.FORCE_LOGOUT) else "",
        delay_s=dice.choice((0.5, 14.995, 20.0, 60.0)) if kind is FaultKind.DELAY_ACK else 0.0,
        debug=dice.random() < 0.5,
    )


# --- living in them


def live(dictionary: Dictionary, world: World) -> None:
    """Play a history, let the faults end, and hold every promise against what is there then."""
    with folder_in_memory() as folder:
        limits = {"window": world.window, "pack": world.pack, "rate_limit": world.rate_limit}
        feeds = (make_feed("fx"), make_feed("desk"))
        site = Site(folder, dictionary, *feeds, faults=world.faults, quick=True, **limits)
        saved = _Saved(site)
        for step in world.history:
            _play(site, saved, step)
        settle(site)
        check_drops(site)
        check_reports(site, saved.tables)
        check_snapshot(site, cache_was_lost=any(fault.kind is FaultKind.FORGET_CACHE for fault in world.faults))
        check_prices(site, saved.tables, feeds=len(saved.feeds))
        check_quiet(site)
        check_record(site)


class _Saved:
    """What was saved."""

    def __init__(self, site: Site) -> None:
        self.tables: dict[str, Table] = {}
        """What a content says, by its SHA-256."""
        self.feeds: set[str] = set()
        self._site = site
        self._names: list[tuple[str, str]] = []

    def save(self, save: Save) -> None:
        text, count = save.table.text(), len(self._names)
        self.tables[sha256(text.encode()).hexdigest()] = save.table
        self.feeds.add(save.feed)
        name = f"{count}.csv"
        if save.over is not None and save.over <= count and self._names[-save.over][0] == save.feed:
            name = self._names[-save.over][1]
        self._names.append((save.feed, name))
        self._site.save(text, name, save.feed, age_s=save.age_s)


def _play(site: Site, saved: _Saved, step: Step) -> None:
    site.clock.ahead_s += step.jump_s
    for save in step.saves:
        if save.after_s is None:
            saved.save(save)

    def late(save: Save) -> Callable[[Loop], None]:
        def happens(loop: Loop) -> None:
            saved.save(save)
            site.arrive(loop, save.feed)

        return happens

    meanwhile = {save.after_s: late(save) for save in step.saves if save.after_s is not None}
    try:
        site.run(die_at=step.die_at, at_commit=step.at_commit, meanwhile=meanwhile)
    except (Killed, ConnectionFailed, StateError):
        return


def settle(site: Site) -> None:
    """The faults are over, and a process runs to its end."""
    site.ads.faults = FaultScript().start()
    site.run()


def check_quiet(site: Site) -> None:
    """A further run finds nothing to do."""
    posts, reports = len(site.posts), site.report_files()
    assert site.run() == []
    assert len(site.posts) == posts
    assert site.report_files() == reports


def check_record(site: Site) -> None:
    """Every drop, outcome and value of the snapshot is what the chain of records says."""
    with site.desk() as desk:
        assert prove(desk.state).misfit is None


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


def _smaller(world: World) -> Iterator[World]:
    """Worlds with less in them, those with much less first."""
    for history in _without_one(world.history):
        yield replace(world, history=history)
    for faults in _without_one(world.faults):
        yield replace(world, faults=faults)
    for name, usual in (("window", 256), ("pack", 1), ("rate_limit", 0)):
        if getattr(world, name) != usual:
            yield replace(world, **{name: usual})
    for index, step in enumerate(world.history):
        for simpler in _simpler_step(step):
            yield replace(world, history=(*world.history[:index], simpler, *world.history[index + 1 :]))


def _simpler_step(step: Step) -> Iterator[Step]:
    for saves in _without_one(step.saves):
        yield replace(step, saves=saves)
    for name, usual in (("die_at", None), ("at_commit", None), ("jump_s", 0.0)):
        if getattr(step, name) != usual:
            yield replace(step, **{name: usual})
    for index, save in enumerate(step.saves):
        for simpler in _simpler_save(save):
            yield replace(step, saves=(*step.saves[:index], simpler, *step.saves[index + 1 :]))
    die_at = step.die_at or 1
    yield from (replace(step, die_at=less) for less in range(max(1, die_at - 12), die_at))
    if step.at_commit is not None:
        number, blow = step.at_commit
        yield from (replace(step, at_commit=(less, blow)) for less in range(max(1, number - 6), number))


def _simpler_save(save: Save) -> Iterator[Save]:
    for name, usual in (("over", None), ("age_s", 0.0), ("after_s", None), ("feed", "fx")):
        if getattr(save, name) != usual:
            yield replace(save, **{name: usual})
    for rows in _without_one(save.table.rows):
        if rows:
            yield replace(save, table=replace(save.table, rows=rows))
    fields = save.table.fields
    for index in range(len(fields) if len(fields) > 1 else 0):
        rows = tuple((ric, cells[:index] + cells[index + 1 :]) for ric, cells in save.table.rows)
        yield replace(save, table=Table(fields[:index] + fields[index + 1 :], rows))


def _without_one(items: Sequence[object]) -> Iterator[tuple[object, ...]]:
    for index in range(len(items)):
        yield (*items[:index], *items[index + 1 :])
