"""Puts the targets of `:include:` files into the entries that name them, for tables that rules use as alias or virtual.

The snapshot carries no files and roles read none, so an include is followed here, once per compilation; the watcher sees the files like
any other. A file that is missing, and a line that is no list of targets, is a warning and adds nothing (reference 3.4). Called by
compiler.py when all rules are known. OpenSMTPD: aliases.c aliases_expand_include, at every lookup.
"""

from dataclasses import replace

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


def inline_includes(scope: Scope, *, is_modern: bool) -> None:
    """Replaces the tables of aliases in `scope` by ones without includes, but for EMPTY_INCLUDE."""
    names: dict[str, None] = {}
    for rule in scope.rules:
        if isinstance(rule.action, LocalAction | ExpandAction):
            names |= dict.fromkeys(name for name in (rule.action.alias, rule.action.virtual) if name)
    lines_of: dict[str, tuple[str, ...]] = {}
    for name in names:
        declared = scope.tables[name]
        if declared.table.is_inline:
            scope.tables[name] = _inlined(scope, declared, lines_of, is_modern=is_modern)


def _inlined(
    scope: Scope, declared: DeclaredTable, lines_of: dict[str, tuple[str, ...]], *, is_modern: bool
) -> DeclaredTable:
    entries = declared.table.entries
    if _NO_INCLUDES in declared.clean_for:
        return declared
    changed: dict[str, str] = {}
    candidates = [(key, value) for key, value in entries.items() if "include:" in value.lower()]
    if not candidates:
        declared.clean_for.add(_NO_INCLUDES)
    for key, value in candidates:
        try:
            items = split_items(value)
        except AliasFault:
            continue  # the entry is no list: found, and answered with 451, when mail arrives, as in OpenSMTPD
        span = declared.entry_spans.get(key) or declared.span
        paths = [include_path(item) for item in items]
        if span is None or not any(paths):
            continue
        parts: list[str] = []
        for item, path in zip(items, paths, strict=True):
            if not path:
                parts.append(item)
                continue
            if path not in lines_of:
                lines_of[path] = _read_lines(scope, span, path, is_modern=is_modern)
            parts += lines_of[path]
        changed[key] = ", ".join(parts) or f":include:{EMPTY_INCLUDE}"
    if not changed:
        return declared
    return replace(declared, table=msgspec.structs.replace(declared.table, entries=entries | changed))


def _read_lines(scope: Scope, span: Span, path: str, *, is_modern: bool) -> tuple[str, ...]:
    if path == EMPTY_INCLUDE:
        return ()
    where = scope.files.resolve(path)
    got = scope.files.read(where)
    if isinstance(got, Unreadable):
        scope.diagnostics.warning(span, f"included file {where}: {got.reason}", "it adds nothing to the alias")
        return ()
    included = read_included(got.source.text, is_modern=is_modern)
    for number, fault in included.bad[:BAD_LINES_SHOWN]:
        length = max(1, len(got.source.lines[number - 1]))
        scope.diagnostics.warning(Span(got.source, number, 1, length), f"line is left out: {fault}")
    if len(included.bad) > BAD_LINES_SHOWN:
        scope.diagnostics.warning(span, f"included file {where}: {len(included.bad)} lines are left out")
    return included.lines
