"""Tables with a file of their own form: db and passwd are read whole, the settings of the database backends are looked at.

Turns what config.tables says of a file into diagnostics; knows none of the forms. Every file read here is watched like the configuration
itself. Called by compile_table.py.
"""

from dataclasses import dataclass, field
from pathlib import Path

from smtpfleet.config.language.files import ReadFile, Unreadable
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tablefile import DYNAMIC, MAPPING
from smtpfleet.config.language.tree import Word
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.db import parse_db
from smtpfleet.config.tables.opening import check_settings_text
from smtpfleet.config.tables.passwd import parse_passwd
from smtpfleet.contracts.configuration import Table


def compile_file_backend(scope: Scope, name: Word, value: Word, backend: str) -> DeclaredTable | None:
    """`table NAME backend:/path` of a backend whose path is a file. None where it is wrong (reported)."""
    where = scope.files.resolve(value.text.partition(":")[2])
    kept = scope.files.kept(where, backend) if backend in ("db", "passwd") else None
    if isinstance(kept, _KeptTable):
        table = Table(name.text, kept.kind, backend, str(where), kept.entries)
        return DeclaredTable(
            table, name.span, name_span=name.span, credentials=kept.credentials, clean_for=kept.clean_for
        )
    if backend == "db":
        data = scope.files.read_bytes(where)
        entries = BadTableFile(data.reason) if isinstance(data, Unreadable) else parse_db(data)
        if isinstance(entries, BadTableFile):
            report_unreadable(scope, name, value, f"{where}", entries.reason)
            return None
        table = Table(name.text, DYNAMIC, backend, str(where), entries)
        return _keep(scope, where, DeclaredTable(table, name.span, name_span=name.span))
    got = scope.files.read(where)
    if isinstance(got, Unreadable):
        report_unreadable(scope, name, value, f"{where}", got.reason)
        return None
    # Any line may hold a password; messages name the place and do not show it.
    got.source.secret_lines.update(range(1, len(got.source.lines) + 1))
    if got.bad_byte is not None:
        scope.diagnostics.error(Span(got.source, got.bad_byte.line, got.bad_byte.column, 1), got.bad_byte.reason)
        return None
    if backend == "passwd":
        return _passwd_table(scope, name, where, got)
    found = check_settings_text(backend, got.source.text)
    if isinstance(found, BadTableFile):
        _report_bad_file(scope, got, found)
        return None
    for line, text in found.warnings:
        scope.diagnostics.warning(Span(got.source, line, 1, 1), text)
    table = Table(name.text, DYNAMIC, backend, str(where), {}, is_inline=False)
    return DeclaredTable(table, name.span, name_span=name.span)


@dataclass(frozen=True, slots=True)
class _KeptTable:
    """A file that was read whole and is good (language.kept)."""

    kind: str
    entries: dict[str, str] = field(repr=False)
    credentials: dict[str, str] | None = field(repr=False)
    clean_for: set[str]


def _keep(scope: Scope, where: Path, declared: DeclaredTable) -> DeclaredTable:
    table = declared.table
    kept = _KeptTable(table.kind, table.entries, declared.credentials, declared.clean_for)
    scope.files.keep(where, table.backend, kept)
    return declared


def _passwd_table(scope: Scope, name: Word, where: Path, got: ReadFile) -> DeclaredTable | None:
    users = parse_passwd(got.source.text)
    if isinstance(users, BadTableFile):
        _report_bad_file(scope, got, users)
        return None
    table = Table(name.text, MAPPING, "passwd", str(where), users.userinfo)
    return _keep(scope, where, DeclaredTable(table, name.span, name_span=name.span, credentials=users.credentials))


def _report_bad_file(scope: Scope, got: ReadFile, fault: BadTableFile) -> None:
    scope.diagnostics.error(Span(got.source, fault.line or 1, 1, 1), fault.reason)


def report_unreadable(scope: Scope, name: Word, value: Word, where: str, reason: str) -> None:
    """A file that cannot be read, or is not what the backend wants, reported where the table names it."""
    scope.diagnostics.error(value.span, f"invalid configuration file {where} for table {name.text}: {reason}")
