"""The value of an alias or virtual entry: a comma-separated list of targets.

Owns its syntax (reference 3.3), nothing of what the targets mean: walk follows them. A value that cannot be read is a fault of the
table, never a recipient. Lists in files (`.forward`, `:include:`) are read line by line in targetfile, with the same items. OpenSMTPD:
expand.c expand_line; to.c text_to_expandnode.
"""

import enum
import re
from dataclasses import dataclass
from functools import lru_cache

from smtpfleet.mail.address import parse_mailbox

PARSED_CACHE_COUNT = 1024
"""Values whose targets are kept parsed: the aliases in steady use. Chosen, no source."""
EMPTY_INCLUDE = "/dev/null"
"""An include that contributes nothing: what config leaves where a file is missing, and the one include that the walk follows. All others
have been replaced by the file's targets when the table was compiled."""


class TargetKind(enum.StrEnum):
    """What a target is."""

    ADDRESS = "address"
    USER = "user"
    COMMAND = "command"
    FILE = "file"
    INCLUDE = "include"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Target:
    """One target. value: canonical address, lower-case user, command, path, or `CODE text` of an error."""

    kind: TargetKind
    value: str


class AliasFault(ValueError):
    """The value cannot be read; the text says which item and why."""


_ERROR = re.compile(r":?error:([45][0-9]{2} [A-Za-z0-9].*)", re.IGNORECASE | re.DOTALL).fullmatch
_INCLUDE = re.compile(r":?include:(/.*)", re.IGNORECASE | re.DOTALL).fullmatch
_USER = re.compile(r"[A-Za-z0-9_.-]+").fullmatch
# 7.8 lets an alias name a user with a subaddress.
_TAGGED_USER = re.compile(r"[A-Za-z0-9_.+-]+").fullmatch
# A command is one line for a shell, a path is a name: neither has room for these.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


@lru_cache(maxsize=PARSED_CACHE_COUNT)
def parse_targets(value: str, is_modern: bool = False) -> tuple[Target, ...]:
    """The targets in the order of the text. Raises AliasFault where one of them, or the list, is malformed or empty."""
    targets = read_line(value, is_modern=is_modern)
    if not targets:
        raise AliasFault("no target")
    return targets


def read_line(line: str, *, is_modern: bool) -> tuple[Target, ...]:
    """As parse_targets, but nothing is kept and a line without targets is none."""
    return tuple(_target(item, is_modern) for raw in split_items(line) if (item := _without_guards(raw)))


def split_items(value: str) -> list[str]:
    """The items as written, cut at commas outside quotes; a backslash guards the next character. Raises AliasFault."""
    items: list[str] = []
    start = 0
    is_quoted = is_guarded = False
    for position, character in enumerate(value):
        if is_guarded:
            is_guarded = False
        elif character == "\\":
            is_guarded = True
        elif character == '"':
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            items.append(value[start:position])
            start = position + 1
    if is_guarded:
        raise AliasFault("backslash at the end")
    if is_quoted:
        raise AliasFault("unbalanced quotes")
    items.append(value[start:])
    return [item for raw in items if (item := _strip(raw))]


def _strip(raw: str) -> str:
    """Without the blanks around it, but for one that a backslash guards."""
    text = raw.strip()
    backslashes = len(text) - len(text.rstrip("\\"))
    return text if backslashes % 2 == 0 else text + raw[raw.index(text) + len(text)]


def include_path(raw: str) -> str:
    """The path of an item of split_items that is an include, or ""."""
    found = _INCLUDE(_without_guards(raw))
    return found.group(1) if found else ""


def _without_guards(raw: str) -> str:
    """The backslashes that guard go; quotes stay, for commands need them."""
    return re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL).strip() if "\\" in raw else raw


def _target(item: str, is_modern: bool) -> Target:
    """The forms are tried in OpenSMTPD's order; prefixes in any letter case."""
    if found := _ERROR(item):
        return Target(TargetKind.ERROR, found.group(1))
    if found := _INCLUDE(item):
        return _line_target(TargetKind.INCLUDE, found.group(1))
    if item.startswith('"|') and item.endswith('"') and len(item) > 3 and (command := item[2:-1].strip()):
        return _line_target(TargetKind.COMMAND, command)
    if item.startswith("|") and (command := item[1:].strip()):
        return _line_target(TargetKind.COMMAND, command)
    if item.startswith("/"):
        return _line_target(TargetKind.FILE, item)
    mailbox = parse_mailbox(item)
    if mailbox is not None:
        return Target(TargetKind.ADDRESS, mailbox.text)
    if (_TAGGED_USER if is_modern else _USER)(item):
        return Target(TargetKind.USER, item.lower())
    # OpenSMTPD cuts `foo@bad_domain` at the @ and delivers to a local foo; we do not guess.
    raise AliasFault(f"not a target: {item!r}")


def _line_target(kind: TargetKind, value: str) -> Target:
    if _CONTROL(value):
        raise AliasFault(f"control character in a {kind}")
    return Target(kind, value)
