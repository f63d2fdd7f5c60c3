"""A report made of a few outcomes, for the tests of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pyarrow as pa

from contrib_watch.core.findings import Findings
from contrib_watch.core.model import Drop, DropStatus, Outcome, Quotes
from contrib_watch.core.report import Report, build_report
from contrib_watch.core.tokens import TOKENS

SEEN = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
FINDINGS = {field.name for field in fields(Findings)}


def a_report(*outcomes: Outcome, rows: int = 10, path: str = "/inbox/prices.csv", **options: Any) -> Report:
    """A report on ``rows`` rows of RICs R2, R3, ... of which ``outcomes`` are not unchanged."""
    numbers = range(2, rows + 2)
    rics = pd.Index([f"R{number}" for number in numbers], dtype=TOKENS)
    return build_report(
        **{
            "drop": Drop(
                id=42,
                feed="bonds",
                path=path,
                sha256="ab" * 32,
                size_bytes=100,
                mtime_ns=1_795_364_996_000_000_000,
                seen_at_utc=SEEN,
                status=options.pop("status", DropStatus.DONE),
                reason=options.pop("reason", ""),
            ),
            "service": "NIPROV",
            "target": "ads-london",
            "simulated": False,
            "version": "1.0",
            "state_id": "state-5d2c",
            "local_tz": timezone(timedelta(hours=1)),
            "quotes": Quotes(
                values=pd.DataFrame({"BID": pd.array(["1"] * rows, dtype=TOKENS)}, index=rics),
                rows=pd.Series(numbers, index=rics, dtype="int64"),
                twins={},
                problems=(),
                rows_read=rows,
            ),
            "outcomes": _table(outcomes),
            "findings": Findings(**{name: options.pop(name) for name in FINDINGS & options.keys()}),
            **options,
        }
    )


def _table(outcomes: Sequence[Outcome]) -> pa.Table:
    """Outcomes as the store gives them."""
    numbers = dict.fromkeys(("row", "post_id", "attempts"), pa.int64())
    shape = pa.schema([(name, numbers.get(name, pa.string())) for name in Outcome._fields])
    return pa.Table.from_pylist([outcome._asdict() for outcome in outcomes], shape)
