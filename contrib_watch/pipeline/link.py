"""What the pipeline needs of a connection: adapters.connection has it over a socket, tests in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contrib_watch.adapters.connection import Collected
from contrib_watch.ads.exchange import Outgoing
from contrib_watch.ads.reading import ItemRequest


class Link(Protocol):
    """A connection to an ADS."""

    def start(self) -> None:
        """Connect, and stay connected."""
        ...

    def post(self, posts: Sequence[Outgoing]) -> None:
        """Hand over posts, each of which ends in one answer; from any thread."""
        ...

    def recall(self) -> None:
        """Give back, unsent, what was handed over and has not left; each post still ends in one answer."""
        ...

    def request(self, wanted: ItemRequest) -> None:
        """Read items back; each ends in one answer."""
        ...

    def collect(self, timeout_s: float) -> Collected:
        """Answers and events, after ``timeout_s`` at the latest; raises LoginRefused."""
        ...

    def interrupt(self) -> None:
        """Let a waiting collect() return; from any thread."""
        ...

    def close(self) -> None:
        """Log out."""
        ...
