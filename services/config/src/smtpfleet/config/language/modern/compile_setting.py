"""Statements of the modern form that stand for the whole server and have no classic counterpart: ca, mda wrapper, queue ttl, srs, admd.

Keys of SRS go no further than the scope: compiler.py keeps them apart from the model. Called by compiler.py. OpenSMTPD: those statements in parse.y.
"""

import re

from smtpfleet.config.language.compile_action import FORMAT_HINT
from smtpfleet.config.language.compile_delay import compile_delay_s
from smtpfleet.config.language.modern.tree import (
    AdmdStatement,
    CaStatement,
    QueueTtlStatement,
    SrsKeyStatement,
    SrsTtlStatement,
    WrapperStatement,
)
from smtpfleet.config.language.scope import Scope
from smtpfleet.contracts.configuration import Ca
from smtpfleet.mail.formats import format_fault

SRS_TTL_MIN_S = 86400
"""A rewritten sender carries its age in days (parse.y: srs ttl)."""
_MDA_TOKEN = "%{mda}"  # noqa: S105 a format token


def compile_ca(scope: Scope, statement: CaStatement) -> None:
    """A bundle by name. The file is named, not opened: it lies where TLS is spoken."""
    name = statement.name.text.lower()
    if not statement.certificate.text:
        scope.diagnostics.error(statement.certificate.span, "invalid cert path: it names no file")
    elif name in scope.modern.cas:
        scope.diagnostics.warning(statement.name.span, f"ca {name} is declared twice", "the last one counts")
    scope.modern.cas[name] = Ca(name, str(scope.files.resolve(statement.certificate.text)))


def compile_wrapper(scope: Scope, statement: WrapperStatement) -> None:
    """A command around those of mda."""
    name, command = statement.name, statement.command
    if name.text in scope.modern.wrappers:
        scope.diagnostics.error(name.span, f"mda wrapper already declared with that name: {name.text}")
        return
    if fault := format_fault(re.sub(re.escape(_MDA_TOKEN), "", command.text, flags=re.IGNORECASE), is_modern=True):
        scope.diagnostics.error(command.span, f"invalid mda wrapper: {fault}", FORMAT_HINT)
    elif _MDA_TOKEN not in command.text.lower():
        hint = f"{_MDA_TOKEN} stands for the command of the action"
        scope.diagnostics.warning(command.span, f"the wrapper {name.text} never runs what it wraps", hint)
    scope.modern.wrappers[name.text] = command.text


def compile_queue_ttl(scope: Scope, statement: QueueTtlStatement) -> None:
    """The lifetime of envelopes whose action has none of its own."""
    delay_s = compile_delay_s(scope, statement.delay, f"invalid ttl delay: {statement.delay.text}")
    scope.expire_s = delay_s or scope.expire_s


def compile_srs_key(scope: Scope, statement: SrsKeyStatement) -> None:
    """The key that signs, or the other one that is believed, too; OpenSMTPD lets a second one replace the first."""
    if not statement.key.text:
        scope.diagnostics.error(statement.key.span, "an empty srs key", "anybody could sign with it")
    elif statement.is_backup:
        scope.modern.srs_backup_key = statement.key.text
    else:
        scope.modern.srs_key = statement.key.text


def compile_srs_ttl(scope: Scope, statement: SrsTtlStatement) -> None:
    """How long a rewritten sender is good."""
    delay_s = compile_delay_s(scope, statement.delay, f'ttl delay "{statement.delay.text}" is invalid')
    if delay_s is None:
        return
    if delay_s < SRS_TTL_MIN_S:
        message = f'ttl delay "{statement.delay.text}" is too short'
        scope.diagnostics.error(statement.delay.span, message, "one day at least")
    else:
        scope.modern.srs_ttl_s = delay_s


def compile_admd(scope: Scope, statement: AdmdStatement) -> None:
    """The administrative domain filters put into Authentication-Results."""
    if not statement.name.text or not statement.name.text.isprintable() or " " in statement.name.text:
        hint = "a name without blanks; it stands in headers"
        scope.diagnostics.error(statement.name.span, f"invalid admd: {statement.name.text}", hint)
    scope.modern.admd = statement.name.text
