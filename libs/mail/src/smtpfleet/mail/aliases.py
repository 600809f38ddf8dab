"""The value of an alias or virtual entry: a comma-separated list of targets.

Owns its syntax (reference 3.3), nothing of what the targets mean: expand follows them. A value that cannot be read is a fault of the
table, never a recipient. OpenSMTPD: expand.c expand_line; to.c text_to_expandnode.
"""

import enum
import re
from dataclasses import dataclass
from functools import lru_cache

from smtpfleet.mail.address import parse_mailbox

PARSED_CACHE_COUNT = 1024
"""Values whose targets are kept parsed: the aliases in steady use. Chosen, no source."""


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


@lru_cache(maxsize=PARSED_CACHE_COUNT)
def parse_targets(value: str) -> tuple[Target, ...]:
    """The targets in the order of the text. Raises AliasFault where one of them, or the list, is malformed or empty."""
    items = _split(value)
    if not items:
        raise AliasFault("no target")
    return tuple(_target(item) for item in items)


def _split(value: str) -> list[str]:
    """Cut at commas outside quotes. A backslash guards the next character and goes; quotes stay, for commands need them."""
    items: list[str] = []
    item: list[str] = []
    is_quoted = False
    characters = iter(value)
    for character in characters:
        if character == "\\":
            guarded = next(characters, None)
            if guarded is None:
                raise AliasFault("backslash at the end")
            item.append(guarded)
        elif character == "," and not is_quoted:
            items.append("".join(item))
            item.clear()
        else:
            is_quoted ^= character == '"'
            item.append(character)
    if is_quoted:
        raise AliasFault("unbalanced quotes")
    items.append("".join(item))
    return [text for raw in items if (text := raw.strip())]


def _target(item: str) -> Target:
    """The forms are tried in OpenSMTPD's order; prefixes in any letter case."""
    if found := _ERROR(item):
        return Target(TargetKind.ERROR, found.group(1))
    if found := _INCLUDE(item):
        return Target(TargetKind.INCLUDE, found.group(1))
    if item.startswith('"|') and item.endswith('"') and len(item) > 3:
        return Target(TargetKind.COMMAND, item[2:-1].strip())
    if item.startswith("|") and item[1:].strip():
        return Target(TargetKind.COMMAND, item[1:].strip())
    if item.startswith("/"):
        return Target(TargetKind.FILE, item)
    mailbox = parse_mailbox(item)
    if mailbox is not None:
        return Target(TargetKind.ADDRESS, mailbox.text)
    if _USER(item):
        return Target(TargetKind.USER, item.lower())
    # OpenSMTPD cuts `foo@bad_domain` at the @ and delivers to a local foo; we do not guess.
    raise AliasFault(f"not a target: {item!r}")
