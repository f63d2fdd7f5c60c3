"""When a file in a folder is complete, whether its name can be a drop at all, and whether its content is a new one.

Nothing here looks at a disk or a clock: the folder adapter passes in what one scan saw and when. Events of an
observer play no part either; they only make the next scan come sooner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

DOUBT_MIN_S = 2.0
"""How long a file whose structure is broken waits at least before it is taken as it is, in seconds."""

DISTURBED_MIN_S = 0.5
"""How long a file that changed while it was read is left alone at least, in seconds."""

OWN_REPORT = "a report of this program"
"""Why an Ack report is never a drop."""

OTHER_WORKBOOK = "a spreadsheet in a format that is not read (.xls, .xlsb, .ods): save it as .xlsx"
"""Why a workbook that the feed would take as .xlsx is no drop: somebody expects its prices to go out."""

NO_UNICODE = "its name is not valid UTF-8: rename it"
"""Why a file that the feed would take by a name in another encoding is no drop."""

OWN_PREFIX = ".contrib-watch-"
"""What the program keeps for itself in a feed's folder begins with this: its lease, and files that it is writing."""

REPORT_NAME = re.compile(
    r".+\.(?P<time>\d{8}T\d{6}Z)(?:-\d+)?(?P<simulated>\.simulated)?\.ack\.(?P<kind>csv|html)",
    re.DOTALL | re.IGNORECASE,
)
"""The name of an Ack report's file."""
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
_READ_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
_OTHER_WORKBOOKS = (".xls", ".xlsb", ".ods")
"""Where a pattern takes one, it is a drop: its rejection has a report beside the file."""
_NS_PER_S = 1_000_000_000
_DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Signature:
    """What a file system says of one file: while it stays the same, nobody wrote to the file.

    ``ctime_ns`` shows a rewrite that kept size and mtime, ``inode`` a file that was renamed over another. A change
    of the permissions changes ``ctime_ns`` too; the file is then read again, and its content found to be the same.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A file that may still be being written."""

    signature: Signature
    due_s: float
    """The monotonic time at which it is settled, if it stays as it is."""
    doubt: str = ""
    """Why its structure looked broken when it was first settled; it is not asked a second time."""
    rewritten: bool = False
    """It was seen with another signature before: somebody is writing to it, or was until just now."""


def observe(
    waits: Mapping[str, Wait], seen: Mapping[str, Signature], now_s: float, settle_s: float
) -> dict[str, Wait]:
    """The waits after a scan that saw these files (name to signature) at the monotonic time ``now_s``.

    A file is settled when its signature has stayed the same for ``settle_s`` since it was first seen with it; its
    mtime is never compared with a clock, because copies keep the mtime of their source. Changed files start anew,
    files that are gone are dropped. With ``settle_s`` 0 a file is settled at once: its writers are then trusted to
    rename complete files into the folder.
    """
    after = {}
    for name, signature in seen.items():
        wait = waits.get(name)
        same = wait is not None and wait.signature == signature
        after[name] = wait if same and wait else Wait(signature, now_s + settle_s, rewritten=wait is not None)
    return after


def settled(waits: Mapping[str, Wait], now_s: float) -> list[str]:
    """The names of the files that are complete, in the order in which they are numbered: by mtime, then name."""
    due = [name for name, wait in waits.items() if wait.due_s <= now_s]
    return sorted(due, key=lambda name: (waits[name].signature.mtime_ns, name))


def next_due_s(waits: Iterable[Wait], now_s: float) -> float | None:
    """The monotonic time at which the next waiting file is settled; None where none waits."""
    return min((wait.due_s for wait in waits if wait.due_s > now_s), default=None)


def doubted(wait: Wait, why: str, now_s: float, settle_s: float) -> Wait:
    """The wait of a settled file that is broken in structure: once more, and then it is taken as it is.

    A copy can show its full size and final mtime before its tail is written, so that a stable signature alone
    proves nothing.
    """
    return replace(wait, due_s=now_s + max(settle_s, DOUBT_MIN_S), doubt=why)


def disturbed(signature: Signature, now_s: float, settle_s: float) -> Wait:
    """The wait of a file that changed while it was read; ``signature`` is what it looks like afterwards."""
    return Wait(signature, now_s + max(settle_s, DISTURBED_MIN_S), rewritten=True)


def marked_file(name: str, suffix: str) -> str:
    """The name of the file that ``name`` marks as complete (``prices.csv`` for ``prices.csv.done``), or empty.

    ``suffix`` is the feed's ``done_marker``, in any case; with an empty one, no file marks another.
    """
    ends = name[-len(suffix) :].casefold() == suffix.casefold()
    marks = suffix and ends and _is_unicode(name)  # a file that is not can be no drop
    return name[: -len(suffix)] if marks else ""


def lacks_marker(name: str, file: Signature, suffix: str, marked_ns: Mapping[str, int]) -> str:
    """Why a file still waits for its done-marker; empty when the marker is there and speaks of this content.

    ``marked_ns`` is the ctime of the newest marker by the name of the file that it marks. A marker counts when the
    file has not changed since it was written, so that yesterday's marker says nothing of today's file. The two are
    compared by ctime: the file system sets it at every change, whereas tools that copy a file or its marker may keep
    either mtime.
    """
    if name not in marked_ns:
        return f"waits for its marker {name}{suffix}"
    if marked_ns[name] < file.ctime_ns:
        return f"changed after its marker {name}{suffix}: write the marker again once the file is complete"
    return ""


def candidate(name: str, patterns: Iterable[str]) -> str:
    """Why a file of this name is never a drop; empty when it can be one.

    ``patterns`` are shell patterns such as ``*.csv``; upper and lower case are the same. An ending that no sheet
    has must be spelt out in the pattern: ``*`` takes neither ``prices.csv~`` nor Excel's temporary ``5A3F2B10``.
    """
    reason = _never(name) or _mismatch(name.lower(), tuple(patterns))
    if _is_unicode(name):
        return reason
    return reason.encode(errors="backslashreplace").decode() or NO_UNICODE


def _never(name: str) -> str:
    """Why a file of this name is no drop in any feed."""
    lower = name.lower()
    if REPORT_NAME.fullmatch(name):
        return OWN_REPORT
    if name.startswith("~$"):
        return "Excel's owner file of an open workbook"
    if name.startswith(".~lock.") and name.endswith("#"):
        return "LibreOffice's lock file of an open document"
    if name.startswith("."):
        return "a hidden file"
    if lower.endswith(_UNFINISHED):
        return f"a temporary file ({lower[lower.rindex('.') :]})"
    return ""


def _mismatch(lower: str, patterns: tuple[str, ...]) -> str:
    """Why a name in lower case is none of those that the patterns ask for."""
    stem, ending = _split(lower)
    matching = [pattern for pattern in patterns if fnmatchcase(lower, pattern.lower())]
    if any(_accepts(pattern.lower(), ending) for pattern in matching):
        return ""
    if ending in _OTHER_WORKBOOKS and any(fnmatchcase(f"{stem}.xlsx", pattern.lower()) for pattern in patterns):
        return OTHER_WORKBOOK
    if matching:
        what = f"its ending {ending} is" if ending else "a name without an ending is"
        return f"{what} taken only where a pattern of the feed spells it out ({', '.join(patterns)})"
    return f"its name matches none of the feed's patterns ({', '.join(patterns)})"


def _split(name: str) -> tuple[str, str]:
    """Stem and ending, which begins with a dot or is empty."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if dot else (name, "")


def _accepts(pattern: str, ending: str) -> bool:
    """Whether files with this ending may be drops by a pattern that their names match."""
    if ending in _READ_ENDINGS or ending in _OTHER_WORKBOOKS:
        return True
    stem, spelt_out = _split(pattern)
    return spelt_out == ending and bool(ending or stem.strip("*?"))


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 arrive from the file system as lone surrogates
        return False
    return True


class Verdict(StrEnum):
    """What a complete content in a feed's folder is."""

    NEW = "new"
    """A drop: accepted and processed."""
    SAME = "same"
    """The content that its path's latest drop already had, or a drop by its earlier name: nothing is accepted."""
    BACKLOG = "backlog"
    """An old file in a feed that is new to the state: listed, and left for a person to adopt."""
    HELD = "held"
    """A drop, but of an old file: accepted, and held for a person's decision."""


@dataclass(frozen=True, slots=True)
class LatestDrop:
    """The last drop that was accepted from one path, or of one file by whatever name."""

    id: int
    sha256: str
    mtime_ns: int
    is_feed_latest: bool
    """No later drop of its feed, from whatever path, has been accepted."""
    has_problem_rows: bool
    """It left rows nakked, unconfirmed or rejected, or was itself rejected or failed."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that explains it to a person."""

    verdict: Verdict
    reason: str = ""
    same_as: int | None = None
    """The drop that already had this content, for SAME."""


def judge(
    sha256: str,
    mtime_ns: int,
    *,
    latest: LatestDrop | None,
    feed_is_new: bool,
    taken_ns: int,
    max_age_s: float,
) -> Judgement:
    """Whether a content is a new drop. ``latest`` is its path's latest drop; where the path never had one, that of
    the same file before it was moved or renamed, or None.

    - Only the path's *latest* drop counts: A, B, A at one path are three drops, so that a correction back to an
      earlier content goes out.
    - The same content with the same mtime is the same drop.
    - The same content saved again (another mtime) is a drop again when a later drop of the feed may have changed
      the same RICs since, or when its own drop left something undone; otherwise saving again asks for nothing.
      The diff decides what is sent, so a needless drop sends nothing.
    - A file last saved more than ``max_age_s`` before it is taken (``mtime_ns`` against ``taken_ns``,
      both since the epoch) is not sent by itself: ``feed_is_new`` (the feed had neither a drop nor a backlog when
      the program started) makes it backlog; later it is a drop that is held.
    """
    if latest is not None and latest.sha256 == sha256:
        if latest.mtime_ns == mtime_ns:
            return Judgement(Verdict.SAME, f"same as drop {latest.id}", latest.id)
        if latest.is_feed_latest and not latest.has_problem_rows:
            return Judgement(Verdict.SAME, f"saved again, same as drop {latest.id}", latest.id)
    age_s = (taken_ns - mtime_ns) / _NS_PER_S
    if age_s > max_age_s:
        verdict = Verdict.BACKLOG if feed_is_new else Verdict.HELD
        return Judgement(verdict, f"last saved {_days(age_s)} before it was seen (max_age is {_days(max_age_s)})")
    return Judgement(Verdict.NEW)


def _days(duration_s: float) -> str:
    days = round(duration_s / _DAY_S, 1)
    return f"{days:,g} {'day' if days == 1 else 'days'}"
