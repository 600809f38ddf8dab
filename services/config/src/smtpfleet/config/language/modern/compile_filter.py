"""`filter` and `proc` to Filters and Processors, and the names of filters where they are used.

Filters are compiled and not run yet; a decision's text is looked at as OpenSMTPD's filter code will. Called by compiler.py,
compile_listener.py and compile_relay.py. OpenSMTPD: filter, proc in parse.y; lka_filter.c.
"""

import re
from collections.abc import Container

from smtpfleet.config.language.modern.compile_match import compile_filter_condition
from smtpfleet.config.language.modern.options import options_by_name, text_of
from smtpfleet.config.language.modern.tree import (
    FilterChainStatement,
    FilterPhaseStatement,
    FilterProcessStatement,
    Names,
    Option,
    ProcessorStatement,
)
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import Word
from smtpfleet.contracts.configuration import Filter, FilterChain, FilterPhase, FilterProcess, Processor

_REPLY = re.compile(r"[45][0-9]{2} ")
"""A reply to a peer begins with its code, else OpenSMTPD answers 421 Internal server error (reference 11.6)."""


def compile_processor(scope: Scope, statement: ProcessorStatement) -> None:
    """`proc`: declares a program."""
    _declare_processor(scope, statement.name, statement.command, statement.options)


def compile_filter_process(scope: Scope, statement: FilterProcessStatement) -> None:
    """`filter NAME proc PROCESSOR`, or `proc-exec` with a program of its own under the filter's name."""
    name = statement.name
    if statement.processor is not None:
        find_processor(scope, statement.processor)
        _declare(scope, name, FilterProcess(statement.processor.text))
    elif statement.command is not None:
        # Processors of filters have names no `proc` can have taken.
        own = Word(f"<{name.text}>", name.span)
        if name.text not in scope.filters:
            _declare_processor(scope, own, statement.command, statement.options)
        _declare(scope, name, FilterProcess(own.text))


def compile_filter_phase(scope: Scope, statement: FilterPhaseStatement) -> None:
    """A built-in filter."""
    condition = compile_filter_condition(scope, statement.condition)
    text = statement.text.text if statement.text else ""
    if statement.text is not None and statement.decision in ("reject", "disconnect") and not _REPLY.match(text):
        hint = "a reply begins with its code, as in 550 go away; without one the peer hears 421"
        scope.diagnostics.warning(statement.text.span, f"{statement.decision} without a reply code: {text}", hint)
    _declare(scope, statement.name, FilterPhase(statement.phase, condition, statement.decision, text))


def compile_filter_chain(scope: Scope, statement: FilterChainStatement) -> None:
    """Filters in order; no chain among them, and none twice."""
    members: dict[str, None] = {}
    for word in statement.members.words:
        if isinstance(scope.filters.get(word.text), FilterChain):
            message = f"no filter chain allowed within a filter chain: {word.text}"
            scope.diagnostics.error(word.span, message, "name its members")
        elif _is_usable(scope, word, members):
            members[word.text] = None
    _declare(scope, statement.name, FilterChain(tuple(members)))


def use_filters(scope: Scope, names: Names) -> tuple[str, ...]:
    """The names of filters for a listener or a relay, those that are there (others are reported)."""
    used: dict[str, None] = {}
    for word in names.words:
        if len(names.words) > 1 and isinstance(scope.filters.get(word.text), FilterChain):
            message = f"no filter chain allowed within a filter chain: {word.text}"
            scope.diagnostics.error(word.span, message, "a list of filters is a chain of its own")
        elif _is_usable(scope, word, used):
            used[word.text] = None
    return tuple(used)


def _is_usable(scope: Scope, word: Word, others: Container[str]) -> bool:
    if word.text in others:
        message = f"no filter allowed twice within a filter chain: {word.text}"
        scope.diagnostics.error(word.span, message, "name it once")
        return False
    return find_filter(scope, word)


def find_filter(scope: Scope, word: Word) -> bool:
    """Whether there is a filter or chain of that name (else reported)."""
    if word.text in scope.filters:
        return True
    hint = scope.diagnostics.suggest(word.text, scope.filters) or "a filter is declared before it is used"
    scope.diagnostics.error(word.span, f"no filter exist with that name: {word.text}", hint)
    return False


def find_processor(scope: Scope, word: Word) -> None:
    """Reports where there is no processor of that name."""
    if word.text not in scope.processors:
        hint = scope.diagnostics.suggest(word.text, scope.processors) or "a processor is declared with proc"
        scope.diagnostics.error(word.span, f"no processor exist with that name: {word.text}", hint)


def _declare(scope: Scope, name: Word, declared: Filter) -> None:
    if name.text in scope.filters:
        scope.diagnostics.error(name.span, f"filter already exists with that name: {name.text}")
        return
    scope.filters[name.text] = declared
    scope.not_applied_yet(name.span, f"filter {name.text}")


def _declare_processor(scope: Scope, name: Word, command: Word, written: tuple[Option, ...]) -> None:
    options = options_by_name(scope, written, {}, " for this processor")
    if name.text in scope.processors:
        scope.diagnostics.error(name.span, f"processor already exists with that name: {name.text}")
        return
    scope.processors[name.text] = Processor(
        command.text, text_of(options, "user"), text_of(options, "group"), text_of(options, "chroot")
    )
