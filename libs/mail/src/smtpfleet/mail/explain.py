"""Tells in words what becomes of a recipient and why: the rules passed over, the one that decides, each step of the expansion.

Watches the same walk that smtp-in takes at RCPT and writes down its queries and answers; matches and expands nothing itself. Pure: who
calls asks the questions (runtime.questions). Used by config, for its command and for the bus. OpenSMTPD has only `smtpd -T`.
"""

import ipaddress
from collections.abc import Iterable

from smtpfleet.contracts.commands import ExplainQuery, ExplainReply, ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    LOCAL_HOST,
    LOCAL_NAMES,
    Condition,
    LocalAction,
    RejectAction,
    RelayAction,
    Rule,
)
from smtpfleet.contracts.envelope import Dispatcher, RemoteDispatcher
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.mail.address import complete_mailbox, is_valid_helo, parse_mailbox
from smtpfleet.mail.expand import Answer, Expander, OpenExpansion
from smtpfleet.mail.expansion import (
    AliasQuery,
    Destination,
    Expansion,
    LocalDomainQuery,
    Query,
    RelayHostQuery,
    RuleQuery,
    UserQuery,
)
from smtpfleet.mail.ruleset import LOCAL_PEER, SessionFacts, source_of, unmet_condition
from smtpfleet.mail.srs import rewrite_domain
from smtpfleet.mail.tables import NotInline, UserInfo

_PREDEFINED = {ANY_DESTINATION: "any", ANY_HOST: "any", LOCAL_HOST: "local", LOCAL_NAMES: "local"}
_WORDS = {"source": "from", "destination": "for", "recipient": "rcpt-to", "sender": "mail-from"}


def query_fault(query: ExplainQuery) -> str:
    """What is wrong with the question, for who asked it; "" where it can be answered."""
    if query.peer != LOCAL_PEER:
        try:
            ipaddress.ip_address(query.peer)
        except ValueError:
            return f"peer: {query.peer!r} is neither an address nor {LOCAL_PEER}"
    # The domain matters not here, only that one is added.
    own_domain = "a" if query.peer == LOCAL_PEER else ""
    if query.sender and _address_of(query.sender, own_domain) is None:
        return f"sender: {query.sender!r} is not an address"
    if query.rcpt.lower() != "postmaster" and _address_of(query.rcpt, own_domain) is None:
        return f"rcpt: {query.rcpt!r} is not an address"
    if query.helo and not is_valid_helo(query.helo):
        return f"helo: {query.helo!r} is not a name a client can give"
    return ""


def _address_of(text: str, own_domain: str) -> str | None:
    """As MAIL and RCPT read it (mail.grammar): without a domain it gets `own_domain`, where that is not ""."""
    mailbox = parse_mailbox(text) or (complete_mailbox(text, own_domain) if own_domain else None)
    return None if mailbox is None else mailbox.text


class Explanation:
    """One recipient's story. `expansion` is to be brought to its end by who made this; then `reply` tells it."""

    def __init__(self, expander: Expander, query: ExplainQuery) -> None:
        self._expander = expander
        self._is_submitted = query.peer == LOCAL_PEER
        self._facts = SessionFacts(
            tag=query.tag or self._own_tag(),
            peer=query.peer,
            is_local=self._is_submitted or bool(query.auth),
            sender=self._address_in(query.sender),
            helo=query.helo,
            auth_user=query.auth,
            has_tls=query.has_tls,
            rdns=query.rdns,
            is_socket=self._is_submitted,
        )
        self._rcpt = self._address_in(query.rcpt)
        self._lines: list[str] = []
        self.expansion = OpenExpansion(expander, self._facts, self._rcpt, self._note)

    def _address_in(self, text: str) -> str:
        """What smtp-in makes of an address on the submission socket, a bare postmaster and the null sender aside."""
        if not self._is_submitted or not text or text.lower() == "postmaster":
            return text
        return _address_of(text, self._own_name()) or text

    def _own_tag(self) -> str:
        """What `listen on socket` tags: whoever asks about mail that comes in there need not know."""
        tags = [each.tag for each in self._expander.configuration.listeners if each.address == "socket"]
        return tags[0] if self._is_submitted and tags else ""

    def _own_name(self) -> str:
        configuration = self._expander.configuration
        names = [each.hostname for each in configuration.listeners if each.address == "socket" and each.hostname]
        return names[0] if names else configuration.hostname

    def reply(self, expansion: Expansion) -> ExplainReply:
        """The story with its end."""
        lines = list(self._lines)
        if expansion.refusal is not None:
            refusal = expansion.refusal.line
            lines.append(f"refused: {refusal}" + (f" ({expansion.detail})" if expansion.detail else ""))
        else:
            refusal = ""
        destinations = [self._destination_text(destination) for destination in expansion.destinations]
        lines += [f"envelope: {text}" for text in destinations]
        return ExplainReply(self._expander.configuration.version, lines, refusal, destinations)

    def _note(self, query: Query, answer: Answer) -> None:
        if isinstance(query, RuleQuery):
            assert answer is None or isinstance(answer, Rule)
            self._lines += self._rules_until(query, answer)
        elif not isinstance(query, LocalDomainQuery):
            self._lines.append("  " + _answer_text(query, answer))

    def _rules_until(self, query: RuleQuery, decided: Rule | None) -> Iterable[str]:
        """Why each rule before the one that decides does not match."""
        configuration = self._expander.configuration
        source = source_of(configuration, self._facts, is_internal=query.is_internal)
        yield f"address {query.dest.text}" + (", from an expansion" if query.is_internal else "")
        for rule in configuration.rules:
            if rule is decided:
                yield f"  {_rule_name(rule)} matches: {_action_text(rule)}"
                return
            try:
                unmet = unmet_condition(
                    rule, self.expansion.tables, self._facts, source, query.dest, is_internal=query.is_internal
                )
            except NotInline as missing:
                yield f"  {_rule_name(rule)}: table {missing.table} has not been asked"
                continue
            assert unmet is not None, "the walk passed it over"
            seen = _seen(unmet, self._facts, source, query)
            yield f"  {_rule_name(rule)}: no, {self._condition_text(unmet)} does not hold for {seen}"
        yield "  no rule matches"

    def _condition_text(self, condition: Condition) -> str:
        word = _WORDS.get(condition.subject, condition.subject)
        negation = "! " if condition.negated else ""
        if condition.kind == "any":
            return f"{negation}{word}"
        value = condition.value if condition.kind == "literal" else self._table_text(condition.value)
        return f"{negation}{word} {'regex ' if condition.kind == 'regex' else ''}{value}"

    def _table_text(self, name: str) -> str:
        """The table as the file has it: by name, or, where it has none, by what is in it."""
        if name in _PREDEFINED:
            return _PREDEFINED[name]
        table = self._expander.configuration.tables.get(name)
        if not name.startswith("<") or table is None:
            return f"<{name}>"
        entries = list(table.entries)
        return ", ".join(f'"{entry}"' for entry in entries[:3]) + (", …" if len(entries) > 3 else "")

    def _destination_text(self, destination: Destination) -> str:
        dispatcher, hostname = destination.dispatcher, self._expander.configuration.hostname
        domain = ""
        if isinstance(dispatcher, RemoteDispatcher) and dispatcher.is_srs:
            domain = rewrite_domain(destination.sender, self._rcpt, destination.dest, hostname)
        srs = f", which srs turns into an address of {domain}" if domain else ""
        return (
            f"{destination.dest} via {_dispatcher_text(dispatcher)}, from <{destination.sender}>{srs}"
            f", expires after {destination.expire_s} s"
        )


def _rule_name(rule: Rule) -> str:
    return f"{rule.location.file}:{rule.location.line}"


def _seen(condition: Condition, facts: SessionFacts, source: str, query: RuleQuery) -> str:
    """What the condition looked at."""
    values = {
        "source": source,
        "destination": query.dest.domain,
        "recipient": query.dest.text,
        "sender": f"<{facts.sender}>",
        "tag": facts.tag or "no tag",
        "helo": facts.helo or "no name",
        "auth": facts.auth_user or "nobody",
        "tls": "TLS" if facts.has_tls else "no TLS",
        "rdns": facts.rdns or "no name",
        "socket": "the socket" if facts.is_made_here else "a peer on the network",
    }
    return values[condition.subject]


def _action_text(rule: Rule) -> str:
    action = rule.action
    name = f'action "{rule.action_name}", ' if rule.action_name else ""
    if isinstance(action, LocalAction):
        return name + f"deliver to {action.method} {action.target}".rstrip()
    if isinstance(action, RelayAction):
        return name + f"relay {'via ' + action.host if action.host else ''}".rstrip()
    return name + ("reject" if isinstance(action, RejectAction) else "expand, deliver nothing itself")


def _answer_text(
    query: AliasQuery | UserQuery | RelayHostQuery | ForwardQuery | SrsRestoreQuery, answer: Answer
) -> str:
    if isinstance(query, AliasQuery):
        keys = ", ".join(query.keys)
        return f"table {_shown(query.table)}, {keys}: " + (f"{answer}" if answer is not None else "no entry")
    if isinstance(query, UserQuery):
        known = f"user {query.user} in table {_shown(query.table)}: "
        return known + (f"uid {answer.uid}, home {answer.home}" if isinstance(answer, UserInfo) else "unknown")
    if isinstance(query, RelayHostQuery):
        return f"table {_shown(query.table)}, {query.domain or 'the next relay'}: {answer or 'none'}"
    if isinstance(query, SrsRestoreQuery):
        assert isinstance(answer, SrsRestoreReply)
        return f"srs, {query.address}: " + (f"goes back to {answer.sender}" if answer.sender else answer.fault)
    assert isinstance(answer, ForwardReply)
    text = " ".join(answer.content.split()) if answer.result == "present" else answer.detail
    return f".forward of {query.user}: {answer.result}" + (f": {text}" if text else "")


def _shown(table: str) -> str:
    """As rules name it; one written in place has the brackets in its name."""
    return table if table.startswith("<") else f"<{table}>"


def _dispatcher_text(dispatcher: Dispatcher) -> str:
    if isinstance(dispatcher, RemoteDispatcher):
        return _relay_text(dispatcher)
    target = f" {dispatcher.target}" if dispatcher.target else ""
    return f"{dispatcher.method}{target} as user {dispatcher.user}"


def _relay_text(d: RemoteDispatcher) -> str:
    """Where mta goes, and all that it is told besides."""
    better = f" better than {d.backup}" if d.backup else ""
    host = d.domain if d.is_host else f"the MX of {d.domain}{better}"
    port = f" port {d.port}" if d.port else ""
    others = f", else another of table {_table_name(d.hosts)}" if d.hosts else ""
    told = (
        ("auth", d.auth),
        ("source", _table_name(d.source)),
        ("helo", d.helo),
        ("helo by source", _table_name(d.helo_source)),
        ("pki", d.pki),
        ("ca", d.ca if d.verify else ""),
        ("ciphers", d.ciphers),
        ("protocols", d.protocols),
    )
    options = "".join(f", {name} {value}" for name, value in told if value)
    tls = f"tls {d.tls}{' verify' if d.verify else ''}"
    return f"{'lmtp' if d.is_lmtp else 'smtp'} {host}{port}{others}, {tls}{options}"


def _table_name(name: str) -> str:
    """As it is written where it is used; that of a table without a name has its brackets, "" stays."""
    return name if not name or name.startswith("<") else f"<{name}>"
