"""The state of a file as far as one can tell without reading it, and how far that can be trusted.

Used by files.py, kept.py, the watcher, and the tables that have a settings file.
"""

import os
from dataclasses import dataclass
from pathlib import Path

RACY_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again under the same stamp: coarsest common mtime, FAT's 2 s."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a change of a file changes."""

    mtime_ns: int
    size_bytes: int
    inode: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in a stat result."""
    return Stamp(status.st_mtime_ns, status.st_size, status.st_ino)


def current_stamp(path: Path) -> Stamp | None:
    """The stamp of what is there now, None where nothing can be seen."""
    try:
        return stamp_of(path.stat())
    except (OSError, ValueError):
        return None
