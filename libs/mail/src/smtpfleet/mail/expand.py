"""Expands a recipient under one configuration: answers the walk from the snapshot and says what has to be asked elsewhere.

A table that is not in the snapshot is config's to answer, a `.forward` is mda's: OpenExpansion stops there with the question, is told the
answer and goes on. Pure; asking is for who calls (smtp-in, queue). expand_rcpt asks nobody. One Expander serves all recipients under its
snapshot. OpenSMTPD: lka_session.c, which waits for parent and lookup processes in the same places.
"""

import itertools
from collections.abc import Callable
from typing import assert_never

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply, TableQuery, TableService
from smtpfleet.contracts.configuration import MODERN, Configuration, Rule
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.contracts.status import S451_LOCAL_ERROR
from smtpfleet.mail.dispatch import remote_dispatcher, rewrite_sender
from smtpfleet.mail.expansion import (
    S550_INVALID_RECIPIENT,
    S550_RELAYING_REFUSED,
    AliasQuery,
    Destination,
    Expansion,
    LocalDomainQuery,
    Query,
    Question,
    RelayHostQuery,
    RuleQuery,
    UserQuery,
)
from smtpfleet.mail.ruleset import SessionFacts, is_local_domain, match_rule
from smtpfleet.mail.tables import NotInline, TableError, Tables, UserInfo
from smtpfleet.mail.walk import DEPTH_LIMIT, NODE_LIMIT, USER_LIMIT, Steps, Style, expansion_steps

__all__ = [
    "DEPTH_LIMIT",
    "NODE_LIMIT",
    "NO_FORWARD",
    "S550_INVALID_RECIPIENT",
    "S550_RELAYING_REFUSED",
    "USER_LIMIT",
    "AliasQuery",
    "Destination",
    "Expander",
    "Expansion",
    "LocalDomainQuery",
    "OpenExpansion",
    "Query",
    "Question",
    "RelayHostQuery",
    "RuleQuery",
    "UserQuery",
    "expand_rcpt",
    "remote_dispatcher",
    "rewrite_sender",
]

NO_FORWARD = ForwardReply("absent", "", "")
QUESTIONS_LIMIT = 2 * NODE_LIMIT
"""Questions about one recipient that the snapshot cannot answer: for each node a user and his `.forward`. The time limit of who asks
ends most walks earlier; this one ends those that are answered from memory. Chosen."""

Answer = Rule | UserInfo | ForwardReply | SrsRestoreReply | str | bool | None
Watch = Callable[[Query, Answer], None]
_turns = itertools.count()  # whose turn it is among the relays of a list; where it stands means nothing


class Expander:
    """Opens expansions under one snapshot."""

    def __init__(self, configuration: Configuration, tables: Tables) -> None:
        self.configuration = configuration
        self.tables = tables
        self.style = Style(
            configuration.hostname,
            configuration.language == MODERN,
            configuration.subaddress_delimiter,
            configuration.srs_ttl_s > 0,
        )

    def open(self, facts: SessionFacts, rcpt: str) -> "OpenExpansion":
        """A recipient's expansion, not yet begun. `rcpt` is valid, or `postmaster` without a domain."""
        return OpenExpansion(self, facts, rcpt)


class OpenExpansion:
    """One recipient's expansion on its way. watch: told of every query with its answer."""

    __slots__ = (
        "_answers", "_expander", "_facts", "_forwards", "_query", "_question_count", "_restored", "_steps", "_tables"
    )  # fmt: skip

    def __init__(self, expander: Expander, facts: SessionFacts, rcpt: str, watch: Watch | None = None) -> None:
        self._expander = expander
        self._facts = facts
        self._tables = expander.tables
        steps = expansion_steps(expander.style, facts.sender, rcpt)
        self._steps = steps if watch is None else _watched(steps, watch)
        self._query = next(self._steps)
        self._answers: dict[tuple[str, TableService, str], str | None] = {}
        self._forwards: dict[tuple[str, str], ForwardReply] = {}
        self._restored: dict[str, SrsRestoreReply] = {}
        self._question_count = 0

    @property
    def tables(self) -> Tables:
        """The snapshot's tables with what has been learnt."""
        return self._tables

    def proceed(self) -> Expansion | Question:
        """Goes on as far as it can: to the end, or to the next question, which `learn` or `fail` must answer."""
        try:
            while True:
                query = self._query
                if type(query) is ForwardQuery:
                    answer: Answer = self._forwards.get((query.userbase, query.user))
                    if answer is None:
                        return self._ask(query)
                elif type(query) is SrsRestoreQuery:
                    answer = self._restored.get(query.address)
                    if answer is None:
                        return self._ask(query)
                else:
                    answer = self._answer(query)
                self._query = self._steps.send(answer)
        except StopIteration as done:
            expansion: Expansion = done.value
            return expansion
        except NotInline as missing:
            return self._ask(self._table_question(missing))
        except TableError as error:
            return self.fail(str(error))

    def learn(self, question: Question, reply: ForwardReply | SrsRestoreReply | list[str | None]) -> None:
        """The answer to a question: the forward, or what config said without error; of a TableReply the values."""
        if isinstance(question, ForwardQuery):
            assert isinstance(reply, ForwardReply)
            self._forwards[question.userbase, question.user] = reply
            return
        if isinstance(question, SrsRestoreQuery):
            assert isinstance(reply, SrsRestoreReply)
            self._restored[question.address] = reply
            return
        assert isinstance(reply, list)
        for key, value in zip(question.keys or [""], reply, strict=False):
            self._answers[question.table, question.service, key] = value
        self._tables = self._expander.tables.with_answers(self._answers)

    def fail(self, why: str) -> Expansion:
        """A question that could not be answered now: the recipient fails for now."""
        return Expansion((), S451_LOCAL_ERROR, why)

    def _ask(self, question: Question) -> Expansion | Question:
        self._question_count += 1
        if self._question_count > QUESTIONS_LIMIT:
            return self.fail(f"more than {QUESTIONS_LIMIT} questions")
        return question

    def _answer(self, query: Query) -> Answer:
        if isinstance(query, RuleQuery):
            configuration = self._expander.configuration
            return match_rule(configuration, self._tables, self._facts, query.dest, is_internal=query.is_internal)
        if isinstance(query, AliasQuery):
            for key in query.keys:
                value = self._tables.lookup_alias(query.table, key)
                if value is not None:
                    return value
            return None
        if isinstance(query, UserQuery):
            return self._tables.lookup_userinfo(query.table, query.user)
        if isinstance(query, LocalDomainQuery):
            return is_local_domain(self._expander.configuration, self._tables, query.domain)
        if isinstance(query, RelayHostQuery):
            return self._relay_host(query)
        assert not isinstance(query, ForwardQuery | SrsRestoreQuery), "answered by proceed"
        assert_never(query)

    def _relay_host(self, query: RelayHostQuery) -> str | None:
        if query.domain:
            return self._tables.lookup(query.table, TableService.RELAYHOST, query.domain)
        table = self._expander.configuration.tables.get(query.table)
        if table is not None and not table.is_inline:
            if (query.table, TableService.RELAYHOST, "") not in self._answers:
                raise NotInline(query.table, TableService.RELAYHOST, "", is_next=True)
            return self._answers[query.table, TableService.RELAYHOST, ""]
        urls = self._tables.values_of(query.table)
        return urls[next(_turns) % len(urls)] if urls else None

    def _table_question(self, missing: NotInline) -> TableQuery:
        """What to ask config. All keys of an alias at once: one round trip instead of six."""
        query = self._query
        if missing.is_next:
            return TableQuery(missing.table, missing.service, "fetch", [])
        if isinstance(query, AliasQuery) and missing.service is TableService.ALIAS:
            return TableQuery(missing.table, missing.service, "lookup", [key.lower() for key in query.keys])
        # Each key of a check is asked for by itself: its reply is one yes or no however many there are.
        return TableQuery(missing.table, missing.service, "check" if missing.is_check else "lookup", [missing.key])


def _watched(steps: Steps, watch: Watch) -> Steps:
    """The walk, with every query and its answer told to `watch`."""
    query = next(steps)
    while True:
        answer = yield query
        watch(query, answer)
        try:
            query = steps.send(answer)
        except StopIteration as done:
            expansion: Expansion = done.value
            return expansion


def expand_rcpt(configuration: Configuration, tables: Tables, facts: SessionFacts, rcpt: str) -> Expansion:
    """The recipient expanded with what the snapshot knows: nobody has a `.forward`, a table elsewhere is a temporary failure."""
    opened = Expander(configuration, tables).open(facts, rcpt)
    outcome = opened.proceed()
    while not isinstance(outcome, Expansion):
        if not isinstance(outcome, ForwardQuery):
            missing = outcome.address if isinstance(outcome, SrsRestoreQuery) else f"table {outcome.table}"
            return opened.fail(f"{missing} is not in the snapshot")
        opened.learn(outcome, NO_FORWARD)
        outcome = opened.proceed()
    return outcome
