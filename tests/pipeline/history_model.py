"""What a history of drops should lead to, told from the files alone and with plain dicts."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from itertools import chain

from virtual_site import Item, Site, not_blank, read_report

from contrib_watch.core.model import Drop
from contrib_watch.core.posts import KEPT_NEWER
from contrib_watch.core.tokens import tokens_of
from contrib_watch.store.history import History as Past

FIELDS = ("BID", "ASK", "BIDSIZE")
CLEAR = "#CLEAR"
BAD = ("x1", "1,5", "1e400", "#N/A")

Row = tuple[str, tuple[str, ...]]
"""A RIC and the texts of its cells."""


@dataclass(frozen=True)
class Table:
    """One file's content."""

    fields: tuple[str, ...]
    rows: tuple[Row, ...]

    def text(self) -> str:
        lines = [("RIC", *self.fields), *((ric, *cells) for ric, cells in self.rows)]
        return "".join(f"{','.join(line)}\n" for line in lines)

    def must_be_rejected(self, index: int) -> bool:
        """A cell that is no number, or copies of the RIC that differ."""
        ric, cells = self.rows[index]
        copies = [other for name, other in self.rows if name == ric]
        return bool(set(cells) & set(BAD)) or any(_typed(copy) != _typed(cells) for copy in copies)

    def given(self, index: int) -> dict[str, object]:
        """The values that a row gives; none where it must be rejected."""
        if self.must_be_rejected(index):
            return {}
        _, cells = self.rows[index]
        return {field: _value(cell) for field, cell in zip(self.fields, cells, strict=True) if cell}


def _typed(cells: tuple[str, ...]) -> list[object]:
    return [cell if cell in ("", *BAD) else _value(cell) for cell in cells]


def _value(cell: str) -> object:
    return None if cell == CLEAR else Decimal(cell)


def table_of(site: Site, drop: Drop) -> Table:
    """The content of a drop that the program made, a revert or a withdrawal."""
    with site.desk() as desk:
        header, *rows = csv.reader(desk.bytes_of(drop.sha256).decode().splitlines())
    return Table(tuple(header[1:]), tuple((ric, tuple(cells)) for ric, *cells in rows))


def check_drops(site: Site) -> None:
    """What lies in the folders has become a drop, the latest of its path; or the feed was new, and it is old."""
    latest = {drop.path: drop.sha256 for drop in site.drops()}
    for path in site.base.glob("inbox/*/*.csv"):
        if not path.name.endswith(".ack.csv") and not site.is_backlog(path):
            assert latest.get(str(path)) == sha256(path.read_bytes()).hexdigest(), path.name


def check_reports(site: Site, tables: dict[str, Table]) -> None:
    """Every row of every drop has exactly one outcome, in the report and in the store alike."""
    for drop in site.drops():
        assert drop.status in ("done", "held", "rejected"), f"drop {drop.id} is {drop.status}: {drop.reason}"
        table = tables[drop.sha256]
        report = site.report(drop.id)
        assert report.with_name(report.name.replace(".ack.csv", ".ack.html")).exists()
        rows = read_report(report)
        if drop.status == "rejected" and not drop.reason.startswith(BY_A_PERSON):
            assert [row["status"] for row in rows] == ["rejected"]
            assert not site.outcomes(drop.id)
            continue
        assert sorted((int(row["row"]), row["ric"]) for row in rows) == [
            (number, ric) for number, (ric, _) in enumerate(table.rows, start=2)
        ]
        counts = Counter(row["status"] for row in rows)
        assert site.totals(drop.id) == dict(counts)
        assert sum(counts.values()) == len(table.rows)
        recorded = {record["row"]: record for record in site.outcomes(drop.id)}
        for row in rows:
            if table.must_be_rejected(int(row["row"]) - 2):
                assert row["status"] == "rejected", row
            record = recorded.pop(int(row["row"]), None)
            if record is None:
                assert row["status"] == "unchanged"
                continue
            told = (row["ric"], row["status"], row["post_id"], row["attempts"])
            post_id = "" if record["post_id"] is None else f"{record['post_id']:.0f}"
            assert told == (record["ric"], record["status"], post_id, str(record["attempts"]))
        assert not recorded


def check_verified(site: Site, tables: dict[str, Table]) -> None:
    """What a report calls verified the ADS did hold."""
    for drop in site.drops():
        table, service = tables[drop.sha256], site.service(drop.feed)
        for report in site.reports(drop.id):
            for row in read_report(report):
                if row.get("verified") == "yes":
                    given = _posted(table.given(int(row["row"]) - 2), row)
                    held = site.wire.held[service, row["ric"]]
                    assert any(all(one.get(f) == value for f, value in given.items()) for one in held), row


def check_revert(site: Site, undone: Drop, values: Table) -> None:
    """A revert gives what the ADS held before the drop's only posts, where no answer was ever lost."""
    told = [row for drop in site.drops() for report in site.reports(drop.id) for row in read_report(report)]
    if undone.run > 1 or any(map(uncertain, told)):
        return
    posted = {row["ric"]: row for row in read_report(site.report(undone.id))}
    for index, (ric, _) in enumerate(values.rows):
        if posted[ric]["attempts"] == "1":
            before = site.wire.before[int(posted[ric]["post_id"])]
            for field, value in values.given(index).items():
                assert value == before.get(field), (ric, field)


def _posted(given: dict[str, object], row: dict[str, str]) -> dict[str, object]:
    """The values of a row that were posted, as its report tells them; the ADS got newer ones of what is kept."""
    kept = row["text"].partition(f"{KEPT_NEWER}: ")[2].split(",")
    return {
        field: value for field, value in given.items() if f"{field} " in f" {row['changes']}" and field not in kept
    }


def check_approvals(site: Site, feed: str) -> None:
    """Nothing of a feed whose drops all wait for an approval is sent in the run that nobody has decided about."""
    for drop in site.drops():
        if drop.feed == feed and (first := site.reports(drop.id)[:1]):
            assert not any(row["attempts"] not in ("", "0") for row in read_report(first[0])), f"drop {drop.id}"


def check_snapshot(site: Site, *, may_lack: bool, forgot: bool, unseen: bool = False, emptied: bool = False) -> None:
    """The snapshot is what the ADS acknowledged; of what is not dirty, it is what the ADS holds.

    ``may_lack``: the ADS has lost items, or not taken what it acknowledged, and nobody could read that back;
    ``unseen``: between two posts of a frame. ``emptied``: it has lost what it held, and may have taken an Update of
    that before a repair which nobody knows the end of. ``forgot``: the state is an older one.
    """
    snapshot, cache, dirty = site.snapshot(), site.cache(), site.dirty()
    lied = site.lied()
    excused = lied | dirty if emptied else lied
    for item, fields in snapshot.items():
        held = map(not_blank, site.wire.held[item])
        assert unseen or item in excused or not_blank(fields) in held, f"the ADS never held {item} like this"
    assert not {item for item in site.wrong() if not may_lack or (item in cache and item not in lied)}
    unexplained = {item for item, fields in cache.items() if fields} - set(snapshot) - dirty
    assert forgot or not unexplained


def check_audit(site: Site, rics: Collection[str], *, by_time: bool) -> None:
    """What the record says was acknowledged went on the wire like that, once, and adds up to the market at any time.

    ``by_time``: nobody has set the clock.
    """
    sent = {post.post_id: post for post in site.posts}
    acked: dict[tuple[object, ...], dict[str, str]] = defaultdict(dict)
    with site.desk() as desk:
        past = Past(desk.state)
        for one in chain.from_iterable(map(past.of_ric, rics)):
            if one.status == "acked":
                post = (one.post_id, one.acked_at_utc, one.service, one.ric, one.drop, one.run)
                acked[post][one.field] = one.value
        assert len({post_id for post_id, *_ in acked}) == len(acked), "a PostID is told twice"
        for (post_id, _, *item, _, _), fields in acked.items():
            post = sent[post_id]
            assert [post.service, post.ric, dict(post.fields)] == [*item, fields], f"PostID {post_id}"
        for until_utc in sorted({"9999", *(at_utc for _, at_utc, *_ in acked if by_time)}):
            market: dict[Item, dict[str, str]] = {}
            for (post_id, at_utc, service, ric, *_), fields in sorted(acked.items(), key=lambda one: one[0][0]):
                if at_utc <= until_utc:
                    before = market.get((service, ric), {}) if sent[post_id].kind == "Update" else {}
                    market[service, ric] = {**before, **fields}
            told = {(one.service, one.ric): tokens_of(one.fields) for one in past.as_of(until_utc)}
            assert told == market, f"as of {until_utc}"
        assert told.keys() == site.snapshot().keys()


def check_prices(
    site: Site, tables: dict[str, Table], *, feeds: int, forgot: bool, resent: Collection[Item] = ()
) -> None:
    """Each field of each item has the newest value that an acceptable row gives, or a report says why not.

    ``feeds``: how many share a Service. ``forgot``: the state is an older one, in which nothing is certain.
    ``resent``: of these items a person has posted values in doubt, which no report tells.
    """
    snapshot, dirty, repaired = site.snapshot(), site.dirty(), site.dirty(0)
    newest_first: defaultdict[Item, list[Told]] = defaultdict(list)
    for drop in reversed(site.drops()):
        table, service = tables[drop.sha256], site.service(drop.feed)
        reports, spoken = site.reports(drop.id), was_done(site, drop)
        for run, report in reversed([*enumerate(reports, start=1)]):
            for row in read_report(report):
                if not row["ric"]:
                    continue  # the line of a file that could not be read
                given = table.given(int(row["row"]) - 2)
                told = Told(given, row, late=run > 1, revert=is_revert(drop), spoken=spoken)
                newest_first[service, row["ric"]].append(told)
                if row["status"] == "rejected" and BY_A_PERSON not in row["text"] and feeds == 1:
                    must = table.must_be_rejected(int(row["row"]) - 2)
                    assert must or not any(value is not None for value in given.values()), row
    for item, told in newest_first.items():
        if item in dirty:
            assert forgot or item in repaired or any(uncertain(one.row) for one in told), item
            continue
        for field in FIELDS:
            expected = newest(field, told, by_reports_alone=item not in resent)
            assert not expected or snapshot.get(item, {}).get(field) in expected, (item, field)


BY_A_PERSON = "rejected by a person"


@dataclass(frozen=True)
class Told:
    """A row and what a report says of it."""

    given: dict[str, object]
    row: dict[str, str]
    late: bool
    """Of a run that a person asked for: it may have left fields to what was said meanwhile."""
    revert: bool
    """It may have left fields to what has replaced them."""
    spoken: bool
    """Of a drop that was done; to what another one calls unchanged, a person may have preferred an older drop."""


def newest(field: str, told: list[Told], *, by_reports_alone: bool) -> Collection[object]:
    """What a field of an item may be, by what its rows gave and what was reported of them, newest first.

    None where no row gave anything; there is nothing to expect where an answer was lost. What a drop that was never
    done calls unchanged is held against those of the older ones alone that were processed again, perhaps after it.
    What a run that a person asked for calls unchanged may have been left so, or been there already: an older drop's
    full Refresh carries what an earlier process posted of this one.
    """
    found: list[object] = []
    there: list[object] = []
    for one in told:
        if field not in one.given or one.row["status"] == "rejected":
            continue
        if uncertain(one.row) or (one.row["status"] == "held" and not by_reports_alone):
            return ()  # a person may have posted what a restored state has forgotten to have sent
        if one.row["status"] in ("acked", "unchanged"):
            if (one.late or one.revert) and f"{field} " not in f" {one.row['changes']}":
                if one.revert or not by_reports_alone:
                    return ()
                if one.row["status"] == "unchanged":
                    there.append(one.given[field])
                continue  # left as it was, which other rows explain
            if one.late or not found:
                found.append(one.given[field])
            if one.revert:  # what was held when a person undid an older drop may have come over it since
                continue
            if one.row["status"] == "acked" or one.spoken:
                return [*found, *there]
    return [*(found or [None]), *there]


def was_done(site: Site, drop: Drop) -> bool:
    """Whether a drop was done, in whichever run."""
    if drop.status == "done" or drop.run == 1:
        return drop.status == "done"
    with site.desk() as desk:
        return desk.drops.was_done(drop)


def is_revert(drop: Drop) -> bool:
    """Whether a drop puts back what another one replaced."""
    return drop.origin.startswith("revert")


def uncertain(row: dict[str, str]) -> bool:
    """The ADS may have taken the row's values although it never said so."""
    if row["status"] == "nakked":
        return int(row["attempts"]) > 1 or row["nak_code"] == "NoResponse"
    return row["status"] == "unconfirmed" or (row["status"] in ("held", "superseded") and row["attempts"] != "0")
