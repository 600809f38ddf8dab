"""Recipient expansion: ruleset, aliases, virtual, userbase, limits and refusals (reference 2.4, 3, 13.2)."""

import msgspec
import pytest

from smtpfleet.contracts.commands import ForwardQuery
from smtpfleet.contracts.configuration import CLASSIC, LOCAL_HOST, MODERN, Action, Condition, Rule, Table
from smtpfleet.contracts.envelope import LocalDispatcher, RemoteDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail import expand
from smtpfleet.mail.address import Mailbox, local_content, local_part
from smtpfleet.mail.expand import Expansion, expand_rcpt
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import Tables, UserInfo
from smtpfleet.mail.walk import Style, expansion_steps
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    HOSTNAME,
    OURS,
    REJECT,
    configuration,
    expand_action,
    facts,
    list_table,
    local_action,
    mapping_table,
    relay_action,
    rule,
)

FROM_LOCAL = Condition("source", LOCAL_HOST, False)
RELAY_OUT = rule(relay_action(), FROM_LOCAL, ANYWHERE)
USERS = {name: f"1000:1000:/home/{name}" for name in ("alice", "bob", "root", "joe", "postmaster")}
INVALID, REFUSED, LATER = expand.S550_INVALID_RECIPIENT, expand.S550_RELAYING_REFUSED, S451_LOCAL_ERROR


def expansion_of(
    rcpt: str,
    action: Action,
    *,
    table: dict[str, str] | None = None,
    session: SessionFacts | None = None,
    more_rules: tuple[Rule, ...] = (RELAY_OUT,),
    language: str = CLASSIC,
) -> Expansion:
    """`action` for our domains from anyone; `table` is both the alias and the virtual table `t`."""
    tables: tuple[Table, ...] = (
        list_table("ours", "example.test", "other.test", HOSTNAME),
        mapping_table("users", USERS),
        mapping_table("t", table or {}),
    )
    snapshot = configuration(rule(action, ANYONE, OURS), *more_rules, tables=tables)
    snapshot = msgspec.structs.replace(snapshot, language=language)
    return expand_rcpt(snapshot, Tables(snapshot), session or facts(), rcpt)


def reached(expansion: Expansion) -> list[tuple[str, str]]:
    """(dest, local user or relay domain) of every destination."""
    assert (expansion.refusal is None) is bool(expansion.destinations)
    return [
        (to.dest, to.dispatcher.user if isinstance(to.dispatcher, LocalDispatcher) else to.dispatcher.domain)
        for to in expansion.destinations
    ]


# Delivery without a table


@pytest.mark.parametrize(
    ("rcpt", "user"),
    [
        pytest.param("alice@example.test", "alice", id="a user"),
        pytest.param("Alice@Example.TEST", "alice", id="letter case is kept in dest"),
        pytest.param("alice+lists@example.test", "alice", id="the subaddress is kept in dest"),
        pytest.param("alice+a+b@example.test", "alice", id="cut at the first delimiter"),
    ],
)
def test_a_local_user(rcpt: str, user: str) -> None:
    (destination,) = expansion_of(rcpt, local_action()).destinations
    assert destination.dest == rcpt
    assert destination.dispatcher == LocalDispatcher("maildir", "~/Maildir", user, "users")
    assert (destination.expire_s, destination.sender) == (345600, "s@peer.test")


@pytest.mark.parametrize("rcpt", ["postmaster", "PostMaster"])
def test_a_bare_postmaster_is_completed_with_the_server_name(rcpt: str) -> None:
    assert reached(expansion_of(rcpt, local_action())) == [(f"{rcpt}@{HOSTNAME}", "postmaster")]


def test_relay_by_mx() -> None:
    (destination,) = expansion_of("X+y@Far.Test", local_action(), session=facts(is_local=True)).destinations
    assert destination.dest == "X+y@Far.Test"
    assert destination.dispatcher == RemoteDispatcher("far.test", False, 0, "opportunistic", False, "", "", "", "", "")


def test_relay_via_a_host() -> None:
    via = rule(relay_action(host="smart.test", port=587), FROM_LOCAL, ANYWHERE, expire_s=60)
    found = expansion_of("x@far.test", local_action(), session=facts(is_local=True), more_rules=(via,))
    (destination,) = found.destinations
    assert destination.dispatcher == RemoteDispatcher(
        "smart.test", True, 587, "opportunistic", False, "", "", "", "", ""
    )
    assert destination.expire_s == 60


@pytest.mark.parametrize(
    ("mail_from", "sender", "rewritten"),
    [
        pytest.param("news", "a@b.test", f"news@{HOSTNAME}", id="a user gets the server name"),
        pytest.param("@corp.test", "a@b.test", "a@corp.test", id="a domain keeps the user"),
        pytest.param("x@y.test", "a@b.test", "x@y.test", id="an address replaces all"),
        pytest.param("x@y.test", "", "", id="the null sender stays null"),
        pytest.param("", "a@b.test", "a@b.test", id="without it"),
    ],
)
def test_relay_as(mail_from: str, sender: str, rewritten: str) -> None:
    relay = rule(relay_action(mail_from=mail_from), ANYONE, ANYWHERE)
    session = facts(sender=sender)
    (destination,) = expansion_of("x@far.test", local_action(), session=session, more_rules=(relay,)).destinations
    assert destination.sender == rewritten


@pytest.mark.parametrize(
    ("rcpt", "refusal"),
    [
        pytest.param("nobody@example.test", INVALID, id="an unknown user"),
        pytest.param("+tag@example.test", INVALID, id="no user before the delimiter"),
        pytest.param("u" * 32 + "@example.test", INVALID, id="a name longer than a user's"),
        pytest.param("x@far.test", REFUSED, id="relaying from outside"),
    ],
)
def test_refusals(rcpt: str, refusal: Status) -> None:
    found = expansion_of(rcpt, local_action())
    assert (found.destinations, found.refusal) == ((), refusal)
    assert found.detail


def test_a_domain_of_ours_that_no_rule_takes_from_this_peer_is_an_invalid_recipient() -> None:
    inside = rule(local_action(), FROM_LOCAL, OURS)
    snapshot = configuration(inside, tables=(list_table("ours", "example.test"), mapping_table("users", USERS)))
    assert expand_rcpt(snapshot, Tables(snapshot), facts(), "alice@example.test").refusal == INVALID


@pytest.mark.parametrize(("rcpt", "refusal"), [("a@example.test", REFUSED), (f"a@{HOSTNAME}", INVALID)])
def test_a_reject_rule_is_always_550(rcpt: str, refusal: Status) -> None:
    assert expansion_of(rcpt, REJECT).refusal == refusal


# Aliases


@pytest.mark.parametrize(
    ("table", "rcpt", "expected"),
    [
        pytest.param(
            {"root": "alice"}, "root@example.test", [("root@example.test", "alice")], id="a user, dest unchanged"
        ),
        pytest.param(
            {"root": "Alice"}, "ROOT+x@example.test", [("ROOT+x@example.test", "alice")], id="letter case and tag"
        ),
        pytest.param({"a": "b", "b": "alice"}, "a@example.test", [("a@example.test", "alice")], id="nested"),
        pytest.param(
            {"all": "alice, bob"},
            "all@example.test",
            [("all@example.test", "alice"), ("all@example.test", "bob")],
            id="a list",
        ),
        pytest.param(
            {"a": "alice, b", "b": "alice"}, "a@example.test", [("a@example.test", "alice")], id="twice is once"
        ),
        pytest.param(
            {"a": "x@far.test"}, "a@example.test", [("x@far.test", "far.test")], id="an address is relayed as local"
        ),
        pytest.param({"a": "bob@other.test"}, "a@example.test", [("bob@other.test", "bob")], id="an address of ours"),
        pytest.param(
            {"alice": "alice, x@far.test"},
            "alice@example.test",
            [("alice@example.test", "alice"), ("x@far.test", "far.test")],
            id="a user who keeps a copy",
        ),
        pytest.param(
            {"alice": r"\alice"}, "alice@example.test", [("alice@example.test", "alice")], id="a user who is himself"
        ),
        pytest.param(
            {"a": "x@far.test, b", "b": "x@far.test"},
            "a@example.test",
            [("x@far.test", "far.test")],
            id="one relay twice",
        ),
    ],
)
def test_aliases(table: dict[str, str], rcpt: str, expected: list[tuple[str, str]]) -> None:
    assert reached(expansion_of(rcpt, local_action(alias="t"), table=table)) == expected


@pytest.mark.parametrize(
    ("table", "refusal"),
    [
        pytest.param({"a": "nobody"}, INVALID, id="a target that does not exist"),
        pytest.param({"a": "alice, nobody"}, INVALID, id="one failing branch fails all"),
        pytest.param({"a": "root", "root": "root2", "root2": "root"}, INVALID, id="a loop of users is empty"),
        pytest.param({"a": "a@other.test"}, INVALID, id="a loop through addresses ends at the depth limit"),
        pytest.param({"a": "a"}, INVALID, id="a user who is himself and does not exist"),
        pytest.param({"a": "error:550 go away"}, Status(550, "", "go away"), id="error, verbatim"),
        pytest.param({"a": "error:421 4.2.1 later"}, Status(421, "4.2.1", "later"), id="error with enhanced code"),
        pytest.param({"a": "error:550 näh\x01x"}, Status(550, "", "n?h x"), id="error in one line of ASCII"),
        pytest.param({"a": "error:550x"}, LATER, id="a malformed error"),
        pytest.param({"a": "foo@bad_domain"}, LATER, id="a malformed address"),
        pytest.param({"a": ""}, LATER, id="an empty value"),
        pytest.param({"a": "|/bin/true"}, INVALID, id="a command where the userbase has no _smtpd"),
        pytest.param({"a": "/var/mail/a"}, INVALID, id="a file where the userbase has no _smtpd"),
        pytest.param({"a": "alice, :include:/etc/list"}, LATER, id="an include that config has not read"),
        pytest.param({"a": ":include:/dev/null"}, INVALID, id="an include that adds nothing"),
    ],
)
def test_aliases_that_are_refused(table: dict[str, str], refusal: Status) -> None:
    found = expansion_of("a@example.test", local_action(alias="t"), table=table)
    assert (found.destinations, found.refusal) == ((), refusal)
    assert found.detail


def test_eight_aliases_in_a_row_are_followed_and_nine_are_not() -> None:
    chain = {f"a{number}": f"a{number + 1}" for number in range(1, 8)} | {"a8": "alice"}
    assert reached(expansion_of("a1@example.test", local_action(alias="t"), table=chain)) == [
        ("a1@example.test", "alice")
    ]
    deeper = chain | {"a0": "a1"}
    found = expansion_of("a0@example.test", local_action(alias="t"), table=deeper)
    assert (found.refusal, found.detail) == (INVALID, "expansion deeper than 10 at alice")


def test_a_list_that_multiplies_through_addresses_is_stopped() -> None:
    table = {f"l{i}": ",".join(f"l{j}@example.test" for j in range(40)) for i in range(40)}
    found = expansion_of("l0@example.test", local_action(alias="t"), table=table)
    assert (found.refusal, found.detail) == (LATER, "expansion has more than 10000 nodes")


def test_a_long_list_is_expanded_in_the_order_of_its_text() -> None:
    table = {"all": ", ".join(f"u{i}@far.test" for i in range(2000))}
    found = expansion_of("all@example.test", local_action(alias="t"), table=table)
    assert [to.dest for to in found.destinations] == [f"u{i}@far.test" for i in range(2000)]


# Virtual


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            {"info@example.test": "alice", "info": "bob", "@example.test": "joe", "@": "root"},
            "alice",
            id="user@domain",
        ),
        pytest.param({"info": "bob", "@example.test": "joe", "@": "root"}, "bob", id="then user"),
        pytest.param({"@example.test": "joe", "@": "root"}, "joe", id="then @domain"),
        pytest.param({"@": "root"}, "root", id="then @"),
    ],
)
def test_virtual_keys_in_order(table: dict[str, str], expected: str) -> None:
    rcpt = "Info+tag@Example.Test"
    assert reached(expansion_of(rcpt, local_action(virtual="t"), table=table)) == [(rcpt, expected)]


@pytest.mark.parametrize(
    ("rcpt", "table", "expected"),
    [
        pytest.param(
            '"a b"@example.test', {'"a b"@example.test': "alice", "@": "root"}, "alice", id="as it is written"
        ),
        pytest.param('"a b"@example.test', {"a b@example.test": "alice", "@": "root"}, "alice", id="without quotes"),
        pytest.param('"A b+tag"@example.test', {'"a b"@example.test': "alice", "@": "root"}, "alice", id="a tag"),
        pytest.param('"a b"@example.test', {'"a b"': "alice", "@": "root"}, "alice", id="without the domain"),
        pytest.param('"a@b"@example.test', {'"a@b"': "alice", "a@b": "joe"}, "alice", id="an @, without the domain"),
        pytest.param(
            '"a@other.test"@example.test',
            {"a@other.test": "joe", "@": "root"},
            "root",
            id="no address of another domain",
        ),
        pytest.param(
            '"@other.test"@example.test',
            {"@other.test": "joe", "@": "root"},
            "root",
            id="no catch-all of another domain",
        ),
        pytest.param("é@example.test", {"é@example.test": "alice", "@": "root"}, "alice", id="beyond ASCII"),
    ],
)
@pytest.mark.parametrize("language", [CLASSIC, MODERN])
def test_quoted_local_parts_in_virtual_tables(rcpt: str, table: dict[str, str], expected: str, language: str) -> None:
    found = expansion_of(rcpt, local_action(virtual="t"), table=table, language=language)
    assert reached(found) == [(rcpt, expected)]


@pytest.mark.parametrize("key", ["a b", '"a b"', '"bob@other.test"'])
def test_quoted_local_parts_in_alias_tables(key: str) -> None:
    rcpt = f"{local_part(local_content(key))}@example.test"
    found = expansion_of(rcpt, local_action(alias="t"), table={key: "alice", "bob@other.test": "root"})
    assert reached(found) == [(rcpt, "alice")]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param({"a": "x@far.test"}, [("x@far.test", "far.test")], id="an address is relayed"),
        pytest.param(
            {"a": "b@other.test", "b": "bob"}, [("b@other.test", "bob")], id="an address of ours is virtual again"
        ),
    ],
)
def test_virtual_addresses_go_back_to_the_ruleset(table: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert reached(expansion_of("a@example.test", local_action(virtual="t"), table=table)) == expected


@pytest.mark.parametrize(
    ("table", "refusal"),
    [
        pytest.param({"b": "alice"}, INVALID, id="no entry, though the user exists"),
        pytest.param({"alice": "nobody"}, INVALID, id="a user the userbase does not know"),
        pytest.param({"alice": "alice@other.test"}, INVALID, id="a loop through addresses"),
        pytest.param({"alice": "a b"}, LATER, id="a malformed value"),
    ],
)
def test_virtual_refusals(table: dict[str, str], refusal: Status) -> None:
    assert expansion_of("alice@example.test", local_action(virtual="t"), table=table).refusal == refusal


# Rules without an action


def test_an_expand_rule_must_end_in_addresses_that_other_rules_take() -> None:
    found = expansion_of("a@example.test", expand_action(alias="t"), table={"a": "x@far.test"})
    assert reached(found) == [("x@far.test", "far.test")]


@pytest.mark.parametrize(
    ("is_forward_only", "refusal"),
    [pytest.param(False, INVALID, id="no action"), pytest.param(True, LATER, id="forward-only")],
)
def test_an_expand_rule_delivers_to_no_user(is_forward_only: bool, refusal: Status) -> None:
    action = expand_action(is_forward_only=is_forward_only)
    assert expansion_of("alice@example.test", action).refusal == refusal


# Faults of tables


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(local_action(userbase="absent"), id="userbase"),
        pytest.param(local_action(alias="absent"), id="alias"),
        pytest.param(local_action(virtual="absent"), id="virtual"),
    ],
)
def test_a_table_that_cannot_answer_is_a_temporary_failure(action: Action) -> None:
    found = expansion_of("alice@example.test", action)
    assert (found.refusal, found.detail) == (LATER, "no such table: absent")


def test_a_malformed_userinfo_is_a_temporary_failure() -> None:
    assert expansion_of("alice@example.test", local_action(userbase="t"), table={"alice": "x"}).refusal == LATER


# The walk as a generator


def test_the_walk_asks_and_is_resumed() -> None:
    action = local_action(alias="t")
    steps = expansion_steps(Style(HOSTNAME), "s@peer.test", "root@example.test")
    asked: list[object] = [next(steps)]
    for answer in (rule(action), "alice", None, UserInfo("alice", 1000, 1000, "/home/alice")):
        asked.append(steps.send(answer))
    with pytest.raises(StopIteration) as done:
        steps.send(expand.NO_FORWARD)
    assert asked == [
        expand.RuleQuery(Mailbox("root", "example.test"), False),
        expand.AliasQuery("t", ("root",)),
        expand.AliasQuery("t", ("alice",)),
        expand.UserQuery("users", "alice"),
        ForwardQuery("users", "alice"),
    ]
    assert reached(done.value.value) == [("root@example.test", "alice")]


# Formats


@pytest.mark.parametrize(
    ("target", "language", "sender", "detail"),
    [
        pytest.param("~/%{sender.user}", CLASSIC, "", "format token is empty: sender.user", id="null sender, classic"),
        pytest.param("~/%{sender.user}", MODERN, "", "", id="null sender, modern"),
        pytest.param(
            "~/%{rcpt.user[5:]}", MODERN, "s@peer.test", "format range out of bounds: rcpt.user[5:]", id="range"
        ),
        pytest.param("~/%{rcpt.user[4:]}", MODERN, "s@peer.test", "", id="a range that fits"),
        pytest.param("~/%{nosuch}", CLASSIC, "s@peer.test", "unknown format token: nosuch", id="unknown token"),
    ],
)
def test_what_mda_could_not_expand_is_not_taken(target: str, language: str, sender: str, detail: str) -> None:
    action = msgspec.structs.replace(local_action(), target=target)
    found = expansion_of("alice@example.test", action, session=facts(sender=sender), language=language)
    assert (found.refusal, found.detail) == ((LATER, f"maildir {target}: {detail}") if detail else (None, ""))


def test_formats_of_commands_in_tables_are_looked_at_too() -> None:
    users = {"a": "|deliver %{rcpt.user}", "b": "|deliver %{nosuch}"}
    action = msgspec.structs.replace(local_action(alias="t"), user="bob")
    assert reached(expansion_of("a@example.test", action, table=users)) == [("a@example.test", "bob")]
    assert expansion_of("b@example.test", action, table=users).refusal == LATER
