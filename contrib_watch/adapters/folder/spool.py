"""The product's own copy of every content, named by its SHA-256: what is parsed, kept, and shown to an auditor."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from contrib_watch.durable import sync_folder
from contrib_watch.errors import StateError

_DIGITS = 2 * hashlib.sha256().digest_size


def keep(spool: Path, content: bytes, ahead: Callable[[Path], object] = lambda _copy: None) -> tuple[str, Path]:
    """Copy ``content`` durably to ``spool/<first two digits>/<sha256>``; the SHA-256 (hex) and the copy's path.

    A content is kept once; a copy that is there and differs (a damaged disk) is replaced. When this returns, the
    copy survives a power cut. ``ahead`` is called with the path of a new copy before it is written. Raises StateError
    where it cannot be written.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    path = spool / sha256[:2] / sha256
    try:
        if not _holds(path, content):
            ahead(path)
            _write(path, content)
    except OSError as error:
        raise StateError(
            f"the copy of a dropped file cannot be written: {error.strerror or error}",
            where=str(spool),
            hint="Free some space, or mend the permissions of the state folder; the file is then taken",
        ) from error
    return sha256, path


def pack(path: Path) -> None:
    """Write a copy's gzip beside it, durably (``<sha256>.gz``, in which it can be read by anybody).

    The copy itself may then be removed. Raises OSError.
    """
    beside = _packed(path)
    if not beside.exists():
        _write(beside, gzip.compress(path.read_bytes(), mtime=0))


def copies(spool: Path) -> Iterator[str]:
    """The SHA-256 of every copy that is not packed, or is so beside its gzip."""
    return (path.name for path in spool.glob("??/*") if len(path.name) == _DIGITS)


def packed(spool: Path) -> Iterator[str]:
    """The SHA-256 of every packed copy."""
    return (path.name.removesuffix(".gz") for path in spool.glob("??/*.gz"))


def remove_leftovers(spool: Path, before: datetime) -> None:
    """Remove what processes that died in the middle of a copy left behind before a time."""
    for path in spool.glob("??/.*.tmp"):
        if path.stat().st_mtime < before.timestamp():
            path.unlink()


def content(path: Path) -> bytes:
    """The bytes of a copy, packed or not; raises OSError where there is neither, or it is damaged."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    try:
        return gzip.decompress(_packed(path).read_bytes())
    except (EOFError, zlib.error) as error:
        raise OSError(errno.EIO, f"the packed copy is damaged ({error})") from error


def discard(path: Path, unused_since: datetime) -> bool:
    """Remove a copy, packed or not; False where :func:`keep` has found it in its place since then, and it stays."""
    going = path.with_name(f".{path.name}.tmp")
    try:
        path.rename(going)  # from now on keep() makes a new one, so that what is looked at here is the last use
    except FileNotFoundError:
        pass
    else:
        if going.stat().st_mtime >= unused_since.timestamp():
            going.rename(path)
            return False
        going.unlink()
    _packed(path).unlink(missing_ok=True)
    return True


def _packed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def is_sound(path: Path, sha256: str) -> bool:
    """Whether a copy still has the bytes that it is named by. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _holds(path: Path, content: bytes) -> bool:
    """Whether the copy is there and whole; its mtime then says that it was used."""
    try:
        if path.stat().st_size != len(content) or path.read_bytes() != content:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    if made:
        sync_folder(path.parent.parent)
