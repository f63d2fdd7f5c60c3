"""What a site shows of its checks of presence."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from virtual_site import Site

from contrib_watch.store import schema


def told(site: Site, key: str = "presence") -> dict[str, Any]:
    """What the state says of the last check."""
    with site.desk() as desk:
        found: dict[str, Any] = json.loads(desk.state.get(key) or "{}")
        return found


def repairs(site: Site) -> list[tuple[str, str, str]]:
    """RIC, reason and status of what was posted again."""
    table = schema.repairs
    with site.desk() as desk, desk.state.transaction() as connection:
        rows = connection.execute(select(table.c.ric, table.c.reason, table.c.status).order_by(table.c.id)).all()
        return [(row.ric, row.reason, row.status) for row in rows]


def page(site: Site, drop_id: int) -> str:
    report = site.report(drop_id)
    return report.with_name(report.name.removesuffix(".csv") + ".html").read_text(encoding="utf-8")


def whole(site: Site) -> bool:
    """The ADS holds just what the state says."""
    return site.cache() == site.snapshot() and not site.dirty()
