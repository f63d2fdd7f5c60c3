"""Reading in a process of its own: what a file can do to it, and what it can do to the program."""

from __future__ import annotations

import array
import fcntl
import os
import queue
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path, PurePath

import pyarrow as pa
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.reader import AHEAD_BYTES, Reader
from contrib_watch.adapters.sheets.wire import (
    BadFrame,
    Frame,
    Question,
    decode_answer,
    decode_question,
    encode_cells,
    encode_question,
    read_frame,
)
from contrib_watch.core.model import Cells, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="fx", folder=PurePath("fx"), service="NIPROV")
SMALL = b'RIC,BID,NOTE\nA=X,1.5,"two\nlines"\nB=X,,\nbad\nC=X,3,x\n'
DEADLINE_S = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_starts_without_what_only_the_program_needs() -> None:
    heavy = {"pandas", "sqlalchemy", "pydantic", "openpyxl"}
    code = f"import sys, contrib_watch.adapters.sheets.worker; print(sorted({heavy!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]"


def test_never_loads_pandas(small: Path) -> None:
    with Reader() as reader:
        cells = reader.read_cells(small, "small.csv", FEED)
        reader.second_reading(small, "small.csv", FEED, cells, [2])
        mapped = Path(f"/proc/{reader.pid}/maps").read_text()
    assert "/pyarrow/" in mapped
    assert "/pandas/" not in mapped


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """One for all tests that leave it as it was."""
    with Reader() as shared:
        yield shared


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    path.write_bytes(SMALL)
    return path


def test_what_was_read_ahead_is_there_for_the_next_reading_of_that_file_alone(small: Path, tmp_path: Path) -> None:
    other, content = tmp_path / "other.csv", b"RIC,BID\nAHEAD=X,1\n"
    other.write_bytes(b"RIC,BID\nOTHER=X,1\n")
    with Reader() as reader:
        reader.read_ahead(small, "small.csv", FEED, content)
        assert rics(reader.read_cells(small, "small.csv", FEED)) == ["AHEAD=X"]
        assert rics(reader.read_cells(small, "small.csv", FEED)) == ["A=X", "B=X", "C=X"]
        for path, name, feed in (
            (other, "small.csv", FEED),
            (small, "small.txt", FEED),
            (small, "small.csv", replace(FEED, header_row=1, blank=("-",))),
        ):
            reader.read_ahead(small, "small.csv", FEED, content)
            assert rics(reader.read_cells(path, name, feed)) != ["AHEAD=X"]
            assert rics(reader.read_cells(small, "small.csv", FEED)) == ["A=X", "B=X", "C=X"]


@pytest.mark.parametrize(
    "content",
    [b"RIC,BID\n\0", b"", b"RIC,BID\nAHEAD=X,1\n" + b"\n" * AHEAD_BYTES],
    ids=["not to be read", "empty", "too large"],
)
def test_a_file_is_read_when_it_is_asked_for_where_that_failed_or_was_not_begun(small: Path, content: bytes) -> None:
    with Reader() as reader:
        reader.read_ahead(small, "small.csv", FEED, content)
        assert rics(reader.read_cells(small, "small.csv", FEED)) == ["A=X", "B=X", "C=X"]


def test_a_file_is_read_when_it_is_asked_for_where_no_thread_could_be_had_before(small: Path) -> None:
    with Reader() as reader:
        stack_bytes = threading.stack_size(1 << 46)
        try:
            reader.read_ahead(small, "small.csv", FEED, b"RIC,BID\nAHEAD=X,1\n")
        finally:
            threading.stack_size(stack_bytes)
        read: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        reading = threading.Thread(
            target=lambda: read.put(rics(reader.read_cells(small, "small.csv", FEED))), daemon=True
        )
        reading.start()
        assert read.get(timeout=DEADLINE_S) == ["A=X", "B=X", "C=X"]


def test_the_process_keeps_nothing_of_a_large_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMALLOC_PURGE_DELAY", "600000")  # as the program has it
    content = b"RIC,BID\n" + (b"A=X," + b"1" * 999_995 + b"\n") * 60
    with Reader() as reader:
        cells = reader.read_cells(small, "small.csv", FEED)
        reader.second_reading(small, "small.csv", FEED, cells, [2])  # by then it has loaded all that it will
        before_bytes = resident_bytes(reader.pid)
        reader.read_ahead(small, "small.csv", FEED, content)
        assert len(reader.read_cells(small, "small.csv", FEED).rows) == 60
        eventually(lambda: resident_bytes(reader.pid) < before_bytes + len(content) // 2)


def resident_bytes(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def rics(cells: Cells) -> list[str]:
    found: list[str] = cells.columns[0].to_pylist()
    return found


@pytest.fixture(scope="module")
def large_workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes about a third of a second to read."""
    path = tmp_path_factory.mktemp("large") / "large.xlsx"
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["RIC", *(f"F{column}" for column in range(9))])
        for row in range(1, 6_000):
            sheet.write_row(row, 0, [f"R{row}", *(row / column for column in range(1, 10))])
    return path


def same(one: Cells, other: Cells) -> bool:
    """Whether two Cells are equal in every part; Arrow's arrays have no ``==`` of that kind."""
    return all(
        (one.kinds is None and other.kinds is None)
        if value is None
        else all(left.equals(right) for left, right in zip(value, getattr(other, name), strict=True))
        if name in ("columns", "kinds")
        else value.equals(other.rows)
        if name == "rows"
        else value == getattr(other, name)
        for name, value in ((field.name, getattr(one, field.name)) for field in fields(Cells))
    )


def refusal(read: Callable[[], object]) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        read()
    return caught.value


def eventually(happened: Callable[[], object]) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.005)


def waiting_bytes(pid: int) -> int:
    """What the process has been asked and has not read."""
    pipe = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        count = array.array("i", [0])
        fcntl.ioctl(pipe, termios.FIONREAD, count)
        return count[0]
    finally:
        os.close(pipe)


# What comes back.


def test_the_cells_are_those_of_a_reading_in_this_process(reader: Reader, small: Path, large_workbook: Path) -> None:
    for path in (small, large_workbook):
        assert same(reader.read_cells(path, path.name, FEED), read_cells(path.read_bytes(), path.name, FEED))


def test_the_filename_says_what_it_is_and_not_the_path(reader: Reader, large_workbook: Path, tmp_path: Path) -> None:
    spooled = tmp_path / "0a1b2c"
    spooled.write_bytes(large_workbook.read_bytes())
    cells = reader.read_cells(spooled, "prices.xlsx", FEED)
    assert cells.sheet == "Sheet1"
    assert reader.second_reading(spooled, "prices.xlsx", FEED, cells, [2, 5_999]) == ()


def test_a_relative_path_is_the_programs_own(reader: Reader, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert len(reader.read_cells(Path(small.name), small.name, FEED).rows) == 3


@pytest.mark.parametrize("content", [b"", b"RIC,BID\nA=,1\0", b"RIC\n\xff\n", b"%PDF-1.7"])
def test_a_refusal_is_the_same(reader: Reader, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    apart = refusal(lambda: reader.read_cells(path, path.name, FEED))
    here = refusal(lambda: read_cells(content, path.name, FEED))
    assert (apart.what, apart.where, apart.hint) == (here.what, here.where, here.hint)


def test_a_file_above_its_limit_is_not_even_opened_by_it(small: Path) -> None:
    with Reader() as idle:
        error = refusal(lambda: idle.read_cells(small, small.name, replace(FEED, max_bytes=10)))
        assert "max_bytes" in error.hint
        assert idle.pid is None


def test_a_file_that_is_gone_is_an_oserror(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reader.read_cells(tmp_path / "gone.csv", "gone.csv", FEED)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_not_even_opened_by_it(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "prices.csv"
        os.mkfifo(path)
    with Reader() as idle:
        for read in (lambda: idle.read_cells(path, "prices.csv", FEED), lambda: idle.outline(path, "prices.csv")):
            error = refusal(read)
            assert (error.what, error.where) == (
                "it is not a regular file (a folder, pipe, socket or device)",
                str(path),
            )
        assert idle.pid is None


def test_the_traceback_of_a_parser_is_for_the_debug_log_alone(reader: Reader, small: Path) -> None:
    cells = reader.read_cells(small, small.name, FEED)
    with capture_logs() as logs:
        refusal(lambda: reader.second_reading(small, "small.xlsx", FEED, cells, [2]))
    assert {line["log_level"] for line in logs} <= {"debug"}


def test_the_second_reading_finds_what_differs(reader: Reader, small: Path) -> None:
    cells = reader.read_cells(small, small.name, FEED)
    assert reader.second_reading(small, small.name, FEED, cells, [2, 4, 6]) == ()
    wrong = replace(cells, columns=(cells.columns[0], pa.array(["1.5", None, "3.0"]), cells.columns[2]))
    (found,) = reader.second_reading(small, small.name, FEED, wrong, cells.rows.to_pylist())
    assert (found.where, found.first, found.second) == ("row 6, BID", "3.0", "3")
    assert reader.second_reading(small, small.name, FEED, wrong, []) == ()


def test_what_the_second_program_cannot_read_is_refused_with_the_way_around(reader: Reader, small: Path) -> None:
    cells = reader.read_cells(small, small.name, FEED)
    error = refusal(lambda: reader.second_reading(small, "small.xlsx", FEED, cells, [2]))
    assert "second program" in error.what
    assert error.where == "small.xlsx"
    assert "second_reading" not in error.hint


# What a file can do to it.


def test_a_file_that_takes_too_long_fails_alone(large_workbook: Path, small: Path) -> None:
    with Reader(patience_s=0.02, patience_s_per_mb=0) as hasty:
        assert "took longer than 0.02 s" in refusal(lambda: hasty.read_cells(large_workbook, "large.xlsx", FEED)).what
        assert hasty.pid is None
    with Reader(patience_s=DEADLINE_S) as patient:
        assert len(patient.read_cells(small, small.name, FEED).rows) == 3


def test_an_outline_is_taken_there_and_fails_alone(large_workbook: Path, small: Path) -> None:
    with Reader(patience_s=0.02, patience_s_per_mb=0) as hasty:
        assert "took longer" in refusal(lambda: hasty.outline(large_workbook, "large.xlsx")).what
    with Reader(memory_bytes=400 << 20) as frugal:
        hungry = small.with_name("hungry.csv")
        hungry.write_bytes(b"\n" * (16 << 20))
        assert "MB of memory" in refusal(lambda: frugal.outline(hungry, "hungry.csv")).what
        assert frugal.outline(small, "small.csv").rows[0] == ["RIC", "BID", "NOTE"]


def test_a_file_too_large_to_look_at_is_not_even_opened_by_it(tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(17 << 20)
    with Reader() as idle:
        assert "too many to look at" in refusal(lambda: idle.outline(large, "large.csv")).what
        assert idle.pid is None


def test_a_file_that_needs_too_much_memory_fails_alone(small: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.write("é".encode())  # so that it is decoded, which needs as much again
        file.truncate(700 << 20)
    with Reader(memory_bytes=1 << 30) as frugal:
        error = refusal(lambda: frugal.read_cells(huge, huge.name, replace(FEED, max_bytes=1 << 30)))
        assert "needed more than 1,024 MB of memory" in error.what
        assert len(frugal.read_cells(small, small.name, FEED).rows) == 3


def test_a_workbook_that_unpacks_to_too_much_fails_alone(small: Path, tmp_path: Path) -> None:
    """A sheet of nothing but cells: what the checks before parsing let pass, and 2,700,000 values in it."""
    path = tmp_path / "hostile.xlsx"
    with xlsxwriter.Workbook(tmp_path / "plain.xlsx") as book:
        book.add_worksheet().write_row(0, 0, ["RIC", "BID"])
    with (
        zipfile.ZipFile(tmp_path / "plain.xlsx") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as hostile,
    ):
        for name in plain.namelist():
            text = plain.read(name)
            if name == "xl/worksheets/sheet1.xml":
                row = b"<row>" + b'<c t="str"><v>A</v></c>' * 1_000 + b"</row>"
                text = text.replace(b"</sheetData>", row * 2_700 + b"</sheetData>")
            hostile.writestr(name, text)
    with Reader(memory_bytes=800 << 20) as frugal:  # with less, a busy machine's threads did not get their stacks
        error = refusal(lambda: frugal.read_cells(path, path.name, FEED))
        # Which limit it meets first depends on the machine: memory (told, or fatal to the parser), or time.
        assert any(limit in error.what for limit in ("MB of memory", "crashed", "took longer"))
        assert len(frugal.read_cells(small, small.name, FEED).rows) == 3


def test_a_process_killed_in_the_middle_fails_that_file_alone(small: Path) -> None:
    with Reader() as reader:
        reader.read_cells(small, small.name, FEED)
        pid = reader.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        errors: list[UnreadableFile] = []
        reading = threading.Thread(target=lambda: errors.append(refusal(lambda: reader.read_cells(small, "a", FEED))))
        reading.start()
        eventually(lambda: waiting_bytes(pid))
        os.kill(pid, signal.SIGKILL)
        reading.join(DEADLINE_S)
        assert "crashed on the file (signal 9, Killed)" in errors[0].what
        assert len(reader.read_cells(small, small.name, FEED).rows) == 3
        assert reader.pid != pid


def test_a_process_that_hangs_is_ended(small: Path) -> None:
    with Reader(patience_s=0.2, patience_s_per_mb=0) as reader:
        reader.start()
        reader.read_cells(small, small.name, FEED)
        pid = reader.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert "took longer" in refusal(lambda: reader.read_cells(small, small.name, FEED)).what
        assert not Path(f"/proc/{pid}").exists()


READS_ON_DEMAND = """
import sys
from pathlib import Path
from contrib_watch.adapters.sheets.reader import Reader
from contrib_watch.core.model import Feed

feed, path = Feed(name="fx", folder=Path("fx"), service="NIPROV"), Path(sys.argv[1])
with Reader(patience_s=2.0, patience_s_per_mb=0) as reader:
    reader.read_cells(path, path.name, feed)
    print(reader.pid, flush=True)
    input()
    print(len(reader.read_cells(path, path.name, feed).rows), flush=True)
"""


def test_a_program_that_is_stopped_while_it_reads_gives_up_no_file(small: Path) -> None:
    line = [sys.executable, "-c", READS_ON_DEMAND, str(small)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        program.stdin.write("\n")
        program.stdin.flush()
        eventually(lambda: waiting_bytes(pid))
        program.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        eventually(lambda: not waiting_bytes(pid))
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(2.2)  # longer than its patience
        program.send_signal(signal.SIGCONT)
        assert program.stdout.readline() == "3\n"


def test_a_process_that_died_between_two_files_costs_neither(small: Path) -> None:
    with Reader() as reader:
        reader.read_cells(small, small.name, FEED)
        assert reader.pid is not None
        os.kill(reader.pid, signal.SIGKILL)
        os.waitid(os.P_PID, reader.pid, os.WEXITED | os.WNOWAIT)
        assert len(reader.read_cells(small, small.name, FEED).rows) == 3


# What it has.


def test_it_has_no_secrets_and_may_write_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRIB_WATCH_CLOUD_PASSWORD", "s3cret")
    monkeypatch.setenv("SOME_TOKEN", "s3cret")
    with Reader(memory_bytes=3 << 30) as reader:
        cells = reader.read_cells(small, small.name, FEED)
        reader.second_reading(small, small.name, FEED, cells, [2])  # by then it has loaded all that it will
        proc = Path(f"/proc/{reader.pid}")
        environ = (proc / "environ").read_bytes()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        assert (proc / "cwd").readlink() == Path("/")
        open_files = [link.readlink() for link in (proc / "fd").iterdir()]
    assert b"PYTHONPATH=" in environ
    assert b"s3cret" not in environ
    assert b"CONTRIB_WATCH_" not in environ
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max address space"] == [str(3 << 30)] * 2
    assert limits["Max open files"] == ["64", "64"]
    assert {str(name).split(":")[0] for name in open_files} <= {"pipe", "/dev/null"}


def test_nothing_is_left_of_it(small: Path) -> None:
    reader = Reader()
    reader.read_cells(small, small.name, FEED)
    pid = reader.pid
    reader.close()
    reader.close()
    assert not Path(f"/proc/{pid}").exists()
    assert len(reader.read_cells(small, small.name, FEED).rows) == 3
    pid = reader.pid
    del reader
    assert not Path(f"/proc/{pid}").exists()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from contrib_watch.adapters.sheets.reader import shared_reader
from contrib_watch.core.model import Feed
reader, feed, path = shared_reader(), Feed(name="fx", folder=Path("fx"), service="S"), Path(sys.argv[1])
reader.read_cells(path, path.name, feed)
before = reader.pid
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.killpg(0, signal.SIGINT)
reader.read_cells(path, path.name, feed)
assert reader.pid == before
print(before)
"""


def test_an_interrupt_does_not_reach_it_and_it_ends_with_the_program(small: Path) -> None:
    """What a terminal does for Ctrl-C: SIGINT to the whole process group."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, str(small)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, check=True)
    assert done.stderr == ""
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


# What it can do to the program.

CELLS = read_cells(SMALL, "small.csv", FEED)
ANSWER = Frame(*(bytes(part) for part in encode_cells(CELLS)))


def test_a_question_keeps_every_key_of_the_feed() -> None:
    feed = replace(FEED, columns={"Bid": "BID"}, ignore_columns=("a", "b"), report_folder=PurePath("x"), max_rows=7)
    question = Question(path="/x", filename="ü.csv", feed=feed, limit_s=1.5, headers=("RIC",), rows=[1, 2])
    assert decode_question(encode_question(question)) == question


def test_an_answer_keeps_every_part() -> None:
    answer = decode_answer(ANSWER, Cells)
    assert isinstance(answer, Cells)
    assert same(answer, CELLS)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(CELLS, header=("RIC", "BID")),
        replace(CELLS, rows=pa.array([2, None, 6], pa.int64())),
        replace(CELLS, rows=CELLS.rows.cast(pa.int32())),
        replace(CELLS, columns=(CELLS.rows, *CELLS.columns[1:])),
        replace(CELLS, letters=("A", "B", "C")),
        replace(CELLS, sheet="Sheet1", kinds=CELLS.columns),
        replace(CELLS, sheet="S", letters=("A", "B", "C"), kinds=(pa.array([1, 2, 99], pa.uint8()),) * 3),
        replace(CELLS, sheet="S", letters=("A", "B", "C"), kinds=(pa.array([1, None, 1], pa.uint8()),) * 3),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: Cells) -> None:
    with pytest.raises(BadFrame):
        decode_answer(encode_cells(wrong), Cells)


def test_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadFrame):
        decode_answer(ANSWER._replace(beside=bytes(ANSWER.beside).replace(b"A=X", b"\xff=X")), Cells)


def test_an_endless_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_bytes(struct.pack(">QQ", 10, 1 << 40))
    with path.open("rb", buffering=0) as pipe, pytest.raises(BadFrame):
        read_frame(pipe)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_answer_gets_past_the_checks(data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["text", "beside"]))
    octets = bytearray(getattr(ANSWER, part))
    for position in data.draw(st.lists(st.integers(0, len(octets) - 1), min_size=1, max_size=4)):
        octets[position] = data.draw(st.integers(0, 255))
    octets = octets[: data.draw(st.integers(0, len(octets)))]
    try:
        answer = decode_answer(ANSWER._replace(**{part: bytes(octets)}), Cells)
    except BadFrame:
        return
    if isinstance(answer, Cells):
        assert len(answer.header) == len(answer.columns)
        assert {len(column) for column in answer.columns} <= {len(answer.rows)}
        for column in answer.columns:
            column.to_pylist()
