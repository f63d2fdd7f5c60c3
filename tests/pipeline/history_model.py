"""What a history of drops should lead to, told from the files alone and with plain dicts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256

from virtual_site import SERVICE, Item, Site, read_report

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


def check_drops(site: Site) -> None:
    """What lies in the folders has become a drop, the latest of its path."""
    latest = {drop.path: drop.sha256 for drop in site.drops()}
    for path in site.base.glob("inbox/*/*.csv"):
        if not path.name.endswith(".ack.csv"):
            assert latest.get(str(path)) == sha256(path.read_bytes()).hexdigest(), path.name


def check_reports(site: Site, tables: dict[str, Table]) -> None:
    """Every row of every drop has exactly one outcome, in the report and in the store alike."""
    for drop in site.drops():
        assert drop.status in ("done", "rejected"), f"drop {drop.id} is {drop.status}: {drop.reason}"
        table = tables[drop.sha256]
        report = site.report(drop.id)
        assert report.with_name(report.name.replace(".ack.csv", ".ack.html")).exists()
        rows = read_report(report)
        if drop.status == "rejected":
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
            record = recorded.pop(int(row["row"]), None)
            if record is None:
                assert row["status"] == "unchanged"
                continue
            told = (row["ric"], row["status"], row["post_id"], row["attempts"])
            post_id = "" if record["post_id"] is None else f"{record['post_id']:.0f}"
            assert told == (record["ric"], record["status"], post_id, str(record["attempts"]))
        assert not recorded
        for index, (ric, _) in enumerate(table.rows):
            status = rows[[int(row["row"]) for row in rows].index(index + 2)]["status"]
            if table.must_be_rejected(index):
                assert status == "rejected", (ric, index)
    assert len(site.report_files()) == 2 * len(site.drops())


def check_snapshot(site: Site, *, cache_was_lost: bool) -> None:
    """The snapshot is what the ADS acknowledged; of what is not dirty, it is what the ADS holds."""
    snapshot, cache, dirty = site.snapshot(), site.cache(), site.dirty()
    for item, fields in snapshot.items():
        if not cache_was_lost:  # which may happen between two posts of one frame, unseen
            assert fields in site.wire.held[item], f"the ADS never held {item} like this"
        if item in dirty or (cache_was_lost and item not in cache):
            continue
        assert fields == cache[item], item
    unexplained = set(cache) - set(snapshot) - dirty
    assert not unexplained


def check_prices(site: Site, tables: dict[str, Table], feeds: int) -> None:
    """Each field of each item has the newest value that an acceptable row gives, or a report says why not."""
    snapshot, dirty = site.snapshot(), site.dirty()
    newest_first: defaultdict[Item, list[tuple[dict[str, object], dict[str, str]]]] = defaultdict(list)
    for drop in reversed(site.drops()):
        if drop.status == "rejected":
            continue
        table = tables[drop.sha256]
        for row in site.rows(drop.id):
            index = int(row["row"]) - 2
            newest_first[SERVICE, row["ric"]].append((table.given(index), row))
            if row["status"] == "rejected" and not table.must_be_rejected(index):
                assert feeds > 1 or not any(value is not None for value in table.given(index).values()), row
    for item, told in newest_first.items():
        if item in dirty:
            assert any(uncertain(row) for _, row in told)
            continue
        for field in FIELDS:
            expected = newest(field, told)
            if expected is not UNKNOWN:
                assert snapshot.get(item, {}).get(field) == expected, (item, field)


UNKNOWN = object()


def newest(field: str, told: list[tuple[dict[str, object], dict[str, str]]]) -> object:
    """What a field of an item should be, by what its rows gave and what was reported of them, newest first.

    None where no row gave anything; UNKNOWN where an answer was lost.
    """
    for given, row in told:
        if field not in given or row["status"] == "rejected":
            continue
        if row["status"] in ("acked", "unchanged"):
            return given[field]
        if uncertain(row):
            return UNKNOWN
    return None


def uncertain(row: dict[str, str]) -> bool:
    """The ADS may have taken the row's values although it never said so."""
    if row["status"] == "nakked":
        return int(row["attempts"]) > 1 or row["nak_code"] == "NoResponse"
    return row["status"] == "unconfirmed" or (row["status"] == "superseded" and row["attempts"] != "0")
