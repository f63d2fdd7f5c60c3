"""What reading back showed of the rows that the ADS acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.columns import repeated
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
    others: Mapping[str, str]

    def of(self, ric: str) -> str:
        return self.others.get(ric, self.rest)


def nothing_known(why: str) -> Verified:
    """No row was read back."""
    return Verified(f"{NOT_AVAILABLE}{why}", {})


def with_column(rows: pa.Table, verified: Verified) -> pa.Table:
    """The rows of a report with COLUMN as the last."""
    found = repeated(verified.rest, len(rows))
    if verified.others:
        found = pa.array(map(verified.of, rows["ric"].to_pylist()), pa.string())
    acked = pc.equal(rows["status"], Status.ACKED.value)
    return rows.append_column(COLUMN, pc.if_else(acked, found, ""))


class Found(NamedTuple):
    """Rows of a report by what the read-back found."""

    yes: int
    no: pa.Table
    unavailable: pa.Table


def found(rows: pa.Table) -> Found:
    """What COLUMN says of the acknowledged rows."""
    said = rows[COLUMN]
    yes = pc.sum(pc.equal(said, YES)).as_py() or 0
    return Found(yes, rows.filter(pc.starts_with(said, NO)), rows.filter(pc.starts_with(said, NOT_AVAILABLE)))
