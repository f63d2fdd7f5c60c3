"""A circuit breaker for one Service: a source that is down for everything is left alone, and asked now and then.

Without it, each of 100,000 rows would use up its retries against a source that is down, and be refused for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.ads.item_streams import NOT_OPEN

SOURCE_IS_DOWN = frozenset({"GatewayDown", "NoResources", "SourceDown", NOT_OPEN})
"""Naks that tell of the Service, not of the item (spec: NakCode), and items that are not open for now."""
ANSWERS = 20
"""So many of these in a row, and nothing but these, open the circuit."""
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 60.0


class Breaker:
    """Knows whether a Service takes posts. All times are seconds of one monotonic clock.

    While the circuit is open one post at a time goes out as a probe, after waits that double; the first answer that
    tells of anything else than a source that is down closes it.
    """

    def __init__(self) -> None:
        self.open_since_s: float | None = None
        """When the circuit was opened; None: it is closed, and posts flow."""
        self.why = ""
        """What the last Nak of a source that is down said: code and text."""
        self.probe_at_s = 0.0
        """When the next probe goes out, while the circuit is open."""
        self._in_a_row = 0
        self._wait_s = FIRST_WAIT_S
        self._probe: int | None = None

    @property
    def open(self) -> bool:
        """Posts wait, except for a probe."""
        return self.open_since_s is not None

    @property
    def calm(self) -> bool:
        """Nothing is amiss: what was acknowledged need not be told."""
        return self.open_since_s is None and not self._in_a_row and self._probe is None

    def room(self, room: int, now_s: float) -> int:
        """How many of ``room`` posts may go out now."""
        if not self.open:
            return room
        return min(room, 1) if self._probe is None and now_s >= self.probe_at_s else 0

    def due_s(self) -> float:
        """When a post may go out: minus infinity for at once, infinity for not before the next answer."""
        if not self.open:
            return -math.inf
        return self.probe_at_s if self._probe is None else math.inf

    def sent(self, post_ids: Sequence[int]) -> None:
        """These posts are on their way."""
        if self.open and post_ids:
            self._probe = post_ids[0]

    def heard(self, answer: Answer) -> None:
        """An answer to a post for this Service."""
        probed = self._probe is not None and answer.post_id == self._probe
        if probed:
            self._probe = None
        if answer.verdict is Verdict.NAKKED and answer.code in SOURCE_IS_DOWN:
            self._down(answer, probed=probed)
        elif answer.verdict in (Verdict.ACKED, Verdict.NAKKED) and answer.sent_s is not None:
            self._close()
        elif probed and answer.verdict is Verdict.TIMEOUT:
            self._wait(answer.answered_s)
        # A lost connection says nothing of the Service: the probe is due again as soon as there is another.

    def _down(self, answer: Answer, *, probed: bool) -> None:
        self.why = f"{answer.code}: {answer.text}" if answer.text else answer.code
        self._in_a_row += 1
        if self.open_since_s is None and self._in_a_row >= ANSWERS:
            self.open_since_s = answer.answered_s
            self._wait_s = FIRST_WAIT_S
            self.probe_at_s = answer.answered_s + self._wait_s
        elif probed:
            self._wait(answer.answered_s)

    def _wait(self, now_s: float) -> None:
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self.probe_at_s = now_s + self._wait_s

    def _close(self) -> None:
        self.open_since_s = None
        self._in_a_row = 0
        self._probe = None
