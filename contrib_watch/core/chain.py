"""What makes a record that nobody can change unseen: canonical texts, a chain of hashes, and a tree over rows.

Each record's text holds the SHA-256 of the one before it, so that the last one's hash stands for all of them. The
rows of a drop are the leaves of a hash tree whose root stands in the drop's record: that a row is among them can be
shown with a handful of hashes, without the other rows. The tree is that of RFC 6962 (2.1), whose leaves and nodes
are hashed with different first bytes, so that neither passes for the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

BEGINNING = "0" * 64
"""Stands in the first record in place of the hash of the one before it."""

SUBTREE_LEAVES = 4096
"""Leaves that are in memory at one time; a power of two, so that each part of so many is a subtree of its own."""

_LEAF, _NODE = b"\x00", b"\x01"  # RFC 6962, 2.1


class Link(NamedTuple):
    """One record of the chain."""

    number: int
    """Counted from 1."""
    text: str
    """Canonical JSON: an object of ``at_utc``, ``body``, ``kind``, ``number`` and ``previous``."""
    sha256: str
    """Of the text, in hex."""


class Witness(NamedTuple):
    """A record as something outside the state names it: a report on a share."""

    number: int
    sha256: str


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no blanks, ASCII alone; raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def link(number: int, previous: str, *, at_utc: str, kind: str, body: Mapping[str, Any]) -> Link:
    """The next record; ``previous`` is the hash of the one before it."""
    text = canonical({"number": number, "previous": previous, "at_utc": at_utc, "kind": kind, "body": body})
    return Link(number, text, sha256(text.encode()).hexdigest())


def root(leaves: Iterable[bytes]) -> str:
    """The root of the tree over these rows, in hex; without any it is the hash of nothing."""
    return root_over(sha256(_LEAF + leaf).digest() for leaf in leaves)


def hashed(leaves: Iterable[bytes]) -> list[bytes]:
    """The hashes of rows as leaves of a tree."""
    return [sha256(_LEAF + leaf).digest() for leaf in leaves]


def root_over(hashes: Iterable[bytes]) -> str:
    """The root of the tree over rows with these hashes, in hex; a part of them at a time is in memory."""
    left = iter(hashes)
    tops = []
    while part := list(islice(left, SUBTREE_LEAVES)):
        tops.append(_top(part))
    return _top(tops).hex() if tops else sha256().hexdigest()


def _top(level: Sequence[bytes]) -> bytes:
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def path(leaves: Iterable[bytes], index: int) -> list[str]:
    """The hashes (hex) that lead from one row to the root, from the bottom; IndexError where there is no such row."""
    level = hashed(leaves)
    if not 0 <= index < len(level):
        raise IndexError(index)
    found = []
    while len(level) > 1:
        if index ^ 1 < len(level):  # the last of an odd number goes up as it is
            found.append(level[index ^ 1].hex())
        level, index = _parents(level), index // 2
    return found


def _parents(level: Sequence[bytes]) -> list[bytes]:
    above = [sha256(_NODE + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    return [*above, level[-1]] if len(level) % 2 else above
