"""Remembers what a recipient expands to under one snapshot, so that a popular one is walked once and not for every message.

Pure memory in front of mail.expand: the key is everything the walk may depend on, worked out from the rules, and only what the snapshot
alone decides is kept. Refusals are not, so guessing addresses fills nothing. One per listener and snapshot, made by entrance; asked by
session at RCPT.
"""

from smtpfleet.contracts.configuration import GETPWNAM, Configuration, ExpandAction, LocalAction, RelayAction
from smtpfleet.mail.expand import Destination, Expansion, expand_rcpt
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import TableError, Tables

REMEMBERED_LIMIT = 10_000
"""Recipients remembered, about half a KiB each; when full, all are forgotten. Chosen."""

SourceClass = tuple[bool, ...] | None
"""What the rules can tell about a peer: which of their source tables it is in; None where they cannot be asked."""


class Expansions:
    """Expansions under one snapshot; a listener's tag does not change within it."""

    def __init__(
        self, configuration: Configuration, tables: Tables, *, remembered_limit: int = REMEMBERED_LIMIT
    ) -> None:
        self._configuration = configuration
        self._remembered_limit = remembered_limit
        self._tables = tables
        conditions = [condition for rule in configuration.rules for condition in rule.conditions]
        actions = [rule.action for rule in configuration.rules]
        self._sources = sorted({condition.value for condition in conditions if condition.subject == "source"})
        self._reads_sender = any(condition.subject == "sender" for condition in conditions) or any(
            isinstance(action, RelayAction) and action.mail_from for action in actions
        )
        system = {GETPWNAM} | {name for name, table in configuration.tables.items() if table.backend == "getpwnam"}
        # Accounts of the system come and go without a new snapshot.
        self._may_remember = not any(
            isinstance(action, LocalAction | ExpandAction) and action.userbase in system for action in actions
        )
        self._remembered: dict[tuple[SourceClass, str, str], tuple[Destination, ...]] = {}

    def source_class(self, peer: str, *, is_local: bool) -> SourceClass:
        """Peers of one class are the same to every rule. Asked once per session."""
        if not self._may_remember:
            return None
        try:
            return (is_local, *[self._tables.match_netaddr(table, peer) for table in self._sources])
        except TableError:
            return None

    def expand(self, facts: SessionFacts, source: SourceClass, rcpt: str) -> Expansion:
        """As mail.expand.expand_rcpt."""
        key = (source, facts.sender if self._reads_sender else "", rcpt)
        known = self._remembered.get(key)
        if known is not None:
            return Expansion(_as_sent_by(known, facts.sender, reads_sender=self._reads_sender), None)
        expansion = expand_rcpt(self._configuration, self._tables, facts, rcpt)
        if expansion.refusal is None and source is not None:
            if len(self._remembered) >= self._remembered_limit:
                self._remembered.clear()
            self._remembered[key] = expansion.destinations
        return expansion


def _as_sent_by(known: tuple[Destination, ...], sender: str, *, reads_sender: bool) -> tuple[Destination, ...]:
    """Where no rule reads the sender, none rewrites it either: it is simply the transaction's."""
    if reads_sender or known[0].sender == sender:
        return known
    return tuple([Destination(each.dest, each.dispatcher, each.expire_s, sender) for each in known])
