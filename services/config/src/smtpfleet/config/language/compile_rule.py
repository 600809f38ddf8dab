"""`accept` and `reject` to Rules, with OpenSMTPD's defaults filled in and its combinations refused.

Called by compiler.py; deliver and relay are compiled by compile_action.py. OpenSMTPD: the rule section of parse.y and ruleset.c for
the order of conditions.
"""

from smtpfleet.config.language.compile_action import compile_deliver, compile_relay
from smtpfleet.config.language.compile_delay import compile_delay_s
from smtpfleet.config.language.compile_listen import TAG_LIMIT
from smtpfleet.config.language.compile_table import (
    ALIAS,
    DOMAIN,
    MAILADDR_RECIPIENT,
    MAILADDR_SENDER,
    NETADDR,
    USERINFO,
    VIRTUAL,
    Service,
    use_table,
)
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import Decision, Deliver, Relay, RuleStatement, Word
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    GETPWNAM,
    LOCAL_HOST,
    LOCAL_NAMES,
    Action,
    Condition,
    ExpandAction,
    LocalAction,
    RejectAction,
    Rule,
)

_SUBJECTS = {"tagged": "tag", "from": "source", "for": "destination", "authenticated": "auth"}
_KINDS = {"tagged": "literal", "authenticated": "any"}
"""Kinds of the conditions that are no table."""
_SERVICES: dict[str, Service] = {
    "from": NETADDR,
    "for": DOMAIN,
    "sender": MAILADDR_SENDER,
    "recipient": MAILADDR_RECIPIENT,
}
_FIXED_TABLES = {
    ("from", "any"): ANY_HOST,
    ("from", "local"): LOCAL_HOST,
    ("for", "any"): ANY_DESTINATION,
    ("for", "local"): LOCAL_NAMES,
}
_ORDER = ("tag", "source", "auth", "sender", "recipient", "destination")
"""ruleset_match's; conditions are all pure, so this only makes snapshots read alike."""
_LOOKUP_SERVICES = {"alias": ALIAS, "virtual": VIRTUAL, "userbase": USERINFO}


def compile_rule(scope: Scope, statement: RuleStatement) -> None:
    """Adds the rule; what is wrong is reported, and a wrong snapshot is never published."""
    conditions = _conditions(scope, statement)
    lookups = _lookups(scope, statement)
    expire_s, forward_only = _parameters(scope, statement)
    action = _action(scope, statement, lookups, is_forward_only=forward_only)
    scope.rule_spans.append(statement.span)
    scope.rules.append(Rule(statement.span.location, conditions, action, expire_s))


def _conditions(scope: Scope, statement: RuleStatement) -> tuple[Condition, ...]:
    found: dict[str, Condition] = {
        "source": Condition("source", LOCAL_HOST, negated=False),
        "destination": Condition("destination", LOCAL_NAMES, negated=False),
    }
    seen: set[str] = set()
    for decision in statement.decisions:
        if decision.subject in seen:
            if decision.subject == "tagged":  # OpenSMTPD lets the last one win, silently
                scope.diagnostics.warning(decision.span, "tagged specified multiple times", "the last one counts")
            else:
                scope.diagnostics.error(decision.span, f"{decision.subject} specified multiple times")
        seen.add(decision.subject)
        subject = _SUBJECTS.get(decision.subject, decision.subject)
        kind = _KINDS.get(decision.subject, "table")
        found[subject] = Condition(subject, _condition_value(scope, decision), decision.is_negated, kind)
    return tuple(found[subject] for subject in _ORDER if subject in found)


def _condition_value(scope: Scope, decision: Decision) -> str:
    """The tag, or the name of the table; "" where the condition needs none."""
    match decision.argument:
        case None if decision.subject == "authenticated":
            return ""
        case None:
            return _FIXED_TABLES[decision.subject, decision.choice]
        case Word(text, span):
            if len(text) > TAG_LIMIT:
                scope.diagnostics.error(span, f"tag name too long: {text}", f"at most {TAG_LIMIT} characters")
            scope.rule_tags.append((text, span))
            return text
        case table:
            return use_table(scope, table, _SERVICES[decision.subject])


def _lookups(scope: Scope, statement: RuleStatement) -> dict[str, str]:
    """Tables by kind of lookup. alias and virtual exclude each other."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for lookup in statement.lookups:
        slot = "alias" if lookup.kind == "virtual" else lookup.kind
        if slot in taken:
            scope.diagnostics.error(
                lookup.span, f"{lookup.kind} specified multiple times", "at most one of alias and virtual"
            )
        taken.add(slot)
        found[lookup.kind] = use_table(scope, lookup.table, _LOOKUP_SERVICES[lookup.kind])
        if isinstance(statement.action, Relay):
            what = "userbase" if slot == "userbase" else "aliases/virtual"
            scope.diagnostics.error(lookup.span, f"{what} may not be used with a relay rule")
    return found


def _parameters(scope: Scope, statement: RuleStatement) -> tuple[int, bool]:
    """The rule's expire, and whether it is forward-only."""
    expire_s, seen = scope.expire_s, set[str]()
    for parameter in statement.parameters:
        if parameter.name in seen:
            scope.diagnostics.error(parameter.span, f"{parameter.name} specified multiple times")
        seen.add(parameter.name)
        if parameter.argument is not None:
            delay = parameter.argument
            delay_s = compile_delay_s(scope, delay, f"invalid expire delay: {delay.text}")
            expire_s = delay_s or expire_s
        elif statement.action is not None:
            scope.diagnostics.error(parameter.span, "forward-only may not be used with a default action")
    return expire_s, "forward-only" in seen


def _action(scope: Scope, statement: RuleStatement, lookups: dict[str, str], *, is_forward_only: bool) -> Action:
    if not statement.is_accept:
        return RejectAction()
    alias, virtual = lookups.get("alias", ""), lookups.get("virtual", "")
    userbase = lookups.get("userbase", GETPWNAM)
    if isinstance(statement.action, Relay):
        return compile_relay(scope, statement.action)
    if isinstance(statement.action, Deliver):
        method, target = compile_deliver(scope, statement.action)
        is_rcpt_to = statement.action.is_rcpt_to
        action: Action = LocalAction(method, target, alias, virtual, userbase, is_rcpt_to=is_rcpt_to)
    else:
        action = ExpandAction(alias, virtual, userbase, is_forward_only)
    needs_users = isinstance(action, LocalAction) or is_forward_only
    # A virtual table may lead to addresses alone, and an alias table of a rule without action always does.
    if userbase == GETPWNAM and needs_users and not virtual:
        message = "no userbase: users are those of the system smtp-in and mda run on, in containers nobody"
        scope.diagnostics.warning(statement.span, message, "name a table of users: userbase <users>")
    return action
