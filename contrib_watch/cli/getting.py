"""``get``: items as the ADS has them, once or as they change."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from contrib_watch.adapters.connection import Collected, Connection, ConnectionLost
from contrib_watch.adapters.trace import Trace
from contrib_watch.ads.exchange import LoggedIn, Notice
from contrib_watch.ads.messages import StreamState
from contrib_watch.ads.reading import ItemAnswer, ItemRequest, Seen
from contrib_watch.ads.tokens import Account, Grant
from contrib_watch.ads.watching import Change, ItemChange
from contrib_watch.cli.item_views import JsonLines, LiveTable, Names, TextLines, View
from contrib_watch.cli.linking import link
from contrib_watch.cli.logs import configure
from contrib_watch.cli.stopping import signals
from contrib_watch.config import Ads, Fields, Log, Settings, connecting, load, load_dictionary
from contrib_watch.config.settings import DISCOVER
from contrib_watch.core.dictionary import Dictionary
from contrib_watch.errors import ConfigurationError
from contrib_watch.pipeline.patience import Patience

LOOK_S = 1.0
"""How often the time without a connection is looked at."""
UNANSWERED_CODE = 4
UNREADABLE_CODE = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be got."""

    rics: tuple[str, ...]
    services: tuple[str, ...]
    """Each RIC is asked for in each; an empty name is the server's default Service."""
    view: tuple[str, ...] = ()
    """The fields; empty: all."""
    snapshot: bool = False

    @property
    def items(self) -> list[tuple[str, str]]:
        """Service and RIC, each once."""
        return list(dict.fromkeys((service, ric) for ric in self.rics for service in self.services))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where from, and as whom."""

    ads: Ads
    cloud: Account | None = None
    services: tuple[str, ...] = ()
    """Those to which the configured feeds post."""
    dictionary: Dictionary
    settings: Settings | None = None
    """The configuration, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says of the connection; what is empty or False it does not say."""

    hosts: tuple[str, ...] = ()
    user: str = ""
    app_id: str = ""
    position: str = ""
    tls: bool = False
    ca_file: str = ""
    client_id: str = ""
    region: str = ""


def source(options: Options, config_path: Path | None) -> Source:
    """What the command line names (a host, or a client id for the cloud), else what the configuration does.

    A configuration that is named goes with both: it then gives the dictionary alone. Raises ConfigurationError.
    """
    configure(Log(level="warning"))  # what happens to the connection is shown with the items
    if not (options.hosts or options.client_id):
        return _configured(options, config_path or Path("config.toml"))
    ads = {
        "hosts": list(options.hosts) or [DISCOVER],
        "user": options.user,
        "app_id": options.app_id,
        "position": options.position,
        "tls": options.tls,
        "ca_file": options.ca_file,
    }
    cloud = None
    if options.client_id:
        del ads["user"]
        grant = Grant.PASSWORD if options.user else Grant.CLIENT_CREDENTIALS
        by_password = {"username": options.user} if options.user else {}
        cloud = {"grant": grant.value, "client_id": options.client_id, "region": options.region} | by_password
    elif not options.user:
        raise ConfigurationError("--host needs --user", where="command line", hint="Name the DACS user to log in as")
    told, account = connecting({key: value for key, value in ads.items() if value}, cloud, os.environ)
    fields = load(config_path, os.environ).fields if config_path is not None else Fields()
    return Source(ads=told, cloud=account, dictionary=load_dictionary(fields))


def _configured(options: Options, path: Path) -> Source:
    if not path.exists():
        hint = "Name a host with --host and a user with --user, or a configuration with --config"
        raise ConfigurationError("there is no such configuration file", where=str(path), hint=hint)
    if given := [name for name, value in asdict(options).items() if value]:
        what = f"--{given[0].replace('_', '-')} goes with --host or --client-id"
        raise ConfigurationError(what, where="command line", hint="Without these, the configuration says it all")
    settings = load(path, os.environ)
    services = tuple(dict.fromkeys(feed.service for feed in settings.feeds))
    dictionary = load_dictionary(settings.fields)
    return Source(ads=settings.ads, cloud=settings.cloud, services=services, dictionary=dictionary, settings=settings)


def services_of(found: Source, given: Sequence[str]) -> tuple[str, ...]:
    """In which Services to ask: the given ones, else the one to which all feeds post, else the server's default.

    Raises ConfigurationError where the feeds post to several.
    """
    if len(found.services) > 1 and not given:
        names = ", ".join(found.services)
        hint = "Name one or more with --service"
        raise ConfigurationError(f"the feeds post to several Services: {names}", where="command line", hint=hint)
    return tuple(given) or found.services or ("",)


def get(found: Source, wanted: Wanted, *, as_json: bool, trace: Trace | None = None) -> int:
    """Show the items until they have all been answered (a snapshot), all are closed, or a signal says stop.

    The exit code: 3 where an item cannot be read, 4 where one was not answered. Raises NoConnection, LoginRefused.
    """
    names = Names(found.dictionary)
    view: View
    if as_json:
        view = JsonLines(names)
    elif sys.stdout.isatty():
        view = LiveTable(wanted.items, wanted.view, names)
    else:
        view = TextLines(names)
    with _connected(found, trace) as connection:
        getting = _Getting(connection, wanted, view, found.ads)
        with signals(getting.stop), view:
            return getting.run()


@contextmanager
def _connected(found: Source, trace: Trace | None) -> Iterator[Connection]:
    """A connection that is not started yet; a simulated ADS in this process holds what the state says of it."""
    if found.ads.simulated and found.settings is not None:
        from contrib_watch.cli.simulated import simulated_link

        with simulated_link(found.settings, found.dictionary, trace) as connection:
            yield connection
        return
    connection = link(found.ads, found.cloud, trace=trace)
    try:
        yield connection
    finally:
        connection.close()


class _Getting:
    """One run of the command."""

    def __init__(self, connection: Connection, wanted: Wanted, view: View, ads: Ads) -> None:
        self._connection = connection
        self._wanted = wanted
        self._view = view
        self._open = set(wanted.items)
        self._codes = {0}
        self._was_up = False
        self._stopping = threading.Event()
        self._patience = Patience(ads, time.monotonic)

    def stop(self) -> None:
        """Come to an end in good order; from any thread."""
        self._stopping.set()
        self._connection.interrupt()

    def run(self) -> int:
        """Until there is nothing more to come."""
        self._connection.start()
        self._ask(self._wanted.items)
        while self._open and not self._stopping.is_set():
            self._check_patience()
            came = self._connection.collect(LOOK_S)
            self._heed(came)
            self._answered(came.items)
            for change in came.changes:
                self._view.changed(change, datetime.now(UTC))
                if change.over:
                    self._codes.add(UNREADABLE_CODE)
                    self._open.discard((change.service, change.name))
        return 0 if self._stopping.is_set() else max(self._codes)

    def _ask(self, items: Sequence[tuple[str, str]]) -> None:
        for service in dict.fromkeys(service for service, _ in items):
            names = tuple(ric for one, ric in items if one == service)
            asked = ItemRequest(service, names, self._wanted.view)
            if self._wanted.snapshot:
                self._connection.request(asked)
            else:
                self._connection.watch(asked)

    def _answered(self, answers: Sequence[ItemAnswer]) -> None:
        """The answers of a snapshot; what was lost with the connection is asked for again."""
        for answer in answers:
            if answer.seen is Seen.LOST:
                continue
            self._patience.answered()
            self._open.discard((answer.service, answer.name))
            self._view.changed(_as_change(answer), datetime.now(UTC))
            if answer.seen is not Seen.FIELDS:
                self._codes.add(UNANSWERED_CODE if answer.seen is Seen.TIMEOUT else UNREADABLE_CODE)
        self._ask([(one.service, one.name) for one in answers if one.seen is Seen.LOST])

    def _heed(self, came: Collected) -> None:
        now = datetime.now(UTC)
        for event in came.events:
            self._patience.note(event)
            if isinstance(event, LoggedIn):
                self._was_up = True
                self._view.linked("open", self._connection.endpoint, "", now)
            elif isinstance(event, ConnectionLost):
                self._view.linked("lost", event.endpoint, event.reason, now)
            elif isinstance(event, Notice) and event.text:
                self._view.linked("notice", "", event.text, now)

    def _check_patience(self) -> None:
        """Raise NoConnection where there has been none for long; who watches over an outage waits for its end."""
        if self._wanted.snapshot or not self._was_up:
            self._patience.check("Check the host and the network")


def _as_change(answer: ItemAnswer) -> ItemChange:
    """The answer to a snapshot request, as it is shown."""
    if answer.seen is Seen.FIELDS:
        state = StreamState("NonStreaming", "Ok")
    else:
        state = StreamState("Closed", "Suspect", answer.code, answer.text)
    kind = Change.REFRESH if answer.fields or answer.seen is Seen.FIELDS else Change.STATUS
    return ItemChange(answer.service, answer.name, kind, answer.fields, state, over=True)
