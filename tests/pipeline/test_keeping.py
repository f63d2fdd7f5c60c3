"""The bytes of past drops: packed, read again, and removed when their feed asks for them no longer."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from virtual_site import EPOCH, NewSite, Site, make_feed, sheet

from contrib_watch.adapters.folder import keep
from contrib_watch.pipeline.aside import done_at_once
from contrib_watch.pipeline.keeping import tidy
from contrib_watch.pipeline.loop import Loop
from contrib_watch.store.proof import prove

DAY_S = 86_400.0


def spooled(site: Site) -> list[Path]:
    return sorted(path for path in (site.base / "state" / "spool").rglob("*") if path.is_file())


def aged(site: Site) -> None:
    """The copies are as old by the file system as by the site's clock."""
    for path in spooled(site):
        os.utime(path, (EPOCH.timestamp(), EPOCH.timestamp()))


def tidied(site: Site, days: float) -> None:
    aged(site)
    site.clock.now_s += days * DAY_S
    with site.desk() as desk:
        done_at_once(tidy(desk))
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


def test_a_run_that_lasts_for_days_tidies_every_day(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", keep_s=3 * DAY_S))
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    seen: list[list[str]] = []

    def two_days_pass(_: Loop) -> None:
        seen.append([path.suffix for path in spooled(site)])
        site.clock.now_s += 2 * DAY_S

    aged(site)
    looks = {days * (DAY_S + 10) + 10: two_days_pass for days in (0, 2, 4)}
    site.run(once=False, scan=False, meanwhile={**looks, 6 * (DAY_S + 10) + 10: Loop.stop})
    assert seen == [[""], [".gz"], []]
    with site.desk() as desk:
        assert prove(desk.state).misfit is None


def test_a_copy_that_a_scan_has_just_found_in_its_place_stays(new_site: NewSite) -> None:
    site = new_site(make_feed("fx", keep_s=DAY_S))
    text = sheet("RIC,BID", "A=,1")
    site.save(text)
    site.run()
    aged(site)
    site.clock.now_s += 2 * DAY_S
    spool = site.base / "state" / "spool"
    _, copy = keep(spool, text.encode())  # a scan, whose drop is accepted in a while
    assert copy.stat().st_mtime > EPOCH.timestamp()
    now_s = site.clock.utc().timestamp()
    os.utime(copy, (now_s, now_s))
    with site.desk() as desk:
        done_at_once(tidy(desk))
    assert copy in spooled(site)
    site.retry(1)
    site.run()
    assert site.statuses(1) == {"A=": "unchanged"}


def test_what_a_death_left_in_the_spool_is_removed(site: Site) -> None:
    site.save(sheet("RIC,BID", "A=,1"))
    site.run()
    (copy,) = spooled(site)
    copy.with_name(".half.tmp").write_bytes(b"half of a copy")
    tidied(site, 2)
    assert [path.suffix for path in spooled(site)] == [".gz"]
