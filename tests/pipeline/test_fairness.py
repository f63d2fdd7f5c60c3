"""Feeds take turns: a large load, a slow file or a share that hangs leaves the other feeds alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest
from checks import told
from virtual_site import SERVICE, NewSite, Site, make_feed, script, sheet

from contrib_watch.core.model import NOBODY
from contrib_watch.pipeline import brake
from contrib_watch.pipeline.aside import (
    Aside,
    Begun,
    Procedure,
    Steps,
    at_once,
    done_at_once,
    in_thread,
    side_by_side,
)
from contrib_watch.pipeline.loop import Loop
from contrib_watch.pipeline.publishing import PATIENCE_S
from contrib_watch.simulator.faults import Fault, FaultKind

T = TypeVar("T")
RATE = 500
URGENT = [f"U{number}=" for number in range(10)]


def prices(value: int, *rics: str) -> str:
    """The same BID for each of these RICs."""
    return sheet("RIC,BID", *(f"{ric},{value}" for ric in rics))


def load(rows: int) -> str:
    return prices(1, *(f"L{number}=" for number in range(rows)))


# --- the wire


@pytest.mark.parametrize("window", [256, 10_000])
def test_ten_urgent_rows_overtake_a_large_load(new_site: NewSite, window: int) -> None:
    """The run ends once the urgent rows are through: what then becomes of the 30,000 others says nothing more."""
    site = new_site(make_feed("bulk"), make_feed("urgent"), window=window, rate_limit=RATE)
    saved_s: list[float] = []

    def urgent(loop: Loop) -> None:
        site.save(prices(1, *URGENT), feed="urgent")
        saved_s.append(site.clock.now_s)
        site.arrive(loop, "urgent")

    site.save(load(30_000), feed="bulk")
    site.run(once=False, meanwhile={0.5: urgent, 3.6: Loop.stop})
    sent = {ric: at_s for at_s, ric in site.wire.sent_at}
    assert max(sent[ric] for ric in URGENT) - saved_s[0] <= 2.0
    assert site.totals(2) == {"acked": len(URGENT)}
    before = [ric for at_s, ric in site.wire.sent_at if at_s <= saved_s[0]]
    assert len(before) > RATE / 4  # the load was on its way


def test_the_rate_limit_is_used_and_kept(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("desk"), window=64, rate_limit=100)
    site.save(load(200), feed="fx")
    site.save(prices(1, *(f"D{number}=" for number in range(200))), feed="desk")
    site.run()
    moments = [at_s for at_s, _ in site.wire.sent_at]
    took_s = moments[-1] - moments[0]
    assert 3.5 < took_s < 4.2
    later = [moment - first for first, moment in zip(moments, moments[111:], strict=False)]
    assert min(later) >= 0.99


def test_drops_that_overtake_one_another_send_each_ric_in_turn(new_site: NewSite) -> None:
    """Where a feed's next drop comes before the last one is through, its last rows do not wait forever."""
    site = new_site(make_feed("fx"), rate_limit=10)
    rics = [f"R{number:02}=" for number in range(30)]
    values = iter(range(2, 100))

    def next_drop(loop: Loop) -> None:
        value = next(values)
        site.save(prices(value, *rics), f"{value}.csv")
        site.arrive(loop)

    site.save(prices(1, *rics))
    site.run(once=False, meanwhile={**dict.fromkeys(range(1, 40, 2), next_drop), 40.5: Loop.stop})
    sent = Counter(ric for _, ric in site.wire.sent_at)
    assert sum(site.totals(drop_id).get("superseded", 0) > 0 for drop_id in range(1, 15)) > 10
    assert 2 * min(sent[ric] for ric in rics) >= max(sent.values())
    newest: dict[str, int] = {}
    for _, ric, fields in site.sent():
        assert int(fields["BID"]) >= newest.get(ric, 0), "an older price went out after a newer one"
        newest[ric] = int(fields["BID"])


def test_rics_that_are_always_refused_keep_no_other_from_its_turn(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), rate_limit=10, retries=0, ack_timeout_s=1.0)
    good, refused, unheard = ([f"{letter}{number:02}=" for number in range(20)] for letter in "ANU")
    site.ads.faults = script(
        Fault(kind=FaultKind.NAK, ric="N*", code="AccessDenied", text="no"),
        Fault(kind=FaultKind.LOSE_ACK, ric="U*"),
    )
    values = iter(range(2, 100))

    def next_drop(loop: Loop) -> None:
        value = next(values)
        site.save(prices(value, *good, *refused, *unheard), f"{value}.csv")
        site.arrive(loop)

    site.save(prices(1, *good, *refused, *unheard))
    site.run(once=False, meanwhile={**dict.fromkeys(range(1, 80, 2), next_drop), 80.5: Loop.stop})
    sent = Counter(ric for _, ric in site.wire.sent_at)
    assert 2 * min(sent[ric] for ric in (*good, *refused, *unheard)) >= max(sent.values())


def test_feeds_that_post_the_same_rics_to_two_services_have_turns_of_their_own(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("other", service="OTHER"), rate_limit=40, window=10)
    rics = [f"R{number:02}=" for number in range(60)]
    values = iter(range(2, 100))

    def next_drops(loop: Loop) -> None:
        value = next(values)
        for feed in ("fx", "other")[: 1 + value % 2]:  # of the other feed half as many
            site.save(prices(value, *rics), f"{value}.csv", feed=feed)
            site.arrive(loop, feed)

    site.run(once=False, meanwhile={**dict.fromkeys(range(1, 80, 2), next_drops), 80.5: Loop.stop})
    sent = Counter((post.service, post.ric) for post in site.posts)
    for service in (SERVICE, "OTHER"):
        turns = [sent[service, ric] for ric in rics]
        assert 2 * min(turns) >= max(turns)


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_service_that_is_down_leaves_another_to_be_repaired(new_site: NewSite, is_cut: bool) -> None:
    site = new_site(make_feed("fx"), make_feed("slow", service="SLOW"), rate_limit=50)
    lost, others = ([f"{letter}{number:02}=" for number in range(30)] for letter in "AB")
    site.save(prices(1, *lost))
    site.save(prices(1, *others), feed="slow")
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.NAK, ric="B*", code="SourceDown"))
    there: list[int] = []

    def look(_: Loop) -> None:
        there.append(len(site.cache()))

    def lose_once_more(loop: Loop) -> None:
        look(loop)
        site.ads.items.forget()
        if is_cut:
            site.link.cut("the server is gone")
        else:
            site.save(prices(2, *lost[:2]), "2.csv")
            site.arrive(loop)

    def up(_: Loop) -> None:
        site.ads.faults = script()

    site.run(once=False, meanwhile={30: lose_once_more, 300: look, 301: up, 600: look, 601: Loop.stop})
    assert there == [30, 30, 60]
    assert told(site)["state"] == "repaired"


@pytest.mark.parametrize("pause_s", [1.75, 2.25])
def test_a_pause_during_a_repair_leaves_nothing_on_the_wire(new_site: NewSite, pause_s: float) -> None:
    site = new_site(make_feed("fx"), make_feed("other"), rate_limit=5)
    rics = [f"R{number}=" for number in range(10)]
    site.save(prices(1, *rics))
    site.save(prices(1, "O="), feed="other")
    site.run()
    site.ads.items.forget()
    site.ads.faults = script(Fault(kind=FaultKind.DELAY_ACK, delay_s=1.0))
    site.save(prices(2, rics[0]), "2.csv")
    loops: list[Loop] = []

    def pause(loop: Loop) -> None:
        loops.append(loop)
        brake.pause(loop._desk, "other", NOBODY)

    site.run(meanwhile={pause_s: pause})
    with site.desk() as desk:
        assert desk.ledger.uncertain()["in_flight"] == 0
    assert told(site, "suspect")
    assert [loop.repair_waits for loop in loops] == [True]


def test_a_repair_takes_turns_with_drops_that_never_end(new_site: NewSite) -> None:
    site = new_site(make_feed("quiet"), make_feed("busy"), rate_limit=10)
    lost = [f"Q{number:02}=" for number in range(30)]
    busy = [f"B{number:03}=" for number in range(200)]
    site.save(prices(1, *lost), feed="quiet")
    site.save(prices(1, *busy), feed="busy")
    site.run()
    site.ads.items.forget()
    values = iter(range(3, 100))
    whole_after: list[bool] = []

    def next_drop(loop: Loop) -> None:
        value = next(values)
        site.save(prices(value, *busy), f"{value}.csv", feed="busy")
        site.arrive(loop, "busy")

    def look(_: Loop) -> None:
        whole_after.append({(SERVICE, ric) for ric in lost} <= site.cache().keys())

    site.save(prices(2, *busy), feed="busy")
    begun_s, before = site.clock.now_s, len(site.posts)
    next_drops = dict.fromkeys(range(10, 100, 10), next_drop)
    site.run(once=False, meanwhile={**next_drops, 15: look, 300: Loop.stop})
    assert whole_after == [True]
    repaired = [at_s - begun_s for at_s, ric in site.wire.sent_at[before:] if ric in lost]
    meanwhile = [ric for at_s, ric in site.wire.sent_at[before:] if at_s - begun_s <= repaired[-1] and ric in busy]
    assert len(repaired) == len(lost)
    assert len(lost) // 3 <= len(meanwhile) <= 2 * len(lost)
    assert site.cache() == site.snapshot()


def test_what_is_lost_while_the_last_step_of_a_check_waits_for_drops_that_never_end_is_missed(
    new_site: NewSite,
) -> None:
    site = new_site(make_feed("quiet"), make_feed("busy"), rate_limit=1)
    quiet, busy = [f"Q{number}=" for number in range(10)], [f"B{number}=" for number in range(4)]
    site.save(prices(1, *quiet), feed="quiet")
    site.save(prices(1, *busy), feed="busy")
    site.run()
    values = iter(range(2, 100))
    there: list[int] = []

    def next_drop(loop: Loop) -> None:
        value = next(values)
        site.save(prices(value, *busy), f"{value}.csv", feed="busy")
        site.arrive(loop, "busy")

    def lose(*rics: str) -> None:
        there.append(sum((SERVICE, ric) in site.cache() for ric in quiet))
        for ric in rics:
            site.ads.items._cache.pop((SERVICE, ric), None)

    next_drops = dict.fromkeys(range(10, 160, 3), next_drop)
    losses = {22.5: lambda _: lose("B0=", "Q0="), 62.5: lambda _: lose(*busy, *quiet), 145.5: lambda _: lose()}
    site.run(once=False, meanwhile={**next_drops, **losses, 400: Loop.stop})
    assert there == [10, 10, 10]
    assert site.cache() == site.snapshot()


# --- what is done aside


class Held:
    """An aside whose work is done when somebody says so."""

    def __init__(self) -> None:
        self.held: list[tuple[Callable[[], object], Future[object]]] = []

    def __call__(self, work: Callable[[], T], /) -> Future[T]:
        future: Future[T] = Future()
        self.held.append((work, future))  # type: ignore[arg-type]
        return future

    def do_next(self) -> None:
        work, future = self.held.pop(0)
        future.set_result(work())


def test_steps_wait_for_their_work() -> None:
    held, told = Held(), []

    def steps() -> Steps[int]:
        first: int = yield lambda: 1
        second: int = yield lambda: first + 1
        return second + 1

    procedure = Procedure(steps(), held, lambda: told.append(1))
    for _ in range(2):
        assert not procedure.advance()
        assert not procedure.advance()
        held.do_next()
    assert procedure.advance()
    assert procedure.result() == 3
    assert len(told) == 2


def test_steps_go_on_beside_work_that_they_have_begun() -> None:
    held, told, done = Held(), [], []

    def steps() -> Steps[tuple[int, int]]:
        begun: Future[int] = yield Begun(lambda: 1)
        done.append("beside it")
        second: int = yield lambda: 2
        return (yield begun), second

    procedure = Procedure(steps(), held, lambda: told.append(1))
    assert not procedure.advance()
    assert done == ["beside it"]
    assert len(held.held) == 2
    held.held.reverse()
    held.do_next()
    assert not procedure.advance()
    held.do_next()
    assert procedure.advance()
    assert procedure.result() == (1, 2)
    assert len(told) == 2
    assert done_at_once(steps()) == (1, 2)


@pytest.mark.parametrize("rows", [1, 1_000_000])
def test_parts_of_few_and_of_many_rows_come_back_in_order(rows: int) -> None:
    with side_by_side(rows) as each:
        assert list(each(lambda number: number + 1, range(100))) == list(range(1, 101))


@pytest.mark.parametrize("aside", [at_once, in_thread])
def test_what_was_begun_and_fails_does_so_when_it_is_waited_for(aside: Aside) -> None:
    done = threading.Event()

    def fail() -> None:
        raise OSError("gone")

    def steps() -> Steps[str]:
        begun: Future[None] = yield Begun(fail)
        try:
            yield begun
        except OSError as error:
            return str(error)
        return "nothing"

    procedure = Procedure(steps(), aside, done.set)
    assert procedure.advance() or (done.wait(10) and procedure.advance())
    assert procedure.result() == "gone"


@pytest.mark.parametrize("aside", [at_once, in_thread])
def test_what_fails_aside_fails_in_the_steps(aside: object) -> None:
    done = threading.Event()

    def fail() -> None:
        raise OSError("gone")

    def steps() -> Steps[str]:
        try:
            yield fail
        except OSError as error:
            return str(error)

    procedure = Procedure(steps(), aside, done.set)  # type: ignore[arg-type]
    assert procedure.advance() or (done.wait(10) and procedure.advance())
    assert procedure.result() == "gone"


def test_steps_that_fail() -> None:
    def steps() -> Steps[None]:
        yield lambda: None
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        done_at_once(steps())


def test_work_that_is_given_up() -> None:
    held = Held()

    def steps() -> Steps[str]:
        try:
            yield lambda: None
        except TimeoutError:
            return "went on"
        return "waited"

    procedure = Procedure(steps(), held)
    procedure.advance()
    abandoned = procedure.give_up(TimeoutError())
    assert procedure.advance()
    assert procedure.result() == "went on"
    assert not abandoned.done()


# --- a share that hangs


def hanging(folder: Path) -> Aside:
    """An aside in which whatever is to be written into a folder never ends, as in a dead share."""

    def aside(work: Callable[[], T], /) -> Future[T]:
        return Future() if folder in getattr(work, "args", ()) else at_once(work)

    return aside


def test_a_report_on_a_share_that_hangs_goes_elsewhere_and_stops_nobody(new_site: NewSite) -> None:
    site = new_site(make_feed("dead"), make_feed("fx"))

    def more(loop: Loop) -> None:
        for feed in ("dead", "fx"):
            site.save(prices(2, f"{feed.upper()}="), "2.csv", feed)
            site.arrive(loop, feed)

    def late(loop: Loop) -> None:
        site.save(prices(3, "DEAD="), "3.csv", "dead")
        site.arrive(loop, "dead")

    for feed in ("dead", "fx"):
        site.save(prices(1, f"{feed.upper()}="), "1.csv", feed)
    moments = {5.0: more, PATIENCE_S + 10.0: late, PATIENCE_S + 15.0: Loop.stop}
    site.run(once=False, meanwhile=moments, aside=hanging(site.base / "inbox" / "dead"))
    drops = site.drops()
    assert [(drop.feed, site.totals(drop.id)) for drop in drops] == [
        (feed, {"acked": 1}) for feed in ("dead", "fx", "dead", "fx", "dead")
    ]
    assert [site.report(drop.id).parent.name for drop in drops] == ["reports", "fx", "reports", "fx", "reports"]
    assert [row["status"] for row in site.rows(3)] == ["acked"]


def test_a_report_that_was_not_written_before_a_stop_is_written_by_the_next_start(site: Site) -> None:
    site.save(prices(1, "A="))
    begun_s = site.clock.now_s
    site.run(once=False, meanwhile={3.0: Loop.stop}, aside=hanging(site.base / "inbox" / "fx"))
    assert site.clock.now_s - begun_s < 10.0
    assert site.totals(1) == {"acked": 1}
    assert not site.report_files()
    site.run()
    assert site.statuses(1) == {"A=": "acked"}
    assert site.report(1).parent.name == "fx"


# --- a file that takes long to read


def test_other_feeds_go_on_while_a_file_is_read(new_site: NewSite) -> None:
    site = new_site(make_feed("fx"), make_feed("slow"), rate_limit=1)
    held = Held()
    held_from_now_on: list[bool] = []

    def aside(work: Callable[[], T], /) -> Future[T]:
        return held(work) if held_from_now_on else at_once(work)

    def slow(loop: Loop) -> None:
        held_from_now_on.append(True)
        site.save(prices(1, "SLOW="), feed="slow")
        site.arrive(loop, "slow")

    def read(loop: Loop) -> None:
        held_from_now_on.clear()
        while held.held:
            held.do_next()

    site.save(prices(1, *(f"F{number}=" for number in range(20))), feed="fx")
    site.run(once=False, meanwhile={3.0: slow, 15.0: read, 40.0: Loop.stop}, aside=aside)
    sent = {ric: at_s - site.wire.sent_at[0][0] for at_s, ric in site.wire.sent_at}
    assert sum(3.0 < at_s < 15.0 for at_s in sent.values()) >= 10
    assert 15.0 <= sent["SLOW="] < 20.0
    assert site.statuses(2) == {"SLOW=": "acked"}


def test_a_feed_with_many_files_leaves_turns_to_the_others(new_site: NewSite) -> None:
    site = new_site(make_feed("many"), make_feed("one"))
    for number in range(20):
        site.save(prices(number, "M="), f"{number}.csv", "many")
    site.save(prices(1, "ONE="), feed="one")
    site.run()
    assert [drop.feed for drop in site.drops()].count("many") == 20
    assert [ric for _, ric, _ in site.sent()].index("ONE=") <= 1
