"""Whether the files a compilation was made from are still as they were.

Compares stamps (mtime, size, inode) by polling: that sees an edit, a rename into place, a ConfigMap's symlink swap and NFS alike, and
needs no kernel watch per folder. Reads no content; app.py decides what follows.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from smtpfleet.config.language.stamp import RACY_NS, Stamp, current_stamp


class FileWatcher:
    """The files of the last compilation. stamp_of: how one is now; the compilation's own, where it has a root."""

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        stamp_of: Callable[[Path], Stamp | None] = current_stamp,
    ) -> None:
        self._now_ns = now_ns
        self._stamp_of = stamp_of
        self._known: dict[Path, Stamp | None] = {}
        self._recheck_at_ns = 0

    def remember(self, stamps: Mapping[Path, Stamp | None]) -> None:
        """From now on, changes are changes against these."""
        self._known = dict(stamps)
        now_ns = self._now_ns()
        newest_ns = max((stamp.mtime_ns for stamp in self._known.values() if stamp), default=0)
        is_racy = 0 <= now_ns - newest_ns < RACY_NS
        self._recheck_at_ns = newest_ns + RACY_NS if is_racy else 0

    def has_changed(self) -> bool:
        """Whether to compile again. Once true without a change where a file was still fresh when it was read."""
        if any(self._stamp_of(path) != stamp for path, stamp in self._known.items()):
            return True
        if self._recheck_at_ns and self._now_ns() >= self._recheck_at_ns:
            self._recheck_at_ns = 0
            return True
        return False

    def current(self) -> dict[Path, Stamp | None]:
        """How the files are now; twice the same means nobody is writing them at this moment."""
        return {path: self._stamp_of(path) for path in self._known}
