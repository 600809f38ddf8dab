"""Statements that stand for the whole server to fields of the Scope: expire, bounce-warn, sizes, limits, queue, pki, filters.

What can be ignored without harm is accepted with a warning; what an operator would rely on (encryption, filters) is refused. Called
by compiler.py. OpenSMTPD: main section of parse.y, limit.c.
"""

from smtpfleet.config.language.diagnostics import did_you_mean
from smtpfleet.config.language.duration import parse_delay_s, parse_size_bytes
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    ExpireStatement,
    FilterStatement,
    LimitSetting,
    LimitStatement,
    MaxDeferredStatement,
    Number,
    PkiStatement,
    QueueStatement,
    SizeStatement,
    Word,
)

BOUNCE_WARN_MAX = 4
"""OpenSMTPD MAX_BOUNCE_WARN."""
_DELAY_HINT = "digits and one of s, m, h, d, as in 4d"

# Limits by key: the field of contracts.Limits, or "" for what is not applied yet. Reference 7.2 and 1.5.
_MTA_LIMITS = {
    "max-conn-per-host": "max_conn_per_host",
    "max-conn-per-route": "",
    "max-conn-per-source": "",
    "max-conn-per-connector": "",
    "max-conn-per-relay": "max_conn_per_relay",
    "max-conn-per-domain": "",
    "conn-delay-host": "",
    "conn-delay-route": "",
    "conn-delay-source": "",
    "conn-delay-connector": "",
    "conn-delay-relay": "",
    "conn-delay-domain": "",
    "reconn-delay-route": "",
    "session-mail-max": "session_mail_max",
    "session-transaction-delay": "",
    "session-keepalive": "session_keepalive_s",
    "task-hiwat": "",
    "task-lowat": "",
    "task-release": "",
}
_MDA_LIMITS = {
    "max-session": "max_mda_sessions",
    "max-session-per-user": "max_mda_per_user",
    "task-hiwat": "",
    "task-lowat": "",
    "task-release": "",
}
_SCHEDULER_LIMITS = {"max-inflight": "", "max-evp-batch-size": "", "max-msg-batch-size": "", "max-schedule": ""}
_SESSION_LIMITS = {"max-rcpt": "max_rcpt", "max-mails": "max_mails"}
_LIMITS = {"mta": _MTA_LIMITS, "mda": _MDA_LIMITS, "scheduler": _SCHEDULER_LIMITS, "session": _SESSION_LIMITS}


def compile_expire(scope: Scope, statement: ExpireStatement) -> None:
    """The lifetime of envelopes of the rules that follow."""
    delay_s = parse_delay_s(statement.delay.text)
    if delay_s is None:
        scope.diagnostics.error(statement.delay.span, f"invalid expire delay: {statement.delay.text}", _DELAY_HINT)
        return
    scope.expire_s = delay_s
    if scope.rules:
        hint = "it counts for the rules that follow; put it first to have it count for all"
        scope.diagnostics.warning(statement.span, "expire after the first rule", hint)


def compile_bounce_warn(scope: Scope, statement: BounceWarnStatement) -> None:
    """When senders are told of a delay; none disables it."""
    delays: list[int] = []
    for word in statement.delays:
        delay_s = parse_delay_s(word.text)
        if delay_s is None:
            scope.diagnostics.error(word.span, f"invalid bounce delay: {word.text}", _DELAY_HINT)
        elif len(delays) < BOUNCE_WARN_MAX:
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


def compile_max_deferred(scope: Scope, statement: MaxDeferredStatement) -> None:
    """Envelopes remembered per host for an immediate retry."""
    scope.not_applied_yet(statement.span, "max-mta-deferred")


def compile_limit(scope: Scope, statement: LimitStatement) -> None:
    """Known keys are stored; known but unused ones are warned of; unknown ones are errors."""
    known = _LIMITS[statement.agent]
    for setting in statement.settings:
        key = setting.key
        if setting.value is None:
            scope.not_applied_yet(key.span, f"limit mta {key.text}")
        elif key.text not in known:
            kind = "scheduler" if statement.agent == "mda" else statement.agent  # as OpenSMTPD says it
            scope.diagnostics.error(
                key.span, f"invalid {kind} limit keyword: {key.text}", did_you_mean(key.text, known)
            )
        elif not known[key.text]:
            scope.not_applied_yet(key.span, f"limit {statement.agent} {key.text}")
        elif statement.domain is not None:
            scope.not_applied_yet(key.span, f"limit mta for domain {statement.domain.text}")
        else:
            _store_limit(scope, setting, known[key.text])


def _store_limit(scope: Scope, setting: LimitSetting, field: str) -> None:
    assert setting.value is not None
    value = setting.value.value
    if value < 0:
        scope.diagnostics.error(setting.value.span, f"invalid limit: {value}", "a limit is not negative")
    elif value == 0 and field != "session_keepalive_s":
        scope.diagnostics.warning(setting.value.span, f"{setting.key.text} 0 stops all mail")
    scope.limits[field] = value


def compile_queue(scope: Scope, statement: QueueStatement) -> None:
    """Refused rather than ignored: who asks for encryption must not believe to have it."""
    scope.not_supported_yet(statement.span, f'"queue {statement.feature}"')


def compile_pki(scope: Scope, statement: PkiStatement) -> None:
    """Declares the name; the files are read where TLS is spoken."""
    for option in ("certificate", "key"):
        if option not in statement.files:
            scope.diagnostics.error(statement.name.span, f"missing {option} file for pki {statement.name.text}")
    scope.pkis.add(statement.name.text.lower())
    scope.not_applied_yet(statement.span, "pki")


def compile_filter(scope: Scope, statement: FilterStatement) -> None:
    """Refused rather than ignored: an operator relies on a filter."""
    scope.not_supported_yet(statement.span, f'"{statement.keyword}"')
