"""What a drop's posts left in the ADS, read back before the drop is over."""

from __future__ import annotations

from collections.abc import Sequence

from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.core.verified import NO, NOT_AVAILABLE, YES, Verified
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.readback import Held, ReadBack

STALLED_S = 30.0
"""How long a read-back goes on without any item that could be read: then the rest is not available."""


class Verification:
    """The read-back of one drop: ask and hear until :attr:`done`.

    While it lasts the drop counts as being posted, so that neither a newer drop of its feed nor a repair changes what
    is read. The values are those that the record says the ADS acknowledged, as `reconcile` compares them.
    """

    def __init__(self, desk: Desk, service: str, rics: Sequence[str]) -> None:
        self._desk = desk
        self._read = ReadBack(desk, service, rics)
        self._moved_s = desk.clock.monotonic()
        self._given_up = ""

    @property
    def done(self) -> bool:
        """Everything was read back, or will not be."""
        return self._read.done or bool(self._given_up)

    def ask(self, *, up: bool) -> ItemRequest | None:
        """The next items to ask for; None: not now. ``up``: there is a login."""
        waited_s = self._desk.clock.monotonic() - self._moved_s
        if waited_s >= STALLED_S:
            what = "no item could be read" if up else "there was no connection"
            self._given_up = f"{what} for {STALLED_S:g} s"
        return self._read.ask() if up and not self._given_up else None

    def hear(self, answers: Sequence[ItemAnswer]) -> None:
        """Items that were read back, among others."""
        same, wrong = self._read.same, len(self._read.findings)
        self._read.hear(answers)
        news = self._read.findings[wrong:]
        if self._read.same > same or any(one.held is not Held.UNREADABLE for one in news):
            self._moved_s = self._desk.clock.monotonic()

    def found(self) -> Verified:
        """What it showed."""
        others = {}
        for one in self._read.findings:
            said = f"{NOT_AVAILABLE}{one}" if one.held is Held.UNREADABLE else f"{NO}{one}"
            others[one.ric] = said
        others |= dict.fromkeys(self._read.passed_over, f"{NOT_AVAILABLE}its values were in doubt by then")
        others |= dict.fromkeys(self._read.unheard, f"{NOT_AVAILABLE}{self._given_up}")
        return Verified(YES, others)
