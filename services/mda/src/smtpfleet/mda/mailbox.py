"""A message appended to a file of messages: the user's file in the spool folder (mbox), or any file the user named (file).

Owns locks, quoting and what a failed append leaves: nothing, the file is cut back to where it was. Same steps as StreamedFile, driven by
single.py in threads. The record lock is of the open file (F_OFD_SETLK), which keeps out fcntl users in other processes as well as our
own threads. Devices such as /dev/null are written and nothing else. OpenSMTPD: mail.local, delivery_file.c, mail.mboxfile.

What a kill -9 leaves, by the point reached, and who repairs it:

  locked     dotlock with our note, nothing appended: the next append removes it
  appended   a part or all of the message behind what was there: the next append, of whatever message, cuts the file back by the note,
             if what stands there is still ours and the last; a reader sees a cut message until then
  flushed    as above, the message is whole; it comes again, once
  settled    the message for good, outcome unreported: the redelivery makes a second copy, the one duplicate this method allows
Without a dotlock (a folder we may not write to) all but the first leave what they wrote, and the next append begins on a line of its own.
"""

import errno
import fcntl
import os
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from smtpfleet.mail.dots import lf_lines
from smtpfleet.mda.attempt import Attempt, delivered, failed_by, tempfailed
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.dotlock import Dotlock, Note
from smtpfleet.mda.group import write_all
from smtpfleet.mda.mboxlines import FromQuoting, from_line
from smtpfleet.mda.rights import acting_as
from smtpfleet.mda.way import FileWay
from smtpfleet.runtime import killpoint

LOCK_PATIENCE_S = 30.0
"""How long a lock is waited for; then the message comes again later. Chosen: readers rewrite large files in seconds."""
LOCK_RETRY_S = 0.05
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""struct flock of 64-bit Linux: the whole file; no pid, as F_OFD_SETLK demands."""
_SCAN_BYTES = 1024 * 1024


class Unusable(Exception):
    """The file is not one we append to; the text is for the log."""


@dataclass(slots=True)
class _Opened:
    descriptor: int
    is_device: bool
    length: int
    dotlock: Dotlock | None
    separation: bytes


class AppendedFile:
    """One message's append. `take` each piece, `finish`, and `close` in any case. A step that returns an Attempt was the last."""

    def __init__(
        self, delivery: Delivery, way: FileWay, reach: Callable[[str], None] = killpoint.reach, *, now_s: float = 0.0
    ) -> None:
        self._delivery = delivery
        self._way = way
        self._reach = reach
        self._now_s = now_s or time.time()
        self._quoting = FromQuoting()
        self._opened: _Opened | None = None
        # A delivery that is given up is closed while its last step may still be waiting for a lock.
        self._step = threading.Lock()

    def take(self, piece: bytes) -> Attempt | None:
        """Appends the next piece; the first also waits for the locks."""
        with self._step:
            return self._take(piece)

    def finish(self) -> Attempt:
        """Ends the message with a blank line and flushes."""
        with self._step:
            return self._finish()

    def close(self) -> None:
        """Undoes what was not finished."""
        with self._step:
            self._close()

    def _take(self, piece: bytes) -> Attempt | None:
        try:
            if self._opened is None:
                begun = self._begin()
                self._reach("mda.mailbox.locked")
                head = begun.separation + from_line(self._way.from_name, self._now_s) + self._delivery.prefix
                write_all(begun.descriptor, head)
            assert self._opened is not None
            write_all(self._opened.descriptor, self._quoting.take(lf_lines(piece)))
        except OSError as error:
            return failed_by(self._delivery.evpid, error, self._way.path)
        except Unusable as error:
            return tempfailed(self._delivery.evpid, f"{self._way.path}: {error}")
        return None

    def _finish(self) -> Attempt:
        opened = self._opened
        assert opened is not None
        try:
            write_all(opened.descriptor, self._quoting.end())
            self._reach("mda.mailbox.appended")
            if not opened.is_device:
                os.fsync(opened.descriptor)
            self._reach("mda.mailbox.flushed")
            if opened.dotlock is not None:
                with self._rights():
                    opened.dotlock.settle()
        except OSError as error:
            return failed_by(self._delivery.evpid, error, self._way.path)
        self._opened = None
        os.close(opened.descriptor)
        self._reach("mda.mailbox.settled")
        return delivered(self._delivery.evpid)

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            if not opened.is_device:
                os.ftruncate(opened.descriptor, opened.length)
            with self._rights():
                if opened.dotlock is not None:
                    opened.dotlock.drop()
        except OSError:
            if opened.dotlock is not None:
                opened.dotlock.keep()
        finally:
            os.close(opened.descriptor)

    def _rights(self) -> AbstractContextManager[None]:
        # mail.local works as root and checks the owner; a file of the user's choice is reached with the user's rights alone.
        return acting_as(0, 0) if self._way.is_spool else acting_as(self._way.uid, self._way.gid)

    def _begin(self) -> _Opened:
        gives_up_at = time.monotonic() + LOCK_PATIENCE_S
        while True:
            with self._rights():
                descriptor = self._open()
                try:
                    opened = self._lock(descriptor)
                except BaseException:
                    os.close(descriptor)
                    raise
            if opened is not None:
                self._opened = opened
                return opened
            os.close(descriptor)
            if time.monotonic() > gives_up_at:
                raise Unusable(f"locked by somebody else for {LOCK_PATIENCE_S:g} s")
            time.sleep(LOCK_RETRY_S)

    def _open(self) -> int:
        way = self._way
        try:
            return os.open(way.path, _FLAGS if not _is_device(way.path) else os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(way.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        if way.is_spool and os.geteuid() == 0:
            os.fchown(descriptor, way.uid, way.gid)
        return descriptor

    def _lock(self, descriptor: int) -> _Opened | None:
        """None where somebody else has a lock. Never waits for one while it has the other."""
        about = os.fstat(descriptor)
        if stat.S_ISCHR(about.st_mode) and not self._way.is_spool:
            return _Opened(descriptor, True, 0, None, b"")
        self._check(about)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WRITE_LOCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise
        if not _is_still_there(self._way.path, about.st_ino):
            return None  # a reader has put another file in its place
        dotlock = Dotlock(self._way.path)
        left = dotlock.left_note(about.st_uid)
        if left is not None:
            _undo(descriptor, left)
        if left is not None or dotlock.is_stale:
            dotlock.remove()
        length = os.fstat(descriptor).st_size
        separation = _separation(descriptor, length)
        if not dotlock.take(Note(length, about.st_ino, from_line(self._way.from_name, self._now_s))):
            return None
        return _Opened(descriptor, False, length, dotlock, separation)

    def _check(self, about: os.stat_result) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise Unusable("not a regular file")
        if not self._way.is_spool:
            return
        # A link in a spool folder that many may write to would lead us into a file of somebody else (mail.local).
        if about.st_nlink != 1:
            raise Unusable("has several links")
        if about.st_uid != self._way.uid:
            raise Unusable(f"belongs to uid {about.st_uid} and not to the user")


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_still_there(path: str, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except FileNotFoundError:
        return False


def _separation(descriptor: int, length: int) -> bytes:
    """What has to come first so that a `From ` line begins a message: something cut off may stand before it."""
    end = os.pread(descriptor, 2, max(0, length - 2))
    return b"" if not end or end == b"\n\n" else b"\n" if end.endswith(b"\n") else b"\n\n"


def _undo(descriptor: int, note: Note) -> None:
    """Cuts off what a process that died had appended, where that still stands at the end and nothing behind it."""
    about = os.fstat(descriptor)
    if note.is_whole or note.inode != about.st_ino or note.length >= about.st_size:
        return
    begins = os.pread(descriptor, len(note.from_line) + 2, note.length).lstrip(b"\n")
    if not (begins.startswith(note.from_line) or note.from_line.startswith(begins)):
        return
    at = note.length + 3  # behind the `From ` of ours, wherever the blank lines before it end
    overlap = b""
    while data := os.pread(descriptor, _SCAN_BYTES, at):
        if b"\nFrom " in overlap + data:
            return  # another program has appended since; to cut would be to lose its message
        overlap = data[-5:]
        at += len(data)
    os.ftruncate(descriptor, note.length)
