"""What a feed's guards allow: the declaration. What they find is in core.guards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much: a number, or a percentage of what the guard names."""

    value: Decimal
    percent: bool = False

    def __str__(self) -> str:
        return f"{plain(self.value)} %" if self.percent else plain(self.value)

    def exceeded(self, count: int, whole: int) -> bool:
        """Whether a count is above it; a percentage is of ``whole``, which has all that is counted."""
        return count * 100 > self.value * whole if self.percent else count > self.value


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What has to be true of a drop before anything of it is sent. As it is here, nothing has to be.

    The names are those of the keys of ``[feeds.guards]``. Shares are of the rows that are named beside each.
    """

    max_move: Mapping[str, Limit] = field(default_factory=dict)
    """By field: how far a value may be from the last acknowledged one, absolutely or in percent of that."""
    bid_not_above_ask: bool = False
    """BID is not above ASK in what the ADS would hold afterwards, where the drop changes one of the two."""
    range: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """By field: the smallest and the largest value."""
    max_changed_rows: Limit | None = None
    """Rows with another value than the last acknowledged one; a share is of the rows with known RICs."""
    max_missing_rows: Limit | None = None
    """Known RICs that the file lacks; a share is of the RICs that the feed has."""
    max_rejected_rows: Limit | None = None
    """A share is of all rows of the file."""
    max_blank: Limit | None = None
    """Blank cells in the columns of fields; a share is of all such cells in the rows that could be read."""
    max_new_rics: Limit | None = None
    """RICs never posted; a share is of the rows that could be read. Not asked of a feed that has none yet."""
    min_rows: int = 0
    """Rows in the file at least."""
    as_of: str = ""
    """The header, or field, of a column with dates that must all be today or the last business day."""
    all_or_nothing: bool = False
    """One rejected row keeps all others back."""
    rejecting: frozenset[str] = frozenset()
    """The names of the guards whose breach rejects the drop; any other's holds it."""

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return any(getattr(self, name) for name in RULES)

    def of_values_only(self) -> Guards:
        """Those that are about single values, for a drop that is no whole file."""
        values = {name: getattr(self, name) for name in ("max_move", "bid_not_above_ask", "range", "rejecting")}
        return Guards(**values)


RULES = tuple(one.name for one in fields(Guards) if one.name != "rejecting")
"""The guards by name."""


def plain(number: Decimal) -> str:
    """A number as people write it: ``9,900``, ``0.5``; no exponent, no zeros at its end."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
