"""The socket in the file system on which programs of this machine submit mail.

Owns its file: made for everybody, as OpenSMTPD's is, and replaced where a killed process has left one behind; never taken from a process
that still listens. Called by listener. OpenSMTPD: control.c, /var/run/smtpd.sock with mode 0666 (reference 4.9).
"""

import errno
import os
import socket
import stat
from pathlib import Path

MODE = 0o666
"""Any user may submit; who it is is told by the kernel."""
BACKLOG = 128
"""Chosen; programs of one machine."""


def submission_socket(path: str) -> socket.socket:
    """A listening socket at `path`. Raises OSError, also where another process listens there."""
    _remove_stale(Path(path))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        Path(path).chmod(MODE)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on; leaves everything else where it is, so that bind refuses."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
