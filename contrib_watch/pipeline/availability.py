"""Whether the ADS, and each Service of it, takes posts; and telling so, to ``status``, the log and the progress."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta

import structlog

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.exchange import Answer, LoggedIn, LoginEnded, Notice
from contrib_watch.errors import NoConnection
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.pipeline.patience import Patience
from contrib_watch.store import utc_text

log = structlog.get_logger()


def check_services(breakers: Mapping[str, Breaker], services: Iterable[str], desk: Desk, hint: str) -> None:
    """Raise NoConnection where all of these Services have been down for ``ads.connect_timeout_s``."""
    now_s, limit_s = desk.clock.monotonic(), desk.settings.ads.connect_timeout_s
    down = {service: breakers[service] for service in services}
    since_s = [breaker.open_since_s for breaker in down.values()]
    if not since_s or any(one is None or now_s - one < limit_s for one in since_s):
        return
    reasons = "; ".join(f"{service}: {breaker.why}" for service, breaker in down.items())
    raise NoConnection(f"no source has taken posts for {limit_s:g} s ({reasons})", hint=hint)


def note(event: object, patience: Patience) -> None:
    """Something happened to the connection: ``patience`` knows of it, and the log tells what is new."""
    known = isinstance(event, ConnectionLost) and patience.knows(event)
    patience.note(event)
    if isinstance(event, ConnectionLost) and not known:
        wait_s = round(event.retry_in_s, 1)
        log.warning("no connection", endpoint=event.endpoint, why=event.reason, next_try_s=wait_s)
    elif isinstance(event, LoginEnded) and not event.final:  # the final one is raised, and told by whoever catches it
        log.error("login ended", code=event.code, text=event.text)
    elif isinstance(event, Notice) and event.text:
        log.warning("from the ADS", text=event.text)


class Availability:
    """What one process knows of its connection and of the Services behind it."""

    def __init__(self, desk: Desk, progress: Progress) -> None:
        self.breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        """The circuit breaker of each Service."""
        self._desk = desk
        self._progress = progress
        self._patience = Patience(desk.settings.ads, desk.clock.monotonic)
        self._told_state = self._told_since_utc = ""
        self._told_down: dict[str, float] = {}  # by Service: when it is tried again

    @property
    def up(self) -> bool:
        """Logged in: posts may go out."""
        return self._patience.up

    def begin(self) -> None:
        """Patience counts from now on."""
        self._patience.begin()

    def note(self, event: object) -> None:
        """Something happened to the connection."""
        note(event, self._patience)
        if isinstance(event, LoggedIn):
            self.tell("up", "")
        elif isinstance(event, ConnectionLost):
            self.tell("down", f"{event.endpoint}: {event.reason}", retry_in_s=event.retry_in_s)

    def heard(self, answers: Iterable[Answer]) -> None:
        """Posts have ended."""
        self._patience.heard(answers)

    def tell(self, state: str, reason: str, retry_in_s: float | None = None) -> None:
        """Leave the connection's state where ``status`` finds it."""
        now = self._desk.clock.utc()
        if state != self._told_state:
            self._told_state, self._told_since_utc = state, utc_text(now)
        told = {"state": state, "reason": reason, "since_utc": self._told_since_utc}
        if retry_in_s is not None:
            told["next_try_utc"] = utc_text(now + timedelta(seconds=retry_in_s))
        self._desk.state.put("connection", json.dumps(told))
        self._progress.waiting("connection", reason)

    def tell_services(self) -> None:
        """Leave where ``status`` finds it which Services are down, and say it once."""
        down = {service: one.probe_at_s for service, one in self.breakers.items() if one.open}
        if down == self._told_down:
            return
        for service in down.keys() - self._told_down.keys():
            log.warning("Service is down: posts for it wait", service=service, why=self.breakers[service].why)
            self._progress.waiting(f"Service {service}", self.breakers[service].why)
        for service in self._told_down.keys() - down.keys():
            log.info("Service takes posts again", service=service)
            self._progress.waiting(f"Service {service}", "")
        self._told_down = down
        told = {
            service: {
                "reason": self.breakers[service].why,
                "since_utc": self._desk.utc_of(self.breakers[service].open_since_s or 0.0),
                "next_try_utc": self._desk.utc_of(probe_at_s),
            }
            for service, probe_at_s in down.items()
        }
        self._desk.state.put("services_down", json.dumps(told))

    def check_connection(self) -> None:
        """Raise NoConnection where there has been none for ``ads.connect_timeout_s``, or too many were lost."""
        self._patience.check("What was not sent waits for the next run; check ads.hosts and the network")

    def check_services(self, services: Iterable[str]) -> None:
        """Raise NoConnection where all of these Services have been down for ``ads.connect_timeout_s``."""
        hint = "What was not sent waits for the next run; tell your Market Data team which source is down"
        check_services(self.breakers, services, self._desk, hint)
