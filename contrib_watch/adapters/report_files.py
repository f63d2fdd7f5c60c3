"""The Ack report as files: a CSV for programs and auditors, and one self-contained HTML page for people.

The CSV is UTF-8 without a byte order mark, comma-separated, with a header line and CRLF line ends (RFC 4180). Text
is made safe for spreadsheet programs (``core.report.spreadsheet_raw`` undoes it); times are ISO 8601 in UTC.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from contrib_watch.core.model import DropStatus, Status
from contrib_watch.core.report import READ_ALIKE, Report, spreadsheet_safe
from contrib_watch.core.wording import plural
from contrib_watch.durable import sync_folder

if TYPE_CHECKING:
    from jinja2 import Template

CAUSES_SHOWN = 7
ROWS_SHOWN = 200
"""Problem rows on the page. All rows are in the CSV."""
CHANGES_SHOWN = 100
MISSING_SHOWN = 500

_WORDS = {
    Status.ACKED: "acknowledged",
    Status.NAKKED: "refused (Nak)",
    Status.UNCONFIRMED: "without an answer",
    Status.UNCHANGED: "unchanged",
    Status.REJECTED: "rejected",
    Status.HELD: "held",
    Status.SUPERSEDED: "superseded",
}
"""The statuses, for people who have never seen the CSV."""
_CAUSE_WORDS = {**_WORDS, Status.ACKED: "not as posted"}
"""What became of the rows of a cause: acknowledged ones have one where they were read back and are different."""

_FREE_TEXTS = ("row", "ric", "changes", "nak_code", "text", "verified")
"""Columns with texts that come from outside."""
_QUOTED = (b'"', b",", b"\r", b"\n")
"""Because of any of these a cell is quoted."""
_CSV_ROWS = 20_000
"""Rows that are made lines at one time."""
_AHEAD = 2
"""So many times these are made ahead of what is being written, beside one another."""

_NAME_LIMIT_BYTES = 255
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV})
"""How file systems say that they have no hard links."""

_LONGEST_ENDING_BYTES = len("-9999.simulated.ack.html")
_CELL_LENGTH = 240
"""Characters of a text that a table cell shows."""

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control, direction and zero-width characters, and file name bytes that are not UTF-8."""


def report_name(filename: str, seen_at_utc: datetime, *, simulated: bool, taken: Callable[[str], bool]) -> str:
    """The base name of a report: ``prices.csv.20261122T163000Z``, ``-2`` and so on where ``taken`` says so.

    The files are this plus ``.ack.csv`` and ``.ack.html``; against a simulated ADS the base ends in ``.simulated``.
    A long file name is cut so that every name fits 255 bytes, with a digest in place of what was cut.
    ``seen_at_utc`` must be aware of its time zone (ValueError).
    """
    if seen_at_utc.tzinfo is None:
        raise ValueError("seen_at_utc has no time zone")
    time = f".{seen_at_utc.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    stem = _fitted(filename, _NAME_LIMIT_BYTES - len(time) - _LONGEST_ENDING_BYTES) + time
    ending = ".simulated" if simulated else ""
    base, number = f"{stem}{ending}", 1
    while taken(base):
        number += 1
        base = f"{stem}-{number}{ending}"
    return base


def write_report(report: Report, folder: Path, base: str) -> dict[Path, str]:
    """Write ``base.ack.csv`` and ``base.ack.html`` into ``folder``; their paths, in this order, and SHA-256 (hex).

    Each appears whole or not at all, and only under a free name: a file that is there is left as it is. Where it
    has the very bytes of this report (an earlier start wrote it and was stopped), it counts as written; otherwise
    FileExistsError is raised, nothing of this report remains, and the caller takes another base. OSError is raised
    where the folder cannot be written.
    """
    csv_path, html_path = folder / f"{base}.ack.csv", folder / f"{base}.ack.html"
    created = False
    try:
        csv_sha256, created = _publish(csv_path, csv_pieces(report))
        html_sha256, _ = _publish(html_path, [page(report, csv_sha256).encode("utf-8")])
    except Exception:
        if created:
            csv_path.unlink()
        raise
    sync_folder(folder)
    return {csv_path: csv_sha256, html_path: html_sha256}


def csv_pieces(report: Report) -> Iterator[bytes]:
    """All rows of the report as CSV, one piece after the other: a whole one may be larger than the file."""
    yield (",".join(report.columns) + "\r\n").encode()
    pieces = [report.rows.slice(start, _CSV_ROWS) for start in range(0, len(report.rows), _CSV_ROWS)]
    if len(pieces) < 2:
        yield from map(_csv_lines, pieces)
        return
    with ThreadPoolExecutor(_AHEAD, "report") as pool:  # Arrow lets go of Python's lock
        made: deque[Future[bytes]] = deque()
        for piece in pieces:
            made.append(pool.submit(_csv_lines, piece))
            if len(made) > _AHEAD:
                yield made.popleft().result()
        yield from (one.result() for one in made)


def csv_bytes(report: Report) -> bytes:
    """The same as a whole."""
    return b"".join(csv_pieces(report))


def _csv_lines(rows: pa.Table) -> bytes:
    """Rows as the lines of a CSV, made in columns."""
    columns = [_csv_cells(rows[name], free=name in _FREE_TEXTS) for name in rows.column_names]
    columns[-1] = pc.binary_join_element_wise(columns[-1], "\r\n", "")
    return _content(pc.binary_join_element_wise(*columns, ","))


def _csv_cells(column: pa.ChunkedArray, *, free: bool) -> pa.StringArray:
    """A column as the cells of a CSV, empty for what is absent; ``free`` text is made safe, and quoted (RFC 4180,
    2.6), where that is needed."""
    texts = column.combine_chunks()
    texts = texts if texts.type == pa.string() else pc.cast(texts, pa.string())
    texts = pc.fill_null(texts, "") if texts.null_count else texts
    content = _content(texts) if free else b""
    if not content:
        return texts
    texts = spreadsheet_safe(texts)
    if not any(mark in content for mark in _QUOTED):  # as a rule, and found out many times faster than row by row
        return texts
    special = pc.match_substring_regex(texts, r'[",\r\n]')
    doubled = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(special, doubled, texts)


def _content(texts: pa.StringArray) -> bytes:
    """All texts of an array, one after the other: that is how Arrow holds them."""
    ends = np.frombuffer(texts.buffers()[1], np.int32)
    first, last = ends[texts.offset], ends[texts.offset + len(texts)]
    return memoryview(texts.buffers()[2])[first:last].tobytes() if last > first else b""


def page(report: Report, csv_sha256: str = "") -> str:
    """The report as one HTML page that loads nothing else. Its size is bounded, whatever the number of rows.

    ``csv_sha256`` is of the CSV beside it, to which the page testifies as it does to the record.
    """
    problems = report.problem_rows
    is_sent = pc.and_(pc.equal(report.rows["status"], Status.ACKED.value), pc.not_equal(report.rows["changes"], ""))
    sent = pc.indices_nonzero(is_sent)
    shown = np.zeros(len(report.rows), np.bool_)  # to take rows of a table is to put all of its pieces together first
    shown[sent[:CHANGES_SHOWN].to_numpy()] = True
    drop = report.drop
    return _template().render(
        report=report,
        csv_sha256=csv_sha256,
        drop=drop,
        file=PurePath(drop.path),
        causes=report.causes[:CAUSES_SHOWN],
        problems=[] if report.whole_file else _of_every_kind(problems).to_pylist(),
        problem_count=0 if report.whole_file else len(problems),
        changes=report.rows.filter(pa.array(shown)).to_pylist(),
        change_count=len(sent),
        missing=report.missing[:MISSING_SHOWN],
        warnings=[text for text in report.warnings if not text.startswith(READ_ALIKE)],
        read_alike=[text for text in report.warnings if text.startswith(READ_ALIKE)],
        counts=[(count, status) for status, count in report.totals.items() if count],
        words=_WORDS,
        cause_words=_CAUSE_WORDS,
        half_way=drop.status is DropStatus.FAILED and not report.whole_file,
        seen_local=_local(drop.seen_at_utc, report),
        seen_utc=_beside_local(drop.seen_at_utc, report),
        saved_local=_local(datetime.fromtimestamp(drop.mtime_ns / 1e9, UTC), report),
        sent=_span(report.rows["sent_at_utc"]),
        answered=_span(report.rows["acked_at_utc"]),
        decidable=drop.status is DropStatus.HELD,
    )


def _fitted(filename: str, limit_bytes: int) -> str:
    """``filename`` in at most ``limit_bytes``: a cut one carries a digest of the whole before its ending."""
    encoded = os.fsencode(filename)
    if len(encoded) <= limit_bytes:
        return filename
    ending = os.fsencode(PurePath(filename).suffix)
    ending = ending if len(ending) <= 16 else b""
    tail = f"~{hashlib.sha256(encoded).hexdigest()[:12]}".encode() + ending
    # A character that is cut in two is dropped.
    head = encoded[: limit_bytes - len(tail)].decode("utf-8", "ignore")
    return head + os.fsdecode(tail)


# --- files


def _publish(path: Path, pieces: Iterable[bytes]) -> tuple[str, bool]:
    """Make a content appear at ``path``, whole; its SHA-256 (hex), and whether it was not there byte for byte.

    Two processes may do so at one time, the one that sends and one of a person who decides.
    """
    temporary = usual = _temporary(path)
    if usual.exists():  # left by a death, or just being written
        temporary = usual.with_suffix(f".{os.getpid()}.part")
        temporary.unlink(missing_ok=True)
    created = True
    try:
        sha256 = _write_durably(temporary, pieces)
        try:
            _rename_to_free_name(temporary, path)
        except (FileExistsError, FileNotFoundError):  # who was quicker took away what was written here
            if path.is_symlink() or _file_sha256(path) != sha256:
                raise
            created = False
    finally:
        temporary.unlink(missing_ok=True)
    usual.unlink(missing_ok=True)
    return sha256, created


def _temporary(path: Path) -> Path:
    """A hidden name beside ``path``, always the same: who finishes an interrupted report takes away what it left."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f".contrib-watch-{digest}.part")


def _write_durably(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file; the SHA-256 (hex) of its content."""
    digest = hashlib.sha256()
    # Never by mkstemp, whose files only the program's own user can read. "x" follows no link.
    with path.open("xb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename_to_free_name(temporary: Path, path: Path) -> None:
    """Rename without ever replacing a file; FileExistsError where there is one."""
    if os.name == "nt":  # untested; a rename on Windows never replaces
        temporary.rename(path)
        return
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_over_reservation(temporary, path)


def _rename_over_reservation(temporary: Path, path: Path) -> None:
    """The same on a share without hard links: an empty file takes the name, and is replaced.

    An empty file that is there already is the reservation of a start that was stopped at this very place.
    """
    if path.is_symlink() or not (path.exists() and path.stat().st_size == 0):
        path.touch(exist_ok=False)
    temporary.replace(path)


# --- texts


def _local(time: datetime, report: Report) -> str:
    """``2026-11-22 17:30:00 +01:00``; ``2026-11-22 16:30:00 UTC`` where that is the readers' time."""
    local = time.astimezone(report.local_tz)
    offset = f"{local:%z}"
    zone = f"{offset[:3]}:{offset[3:5]}" if local.utcoffset() else "UTC"
    return f"{local:%Y-%m-%d %H:%M:%S} {zone}"


def _beside_local(time: datetime, report: Report) -> str:
    """The same in UTC: ``16:30:00 UTC``, with the date where that is another one; empty where local time is UTC."""
    local, utc = time.astimezone(report.local_tz), time.astimezone(UTC)
    if not local.utcoffset():
        return ""
    return f"{utc:%H:%M:%S} UTC" if local.date() == utc.date() else f"{utc:%Y-%m-%d %H:%M:%S} UTC"


def _clock(iso: str, beside: str = "") -> str:
    """``2026-11-22T16:30:02.123Z`` under a heading that says UTC: ``2026-11-22 16:30:02.123``; without the date where
    a time ``beside`` it has the same."""
    text = iso.replace("T", " ").removesuffix("Z")
    return text.removeprefix(f"{beside[:10]} ") if beside else text


def _span(times: pa.ChunkedArray) -> list[str]:
    """The earliest and the latest of the times that are there; empty where none is."""
    there = times.filter(pc.not_equal(times, ""))
    return [pc.min(there).as_py(), pc.max(there).as_py()] if len(there) else []


def _of_every_kind(problems: pa.Table) -> pa.Table:
    """At most ROWS_SHOWN of the problem rows, in file order, and some of each status and Nak code among them."""
    if len(problems) <= ROWS_SHOWN:
        return problems
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for kind in zip(problems["status"].to_pylist(), problems["nak_code"].to_pylist(), strict=True):
        ranks.append(seen[kind])
        seen[kind] += 1
    return problems.take(np.sort(np.argsort(ranks, kind="stable")[:ROWS_SHOWN]))


def _visible(value: object) -> object:
    """Text with invisible characters shown by their code: none of them can change how a page reads."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)


def _short(text: str, length: int = _CELL_LENGTH) -> str:
    """What is shown of a long text: by default as much as a table cell has room for."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a start without a drop has no report to write

    environment = Environment(
        loader=PackageLoader("contrib_watch.adapters", "."),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["plural"] = plural
    environment.filters["clock"] = _clock
    environment.filters["short"] = _short
    return environment.get_template("report.html.j2")
