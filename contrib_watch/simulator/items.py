"""The items that the simulated ADS holds, and who watches them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from contrib_watch.simulator.messages import Post
from contrib_watch.simulator.values import Value

ItemKey = tuple[str, str]
"""Service and RIC."""


class Watcher(Protocol):
    """Whoever has item streams open."""

    def deliver(self, stream_id: int, post: Post, cached: Mapping[str, Value] | None) -> None:
        """A post has changed the item of a stream, or deleted it (``cached`` None)."""


class Items:
    """Fields by service and RIC, and the open streams on them."""

    def __init__(self) -> None:
        self._cache: dict[ItemKey, dict[str, Value]] = {}
        self._watchers: defaultdict[ItemKey, set[tuple[Watcher, int]]] = defaultdict(set)
        self.cache: Mapping[ItemKey, Mapping[str, Value]] = MappingProxyType(self._cache)

    def apply(self, post: Post, key: ItemKey) -> bool:
        """Applies a post and tells the watchers; False when there is no such item.

        A Refresh creates the item or replaces its whole field list; an Update changes the fields that it carries; a
        Status that closes the stream deletes the item.
        """
        cached = self._cache.get(key)
        if post.kind == "Refresh":
            self._cache[key] = dict(post.values)
        elif cached is None:
            return False
        elif post.closes:
            del self._cache[key]
        else:
            cached.update(post.values)
        if key in self._watchers:
            for watcher, stream_id in sorted(self._watchers[key], key=lambda watched: watched[1]):
                watcher.deliver(stream_id, post, self._cache.get(key))
        return True

    def forget(self) -> None:
        """Empties the cache, as a restarted ADS does; open streams stay open."""
        self._cache.clear()

    def watch(self, key: ItemKey, watcher: Watcher, stream_id: int) -> None:
        """Delivers each change of the item from now on."""
        self._watchers[key].add((watcher, stream_id))

    def unwatch(self, key: ItemKey, watcher: Watcher, stream_id: int) -> None:
        """Ends what ``watch`` began."""
        self._watchers[key].discard((watcher, stream_id))
        if not self._watchers[key]:
            del self._watchers[key]
