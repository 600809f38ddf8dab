"""A user's `.forward`: whether it is there, whether it is safe to follow, and what is in it.

Owns the checks of reference 3.4 and decides nothing about targets. What comes back is the whole of a small regular file that only its
user (or root) can have written, or a reason; nothing of any other file ever. Blocking: called from threads. OpenSMTPD: smtpd.c
parent_forward_open, util.c secure_file, forward.c.
"""

import errno
import os
import stat

from smtpfleet.contracts.commands import ForwardReply
from smtpfleet.mail.tables import UserInfo

SIZE_LIMIT_BYTES = 4096
"""A file this large is not read (OpenSMTPD forward.c MAX_FORWARD_SIZE)."""

# As a path only: we need not be able to list a home to look for one name in it.
_HOME = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO must not hold us, a terminal not become ours, a link not lead elsewhere.
_FORWARD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_UNSAFE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""A link, a socket, a device: not a file its user has written. What remains is of the file system or of our rights, and can be mended."""
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})

ABSENT = ForwardReply("absent", "", "")


def read_forward(user: UserInfo) -> ForwardReply:
    """The `.forward` in the user's home. Costs two system calls where there is none."""
    try:
        home = os.open(user.home, _HOME)
    except OSError as error:
        return _failed(error, user.home)
    try:
        return _read_in(home, user)
    except OSError as error:
        return _failed(error, f"{user.home}/.forward")
    finally:
        os.close(home)


def _read_in(home: int, user: UserInfo) -> ForwardReply:
    try:
        file = os.open(".forward", _FORWARD, dir_fd=home)
    except FileNotFoundError:
        # The usual case. A sticky home says "not now" also where its user has taken the file away to write another.
        return _temporary("the home is sticky") if _is_sticky(home) else ABSENT
    try:
        return _read_open(file, home, user)
    finally:
        os.close(file)


def _read_open(file: int, home: int, user: UserInfo) -> ForwardReply:
    """What was opened is what is judged: the name may mean something else by now."""
    if _is_sticky(home):
        return _temporary("the home is sticky")
    about, of_home = os.fstat(file), os.fstat(home)
    if not stat.S_ISREG(about.st_mode):
        return _refused("not a regular file")
    if fault := _fault_of(about, user, "the file") or _fault_of(of_home, user, "the home"):
        return _refused(fault)
    if about.st_nlink != 1:
        # A second name may be a file of root's that the user cannot read.
        return _refused("the file has more than one name")
    if about.st_size == 0:
        return ABSENT
    # One byte more than is allowed, so that a file that grows meanwhile is noticed.
    data = os.read(file, SIZE_LIMIT_BYTES) if about.st_size < SIZE_LIMIT_BYTES else b" " * SIZE_LIMIT_BYTES
    if len(data) >= SIZE_LIMIT_BYTES:
        return _temporary(f"{SIZE_LIMIT_BYTES} bytes or more")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _temporary("not UTF-8")
    return _temporary("NUL in the file") if "\0" in text else ForwardReply("present", text, "")


def _is_sticky(home: int) -> bool:
    return bool(os.fstat(home).st_mode & stat.S_ISVTX)


def _fault_of(about: os.stat_result, user: UserInfo, what: str) -> str:
    """Why somebody else could have written it, "" where nobody could."""
    if about.st_uid not in (0, user.uid):
        return f"{what} belongs to uid {about.st_uid}"
    if about.st_mode & _OTHERS_WRITE:
        return f"{what} is writable by others"
    return ""


def _failed(error: OSError, where: str) -> ForwardReply:
    if error.errno in _ABSENT:
        return ABSENT
    detail = f"{where}: {error.strerror or type(error).__name__}"
    return _refused(detail) if error.errno in _UNSAFE else _temporary(detail)


def _temporary(detail: str) -> ForwardReply:
    return ForwardReply("temporary", "", detail)


def _refused(detail: str) -> ForwardReply:
    return ForwardReply("refused", "", detail)
