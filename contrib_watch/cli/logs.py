"""Log lines on stderr: text for people, JSON for programs."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from contrib_watch.cli.terminal import visible
from contrib_watch.config import Log


def configure(log: Log) -> None:
    """Set the level and the format of every log line from here on."""
    renderer: structlog.typing.Processor
    told: list[structlog.typing.Processor] = []
    if log.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        told = [_visible]
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *told,
            structlog.processors.ExceptionRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, log.level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(_STDERR),
        cache_logger_on_first_use=False,
    )
    logging.lastResort = _Libraries(logging.WARNING)


class _Libraries(logging.Handler):
    """What a library logs, as a line like the others: whoever parses them finds nothing else on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # a library may have levels of its own
        try:
            structlog.get_logger(library=record.name).log(level, self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be put together is no fault of who is being served
            self.handleError(record)


class _Stderr(io.TextIOBase):
    """Where lines go, or nowhere: a log on a full disk, or whose reader is gone, must not keep prices back.

    What matters stands in the reports and in what ``status`` shows.
    """

    def write(self, text: str) -> int:
        # Looked up for each line, because a progress bar puts itself before stderr so that lines stay whole.
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


_STDERR = cast(TextIO, _Stderr())


def _visible(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names of files are other people's text: none may break a line or turn its reading direction."""
    return {key: visible(value) if isinstance(value, str) else value for key, value in event.items()}
