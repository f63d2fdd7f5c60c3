"""Reading in a process apart: a file that is hostile, endless or too large fails alone."""

from __future__ import annotations

import math
import os
import queue
import signal
import stat
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar, cast

import structlog

from contrib_watch.adapters.sheets import check_size
from contrib_watch.adapters.sheets.agreement import Difference, compare, compared_headers
from contrib_watch.adapters.sheets.outline import check_outline_size
from contrib_watch.adapters.sheets.wire import (
    OUT_OF_MEMORY,
    Answer,
    BadFrame,
    Frame,
    Question,
    Refusal,
    decode_answer,
    encode_question,
    read_frame,
    write_frame,
)
from contrib_watch.core.layout import Layout
from contrib_watch.core.model import Cells, Feed
from contrib_watch.errors import ContribWatchError, UnreadableFile

log = structlog.get_logger()

T = TypeVar("T")

MEMORY_BYTES = 4 << 30
"""Address space of the reading process; 1,000,000 x 10 cells of a workbook need a half of it."""

PATIENCE_S = 30.0
PATIENCE_S_PER_MB = 2.0
"""A reading may take this long, and this much longer for each MB of the file."""

AHEAD_BYTES = 64 << 20
"""No larger file is read ahead: if it never is asked for, its cells stay in memory until another file is."""

_START_S = 120.0
_LOOK_S = 0.5
_MB = 1 << 20
_LAST_WORDS_S = 5.0
_KEPT_VARIABLES = (
    *("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT"),
    *("MIMALLOC_ALLOW_THP", "MIMALLOC_PURGE_DELAY"),  # see cli.main
)


class Reader:
    """Reads files in a process of its own, which is started at the first file, kept for the next one, and replaced
    after a failure. Any thread may read; one file is read at a time.

    The process ends with :meth:`close`, with the Reader, or with this program. A closed Reader starts another one
    when it is used again.
    """

    def __init__(
        self,
        *,
        memory_bytes: int = MEMORY_BYTES,
        patience_s: float = PATIENCE_S,
        patience_s_per_mb: float = PATIENCE_S_PER_MB,
    ) -> None:
        """``memory_bytes`` is the process's address space; see PATIENCE_S for the others."""
        self._memory_bytes = memory_bytes
        self._patience_s = patience_s
        self._patience_s_per_mb = patience_s_per_mb
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._ahead: _Ahead | None = None
        self._ahead_lock = threading.Lock()

    def start(self) -> None:
        """Start the process without waiting for it, so that it is ready when the first file is."""
        with self._lock:
            self._running()

    @property
    def pid(self) -> int | None:
        """The process's number; None: there is none."""
        return self._process.pid if self._process is not None else None

    def read_ahead(self, path: Path, filename: str, feed: Feed, content: bytes) -> None:
        """Begin to read a file that :meth:`read_cells` is about to be asked for, and of which this is the content.

        What comes of it is for the next :meth:`read_cells` alone, which reads anew where it is of another file, or
        failed. Nothing is begun while another such reading is under way, nor for a file above AHEAD_BYTES.
        """
        if not 0 < len(content) <= AHEAD_BYTES:
            return
        with self._ahead_lock:
            if self._ahead is None or self._ahead.cells.done():
                ahead = _Ahead(path, filename, feed, Future())
                with suppress(RuntimeError):  # no more threads: it is read when it is asked for
                    threading.Thread(target=ahead.fill, args=(self._read, content), name="ahead", daemon=True).start()
                    self._ahead = ahead  # only now, for it would be waited for

    def read_cells(self, path: Path, filename: str, feed: Feed) -> Cells:
        """The raw cells of the file at ``path``; its name to people, and what says its kind, is ``filename``.

        Raises:
            UnreadableFile: it is no regular file, its layout cannot be trusted, or reading it took too long, too
                much memory, or crashed.
            OSError: it cannot be opened.
        """
        with self._ahead_lock:
            ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[:3] == (path, filename, feed) and ahead.cells.exception() is None:
            return ahead.cells.result()
        return self._read(path, filename, feed)

    def outline(self, path: Path, filename: str) -> Layout:
        """How a file that nobody has declared seems to be laid out, see ``outline.outline``.

        Raises as :meth:`read_cells` does, and UnreadableFile for a file that is too large to look at.
        """
        size_bytes = _size_bytes(path)
        check_outline_size(size_bytes, filename)
        limit_s = self._limit_s(size_bytes)
        return self._ask(Question(path=str(path.absolute()), filename=filename, feed=None, limit_s=limit_s), Layout)

    def second_reading(
        self, path: Path, filename: str, feed: Feed, cells: Cells, rows: Sequence[int]
    ) -> tuple[Difference, ...]:
        """The ``rows`` (the file's own numbers) of ``cells`` that a second program reads differently, in order.

        It looks at the RIC and every contributed column. Raises as :meth:`read_cells` does.
        """
        if not rows:
            return ()
        headers = compared_headers(cells, feed)
        question = Question(
            path=str(path.absolute()),
            filename=filename,
            feed=feed,
            limit_s=2 * self._limit_s(_size_bytes(path)),
            headers=headers,
            rows=list(rows),
        )
        return compare(cells, self._ask(question, Cells), headers, rows)

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, path: Path, filename: str, feed: Feed, content: bytes = b"") -> Cells:
        size_bytes = len(content) or _size_bytes(path)
        check_size(size_bytes, filename, feed)
        limit_s = self._limit_s(size_bytes)
        question = Question(path=str(path.absolute()), filename=filename, feed=feed, limit_s=limit_s)
        return self._ask(question, Cells, content)

    def _limit_s(self, size_bytes: int) -> float:
        return self._patience_s + self._patience_s_per_mb * size_bytes / _MB

    def _running(self) -> _Process:
        if self._process is None or not self._process.alive:
            self._process = _Process(self._memory_bytes)
        return self._process

    def _ask(self, question: Question, wanted: type[Answer], content: bytes = b"") -> Answer:
        with self._lock:
            process = self._running()
            try:
                answer = decode_answer(process.ask(encode_question(question, content), question.limit_s), wanted)
            except BaseException as error:
                self._process = None
                returncode = process.end(last_words=isinstance(error, EOFError | OSError))
                if isinstance(error, _FAILURES):
                    raise self._failure(error, returncode, question) from error
                raise
        if isinstance(answer, Refusal):
            if answer.fault:
                log.debug("a parser failed", file=question.filename, traceback=answer.fault)
            raise UnreadableFile(answer.what, where=answer.where or question.filename, hint=answer.hint)
        return answer

    def _failure(self, error: BaseException, returncode: int | None, question: Question) -> UnreadableFile:
        hint = "Save it again as CSV UTF-8 or .xlsx; if it comes back, report it"
        if isinstance(error, queue.Empty):
            what = f"reading the file took longer than {question.limit_s:,.3g} s"
            hint = "Split it, and delete what is not data: unused rows, columns and sheets"
        elif isinstance(error, BadFrame):
            what = f"the reader of the file cannot be trusted any more, because its answer had {error}"
        elif returncode == OUT_OF_MEMORY:
            what = f"reading the file needed more than {self._memory_bytes // _MB:,} MB of memory"
            hint = "Split it, and delete what is not data: unused rows, columns and sheets"
        else:
            what = f"the reader crashed on the file ({_ended_by(returncode)})"
        log.error("the reading process was ended", file=question.filename, why=what)
        return UnreadableFile(what, where=question.filename, hint=hint)


_FAILURES = (queue.Empty, EOFError, OSError, BadFrame)


@cache
def shared_reader() -> Reader:
    """The one Reader of this program."""
    return Reader()


class _Ahead(NamedTuple):
    """A file that is read before it is asked for."""

    path: Path
    filename: str
    feed: Feed
    cells: Future[Cells]

    def fill(self, read: Callable[[Path, str, Feed, bytes], Cells], content: bytes) -> None:
        try:
            self.cells.set_result(read(self.path, self.filename, self.feed, content))
        except Exception as error:  # noqa: BLE001 - the file is read again when it is asked for, and that is told
            self.cells.set_exception(error)


class _Process:
    """One reading process and the pipes to it."""

    def __init__(self, memory_bytes: int) -> None:
        process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-P", "-m", "contrib_watch.adapters.sheets.worker", str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=Path(sys.prefix).anchor,
            env=_environment(os.environ),
            close_fds=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the program, which decides when this one ends
        )
        self._process = process
        self._questions = cast(FileIO, process.stdin)
        self._answers = cast(FileIO, process.stdout)
        self._exchanging: threading.Thread | None = None
        self._ready = False
        self._finalize = weakref.finalize(self, _end, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: Frame, limit_s: float) -> Frame:
        """The answer to a question.

        Raises queue.Empty after ``limit_s``, counted from when the process was ready; EOFError or OSError where it
        is gone; BadFrame where it answers nonsense; ContribWatchError where it never was ready.
        """
        if not self._ready:
            self._await_start()
        return self._exchange(question, limit_s)

    def _await_start(self) -> None:
        try:
            self._exchange(None, _START_S)
        except _FAILURES as error:
            returncode = self.end(last_words=True)
            raise ContribWatchError(
                f"the process that reads files does not start ({_ended_by(returncode)})",
                hint="Check the installation, and how much memory it may use; then retry the drop",
            ) from error
        self._ready = True

    def _exchange(self, question: Frame | None, limit_s: float) -> Frame:
        """In a thread, because on every system a pipe can be waited for without end, but not on every one with."""
        outcome: queue.SimpleQueue[Frame | BaseException] = queue.SimpleQueue()

        def exchange() -> None:
            try:
                if question is not None:
                    write_frame(self._questions, question)
                outcome.put(read_frame(self._answers))
            except (OSError, EOFError, ValueError, MemoryError) as error:
                outcome.put(error)

        self._exchanging = threading.Thread(target=exchange, name="reading", daemon=True)
        self._exchanging.start()
        answer = _awaited(outcome, limit_s)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self, *, last_words: bool = False) -> int | None:
        """End it and return its exit code; with ``last_words`` it is going anyway, and how is waited for."""
        if last_words:
            try:
                self._process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                log.warning("the reading process has closed its pipe and goes on", pid=self.pid)
        _kill(self._process)
        if self._exchanging is not None:
            self._exchanging.join(_LAST_WORDS_S)  # it has nothing to wait for any more
        self._finalize()
        return self._process.returncode


def _awaited(outcome: queue.SimpleQueue[T], limit_s: float) -> T:
    """What comes within a time; raises queue.Empty after it.

    In many looks, so that a program that was stopped meanwhile (SIGSTOP, a frozen machine) loses one of them and not
    the file: what came while it was stopped is taken by the next one.
    """
    looks = math.ceil(limit_s / _LOOK_S)
    for _ in range(looks):
        with suppress(queue.Empty):
            return outcome.get(timeout=limit_s / looks)
    raise queue.Empty


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started, and take its exit code."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What Python needs, and nothing that could be a secret; the modules come from where the program's come from."""
    kept = {name: environ[name] for name in _KEPT_VARIABLES if name in environ}
    kept["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    kept["OPENBLAS_NUM_THREADS"] = "1"  # each of them takes from the memory that a file may need; see cli.main
    return kept


def _size_bytes(path: Path) -> int:
    if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe waits for a writer, and a device may have no end
        what = "it is not a regular file (a folder, pipe, socket or device)"
        raise UnreadableFile(what, where=str(path), hint="Give a CSV or a workbook")
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size


def _ended_by(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {-returncode}, {signal.strsignal(-returncode)}"
    return f"exit code {returncode}"
