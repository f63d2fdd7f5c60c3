"""How many posts the connection is handed ahead of their answers."""

from __future__ import annotations

from collections import deque

AHEAD_S = 0.5
"""How much more than the rate limit lets go at once is handed over, in seconds: what waits at the connection is not
overtaken by a drop that comes later."""
TURN_S = 0.25
"""As many posts as were answered within this time may be handed over: so long the connection has work while the next
ones are recorded. Each record in flight is a commit, of which a small window would need hundreds."""


class Pace:
    """Counts the posts that the connection has, and says how many more it may have.

    Times are seconds of one monotonic clock.
    """

    def __init__(self, *, window: int, rate_limit: float) -> None:
        """``window``: posts on the wire at most. ``rate_limit``: posts a second; 0: no limit."""
        self.handed = 0
        """Posts that the connection has and has not answered."""
        self._least = 2 * window  # a second window is made ready while the first is on the wire
        self._rate_limit = rate_limit
        self._paid_until_s = 0.0  # until when the posts handed over use up the rate limit
        self._answered: deque[tuple[float, int]] = deque()
        self._answered_lately = 0

    def answered(self, posts: int, now_s: float, *, unsent: int = 0) -> None:
        """So many posts have ended; ``unsent`` of them came back.

        These tell nothing of the server's pace, and have used up nothing of the rate limit.
        """
        self.handed -= posts
        if unsent and self._rate_limit:
            self._paid_until_s -= unsent / self._rate_limit
        self._answered.append((now_s, posts - unsent))
        self._answered_lately += posts - unsent
        while self._answered[0][0] < now_s - TURN_S:
            self._answered_lately -= self._answered.popleft()[1]

    def hand_over(self, posts: int, now_s: float) -> None:
        """The connection is given so many more."""
        self.handed += posts
        if posts and self._rate_limit:
            self._paid_until_s = max(self._paid_until_s, now_s) + posts / self._rate_limit

    def room(self, now_s: float) -> int:
        """Posts that may be handed over now.

        Where the rate limit is what holds posts back, they are kept here, where feeds take turns.
        """
        room = self._room
        if not self._rate_limit:
            return room
        if now_s < self._paid_until_s - AHEAD_S:  # compared as due_s adds it up
            return 0
        left_s = AHEAD_S - max(self._paid_until_s - now_s, 0.0)
        return min(room, 1 + max(int(left_s * self._rate_limit), 0))

    @property
    def due_s(self) -> float | None:
        """When there is room at the latest; None: not before the next answer."""
        return self._paid_until_s - AHEAD_S if self._room else None

    @property
    def _room(self) -> int:
        return max(max(self._least, self._answered_lately) - self.handed, 0)
