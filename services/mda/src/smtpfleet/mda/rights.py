"""Whose rights a file operation has: those of the user delivered to, also where this process is root.

Where we are root, one thread takes on the user's identity for file access alone (setfsuid(2), as NFS servers do) and gives it back;
signals and processes are not touched by it. Where we are not root, users.py has made sure that the user is ourselves. Never used for
programs: those change their identity for good (program.py). OpenSMTPD: forkmda, one process per delivery.
"""

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator

_UNCHANGED = -1
"""No uid is -1: the call changes nothing and returns the present one (setfsuid(2))."""


def leave_groups() -> None:
    """Root's supplementary groups would stay with a thread that acts as a user; called once, when the role begins."""
    if os.geteuid() == 0:
        # A root without that right cannot become anybody either; its deliveries to others fail and say so.
        with contextlib.suppress(PermissionError):
            os.setgroups([])


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """File access in this thread is that of uid and gid, without other groups. Raises PermissionError where the kernel refuses."""
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    own_gid = os.getegid()
    try:
        # The group first: without root's file rights the kernel would refuse it.
        _change(_libc().setfsgid, gid)
        _change(_libc().setfsuid, uid)
        yield
    finally:
        _change(_libc().setfsuid, 0)
        _change(_libc().setfsgid, own_gid)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _change(call: Callable[[int], int], identity: int) -> None:
    call(identity)
    # The call reports no failure; asking for the impossible tells what we are now.
    if call(_UNCHANGED) != identity:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
