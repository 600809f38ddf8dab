"""`match` to Rules, with what is implied filled in: from local, for local names, and any for conditions that say who or where else.

Called by compiler.py and, for the condition of a filter, by compile_filter.py. OpenSMTPD: match in parse.y, ruleset.c for the order of
conditions.
"""

from smtpfleet.config.language.compile_table import DOMAIN, MAILADDR_RECIPIENT, MAILADDR_SENDER, NETADDR, Service
from smtpfleet.config.language.modern.scope import DeclaredAction
from smtpfleet.config.language.modern.table_use import (
    AUTH_USER,
    FILTER_AUTH,
    REGEX,
    STRING,
    kind_of,
    use_modern_table,
)
from smtpfleet.config.language.modern.tree import MatchCondition, MatchStatement
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tablefile import MAPPING
from smtpfleet.config.language.tree import InlineList, Word
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    LOCAL_HOST,
    LOCAL_NAMES,
    Action,
    Condition,
    RejectAction,
    Rule,
)

_SUBJECTS = {
    "src": "source",
    "domain": "destination",
    "mail-from": "sender",
    "rcpt-to": "recipient",
    "tag": "tag",
    "helo": "helo",
    "auth": "auth",
    "tls": "tls",
    "rdns": "rdns",
    "socket": "socket",
    "fcrdns": "fcrdns",
}
_SERVICES: dict[str, Service] = {
    "source": NETADDR,
    "destination": DOMAIN,
    "sender": MAILADDR_SENDER,
    "recipient": MAILADDR_RECIPIENT,
    "tag": STRING,
    "helo": DOMAIN,
    "auth": AUTH_USER,
    "rdns": DOMAIN,
}
_FIXED_TABLES = {
    ("from", "any"): ("source", ANY_HOST),
    ("from", "local"): ("source", LOCAL_HOST),
    ("for", "any"): ("destination", ANY_DESTINATION),
    ("for", "local"): ("destination", LOCAL_NAMES),
}
_ORDER = ("tag", "source", "socket", "rdns", "destination", "helo", "auth", "tls", "sender", "recipient")
"""ruleset_match's; conditions are all pure, so this only makes snapshots read alike."""


def compile_match(scope: Scope, statement: MatchStatement) -> None:
    """Adds the rule; what is wrong is reported, and a wrong snapshot is never published."""
    conditions = _conditions(scope, statement)
    action: Action | None = RejectAction()
    expire_s, name = 0, ""
    if statement.action is not None:
        name = statement.action.text
        declared = find_action(scope, statement.action)
        action, expire_s = (declared.action, declared.expire_s) if declared is not None else (None, 0)
    if action is None:
        return
    scope.rule_spans.append(statement.span)
    scope.rules.append(Rule(statement.span.location, conditions, action, expire_s, name))


def find_action(scope: Scope, name: Word) -> DeclaredAction | None:
    """The action of that name, which is used from now on; None where there is none (reported)."""
    declared = scope.modern.actions.get(name.text)
    if declared is None:
        hint = scope.diagnostics.suggest(name.text, scope.modern.actions) or "an action is declared before it is used"
        scope.diagnostics.error(name.span, f"no such dispatcher: {name.text}", hint)
    else:
        declared.is_used = True
    return declared


def _conditions(scope: Scope, statement: MatchStatement) -> tuple[Condition, ...]:
    found: dict[str, Condition] = {}
    taken: set[str] = set()
    for written in statement.conditions:
        if written.subject in taken:
            scope.diagnostics.error(written.span, f"{written.subject} already specified for this rule", "it comes once")
            continue
        # `from auth` takes the place of from and that of auth. OpenSMTPD looks at the first alone: `auth from auth` is accepted.
        implied = written.choice if written.choice in ("auth", "mail-from", "rcpt-to") else written.subject
        if implied in taken:
            scope.diagnostics.warning(
                written.span, f"{implied} is specified twice for this rule", "the last one counts"
            )
        taken.update((written.subject, implied))
        condition = compile_condition(scope, written)
        found[condition.subject] = condition
    if "from" not in taken:
        found["source"] = Condition("source", LOCAL_HOST, negated=False)
    elif not found.keys() & {"source", "socket", "rdns"}:
        found["source"] = Condition("source", ANY_HOST, negated=False)
    if "for" not in taken:
        found["destination"] = Condition("destination", LOCAL_NAMES, negated=False)
    elif "destination" not in found:
        found["destination"] = Condition("destination", ANY_DESTINATION, negated=False)
    return tuple(found[subject] for subject in _ORDER if subject in found)


def compile_filter_condition(scope: Scope, written: MatchCondition) -> Condition:
    """The condition of a filter: as that of a rule, but `auth` takes a table of passwords too."""
    table = written.table if written.subject == "auth" and not written.is_regex else None
    if table is not None and kind_of(scope, table) == MAPPING:
        value = use_modern_table(scope, table, FILTER_AUTH, "filter auth")
        return Condition("auth", value, written.is_negated, "table")
    return compile_condition(scope, written, f"filter {written.subject}")


def compile_condition(scope: Scope, written: MatchCondition, words: str = "") -> Condition:
    """One condition; "" as value where its table is wrong (reported). words: for the condition, in messages about its table."""
    if fixed := _FIXED_TABLES.get((written.subject, written.choice)):
        return Condition(*fixed, negated=written.is_negated)
    subject = _SUBJECTS[written.choice or written.subject]
    if written.table is None:
        return Condition(subject, "", written.is_negated, "any")
    service = REGEX if written.is_regex else _SERVICES[subject]
    value = use_modern_table(scope, written.table, service, words or written.subject)
    if subject == "tag" and not written.is_regex and isinstance(written.table, InlineList):
        scope.rule_tags += [(tag.text, tag.span) for tag in written.table.items]
    return Condition(subject, value, written.is_negated, "regex" if written.is_regex else "table")
