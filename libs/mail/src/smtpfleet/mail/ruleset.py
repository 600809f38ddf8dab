"""Which rule decides about an address: the first whose conditions all hold.

Owns evaluation only; what the rule's action means is in expand. Runs once per address node, so again for every forwarded address.
OpenSMTPD: ruleset.c ruleset_match (reference 2.1, 2.2).
"""

from dataclasses import dataclass

from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    LOCAL_NAMES,
    Condition,
    Configuration,
    ExpandAction,
    LocalAction,
    Rule,
)
from smtpfleet.mail.address import Mailbox
from smtpfleet.mail.tables import TableError, Tables

LOCAL_PEER = "local"
"""The source key of whoever counts as local, and the only one he has: he never matches a network."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the rules may ask of a session and its transaction.

    tag: the listener's, "" for none. peer: its address, or `local`. is_local: authenticated, or mail made here.
    sender: the reverse-path, "" for null. helo: what the peer said.
    """

    tag: str
    peer: str
    is_local: bool
    sender: str
    helo: str


def match_rule(
    configuration: Configuration, tables: Tables, facts: SessionFacts, dest: Mailbox, *, is_internal: bool
) -> Rule | None:
    """The rule that decides, or None. is_internal: `dest` came out of an expansion. Raises TableError."""
    source = LOCAL_PEER if facts.is_local or is_internal else facts.peer
    for rule in configuration.rules:
        for condition in rule.conditions:
            if _holds(tables, condition, facts, source, dest) is condition.negated:
                break
        else:
            return rule
    return None


def _holds(tables: Tables, condition: Condition, facts: SessionFacts, source: str, dest: Mailbox) -> bool:
    """Whether the condition holds before its negation. Written in the order in which they are most often met."""
    subject = condition.subject
    if subject == "source":
        return tables.match_netaddr(condition.value, source)
    if subject == "destination":
        return tables.match_domain(condition.value, dest.domain)
    if subject == "recipient":
        return tables.match_mailaddr(condition.value, dest.text)
    if subject == "sender":
        return tables.match_mailaddr(condition.value, facts.sender)
    if subject == "tag":
        return condition.value == facts.tag
    raise TableError(f"unknown condition: {subject}")


def is_local_domain(configuration: Configuration, tables: Tables, domain: str) -> bool:
    """Whether we take mail for `domain` from anyone at all: one of our names, or named by a rule that delivers here.

    Asked only to tell an unknown recipient (5.1.1) from refused relaying (5.7.1).
    """
    if tables.match_domain(LOCAL_NAMES, domain):
        return True
    return any(
        condition.subject == "destination"
        and not condition.negated
        and condition.value != ANY_DESTINATION
        and tables.match_domain(condition.value, domain)
        for rule in configuration.rules
        if isinstance(rule.action, LocalAction | ExpandAction)
        for condition in rule.conditions
    )
