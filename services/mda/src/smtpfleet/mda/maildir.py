"""One maildir on disk: its directories, names in tmp/, and whether a message is in it already.

Opens, creates and tidies; what is written and when it is flushed is decided by group.py and stream.py. All work below the maildir goes
through directory descriptors without following links. Blocking: called from threads only. Convention: maildir(5); OpenSMTPD:
delivery_maildir.c, which flushes no directory.
"""

import contextlib
import itertools
import os
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STALE_TMP_S = 36 * 3600
"""Age at which a file in tmp/ is a leftover: the maildir convention."""
TIDY_EVERY_S = 36 * 3600
"""A file cannot become stale sooner."""
TIDY_LIMIT = 1000
"""Entries of tmp/ looked at in one go, so that a flood of leftovers delays nobody. Chosen, no source."""
KNOWN_LIMIT = 100_000
"""Maildirs remembered as tidy, about 20 MB; then we forget them all and look again."""
CLOCK_SKEW_S = 60
"""How far the clocks of store and file server may be apart. Chosen: hosts with NTP are within one."""
REDELIVERY_AGE_S = 5
"""Younger envelopes cannot have been with another worker: that takes a lease that ran out, and leases are longer."""
MOVED_LIMIT = 50_000
"""Entries of cur/ looked at for a moved copy, about 30 ms; beyond it a redelivery may double. Chosen, no source."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Maildir:
    """An open maildir. Close it."""

    path: str
    tmp: int
    new: int
    cur: int

    def create(self, name: str) -> int:
        """A new file in tmp/, open for writing."""
        return os.open(name, _NEW_FILE, 0o600, dir_fd=self.tmp)

    def publish(self, tmp_name: str, name: str) -> None:
        """Moves a flushed file from tmp/ to new/, in place of an earlier copy of the same envelope."""
        os.rename(tmp_name, name, src_dir_fd=self.tmp, dst_dir_fd=self.new)

    def discard(self, tmp_name: str) -> None:
        """Removes a file from tmp/; where that fails it becomes stale and goes later."""
        try:
            os.unlink(tmp_name, dir_fd=self.tmp)
        except OSError:
            return

    def find_moved(self, created_at_s: int, now_s: float) -> frozenset[str]:
        """evpids of ours in cur/: copies of an earlier attempt that the user's client has moved there.

        Empty without looking where no earlier attempt can have been moved: the envelope is too young, or nothing has been moved into
        cur/ since it was created. So a mailbox of any size costs one fstat, and its listing only when a backlog or a redelivery
        meets a user who is reading mail.
        """
        if now_s - created_at_s < REDELIVERY_AGE_S or os.fstat(self.cur).st_mtime < created_at_s - CLOCK_SKEW_S:
            return frozenset()
        with os.scandir(self.cur) as entries:
            names = [entry.name.split(".", 2) for entry in itertools.islice(entries, MOVED_LIMIT)]
        return frozenset(parts[1][1:] for parts in names if len(parts) > 2 and parts[1][:1] == "E")

    def tidy(self, now_s: float) -> None:
        """Removes stale files from tmp/: what killed workers left there."""
        with os.scandir(self.tmp) as entries:
            for entry in itertools.islice(entries, TIDY_LIMIT):
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode) and now_s - about.st_mtime > STALE_TMP_S:
                    self.discard(entry.name)

    def close(self) -> None:
        """Closes the descriptors."""
        for descriptor in (self.tmp, self.new, self.cur):
            os.close(descriptor)


class Maildirs:
    """What this process knows of all maildirs. Shared by its threads: every step on it is atomic under the interpreter's lock."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self.now_s = now_s
        self._tidied_at_s: dict[str, float] = {}
        # The pid alone is not unique: in containers it is the same after every start, and a home may be shared by several.
        self._process = f"P{os.getpid()}R{secrets.token_hex(4)}"
        self._numbers = itertools.count()

    def new_tmp_name(self, evpid: str) -> str:
        """A name in tmp/ that no other attempt has, here or elsewhere."""
        return f"{int(self.now_s())}.E{evpid}.{self._process}Q{next(self._numbers)}"

    def open(self, path: str, folder: str = "") -> Maildir:
        """The maildir, or its folder where that exists; created where missing. Raises OSError."""
        # 7.8 uses a subaddress folder only where the user has made it; 5.4 let peers create folders.
        if folder and os.path.isdir(f"{path}/{folder}"):  # noqa: PTH112  thrice as fast as pathlib
            path = f"{path}/{folder}"
        root = _open_root(path)
        try:
            maildir = _open_parts(path, root)
        finally:
            os.close(root)
        now_s = self.now_s()
        if now_s - self._tidied_at_s.get(path, -TIDY_EVERY_S) >= TIDY_EVERY_S:
            self._first_use(maildir, now_s)
        return maildir

    def _first_use(self, maildir: Maildir, now_s: float) -> None:
        try:
            maildir.tidy(now_s)
            # Also where another process made the directories: it may have died between mkdir and fsync.
            _flush_chain(maildir.path)
        except OSError:
            maildir.close()
            raise
        if len(self._tidied_at_s) >= KNOWN_LIMIT:
            self._tidied_at_s.clear()
        self._tidied_at_s[maildir.path] = now_s


def _open_root(path: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        missing = [Path(path)]
        while not (parent := missing[-1].parent).exists():
            missing.append(parent)
        for directory in reversed(missing):
            # Died between two of these: the next delivery goes on where we stopped.
            directory.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, _DIRECTORY)


def _open_parts(path: str, root: int) -> Maildir:
    opened: list[int] = []
    try:
        for name in ("tmp", "new", "cur"):
            opened.append(_open_part(name, root))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return Maildir(path, *opened)


def _open_part(name: str, root: int) -> int:
    """One of the three directories; never through a link, which could lead the delivery anywhere."""
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another thread or worker was quicker
            os.mkdir(name, 0o700, dir_fd=root)
        os.fsync(root)
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)


def _flush_chain(path: str) -> None:
    """Makes the entries that lead to the maildir durable, from below up to the first directory that we may not read."""
    for directory in (path, *map(str, Path(path).parents)):
        try:
            descriptor = os.open(directory, _DIRECTORY)
        except PermissionError:
            return  # nor could we have created anything in it
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
