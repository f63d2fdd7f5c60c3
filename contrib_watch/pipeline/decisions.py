"""What people decide about drops: released, ended, or processed again.

Decisions are recorded in the state; the process that sends, running now or later, acts on them.
"""

from __future__ import annotations

from pathlib import Path

from contrib_watch.core.model import Drop, DropStatus
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.job import Job
from contrib_watch.pipeline.publishing import publish


def approve(desk: Desk, drop_id: int) -> Drop:
    """Release a held drop; raises ConfigurationError where it is not held."""
    with desk.state.transaction():
        return desk.drops.decide(_find(desk, drop_id, DropStatus.HELD), approved=True)


def reject(desk: Desk, drop_id: int) -> Path:
    """End a held drop and write its second report; raises ConfigurationError where it is not held."""
    with desk.state.transaction():  # all of it: a process that sends must never see the drop as one to send
        drop = desk.drops.decide(_find(desk, drop_id, DropStatus.HELD), approved=False)
        report = Job.begin(desk, drop, ended="rejected by a person, nothing of it was sent").conclude()
    return publish(desk, report)


def retry(desk: Desk, drop_id: int) -> Drop:
    """Process a drop that is over once more, under today's configuration."""
    over = (DropStatus.DONE, DropStatus.REJECTED, DropStatus.FAILED)
    with desk.state.transaction():
        return desk.drops.decide(_find(desk, drop_id, *over), approved=False)


def _find(desk: Desk, drop_id: int, *allowed: DropStatus) -> Drop:
    try:
        drop = desk.drops.drop(drop_id)
    except KeyError:
        hint = "`contrib-watch status` lists the drops"
        raise ConfigurationError(f"there is no drop {drop_id}", hint=hint) from None
    if drop.status not in allowed:
        wanted = " or ".join(status.value for status in allowed)
        raise ConfigurationError(f"drop {drop_id} is {drop.status.value}; this is for a drop that is {wanted}")
    if drop.feed not in desk.feeds:
        raise ConfigurationError(f"drop {drop_id} is of feed {drop.feed!r}, which is not in the configuration")
    return drop
