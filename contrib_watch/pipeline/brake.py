"""The brake: while a feed is paused, nothing of it is sent, through every restart."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from contrib_watch.core.model import Person
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import utc_text
from contrib_watch.store.record import ALL_FEEDS, PAUSES


def pause(desk: Desk, feed: str | None, by: Person, why: str = "") -> None:
    """Send nothing of a feed (None: of any) from now on; raises ConfigurationError where there is no such feed.

    For half a second posts may still go on the wire; what is there stays. Files are still taken.
    """
    _check(desk, feed)
    with desk.state.transaction():
        told = by.told(why)
        at_utc = utc_text(desk.clock.utc())
        _put(desk, {**_pauses(desk), feed or ALL_FEEDS: {**told, "since_utc": at_utc}})
        desk.state.append("decision", {**told, "decision": "pause", "feed": feed or ""})


def resume(desk: Desk, feed: str | None, by: Person, why: str = "") -> None:
    """Send again; without a feed all pauses end. Raises ConfigurationError where that is not paused by itself."""
    with desk.state.transaction():
        pauses = _pauses(desk)
        if feed not in pauses:  # which may be configured no more
            _check(desk, feed)
        if feed is None and not pauses:
            raise ConfigurationError("nothing is paused")
        if feed is not None and feed not in pauses:
            hint = "`contrib-watch resume` ends the pause of all feeds" if ALL_FEEDS in pauses else ""
            raise ConfigurationError(f"feed {feed!r} is not paused by itself", hint=hint)
        _put(desk, {} if feed is None else {name: told for name, told in pauses.items() if name != feed})
        told = by.told(why)
        desk.state.append("decision", {**told, "decision": "resume", "feed": feed or ""})


def paused(desk: Desk) -> dict[str, Mapping[str, str]]:
    """The feeds of which nothing is sent at present: ``since_utc``, ``name``, ``source`` and ``why``.

    All of them where one is paused that is configured no more: nobody knows under which name its prices go on.
    """
    pauses = _pauses(desk)
    of_all = next((name for name in pauses if name not in desk.feeds), None)
    if of_all is None:
        return dict(pauses)
    told = pauses[of_all]
    if of_all != ALL_FEEDS:
        gone = f"feed {of_all} is configured no more, `contrib-watch resume {of_all}` ends its pause"
        told = {**told, "why": "; ".join(filter(None, (told["why"], gone)))}
    return {name: pauses.get(name, told) for name in desk.feeds}


def why_paused(desk: Desk, services: Collection[str]) -> str:
    """Why nothing may be posted to these Services; empty: none of their feeds is paused."""
    for name, told in paused(desk).items():
        if desk.feeds[name].service in services:
            return f"feed {name} is paused {by_whom(told)}"
    return ""


def by_whom(told: Mapping[str, str]) -> str:
    """Who paused a feed, and why."""
    return f"by {told['name']}{': ' if told['why'] else ''}{told['why']}"


def refuse_paused(desk: Desk, services: Collection[str]) -> None:
    """Raise ConfigurationError where something must not be posted to one of these Services at present."""
    if why := why_paused(desk, services):
        raise ConfigurationError(f"nothing is posted: {why}", hint="`contrib-watch resume` ends the pause")


def _check(desk: Desk, feed: str | None) -> None:
    if feed is not None and feed not in desk.feeds:
        raise ConfigurationError(f"there is no feed {feed!r}", hint=f"The feeds are: {', '.join(desk.feeds)}")


def _pauses(desk: Desk) -> dict[str, dict[str, str]]:
    return dict(json.loads(desk.state.get(PAUSES) or "{}"))


def _put(desk: Desk, pauses: Mapping[str, Mapping[str, str]]) -> None:
    desk.state.put(PAUSES, json.dumps(pauses))
