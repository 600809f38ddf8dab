"""Lists of targets in files, a list per line: a user's `.forward` and what `:include:` names.

Text to targets only; who may read which file, and how large it may be, is decided where it is read (mda for `.forward`, config for
includes). Called by walk and by config. OpenSMTPD: forward.c forwards_get, aliases.c aliases_expand_include, with fparseln's lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from smtpfleet.mail.aliases import AliasFault, Target, TargetKind, read_line, split_items

FORWARD_TARGET_LIMIT = 100
"""Targets of one `.forward` (OpenSMTPD forward.c MAX_FORWARD_NODES)."""


@dataclass(frozen=True, slots=True)
class IncludedLines:
    """lines: whose items are all fine, as written. bad: number and fault of those that are ignored."""

    lines: tuple[str, ...]
    bad: tuple[tuple[int, str], ...]


def parse_forward(content: str, *, is_modern: bool) -> tuple[Target, ...]:
    """The targets of a `.forward`, none where it has only comments: then the user has no forward. Raises AliasFault.

    The fault names the line and not what is in it: it goes to the operator's log, and the file is the user's.
    """
    targets: list[Target] = []
    for number, line in _logical_lines(content):
        try:
            found = read_line(line, is_modern=is_modern)
        except AliasFault:
            raise AliasFault(f"line {number} is no list of targets") from None
        # An include is for tables only: a user must not have us read files for him.
        targets += [target for target in found if target.kind is not TargetKind.INCLUDE]
        if len(targets) > FORWARD_TARGET_LIMIT:
            raise AliasFault(f"more than {FORWARD_TARGET_LIMIT} targets")
    return tuple(targets)


def read_included(content: str, *, is_modern: bool) -> IncludedLines:
    """What an included file adds to an entry. A bad line adds nothing and spoils nothing; includes do not nest."""
    lines: list[str] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(content.split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found = read_line(text, is_modern=is_modern)
        except AliasFault as fault:
            bad.append((number, str(fault)))
            continue
        if any(target.kind is TargetKind.INCLUDE for target in found):
            bad.append((number, "an included file cannot include another"))
        elif found:
            lines.append(", ".join(split_items(text)))  # empty items aside: they would be none of the entry's
    return IncludedLines(tuple(lines), tuple(bad))


def _logical_lines(content: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first part: a backslash at the end goes on, a `#` that is not guarded ends the line."""
    joined, first = "", 0
    lines = content.split("\n")
    for number, line in enumerate(lines, 1):
        first = first or number
        text, goes_on = _before_comment(line.removesuffix("\r"))
        if goes_on and number < len(lines):
            joined += text[:-1]
            continue
        yield first, joined + text
        joined, first = "", 0


def _before_comment(line: str) -> tuple[str, bool]:
    """The line without its comment, and whether a backslash guards its end."""
    is_guarded = False
    for position, character in enumerate(line):
        if character == "#" and not is_guarded:
            return line[:position], False
        is_guarded = character == "\\" and not is_guarded
    return line, is_guarded
