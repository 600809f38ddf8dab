"""Tree to the frozen model: one statement after the other, then what concerns the whole.

What a statement may refer to stands earlier in the file, so one pass in order is enough. Gives no configuration where there is an
error. Called by compilation.py. OpenSMTPD: the actions of parse.y and config.c.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from smtpfleet.config.language import compile_global
from smtpfleet.config.language.compile_listen import compile_listen
from smtpfleet.config.language.compile_rule import compile_rule
from smtpfleet.config.language.compile_table import declare_table
from smtpfleet.config.language.diagnostics import Diagnostics, did_you_mean
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host import Host
from smtpfleet.config.language.predefined import predefined_tables
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    ExpireStatement,
    FilterStatement,
    LimitStatement,
    ListenStatement,
    MaxDeferredStatement,
    PkiStatement,
    QueueStatement,
    RuleStatement,
    SizeStatement,
    TableStatement,
    Tree,
)
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Configuration

_LOCAL_TAG = "local"
"""The tag of local submissions (reference 2.1)."""

_COMPILERS: dict[type, Callable[[Scope, Any], None]] = {
    TableStatement: declare_table,
    RuleStatement: compile_rule,
    ListenStatement: compile_listen,
    ExpireStatement: compile_global.compile_expire,
    BounceWarnStatement: compile_global.compile_bounce_warn,
    SizeStatement: compile_global.compile_size,
    MaxDeferredStatement: compile_global.compile_max_deferred,
    LimitStatement: compile_global.compile_limit,
    QueueStatement: compile_global.compile_queue,
    PkiStatement: compile_global.compile_pki,
    FilterStatement: compile_global.compile_filter,
}


def compile_tree(tree: Tree, host: Host, files: ConfigFiles, diagnostics: Diagnostics) -> Configuration | None:
    """The configuration without a version, or None where there is an error, of the parser or of ours."""
    scope = Scope(host, files, diagnostics)
    scope.tables.update({name: DeclaredTable(table) for name, table in predefined_tables(host).items()})
    for statement in tree.statements:
        _COMPILERS[type(statement)](scope, statement)
    _check_whole(scope, tree)
    if diagnostics.has_errors:
        return None
    return Configuration(
        version="",
        hostname=host.server_name,
        listeners=tuple(scope.listeners),
        tables={name: declared.table for name, declared in scope.tables.items()},
        rules=tuple(scope.rules),
        limits=msgspec.structs.replace(DEFAULT_LIMITS, **scope.limits),
        max_message_size_bytes=scope.max_message_size_bytes,
        expire_s=scope.expire_s,
        bounce_warn_s=scope.bounce_warn_s,
    )


def _check_whole(scope: Scope, tree: Tree) -> None:
    """What no single statement can know."""
    diagnostics = scope.diagnostics
    if not scope.host.server_name:
        hint = "set SMTPFLEET_SERVER_NAME or write the name into /etc/mail/mailname"
        diagnostics.error(tree.main, f"no server name: {scope.host.name_fault}", hint)
    # A file whose only rule cannot be read has rules; saying that it has none would mislead.
    if not scope.rules and not diagnostics.has_errors:
        diagnostics.error(tree.main, "no rules, nothing to do", "add an accept rule")
    if not scope.listeners and not diagnostics.has_errors:
        diagnostics.warning(tree.main, "no listener: nothing is accepted from the network", "add listen on ADDRESS")
    listener_tags = {listener.tag for listener in scope.listeners if listener.tag} | {_LOCAL_TAG}
    for tag, span in scope.rule_tags:
        if tag not in listener_tags:
            diagnostics.warning(span, f'no listener has the tag "{tag}"', did_you_mean(tag, listener_tags))
