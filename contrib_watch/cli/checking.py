"""Whether everything is in place before prices depend on it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from contrib_watch.adapters.connection import Connection, ConnectionLost
from contrib_watch.adapters.trace import Trace
from contrib_watch.ads.exchange import LoggedIn
from contrib_watch.cli.linking import link, token_login
from contrib_watch.config import Settings
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Feed
from contrib_watch.core.wording import plural
from contrib_watch.errors import ConfigurationError, ContribWatchError, LoginRefused, NoConnection
from contrib_watch.pipeline.desk import Desk


class Finding(NamedTuple):
    """One thing that was checked."""

    subject: str
    ok: bool
    text: str
    exit_code: int = 0


def check_all(settings: Settings, dictionary: Dictionary, *, trace: Trace | None = None) -> list[Finding]:
    """Everything that can be checked without sending a value; the configuration itself was read already."""
    return [
        Finding("configuration", True, f"{settings.path} is in order, {plural(len(settings.feeds), 'feed')}"),
        Finding("dictionary", True, f"{len(dictionary.fields):,} fields"),
        *(finding for feed in settings.feeds for finding in _folder(feed, simulated=settings.ads.simulated)),
        _state(settings, dictionary),
        *_login(settings, trace),
    ]


def _folder(feed: Feed, *, simulated: bool) -> Iterator[Finding]:
    folder, subject = Path(feed.folder), f"feed {feed.name}"
    if not folder.is_dir():
        made = simulated and not folder.exists()
        text = f"{folder} is not there" + ("; the first run makes it" if made else ": make it, or mount the share")
        yield Finding(subject, made, text, 0 if made else ConfigurationError.exit_code)
        return
    mode = folder.stat().st_mode
    writers = "everybody" if mode & stat.S_IWOTH else "its group" if mode & stat.S_IWGRP else "its owner alone"
    yield Finding(subject, True, f"{folder} can be written by {writers}")
    reports = Path(feed.report_folder or folder)
    if not os.access(reports, os.W_OK | os.X_OK):
        instead = "reports would go to the state's reports folder"
        yield Finding(subject, False, f"{reports} cannot be written: {instead}", ConfigurationError.exit_code)


def _state(settings: Settings, dictionary: Dictionary) -> Finding:
    try:
        desk = Desk.open(settings, dictionary, reading=True)
    except ContribWatchError as error:
        return Finding("state", False, str(error), error.exit_code)
    with desk.state:
        return Finding("state", True, f"{settings.state.folder}, target {settings.ads.target}")


def _login(settings: Settings, trace: Trace | None) -> Iterator[Finding]:
    """Log in and out again; by token, show how far it comes."""
    ads, cloud = settings.ads, settings.cloud
    if ads.simulated:
        yield Finding("login", True, "the built-in simulated ADS: nothing leaves this machine")
        return
    if cloud is None:
        yield _connected(link(ads, trace=trace), len(set(ads.hosts)), ads.user, ads.connect_timeout_s)
        return
    who = cloud.username or cloud.client_id
    try:
        access = token_login(ads, cloud)
        _, endpoints = access.log_in(threading.Event(), find=True)
    except ContribWatchError as error:
        yield Finding("login", False, str(error), error.exit_code)
        return
    yield Finding("token", True, f"given to {who} by {cloud.token_url}, for {access.lifetime_s:g} s")
    if ads.discovered:
        names = ", ".join(map(str, endpoints))
        yield Finding("discovery", True, f"{plural(len(endpoints), 'endpoint')} in {cloud.region}: {names}")
    connection = link(ads, cloud, trace=trace, access=access)
    yield _connected(connection, len(endpoints) or len(set(ads.hosts)), who, ads.connect_timeout_s)


def _connected(connection: Connection, hosts: int, who: str, timeout_s: float) -> Finding:
    """Whether one of the hosts accepts the login."""
    connection.start()
    tried: dict[str, str] = {}
    try:
        while len(tried) < hosts:
            for event in connection.collect(timeout_s).events:
                if isinstance(event, LoggedIn):
                    return Finding("login", True, f"accepted for {who}, PingTimeout {event.ping_timeout_s:g} s")
                if isinstance(event, ConnectionLost):
                    tried[event.endpoint] = event.reason
    except LoginRefused as error:
        return Finding("login", False, str(error), error.exit_code)
    finally:
        connection.close()
    reasons = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in tried.items())
    return Finding("login", False, f"no connection: {reasons}", NoConnection.exit_code)
