"""Which rule decides about an address: the first whose conditions all hold.

Owns evaluation only; what the rule's action means is in expand. Runs once per address node, so again for every forwarded address.
The two languages differ in who is local: in the classic one also whoever authenticated, in the modern one only mail made or forwarded
here. OpenSMTPD: ruleset.c ruleset_match (reference 2.1, 2.2, 11.2).
"""

from collections.abc import Callable

from msgspec import Struct

from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    LOCAL_NAMES,
    MODERN,
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
NULL_SENDER = "@"
"""The null sender as OpenSMTPD looks it up (mailaddr_to_text)."""


class SessionFacts(Struct, frozen=True):
    """What the rules may ask of a session and its transaction.

    tag: the listener's, "" for none. peer: its address, or `local`. is_local: authenticated, or mail made here.
    sender: the reverse-path, "" for null. helo: what the peer said. auth_user: who authenticated, "" for nobody.
    has_tls: the session is encrypted. rdns: the peer's name, where it has one that leads back to it, else "".
    is_socket: submitted on the local socket.
    """

    tag: str
    peer: str
    is_local: bool
    sender: str
    helo: str
    auth_user: str = ""
    has_tls: bool = False
    rdns: str = ""
    is_socket: bool = False

    @property
    def is_made_here(self) -> bool:
        """Not from a peer on the network: the local socket, or a message of our own."""
        return self.is_socket or self.peer == LOCAL_PEER


def match_rule(
    configuration: Configuration, tables: Tables, facts: SessionFacts, dest: Mailbox, *, is_internal: bool
) -> Rule | None:
    """The rule that decides, or None. is_internal: `dest` came out of an expansion. Raises TableError."""
    source = source_of(configuration, facts, is_internal=is_internal)
    for rule in configuration.rules:
        if unmet_condition(rule, tables, facts, source, dest, is_internal=is_internal) is None:
            return rule
    return None


def source_of(configuration: Configuration, facts: SessionFacts, *, is_internal: bool) -> str:
    """What `from` looks up: the peer's address, or LOCAL_PEER."""
    if is_internal or facts.is_made_here or (facts.is_local and configuration.language != MODERN):
        return LOCAL_PEER
    return facts.peer


def unmet_condition(
    rule: Rule, tables: Tables, facts: SessionFacts, source: str, dest: Mailbox, *, is_internal: bool
) -> Condition | None:
    """The first condition of the rule that does not hold, None where the rule matches. Raises TableError."""
    for condition in rule.conditions:
        if condition.kind == "table" or condition.kind == "literal":
            holds = _holds(tables, condition, facts, source, dest)
        elif condition.kind == "regex":
            holds = _holds_regex(tables, condition, facts, source, dest)
        else:
            holds = _holds_at_all(condition, facts, is_internal=is_internal)
        if holds is condition.negated:
            return condition
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
        return (
            condition.value == facts.tag
            if condition.kind == "literal"
            else tables.match_string(condition.value, facts.tag)
        )
    if subject == "helo":
        return tables.match_domain(condition.value, facts.helo)
    if subject == "auth":
        return bool(facts.auth_user) and tables.match_string(condition.value, facts.auth_user)
    if subject == "rdns":
        return _holds_name(condition, facts, tables.match_domain)
    raise TableError(f"unknown condition: {subject}")


def _holds_regex(tables: Tables, condition: Condition, facts: SessionFacts, source: str, dest: Mailbox) -> bool:
    """The same for expressions, which see the whole text."""
    match condition.subject:
        case "source":
            text = source
        case "destination":
            text = dest.domain
        case "recipient":
            text = dest.text
        case "sender":
            text = facts.sender or NULL_SENDER
        case "tag":
            text = facts.tag
        case "helo":
            text = facts.helo
        case "auth":
            return bool(facts.auth_user) and tables.match_regex(condition.value, facts.auth_user)
        case "rdns":
            return _holds_name(condition, facts, tables.match_regex)
        case subject:
            raise TableError(f"unknown condition: {subject}")
    return tables.match_regex(condition.value, text)


def _holds_name(condition: Condition, facts: SessionFacts, matches: Callable[[str, str], bool]) -> bool:
    """A peer without a name matches neither a table of names nor its negation (ruleset_match_from)."""
    return matches(condition.value, facts.rdns) if facts.rdns else condition.negated


def _holds_at_all(condition: Condition, facts: SessionFacts, *, is_internal: bool) -> bool:
    """Conditions without a table. What came out of an expansion has no peer: neither `from socket` nor `from rdns`, negated or not."""
    match condition.subject:
        case "auth":
            return bool(facts.auth_user) or facts.is_made_here
        case "tls":
            return facts.has_tls
        case "socket":
            return condition.negated if is_internal else facts.is_made_here
        case "rdns":
            return condition.negated if is_internal else bool(facts.rdns)
        case subject:
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
        and (tables.match_regex if condition.kind == "regex" else tables.match_domain)(condition.value, domain)
        for rule in configuration.rules
        if isinstance(rule.action, LocalAction | ExpandAction)
        for condition in rule.conditions
    )
