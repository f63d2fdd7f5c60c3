"""One drop after the other: what is posted, what is not, and what the reports say of it."""

from __future__ import annotations

from virtual_site import Site, sheet


def test_what_is_new_is_refreshed_what_changed_is_updated_and_nothing_is_sent_twice(site: Site) -> None:
    site.save(sheet("RIC,BID,ASK", "A=,22.1,22.3", "B=,5,6", "C=,7,8"))
    site.run()
    assert site.sent() == [
        ("Refresh", "A=", {"BID": "22.1", "ASK": "22.3"}),
        ("Refresh", "B=", {"BID": "5", "ASK": "6"}),
        ("Refresh", "C=", {"BID": "7", "ASK": "8"}),
    ]
    site.save(sheet("RIC,BID,ASK", "A=,22.10,22.4", "B=,5.0,6", "D=,9,10"), name="later.csv")
    site.run()
    assert site.sent(3) == [("Update", "A=", {"ASK": "22.4"}), ("Refresh", "D=", {"BID": "9", "ASK": "10"})]
    assert site.statuses(2) == {"A=": "acked", "B=": "unchanged", "D=": "acked"}
    site.run()
    assert len(site.posts) == 5
