"""Rules that relay for everybody: open relays, as far as the file tells.

Warnings only. Senders are whatever a peer says, so a condition on them closes nothing; neither does a list of those who may not, a list of
networks that are everything together, nor the tag of a listener that asks nobody who he is. Called by compiler.py when all listeners are
known. OpenSMTPD has no counterpart.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from smtpfleet.config.language.compile_listen import SOCKET
from smtpfleet.config.language.rule_reach import ENTRIES_MAX, UNIVERSAL, entries_of, is_universal, networks_among
from smtpfleet.config.language.scope import Scope
from smtpfleet.contracts.configuration import Condition, ExpandAction, Listener, LocalAction, RelayAction, Rule
from smtpfleet.mail.patterns import RegexPatterns


def warn_of_openness(scope: Scope) -> None:
    """Warns at every rule that relays for everybody, or takes every domain as its own."""
    tags = {listener.tag for listener in scope.listeners if _is_public(listener)}
    conditions = _OpenConditions(scope, frozenset(tags))
    for at, rule in zip(scope.rule_spans, scope.rules, strict=True):
        if not all(map(conditions.is_open, rule.conditions)):
            continue
        if isinstance(rule.action, RelayAction):
            scope.diagnostics.warning(at, "open relay", _hint_for(rule))
        elif isinstance(rule.action, LocalAction | ExpandAction) and all(map(is_universal, rule.conditions)):
            scope.diagnostics.warning(at, "this rule takes mail for every domain there is as local mail")


def _hint_for(rule: Rule) -> str:
    if any(each.subject == "tag" for each in rule.conditions):
        return "a listener with this tag takes mail from anyone; let it demand auth, or say from local or from source <networks>"
    return "anyone may send to anyone through this server; say from local or from source <networks>"


def _is_public(listener: Listener) -> bool:
    """Whether whoever can connect may send: neither AUTH nor a certificate is demanded, and not only this host can connect."""
    if listener.auth == "required" or (listener.verify and listener.tls in ("require", "smtps")):
        return False
    return listener.address != SOCKET and not ipaddress.ip_address(listener.address).is_loopback


@dataclass(slots=True)
class _OpenConditions:
    """Which conditions keep hardly anybody out. Each is looked at once, however many rules name its table.

    tags: of the listeners that anybody may use.
    """

    scope: Scope
    tags: frozenset[str]
    known: dict[Condition, bool] = field(default_factory=dict)

    def is_open(self, condition: Condition) -> bool:
        if condition not in self.known:
            self.known[condition] = self._look(condition)
        return self.known[condition]

    def _look(self, condition: Condition) -> bool:
        if condition.subject == "tag":
            return self._is_tag_of_anybody(condition)
        if condition.subject not in ("source", "destination", "sender"):
            return False
        if condition.subject == "sender" or is_universal(condition):
            return True
        if condition.negated:
            return condition.value != UNIVERSAL[condition.subject]
        entries = entries_of(self.scope, condition) or {}
        return _is_everything(entries) if condition.subject == "source" else "*" in entries

    def _is_tag_of_anybody(self, condition: Condition) -> bool:
        """Whether the condition holds for one of the tags; of many tags and a table some are tried, so that it takes no long time."""
        if condition.kind == "literal":
            is_there = condition.value in self.tags
            return len(self.tags) > is_there if condition.negated else is_there
        entries = entries_of(self.scope, msgspec.structs.replace(condition, kind="table"))
        if entries is None:
            return False
        matches = RegexPatterns(entries).matches if condition.kind == "regex" else entries.__contains__
        tried = sorted(self.tags)[:ENTRIES_MAX]
        return any(matches(tag.lower()) is not condition.negated for tag in tried)


def _is_everything(entries: Iterable[str]) -> bool:
    """Whether networks together are all of IPv4 or all of IPv6."""
    given = networks_among(entries)
    four = ipaddress.collapse_addresses([each for each in given if isinstance(each, ipaddress.IPv4Network)])
    six = ipaddress.collapse_addresses([each for each in given if isinstance(each, ipaddress.IPv6Network)])
    return any(each.prefixlen == 0 for each in four) or any(each.prefixlen == 0 for each in six)
