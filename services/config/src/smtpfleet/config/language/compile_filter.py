"""`filter NAME PATH`, `filterchain NAME FILTER …` and `filter NAME` of a listener, to Filters, Processors and names.

The classic form knows programs and chains of them; the one called `default` is for every listener that names none (reference 1.5).
Programs speak the filter protocol of OpenSMTPD 7, not the binary one of 5.4. Called by compiler.py and compile_listen.py.
"""

import msgspec

from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import FilterStatement, Word
from smtpfleet.contracts.configuration import FilterChain, FilterProcess, Processor

DEFAULT_FILTER = "default"
CHAIN_LIMIT = 16
"""OpenSMTPD MAX_FILTER_PER_CHAIN."""
NAME_LIMIT = 31
"""OpenSMTPD MAX_FILTER_NAME without its NUL."""


def compile_filter(scope: Scope, statement: FilterStatement) -> None:
    """Declares a filter or a chain."""
    name = statement.name
    if name.text in scope.filters:
        scope.diagnostics.error(name.span, f'filter "{name.text}" already defined')
        return
    if not name.text or len(name.text) > NAME_LIMIT:
        scope.diagnostics.error(name.span, f"invalid filter name: {name.text}", f"1 to {NAME_LIMIT} characters")
    if statement.keyword == "filterchain":
        scope.filters[name.text] = FilterChain(_members(scope, statement))
    else:
        program = statement.arguments[0]
        if not program.text.startswith("/"):
            hint = "an absolute path, arguments may follow it"
            scope.diagnostics.error(program.span, f"invalid filter program: {program.text}", hint)
        scope.processors[name.text] = Processor(program.text, user="", group="", chroot="")
        scope.filters[name.text] = FilterProcess(name.text)
    scope.not_applied_yet(statement.span, f"{statement.keyword} {name.text}")


def use_filter(scope: Scope, name: Word) -> tuple[str, ...]:
    """The names for a listener; () where there is no such filter (reported)."""
    if name.text in scope.filters:
        return (name.text,)
    hint = scope.diagnostics.suggest(name.text, scope.filters) or "a filter is declared before it is used"
    scope.diagnostics.error(name.span, f"no such filter: {name.text}", hint)
    return ()


def apply_default_filter(scope: Scope) -> None:
    """Gives `default` to listeners without a filter, wherever in the file it stands."""
    if DEFAULT_FILTER in scope.filters:
        scope.listeners = [
            each if each.filters else msgspec.structs.replace(each, filters=(DEFAULT_FILTER,))
            for each in scope.listeners
        ]


def _members(scope: Scope, statement: FilterStatement) -> tuple[str, ...]:
    members: dict[str, None] = {}
    for member in statement.arguments:
        if isinstance(scope.filters.get(member.text), FilterChain):
            scope.diagnostics.error(member.span, f'filterchain "{member.text}" is no filter', "chains do not nest")
        elif member.text in members:
            scope.diagnostics.error(member.span, f'filter "{member.text}" is in the chain twice')
        else:
            members |= dict.fromkeys(use_filter(scope, member))
    if len(statement.arguments) > CHAIN_LIMIT:
        where = statement.arguments[CHAIN_LIMIT].span
        scope.diagnostics.error(
            where, f"too many filters in filterchain {statement.name.text}", f"at most {CHAIN_LIMIT}"
        )
    return tuple(members)
