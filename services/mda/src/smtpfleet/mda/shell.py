"""The line a delivery program is started with, and its environment: what comes from a peer stays harmless in both.

The line is the operator's, or the user's own from `.forward`; only format tokens in it are replaced (mail.formats), and only by
characters that mean nothing to a shell. Addresses as they are go into the environment. Pure; used by way.py. OpenSMTPD 7.8:
mda_variables.c, mda_unpriv.c. 5.4 replaced `*`, `?` and `/` alone (CVE-2020-7247 is what that leads to).
"""

import re
from collections.abc import Callable

import msgspec

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.mail.address import split_address, tag_of
from smtpfleet.mail.formats import FormatError
from smtpfleet.mail.tables import UserInfo

PATH = "/usr/bin:/bin"
"""_PATH_DEFPATH, as OpenSMTPD gives it to every program."""
SHELL = "/bin/sh"
LINE_LIMIT = 4096
"""Longest line with its wrapper; each format alone is bounded by mail.formats. Chosen: far below any limit of exec."""

# 7.8 replaces !#$%&'*?`{|}~ and refuses what else means something to a shell in an address; we accept quoted local parts, so what may
# stay is listed here instead. A dash at the beginning would be an option of the program.
_UNSAFE = re.compile(r"[^A-Za-z0-9@._+=:,/\x80-\U0010ffff-]|^-")
_UNSAFE_HOME = re.compile(r"[^A-Za-z0-9@._+=:,/\x80-\U0010ffff-]")
_USES_HOME = re.compile(r"^~/|%\{user\.directory\b", re.IGNORECASE)
_WRAPPED = re.compile(r"%%|%\{mda\}", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLACE = "\1"


Expand = Callable[[str, Envelope, UserInfo], str]
"""Replaces the tokens of a format; raises FormatError."""


def shell_line(text: str, wrapper: str, envelope: Envelope, user: UserInfo, expand: Expand) -> str:
    """What /bin/sh -c is given. Raises FormatError; `wrapper` "" for none, else `%{mda}` in it stands for the command."""
    harmless = msgspec.structs.replace(
        envelope,
        sender=_UNSAFE.sub(":", envelope.sender),
        rcpt=_UNSAFE.sub(":", envelope.rcpt),
        dest=_UNSAFE.sub(":", envelope.dest),
    )
    line = _expand(text, harmless, user, expand)
    if wrapper:
        # The command takes its place last: nothing in it is a token of the wrapper.
        around = _WRAPPED.sub(lambda found: "%%" if found.group() == "%%" else _PLACE, wrapper)
        line = _expand(around, harmless, user, expand).replace(_PLACE, line)
    if not line.strip() or "\0" in line or len(line) > LINE_LIMIT:
        raise FormatError("the command is empty, too long, or has a NUL")
    return line


def _expand(text: str, envelope: Envelope, user: UserInfo, expand: Expand) -> str:
    if _USES_HOME.search(text) and _UNSAFE_HOME.search(user.home):
        raise FormatError(f"the home of {user.user} has characters that mean something to a shell; use $HOME")
    return expand(text, envelope, msgspec.structs.replace(user, user=_UNSAFE.sub(":", user.user)))


def environment(envelope: Envelope, user: UserInfo, delimiter: str) -> dict[str, str]:
    """All that a program finds in its environment (reference 11.7); nothing of ours, nothing that could end a line."""
    rcpt = split_address(envelope.rcpt)
    extension = tag_of(rcpt.user, delimiter)
    variables = {
        "PATH": PATH,
        "SHELL": SHELL,
        "HOME": user.home,
        "LOGNAME": user.user,
        "USER": user.user,
        "DOMAIN": rcpt.domain,
        "LOCAL": rcpt.user,
        "ORIGINAL_RECIPIENT": envelope.rcpt,
        "RECIPIENT": envelope.dest,
        "SENDER": envelope.sender,
    } | ({"EXTENSION": extension} if extension else {})
    return {name: _CONTROL.sub("", value) for name, value in variables.items()}
