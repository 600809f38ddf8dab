"""How far rules reach: those that no recipient can get to.

Warnings only, from the compiled conditions, so the way a rule is written makes no difference. Containment is decided from entries that
are in the file itself; a table of another kind is only ever the same as itself. Called by compiler.py; rule_openness.py asks the same
questions of conditions. OpenSMTPD has no counterpart.
"""

import ipaddress
from collections.abc import Hashable, Iterable
from itertools import combinations

from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tablefile import LIST
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    Condition,
    Rule,
    Table,
)
from smtpfleet.mail.patterns import AddressPatterns, DomainPatterns, bare_address

ENTRIES_MAX = 256
"""Longest table that is looked into. Chosen: these are tables written inside the file."""
PAIRS_AMONG = 300
"""Rules that are compared one with the other; further ones are only looked up among equal conditions. Chosen: under 50,000 pairs."""
UNIVERSAL = {"source": ANY_HOST, "destination": ANY_DESTINATION}


def warn_of_unreached(scope: Scope) -> None:
    """Warns at every rule that an earlier one takes everything from."""
    first_with: dict[frozenset[Hashable], int] = {}
    for index, rule in enumerate(scope.rules):
        keys = frozenset(_key(scope, each) for each in rule.conditions if not is_universal(each))
        taker = _equal_or_wider(keys, first_with)
        if taker is None and index < PAIRS_AMONG:
            taker = next((n for n in range(index) if _covers(scope, scope.rules[n], rule)), None)
        if taker is None:
            first_with[keys] = index
            continue
        by = scope.rule_spans[taker]
        takes = "everything" if all(map(is_universal, scope.rules[taker].conditions)) else "all that this one would"
        hint = f"the rule on line {by.line} of {by.source.name} takes {takes}"
        scope.diagnostics.warning(scope.rule_spans[index], "this rule is never reached", hint)


def is_universal(condition: Condition) -> bool:
    """Whether the condition is `any`."""
    return not condition.negated and UNIVERSAL.get(condition.subject) == condition.value


def _key(scope: Scope, condition: Condition) -> Hashable:
    """Equal for conditions that hold for the same."""
    entries = entries_of(scope, condition)
    content: Hashable = condition.value if entries is None else frozenset(entries)
    return condition.subject, condition.negated, condition.kind, content


def _equal_or_wider(keys: frozenset[Hashable], first_with: dict[frozenset[Hashable], int]) -> int | None:
    """The earliest rule whose conditions are some of these."""
    found = (first_with.get(frozenset(some)) for count in range(len(keys) + 1) for some in combinations(keys, count))
    return min((index for index in found if index is not None), default=None)


def _covers(scope: Scope, wide: Rule, narrow: Rule) -> bool:
    """Whether every condition of `wide` holds wherever those of `narrow` do."""
    return all(
        is_universal(condition) or any(_implies(scope, each, condition) for each in narrow.conditions)
        for condition in wide.conditions
    )


def _implies(scope: Scope, narrow: Condition, wide: Condition) -> bool:
    if (narrow.subject, narrow.negated, narrow.kind) != (wide.subject, wide.negated, wide.kind):
        return False
    if narrow.value == wide.value:
        return True
    inner, outer = entries_of(scope, narrow), entries_of(scope, wide)
    if inner is None or outer is None:
        return False
    # What is left out by more is the smaller rest.
    return _contains(narrow.subject, inner, outer) if narrow.negated else _contains(narrow.subject, outer, inner)


def entries_of(scope: Scope, condition: Condition) -> dict[str, str] | None:
    """What the condition compares with, None where that is not in the file."""
    declared = scope.tables.get(condition.value) if condition.kind == "table" else None
    if declared is None or not _is_written_out(declared.table):
        return None
    return declared.table.entries


def _is_written_out(table: Table) -> bool:
    return table.kind == LIST and table.backend == "static" and table.is_inline and len(table.entries) <= ENTRIES_MAX


def _contains(subject: str, outer: dict[str, str], inner: dict[str, str]) -> bool:
    """Whether all that `inner` matches is matched by `outer`."""
    missing = [entry for entry in inner if entry not in outer]
    if not missing or (subject == "destination" and "*" in outer):
        return True
    match subject:
        case "source":
            return _contains_networks(outer, missing)
        case "destination":
            domains = DomainPatterns(outer)
            return all("*" not in entry and domains.matches(entry) for entry in missing)
        case "sender" | "recipient":
            addresses = AddressPatterns(outer)
            plain = [entry for entry in missing if "@" in entry and "*" not in entry and entry != "@"]
            return len(plain) == len(missing) and all(addresses.matches(entry) for entry in plain)
    return False


def _contains_networks(outer: dict[str, str], inner: list[str]) -> bool:
    try:
        wanted = [_network(entry) for entry in inner]
    except ValueError:
        return False
    given = networks_among(outer)
    return all(any(_is_within(each, network) for network in given) for each in wanted)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(entry: str) -> _Network:
    return ipaddress.ip_network(bare_address(entry), strict=False)


def networks_among(entries: Iterable[str]) -> list[_Network]:
    """The addresses and networks among the entries; words such as `local` are none."""
    found = []
    for entry in entries:
        try:
            found.append(_network(entry))
        except ValueError:
            continue
    return found


def _is_within(inner: _Network, outer: _Network) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer
