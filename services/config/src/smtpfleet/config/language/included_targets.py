"""Puts the targets of `:include:` files into the entries that name them, for tables that rules use as alias or virtual.

The snapshot carries no files and roles read none, so an include is followed here, once per compilation; the watcher sees the files like
any other. A file that is missing, and a line that is no list of targets, is a warning and adds nothing (reference 3.4). A list may be named
by any number of entries, so what they come to has a limit. Called by compiler.py when all rules are known. OpenSMTPD: aliases.c
aliases_expand_include, at every lookup.
"""

from dataclasses import dataclass, field, replace

import msgspec

from smtpfleet.config.language.files import Unreadable
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.source import Span
from smtpfleet.contracts.configuration import ExpandAction, LocalAction
from smtpfleet.mail.aliases import EMPTY_INCLUDE, AliasFault, include_path, split_items
from smtpfleet.mail.targetfile import read_included

_NO_INCLUDES = "includes"
"""In DeclaredTable.clean_for."""
BAD_LINES_SHOWN = 5
"""Warnings about the lines of one file; chosen, so that a binary file does not bury the others."""

INCLUDED_LIMIT_BYTES = 32 * 1024 * 1024
"""What all entries together get from included files; OpenSMTPD reads a file anew for each message. Chosen: a million
targets, and no trouble for the memory of config."""


@dataclass(frozen=True, slots=True)
class _Included:
    """The targets of a file. size_bytes: what they add to an entry."""

    lines: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(slots=True)
class _Inliner:
    """What has been read, and how much has been put into entries so far."""

    scope: Scope
    is_modern: bool
    files: dict[str, _Included] = field(default_factory=dict)
    total_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.total_bytes > INCLUDED_LIMIT_BYTES

    def inline(self, declared: DeclaredTable) -> DeclaredTable:
        """The table with the targets in place of the includes; as it is from the entry on that is too much (reported)."""
        entries = declared.table.entries
        if _NO_INCLUDES in declared.clean_for:
            return declared
        changed: dict[str, str] = {}
        candidates = [(key, value) for key, value in entries.items() if "include:" in value.lower()]
        if not candidates:
            declared.clean_for.add(_NO_INCLUDES)
        for key, value in candidates:
            span = declared.entry_spans.get(key) or declared.span
            if span is None:
                continue
            if parts := self._parts(value, span):
                changed[key] = ", ".join(parts)
            if self.is_full:
                hint = f"all entries together get at most {INCLUDED_LIMIT_BYTES} bytes from included files"
                self.scope.diagnostics.error(span, "the included files come to too much", hint)
                break
        if not changed:
            return declared
        return replace(declared, table=msgspec.structs.replace(declared.table, entries=entries | changed))

    def _parts(self, value: str, span: Span) -> list[str]:
        """The targets of an entry, none where it includes nothing; stops where all entries have become too much."""
        try:
            items = split_items(value)
        except AliasFault:
            return []  # the entry is no list: found, and answered with 451, when mail arrives, as in OpenSMTPD
        paths = [include_path(item) for item in items]
        if not any(paths):
            return []
        parts: list[str] = []
        for item, path in zip(items, paths, strict=True):
            if not path:
                parts.append(item)
                continue
            if path not in self.files:
                self.files[path] = _read_included(self.scope, span, path, is_modern=self.is_modern)
            self.total_bytes += self.files[path].size_bytes
            if self.is_full:
                break
            parts += self.files[path].lines
        return parts or [f":include:{EMPTY_INCLUDE}"]


def inline_includes(scope: Scope, *, is_modern: bool) -> None:
    """Replaces the tables of aliases in `scope` by ones without includes, but for EMPTY_INCLUDE."""
    names: dict[str, None] = {}
    for rule in scope.rules:
        if isinstance(rule.action, LocalAction | ExpandAction):
            names |= dict.fromkeys(name for name in (rule.action.alias, rule.action.virtual) if name)
    inliner = _Inliner(scope, is_modern)
    for name in names:
        declared = scope.tables[name]
        if declared.table.is_inline and not inliner.is_full:
            scope.tables[name] = inliner.inline(declared)


def _read_included(scope: Scope, span: Span, path: str, *, is_modern: bool) -> _Included:
    if path == EMPTY_INCLUDE:
        return _Included()
    where = scope.files.resolve(path)
    got = scope.files.read(where)
    if isinstance(got, Unreadable):
        scope.diagnostics.warning(span, f"included file {where}: {got.reason}", "it adds nothing to the alias")
        return _Included()
    included = read_included(got.source.text, is_modern=is_modern)
    for number, fault in included.bad[:BAD_LINES_SHOWN]:
        length = max(1, len(got.source.lines[number - 1]))
        scope.diagnostics.warning(Span(got.source, number, 1, length), f"line is left out: {fault}")
    if len(included.bad) > BAD_LINES_SHOWN:
        scope.diagnostics.warning(span, f"included file {where}: {len(included.bad)} lines are left out")
    return _Included(included.lines, sum(len(line.encode()) + len(", ") for line in included.lines))
