"""Tree to the frozen model: one statement after the other, then what concerns the whole.

What a statement may refer to stands earlier in the file, so one pass in order is enough. Gives no configuration where there is an
error. Called by compilation.py. OpenSMTPD: the actions of parse.y and config.c.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from smtpfleet.config.language import compile_global
from smtpfleet.config.language.compile_broken import compile_broken
from smtpfleet.config.language.compile_filter import apply_default_filter, compile_filter
from smtpfleet.config.language.compile_limit import compile_limit, compile_max_deferred, warn_of_limits
from smtpfleet.config.language.compile_listen import compile_listen
from smtpfleet.config.language.compile_pki import check_pkis, compile_pki, warn_of_unused_pkis
from smtpfleet.config.language.compile_rule import compile_rule
from smtpfleet.config.language.compile_table import (
    declare_table,
    published_tables,
    warn_of_unused_tables,
    withheld_tables,
)
from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host import Host
from smtpfleet.config.language.included_targets import inline_includes
from smtpfleet.config.language.modern.compiler import MODERN_COMPILERS, finish_modern
from smtpfleet.config.language.predefined import predefined_tables
from smtpfleet.config.language.rule_openness import warn_of_openness
from smtpfleet.config.language.rule_reach import warn_of_unreached
from smtpfleet.config.language.scope import DeclaredTable, Scope
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    BrokenStatement,
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
    TextStatement,
    Tree,
)
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, MODERN, Configuration, Table

_LOCAL_TAG = "local"
"""The tag of local submissions (reference 2.1)."""

_COMPILERS: dict[type, Callable[[Scope, Any], None]] = {
    TableStatement: declare_table,
    RuleStatement: compile_rule,
    ListenStatement: compile_listen,
    ExpireStatement: compile_global.compile_expire,
    BounceWarnStatement: compile_global.compile_bounce_warn,
    SizeStatement: compile_global.compile_size,
    MaxDeferredStatement: compile_max_deferred,
    LimitStatement: compile_limit,
    QueueStatement: compile_global.compile_queue,
    PkiStatement: compile_pki,
    TextStatement: compile_global.compile_text,
    FilterStatement: compile_filter,
    BrokenStatement: compile_broken,
    **MODERN_COMPILERS,
}


@dataclass(frozen=True, slots=True)
class CompiledTree:
    """configuration: without a version. withheld: tables with passwords, whole, by name; the configuration has them without entries.
    srs_keys: that which signs first."""

    configuration: Configuration
    withheld: dict[str, Table] = field(repr=False)
    srs_keys: tuple[str, ...] = field(repr=False)


def compile_tree(tree: Tree, host: Host, files: ConfigFiles, diagnostics: Diagnostics) -> CompiledTree | None:
    """The configuration, or None where there is an error, of the parser or of ours."""
    scope = Scope(host, files, diagnostics, places=tree.places)
    scope.tables.update({name: DeclaredTable(table) for name, table in predefined_tables(host).items()})
    for statement in tree.statements:
        _COMPILERS[type(statement)](scope, statement)
    pkis = check_pkis(scope)
    if tree.language == MODERN:
        finish_modern(scope)
    else:
        apply_default_filter(scope)
    inline_includes(scope, is_modern=tree.language == MODERN)
    _check_whole(scope, tree)
    if diagnostics.has_errors:
        return None
    configuration = Configuration(
        version="",
        hostname=host.server_name,
        listeners=tuple(scope.listeners),
        tables=published_tables(scope),
        rules=tuple(scope.rules),
        limits=msgspec.structs.replace(DEFAULT_LIMITS, **scope.limits),
        max_message_size_bytes=scope.max_message_size_bytes,
        expire_s=scope.expire_s,
        bounce_warn_s=scope.bounce_warn_s,
        language=tree.language,
        pki=pkis,
        cas=scope.modern.cas,
        filters=scope.filters,
        processors=scope.processors,
        relay_limits=scope.relay_limits,
        subaddress_delimiter=scope.subaddress_delimiter,
        smtp_ciphers=scope.smtp_ciphers,
        queue_compression=scope.has_queue_compression,
        queue_encryption=scope.has_queue_encryption,
        admd=scope.modern.admd,
        srs_ttl_s=scope.modern.srs_ttl_s if scope.modern.srs_key else 0,
    )
    keys = (scope.modern.srs_key, scope.modern.srs_backup_key) if scope.modern.srs_key else ()
    return CompiledTree(configuration, withheld_tables(scope), tuple(filter(None, keys)))


def _check_whole(scope: Scope, tree: Tree) -> None:
    """What no single statement can know."""
    diagnostics = scope.diagnostics
    if not scope.host.server_name:
        hint = "set SMTPFLEET_SERVER_NAME or write the name into /etc/mail/mailname"
        diagnostics.error(tree.main, f"no server name: {scope.host.name_fault}", hint)
    # A file whose only rule cannot be read has rules; saying that it has none would mislead.
    if not scope.rules and not diagnostics.has_errors:
        diagnostics.error(tree.main, "no rules, nothing to do", "add an accept rule, or an action and a match")
    if not scope.listeners and not diagnostics.has_errors:
        diagnostics.warning(tree.main, "no listener: nothing is accepted from the network", "add listen on ADDRESS")
    listener_tags = {listener.tag for listener in scope.listeners if listener.tag} | {_LOCAL_TAG}
    for tag, span in scope.rule_tags:
        if tag not in listener_tags and not scope.has_broken_listener:
            diagnostics.warning(
                span, f'no listener has the tag "{tag}"', diagnostics.suggest(tag, sorted(listener_tags))
            )
    warn_of_limits(scope, tree.main)
    warn_of_openness(scope)
    # What is wrong elsewhere may be the use that is missing, or the condition that differs.
    if not diagnostics.has_errors:
        warn_of_unreached(scope)
        warn_of_unused_tables(scope)
        warn_of_unused_pkis(scope)
