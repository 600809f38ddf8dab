"""Rule evaluation: order, conditions, negation, and who is local (reference 2.1, 2.2)."""

import pytest

from smtpfleet.contracts.configuration import LOCAL_HOST, Condition
from smtpfleet.mail.address import Mailbox
from smtpfleet.mail.ruleset import SessionFacts, is_local_domain, match_rule
from smtpfleet.mail.tables import TableError, Tables
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    OURS,
    configuration,
    expand_action,
    facts,
    list_table,
    local_action,
    relay_action,
    rule,
)

DEST = Mailbox("alice", "example.test")
TABLES = (
    list_table("ours", "example.test"),
    list_table("net", "192.0.2.0/24"),
    list_table("senders", "@peer.test"),
    list_table("null", "@"),
    list_table("rcpts", "alice@example.test"),
)
FROM_LOCAL = Condition("source", LOCAL_HOST, False)
FROM_NET = Condition("source", "net", False)
TAG = Condition("tag", "sub", False, "literal")


def negated(condition: Condition) -> Condition:
    return Condition(condition.subject, condition.value, not condition.negated, condition.kind)


def is_matched(condition: Condition, session: SessionFacts, *, is_internal: bool = False) -> bool:
    snapshot = configuration(rule(local_action(), condition), tables=TABLES)
    return match_rule(snapshot, Tables(snapshot), session, DEST, is_internal=is_internal) is not None


@pytest.mark.parametrize(
    ("condition", "session", "holds"),
    [
        pytest.param(TAG, facts(tag="sub"), True, id="the tag"),
        pytest.param(TAG, facts(tag="SUB"), False, id="a tag is compared exactly"),
        pytest.param(TAG, facts(), False, id="no tag"),
        pytest.param(FROM_NET, facts(), True, id="a network"),
        pytest.param(FROM_NET, facts(peer="198.51.100.1"), False, id="outside the network"),
        pytest.param(FROM_LOCAL, facts(), False, id="a peer is not local"),
        pytest.param(FROM_LOCAL, facts(peer="127.0.0.1"), True, id="one of our addresses is local"),
        pytest.param(FROM_LOCAL, facts(is_local=True), True, id="authenticated is local"),
        pytest.param(FROM_LOCAL, facts(peer="local"), True, id="the local socket"),
        pytest.param(FROM_NET, facts(is_local=True), False, id="who is local matches no network"),
        pytest.param(ANYONE, facts(is_local=True), True, id="who is local is anyone"),
        pytest.param(Condition("sender", "senders", False), facts(), True, id="the sender"),
        pytest.param(Condition("sender", "senders", False), facts(sender="s@else.test"), False, id="another sender"),
        pytest.param(Condition("sender", "null", False), facts(sender=""), True, id="the null sender"),
        pytest.param(Condition("recipient", "rcpts", False), facts(), True, id="the recipient"),
        pytest.param(OURS, facts(), True, id="the destination"),
        pytest.param(ANYWHERE, facts(), True, id="any destination"),
    ],
)
def test_a_condition_and_its_negation(condition: Condition, session: SessionFacts, holds: bool) -> None:
    assert is_matched(condition, session) is holds
    assert is_matched(negated(condition), session) is not holds


def test_what_comes_out_of_an_expansion_is_local_whoever_the_peer_is() -> None:
    assert is_matched(FROM_LOCAL, facts(), is_internal=True)
    assert not is_matched(FROM_NET, facts(), is_internal=True)


def test_all_conditions_must_hold_and_the_first_rule_wins() -> None:
    first = rule(local_action(), FROM_LOCAL, OURS)
    second = rule(relay_action(), ANYONE, OURS)
    third = rule(local_action(), ANYONE, ANYWHERE)
    snapshot = configuration(first, second, third, tables=TABLES)
    tables = Tables(snapshot)
    assert match_rule(snapshot, tables, facts(), DEST, is_internal=False) is second
    assert match_rule(snapshot, tables, facts(is_local=True), DEST, is_internal=False) is first
    assert match_rule(snapshot, tables, facts(), Mailbox("a", "b"), is_internal=False) is third


def test_no_rule_matches() -> None:
    snapshot = configuration(rule(local_action(), FROM_LOCAL), tables=TABLES)
    assert match_rule(snapshot, Tables(snapshot), facts(), DEST, is_internal=False) is None


@pytest.mark.parametrize(
    "condition", [Condition("source", "absent", False), Condition("moon", "full", False)], ids=["a table", "a subject"]
)
def test_what_is_unknown_is_an_error_and_not_a_mismatch(condition: Condition) -> None:
    with pytest.raises(TableError):
        is_matched(condition, facts())


@pytest.mark.parametrize(
    ("domain", "is_local"),
    [
        pytest.param("example.test", True, id="delivered here"),
        pytest.param("lists.test", True, id="expanded here"),
        pytest.param("mx.example.test", True, id="the server's name"),
        pytest.param("relayed.test", False, id="only relayed"),
        pytest.param("else.test", False, id="only any"),
        pytest.param("negated.test", False, id="only excluded"),
    ],
)
def test_the_domains_we_take_mail_for(domain: str, is_local: bool) -> None:
    tables = (*TABLES, list_table("l", "lists.test"), list_table("r", "relayed.test"), list_table("n", "negated.test"))
    snapshot = configuration(
        rule(local_action(), FROM_LOCAL, OURS),
        rule(expand_action(), Condition("destination", "l", False)),
        rule(relay_action(), Condition("destination", "r", False)),
        rule(local_action(), ANYWHERE),
        rule(local_action(), Condition("destination", "n", True)),
        tables=tables,
    )
    assert is_local_domain(snapshot, Tables(snapshot), domain) is is_local
