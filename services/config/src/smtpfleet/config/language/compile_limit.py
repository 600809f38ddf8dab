"""`limit mta|mda|scheduler|session` and `max-mta-deferred` to the limits of the snapshot.

`limit mta` fills RelayLimits: `for domain D` copies the defaults as they are at that moment and edits the copy. Keys and their checks
only; who keeps a limit is the business of its role. Called by compiler.py. OpenSMTPD: parse.y, limit.c (reference 7.2 and 1.5).
"""

import msgspec

from smtpfleet.config.language.duration import INT_MAX
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tree import LimitSetting, LimitStatement, MaxDeferredStatement, Number

RELAY_LIMITS = {
    "max-conn-per-host": "max_conn_per_host",
    "max-conn-per-route": "max_conn_per_route",
    "max-conn-per-source": "max_conn_per_source",
    "max-conn-per-connector": "max_conn_per_connector",
    "max-conn-per-relay": "max_conn_per_relay",
    "max-conn-per-domain": "max_conn_per_domain",
    "conn-delay-host": "conn_delay_host_s",
    "conn-delay-route": "conn_delay_route_s",
    "conn-delay-source": "conn_delay_source_s",
    "conn-delay-connector": "conn_delay_connector_s",
    "conn-delay-relay": "conn_delay_relay_s",
    "conn-delay-domain": "conn_delay_domain_s",
    "reconn-delay-route": "reconn_delay_route_s",
    "session-mail-max": "session_mail_max",
    "session-transaction-delay": "session_transaction_delay_s",
    "session-keepalive": "session_keepalive_s",
    "task-hiwat": "task_hiwat",
    "task-lowat": "task_lowat",
    "task-release": "task_release",
    "max-failures-per-session": "max_failures_per_session",
}
"""Fields of contracts.RelayLimits by key."""
_LIMITS = {
    "mda": {
        "max-session": "max_mda_sessions",
        "max-session-per-user": "max_mda_per_user",
        "task-hiwat": "mda_task_hiwat",
        "task-lowat": "mda_task_lowat",
        "task-release": "mda_task_release",
    },
    "scheduler": {
        "max-inflight": "max_inflight",
        "max-evp-batch-size": "max_evp_batch",
        "max-msg-batch-size": "max_msg_batch",
        "max-schedule": "max_schedule",
    },
    "session": {
        "max-rcpt": "max_rcpt",
        "max-mails": "max_mails",
        "max-failed-commands": "max_failed_commands",
        "max-idle-commands": "max_idle_commands",
        "max-rejected-rcpts": "max_rejected_rcpts",
        "timeout": "session_timeout_s",
        "min-content-rate": "min_content_bytes_per_s",
        "max-conn-per-address": "max_conn_per_address",
        "max-conn-per-network": "max_conn_per_network",
        "max-conn-rate-per-address": "max_conn_rate_per_address",
        "max-conn-rate-per-network": "max_conn_rate_per_network",
        "max-rcpt-rate-per-address": "max_rcpt_rate_per_address",
        "max-rcpt-rate-per-network": "max_rcpt_rate_per_network",
        "max-failures-per-address": "max_failures_per_address",
        "max-failures-per-network": "max_failures_per_network",
        "max-auth-failures-per-address": "max_auth_failures_per_address",
        "max-auth-failures-per-user": "max_auth_failures_per_user",
        "ban-time": "ban_s",
        "greet-pause": "greet_pause_s",
    },
}
"""Fields of contracts.Limits by agent and key."""
_SHARED = ("max_conn_per_relay", "max_conn_per_host", "session_mail_max", "session_keepalive_s")
"""Defaults of relays that contracts.Limits has as well, for roles of an earlier release."""
_NOT_APPLIED_YET = frozenset(
    {
        *_LIMITS["scheduler"].values(),
        "task_hiwat",
        "task_lowat",
        "task_release",
        "mda_task_hiwat",
        "mda_task_lowat",
        "mda_task_release",
    }
)
"""Fields that no role reads, because leases replace the queues they describe: in the snapshot, with a warning."""
_STOPS_ALL = frozenset(
    {
        "session_mail_max",
        "max_mda_sessions",
        "max_mda_per_user",
        "max_rcpt",
        "max_mails",
    }
    | {field for field in RELAY_LIMITS.values() if field.startswith("max_conn")}
)
"""Fields of which 0 means that nothing is ever taken or sent."""


def compile_limit(scope: Scope, statement: LimitStatement) -> None:
    """The settings of one statement; unknown keys are errors."""
    known = RELAY_LIMITS if statement.agent == "mta" else _LIMITS[statement.agent]
    domain = statement.domain.text.lower() if statement.domain else ""
    if statement.agent == "mta":
        _begin_domain(scope, domain)
    for setting in statement.settings:
        field = known.get(setting.key.text)
        if setting.value is None:
            scope.relay_limits[domain] = msgspec.structs.replace(scope.relay_limits[domain], family=setting.key.text)
        elif field is None:
            kind = "scheduler" if statement.agent == "mda" else statement.agent  # as OpenSMTPD says it
            hint = scope.diagnostics.suggest(setting.key.text, known)
            scope.diagnostics.error(setting.key.span, f"invalid {kind} limit keyword: {setting.key.text}", hint)
        elif _is_usable(scope, setting, field):
            _store(scope, statement, setting.value.value, field, domain)
            if field in _NOT_APPLIED_YET:
                scope.not_applied_yet(setting.key.span, f"limit {statement.agent} {setting.key.text}")


def compile_max_deferred(scope: Scope, statement: MaxDeferredStatement) -> None:
    """Envelopes remembered per host for an immediate retry."""
    if _is_in_range(scope, statement.count):
        scope.limits["mta_max_deferred"] = statement.count.value
        scope.not_applied_yet(statement.span, "max-mta-deferred")


def warn_of_limits(scope: Scope, at: Span) -> None:
    """What is odd about all limits together: held tasks are released when they are fewer than when they are held."""
    for domain, limits in scope.relay_limits.items():
        if limits.task_lowat > limits.task_hiwat:
            name = f"limit mta for domain {domain}" if domain else "limit mta"
            scope.diagnostics.warning(
                at, f"{name}: task-lowat {limits.task_lowat} is above task-hiwat {limits.task_hiwat}"
            )


def _begin_domain(scope: Scope, domain: str) -> None:
    """A domain starts with the defaults that stand above its first statement."""
    scope.relay_limits.setdefault(domain, scope.relay_limits[""])


def _is_usable(scope: Scope, setting: LimitSetting, field: str) -> bool:
    assert setting.value is not None
    if not _is_in_range(scope, setting.value):
        return False
    if setting.value.value == 0 and field in _STOPS_ALL:
        scope.diagnostics.warning(setting.value.span, f"{setting.key.text} 0 stops all mail")
    return True


def _is_in_range(scope: Scope, number: Number) -> bool:
    if 0 <= number.value <= INT_MAX:
        return True
    hint = "a limit is not negative" if number.value < 0 else f"at most {INT_MAX}"
    scope.diagnostics.error(number.span, f"invalid limit: {number.value}", hint)
    return False


def _store(scope: Scope, statement: LimitStatement, value: int, field: str, domain: str) -> None:
    if statement.agent != "mta":
        scope.limits[field] = value
        return
    scope.relay_limits[domain] = msgspec.structs.replace(scope.relay_limits[domain], **{field: value})
    if not domain and field in _SHARED:
        scope.limits[field] = value
