"""The wire traffic in a file: what a Market Data team asks for first.

A line for each frame: when (UTC), where to or from (``>`` sent, ``<`` received, ``*`` the connection itself), the
host, and the frame's text, in which control characters are escaped and secrets are replaced by ``***``::

    2026-11-22T16:30:00.123456Z > ads1:15000 {"ID":1,"Domain":"Login",...
"""

from __future__ import annotations

import os
import re
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from contrib_watch.errors import ConfigurationError

MAX_BYTES = 10_000_000
"""A file that has grown to this gives way to a new one."""
KEPT_FILES = 5
"""Older files that are kept, as ``FILE.1`` (the newest) to ``FILE.5``."""
OWNER_ONLY = 0o600

# An Error repeats the faulty frame inside its own text, where each quote may have a backslash before it or not.
_SECRET = re.compile(
    r'(\\*"\w*(?:token|passw|secret|assertion|credential|AuthenticationExtended)\w*\\*"\s*:\s*(?P<escape>\\*)")'
    r'.*?(?:(?<!\\)(?P=escape)"|\Z)',
    re.IGNORECASE | re.DOTALL,
)
_TOKEN_AS_NAME = re.compile(r'(\\*"Name\\*"\s*:\s*\\*")[^"\\]{65,}')
"""A server may repeat a token as the name that was logged in; no DACS user has so long a name."""
_JSON_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
"""A token in somebody else's words: LSEG's are JWTs, whose header always begins so."""
_CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160))} | {n: f"\\u{n:x}" for n in (0x2028, 0x2029)}

log = structlog.get_logger()


class Trace:
    """Writes each frame to a file, which only its owner may read, before the next one goes out."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES) -> None:
        """Goes on at the end of the file where there is one; raises ConfigurationError where it cannot be written."""
        self._path = path
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._lock = threading.Lock()
        self._file: int | None = None
        if path.exists() and not path.is_file():
            raise ConfigurationError("the trace must be a regular file, because it is rotated", where=str(path))
        try:
            self._open()
        except OSError as error:
            hint = "Give --trace a file in a folder that this user can write"
            raise ConfigurationError(f"cannot be written: {error.strerror}", where=str(path), hint=hint) from error

    def sent(self, host: str, frame: str) -> None:
        """A frame went out."""
        self._write(">", host, frame)

    def received(self, host: str, frame: bytes) -> None:
        """A frame came in."""
        self._write("<", host, frame.decode("utf-8", errors="backslashreplace"))

    def noted(self, host: str, text: str) -> None:
        """The connection was made, or ended."""
        self._write("*", host, text)

    def close(self) -> None:
        """Nothing more is written."""
        with self._lock:
            self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, mark: str, host: str, text: str) -> None:
        moment = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
        line = f"{moment}Z {mark} {host} {redacted(text).translate(_CONTROL)}\n".encode(errors="backslashreplace")
        with self._lock:
            if self._file is None:
                return
            try:
                if self._size_bytes and self._size_bytes + len(line) > self._max_bytes:
                    self._rotate()
                self._size_bytes += os.write(self._file, line)
            except OSError as error:  # a full disk must not keep prices from the market
                log.warning("the trace ends here: it cannot be written", file=str(self._path), why=error.strerror)
                self._shut()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
        found = os.fstat(self._file)
        self._size_bytes = found.st_size
        if stat.S_IMODE(found.st_mode) != OWNER_ONLY:  # made by somebody's hand
            try:
                self._path.chmod(OWNER_ONLY)
            except OSError:
                self._shut()
                raise

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _rotate(self) -> None:
        self._shut()
        for number in range(self._kept_files - 1, 0, -1):
            if (older := self._numbered(number)).exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def redacted(text: str) -> str:
    """A frame without its tokens, passwords and the like; what is not whole is taken out to the end."""
    text = _SECRET.sub(r'\1***\g<escape>"', text)
    if "Login" in text:
        text = _TOKEN_AS_NAME.sub(r"\1***", text)
    return _JSON_WEB_TOKEN.sub("***", text) if "eyJ" in text else text
