"""What the program and its reading process say to each other over a pair of pipes.

A frame is two lengths, a JSON text and octets (which may be none). A question has the file itself beside it, or says
where it is. An answer is the cells of a sheet, with its columns beside them as an Arrow IPC stream, or why there are
none. Nothing is pickled: the reading process has parsed what a stranger wrote, so its answers are checked like a
stranger's.
"""

from __future__ import annotations

import struct
from io import FileIO
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.layout import Layout
from contrib_watch.core.model import CellKind, Cells, Feed, Malformed
from contrib_watch.errors import UnreadableFile

MAX_FRAME_BYTES = 2 << 30
"""No answer is longer; it bounds what a reading process can make the program keep."""

OUT_OF_MEMORY = 77
"""The reading process's exit code where its limit on memory was met: nothing in it can be relied on after that."""

_LENGTHS = struct.Struct(">QQ")
_KINDS = pa.uint8()


Answer = TypeVar("Answer", Cells, Layout)
Octets = bytes | bytearray | memoryview


class Frame(NamedTuple):
    """One message: JSON, and the octets that go with it where there are any."""

    text: Octets
    beside: Octets = b""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Read a file; with ``headers`` by the second program, and then only these columns of these ``rows``."""

    path: str
    """Where the file is, unless its bytes are beside the question."""
    filename: str
    limit_s: float
    feed: Feed | None
    """How to read it; None: nobody knows, and the answer is its outline."""
    headers: tuple[str, ...] = ()
    rows: list[int] = []


class Sheet(msgspec.Struct, frozen=True, tag=True):
    """The cells but for the columns, which stand beside it."""

    sheet: str
    header: tuple[str, ...]
    header_row: int
    has_kinds: bool
    malformed: tuple[Malformed, ...]
    letters: tuple[str, ...]
    warnings: tuple[str, ...]


class Outline(msgspec.Struct, frozen=True, tag=True):
    """How a file seems to be laid out."""

    layout: Layout


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The parts of an UnreadableFile."""

    what: str
    where: str
    hint: str
    fault: str = ""
    """The traceback, where a fault of the program is the reason."""


class BadFrame(ValueError):  # noqa: N818 - reads as what it is
    """What came is not what was agreed."""


def encode_question(question: Question, content: bytes = b"") -> Frame:
    """A question as a frame; ``content``: the file's bytes, where they need not be read from its path."""
    return Frame(msgspec.json.encode(question, enc_hook=_plain), content)


def decode_question(frame: Frame) -> Question:
    """The question in a frame."""
    return msgspec.json.decode(frame.text, type=Question, dec_hook=_rich)


def encode_cells(cells: Cells) -> Frame:
    """The answer with a sheet's cells."""
    sheet = Sheet(
        sheet=cells.sheet,
        header=cells.header,
        header_row=cells.header_row,
        has_kinds=cells.kinds is not None,
        malformed=cells.malformed,
        letters=cells.letters,
        warnings=cells.warnings,
    )
    arrays = [cells.rows, *cells.columns, *(cells.kinds or ())]
    batch = pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return Frame(msgspec.json.encode(sheet), memoryview(sink.getvalue()))


def encode_outline(layout: Layout) -> Frame:
    """The answer with how a file seems to be laid out."""
    return Frame(msgspec.json.encode(Outline(layout)))


def encode_refusal(error: UnreadableFile, fault: str = "") -> Frame:
    """The answer that there are no cells."""
    return Frame(msgspec.json.encode(Refusal(error.what, error.where, error.hint, fault)))


def decode_answer(frame: Frame, wanted: type[Answer]) -> Answer | Refusal:
    """What was asked for, or why there is none; raises BadFrame where the parts of an answer do not fit together."""
    answer = _decoded(frame)
    if not isinstance(answer, wanted | Refusal):
        raise BadFrame("what was not asked for")
    return answer


def _decoded(frame: Frame) -> Cells | Layout | Refusal:
    try:
        answer: Sheet | Outline | Refusal = msgspec.json.decode(frame.text, type=Sheet | Outline | Refusal)
        if isinstance(answer, Refusal):
            return answer
        if isinstance(answer, Outline):
            return answer.layout
        return _checked(answer, pa.ipc.open_stream(pa.py_buffer(frame.beside)).read_all())
    except (msgspec.MsgspecError, pa.ArrowException, ValueError, LookupError, OSError) as error:
        raise BadFrame(str(error)) from error


def write_frame(pipe: FileIO, frame: Frame) -> None:
    """Write all of a frame; raises OSError where nobody reads it."""
    sizes = [memoryview(part).nbytes for part in frame]
    for part in (_LENGTHS.pack(*sizes), *frame):
        unwritten = memoryview(part).cast("B")
        while unwritten:
            unwritten = unwritten[pipe.write(unwritten) :]


def read_frame(pipe: FileIO) -> Frame:
    """The next frame; raises EOFError where the other end is gone, BadFrame where the frame is endless."""
    sizes = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    if sum(sizes) > MAX_FRAME_BYTES:
        raise BadFrame(f"a message of {sum(sizes):,} bytes")
    return Frame(*(_exactly(pipe, size) for size in sizes))


def _exactly(pipe: FileIO, size: int) -> bytearray:
    whole = bytearray(size)
    rest = memoryview(whole)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return whole


def _checked(sheet: Sheet, table: pa.Table) -> Cells:
    """Cells whose parts have the types and lengths that Cells promises; the texts are sound UTF-8."""
    width = len(sheet.header)
    kinds = width if sheet.has_kinds else 0
    expected = [pa.int64(), *[pa.string()] * width, *[_KINDS] * kinds]
    if table.schema.types != expected:
        raise BadFrame("columns that do not fit the header")
    if (len(sheet.letters), sheet.has_kinds) != ((width, True) if sheet.sheet else (0, False)):
        raise BadFrame("letters or kinds that do not fit the sheet")
    table.validate(full=True)
    rows, *arrays = [_one_chunk(column) for column in table.columns]
    if rows.null_count or any(array.null_count for array in arrays[width:]):
        raise BadFrame("a row without a number, or a cell without a kind")
    if any(pc.any(pc.greater(array, int(max(CellKind)))).as_py() for array in arrays[width:]):
        raise BadFrame("a cell of an unknown kind")
    return Cells(
        sheet=sheet.sheet,
        header=sheet.header,
        header_row=sheet.header_row,
        columns=tuple(arrays[:width]),
        kinds=tuple(arrays[width:]) if sheet.has_kinds else None,
        rows=rows,
        malformed=sheet.malformed,
        letters=sheet.letters,
        warnings=sheet.warnings,
    )


def _one_chunk(column: Any) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _rich(kind: type, value: Any) -> object:
    if issubclass(kind, PurePath):
        return kind(value)
    raise NotImplementedError(kind.__name__)
