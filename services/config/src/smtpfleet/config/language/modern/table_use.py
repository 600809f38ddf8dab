"""Tables where the modern form uses them: the same checks as the classic form, with OpenSMTPD's newer words, and its newer services.

Also looks into relay URLs and expressions that are in the configuration itself. Called by compile_* of this package. OpenSMTPD:
table_check_use in parse.y.
"""

from smtpfleet.config.language.compile_table import Service, use_table
from smtpfleet.config.language.modern.relay_url import hint_for_url
from smtpfleet.config.language.relay_url import refuse_url
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.tablefile import DYNAMIC, LIST, MAPPING
from smtpfleet.config.language.tree import InlineList, TableName, TableUse
from smtpfleet.mail.expressions import BadExpression, Expression
from smtpfleet.mail.relay_url import BadRelayUrl, parse_modern_relay

STRING = Service("string", LIST, "string")
REGEX = Service("regex", LIST, "regex")
RELAYHOST = Service("host", LIST, "relayhost", is_listed=True, is_queued=True)
RELAYHOST_BY_DOMAIN = Service("domain of relay", MAPPING, "relayhost")
AUTH_USER = Service("auth user", LIST, "string")
FILTER_AUTH = Service("auth", MAPPING, "credentials", is_secret=True)
"""A filter may name the table of its users' passwords where it means the users (reference 11.6)."""


def use_modern_table(scope: Scope, use: TableUse, service: Service, words: str) -> str:
    """The name under which the table of this use is in the snapshot; "" where it is wrong (reported). words: the use in messages."""
    if fault := _fault_of_kind(scope, use, service):
        name, span = (use.name.text, use.name.span) if isinstance(use, TableName) else ("<dynamic>", use.span)
        scope.used_tables.add(name)
        scope.diagnostics.error(span, f'table "{name}" may not be used for {words} lookups', fault)
        return ""
    use_count = len(scope.table_uses)
    name = use_table(scope, use, service)
    if name and len(scope.table_uses) > use_count:  # the first time for this: entries are looked at once
        _check_values(scope, scope.tables[name], service)
    return name


def _fault_of_kind(scope: Scope, use: TableUse, service: Service) -> str:
    """Why a table of this kind is no answer, "" where it is one or not known."""
    kind = kind_of(scope, use) or service.kind
    if kind in (service.kind, DYNAMIC):
        return ""
    is_file = isinstance(use, TableName) and bool(scope.tables[use.name.text].table.path)
    hint = "; a file whose lines are whole keys begins with # @list" if is_file and service.kind == LIST else ""
    return f"it is a {kind}, a {service.kind} is needed{hint}"


def kind_of(scope: Scope, use: TableUse) -> str:
    """The kind of a table that is used, "" where there is no such table."""
    if isinstance(use, TableName):
        declared = scope.tables.get(use.name.text)
        return declared.table.kind if declared else ""
    return LIST if isinstance(use, InlineList) else MAPPING


def _check_values(scope: Scope, declared: DeclaredTable, service: Service) -> None:
    """Entries that can never answer: URLs are errors, because the mail could only be lost; expressions are warned of."""
    if service not in (RELAYHOST, RELAYHOST_BY_DOMAIN, REGEX):
        return
    for key, value in declared.table.entries.items():
        span = declared.entry_spans.get(key)
        if span is None:
            continue
        if service in (RELAYHOST, RELAYHOST_BY_DOMAIN):
            text = key if service is RELAYHOST else value
            url = parse_modern_relay(text)
            if isinstance(url, BadRelayUrl):
                refuse_url(scope.diagnostics, span, text, hint_for_url(text, url))
        else:
            try:
                Expression(key)
            except BadExpression as error:
                scope.diagnostics.warning(span, f'"{key}" is no use as regex: {error}')
