"""What it takes for a new name in a folder to survive a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NO_SUCH_CALL = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in ``folder`` durable, as far as its file system can.

    Some shares have no such call for a folder, nor has Windows (untested there). Raises OSError for a failing disk.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
    finally:
        os.close(descriptor)
