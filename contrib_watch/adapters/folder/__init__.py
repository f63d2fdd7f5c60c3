"""A feed's folder: which files in it are complete, and a private copy of each.

:class:`Folder` looks once when it is asked to and never sleeps; :class:`Watch` decides when to look: at start, when
an observer saw something, when a file is due to settle, and every few seconds. What an observer says is only a
hint to look now. Observers miss files that were there before, lose events when a queue overflows, hear nothing of
another host's writes, and go deaf when a folder is replaced; a scan misses nothing.
"""

from contrib_watch.adapters.folder.scan import CompleteFile, Folder, Scan
from contrib_watch.adapters.folder.spool import (
    content,
    copies,
    discard,
    is_sound,
    keep,
    pack,
    packed,
    remove_leftovers,
)
from contrib_watch.adapters.folder.states import REFUSED, FileState, FileStatus
from contrib_watch.adapters.folder.watch import Watch

__all__ = [
    "REFUSED",
    "CompleteFile",
    "FileState",
    "FileStatus",
    "Folder",
    "Scan",
    "Watch",
    "content",
    "copies",
    "discard",
    "is_sound",
    "keep",
    "pack",
    "packed",
    "remove_leftovers",
]
