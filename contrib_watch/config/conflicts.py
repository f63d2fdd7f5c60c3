"""Rules between keys. Each function yields its problems with all the keys that take part in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path, PurePath

from contrib_watch.ads.tokens import Grant
from contrib_watch.config.problems import Problem
from contrib_watch.config.settings import DISCOVER, SIMULATED, Ads, CloudTable, Fields, State
from contrib_watch.core.model import Feed


def between_keys(
    ads: Ads | None,
    cloud: CloudTable | None,
    state: State | None,
    dictionary: Fields | None,
    feeds: Mapping[int, Feed],
    *,
    by_token: bool,
) -> Iterator[Problem]:
    """All problems between the keys of what could be read; ``feeds`` by their place in the file, from 1.

    ``by_token``: there is a table [cloud], though it may not be readable.
    """
    if ads is not None:
        yield from _ads(ads)
        yield from _logins(ads, by_token=by_token)
    if cloud is not None:
        yield from _cloud(cloud, discovered=ads is not None and ads.discovered)
    if dictionary is not None:
        yield from _dictionary_files(dictionary)
    for n, feed in feeds.items():
        yield from _reading(n, feed)
        yield from _columns(n, feed)
        yield from _markers(n, feed)
    yield from _feed_pairs(feeds)
    yield from _places(feeds, state)


def unreported(found: Iterable[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """Those of ``found`` that are not about a key that is wrong already."""
    wrong = {key[:depth] for problem in problems for key in problem.keys for depth in range(1, len(key) + 1)}
    return [problem for problem in found if wrong.isdisjoint(problem.keys)]


def _ads(ads: Ads) -> Iterator[Problem]:
    hosts, target = ("ads", "hosts"), ("ads", "target")
    if SIMULATED in ads.hosts and not ads.simulated:
        yield Problem((hosts,), f'must be ["{SIMULATED}"] alone, or real hosts alone')
    elif DISCOVER in ads.hosts and not ads.discovered:
        yield Problem((hosts,), f'must be ["{DISCOVER}"] alone, or hosts that are named')
    elif ads.simulated and ads.target != SIMULATED:
        # What the simulated ADS acknowledged must never pass for what a real one holds.
        yield Problem((target, hosts), f'must be "{SIMULATED}", or left out, with hosts = ["{SIMULATED}"]')
    elif ads.target == SIMULATED and not ads.simulated:
        yield Problem((target, hosts), f'must not be "{SIMULATED}" with real hosts; name the system behind them')
    if ads.pack > ads.window:
        yield Problem((("ads", "pack"), ("ads", "window")), f"must not be above window, which is {ads.window}")
    if ads.tls and ads.simulated:
        yield Problem((("ads", "tls"), hosts), "must be false: the simulated ADS in this process has no TLS")
    if ads.proxy and ads.simulated:
        yield Problem((("ads", "proxy"), hosts), "must be empty: the simulated ADS is in this process")
    if ads.ca_file and not ads.tls:
        yield Problem((("ads", "ca_file"), ("ads", "tls")), "is used with tls = true only")
    elif ads.ca_file and not ads.ca_file.is_file():
        yield Problem((("ads", "ca_file"),), f"is not a file: {ads.ca_file}")


def _logins(ads: Ads, *, by_token: bool) -> Iterator[Problem]:
    """What goes with logins by token, and what without."""
    hosts = ("ads", "hosts")
    if ads.simulated and by_token:
        yield Problem((("cloud",), hosts), "must be left out: the simulated ADS in this process takes no tokens")
    if ads.discovered and not by_token:
        yield Problem(
            (hosts, ("cloud",)), f'may be ["{DISCOVER}"] only with a table [cloud]: discovery wants a token'
        )


def _cloud(cloud: CloudTable, *, discovered: bool) -> Iterator[Problem]:
    username, grant = ("cloud", "username"), ("cloud", "grant")
    if cloud.grant is Grant.PASSWORD and not cloud.username:
        yield Problem((username, grant), f'is required with grant = "{cloud.grant}": the machine id')
    if cloud.grant is not Grant.PASSWORD and cloud.username:
        yield Problem((username, grant), f'means nothing with grant = "{cloud.grant}"; is it the client_id?')
    if discovered and not cloud.region:
        keys = ("cloud", "region"), ("ads", "hosts")
        yield Problem(keys, f'is required with hosts = ["{DISCOVER}"]: such as "eu-west-1" or "us-east-1"')


def _dictionary_files(dictionary: Fields) -> Iterator[Problem]:
    if len(dictionary.dictionary) not in (0, 2):
        yield Problem(
            (("fields", "dictionary"),), "must name two files, RDMFieldDictionary and enumtype.def, or none"
        )


def _reading(n: int, feed: Feed) -> Iterator[Problem]:
    """Marks that would make one text readable in two ways."""
    decimal, thousands, delimiter = (("feeds", n, name) for name in ("decimal", "thousands", "delimiter"))
    takes_csv = not all(pattern.casefold().endswith((".xlsx", ".xlsm")) for pattern in feed.patterns)
    if takes_csv and feed.decimal == feed.delimiter:
        yield Problem((delimiter, decimal), f'must not be the decimal mark "{feed.decimal}"; perhaps ";"?')
    if feed.thousands == feed.decimal:
        yield Problem((thousands, decimal), f'must not be the decimal mark "{feed.decimal}"')
    # The thousands mark may be the delimiter: Excel writes "1,234.50" between quotes. Where they are missing, the row
    # has one field too many and is rejected.
    if feed.clear_token in feed.blank:
        keys = ("feeds", n, "blank"), ("feeds", n, "clear_token")
        yield Problem(keys, f'must not hold the clear_token "{feed.clear_token}"')


def _columns(n: int, feed: Feed) -> Iterator[Problem]:
    """Headers with two uses, and fields with two headers."""
    columns, ric_column, ignored = (("feeds", n, name) for name in ("columns", "ric_column", "ignore_columns"))
    header_of: dict[str, str] = {}
    for header, acronym in feed.columns.items():
        if header == feed.ric_column:
            yield Problem(((*columns, header), ric_column), "is the ric_column, so it cannot be a field too")
        if header_of.setdefault(acronym, header) != header:
            yield Problem(((*columns, header),), f'maps to {acronym}, as "{header_of[acronym]}" does already')
    for header in feed.ignore_columns:
        if header in feed.columns:
            yield Problem((ignored, columns), f'holds "{header}", which columns maps to {feed.columns[header]}')
        if header == feed.ric_column:
            yield Problem((ignored, ric_column), f'holds "{header}", which is the ric_column')


def _markers(n: int, feed: Feed) -> Iterator[Problem]:
    """Patterns whose every file would be taken for the marker of another."""
    for pattern in feed.patterns:
        if feed.done_marker and pattern.casefold().endswith(feed.done_marker.casefold()):
            keys = ("feeds", n, "done_marker"), ("feeds", n, "patterns")
            yield Problem(keys, f'must not be the ending of the pattern "{pattern}": a marker is never a drop itself')


def _feed_pairs(feeds: Mapping[int, Feed]) -> Iterator[Problem]:
    """Names and files that two feeds would both take for their own, and two ways of posting to one Service."""
    for (n, one), (m, other) in combinations(feeds.items(), 2):
        first = f"feeds[{n}] ({one.name})"
        if one.name.casefold() == other.name.casefold():
            yield Problem((("feeds", m, "name"), ("feeds", n, "name")), f'"{other.name}" is taken by {first}')
        if one.service == other.service and one.posting != other.posting:
            ways = ("feeds", m, "posting"), ("feeds", n, "posting")
            yield Problem(ways, f'must be "{one.posting}" as in {first}, which posts to the same Service')
        shared = [f'"{a}" and "{b}"' for a in one.patterns for b in other.patterns if _overlap(a, b)]
        if shared and _same_place(one.folder, other.folder):
            keys = tuple(("feeds", feed, name) for feed in (m, n) for name in ("folder", "patterns"))
            yield Problem(keys, f"is the folder of {first} too, and a file could match both patterns {shared[0]}")


def _places(feeds: Mapping[int, Feed], state: State | None) -> Iterator[Problem]:
    """Folders that would receive what is not meant for them."""
    for n, feed in feeds.items():
        if state is not None and _same_place(feed.folder, state.folder):
            yield Problem((("feeds", n, "folder"), ("state", "folder")), "is state.folder, the program's own")
        for m, other in feeds.items():
            if n != m and feed.report_folder and _same_place(feed.report_folder, other.folder):
                keys = (("feeds", n, "report_folder"), ("feeds", m, "folder"))
                yield Problem(keys, f"is the folder of feeds[{m}] ({other.name})")


def _same_place(one: PurePath, other: PurePath) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _overlap(one: str, other: str) -> bool:
    """Whether some file name could match both patterns, whatever its case; ``[...]`` counts as any character."""
    a, b = (re.findall(r"\[!?]?[^]]*]|.", pattern.casefold(), re.DOTALL) for pattern in (one, other))

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(a) or j == len(b):
            return set(a[i:] + b[j:]) <= {"*"}
        if "*" in (a[i], b[j]):
            return meet(i + 1, j) or meet(i, j + 1)
        return (a[i] == b[j] or any(len(c) > 1 or c == "?" for c in (a[i], b[j]))) and meet(i + 1, j + 1)

    return meet(0, 0)
