"""Reads files in the form of master.passwd (`table NAME passwd:/path`), whole, at compile time.

A line is `user:pass:uid:gid:gecos:home:shell`; it answers credentials and userinfo. The passwords stay in config: only the userinfo
half may travel in a snapshot. Any bad line refuses the file, as in OpenSMTPD: half a user base would bounce the other half's mail.
Called by the compiler. OpenSMTPD: table-passwd (reference 9.6).
"""

from dataclasses import dataclass
from pathlib import Path

from smtpfleet.config.tables.bad_file import BadTableFile

_FIELDS = 7
ID_MAX = 2**32 - 2
"""uid_t and gid_t have 32 bits, and the last value means "none" in chown."""


@dataclass(frozen=True, slots=True)
class PasswdFile:
    """By user name in lower case. userinfo: `uid:gid:home`. credentials: `user:pass`, secret; none for a user without password."""

    userinfo: dict[str, str]
    credentials: dict[str, str]


def read_passwd(path: Path) -> PasswdFile | BadTableFile:
    """The users of the file at `path`, or what is wrong with it."""
    try:
        text = path.read_text()
    except OSError as error:
        return BadTableFile(error.strerror or type(error).__name__)
    except UnicodeDecodeError:
        return BadTableFile("it is not UTF-8")
    return parse_passwd(text)


def parse_passwd(text: str) -> PasswdFile | BadTableFile:
    """The users in `text`. Empty lines and those that begin with # are skipped; of equal names the first counts."""
    userinfo: dict[str, str] = {}
    credentials: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = line.split(":")
        if fault := _fault(fields):
            return BadTableFile(fault, number)
        user, password, uid, gid, _, home, _ = fields
        key = user.lower()
        if key in userinfo:
            continue
        userinfo[key] = f"{int(uid)}:{int(gid)}:{home}"
        if password:
            credentials[key] = f"{user}:{password}"
    return PasswdFile(userinfo, credentials)


def _fault(fields: list[str]) -> str:
    """What is wrong with a line, without quoting it, or ""."""
    if len(fields) != _FIELDS:
        return f"a line has {_FIELDS} fields, user:password:uid:gid:gecos:home:shell; this one has {len(fields)}"
    user, _, uid, gid, _, home, _ = fields
    if not user or any(char in user for char in " \t\0"):
        return "the name of a user is not empty and has no blanks"
    if not all(_is_id(number) for number in (uid, gid)):
        return f"uid and gid are numbers from 1 to {ID_MAX}"
    if not home.startswith("/"):
        return "the home of a user begins with /"
    return ""


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(ID_MAX)) and 1 <= int(text) <= ID_MAX
