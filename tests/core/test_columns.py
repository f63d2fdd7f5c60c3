"""Columns held to what a look at each row says."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from row_by_row import AWKWARD, NAMES, json_object, tokens

from contrib_watch.core import columns as columns_module
from contrib_watch.core.columns import enumeration, object_column, token_columns

Row = dict[str, str]

alike = st.lists(st.sampled_from(NAMES), unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, tokens)), max_size=4)
)
different = st.lists(st.none() | st.dictionaries(st.sampled_from(NAMES), tokens), max_size=4)
BLANKS = st.none() | st.just("") | st.sampled_from(AWKWARD)


@example([{"BID": "1"}, {}])
@example([{"BID": "1", "ASK": "2"}, {"ASK": "2", "BID": "1"}])
@example([{"BID": "1", "ASK": "2"}, {"BID": '","'}])
@example([{"DSPLY_NAME": '"a"', "BID": "1"}, {"DSPLY_NAME": r'",\"BID\":3"'}])
@given(alike | different)
@pytest.mark.parametrize("at_once", [1, 2, 65_536])
def test_each_object_is_taken_apart_into_the_tokens_it_was_made_of(at_once: int, rows: list[Row | None]) -> None:
    objects = pa.array([None if row is None else json_object(row) for row in rows], pa.string())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(columns_module, "_TAKEN_APART", at_once)
        found = token_columns(objects, first=["ASK", "YIELD"])
    assert list(found)[:2] == ["ASK", "YIELD"]
    assert found.keys() == {"ASK", "YIELD"}.union(*(row or {} for row in rows))
    for name, column in found.items():
        assert column.to_pylist() == [(row or {}).get(name) for row in rows]


@given(alike | different)
def test_tokens_are_put_together_to_the_object_that_they_are_of(rows: list[Row | None]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row or ()))
    columns = {name: pa.array([(row or {}).get(name) for row in rows], pa.string()) for name in names}
    wanted = [json_object({name: row[name] for name in names if name in row}) if row else "{}" for row in rows]
    assert object_column(columns, len(rows)).to_pylist() == wanted


@pytest.mark.parametrize("separator", ["; ", ","])
@given(rows=st.lists(st.tuples(BLANKS, BLANKS), max_size=4))
def test_what_is_missing_is_left_out_of_an_enumeration(separator: str, rows: list[tuple[str | None, ...]]) -> None:
    columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(("A ", "B "))}
    found = enumeration(columns, separator, len(rows)).to_pylist()
    told = [zip(columns, row, strict=True) for row in rows]
    assert found == [separator.join(name + text for name, text in row if text is not None) for row in told]
