"""When a task gives up: no connection for long, or one after the other that is lost before it was of any use."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.ads.exchange import Answer, LoggedIn, Verdict
from contrib_watch.config import Ads
from contrib_watch.errors import NoConnection

LOSSES = 10
"""Connections that may be lost in a row, each after its login and without an answer, before a task is given up."""


class Patience:
    """How long a task has looked for a connection, and how many it has lost in a row to no purpose."""

    def __init__(self, ads: Ads, monotonic: Callable[[], float]) -> None:
        self.up = False
        """Logged in: posts may go out."""
        self._ads = ads
        self._monotonic = monotonic
        self._down_since_s = monotonic()
        self._all_tried = False
        self._reasons: dict[str, str] = {}  # by endpoint: why it gave no connection since the last login
        self._losses = 0

    def begin(self) -> None:
        """It counts from now on."""
        self._down_since_s = self._monotonic()

    def note(self, event: object) -> None:
        """Something happened to the connection."""
        if isinstance(event, LoggedIn):
            self.up = True
            self._reasons.clear()
        elif isinstance(event, ConnectionLost):
            if self.up:
                self._losses += 1
                self._down_since_s = self._monotonic()
            self.up, self._all_tried = False, event.all_tried
            self._reasons[event.endpoint] = event.reason

    def knows(self, event: ConnectionLost) -> bool:
        """Whether the endpoint has failed for this reason since the last login."""
        return self._reasons.get(event.endpoint) == event.reason

    def answered(self) -> None:
        """The ADS has answered: that makes up for the connections that were lost before."""
        self._losses = 0

    def heard(self, answers: Iterable[Answer]) -> None:
        """Posts have ended, perhaps because the ADS has answered."""
        if self._losses and any(one.verdict in (Verdict.ACKED, Verdict.NAKKED) and one.sent_s for one in answers):
            self.answered()

    def check(self, hint: str) -> None:
        """Raise NoConnection where there was none for ``ads.connect_timeout_s``, or LOSSES in a row were lost.

        Not before each host had its turn: a first one that hangs must not keep posts from a second that is well.
        """
        limit_s = self._ads.connect_timeout_s
        if self._losses >= LOSSES:
            what = f"the connection was lost {LOSSES} times in a row without an answer"
        elif not self.up and self._all_tried and self._monotonic() - self._down_since_s >= limit_s:
            what = f"no connection for {limit_s:g} s"
        else:
            return
        raise NoConnection(f"{what}: {self._why}", where=", ".join(self._ads.hosts), hint=hint)

    @property
    def _why(self) -> str:
        """The reason, or each host's where they differ."""
        if len(reasons := set(self._reasons.values())) == 1:
            return reasons.pop()
        return "; ".join(f"{endpoint}: {reason}" for endpoint, reason in self._reasons.items())
