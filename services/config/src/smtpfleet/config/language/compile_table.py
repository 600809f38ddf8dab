"""Declares tables and resolves their uses: names, inline tables, files, kinds.

Every use names the kind of answer it wants; a table of the other kind is refused where it is used, as OpenSMTPD does
(table_check_use, table_check_type), and so is one whose backend does not have that kind of answer. The entries of tables that hold
passwords are kept out of the snapshot. Called by compiler.py and the other compile_*.
"""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import msgspec

from smtpfleet.config.language.backends import BACKENDS, STATIC, Backend, Parameter
from smtpfleet.config.language.compile_table_file import compile_file_backend, report_unreadable
from smtpfleet.config.language.entry_checks import check_entries
from smtpfleet.config.language.files import Unreadable
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tablefile import DYNAMIC, LIST, MAPPING, KeySpans, parse_table_file
from smtpfleet.config.language.tree import InlineList, InlineMapping, TableName, TableStatement, TableUse, Word
from smtpfleet.config.tables.proc import files_of_command
from smtpfleet.contracts.configuration import Table
from smtpfleet.mail.addrname import addrname_key
from smtpfleet.mail.credentials import password_kinds

_FILE_BACKENDS = ("static", "file")
_NAME_DIGITS = 12
"""Of 16 possible values each; with a thousand tables, one chance in 500 million that two are named alike. Chosen."""


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of answer. kind: of table it needs. name: in messages, as OpenSMTPD's. lookup: service of the backend (reference 9.1).

    is_secret: the values are passwords. is_listed: no key is looked up, its entries are used one after the other. is_queued: envelopes
    name the table, and may do so for days after the configuration has changed.
    """

    name: str
    kind: str
    lookup: str
    is_secret: bool = False
    is_listed: bool = False
    is_queued: bool = False


NETADDR = Service("source", LIST, "netaddr")
DOMAIN = Service("domain", LIST, "domain")
MAILADDR_SENDER = Service("sender", LIST, "mailaddr")
MAILADDR_RECIPIENT = Service("recipient", LIST, "mailaddr")
SOURCE = Service("relay source", LIST, "source", is_listed=True, is_queued=True)
ALIAS = Service("alias", MAPPING, "alias")
VIRTUAL = Service("virtual", MAPPING, "alias")
USERINFO = Service("userbase", MAPPING, "userinfo", is_queued=True)
ADDRNAME = Service("hostnames", MAPPING, "addrname", is_queued=True)
MAILADDRMAP = Service("senders", MAPPING, "mailaddrmap")
CREDENTIALS = Service("auth", MAPPING, "credentials", is_secret=True, is_queued=True)


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
            inline = _inline_table(scope, name.text, statement.value)
            declared: DeclaredTable | None = replace(inline, name_span=name.span)
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
        found = find_table(scope, use.name)
        if found is None:
            return ""
        declared, span = found, use.name.span
    else:
        declared = _nameless_table(scope, use, service)
        span = use.span
    table = declared.table
    if fault := _fault_of_use(table, service):
        shown = table.name if isinstance(use, TableName) else f"<dynamic:{scope.dynamic_table_count}>"
        message = f'invalid use of table "{shown}" as {service.name} parameter'
        scope.diagnostics.error(span, message, fault)
        return ""
    scope.tables[table.name] = declared
    scope.used_tables.add(table.name)
    if _is_first_use(scope, table.name, service):
        check_entries(scope.diagnostics, declared, service.name)
        if service is ADDRNAME:
            scope.tables[table.name] = _with_addrname_keys(declared)
        if service.is_secret:
            scope.secret_tables.add(table.name)
            _hide_lines(declared)
    return table.name


def _nameless_table(scope: Scope, use: InlineList | InlineMapping, service: Service) -> DeclaredTable:
    """A table written where it is used, named by its number in the file or, where queued mail will name it, by what stays the same.

    A number would be another table's after a statement is added above: another relay's password, another user's home. So such a table is
    known by its place, whatever becomes of its entries; of several in one place, by its entries besides, passwords left out. Mail for one
    that is gone waits until it expires.
    """
    scope.dynamic_table_count += 1
    if not service.is_queued:
        return _inline_table(scope, f"<dynamic:{scope.dynamic_table_count}>", use)
    declared = _inline_table(scope, "", use)
    entries = declared.table.entries
    known_by = [use.place]
    if scope.places.get(use.place, 0) > 1:
        known_by += [*entries, *([] if service.is_secret else entries.values())]
    digest = hashlib.sha256("\0".join(known_by).encode()).hexdigest()[:_NAME_DIGITS]
    alike = scope.nameless_tables.setdefault(digest, {})
    number = alike.setdefault(tuple(entries.items()), len(alike) + 1)
    name = f"<dynamic:{digest}>" if number == 1 else f"<dynamic:{digest}.{number}>"
    return replace(declared, table=msgspec.structs.replace(declared.table, name=name))


def _with_addrname_keys(declared: DeclaredTable) -> DeclaredTable:
    """The table with the one spelling of each address that is looked up (mail/addrname.py)."""
    entries = {addrname_key(key) or key: value for key, value in declared.table.entries.items()}
    return replace(declared, table=msgspec.structs.replace(declared.table, entries=entries))


def find_table(scope: Scope, name: Word) -> DeclaredTable | None:
    """The table of that name, which is used from now on; None where there is none (reported) or it is broken."""
    declared = scope.tables.get(name.text)
    if declared is not None:
        scope.used_tables.add(name.text)
    elif name.text not in scope.broken_tables:
        scope.diagnostics.error(name.span, f"no such table: {name.text}", _hint_for_name(scope, name.text))
    return declared


def _is_first_use(scope: Scope, name: str, service: Service) -> bool:
    """Whether this table is used for this for the first time: its entries are looked through once, however many rules name it."""
    use = (name, service.name)
    is_first = use not in scope.table_uses
    scope.table_uses.add(use)
    return is_first


def _hide_lines(declared: DeclaredTable) -> None:
    """No message quotes a line with a password in it."""
    spans = declared.entry_spans
    if isinstance(
        spans, KeySpans
    ):  # all of a file, also the lines that are not entries because something is wrong with them
        spans.source.secret_lines.update(range(1, len(spans.source.lines) + 1))
    else:
        for span in spans.values():
            span.source.secret_lines.add(span.line)


def published_tables(scope: Scope) -> dict[str, Table]:
    """All tables as the snapshot has them: those with passwords without their entries, which roles ask config for, but with the kinds of
    hash that are in them, so that smtp-in offers what can be verified from its first session on."""
    return {
        name: _published(declared) if name in scope.secret_tables else declared.table
        for name, declared in scope.tables.items()
    }


def _published(declared: DeclaredTable) -> Table:
    """Entries of a passwd file's table are its userinfo, which is no secret."""
    table = _with_kinds(declared)
    return table if declared.credentials is not None else msgspec.structs.replace(table, entries={}, is_inline=False)


def _with_kinds(declared: DeclaredTable) -> Table:
    table = declared.table
    read = declared.credentials if declared.credentials is not None else table.entries
    return msgspec.structs.replace(table, password_kinds=password_kinds(read.values()))


def withheld_tables(scope: Scope) -> dict[str, Table]:
    """Those whose entries were read and do not travel, whole; of a passwd file the half that never does."""
    return {
        name: _with_kinds(declared)
        if declared.credentials is None
        else msgspec.structs.replace(declared.table, entries=declared.credentials, is_inline=False)
        for name, declared in scope.tables.items()
        if name in scope.secret_tables and declared.table.is_inline
    }


def warn_of_unused_tables(scope: Scope) -> None:
    """A table that nothing names is probably a rule that names another."""
    for name, declared in scope.tables.items():
        if declared.name_span is not None and name not in scope.used_tables:
            scope.diagnostics.warning(declared.name_span, f"table {name} is never used")


def _fault_of_use(table: Table, service: Service) -> str:
    """Why the table cannot be used for this, "" where it can."""
    if table.kind not in (service.kind, DYNAMIC):
        has = (
            f"the table is a {table.kind}"
            if table.entries or table.kind == LIST
            else "an empty table counts as a mapping"
        )
        return f"{has}, {service.name} needs a {service.kind}"
    backend = next((each for each in BACKENDS.values() if each.name == table.backend), STATIC)
    if service.lookup not in backend.services:
        has = ", ".join(sorted(backend.services))
        return f"the backend {table.backend} has {has}, {service.name} needs {service.lookup}"
    if service.is_listed and service.lookup not in backend.listed:
        return f"the backend {table.backend} is asked by key, {service.name} takes one entry after the other"
    return ""


def _hint_for_name(scope: Scope, name: str) -> str:
    if f"<{name}>" in scope.tables:
        return "the tables that are there by themselves are written `any` and `local`"
    declared = (known for known in chain(scope.tables, scope.broken_tables) if not known.startswith("<"))
    return scope.diagnostics.suggest(name, declared) or "a table is declared before it is used"


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
    """`/path`, `backend:/path`, `getpwnam`; beyond OpenSMTPD, `file:path` beside the configuration."""
    word, colon, parameter = ("file", ":", value.text) if value.text.startswith("/") else value.text.partition(":")
    if word in _FILE_BACKENDS:
        return _file_table(scope, name, value, parameter)
    backend = BACKENDS.get(word)
    if backend is None and colon and parameter.startswith("/") and (helper := _find_helper(scope, word)):
        where = scope.files.resolve(parameter)
        scope.files.watch(where)
        return _command_table(scope, name, value, f"{helper} {scope.files.follow(where)}")
    if colon and not parameter.startswith("/"):
        hint = "it names no file" if not parameter else "a path begins with /"
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", hint)
    elif backend is None:
        hint = (
            scope.diagnostics.suggest(word, BACKENDS) or 'a file is "/path", file:/path or file:path-beside-this-file'
        )
        scope.diagnostics.error(value.span, f'backend "{word}" does not exist', hint)
    elif backend.parameter is Parameter.NONE and colon:
        message = f"invalid configuration file {parameter} for table {name.text}"
        scope.diagnostics.error(value.span, message, f"{word} has no file")
    elif backend.parameter is Parameter.NONE:
        table = Table(name.text, MAPPING, backend.name, "", {})
        return DeclaredTable(table, name.span, name_span=name.span)
    elif not parameter:
        hint = f"{word}:/path" if backend.parameter is Parameter.FILE else f'"{word}:/path/of/the/program arguments"'
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", hint)
    elif backend.parameter is Parameter.COMMAND:
        return _command_table(scope, name, value, parameter)
    else:
        return compile_file_backend(scope, name, value, backend.name)
    return None


def _command_table(scope: Scope, name: Word, value: Word, command: str) -> DeclaredTable | None:
    """Arguments are parted as a shell does, but no shell runs. The helper is told when a file among them changes (tables.server)."""
    try:
        for path in files_of_command(command):
            scope.files.watch(path)
    except ValueError:
        hint = "a quote in the command is never closed"
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", hint)
        return None
    return _dynamic_table(name, BACKENDS["proc"], command)


def _dynamic_table(name: Word, backend: Backend, path: str) -> DeclaredTable:
    table = Table(name.text, DYNAMIC, backend.name, path, {}, is_inline=False)
    return DeclaredTable(table, name.span, name_span=name.span)


def _find_helper(scope: Scope, word: str) -> str:
    """The program of a backend that is none of ours, "" where there is none. It is the system's, so the root does not count."""
    if not word.replace("-", "").replace("_", "").isalnum():
        return ""
    found = (Path(folder) / f"table-{word}" for folder in scope.host.helper_folders)
    return next((str(path) for path in found if scope.files.look(path) is None), "")


@dataclass(frozen=True, slots=True)
class _KeptTable:
    """A table file with nothing wrong in it (language.kept)."""

    text: str = field(repr=False)
    kind: str
    entries: dict[str, str] = field(repr=False)
    clean_for: set[str]


def _file_table(scope: Scope, name: Word, value: Word, path: str) -> DeclaredTable | None:
    if not path:
        scope.diagnostics.error(value.span, f"invalid backend parameter for table: {name.text}", "it names no file")
        return None
    where = scope.files.resolve(path)
    kept = scope.files.kept(where, "file")
    if isinstance(kept, _KeptTable):
        table = Table(name.text, kept.kind, "file", str(where), kept.entries)
        spans = KeySpans(scope.files.source_of(where, kept.text))
        return DeclaredTable(table, name.span, spans, name.span, clean_for=kept.clean_for)
    got = scope.files.read(where)
    if isinstance(got, Unreadable):
        report_unreadable(scope, name, value, f"{where}", got.reason)
        return None
    if got.bad_byte is not None:
        bad = got.bad_byte
        scope.diagnostics.error(Span(got.source, bad.line, bad.column, 1), bad.reason)
        return None
    said_count = scope.diagnostics.count
    found = parse_table_file(got.source, scope.diagnostics)
    table = Table(name.text, found.kind, "file", str(where), found.entries)
    declared = DeclaredTable(table, name.span, found.spans, name.span)
    if scope.diagnostics.count == said_count:  # what there is to say of a file is said at every compilation
        kept = _KeptTable(got.source.text, found.kind, found.entries, declared.clean_for)
        scope.files.keep(where, "file", kept)
    return declared
