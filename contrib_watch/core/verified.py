"""What reading back showed of the rows that the ADS acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from contrib_watch.core.model import Status

COLUMN = "verified"
"""The last column of a report whose feed asks for it; empty in rows that were not acknowledged."""
YES = "yes"
NO = "no: "
"""What a row begins with of which the ADS holds something else; the differences follow."""
NOT_AVAILABLE = "not available: "
"""What a row begins with that could not be read back; why follows."""


class Verified(NamedTuple):
    """What a read-back found, by RIC."""

    rest: str
    """Of the RICs that are not in ``others``."""
    others: Mapping[str, str] = MappingProxyType({})

    def of(self, ric: str) -> str:
        return self.others.get(ric, self.rest)


def nothing_known(why: str) -> Verified:
    """No row was read back."""
    return Verified(f"{NOT_AVAILABLE}{why}")


def with_column(rows: pd.DataFrame, verified: Verified) -> pd.DataFrame:
    """The rows of a report with COLUMN as the last."""
    acked = rows["status"] == Status.ACKED
    found = rows["ric"].map(verified.of) if verified.others else pd.Series(verified.rest, index=rows.index)
    return rows.assign(**{COLUMN: found.astype(rows["ric"].dtype).where(acked, "")})


class Found(NamedTuple):
    """Rows of a report by what the read-back found."""

    yes: int
    no: pd.DataFrame
    unavailable: pd.DataFrame


def found(rows: pd.DataFrame) -> Found:
    """What COLUMN says of the acknowledged rows."""
    said = rows[COLUMN]
    return Found(int((said == YES).sum()), rows[said.str.startswith(NO)], rows[said.str.startswith(NOT_AVAILABLE)])
