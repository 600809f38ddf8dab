"""Remembers what a recipient expands to under one snapshot, so that a popular one is walked once and not for every message.

Pure memory in front of mail.expand: the key is everything the walk may depend on, worked out from the rules. What the snapshot alone
decides is kept, what a `.forward` had a say in only as long as that counts, what was asked of config not at all. Refusals are not kept,
so guessing addresses fills nothing. What cannot be decided here and now is handed back open. One per listener and snapshot, made by
entrance; asked by session at RCPT.
"""

import math
import time
from collections.abc import Callable, Hashable

from msgspec import Struct

from smtpfleet.contracts.commands import ForwardQuery
from smtpfleet.contracts.configuration import GETPWNAM, Configuration, ExpandAction, LocalAction, RelayAction
from smtpfleet.mail.expand import NO_FORWARD, Destination, Expander, Expansion, OpenExpansion, Question
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import TableError, Tables
from smtpfleet.runtime.forwards import Forwards

REMEMBERED_LIMIT = 10_000
"""Recipients remembered, about half a KiB each; when full, all are forgotten. Chosen."""
_CLASSED = frozenset({"source", "sender", "recipient", "destination", "tag"})
"""Conditions that the key accounts for one by one; a rule with any other brings the whole session into it."""

SourceClass = tuple[bool, ...] | None
"""What the rules can tell about a peer: which of their source tables it is in; None where they cannot be asked."""


class Unresolved(Struct, frozen=True):
    """An expansion that has to wait: `question` is to be asked of config or mda."""

    opened: OpenExpansion
    question: Question


class Expansions:
    """Expansions under one snapshot; a listener's tag does not change within it."""

    def __init__(
        self,
        configuration: Configuration,
        tables: Tables,
        *,
        clock: Callable[[], float] = time.monotonic,
        remembered_limit: int = REMEMBERED_LIMIT,
    ) -> None:
        self._remembered_limit = remembered_limit
        self._tables = tables
        self._clock = clock
        self._expander = Expander(configuration, tables)
        conditions = [condition for rule in configuration.rules for condition in rule.conditions]
        actions = [rule.action for rule in configuration.rules]
        self._sources = sorted({each.value for each in conditions if each.subject == "source" and each.kind == "table"})
        self._reads_sender = any(condition.subject == "sender" for condition in conditions) or any(
            isinstance(action, RelayAction) and action.mail_from for action in actions
        )
        self._has_srs = configuration.srs_ttl_s > 0
        self._reads_session = any(
            each.subject not in _CLASSED or (each.subject == "source" and each.kind != "table") for each in conditions
        )
        system = {GETPWNAM} | {name for name, table in configuration.tables.items() if table.backend == "getpwnam"}
        # Accounts of the system come and go without a new snapshot, and relays used in turn are another every time.
        self._may_remember = not any(
            (isinstance(action, LocalAction | ExpandAction) and action.userbase in system)
            or (isinstance(action, RelayAction) and action.hosts)
            for action in actions
        )
        self._remembered: dict[Hashable, tuple[tuple[Destination, ...], float]] = {}

    def source_class(self, peer: str, *, is_local: bool) -> SourceClass:
        """Peers of one class are the same to every rule. Asked once per session."""
        if not self._may_remember:
            return None
        try:
            return (is_local, *[self._tables.match_netaddr(table, peer) for table in self._sources])
        except TableError:
            return None

    def expand(
        self, facts: SessionFacts, source: SourceClass, rcpt: str, forwards: Forwards | None = None
    ) -> Expansion | Unresolved:
        """The expansion, or how far it came. source: of this session, by source_class. forwards: None where there is no mda to ask:
        then nobody has a `.forward`."""
        reads_sender = self._reads_sender
        key: Hashable = (facts, rcpt)
        if not self._reads_session:
            # With SRS a bounce may lead elsewhere than other mail.
            key = (source, facts.sender if reads_sender else "", self._has_srs and not facts.sender, rcpt)
        known = self._remembered.get(key)
        if known is not None and (known[1] == math.inf or self._clock() < known[1]):
            return Expansion(_as_sent_by(known[0], facts.sender, reads_sender=reads_sender), None)
        good_until = math.inf
        opened = self._expander.open(facts, rcpt)
        outcome = opened.proceed()
        while not isinstance(outcome, Expansion):
            if not isinstance(outcome, ForwardQuery):
                return Unresolved(opened, outcome)
            if forwards is None:
                opened.learn(outcome, NO_FORWARD)
            else:
                forward = forwards.known(outcome)
                if forward is None:
                    return Unresolved(opened, outcome)
                good_until = min(good_until, forward.fresh_until)
                opened.learn(outcome, forward.reply)
            outcome = opened.proceed()
        if outcome.refusal is None and source is not None:
            if len(self._remembered) >= self._remembered_limit:
                self._remembered.clear()
            self._remembered[key] = (outcome.destinations, good_until)
        return outcome


def _as_sent_by(known: tuple[Destination, ...], sender: str, *, reads_sender: bool) -> tuple[Destination, ...]:
    """Where no rule reads the sender, none rewrites it either: it is simply the transaction's."""
    if reads_sender or known[0].sender == sender:
        return known
    return tuple([Destination(each.dest, each.dispatcher, each.expire_s, sender) for each in known])
