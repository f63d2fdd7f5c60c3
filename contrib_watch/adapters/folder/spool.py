"""The product's own copy of every content, named by its SHA-256: what is parsed, kept, and shown to an auditor."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

from contrib_watch.durable import sync_folder
from contrib_watch.errors import StateError


def keep(spool: Path, content: bytes) -> tuple[str, Path]:
    """Copy ``content`` durably to ``spool/<first two digits>/<sha256>``; the SHA-256 (hex) and the copy's path.

    A content is kept once; a copy that is there and differs (a damaged disk) is replaced. When this returns, the
    copy survives a power cut. Raises StateError where it cannot be written.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    path = spool / sha256[:2] / sha256
    try:
        if not _holds(path, content):
            _write(path, content)
    except OSError as error:
        raise StateError(
            f"the copy of a dropped file cannot be written: {error.strerror or error}",
            where=str(spool),
            hint="Free some space, or mend the permissions of the state folder; the file is then taken",
        ) from error
    return sha256, path


def pack(path: Path) -> None:
    """Put a copy's gzip (``<sha256>.gz``, in which it can be read by anybody) in its place, durably."""
    packed = _packed(path)
    if not packed.exists():
        _write(packed, gzip.compress(path.read_bytes(), mtime=0))
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


def discard(path: Path) -> bool:
    """Remove a copy, packed or not; whether there was one."""
    there = [one for one in (path, _packed(path)) if one.exists()]
    for one in there:
        one.unlink()
    return bool(there)


def _packed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def is_sound(path: Path, sha256: str) -> bool:
    """Whether a copy still has the bytes that it is named by. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


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
