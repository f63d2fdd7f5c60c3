"""The promises, held against random histories; tests/bench/histories.py plays as many more as one has time for.

Set HISTORY_EXAMPLES for another number of them, and for a death at every single step in test_loop
and every blow at every commit in test_every_commit.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from history_model import Table
from random_histories import live
from random_worlds import DAY_S, Act, Deed, Save, Step, World, shrunk, world_of
from virtual_site import Blow

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.faults import Fault, FaultKind

COUNT = int(os.environ.get("HISTORY_EXAMPLES", "2000"))
BLOCKS = 10
"""Tests that the histories are spread over, so that several cores share them."""


def one_price(*then: Step, rules: str = "", faults: tuple[Fault, ...] = (), **happens: object) -> World:
    """One file with one price, what happens to the process that sends it, and what comes ``then``."""
    save = Save(Table(("BID",), (("A=", ("1",)),)))
    return World((Step((save,), **happens), *then), faults=faults, rules=rules)


FOUND = {
    "a database that fails is no fault of the drop in hand": one_price(at_commit=(6, Blow.FAIL_BEFORE)),
    "not even where it has committed all the same (seed 19)": one_price(at_commit=(11, Blow.FAIL_AFTER)),
    "what is verified and in the sample is answered twice at once (seed 132)": one_price(
        Step(die_at=85), rules="verify", faults=(Fault(kind=FaultKind.REFUSE_LOGIN, nth=1, code="Suspect"),)
    ),
    "a report that a death left unwritten is not forgotten for a retry (seed 336)": one_price(
        Step(acts=(Act(Deed.RETRY),)), die_at=106
    ),
    "what was posted before a death, and is held after it, may have been taken (seed 1176)": one_price(
        rules="valid_for",
        faults=(Fault(kind=FaultKind.LOSE_ACK, times=4),),
        at_commit=(10, Blow.DIE_AFTER),
    ),
    "a drop of a feed that is verified is rejected (seed 0)": one_price(
        Step(saves=(Save(Table(("BID",), (("A=", ("2",)),)), age_s=8 * DAY_S),)),
        Step(acts=(Act(Deed.REJECT),)),
        rules="verify",
    ),
    "the folder for reports that cannot be written elsewhere cannot be made (seed 1008064)": one_price(
        Step(
            saves=(Save(Table(("BIDSIZE",), (("C=", ("2",)),))),),
            acts=(Act(Deed.APPROVE, which=1, after_s=0.3),),
            full_at=11,
        ),
        rules="valid_for",
        faults=(Fault(kind=FaultKind.LOSE_POST, times=6),),
    ),
    "what was posted again twice is as old as the first time (seed 3005777)": one_price(
        Step(acts=(Act(Deed.RESEND),)),
        Step(acts=(Act(Deed.EMPTY),)),
        faults=(Fault(kind=FaultKind.DELAY_ACK, times=4, delay_s=14.995),),
    ),
    "a person posts what was approved once more after a death (seed 6005848)": one_price(
        Step(acts=(Act(Deed.APPROVE),), die_at=80), Step(acts=(Act(Deed.RESEND),)), rules="approval"
    ),
    "an item that was posted to before a death is not opened after it (seed 500579)": replace(
        one_price(at_commit=(8, Blow.FAIL_AFTER)), readable=False, on_stream=True
    ),
    "a backup is restored twice (seed 1738)": one_price(
        Step(acts=(Act(Deed.BACK_UP), Act(Deed.RESTORE)), saves=(Save(Table(("BID",), (("A=", ("2",)),))),)),
        Step(acts=(Act(Deed.RESTORE),), saves=(Save(Table(("BID",), (("A=", ("3",)),))),)),
    ),
    "a field that a restored state has forgotten stays behind a lie (seed 10001736)": World(
        (
            Step((Save(Table(("BIDSIZE",), (("A=", ("2",)),)), feed="desk"),), (Act(Deed.BACK_UP),)),
            Step((Save(Table(("ASK",), (("A=", ("1",)),))),)),
            Step((Save(Table(("ASK",), (("A=", ("2",)),))),), (Act(Deed.RESTORE),)),
        ),
        faults=(Fault(kind=FaultKind.ACK_UNAPPLIED, ric="A=", nth=2),),
        rules="valid_for",
    ),
    "an older drop is approved against what a newer one, which waits, calls unchanged (seed 10318241)": World(
        (
            Step((Save(Table(("BID",), (("A=", ("2",)),))),)),
            Step(
                (
                    Save(Table(("BID",), (("A=", ("1",)),))),
                    Save(Table(("BID",), (("A=", ("2",)), ("B=", ("2",))))),
                ),
                (Act(Deed.APPROVE),),
            ),
            Step((), (Act(Deed.APPROVE, which=2),)),
        ),
        rules="approval",
    ),
    "a retried drop leaves a value to a newer one, which expires after it has begun (seed 10334369)": World(
        (
            Step((Save(Table(("BID",), (("B=", ("2",)),))),)),
            Step((Save(Table(("BID",), (("A=", ("3",)), ("B=", ("#CLEAR",))))),), die_at=89),
            Step((), (Act(Deed.RETRY),)),
        ),
        faults=(Fault(kind=FaultKind.SILENCE, ric="A=", nth=2, times=6),),
        rules="valid_for",
    ),
    "a process dies while it makes an emptied ADS whole again, and the next has no drop (seed 10355715)": World(
        (
            Step((Save(Table(("ASK", "BIDSIZE"), (("A=", ("2", "1.5")),))),)),
            Step((Save(Table(("BIDSIZE",), (("A=", ("1",)),))),), (Act(Deed.EMPTY),), die_at=201),
        ),
        on_stream=True,
    ),
    "a person posts values in doubt of a drop that a restored state takes for waiting (seed 10437021)": World(
        (
            Step((Save(Table(("ASK",), (("A=", ("1",)),))),), die_at=89),
            Step((), (Act(Deed.RESEND),), die_at=1),
            Step((), (Act(Deed.BACK_UP),)),
            Step((Save(Table(("BIDSIZE",), (("A=", ("2",)),))),), (Act(Deed.RESTORE),)),
        ),
    ),
    "an emptied ADS takes an Update on a stream, and answers its repair with errors (seed 10853161)": World(
        (
            Step((Save(Table(("BID", "BIDSIZE"), (("C=", ("3.5", "2")), ("A=", ("2", "3.50"))))),)),
            Step((Save(Table(("BID",), (("A=", ("3",)), ("B=", ("1.5",))))),), (Act(Deed.EMPTY),)),
        ),
        faults=(Fault(kind=FaultKind.ERROR, nth=5, times=2),),
        on_stream=True,
    ),
    "a late drop posts the newer values that have no answer yet, and that is verified (seed 10893748)": World(
        (
            Step(
                (Save(Table(("BID",), (("C=", ("1.5",)),))), Save(Table(("BID",), (("C=", ("2",)),)))),
            ),
            Step((Save(Table(("ASK",), (("B=", ("2",)),)), feed="desk"),), (Act(Deed.PAUSE),)),
            Step((), (Act(Deed.RETRY, which=3),)),
        ),
        faults=(Fault(kind=FaultKind.LOSE_POST, times=30),),
        rules="verify",
    ),
    "an older drop's Refresh carries what a drop had posted when its process died (seed 10906533)": World(
        (
            Step((Save(Table(("BIDSIZE",), (("C=", ("2",)),))),)),
            Step((Save(Table(("BID",), (("C=", ("2",)),)), age_s=691200.0),)),
            Step((), (Act(Deed.RETRY, after_s=0.001), Act(Deed.APPROVE)), die_at=110),
        ),
    ),
    "a drop's Update is no repair of what the ADS did not take, and a repair looks again (seed 11416779)": World(
        (
            Step((Save(Table(("ASK",), (("C=", ("3.50",)),)), feed="desk"),), (Act(Deed.BACK_UP),)),
            Step(
                (Save(Table(("ASK", "BID"), (("C=", ("2", "3.5")), ("A=", ("1.5", "3.50"))))),), (Act(Deed.REVERT),)
            ),
            Step((Save(Table(("BID",), (("C=", ("2",)),))),), (Act(Deed.RESTORE),), stop_s=0.0),
            Step((), full_at=9),
        ),
        faults=(Fault(kind=FaultKind.ACK_UNAPPLIED, ric="C=", nth=3),),
        rate_limit=2,
        rules="verify",
    ),
    "a sample is of what drops have posted, too (seed 11810986)": World(
        (
            Step(
                (Save(Table(("BID", "ASK", "BIDSIZE"), (("C=", ("", "2", "2")), ("B=", ("3", "1", "1.5"))))),),
            ),
            Step(
                (
                    Save(Table(("ASK",), (("B=", ("3.50",)),))),
                    Save(Table(("BIDSIZE",), (("B=", ("2",)),)), after_s=0.01),
                ),
                stop_s=1.0,
            ),
        ),
        faults=(Fault(kind=FaultKind.ACK_UNAPPLIED, ric="B=", times=30),),
        on_stream=True,
    ),
    "what an ADS did not clear is nobody's after the state is gone (seed 12093163)": World(
        (
            Step((Save(Table(("BIDSIZE",), (("B=", ("2",)),)), feed="desk"),), (Act(Deed.BACK_UP),), die_at=1),
            Step((), (Act(Deed.RESTORE), Act(Deed.PAUSE))),
            Step((), (Act(Deed.REVERT),)),
            Step((), (Act(Deed.RECONCILE),)),
        ),
        faults=(Fault(kind=FaultKind.ACK_UNAPPLIED, ric="B=", nth=2, times=3),),
    ),
}
"""Worlds that broke a promise once, as small as they could be made."""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_after_any_history_the_ads_holds_what_the_newest_drops_say(dictionary: Dictionary, block: int) -> None:
    for seed in range(block, COUNT, BLOCKS):
        try:
            live(dictionary, world_of(seed))
        except Exception as error:
            error.add_note(f"python tests/bench/histories.py --replay {seed}")
            raise


@pytest.mark.parametrize("world", FOUND.values(), ids=FOUND)
def test_what_histories_have_found(dictionary: Dictionary, world: World) -> None:
    live(dictionary, world)


def test_a_history_is_made_as_small_as_what_it_shows() -> None:
    def clears_a_price(world: World) -> bool:
        return any("#CLEAR" in cells for step in world.history for save in step.saves for _, cells in save.table.rows)

    found = next(world for world in map(world_of, range(1000)) if clears_a_price(world))
    small = shrunk(found, clears_a_price)
    ((save,),) = (step.saves for step in small.history)
    ((_, cells),) = save.table.rows
    assert cells == ("#CLEAR",)
    assert small.faults == ()
