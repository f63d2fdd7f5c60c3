"""Who may release a held drop, and what somebody who may not is told to do."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from contrib_watch.core.approvals import why_not
from contrib_watch.core.model import Feed, Person, Source

ANNA = Person("anna", Source.OS_USER, "anna")


@pytest.mark.parametrize(
    ("approvers", "way_on"),
    [((), "give a name with --as"), (("anna", "bob"), "another of the approvers must approve it")],
)
def test_who_dropped_it_is_told_a_way_on_that_leads_somewhere(approvers: tuple[str, ...], way_on: str) -> None:
    feed = Feed(name="fx", folder=PurePath("in"), service="NIPROV", approval="always", approvers=approvers)
    told = why_not(feed, {"anna": "file owner"}, ANNA)
    assert told.startswith("anna dropped it (file owner), and ")
    assert told.endswith(way_on)
