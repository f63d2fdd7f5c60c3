"""Who may release a held drop, and what a release is of."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256

from contrib_watch.core.model import UNKNOWN, Drop, Feed, Person, Source

_SOMEBODY_ELSE = "somebody else must approve it: give a name with --as"


def fingerprint(target: str, service: str, content_sha256: str, changes: Iterable[tuple[str, str]]) -> str:
    """The SHA-256 (hex) of what a reviewer sees: a content, and what it would change on which target and Service.

    ``changes`` are RICs with ``Post.changes``, each with its old and its new values; their order and number are no
    matter, so that a drop that was sent in part and goes on has the fingerprint of the whole.
    """
    seen = json.dumps([target, service, content_sha256, sorted(set(changes))], separators=(",", ":"))
    return sha256(seen.encode()).hexdigest()


def why_not(feed: Feed, droppers: Mapping[str, str], by: Person, earlier: Collection[str] = ()) -> str:
    """Why this person may not release a drop, and what to do; empty: they may.

    ``droppers``: who dropped it, by name, and how that is known. ``earlier`` are the names of those who have approved
    it already.
    """
    if not feed.controlled:
        return ""
    if not by.name.strip():
        return "an approval needs a name: give it with --as"
    if feed.approvers and by.source is not Source.OS_USER:
        return f"feed {feed.name} has approvers: --as must be the OS user, who is {by.account or UNKNOWN}"
    if feed.approvers and not any(by.is_same(name) for name in feed.approvers):
        return f"{by.name} is none of the approvers of feed {feed.name}: {', '.join(feed.approvers)}"
    for name, source in droppers.items():
        if by.is_same(name):
            way_on = "another of the approvers must approve it" if feed.approvers else _SOMEBODY_ELSE
            return f"{by.name} dropped it ({source}), and {way_on}"
    if any(by.is_same(name) for name in earlier):
        return f"{by.name} has approved it already, and a second approver is needed"
    return ""


def approvals_needed(feed: Feed, drop: Drop) -> int:
    """How many different people must approve a drop: two where one of them might have dropped it."""
    return 2 if feed.approvers and drop.owner == UNKNOWN else 1
