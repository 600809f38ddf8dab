"""From the recipient a peer named to the destinations that get an envelope: ruleset, virtual, alias, userbase.

Owns the walk (reference 3.1) and the refusal when it fails; one failing branch fails the whole recipient. The walk itself is a generator
that yields questions and is resumed with their answers, so a table on the bus or a `.forward` read by mda is one more question and
not another walk; expand_rcpt answers from the snapshot. Called by smtp-in at RCPT. OpenSMTPD: lka_session.c, expand.c, aliases.c.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, assert_never

from msgspec import Struct

from smtpfleet.contracts.configuration import Configuration, ExpandAction, LocalAction, RejectAction, RelayAction, Rule
from smtpfleet.contracts.envelope import Dispatcher, LocalDispatcher, RemoteDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status, status_from_reply
from smtpfleet.mail.address import Mailbox, local_name, split_address
from smtpfleet.mail.aliases import AliasFault, Target, TargetKind, parse_targets
from smtpfleet.mail.ruleset import SessionFacts, is_local_domain, match_rule
from smtpfleet.mail.tables import TableError, Tables

DEPTH_LIMIT = 10
"""A node this deep is refused (OpenSMTPD EXPAND_DEPTH)."""
NODE_LIMIT = 10_000
"""Most nodes of one recipient, so that a loop through lists of addresses ends; chosen, no source."""
USER_LIMIT = 31
"""Longest user name (OpenSMTPD SMTPD_MAXLOGNAME less the terminator)."""

S550_INVALID_RECIPIENT = Status(550, "5.1.1", "Invalid recipient")
S550_RELAYING_REFUSED = Status(550, "5.7.1", "Invalid recipient")


class Destination(Struct, frozen=True):
    """One envelope to be. sender: the reverse-path, after `relay as`."""

    dest: str
    dispatcher: Dispatcher
    expire_s: int
    sender: str


class Expansion(Struct, frozen=True):
    """Destinations, at least one, or a refusal; never both. detail: why it was refused, for the log alone."""

    destinations: tuple[Destination, ...]
    refusal: Status | None
    detail: str = ""


class RuleQuery(Struct, frozen=True):
    """Which rule decides about this address? Answer: Rule or None."""

    dest: Mailbox
    is_internal: bool


class LocalDomainQuery(Struct, frozen=True):
    """Do we take mail for this domain at all? Answer: bool."""

    domain: str


class AliasQuery(Struct, frozen=True):
    """The value of the first of these keys that the table has. Answer: str or None."""

    table: str
    keys: tuple[str, ...]


class UserQuery(Struct, frozen=True):
    """Does the userbase know this user? Answer: bool."""

    table: str
    user: str


Query = RuleQuery | LocalDomainQuery | AliasQuery | UserQuery
Steps = Generator[Query, Any, Expansion]


@dataclass(slots=True, eq=False)
class _Node:
    """A target on the way. address: the nearest address node, which is the dest of what is delivered below it.
    rule: the one that decided about that address; None on an address that has not been asked for."""

    kind: TargetKind
    value: str
    depth: int
    address: "_Node | None"
    rule: Rule | None
    is_same_user: bool = False


def expand_rcpt(configuration: Configuration, tables: Tables, facts: SessionFacts, rcpt: str) -> Expansion:
    """The recipient expanded with what the snapshot knows. `rcpt` is valid, or `postmaster` without a domain."""
    steps = expansion_steps(configuration.hostname, facts.sender, rcpt)
    answer: object = None
    try:
        while True:
            answer = answer_from_snapshot(configuration, tables, facts, steps.send(answer))
    except StopIteration as done:
        expansion: Expansion = done.value
        return expansion
    except TableError as error:
        return Expansion((), S451_LOCAL_ERROR, str(error))


def answer_from_snapshot(
    configuration: Configuration, tables: Tables, facts: SessionFacts, query: Query
) -> Rule | str | bool | None:
    """What the snapshot answers; raises TableError, which fails the recipient for now."""
    if isinstance(query, RuleQuery):
        return match_rule(configuration, tables, facts, query.dest, is_internal=query.is_internal)
    if isinstance(query, AliasQuery):
        for key in query.keys:
            value = tables.lookup_alias(query.table, key)
            if value is not None:
                return value
        return None
    if isinstance(query, UserQuery):
        return tables.lookup_userinfo(query.table, query.user) is not None
    if isinstance(query, LocalDomainQuery):
        return is_local_domain(configuration, tables, query.domain)
    assert_never(query)


def expansion_steps(hostname: str, sender: str, rcpt: str) -> Steps:
    """The walk: yields queries, is resumed with answers, returns the Expansion. hostname: completes a bare postmaster."""
    if "@" not in rcpt:
        rcpt = f"{rcpt}@{hostname}"
    walk = _Walk(hostname, sender)
    walk.add(_Node(TargetKind.ADDRESS, rcpt, 0, None, None))
    while walk.waiting:
        refusal = yield from walk.visit(walk.waiting.popleft())
        if refusal is not None:
            return refusal
    if not walk.destinations:
        return Expansion((), S550_INVALID_RECIPIENT, "expansion is empty")
    # Two ways to one place are one delivery.
    return Expansion(tuple(dict.fromkeys(walk.destinations) if len(walk.destinations) > 1 else walk.destinations), None)


class _Walk:
    """State of one recipient's expansion: nodes to visit, nodes seen, destinations found in the order of the text."""

    def __init__(self, hostname: str, sender: str) -> None:
        self._hostname = hostname
        self._sender = sender
        self._seen: set[tuple[object, ...]] = set()
        self.waiting: deque[_Node] = deque()
        self.destinations: list[Destination] = []

    def add(self, node: _Node) -> None:
        """Queue the node unless the same one was met under the same address. Nodes compare by identity, so a loop through
        addresses is no duplicate and ends at the depth limit (OpenSMTPD expand_cmp)."""
        key = (node.kind, node.value, node.is_same_user, node.address, id(node.rule))
        if key not in self._seen:
            self._seen.add(key)
            self.waiting.append(node)

    def visit(self, node: _Node) -> Generator[Query, Any, Expansion | None]:
        """One node: adds children or a destination, or returns the refusal of the whole recipient."""
        if node.depth >= DEPTH_LIMIT:
            return Expansion((), S550_INVALID_RECIPIENT, f"expansion deeper than {DEPTH_LIMIT} at {node.value}")
        if len(self._seen) > NODE_LIMIT:
            return Expansion((), S451_LOCAL_ERROR, f"expansion has more than {NODE_LIMIT} nodes")
        if node.kind is TargetKind.ADDRESS:
            return (yield from self._visit_address(node))
        if node.kind is TargetKind.USER:
            return (yield from self._visit_user(node))
        if node.kind is TargetKind.ERROR:
            text = node.value[4:].encode("ascii", "replace").decode("ascii")
            return Expansion((), status_from_reply(int(node.value[:3]), text), "error alias")
        # Never dropped in silence: the peer keeps its copy until this is supported or the table is changed.
        return Expansion((), S451_LOCAL_ERROR, f"{node.kind.value} targets are not supported: {node.value}")

    def _visit_address(self, node: _Node) -> Generator[Query, Any, Expansion | None]:
        dest = split_address(node.value)
        rule: Rule | None = yield RuleQuery(dest, node.address is not None)
        if rule is None or isinstance(rule.action, RejectAction):
            is_local: bool = yield LocalDomainQuery(dest.domain)
            what = "no rule matches" if rule is None else f"rejected by the rule at line {rule.location.line}:"
            return Expansion((), S550_INVALID_RECIPIENT if is_local else S550_RELAYING_REFUSED, f"{what} {node.value}")
        action = rule.action
        if isinstance(action, RelayAction):
            self._deliver(
                node, remote_dispatcher(action, dest), rule, rewrite_sender(self._sender, action, self._hostname)
            )
            return None
        user = local_name(dest.user)
        if not action.virtual:
            self.add(_Node(TargetKind.USER, user, node.depth + 1, node, rule))
            return None
        keys = (f"{user}@{dest.domain}", user, f"@{dest.domain}", "@")
        value: str | None = yield AliasQuery(action.virtual, keys)
        if value is None:
            return Expansion((), S550_INVALID_RECIPIENT, f"no entry for {node.value} in table {action.virtual}")
        return self._add_targets(node, node, rule, value, action.virtual)

    def _visit_user(self, node: _Node) -> Generator[Query, Any, Expansion | None]:
        rule, address, user = node.rule, node.address, node.value
        assert rule is not None and address is not None, "a user node stands below an address whose rule is known"
        action = rule.action
        assert isinstance(action, LocalAction | ExpandAction), "only these have users"
        if action.alias and not node.is_same_user:
            value: str | None = yield AliasQuery(action.alias, (user,))
            if value is not None:
                return self._add_targets(node, address, rule, value, action.alias)
        if not user or len(user) > USER_LIMIT:
            return Expansion((), S550_INVALID_RECIPIENT, f"not a user name: {user!r}")
        is_known: bool = yield UserQuery(action.userbase, user)
        if not is_known:
            return Expansion((), S550_INVALID_RECIPIENT, f"no user {user} in table {action.userbase}")
        # Here the user's `.forward` will be asked for (ForwardQuery), unless the node is its own user's.
        if isinstance(action, ExpandAction):
            status = S451_LOCAL_ERROR if action.is_forward_only else S550_INVALID_RECIPIENT
            return Expansion((), status, f"user {user} has no forward and the rule delivers nowhere")
        dispatcher = LocalDispatcher(action.method, action.target, user, action.userbase)
        self._deliver(address, dispatcher, rule, self._sender)
        return None

    def _add_targets(self, node: _Node, address: _Node, rule: Rule, value: str, table: str) -> Expansion | None:
        """The targets of an entry as children of `node`. A user who names himself is delivered to, not expanded again."""
        try:
            targets: tuple[Target, ...] = parse_targets(value)
        except AliasFault as fault:
            return Expansion((), S451_LOCAL_ERROR, f"table {table}, entry of {node.value}: {fault}")
        for target in targets:
            is_same = target.kind is node.kind is TargetKind.USER and target.value == node.value
            self.add(_Node(target.kind, target.value, node.depth + 1, address, rule, is_same))
        return None

    def _deliver(self, address: _Node, dispatcher: Dispatcher, rule: Rule, sender: str) -> None:
        self.destinations.append(Destination(address.value, dispatcher, rule.expire_s, sender))


def remote_dispatcher(action: RelayAction, dest: Mailbox) -> RemoteDispatcher:
    """The relay that takes mail for `dest`: the action's host, or the destination's domain in lower case."""
    return RemoteDispatcher(
        action.host or dest.domain.lower(),
        bool(action.host),
        action.port,
        action.tls,
        action.verify,
        action.auth,
        action.source,
        action.helo,
        action.pki,
        action.backup,
    )


def rewrite_sender(sender: str, action: RelayAction, hostname: str) -> str:
    """The sender after `relay as`; a null sender stays null, for it marks a bounce."""
    if not action.mail_from or not sender:
        return sender
    user, at, domain = action.mail_from.rpartition("@")
    if not at:
        return f"{action.mail_from}@{hostname}"
    return f"{user or split_address(sender).user}@{domain}"
