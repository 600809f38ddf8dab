"""`action` to a declared action that matches may name.

The ttl is kept apart: without one the queue's counts, wherever in the file that stands. Called by compiler.py. OpenSMTPD: dispatcher in
parse.y.
"""

from smtpfleet.config.language.compile_delay import compile_delay_s
from smtpfleet.config.language.modern.compile_local import compile_local
from smtpfleet.config.language.modern.compile_relay import compile_relay
from smtpfleet.config.language.modern.scope import DeclaredAction
from smtpfleet.config.language.modern.tree import ActionStatement
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import Word
from smtpfleet.contracts.configuration import Action


def compile_action(scope: Scope, statement: ActionStatement) -> None:
    """Declares the action; a wrong one too, so that what names it is not wrong because of it."""
    name = statement.name
    known = scope.modern.actions.get(name.text)
    if known is not None:
        where = f"it is declared on line {known.span.line} of {known.span.source.name}"
        scope.diagnostics.error(name.span, f"dispatcher already declared with that name: {name.text}", where)
    action: Action | None = None
    if statement.method == "relay":
        action = compile_relay(scope, statement)
    elif statement.method:
        action = compile_local(scope, statement)
    if known is None:
        scope.modern.actions[name.text] = DeclaredAction(name.span, action, _ttl_s(scope, statement))


def _ttl_s(scope: Scope, statement: ActionStatement) -> int:
    """Seconds, 0 where there is no ttl, or none that is right (reported)."""
    found_s = 0
    for index, option in enumerate(statement.ttls):
        if index:
            scope.diagnostics.error(option.span, "ttl already specified for this dispatcher", "it comes once")
        elif isinstance(option.argument, Word):
            message = f'ttl delay "{option.argument.text}" is invalid'
            delay_s = compile_delay_s(scope, option.argument, message)
            found_s = delay_s or 0
    return found_s
