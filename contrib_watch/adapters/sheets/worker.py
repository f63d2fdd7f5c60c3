"""The process that parses what strangers wrote: questions on stdin, answers on stdout, nothing else.

``reader.Reader`` starts it. Its limits are set before it reads anything: memory as its argument says, few open files,
and no byte written to any file. It has no secrets, because its environment has none.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from io import FileIO
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.outline import outline
from contrib_watch.adapters.sheets.wire import (
    OUT_OF_MEMORY,
    Frame,
    Question,
    decode_question,
    encode_cells,
    encode_outline,
    encode_refusal,
    read_frame,
    write_frame,
)
from contrib_watch.errors import UnreadableFile

_OPEN_FILES = 64
_GRACE_S = 5
_LARGE_BYTES = 32 << 20


def main(memory_bytes: int) -> None:
    """Answer questions until there are no more."""
    questions = FileIO(os.dup(0), "rb")
    answers = FileIO(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    warnings.simplefilter("ignore")
    _limit(memory_bytes)
    # Rows and cells hold no cycles: to look for garbage among them every 700 objects is a tenth of a sheet's time.
    gc.set_threshold(100_000, 50, 100)
    sys.meta_path.insert(0, _WithoutPandas())
    write_frame(answers, Frame(b""))  # ready
    while True:
        try:
            _exchange(questions, answers)
        except EOFError:
            return
        _second()  # while the program looks at the answer: most of what it takes to import is openpyxl's


def _exchange(questions: FileIO, answers: FileIO) -> None:
    """Answer one question; nothing of it is kept here, and of what was large not even the memory that it took."""
    answer = _answer(read_frame(questions))
    write_frame(answers, answer)
    size_bytes = memoryview(answer.beside).nbytes
    del answer
    if not 0 < size_bytes <= _LARGE_BYTES:  # what was refused may have been of any size
        pa.default_memory_pool().release_unused()


class _WithoutPandas:
    """Arrow would load pandas with its first array, to look for its types, and double the start of this process."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not loaded in the process that reads files", name=fullname)


def _limit(memory_bytes: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:
        return  # Windows has no such limits (untested there); time is watched by the parent everywhere
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _answer(frame: Frame) -> Frame:
    second = False
    try:
        question = decode_question(frame)
        second = bool(question.headers)
        _alarm(question.limit_s + _GRACE_S)
        return _read(question, bytes(frame.beside))
    except UnreadableFile as error:
        return encode_refusal(error)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001 - whatever a parser makes of a stranger's file is that file's end alone
        return encode_refusal(_gave_up(error, second=second), fault=traceback.format_exc())
    finally:
        _alarm(0)


def _alarm(after_s: float) -> None:
    """The system ends this process after so much work, should the parent be gone that would have done so.

    Each processor's work counts by itself, and no time in which this process was stopped; 0: it goes on for ever.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, after_s * (os.cpu_count() or 1))


def _read(question: Question, content: bytes) -> Frame:
    path = Path(question.path)
    if question.feed is None:
        return encode_outline(outline(path.read_bytes(), question.filename))
    if not question.headers:
        return encode_cells(read_cells(content or path.read_bytes(), question.filename, question.feed))
    return encode_cells(_second().read_again(path, question.filename, question.feed, question.headers, question.rows))


def _second() -> ModuleType:
    """The second program, which a start need not wait for."""
    from contrib_watch.adapters.sheets import second

    return second


def _gave_up(error: Exception, *, second: bool) -> UnreadableFile:
    reader = "the second program that reads every file" if second else "the reader"
    return UnreadableFile(
        f"{reader} gave up on it: {type(error).__name__}: {error}",
        hint="Save it again as CSV UTF-8 or .xlsx; if it comes back, report it",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
