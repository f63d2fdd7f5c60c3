"""What a file of the corpus is: how it is built, how its feed reads it, and what alone may be published of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from contrib_watch.core.model import Feed

FEED = Feed(name="prices", folder=PurePath("prices"), service="TEST")
"""Undeclared: every key of the feed at its default."""

Published = Mapping[str, str]
"""RIC -> the tokens of its row in the order of the file: ``BID 22.1 ASK 22.3``."""


@dataclass(frozen=True)
class Hazard:
    """One file that could mislead a reader."""

    name: str
    story: str
    """What happened to the file, or what stands in it."""
    build: Callable[[], bytes]
    published: Published = field(default_factory=dict)
    """All that may be published of it; written by hand, never generated."""
    feed: Mapping[str, Any] = field(default_factory=dict)
    """What the feed declares beyond the defaults."""
    filename: str = "prices.csv"
    note: str = ""
    """Why this is the answer, where one might expect another."""
    needs: str = ""
    """The program or package without which it cannot be built; empty: none."""

    @property
    def reads_as(self) -> Feed:
        """The feed by which the file is read."""
        return replace(FEED, **self.feed)


def book(
    name: str, story: str, build: Callable[[], bytes], published: Published | None = None, **more: Any
) -> Hazard:
    """A hazard in a workbook."""
    return Hazard(name, story, build, published or {}, filename=more.pop("filename", "prices.xlsx"), **more)
