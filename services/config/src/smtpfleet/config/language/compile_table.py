"""Declares tables and resolves their uses: names, inline tables, files, kinds.

Every use names the kind of answer it wants; a table of the other kind is refused where it is used, as OpenSMTPD does
(table_check_use, table_check_type). Dynamic backends are another issue's. Called by compiler.py and the other compile_*.
"""

from dataclasses import dataclass

from smtpfleet.config.language.diagnostics import did_you_mean
from smtpfleet.config.language.entry_checks import check_entries
from smtpfleet.config.language.files import Unreadable
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tablefile import LIST, MAPPING, parse_table_file
from smtpfleet.config.language.tree import InlineList, InlineMapping, TableName, TableStatement, TableUse, Word
from smtpfleet.contracts.configuration import Table

_FILE_BACKENDS = ("static", "file")
_LATER_BACKENDS = ("db", "proc", "passwd", "sqlite", "mysql", "postgres", "ldap", "redis")


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of answer. kind: of table it needs. name: in messages, as OpenSMTPD's."""

    name: str
    kind: str


NETADDR = Service("source", LIST)
DOMAIN = Service("domain", LIST)
MAILADDR_SENDER = Service("sender", LIST)
MAILADDR_RECIPIENT = Service("recipient", LIST)
SOURCE = Service("relay source", LIST)
ALIAS = Service("alias", MAPPING)
VIRTUAL = Service("virtual", MAPPING)
USERINFO = Service("userbase", MAPPING)


def declare_table(scope: Scope, statement: TableStatement) -> None:
    """A `table` statement. A wrong one is remembered as broken, so that its uses are not wrong too."""
    name = statement.name
    known = scope.tables.get(name.text)
    if known is not None or name.text in scope.broken_tables:
        where = f"it is declared on line {known.span.line} of {known.span.source.name}" if known and known.span else ""
        scope.diagnostics.error(name.span, f'table "{name.text}" already defined', where)
        return
    match statement.value:
        case InlineList() | InlineMapping():
            declared: DeclaredTable | None = _inline_table(scope, name.text, statement.value)
        case Word():
            declared = _backend_table(scope, name, statement.value)
        case None:
            declared = None
    if declared is None:
        scope.broken_tables.add(name.text)
    else:
        scope.tables[name.text] = declared


def use_table(scope: Scope, use: TableUse, service: Service) -> str:
    """The name under which the table of this use is in the snapshot; "" where it is wrong (reported)."""
    if isinstance(use, TableName):
        name = use.name
        declared = scope.tables.get(name.text)
        if declared is None:
            if name.text not in scope.broken_tables:
                scope.diagnostics.error(name.span, f"no such table: {name.text}", _hint_for_name(scope, name.text))
            return ""
        span = name.span
    else:
        # Numbered in order of the file: the same file gives the same snapshot.
        scope.dynamic_table_count += 1
        declared = _inline_table(scope, f"<dynamic:{scope.dynamic_table_count}>", use)
        span = use.span
    table = declared.table
    if table.kind != service.kind:
        has = f"the table is a {table.kind}" if table.entries else "an empty table counts as a mapping"
        message = f'invalid use of table "{table.name}" as {service.name} parameter'
        scope.diagnostics.error(span, message, f"{has}, {service.name} needs a {service.kind}")
        return ""
    check_entries(scope.diagnostics, declared, service.name)
    scope.tables[table.name] = declared
    return table.name


def _hint_for_name(scope: Scope, name: str) -> str:
    if f"<{name}>" in scope.tables:
        return "the tables that are there by themselves are written `any` and `local`"
    declared = [known for known in (*scope.tables, *scope.broken_tables) if not known.startswith("<")]
    return did_you_mean(name, declared) or "a table is declared before it is used"


def _inline_table(scope: Scope, name: str, value: InlineList | InlineMapping) -> DeclaredTable:
    pairs = (
        [(item, "") for item in value.items] if isinstance(value, InlineList) else [(k, v.text) for k, v in value.pairs]
    )
    entries: dict[str, str] = {}
    spans: dict[str, Span] = {}
    for key, text in pairs:
        lower = key.text.lower()
        if lower in entries:
            scope.diagnostics.warning(key.span, f'"{lower}" is in the table twice', "the last one counts")
        entries[lower] = text
        spans[lower] = key.span
    kind = LIST if isinstance(value, InlineList) else MAPPING
    return DeclaredTable(Table(name, kind, "static", "", entries), value.span, spans)


def _backend_table(scope: Scope, name: Word, value: Word) -> DeclaredTable | None:
    """`/path`, `file:/path` and, beyond OpenSMTPD, `file:path` beside the configuration; `getpwnam`."""
    backend, colon, path = ("file", ":", value.text) if value.text.startswith("/") else value.text.partition(":")
    if backend in _FILE_BACKENDS:
        return _file_table(scope, name, value, path)
    if colon and not path.startswith("/"):
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", "a path begins with /")
    elif backend == "getpwnam":
        return DeclaredTable(Table(name.text, MAPPING, "getpwnam", "", {}), name.span)
    elif backend in _LATER_BACKENDS:
        scope.not_supported_yet(value.span, f'table backend "{backend}"', "static tables and files are")
    else:
        hint = did_you_mean(backend, _FILE_BACKENDS) or 'a file is "/path", file:/path or file:path-beside-this-file'
        scope.diagnostics.error(value.span, f'backend "{backend}" does not exist', hint)
    return None


def _file_table(scope: Scope, name: Word, value: Word, path: str) -> DeclaredTable | None:
    if not path:
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", "it names no file")
        return None
    where = scope.files.resolve(path)
    got = scope.files.read(where)
    if isinstance(got, Unreadable):
        message = f"invalid configuration file {where} for table {name.text}: {got.reason}"
        scope.diagnostics.error(value.span, message)
        return None
    if got.bad_byte is not None:
        bad = got.bad_byte
        scope.diagnostics.error(Span(got.source, bad.line, bad.column, 1), bad.reason)
        return None
    found = parse_table_file(got.source, scope.diagnostics)
    table = Table(name.text, found.kind, "file", str(where), found.entries)
    return DeclaredTable(table, name.span, found.spans)
