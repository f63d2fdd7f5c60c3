"""Under what drops are processed: program, configuration and field dictionary, each told by a hash and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from contrib_watch.adapters.folder import keep
from contrib_watch.config import Settings, dictionary_files
from contrib_watch.store import State, last_of_kind

VERSION = version("contrib-watch")
KEPT = "kept"
"""The folder of the state with the bytes of every configuration and dictionary, by their SHA-256."""


@dataclass(frozen=True)
class Environment:
    """The hashes (SHA-256, hex) of what decides how a drop is read and posted."""

    version: str
    """The program's."""
    config: str
    dictionary: tuple[str, str]
    """Of RDMFieldDictionary and enumtype.def."""
    holidays: Mapping[str, str]
    """Of the holidays of each feed that has any, see Calendar.listed."""

    @classmethod
    def of(cls, settings: Settings) -> Environment:
        """The environment of these settings; raises ConfigurationError where the dictionary cannot be read."""
        fields, enums = dictionary_files(settings.fields)
        holidays = {feed: sha256(listed).hexdigest() for feed, listed in _holidays(settings).items()}
        dictionary = sha256(fields).hexdigest(), sha256(enums).hexdigest()
        return cls(VERSION, settings.sha256, dictionary, holidays)

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        told = {"version": self.version, "config": self.config, "dictionary": list(self.dictionary)}
        return {**told, "holidays": self.holidays}

    def record(self, state: State, settings: Settings) -> None:
        """Keep the bytes, and say so in the record, unless the last environment was this one."""
        facts = self.facts()
        with state.transaction():
            last = last_of_kind(state, "environment")
            if last is not None and facts.items() <= last.items():
                return
            contents = (settings.content, *dictionary_files(settings.fields), *_holidays(settings).values())
            kept = [keep(settings.state.folder / KEPT, content)[0] for content in contents if content]
            state.append("environment", {**facts, "kept": kept})


def _holidays(settings: Settings) -> dict[str, bytes]:
    return {feed.name: feed.calendar.listed for feed in settings.feeds if feed.calendar.holidays}
