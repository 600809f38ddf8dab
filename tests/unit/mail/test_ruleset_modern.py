"""Rule evaluation of the modern form: its conditions, expressions, who is local, and addresses in tables (reference 2.3, 11.2)."""

import msgspec
import pytest

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.configuration import ANY_HOST, LOCAL_HOST, MODERN, Condition, Configuration, Rule, Table
from smtpfleet.mail.address import Mailbox
from smtpfleet.mail.ruleset import SessionFacts, is_local_domain, match_rule
from smtpfleet.mail.tables import NotInline, TableError, Tables
from tests.unit.mail.building import configuration, list_table, local_action, rule

DEST = Mailbox("alice", "example.test")
TABLES = (
    list_table("net", "192.0.2.0/24"),
    list_table("names", "*.peer.test", "client.test"),
    list_table("users", "alice", "bob"),
    list_table("tags", "msa", "lan"),
    list_table(
        "regex", "^192\\.0\\.2\\.", "^(client|mail)\\.", "^bob$", "^s@", "^@$", "^alice@", "^msa$", "^example\\."
    ),
    list_table("broken", "(", "^client"),
)
AUTH = Condition("auth", "", False, "any")
SOCKET = Condition("socket", "", False, "any")
RDNS = Condition("rdns", "", False, "any")


def modern(*rules: Rule, tables: tuple[Table, ...] = TABLES) -> Configuration:
    return msgspec.structs.replace(configuration(*rules, tables=tables), language=MODERN)


def session(
    *,
    tag: str = "",
    peer: str = "192.0.2.9",
    is_local: bool = False,
    sender: str = "s@peer.test",
    auth_user: str = "",
    has_tls: bool = False,
    rdns: str = "",
    is_socket: bool = False,
) -> SessionFacts:
    return SessionFacts(tag, peer, is_local, sender, "client.test", auth_user, has_tls, rdns, is_socket)


def negated(condition: Condition) -> Condition:
    return msgspec.structs.replace(condition, negated=not condition.negated)


def is_matched(condition: Condition, facts: SessionFacts, *, is_internal: bool = False) -> bool:
    snapshot = modern(rule(local_action(), condition))
    return match_rule(snapshot, Tables(snapshot), facts, DEST, is_internal=is_internal) is not None


@pytest.mark.parametrize(
    ("condition", "facts", "holds"),
    [
        pytest.param(AUTH, session(auth_user="alice"), True, id="authenticated"),
        pytest.param(AUTH, session(), False, id="not authenticated"),
        pytest.param(AUTH, session(is_socket=True), True, id="the socket counts as authenticated"),
        pytest.param(Condition("auth", "users", False), session(auth_user="Bob"), True, id="as one of them"),
        pytest.param(Condition("auth", "users", False), session(auth_user="eve"), False, id="as somebody else"),
        pytest.param(Condition("auth", "users", False), session(), False, id="as nobody"),
        pytest.param(Condition("auth", "regex", False, "regex"), session(auth_user="bob"), True, id="a user by regex"),
        pytest.param(Condition("auth", "regex", False, "regex"), session(), False, id="nobody by regex"),
        pytest.param(Condition("tls", "", False, "any"), session(has_tls=True), True, id="with TLS"),
        pytest.param(Condition("tls", "", False, "any"), session(), False, id="without TLS"),
        pytest.param(Condition("helo", "names", False), session(), True, id="the HELO name"),
        pytest.param(Condition("helo", "regex", False, "regex"), session(), True, id="the HELO name by regex"),
        pytest.param(Condition("helo", "broken", False, "regex"), session(), True, id="one bad regex of two"),
        pytest.param(Condition("tag", "tags", False), session(tag="MSA"), True, id="a tag of a table"),
        pytest.param(Condition("tag", "tags", False), session(tag="x"), False, id="a tag of no table"),
        pytest.param(Condition("tag", "regex", False, "regex"), session(tag="msa"), True, id="a tag by regex"),
        pytest.param(Condition("source", "regex", False, "regex"), session(), True, id="the address by regex"),
        pytest.param(Condition("source", "net", False), session(is_local=True), True, id="authenticated in a network"),
        pytest.param(Condition("source", LOCAL_HOST, False), session(is_local=True), False, id="it is not local"),
        pytest.param(Condition("source", LOCAL_HOST, False), session(is_socket=True), True, id="the socket is local"),
        pytest.param(Condition("source", ANY_HOST, False), session(is_socket=True), True, id="the socket is anyone"),
        pytest.param(Condition("sender", "regex", False, "regex"), session(), True, id="the sender by regex"),
        pytest.param(Condition("sender", "regex", False, "regex"), session(sender=""), True, id="null by regex"),
        pytest.param(Condition("recipient", "regex", False, "regex"), session(), True, id="the recipient by regex"),
        pytest.param(Condition("destination", "regex", False, "regex"), session(), True, id="the domain by regex"),
        pytest.param(SOCKET, session(is_socket=True), True, id="from the socket"),
        pytest.param(SOCKET, session(), False, id="from the network"),
        pytest.param(RDNS, session(rdns="a.peer.test"), True, id="with a name"),
        pytest.param(RDNS, session(), False, id="without a name"),
        pytest.param(Condition("rdns", "names", False), session(rdns="a.peer.test"), True, id="a name of the table"),
        pytest.param(Condition("rdns", "names", False), session(rdns="a.else.test"), False, id="another name"),
        pytest.param(Condition("rdns", "regex", False, "regex"), session(rdns="mail.x"), True, id="a name by regex"),
    ],
)
def test_a_condition_and_its_negation(condition: Condition, facts: SessionFacts, holds: bool) -> None:
    assert is_matched(condition, facts) is holds
    assert is_matched(negated(condition), facts) is not holds


@pytest.mark.parametrize("kind", ["table", "regex"])
def test_who_has_no_name_matches_neither_a_table_of_names_nor_its_negation(kind: str) -> None:
    condition = Condition("rdns", "names" if kind == "table" else "regex", False, kind)
    assert not is_matched(condition, session())
    assert not is_matched(negated(condition), session())


@pytest.mark.parametrize("condition", [SOCKET, RDNS], ids=["socket", "rdns"])
def test_what_comes_out_of_an_expansion_has_no_peer(condition: Condition) -> None:
    facts = session(is_socket=True, rdns="a.peer.test")
    assert not is_matched(condition, facts, is_internal=True)
    assert not is_matched(negated(condition), facts, is_internal=True)
    assert is_matched(Condition("source", LOCAL_HOST, False), session(), is_internal=True)


@pytest.mark.parametrize("kind", ["any", "table", "regex"])
def test_an_unknown_condition_is_an_error_and_not_a_mismatch(kind: str) -> None:
    with pytest.raises(TableError):
        is_matched(Condition("moon", "net", False, kind), session())


@pytest.mark.parametrize(
    ("address", "entry", "is_match"),
    [
        pytest.param("u+t@d.org", "u@d.org", True, id="the tag is stripped"),
        pytest.param("u+t@d.org", "u+t@d.org", True, id="the entry has the tag"),
        pytest.param("u@d.org", "u+t@d.org", False, id="the entry has a tag, the address none"),
        pytest.param("u+s@d.org", "u+t@d.org", False, id="the entry has another tag"),
        pytest.param("u@d.org", "u", True, id="a bare user"),
        pytest.param("u+t@d.org", "u", True, id="a bare user and a tag"),
        pytest.param("v@d.org", "u", False, id="another bare user"),
        pytest.param("u@d.org", "@", True, id="an at sign is everybody"),
        pytest.param("", "@", True, id="an at sign is the null sender, too"),
        pytest.param("", "@d.org", False, id="the null sender has no domain"),
        pytest.param("", "u", False, id="the null sender has no user"),
        pytest.param("u@d.org", "@d.org", True, id="any user of a domain"),
        pytest.param("u@d.org", "@*.org", True, id="any user of a wildcard"),
        pytest.param("u+t@d.org", "u@*.org", True, id="a user of a wildcard, with a tag"),
        pytest.param("v@d.org", "u@*.org", False, id="another user of a wildcard"),
        pytest.param("+t@d.org", "@e.org", False, id="nothing before the tag"),
        pytest.param('"u+to do"@d.org', "u@d.org", True, id="a tag in quotes"),
        pytest.param('"u+t@e.org"@d.org', "u@e.org", False, id="a tag with an @"),
        pytest.param("U@D.ORG", "u@d.org", True, id="letter case"),
        pytest.param("postmaster", "postmaster", True, id="an address without a domain"),
        pytest.param("u@d.org", "u@", True, id="a user and an at sign"),
    ],
)
def test_mailaddr(address: str, entry: str, is_match: bool) -> None:
    snapshot = modern(tables=(list_table("t", entry),))
    assert Tables(snapshot).match_mailaddr("t", address) is is_match


def test_the_delimiter_of_the_configuration_parts_user_and_tag() -> None:
    snapshot = msgspec.structs.replace(modern(tables=(list_table("t", "u@d.org"),)), subaddress_delimiter="-")
    assert Tables(snapshot).match_mailaddr("t", "u-t@d.org")
    assert not Tables(snapshot).match_mailaddr("t", "u+t@d.org")


def test_domains_by_regex_are_ours() -> None:
    snapshot = modern(rule(local_action(), Condition("destination", "regex", False, "regex")))
    assert is_local_domain(snapshot, Tables(snapshot), "example.org")
    assert not is_local_domain(snapshot, Tables(snapshot), "else.org")


def test_a_table_that_is_not_in_the_snapshot_says_what_to_ask_and_takes_the_answer() -> None:
    elsewhere = Table("far", "dynamic", "sqlite", "/far", {}, is_inline=False)
    snapshot = modern(rule(local_action(), Condition("sender", "far", False)), tables=(elsewhere,))
    tables = Tables(snapshot)
    with pytest.raises(NotInline) as asked:
        match_rule(snapshot, tables, session(sender="S@Peer.test"), DEST, is_internal=False)
    question = (asked.value.table, asked.value.service, asked.value.key)
    assert question == ("far", TableService.MAILADDR, "s@peer.test") and asked.value.is_check
    for answer, is_match in (("", True), (None, False)):
        answered = tables.with_answers({question: answer})
        got = match_rule(snapshot, answered, session(sender="S@Peer.test"), DEST, is_internal=False)
        assert (got is not None) is is_match


@pytest.mark.parametrize("service", ["domain", "netaddr", "string", "regex"])
def test_every_match_asks_by_its_service(service: str) -> None:
    tables = Tables(modern(tables=(Table("far", "dynamic", "redis", "/far", {}, is_inline=False),)))
    match = getattr(tables, f"match_{service}")
    with pytest.raises(NotInline) as asked:
        match("far", "KEY")
    assert (asked.value.service, asked.value.key) == (TableService(service), "key")
    assert getattr(tables.with_answers({("far", TableService(service), "key"): ""}), f"match_{service}")("far", "KEY")


def test_a_value_that_is_not_in_the_snapshot_is_asked_and_not_found_is_an_answer() -> None:
    tables = Tables(modern(tables=(Table("far", "dynamic", "redis", "/far", {}, is_inline=False),)))
    with pytest.raises(NotInline) as asked:
        tables.lookup_alias("far", "Root")
    assert not asked.value.is_check
    assert tables.with_answers({("far", TableService.ALIAS, "root"): "alice"}).lookup_alias("far", "Root") == "alice"
    assert tables.with_answers({("far", TableService.ALIAS, "root"): None}).lookup_alias("far", "Root") is None
    with pytest.raises(TableError):
        tables.values_of("far")


def test_the_elements_of_a_list_keep_their_order() -> None:
    assert Tables(modern()).values_of("tags") == ("msa", "lan")
