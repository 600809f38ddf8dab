"""The modern form's part of compiling a tree: which statement goes where, and what concerns the whole.

Called by the compiler beside, which owns the pass over the tree and the model. OpenSMTPD: the actions of parse.y, config.c.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from smtpfleet.config.language.modern import compile_setting
from smtpfleet.config.language.modern.compile_action import compile_action
from smtpfleet.config.language.modern.compile_filter import (
    compile_filter_chain,
    compile_filter_phase,
    compile_filter_process,
    compile_processor,
)
from smtpfleet.config.language.modern.compile_listener import compile_listener
from smtpfleet.config.language.modern.compile_match import compile_match
from smtpfleet.config.language.modern.tree import (
    ActionStatement,
    AdmdStatement,
    CaStatement,
    FilterChainStatement,
    FilterPhaseStatement,
    FilterProcessStatement,
    ListenerStatement,
    MatchStatement,
    ProcessorStatement,
    QueueTtlStatement,
    SrsKeyStatement,
    SrsTtlStatement,
    WrapperStatement,
)
from smtpfleet.config.language.scope import Scope

MODERN_COMPILERS: dict[type, Callable[[Scope, Any], None]] = {
    ActionStatement: compile_action,
    MatchStatement: compile_match,
    ListenerStatement: compile_listener,
    ProcessorStatement: compile_processor,
    FilterPhaseStatement: compile_filter_phase,
    FilterProcessStatement: compile_filter_process,
    FilterChainStatement: compile_filter_chain,
    CaStatement: compile_setting.compile_ca,
    WrapperStatement: compile_setting.compile_wrapper,
    QueueTtlStatement: compile_setting.compile_queue_ttl,
    SrsKeyStatement: compile_setting.compile_srs_key,
    SrsTtlStatement: compile_setting.compile_srs_ttl,
    AdmdStatement: compile_setting.compile_admd,
}


def finish_modern(scope: Scope) -> None:
    """What only the whole file tells: the queue's ttl for rules without one, actions that nothing names."""
    scope.rules = [
        rule if rule.expire_s else msgspec.structs.replace(rule, expire_s=scope.expire_s) for rule in scope.rules
    ]
    for name, declared in scope.modern.actions.items():
        if not declared.is_used and not scope.diagnostics.has_errors:
            scope.diagnostics.warning(declared.span, f"action {name} is never used", "a match names it")
