"""Who sits at the keyboard, as far as the operating system knows."""

from __future__ import annotations

import getpass
import os

from contrib_watch.core.model import Person, Source


def person(as_name: str | None) -> Person:
    """Who takes a decision: the OS user, or whoever they say they are."""
    account = _os_user()
    if as_name is None or as_name == account:
        return Person(account, Source.OS_USER, account)
    return Person(as_name, Source.ASSERTED, account)


def _os_user() -> str:
    if os.name == "nt":  # untested
        return getpass.getuser()
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name  # not getpass, which believes the environment
    except KeyError:
        return f"uid {os.getuid()}"
