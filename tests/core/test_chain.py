"""Hash trees: every row's path leads to the root, and nothing else does."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contrib_watch.core.chain import BEGINNING, SUBTREE_LEAVES, canonical, link, path, root
from contrib_watch.data.check_proof import root_of

ROWS = st.lists(st.text(max_size=4), min_size=1, max_size=70)


def recursive_root(rows: list[bytes]) -> bytes:
    """RFC 6962's own definition."""
    if not rows:
        return sha256().digest()
    if len(rows) == 1:
        return sha256(b"\x00" + rows[0]).digest()
    half = 1
    while half * 2 < len(rows):
        half *= 2
    return sha256(b"\x01" + recursive_root(rows[:half]) + recursive_root(rows[half:])).digest()


@example([b"%d" % number for number in range(2 * SUBTREE_LEAVES + 3)])
@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_is_that_of_rfc_6962(rows: list[bytes]) -> None:
    assert root(rows) == recursive_root(rows).hex()


def encoded(rows: list[str]) -> list[bytes]:
    return [row.encode() for row in rows]


@given(ROWS, st.data())
def test_every_path_leads_the_shipped_checker_to_the_root(rows: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    hashes = path(encoded(rows), index)
    assert root_of(rows[index], index, len(rows), hashes) == root(encoded(rows))
    assert root_of(rows[index] + "x", index, len(rows), hashes) != root(encoded(rows))


@given(ROWS, st.data())
def test_another_place_or_length_is_refused_or_leads_elsewhere(rows: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    hashes = path(encoded(rows), index)
    with pytest.raises(ValueError, match="too long"):
        root_of(rows[index], index, len(rows), [*hashes, "00" * 32])
    if hashes:
        with pytest.raises(IndexError):
            root_of(rows[index], index, len(rows), hashes[:-1])
    with pytest.raises(ValueError, match="is none"):
        root_of(rows[index], len(rows), len(rows), hashes)


def test_no_path_without_a_row() -> None:
    with pytest.raises(IndexError):
        path([b"a"], 1)


def test_a_record_is_one_text() -> None:
    first = link(1, BEGINNING, at_utc="2026-11-22T16:30:00.000Z", kind="drop", body={"b": "é", "a": [1, None]})
    assert first.text == (
        '{"at_utc":"2026-11-22T16:30:00.000Z","body":{"a":[1,null],"b":"\\u00e9"},"kind":"drop","number":1,'
        f'"previous":"{BEGINNING}"}}'
    )
    assert first.sha256 == sha256(first.text.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))
