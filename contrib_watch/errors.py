"""What stops a file or the program.

A Nak or an unreadable cell is data and lands in the report; an exception is for what stops a whole file or the
program. Each says what happened, where, and what to do about it::

    ContribWatchError
    ├── ConfigurationError      config.toml, or how a command was used        exit 2
    ├── StateError              the state folder or its database              exit 2
    │   └── StateUnavailable    its database failed in the middle of the work  exit 2
    │       └── StateLocked     another program keeps it locked                exit 2
    ├── UnreadableFile          one dropped file; the drop is rejected         exit 3
    └── ConnectionFailed
        ├── LoginRefused        final until the configuration changes          exit 5
        └── NoConnection        trying again can help                          exit 5
"""


class ContribWatchError(Exception):
    """The base of everything that this program raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        """``what`` happened, ``where`` (file, sheet, cell, key; may be empty), and a ``hint``: what to do next."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.hint}" if self.hint else text


class ConfigurationError(ContribWatchError):
    """The configuration or the command line is at fault; nothing was started."""

    exit_code = 2


class StateError(ContribWatchError):
    """The state cannot be used: locked by another process, made for another target, damaged, or too new."""

    exit_code = 2


class StateUnavailable(StateError):  # noqa: N818
    """The database failed: a full disk, a lock, a server that is gone.

    It is no fault of the drop in hand: nothing more is decided or sent, and the next start goes on from the record.
    """


class StateLocked(StateUnavailable):
    """Another program keeps the database locked: it lets go of it some time."""


class UnreadableFile(ContribWatchError):  # noqa: N818 - reads as what it is
    """A dropped file whose layout cannot be trusted: none of it is sent, and its report has this one line."""

    exit_code = 3


class ConnectionFailed(ContribWatchError):  # noqa: N818
    """No usable connection to the ADS."""

    exit_code = 5


class LoginRefused(ConnectionFailed):
    """The login, a token for it, or a certificate was refused; trying again unchanged cannot help."""


class NoConnection(ConnectionFailed):
    """No host could be reached, or the connection was lost; trying again can help."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", retry_after_s: float = 0.0) -> None:
        """``retry_after_s``: how long the other side asked to be left alone."""
        super().__init__(what, where=where, hint=hint)
        self.retry_after_s = retry_after_s
