"""The configuration changes while the state lives on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from cli_site import SERVICE, Site, ads, held, sheet

HALF_SENT = (
    {"kind": "drop_connection_after", "ric": "B=T", "times": 1},
    {"kind": "refuse_login", "nth": 2, "code": "UserUnknownToPermSys"},
)
"""A is acknowledged, B is posted without an answer, and the program ends before C."""


def verified(site: Site) -> bool:
    """The record explains everything."""
    done = site.invoke("audit verify", "--reports", str(site.inbox))
    return done.exit_code == 0


@pytest.mark.parametrize(
    ("changed", "told", "sent_in_full"),
    [
        ({"service": "OTHER"}, "OTHER", {"A=T": "1", "B=T": "2", "C=T": "3"}),
        ({"ric_column": "Alt", "ignore_columns": ["RIC"]}, "ignore_columns, ric_column", {"X=T": "1"}),
    ],
)
def test_what_is_half_sent_is_not_mixed_with_what_another_configuration_asks_for(
    site: Site, changed: Mapping[str, object], told: str, sent_in_full: Mapping[str, str]
) -> None:
    with ads(*HALF_SENT) as server:
        site.configure(server.address, feed={"ignore_columns": ["Alt"]}, window=1)
        site.drop("prices.csv", sheet("A=T,1,X=T", "B=T,2,Y=T", "C=T,3,Z=T", header="RIC,BID,Alt"))
        assert site.once()[0] == 5
        site.configure(server.address, feed={"ignore_columns": ["Alt"], **changed})
        code, (drop,) = site.once()
        assert (code, drop["status"]) == (4, "failed")
        rows = {row["ric"]: row["status"] for row in site.rows("prices.csv")}
        assert (rows.pop("A=T"), rows.pop("B=T")) == ("acked", "unconfirmed")
        assert told in site.status()["failed"][0]["reason"]
        assert held(server) == {"A=T": "1", "B=T": "2"}
        assert verified(site)
        site.invoke("retry", "1")
        assert site.once()[0] == 0
        assert sent_in_full.items() <= held(server).items()
        assert verified(site)
        assert SERVICE in site.invoke("audit ric", "B=T", "--json").stdout  # where it was posted to then
        assert site.once() == (0, [])
