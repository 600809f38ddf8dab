"""Statements that stand for the whole server to fields of the Scope: expire, bounce-warn, sizes, queue, ciphers, delimiter.

Limits, pki and filters have files of their own. Called by compiler.py. OpenSMTPD: main section of parse.y.
"""

from smtpfleet.config.language.compile_delay import compile_delay_s
from smtpfleet.config.language.compile_tls import check_ciphers
from smtpfleet.config.language.duration import parse_size_bytes
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    ExpireStatement,
    Number,
    QueueStatement,
    SizeStatement,
    TextStatement,
    Word,
)

BOUNCE_WARN_MAX = 4
"""OpenSMTPD MAX_BOUNCE_WARN."""


def compile_expire(scope: Scope, statement: ExpireStatement) -> None:
    """The lifetime of envelopes of the rules that follow."""
    delay_s = compile_delay_s(scope, statement.delay, f"invalid expire delay: {statement.delay.text}")
    if delay_s is None:
        return
    scope.expire_s = delay_s
    if scope.rules:
        hint = "it counts for the rules that follow; put it first to have it count for all"
        scope.diagnostics.warning(statement.span, "expire after the first rule", hint)


def compile_bounce_warn(scope: Scope, statement: BounceWarnStatement) -> None:
    """When senders are told of a delay; none disables it."""
    delays: list[int] = []
    for word in statement.delays:
        delay_s = compile_delay_s(scope, word, f"invalid bounce delay: {word.text}")
        if delay_s is None:
            continue
        if len(delays) < BOUNCE_WARN_MAX:
            delays.append(delay_s)
        else:
            scope.diagnostics.warning(word.span, f"only the first {BOUNCE_WARN_MAX} delays count")
    scope.bounce_warn_s = tuple(delays)


def compile_size(scope: Scope, statement: SizeStatement) -> None:
    """The largest message."""
    match statement.size:
        case Number(value, span):
            size_bytes, text = (value if value >= 0 else None), str(value)
        case Word(text, span):
            size_bytes = parse_size_bytes(text)
    if not size_bytes:  # 0 would refuse every message, which nobody means
        scope.diagnostics.error(span, f"invalid size: {text}", "a number of bytes, or with B, K, M, G, T as in 35M")
        return
    scope.max_message_size_bytes = size_bytes


def compile_queue(scope: Scope, statement: QueueStatement) -> None:
    """How the queue stores mail. A key that stands here is dropped: the snapshot crosses the bus, and this file lies about."""
    if statement.feature == "compression":
        scope.has_queue_compression = True
    else:
        scope.has_queue_encryption = True
    if statement.key is not None:
        statement.key.span.source.secret_lines.add(statement.key.span.line)
        hint = "give one of 64 hex digits to the queue role by SMTPFLEET_QUEUE_KEY_FILE, and take this one out of here"
        scope.diagnostics.warning(statement.key.span, "the key is not taken from the configuration", hint)


def compile_text(scope: Scope, statement: TextStatement) -> None:
    """`ciphers` and `subaddressing-delimiter`."""
    text, span = statement.text.text, statement.text.span
    if statement.keyword == "ciphers":
        check_ciphers(scope.diagnostics, statement.text)
        scope.smtp_ciphers = text
    elif len(text) != 1:
        scope.diagnostics.error(span, "subaddressing-delimiter must be one character")
    elif not text.isascii() or not text.isprintable() or text in " @":
        scope.diagnostics.error(span, "subaddressing-delimiter uses invalid character", "as in '+' or '-'")
    else:
        scope.subaddress_delimiter = text
