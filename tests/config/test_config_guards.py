"""Guards in config.toml, and what decides a feed's days."""

from __future__ import annotations

import re
from datetime import date, time
from decimal import Decimal
from pathlib import Path

import pytest
from written_config import MINIMAL, problems, written

from contrib_watch.config import InvalidConfiguration, check_mappings, load_dictionary
from contrib_watch.core.business_days import Calendar, Expectation
from contrib_watch.core.limits import Limit

GUARDED = """\
timezone = "Europe/Berlin"
valid_for = "4h"
approvers = ["anna", "bob"]
calendar = { weekend = ["Fri", "Sat"], holidays = "holidays.txt" }
expect = { by = "16:45" }
[feeds.guards]
max_move = { BID = "20%", BID_YIELD = 1.5 }
range = { BID = [0, 200.5] }
max_changed_rows = "60 %"
max_new_rics = 20
on_breach = { max_move = "reject", range = "hold" }
"""


def test_guards_are_read_exactly(tmp_path: Path) -> None:
    (tmp_path / "holidays.txt").write_text("# New Year\n2026-01-01\n\n2026-12-25 # Christmas\n")
    (feed,) = written(tmp_path, MINIMAL + GUARDED).feeds
    guards = feed.guards
    assert guards.max_move == {"BID": Limit(Decimal(20), percent=True), "BID_YIELD": Limit(Decimal("1.5"))}
    assert guards.range == {"BID": (Decimal(0), Decimal("200.5"))}
    assert (guards.max_changed_rows, guards.max_new_rics) == (Limit(Decimal(60), percent=True), Limit(Decimal(20)))
    assert guards.rejecting == {"max_move"}
    assert feed.calendar == Calendar(frozenset({4, 5}), frozenset({date(2026, 1, 1), date(2026, 12, 25)}))
    assert feed.expect == Expectation(time(16, 45), frozenset({0, 1, 2, 3, 6}))
    assert (feed.timezone, feed.valid_for_s, feed.approvers) == ("Europe/Berlin", 14400, ("anna", "bob"))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"Europe/Berlin"', '"Europe/Berlim"', 'timezone must be an IANA time zone .* "Europe/Berlin"'),
        ('["Fri", "Sat"]', '["Mon-Sun"]', "calendar.weekend must leave a day"),
        ("holidays.txt", "gone.txt", "calendar.holidays is a file that cannot be read"),
        ("16:45", "24:00", "expect.by must be a time of day that exists"),
        ('by = "16:45"', 'by = "16:45", days = "Mon-Fry"', "expect.days must be days"),
        ('by = "16:45"', 'days = "Mon"', "expect.by is required"),
        ('"20%"', '"20"', "guards.max_move.BID must be a number, or a percentage in quotes"),
        ("= 1.5", "= -1", "guards.max_move.BID_YIELD must not be below 0"),
        ("= 1.5", "= nan", "guards.max_move.BID_YIELD must be within 10.12 of 0"),
        ("[0, 200.5]", "[0, inf]", "guards.range.BID must be within 10.12 of 0"),
        ("[0, 200.5]", "[2, 1]", "guards.range.BID must have the smaller value first"),
        ("[0, 200.5]", "[1]", "guards.range.BID must be the smallest and the largest value"),
        ("= 20\n", "= 2.5\n", "guards.max_new_rics must be a whole number"),
        ('"reject"', '"stop"', 'guards.on_breach must be "hold" or "reject"'),
        ('max_move = "reject"', 'max_moves = "reject"', 'no guard; did you mean "max_move"'),
        ("max_changed_rows", "max_changed_row", 'not a known key; did you mean "max_changed_rows"'),
    ],
)
def test_problems_of_guards(old: str, new: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "holidays.txt").touch()
    assert old in GUARDED
    (found,) = problems(tmp_path, MINIMAL + GUARDED.replace(old, new))
    assert re.search(problem, found)
    assert found.startswith("line ")


def test_a_guard_of_values_needs_a_field_that_is_a_number(tmp_path: Path) -> None:
    guards = "[feeds.guards]\nmax_move = { BIDD = 1 }\nrange = { CURRENCY = [0, 1] }\n"
    settings = written(tmp_path, MINIMAL + guards)
    with pytest.raises(InvalidConfiguration) as caught:
        check_mappings(settings, load_dictionary(settings.fields))
    first, second = caught.value.problems
    assert 'max_move.BIDD is no field of the dictionary; did you mean "BID"' in first
    assert "range.CURRENCY is a field of type ENUM, which is no number" in second
