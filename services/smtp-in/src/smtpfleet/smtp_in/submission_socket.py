"""The socket in the file system on which programs of this machine submit mail.

Owns its file, made for everybody as OpenSMTPD's is, and a lock beside it: of several replicas on one host one listens, and when it ends,
however it ends, the kernel gives the lock to another. Called by listener. OpenSMTPD: control.c, /var/run/smtpd.sock with mode 0666
(reference 4.9).
"""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

MODE = 0o666
"""Any user may submit; who it is is told by the kernel."""
BACKLOG = 128
"""Chosen; programs of one machine."""


class TakenByAnother(Exception):
    """Another process listens there; it may be our turn later."""


class SubmissionSocket(socket.socket):
    """The listening socket, with the lock that goes when it is closed."""

    lock_fd: int

    def close(self) -> None:
        """Closes the socket and gives the lock up. The file stays: the next one replaces it."""
        super().close()
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1


def submission_socket(path: str) -> SubmissionSocket:
    """A listening socket at `path`. Raises TakenByAnother, or OSError, also where something that is no socket is in the way."""
    lock_fd = _take_lock(f"{path}.lock")
    listening = SubmissionSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.lock_fd = lock_fd
    try:
        _remove_stale(Path(path))
        listening.bind(path)
        Path(path).chmod(MODE)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _take_lock(path: str) -> int:
    """A descriptor that holds the lock. Whoever has it is the only one who touches the socket's file."""
    lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        raise TakenByAnother from None
    return lock_fd


def _remove_stale(path: Path) -> None:
    """Removes a socket whose process has ended: it would have the lock. Leaves everything else where it is, so that bind refuses."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if is_socket and not _has_listener(path):
        path.unlink(missing_ok=True)


def _has_listener(path: Path) -> bool:
    """Whether a program listens there that knows nothing of our lock."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)
