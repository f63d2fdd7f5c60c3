"""Reports beside a state that is new: whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from virtual_site import Site, page_of, sheet

from contrib_watch.pipeline.past import Past


@pytest.fixture
def past(site: Site) -> Past:
    """Begun when the state had no drop yet."""
    found = Past(site.settings)
    with site.desk() as desk:
        found.begin(desk)
    return found


@pytest.fixture
def report(site: Site, past: Past) -> Path:
    """The CSV of the first report, whose page has not been written yet."""
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    page_of(site.report(1)).unlink()
    return site.report(1)


def test_a_scan_while_the_first_report_is_written_does_not_take_it_for_another_states(
    past: Past, report: Path
) -> None:
    assert past.contested(report.parent) == ""
    assert past.refusal is None


def test_a_report_that_the_state_has_given_no_name_is_another_ones(past: Past, report: Path) -> None:
    report.rename(report.with_name(report.name.replace("prices", "others")))
    assert "reports of another state" in past.contested(report.parent)
    assert past.refusal is not None
