"""The walk from a recipient to its destinations: ruleset, virtual, alias, userbase, `.forward`, as a generator of questions.

Owns the algorithm (reference 3.1) and the refusal when it fails; one failing branch fails the whole recipient. It yields queries and is
resumed with their answers, so it knows neither tables nor buses nor time; expand answers them. The two languages differ in what becomes
of a subaddress: the classic form drops it before any table is asked, the modern one asks with it first. OpenSMTPD: lka_session.c,
expand.c, aliases.c, forward.c.
"""

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import ExpandAction, LocalAction, RejectAction, RelayAction, Rule
from smtpfleet.contracts.envelope import Dispatcher, LocalDispatcher
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status, status_from_reply
from smtpfleet.mail.address import SUBADDRESS_DELIMITER, Mailbox, full_name, split_address, strip_tag, table_keys
from smtpfleet.mail.aliases import EMPTY_INCLUDE, AliasFault, Target, TargetKind, parse_targets
from smtpfleet.mail.dispatch import (
    local_dispatcher,
    program_dispatcher,
    program_user,
    relay_by_entry,
    remote_dispatcher,
    rewrite_sender,
)
from smtpfleet.mail.expansion import (
    S550_INVALID_RECIPIENT,
    S550_RELAYING_REFUSED,
    AliasQuery,
    Destination,
    Expansion,
    LocalDomainQuery,
    Query,
    RelayHostQuery,
    RuleQuery,
    UserQuery,
)
from smtpfleet.mail.formats import FormatError, expand_format
from smtpfleet.mail.srs import is_srs
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mail.targetfile import parse_forward

DEPTH_LIMIT = 10
"""A node this deep is refused (OpenSMTPD EXPAND_DEPTH)."""
NODE_LIMIT = 10_000
"""Most nodes of one recipient, so that a loop through lists of addresses ends; chosen, no source."""
ANY_OTHER = "*"
"""The entry of a table of relays by domain that is for the domains it does not name."""
USER_LIMIT = 31
"""Longest user name (OpenSMTPD SMTPD_MAXLOGNAME less the terminator)."""

Steps = Generator[Query, Any, Expansion]
_Refusal = Generator[Query, Any, Expansion | None]
_PROGRAMS = (TargetKind.COMMAND, TargetKind.FILE)


@dataclass(frozen=True, slots=True)
class Style:
    """What the configuration says about the walk itself. delimiter: between user and subaddress. has_srs: there is a key."""

    hostname: str
    is_modern: bool = False
    delimiter: str = SUBADDRESS_DELIMITER
    has_srs: bool = False


@dataclass(frozen=True, slots=True)
class _Addresses:
    """formats.Addresses of an envelope to be."""

    sender: str
    rcpt: str
    dest: str


@dataclass(slots=True, eq=False)
class _Node:
    """A target on the way. address: the nearest address node, which is the dest of what is delivered below it.
    rule: the one that decided about that address; None on an address that has not been asked for.
    owner: of a command or file, the user whose `.forward` names it, "" where a table does."""

    kind: TargetKind
    value: str
    depth: int
    address: "_Node | None"
    rule: Rule | None
    is_same_user: bool = False
    owner: str = ""


def expansion_steps(style: Style, sender: str, rcpt: str) -> Steps:
    """The walk: yields queries, is resumed with answers, returns the Expansion. `rcpt` is valid, or `postmaster` without a domain."""
    walk = _Walk(style, sender, rcpt)
    walk.add(_Node(TargetKind.ADDRESS, rcpt if "@" in rcpt else f"{rcpt}@{style.hostname}", 0, None, None))
    while walk.waiting:
        refusal = yield from walk.visit(walk.waiting.popleft())
        if refusal is not None:
            return refusal
    if not walk.destinations:
        return Expansion((), S550_INVALID_RECIPIENT, "expansion is empty")
    # Two ways to one place are one delivery.
    return Expansion(tuple(dict.fromkeys(walk.destinations) if len(walk.destinations) > 1 else walk.destinations), None)


class _Walk:
    """State of one recipient's expansion: nodes to visit, nodes seen, destinations found in the order of the text. rcpt: as the peer
    gave it."""

    def __init__(self, style: Style, sender: str, rcpt: str) -> None:
        self._style = style
        self._sender = sender
        self._rcpt = rcpt
        self._seen: set[tuple[object, ...]] = set()
        self.waiting: deque[_Node] = deque()
        self.destinations: list[Destination] = []

    def add(self, node: _Node) -> None:
        """Queue the node unless the same one was met under the same address. Nodes compare by identity, so a loop through
        addresses is no duplicate and ends at the depth limit (OpenSMTPD expand_cmp)."""
        key = (node.kind, node.value, node.is_same_user, node.owner, node.address, id(node.rule))
        if key not in self._seen:
            self._seen.add(key)
            self.waiting.append(node)

    def visit(self, node: _Node) -> _Refusal:
        """One node: adds children or a destination, or returns the refusal of the whole recipient."""
        if node.depth >= DEPTH_LIMIT:
            return _refuse(S550_INVALID_RECIPIENT, f"expansion deeper than {DEPTH_LIMIT} at {node.value}")
        if len(self._seen) > NODE_LIMIT:
            return _refuse(S451_LOCAL_ERROR, f"expansion has more than {NODE_LIMIT} nodes")
        if node.kind is TargetKind.ADDRESS:
            return (yield from self._visit_address(node))
        if node.kind is TargetKind.USER:
            return (yield from self._visit_user(node))
        if node.kind is TargetKind.INCLUDE:
            # config puts the targets of included files in their place; a table it does not read cannot have any.
            return None if node.value == EMPTY_INCLUDE else _refuse(S451_LOCAL_ERROR, f"not read: {node.value}")
        return (yield from self._visit_end(node))

    def _visit_address(self, node: _Node) -> _Refusal:
        dest = split_address(node.value)
        srs_fault = ""
        if self._style.has_srs and not self._sender and is_srs(dest.user):
            restored: SrsRestoreReply = yield SrsRestoreQuery(node.value)
            if restored.sender:
                # Mail of ours on its way back: like all that comes out of an expansion it is internal, so rules for local mail relay it.
                self.add(_Node(TargetKind.ADDRESS, restored.sender, node.depth + 1, node, None))
                return None
            srs_fault = restored.fault
        rule: Rule | None = yield RuleQuery(dest, node.address is not None)
        if rule is None or isinstance(rule.action, RejectAction):
            is_local: bool = yield LocalDomainQuery(dest.domain)
            what = "no rule matches" if rule is None else f"rejected by the rule at line {rule.location.line}:"
            return _refuse(S550_INVALID_RECIPIENT if is_local else S550_RELAYING_REFUSED, f"{what} {node.value}")
        action = rule.action
        if isinstance(action, RelayAction):
            # Also an SRS address that is not ours: it is somebody else's, and the rule lets this peer send there.
            return (yield from self._relay(node, rule, action, dest))
        if srs_fault:
            return _refuse(S550_INVALID_RECIPIENT, f"srs: {node.value}: {srs_fault}")
        name = full_name(dest.user)
        user = strip_tag(name, self._style.delimiter)
        if not action.virtual:
            # The modern form asks the alias table with the subaddress first.
            self.add(_Node(TargetKind.USER, name if self._style.is_modern else user, node.depth + 1, node, rule))
            return None
        value: str | None = yield AliasQuery(action.virtual, self._virtual_keys(name, user, dest.domain))
        if value is None:
            return _refuse(S550_INVALID_RECIPIENT, f"no entry for {node.value} in table {action.virtual}")
        return self._add_entry(node, node, rule, value, action.virtual)

    def _virtual_keys(self, name: str, user: str, domain: str) -> tuple[str, ...]:
        names = (name, user) if self._style.is_modern and name != user else (user,)
        addresses = [f"{key}@{domain}" for each in names for key in dict.fromkeys((*table_keys(each), each))]
        return (*addresses, *(key for each in names for key in table_keys(each)), f"@{domain}", "@")

    def _relay(self, node: _Node, rule: Rule, action: RelayAction, dest: Mailbox) -> _Refusal:
        sender = rewrite_sender(self._sender, action, self._style.hostname)
        table = action.hosts or action.domains
        if not table:
            self._deliver(node, remote_dispatcher(action, dest), rule, sender)
            return None
        text: str | None = yield RelayHostQuery(table, "" if action.hosts else dest.domain.lower())
        if text is None and not action.hosts:
            text = yield RelayHostQuery(table, ANY_OTHER)
        if text is None:
            # The rule promises a relay and the table has none: for the operator to mend, not for the sender to hear of.
            return _refuse(S451_LOCAL_ERROR, f"no relay for {dest.domain} in table {table}")
        relay = relay_by_entry(action, text)
        if isinstance(relay, str):
            return _refuse(S451_LOCAL_ERROR, f"table {table}, relay for {dest.domain}: {relay}")
        self._deliver(node, relay, rule, sender)
        return None

    def _visit_user(self, node: _Node) -> _Refusal:
        rule, action, address = _decided(node)
        name = node.value
        user = strip_tag(name, self._style.delimiter) if self._style.is_modern else name
        if action.alias and not node.is_same_user:
            keys = table_keys(name) if name == user else (*table_keys(name), *table_keys(user))
            value: str | None = yield AliasQuery(action.alias, keys)
            if value is not None:
                return self._add_entry(node, address, rule, value, action.alias)
        if not user or len(user) > USER_LIMIT:
            return _refuse(S550_INVALID_RECIPIENT, f"not a user name: {user!r}")
        info: UserInfo | None = yield UserQuery(action.userbase, user)
        if info is None:
            return _refuse(S550_INVALID_RECIPIENT, f"no user {user} in table {action.userbase}")
        if not node.is_same_user:
            forward: ForwardReply = yield ForwardQuery(action.userbase, user)
            if forward.result != "absent":
                targets = self._forward_targets(info, forward)
                if isinstance(targets, Expansion):
                    return targets
                if targets:
                    self._add_targets(node, address, rule, targets, user)
                    return None
        if isinstance(action, ExpandAction):
            status = S451_LOCAL_ERROR if action.is_forward_only else S550_INVALID_RECIPIENT
            return _refuse(status, f"user {user} has no forward and the rule delivers nowhere")
        if action.user:
            known: UserInfo | None = yield UserQuery(action.userbase, action.user)
            if known is None:
                return _refuse(S451_LOCAL_ERROR, f"the action's user {action.user} is not in table {action.userbase}")
            info = known
        return self._deliver_here(address, local_dispatcher(action, user), rule, info)

    def _forward_targets(self, info: UserInfo, forward: ForwardReply) -> tuple[Target, ...] | Expansion:
        """The targets of a `.forward` that is there, or why it cannot be followed."""
        what = f"forward of {info.user}"
        if forward.result == "refused":
            return _refuse(S550_INVALID_RECIPIENT, f"{what}: {forward.detail}")
        if forward.result != "present":
            return _refuse(S451_LOCAL_ERROR, f"{what}: {forward.detail}")
        try:
            targets = parse_forward(forward.content, is_modern=self._style.is_modern)
        except AliasFault as fault:
            return _refuse(S451_LOCAL_ERROR, f"{what}: {fault}")
        if info.uid == 0 and any(target.kind in _PROGRAMS for target in targets):
            return _refuse(S451_LOCAL_ERROR, f"{what}: commands and files are not for the superuser")
        return targets

    def _visit_end(self, node: _Node) -> _Refusal:
        """A command, a file or an error."""
        rule, action, address = _decided(node)
        if isinstance(action, ExpandAction) and action.is_forward_only:
            return _refuse(S451_LOCAL_ERROR, f"a forward-only rule cannot end in a {node.kind}: {node.value}")
        if node.kind is TargetKind.ERROR:
            text = node.value[4:].encode("ascii", "replace").decode("ascii")
            return _refuse(status_from_reply(int(node.value[:3]), text), "error alias")
        user = program_user(action, node.owner)
        info: UserInfo | None = yield UserQuery(action.userbase, user)
        if info is None:
            return _refuse(S550_INVALID_RECIPIENT, f"no user {user} in table {action.userbase} for {node.value}")
        return self._deliver_here(address, program_dispatcher(node.kind, node.value, action, user), rule, info)

    def _add_entry(self, node: _Node, address: _Node, rule: Rule, value: str, table: str) -> Expansion | None:
        """The targets of a table's entry as children of `node`."""
        try:
            targets = parse_targets(value, self._style.is_modern)
        except AliasFault as fault:
            return _refuse(S451_LOCAL_ERROR, f"table {table}, entry of {node.value}: {fault}")
        self._add_targets(node, address, rule, targets, "")
        return None

    def _add_targets(self, node: _Node, address: _Node, rule: Rule, targets: Iterable[Target], owner: str) -> None:
        """Children of `node`. A user who names himself is delivered to, not expanded again. owner: of the `.forward`."""
        for target in targets:
            kind, value = target.kind, target.value
            is_same = kind is node.kind is TargetKind.USER and value in (node.value, owner)
            of_owner = owner if kind in _PROGRAMS else ""
            self.add(_Node(kind, value, node.depth + 1, address, rule, is_same, of_owner))

    def _deliver_here(
        self, address: _Node, dispatcher: LocalDispatcher, rule: Rule, user: UserInfo
    ) -> Expansion | None:
        """A local destination, unless its format does not fit these addresses: what mda could never deliver is not taken."""
        if "%" in dispatcher.target:
            addresses = _Addresses(self._sender, self._rcpt, address.value)
            try:
                expand_format(
                    dispatcher.target,
                    envelope=addresses,
                    home=user.home,
                    username=user.user,
                    is_modern=self._style.is_modern,
                    delimiter=self._style.delimiter,
                )
            except FormatError as error:
                return _refuse(S451_LOCAL_ERROR, f"{dispatcher.method} {dispatcher.target}: {error}")
        self._deliver(address, dispatcher, rule, self._sender)
        return None

    def _deliver(self, address: _Node, dispatcher: Dispatcher, rule: Rule, sender: str) -> None:
        self.destinations.append(Destination(address.value, dispatcher, rule.expire_s, sender))


def _decided(node: _Node) -> tuple[Rule, LocalAction | ExpandAction, _Node]:
    assert node.rule is not None and node.address is not None, "it stands below an address whose rule is known"
    assert isinstance(node.rule.action, LocalAction | ExpandAction), "only these have anything below an address"
    return node.rule, node.rule.action, node.address


def _refuse(status: Status, detail: str) -> Expansion:
    return Expansion((), status, detail)
