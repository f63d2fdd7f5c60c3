"""The numbers of posts: keys that only grow, the PostIDs that go with them, and the order that these tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contrib_watch.store.state import State

LAST_POST_ID = 2**32 - 1
"""PostID is uint32 and 2^32 wraps to 0 (seen on LSEG's SDK provider): ids run from 1 to this, then from 1 again."""


def next_key(state: State) -> int:
    """The key that is given next, as the record says."""
    return int(state.get("next_post_key") or 1)


def post_id_of(key: int) -> int:
    """The PostID that goes with a key."""
    return (key - 1) % LAST_POST_ID + 1


def post_ids_of(keys: Sequence[int]) -> list[int]:
    """The PostID that goes with each key; the keys go up."""
    if keys and keys[-1] <= LAST_POST_ID:
        return list(keys)
    return [post_id_of(key) for key in keys]


def place_of(post_id: Any, next_id: Any) -> Any:
    """Where a post stands in the order of all (a number, or an expression of one): a clock may be set, PostIDs grow.

    ``next_id`` is the PostID to be given next, so it is the oldest that may be known.
    """
    return (post_id - next_id + LAST_POST_ID) % LAST_POST_ID
