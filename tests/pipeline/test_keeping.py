"""The bytes of past drops: packed, read again, and removed when their feed asks for them no longer."""

from __future__ import annotations

import gzip
from pathlib import Path

from virtual_site import NewSite, Site, make_feed, sheet

from contrib_watch.pipeline.keeping import tidy
from contrib_watch.store.proof import prove

DAY_S = 86_400.0


def spooled(site: Site) -> list[Path]:
    return sorted(path for path in (site.base / "state" / "spool").rglob("*") if path.is_file())


def tidied(site: Site, days: float) -> None:
    site.clock.now_s += days * DAY_S
    with site.desk() as desk:
        tidy(desk)
        proven = prove(desk.state)
        assert proven.misfit is None
        for sha256 in proven.contents:
            desk.bytes_of(sha256)  # whatever the record says is kept, is


def test_a_day_later_the_bytes_are_packed_and_a_retry_still_reads_them(site: Site) -> None:
    text = sheet("RIC,BID", "A=,1", "B=,x")
    site.save(text)
    site.run()
    tidied(site, 0.5)
    assert [path.suffix for path in spooled(site)] == [""]
    tidied(site, 0.6)
    (packed,) = spooled(site)
    assert packed.suffix == ".gz"
    assert gzip.decompress(packed.read_bytes()) == text.encode()
    site.retry(1)
    site.run()
    assert site.statuses(1) == {"A=": "unchanged", "B=": "rejected"}


def test_a_feed_says_how_long(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", keep_s=30 * DAY_S), make_feed("desk"))
    site.save(sheet("RIC,BID", "A=,1"), "a.csv")
    site.save(sheet("RIC,BID", "B=,1"), "b.csv")
    site.save(sheet("RIC,BID", "B=,1"), "b.csv", feed="desk")  # the other feed keeps the same content for ever
    site.run()
    tidied(site, 31)
    assert len(spooled(site)) == 1
    tidied(site, 1)


def test_what_waits_for_a_person_is_neither_packed_nor_removed(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", keep_s=DAY_S))
    site.run()
    site.save(sheet("RIC,BID", "A=,1"), age_s=30 * DAY_S)
    site.run()
    tidied(site, 40)
    assert [path.suffix for path in spooled(site)] == [""]
