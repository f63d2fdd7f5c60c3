"""When to try again after a connection ended, and at which host.

Fast re-logins make things worse: an ADS whose permissioning still holds the last login answers ``Already pending
login``, for many minutes. So a server that takes each login and drops it at once sees growing waits as well. An
attempt that reaches no WebSocket costs an ADS next to nothing, and decides how soon its return is noticed: the waits
after it grow to seconds only.
"""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 10


@dataclass(frozen=True, kw_only=True)
class Waits:
    """The lengths of the waits, all in seconds."""

    first_s: float = 0.5
    """After a failed attempt. It doubles each time that all hosts have been tried."""
    longest_s: float = 30.0
    longest_unreached_s: float = 5.0
    """From one attempt that reaches nobody to the next at the same host."""
    first_refused_s: float = 60.0
    """After a login that was refused for now. It doubles with each refusal."""
    longest_refused_s: float = 600.0
    lasting_s: float = 30.0
    """A login that stood so long was a good one: the next wait is the first again."""


USUAL_WAITS = Waits()


class Backoff:
    """Counts what failed since the last good login."""

    def __init__(self, hosts: int, waits: Waits) -> None:
        """``hosts``: how many there are to try, in their order."""
        self.host = 0
        """The position of the host to try next."""
        self._hosts = max(hosts, 1)
        self._waits = waits
        self._tried_in_vain = 0  # hosts, since the last login
        self._attempts = 0
        self._reached = 0
        self._refusals = 0

    @property
    def all_tried(self) -> bool:
        """Each host had its turn since the last login, and took none."""
        return self._tried_in_vain >= self._hosts

    def begin_with(self, hosts: int) -> None:
        """So many other hosts are to be tried from now on, from the first."""
        self._hosts, self.host = hosts, 0

    def wait_s(
        self,
        *,
        logged_in_s: float | None,
        refused: bool,
        chance: float,
        tried: bool = True,
        reached: bool = True,
        searching: bool = False,
    ) -> float:
        """An attempt has ended: how long to wait before the next.

        ``logged_in_s``: how long its login stood; None: it had none. ``refused``: its login was refused, and may be
        taken later. ``chance``: a random number from 0 to 1, which keeps many clients from returning at one moment.
        ``tried``: a host had its turn; otherwise there was no token for it, and the turn is still its own.
        ``reached``: somebody had work with it, an ADS or a token service. ``searching``: it went down with a single
        post, sent alone to find the one at fault: each costs a connection, so that the waits stay at seconds.
        """
        waits = self._waits
        self._tried_in_vain = 0 if logged_in_s is not None else self._tried_in_vain + tried
        if logged_in_s is not None and logged_in_s >= waits.lasting_s:
            self.host = self._attempts = self._reached = self._refusals = 0
        else:
            self.host = (self.host + tried) % self._hosts
            self._attempts += 1
            self._reached += reached
        if refused:
            doublings, self._refusals = min(self._refusals, _MOST_DOUBLINGS), self._refusals + 1
            return min(waits.first_refused_s * 2.0**doublings, waits.longest_refused_s) * (1.0 + chance / 4)
        failed, longest_s = self._attempts, min(waits.longest_unreached_s / self._hosts, waits.longest_s)
        if reached:
            failed, longest_s = self._reached, waits.longest_s if not searching else waits.longest_unreached_s
        doublings = min(failed // self._hosts, _MOST_DOUBLINGS)
        return min(waits.first_s * 2.0**doublings, longest_s) * (1.0 + chance) / 2
