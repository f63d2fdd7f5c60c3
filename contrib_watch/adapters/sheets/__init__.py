"""One spooled file's bytes -> raw cells.

Nothing is typed and nothing is guessed here: a CSV's cells are its text, a workbook's cells are its values with what
the workbook says they are. A layout that cannot be trusted stops the file (UnreadableFile); a single row that cannot
be trusted is Malformed and the rest is read.
"""

from __future__ import annotations

from contrib_watch.adapters.sheets.content import Content, content_of, is_workbook_name
from contrib_watch.adapters.sheets.delimited import read_delimited
from contrib_watch.adapters.sheets.package import Package, UnfinishedFile
from contrib_watch.adapters.sheets.workbook import read_workbook
from contrib_watch.core.model import Cells, Feed
from contrib_watch.errors import UnreadableFile

__all__ = ["check_size", "is_whole", "read_cells"]


def read_cells(content: bytes, filename: str, feed: Feed) -> Cells:
    """The raw cells of one file, read as ``feed`` declares.

    The ending of ``filename`` says what the file should be, the first bytes say what it is, and both must agree.

    Raises:
        UnreadableFile: the layout cannot be trusted; none of the file may be used.
    """
    if not content:
        raise UnreadableFile("the file is empty", where=filename, hint="Save it again with its data")
    check_size(len(content), filename, feed)
    found = content_of(content)
    if is_workbook_name(filename):
        if found is not Content.ZIP:
            raise UnreadableFile(found.as_workbook, where=filename, hint=found.mend)
        return read_workbook(content, filename, feed)
    if found is not Content.TEXT:
        raise UnreadableFile(found.as_text, where=filename, hint=found.mend)
    return read_delimited(content, filename, feed)


def check_size(size_bytes: int, filename: str, feed: Feed) -> None:
    """Raises UnreadableFile where the file is larger than the feed allows."""
    if size_bytes > feed.max_bytes:
        raise UnreadableFile(
            f"the file has {size_bytes:,} bytes, and the limit is {feed.max_bytes:,}",
            where=filename,
            hint="Split it, or raise max_bytes",
        )


def is_whole(content: bytes, filename: str) -> str:
    """'' or the reason why the bytes look unfinished, so that a copy under way is given more time.

    Looks at structure alone: NUL bytes where a text has none, a workbook's zip without directory or with parts that
    fail their checksums. A file that is whole and refused for another reason is whole.
    """
    found = content_of(content)
    if found is Content.ZIP:
        try:
            Package(content, filename).check()
        except UnfinishedFile as unfinished:
            return unfinished.what
        except UnreadableFile:
            return ""
        return ""
    if content.startswith(b"\0\0\0\0"):
        return "the file begins with NUL bytes"
    if found is Content.TEXT and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        # UTF-16 without a byte order mark has a NUL beside every ASCII character from the start.
        if b"\0" in content and b"\0" not in content[:4]:
            return "the file has NUL bytes"
    elif content.endswith(b"\0\0\0\0"):
        return "the file ends with NUL bytes"
    return ""
