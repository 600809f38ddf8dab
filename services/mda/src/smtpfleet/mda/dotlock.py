"""The `.lock` file beside a mailbox file: the lock that other programs heed, and our note of how to undo an append.

Created only by whoever holds the mailbox's record lock (mailbox.py). One of ours that is met under that lock is therefore left over
from a process that died, and says where the mailbox ended before. Where the folder lets us make no files there is no dotlock and no
note. Blocking: called from threads only. Convention: mail.local, lockfile_create(3).
"""

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

STALE_S = 300
"""Age at which another program's dotlock counts as left over: the five minutes of lockfile_create(3)."""
NOTE_LIMIT_BYTES = 4096

# Of one length: the second is written over the first when the append is whole.
_BEGUN = b"smtpfleet-begun"
_WHOLE = b"smtpfleet-whole"
_MAY_NOT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Note:
    """An append: where the mailbox ended, which file it was, and the `From ` line that comes first. is_whole: nothing is to be undone."""

    length: int
    inode: int
    from_line: bytes
    is_whole: bool = False


class Dotlock:
    """The lock of one mailbox file. Take it, then settle or drop it."""

    def __init__(self, mailbox_path: str) -> None:
        self.path = f"{mailbox_path}.lock"
        self._descriptor = -1

    def take(self, note: Note) -> bool:
        """Whether we have it, or may go without; False where somebody else has it. Raises OSError."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _MAY_NOT:
                return True
            raise
        try:
            # Not flushed: what a power cut may leave then is a part of a message, never a wrong note.
            os.write(self._descriptor, b"%s %d %d\n%s" % (_BEGUN, note.length, note.inode, note.from_line))
        except OSError:
            self.drop()
            raise
        return True

    def left_note(self, owner_uid: int) -> Note | None:
        """The note of an append by a process that died; None where the lock is somebody else's. Under the record lock. owner_uid: of the
        mailbox; nobody else's word is taken for where to cut it."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            is_ours = os.fstat(descriptor).st_uid in (owner_uid, os.geteuid())
            head, _, from_line = os.read(descriptor, NOTE_LIMIT_BYTES).partition(b"\n")
        except OSError:
            return None
        finally:
            os.close(descriptor)
        words = head.split(b" ")
        if not is_ours or len(words) != 3 or words[0] not in (_BEGUN, _WHOLE) or not all(map(bytes.isdigit, words[1:])):
            return None
        return Note(int(words[1]), int(words[2]), from_line, words[0] == _WHOLE)

    @property
    def is_stale(self) -> bool:
        """Whether it is so old that its maker must have died."""
        try:
            return time.time() - os.lstat(self.path).st_mtime > STALE_S
        except OSError:
            return False

    def settle(self) -> None:
        """The append is whole and flushed: takes the note back, for good, then the lock. Raises OSError: the append may yet be undone by
        whoever meets the note, so it is not to be called delivered."""
        if self._descriptor < 0:
            return
        os.pwrite(self._descriptor, _WHOLE, 0)
        # Else a power cut could bring the note back and with it undo a delivery that was reported.
        os.fsync(self._descriptor)
        self.drop()

    def drop(self) -> None:
        """Removes it. Where that fails, whoever meets it next sees from its note or its age that it is left over."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.remove()

    def remove(self) -> None:
        """Removes one that was left over."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()

    def keep(self) -> None:
        """Leaves lock and note to the next: the append could not be undone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
