"""Plays a world, and holds every promise against what is there in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from history_model import (
    Table,
    check_approvals,
    check_audit,
    check_drops,
    check_prices,
    check_reports,
    check_revert,
    check_snapshot,
    check_verified,
    table_of,
)
from random_worlds import ALONE, DECISIONS, RICS, Act, Deed, Save, Step, World
from shared_parts import folder_in_memory
from virtual_site import SERVICE, Item, Killed, Life, Site, make_feed

from contrib_watch.core.fields import Dictionary
from contrib_watch.core.limits import Guards, Limit
from contrib_watch.core.model import Drop, DropStatus, Person, Source
from contrib_watch.errors import ConfigurationError, ConnectionFailed, LoginRefused, StateError
from contrib_watch.pipeline import brake, decisions, undo
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.readback import services, wrong
from contrib_watch.simulator.faults import FaultKind, FaultScript
from contrib_watch.store.proof import prove

RULES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "": {},
        "approval": {"approval": "always"},
        "complete": {"complete": True},
        "guarded": {"guards": Guards(max_move={"BID": Limit(Decimal(60), percent=True)}, bid_not_above_ask=True)},
        "valid_for": {"valid_for_s": 10.0},
        "verify": {"verify": True},
    }
)
"""How a feed may be configured, by the name of a World's ``rules``."""
OTHER_SERVICE = "NIOTHER"
ANNA = Person("anna", Source.OS_USER, "anna")
"""Decides. Nobody else does, and nobody of this name saves files."""
OVER = (DropStatus.DONE, DropStatus.REJECTED)


def live(dictionary: Dictionary, world: World) -> None:
    """Play a history, let the faults end, and hold every promise against what is there then."""
    with folder_in_memory() as folder:
        played = History(folder, dictionary, world)
        for step in world.history:
            played.play(step)
        played.settle()
        played.check()


class History:
    """A world that is being played."""

    def __init__(self, folder: Path, dictionary: Dictionary, world: World) -> None:
        self._world = world
        posting = "on-stream" if world.on_stream else "off-stream"
        desks = make_feed("desk", service=OTHER_SERVICE if world.two_services else SERVICE, posting=posting)
        self._site = site = Site(
            folder,
            dictionary,
            make_feed("fx", posting=posting, **RULES[world.rules]),
            desks,
            faults=world.faults,
            quick=True,
            answers=world.answers,
            window=world.window,
            pack=world.pack,
            rate_limit=world.rate_limit,
        )
        site.ads.readable = world.readable
        self._make_items()
        self._tables: dict[str, Table] = {}  # what a content says, by its SHA-256
        self._feeds: set[str] = set()
        self._names: list[tuple[str, str]] = []
        self._reports: dict[Path, bytes] = {}  # all that have been there
        self._forgotten: set[Path] = set()  # those of drops that the state has lost
        self._unseen = any(fault.kind is FaultKind.FORGET_CACHE for fault in world.faults)
        self._may_lack = self._unseen or any(fault.kind is FaultKind.ACK_UNAPPLIED for fault in world.faults)
        self._emptied = False
        self._restored = False
        self._resent: set[Item] = set()  # while they were in doubt
        self._certain = not self._may_lack
        """No process has died yet, and the ADS took and kept what it acknowledged."""

    def _make_items(self) -> None:
        """Posts on streams make none."""
        for service in (SERVICE, OTHER_SERVICE) if self._world.on_stream else ():
            for ric in RICS:
                self._site.ads.load(service, ric, "{}")

    # What happens.

    def play(self, step: Step) -> None:
        """One step, whatever it ends with."""
        site = self._site
        site.clock.ahead_s += step.jump_s
        site.closed = "there is no room" if step.closed else ""
        self._certain = self._certain and not (step.die_at or step.full_at or step.at_commit)
        for act in step.acts:
            if act.after_s is None:
                site.clock.life = Life()  # of a process of its own
                with suppress(Killed):
                    self._do(act)
        for save in step.saves:
            if save.after_s is None:
                self._save(save)
        posts, drops = len(site.posts), len(site.drops())
        halted = self._halted() if not any(act.deed is Deed.RESUME for act in step.acts) else set()
        with suppress(Killed, ConnectionFailed, StateError):
            site.run(
                die_at=step.die_at,
                full_at=step.full_at,
                at_commit=step.at_commit,
                meanwhile=self._meanwhile(step),
            )
        assert not [post for post in site.posts[posts:] if post.service in halted], "a paused feed is posted"
        made = any(act.deed in (Deed.REVERT, Deed.WITHDRAW) for act in step.acts)
        assert made or not step.closed or len(site.drops()) == drops, "a drop is taken without room for it"
        self._keep_reports()

    def settle(self) -> None:
        """Nothing goes wrong any more, and a process runs to its end."""
        site = self._site
        site.ads.faults = FaultScript().start()
        site.closed = ""
        site.clock.life = Life()
        with site.desk() as desk, suppress(ConfigurationError):
            brake.resume(desk, None, ANNA)
        connections = site.wire.connections
        site.run()
        if self._world.readable:
            seen = site.wire.connections > connections
            assert site.wrong() <= site.stubborn() if seen else self._may_lack or not site.wrong()
            if site.wrong():
                self._reconcile(repair=True)
            self._may_lack = False
        self._keep_reports()

    def check(self) -> None:
        """Every promise."""
        site = self._site
        self._tables |= {drop.sha256: table_of(site, drop) for drop in site.drops() if drop.origin}
        check_drops(site)
        check_reports(site, self._tables)
        check_verified(site, self._tables)
        check_audit(site, RICS, by_time=not any(step.jump_s for step in self._world.history))
        lost = {"may_lack": self._may_lack, "unseen": self._unseen, "emptied": self._emptied}
        check_snapshot(site, **lost, forgot=self._restored)
        sharing = 1 if self._world.two_services else len(self._feeds)
        check_prices(site, self._tables, feeds=sharing, forgot=self._restored, resent=self._resent)
        if self._world.rules == "approval":
            check_approvals(site, "fx")
        reports = {path for drop in site.drops() for path in site.reports(drop.id)}
        assert {path for path in site.report_files() if path.suffix == ".csv"} == reports | self._forgotten
        self._check_quiet()
        with site.desk() as desk:
            assert prove(desk.state).misfit is None

    def _check_quiet(self) -> None:
        """A further run finds nothing to do."""
        site = self._site
        posts = len(site.posts)
        assert site.run() == []
        assert len(site.posts) == posts
        assert site.report_files() == self._reports.keys()

    def _keep_reports(self) -> None:
        """A report that is there stays as it is."""
        found = {path: path.read_bytes() for path in self._site.report_files()}
        for path, content in self._reports.items():
            assert found.get(path) == content, f"{path.name} is not what it was"
        self._reports = found

    # What people do.

    def _meanwhile(self, step: Step) -> dict[float, Callable[[Loop], None]]:
        happens: dict[float, Callable[[Loop], None]] = {}

        def arrives(save: Save) -> Callable[[Loop], None]:
            def happen(loop: Loop) -> None:
                self._save(save)
                self._site.arrive(loop, save.feed)

            return happen

        for save in step.saves:
            if save.after_s is not None:
                happens[save.after_s] = arrives(save)
        if step.stop_s is not None:
            happens[step.stop_s] = Loop.stop
        for number, act in enumerate(step.acts, start=1):
            if act.after_s is not None:
                happens[act.after_s + number / 1000] = lambda _loop, act=act: self._do(act)
        return happens

    def _save(self, save: Save) -> None:
        text, count = save.table.text(), len(self._names)
        self._tables[sha256(text.encode()).hexdigest()] = save.table
        self._feeds.add(save.feed)
        name = f"{count}.csv"
        if save.over is not None and save.over <= count and self._names[-save.over][0] == save.feed:
            name = self._names[-save.over][1]
        self._names.append((save.feed, name))
        self._site.save(text, name, save.feed, age_s=save.age_s)

    def _do(self, act: Act) -> None:
        """Something that may be refused, in words."""
        self._certain = self._certain and act.deed in DECISIONS
        if act.deed is Deed.EMPTY:
            self._may_lack = self._emptied = True
            self._site.ads_restarts()
            self._make_items()
            return
        with suppress(ConfigurationError, ConnectionFailed, LoginRefused):
            if act.deed in ALONE:
                self._do_alone(act)
            else:
                with self._site.desk() as desk:
                    self._decide(desk, act)

    def _decide(self, desk: Desk, act: Act) -> None:
        match act.deed:
            case Deed.PAUSE:
                brake.pause(desk, act.feed, ANNA)
            case Deed.RESUME:
                brake.resume(desk, act.feed, ANNA)
            case Deed.WITHDRAW:
                undo.withdraw(desk, [RICS[act.which - 1]], None, ANNA)
            case Deed.APPROVE:
                self._about(act, (DropStatus.HELD,), lambda drop: decisions.approve(desk, drop, ANNA))
            case Deed.REJECT:
                self._about(act, (DropStatus.HELD,), lambda drop: decisions.reject(desk, drop, ANNA))
            case Deed.RETRY:
                self._about(act, OVER, lambda drop: decisions.retry(desk, drop, ANNA))
            case Deed.REVERT:
                self._about(act, (DropStatus.DONE,), lambda drop: self._revert(desk, drop))

    def _about(self, act: Act, statuses: tuple[DropStatus, ...], decide: Callable[[int], object]) -> None:
        fit: list[Drop] = [one for one in self._site.drops() if one.status in statuses]
        if fit:
            decide(fit[-act.which % len(fit)].id)

    def _revert(self, desk: Desk, drop_id: int) -> None:
        made = undo.revert(desk, drop_id, ANNA)
        if self._certain:
            check_revert(self._site, desk.drops.drop(drop_id), table_of(self._site, made))

    def _reconcile(self, *, repair: bool, die_at: int | None = None) -> None:
        """What it shows is what is wrong, and where it is content after a repair, nothing is."""
        site = self._site
        chosen = _services(site)
        found = site.task(lambda task: task.reconcile(chosen, repair=repair, advanced=_nobody), die_at=die_at)
        if not self._world.readable:
            assert found.exit_code or not found.items
        elif repair:
            assert found.exit_code or self._unseen or not site.wrong()
        else:
            shown = {(one.service, one.ric) for one in wrong(found.findings) if one.certain}
            assert shown - site.dirty() == site.wrong()

    def _do_alone(self, act: Act) -> None:
        site = self._site
        match act.deed:
            case Deed.RESEND:
                self._resent |= site.dirty()
                site.task(
                    lambda task: task.resend(_services(site), "*", advanced=_nobody),
                    die_at=act.die_at,
                )
            case Deed.RECONCILE | Deed.REPAIR:
                self._reconcile(repair=act.deed is Deed.REPAIR, die_at=act.die_at)
            case Deed.BACK_UP:
                site.back_up()
            case Deed.RESTORE if site.has_backup:
                self._restored = True
                site.restore()
                known = {path for drop in site.drops() for path in site.reports(drop.id)}
                self._forgotten = {path for path in site.report_files() if path.suffix == ".csv"} - known

    def _halted(self) -> set[str]:
        """The Services of which every feed is paused."""
        with self._site.desk() as desk:
            paused = brake.paused(desk)
            going = {feed.service for feed in desk.feeds.values() if feed.name not in paused}
            return {feed.service for feed in desk.feeds.values()} - going


def _services(site: Site) -> list[str]:
    with site.desk() as desk:
        return services(desk)


def _nobody(_items: int) -> None:
    """Nobody looks at how far it is."""
