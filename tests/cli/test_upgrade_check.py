"""``upgrade-check``: past drops, read by today's program, configuration and dictionary."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from cli_site import CLOSED, Site, ads, sheet


def configure(site: Site, host: str, **of_feed: object) -> None:
    site.configure(host, feed={"delimiter": ";", **of_feed})


@pytest.fixture
def past(site: Site) -> Site:
    """Three drops: two RICs; one of them changed and a bad cell; a file with an unknown column."""
    with ads({"kind": "nak", "ric": "BAD*", "code": "AccessDenied"}) as server:
        configure(site, server.address)
        site.drop("prices.csv", sheet("A=T;1.234", "B=T;5", header="RIC;BID"))
        site.once()
        site.drop("prices.csv", sheet("A=T;1.235", "B=T;5", "C=T;7,5", "BAD=T;1", header="RIC;BID"))
        site.once()
        site.drop("other.csv", sheet("A=T;9", header="RIC;Offer"))
        site.once()
    return site


def differences(site: Site) -> tuple[int, set[tuple[object, ...]]]:
    done = site.invoke("upgrade-check", "--json")
    return done.exit_code, {(one["drop"], one["row"], one["ric"]) for one in json.loads(done.stdout)}


def test_nothing_has_changed(past: Site) -> None:
    done = past.invoke("upgrade-check")
    assert (done.exit_code, done.stdout[:15]) == (0, "identical posts"), done.output
    assert "3 drops, 6 rows" in done.stdout
    assert differences(past) == (0, set())


@pytest.mark.parametrize("output", [(), ("--json",)])
def test_a_guard_of_today_is_not_tried_on_past_drops_and_that_is_said(past: Site, output: tuple[str, ...]) -> None:
    past.configure(CLOSED, feed={"delimiter": ";"}, more="[feeds.guards]\nmax_new_rics = 0\n")
    done = past.invoke("upgrade-check", *output)
    assert done.exit_code == 0
    assert "guards, ages and approvals were not judged again" in done.stderr


def test_another_decimal_mark_reads_other_values(past: Site) -> None:
    configure(past, CLOSED, decimal=",", thousands=".")
    code, found = differences(past)
    assert code == 2
    assert found == {(1, 2, "A=T"), (2, 2, "A=T"), (2, 4, "C=T")}  # 1.234 is a thousand; C=T was rejected


def test_a_feed_that_posts_to_another_service(past: Site) -> None:
    configure(past, CLOSED, service="OTHER")
    assert differences(past) == (2, {(1, None, ""), (2, None, "")})
    assert "posted to the Service OTHER" in past.invoke("upgrade-check").stdout


def test_a_column_that_is_mapped_now(past: Site) -> None:
    configure(past, CLOSED, columns={"Offer": "ASK"})
    assert differences(past) == (2, {(3, None, "")})


def test_an_unchanged_row_that_gives_another_value_now(past: Site) -> None:
    configure(past, CLOSED, columns={"BID": "ASK"})
    code, found = differences(past)
    assert code == 2
    assert (2, 3, "B=T") in found


def test_a_file_that_is_not_kept_is_told(past: Site) -> None:
    for path in (past.database.parent / "spool").glob("*/*"):
        path.unlink()
    for output in ("", "--json"):
        done = past.invoke(f"upgrade-check {output}")
        assert (done.exit_code, done.stderr.count("not checked: drop")) == (0, 3)
        assert "identical" not in done.stdout


def test_a_post_of_another_kind_or_with_other_fields(past: Site) -> None:
    with closing(sqlite3.connect(past.database)) as connection, connection:
        connection.execute("UPDATE outcomes SET action = 'Refresh' WHERE drop_id = 2 AND row = 2")
        connection.execute("""UPDATE outcomes SET "full" = '{"BID":5,"ASK":6}' WHERE drop_id = 1 AND row = 3""")
    code, found = differences(past)
    assert (code, found) == (2, {(2, 2, "A=T"), (1, 3, "B=T")})
    (told,) = [one for one in json.loads(past.invoke("upgrade-check", "--json").stdout) if one["drop"] == 2]
    assert (told["then"], told["now"]) == ("Refresh BID 1.235", "Update BID 1.235")
