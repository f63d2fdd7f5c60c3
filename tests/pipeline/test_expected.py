"""Files that were expected and did not come."""

from __future__ import annotations

from datetime import time

import pytest
from virtual_site import NewSite, Site, make_feed, sheet

from contrib_watch.core.business_days import Expectation
from contrib_watch.pipeline.expected import absences

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
PRICES = sheet("RIC,BID", "A=,1")


DAILY = make_feed("fx", expect=Expectation(time(16, 45), frozenset(range(7))), timezone="UTC")


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """A file is due at 16:45 of every day. The folder is first looked at on the 22nd, half an hour before."""
    site = new_site(DAILY)
    site.run()
    return site


def recorded(site: Site) -> list[str]:
    """The days that the record has as without a file."""
    with site.desk() as desk, desk.state.transaction() as connection:
        return [day for (day,) in connection.exec_driver_sql("SELECT day FROM absences ORDER BY day")]


def test_each_day_without_a_file_is_recorded_after_days_without_a_look(site: Site) -> None:
    site.clock.now_s += HOUR_S
    site.run()
    assert recorded(site) == ["2026-11-22"]
    site.clock.now_s += 4 * DAY_S
    site.save(PRICES, age_s=2 * DAY_S)
    site.run()
    assert recorded(site) == ["2026-11-22", "2026-11-23", "2026-11-25"]
    site.run()
    assert recorded(site) == ["2026-11-22", "2026-11-23", "2026-11-25"]


def test_a_day_is_judged_once_by_what_came_until_then(site: Site) -> None:
    site.save(PRICES)
    site.run()
    site.clock.now_s += HOUR_S
    site.run()
    site.clock.now_s += DAY_S
    site.run()
    assert recorded(site) == ["2026-11-23"]


def test_a_file_that_is_dated_in_the_future_is_not_the_one_that_was_due(site: Site) -> None:
    site.save(PRICES, age_s=-400 * DAY_S)
    site.run()
    site.clock.now_s += HOUR_S + DAY_S
    site.run()
    with site.desk() as desk:
        assert [str(one.day) for one in absences(desk)] == ["2026-11-23"]
    assert recorded(site) == ["2026-11-23"]


def test_an_old_file_that_is_adopted_is_not_the_one_that_was_due(new_site: NewSite) -> None:
    site = new_site(DAILY)
    site.save(PRICES, age_s=30 * DAY_S)
    site.run()
    assert len(site.adopt("newest")) == 1
    site.run()
    site.clock.now_s += HOUR_S
    site.run()
    assert recorded(site) == ["2026-11-22"]
