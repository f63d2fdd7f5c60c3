"""Whether the ADS, and each Service of it, takes posts; and telling so, to ``status``, the log and the progress."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

import structlog

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.session import Answer, LoggedIn, LoginEnded, Notice, Verdict
from contrib_watch.errors import NoConnection
from contrib_watch.pipeline.desk import Desk, Progress
from contrib_watch.store import utc_text

log = structlog.get_logger()

LOSSES = 10
"""Connections that may be lost in a row, each after its login and without an answer, before a task is given up."""


class Availability:
    """What one process knows of its connection and of the Services behind it."""

    def __init__(self, desk: Desk, progress: Progress) -> None:
        self.up = False
        """Logged in: posts may go out."""
        self.breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        """The circuit breaker of each Service."""
        self._desk = desk
        self._progress = progress
        self._losses = 0
        self._down_since_s = 0.0
        self._down_because = "no connection was tried yet"
        self._told_state = self._told_since_utc = ""
        self._told_down: dict[str, float] = {}  # by Service: when it is tried again

    def begin(self) -> None:
        """Patience counts from now on."""
        self._down_since_s = self._desk.clock.monotonic()

    def note(self, event: object) -> None:
        """Something happened to the connection."""
        if isinstance(event, LoggedIn):
            self.up = True
            self.tell("up", "")
        elif isinstance(event, ConnectionLost):
            if self.up:
                self._losses += 1
                self._down_since_s = self._desk.clock.monotonic()
            if self.up or event.reason != self._down_because:
                wait_s = round(event.retry_in_s, 1)
                log.warning("no connection", endpoint=event.endpoint, why=event.reason, next_try_s=wait_s)
            self.tell("down", f"{event.endpoint}: {event.reason}", retry_in_s=event.retry_in_s)
            self.up, self._down_because = False, event.reason
        elif isinstance(event, LoginEnded):
            if not event.final:  # the final one is raised, and told by whoever catches it
                log.error("login ended", code=event.code, text=event.text)
        elif isinstance(event, Notice) and event.text:
            log.warning("from the ADS", text=event.text)

    def heard(self, answers: Iterable[Answer]) -> None:
        """Posts have ended; one that the ADS has answered makes up for the connections lost before."""
        if self._losses and any(one.verdict in (Verdict.ACKED, Verdict.NAKKED) and one.sent_s for one in answers):
            self._losses = 0

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
        """Raise NoConnection where there has been none for ``ads.connect_timeout_s``."""
        waited_s = self._desk.clock.monotonic() - self._down_since_s
        limit_s = self._desk.settings.ads.connect_timeout_s
        if waited_s >= limit_s or self._losses >= LOSSES:
            hosts = ", ".join(self._desk.settings.ads.hosts)
            hint = "What was not sent waits for the next run; check ads.hosts and the network"
            lost = f"the connection was lost {LOSSES} times in a row without an answer"
            what = lost if self._losses >= LOSSES else f"no connection for {limit_s:g} s"
            raise NoConnection(f"{what}: {self._down_because}", where=hosts, hint=hint)

    def check_services(self, services: Iterable[str]) -> None:
        """Raise NoConnection where all of these Services have been down for ``ads.connect_timeout_s``."""
        now_s, limit_s = self._desk.clock.monotonic(), self._desk.settings.ads.connect_timeout_s
        down = dict.fromkeys(services)
        since_s = [self.breakers[service].open_since_s for service in down]
        if not since_s or any(one is None or now_s - one < limit_s for one in since_s):
            return
        reasons = "; ".join(f"{service}: {self.breakers[service].why}" for service in down)
        hint = "What was not sent waits for the next run; tell your Market Data team which source is down"
        raise NoConnection(f"no source has taken posts for {limit_s:g} s ({reasons})", hint=hint)
