"""Expansion beyond one table: `.forward`, commands and files, relays by URL, tables elsewhere, both languages (reference 3, 11.2, 13.2)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply, TableQuery, TableService
from smtpfleet.contracts.configuration import LOCAL_HOST, MODERN, Action, Condition, Configuration, LocalAction, Table
from smtpfleet.contracts.envelope import Dispatcher, LocalDispatcher, RemoteDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail.expand import NO_FORWARD, S550_INVALID_RECIPIENT, Expander, Expansion, Question
from smtpfleet.mail.tables import Tables
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    OURS,
    configuration,
    expand_action,
    facts,
    list_table,
    local_action,
    mapping_table,
    relay_action,
    rule,
)

USERS = {name: f"1000:1000:/home/{name}" for name in ("joe", "bob", "alice", "_smtpd", "vmail")} | {"root": "0:0:/root"}
RELAY_OUT = rule(relay_action(), Condition("source", LOCAL_HOST, False), ANYWHERE)
INVALID, LATER = S550_INVALID_RECIPIENT, S451_LOCAL_ERROR


def snapshot_of(
    action: Action, entries: dict[str, str] | None = None, *, is_modern: bool = False, delimiter: str = "+"
) -> Configuration:
    plain = configuration(
        rule(action, ANYONE, OURS),
        RELAY_OUT,
        tables=(list_table("ours", "d.org"), mapping_table("users", USERS), mapping_table("t", entries or {})),
    )
    language = MODERN if is_modern else plain.language
    return msgspec.structs.replace(plain, language=language, subaddress_delimiter=delimiter)


def expanded(snapshot: Configuration, rcpt: str, forwards: dict[str, str | ForwardReply] | None = None) -> Expansion:
    """With these `.forward` files; a text is one that is present."""
    opened = Expander(snapshot, Tables(snapshot)).open(facts(), rcpt)
    outcome: Expansion | Question = opened.proceed()
    while not isinstance(outcome, Expansion):
        assert isinstance(outcome, ForwardQuery)
        said = (forwards or {}).get(outcome.user, NO_FORWARD)
        opened.learn(outcome, ForwardReply("present", said, "") if isinstance(said, str) else said)
        outcome = opened.proceed()
    return outcome


def ways(expansion: Expansion) -> list[tuple[str, str, str]]:
    """(method, target, user) of local destinations, (`relay`, domain, dest) of others."""
    assert expansion.refusal is None, expansion

    def way(dest: str, to: Dispatcher) -> tuple[str, str, str]:
        return (to.method, to.target, to.user) if isinstance(to, LocalDispatcher) else ("relay", to.domain, dest)

    return [way(each.dest, each.dispatcher) for each in expansion.destinations]


def maildir(user: str) -> tuple[str, str, str]:
    return ("maildir", "~/Maildir", user)


@pytest.mark.parametrize(
    ("forwards", "expected"),
    [
        pytest.param({}, [maildir("joe")], id="no forward"),
        pytest.param(
            {"joe": '\\joe, joe@remote.org, "|/bin/vacation joe"\n'},
            [maildir("joe"), ("relay", "remote.org", "joe@remote.org"), ("mda", "/bin/vacation joe", "joe")],
            id="the forward of reference 13.2",
        ),
        pytest.param({"joe": "bob"}, [maildir("bob")], id="another user"),
        pytest.param({"joe": "bob", "bob": "alice, bob"}, [maildir("alice"), maildir("bob")], id="one after the other"),
        pytest.param({"joe": "joe, bob", "bob": "joe"}, [maildir("joe")], id="a circle in which one keeps a copy"),
        pytest.param({"joe": "# away\n\n"}, [maildir("joe")], id="only comments"),
        pytest.param({"joe": ":include:/etc/passwd"}, [maildir("joe")], id="an include is not for users"),
        pytest.param({"joe": ["~/mbox", "/home/joe/mbox"][1]}, [("file", "/home/joe/mbox", "joe")], id="a file"),
        pytest.param({"joe": "bob@d.org"}, [maildir("bob")], id="an address of ours"),
        pytest.param({"joe": "bob,\\\n alice # both\n"}, [maildir("bob"), maildir("alice")], id="a line that goes on"),
        pytest.param({"joe": "a@x.org\nb@x.org"}, [("relay", "x.org", f"{u}@x.org") for u in "ab"], id="two lines"),
    ],
)
def test_a_forward(forwards: dict[str, str | ForwardReply], expected: list[tuple[str, str, str]]) -> None:
    assert ways(expanded(snapshot_of(local_action()), "joe@d.org", forwards)) == expected


@pytest.mark.parametrize(
    ("forward", "refusal"),
    [
        pytest.param(ForwardReply("refused", "", "writable by others"), INVALID, id="not safe"),
        pytest.param(ForwardReply("temporary", "", "sticky"), LATER, id="not now"),
        pytest.param("what is this", LATER, id="malformed"),
        pytest.param("nobody", INVALID, id="an unknown user"),
        pytest.param(",".join(f"u{i}@x.org" for i in range(101)), LATER, id="too many targets"),
        pytest.param("error:451 come back", Status(451, "", "come back"), id="an error"),
        pytest.param("bob, joe@d.org", INVALID, id="a circle through an address"),
        pytest.param("|/bin/x\x07", LATER, id="a command with a control character"),
    ],
)
def test_a_forward_that_refuses(forward: str | ForwardReply, refusal: Status) -> None:
    found = expanded(snapshot_of(local_action()), "joe@d.org", {"joe": forward})
    assert (found.destinations, found.refusal) == ((), refusal)
    assert found.detail and "what is this" not in found.detail


@pytest.mark.parametrize("forward", ["|/bin/x", "/root/mbox"])
def test_the_superuser_forwards_to_no_command_and_no_file(forward: str) -> None:
    snapshot = snapshot_of(local_action())
    assert expanded(snapshot, "root@d.org", {"root": forward}).refusal == LATER
    assert ways(expanded(snapshot, "root@d.org", {"root": "bob"})) == [maildir("bob")]


# Who delivers


def with_user(action: LocalAction, user: str = "vmail") -> LocalAction:
    return msgspec.structs.replace(action, user=user)


@pytest.mark.parametrize(
    ("action", "forward", "expected"),
    [
        pytest.param(local_action(alias="t"), "", [("mda", "/bin/x", "_smtpd"), ("file", "/f", "_smtpd")], id="a table"),
        pytest.param(with_user(local_action(alias="t")), "", [("mda", "/bin/x", "vmail"), ("file", "/f", "vmail")], id="a table of a rule with a user"),
        pytest.param(local_action(alias="t"), "|/bin/y", [("mda", "/bin/y", "joe")], id="a forward"),
        pytest.param(with_user(local_action(alias="t")), "|/bin/y", [("mda", "/bin/y", "joe")], id="a forward under a rule with a user"),
    ],
)  # fmt: skip
def test_as_whom_a_command_runs(action: LocalAction, forward: str, expected: list[tuple[str, str, str]]) -> None:
    snapshot = snapshot_of(action, {"programs": "|/bin/x, /f", "joe2": "joe"})
    rcpt = "joe2@d.org" if forward else "programs@d.org"
    assert ways(expanded(snapshot, rcpt, {"joe": forward})) == expected


def test_the_actions_user_delivers_for_all_and_must_exist() -> None:
    assert ways(expanded(snapshot_of(with_user(local_action())), "joe@d.org")) == [maildir("vmail")]
    assert expanded(snapshot_of(with_user(local_action(), "gone")), "joe@d.org").refusal == LATER


def test_what_the_action_says_about_delivery_reaches_the_envelope() -> None:
    action = LocalAction("lmtp", "127.0.0.1:24", "", "", "users", "", "wrap %{mda}", True, True)
    (destination,) = expanded(snapshot_of(action), "joe@d.org").destinations
    expected = LocalDispatcher("lmtp", "127.0.0.1:24", "joe", "users", "wrap %{mda}", True, True)
    assert destination.dispatcher == expected


def test_what_the_action_says_about_the_relay_reaches_the_envelope() -> None:
    action = msgspec.structs.replace(
        relay_action(), helo_source="names", ca="own", is_lmtp=True, is_srs=True, ciphers="HIGH", protocols="TLSv1.3"
    )
    snapshot = configuration(rule(action, ANYONE, ANYWHERE))
    (destination,) = expanded(snapshot, "x@far.test").destinations
    to = destination.dispatcher
    assert isinstance(to, RemoteDispatcher)
    assert (to.helo_source, to.ca, to.is_lmtp, to.is_srs) == ("names", "own", True, True)
    assert (to.ciphers, to.protocols, to.hosts) == ("HIGH", "TLSv1.3", "")


# Rules that only expand


@pytest.mark.parametrize(
    ("is_forward_only", "forward", "expected"),
    [
        pytest.param(False, "x@far.test", [("relay", "far.test", "x@far.test")], id="no action, an address"),
        pytest.param(True, "x@far.test", [("relay", "far.test", "x@far.test")], id="forward-only, an address"),
        pytest.param(False, "|/bin/x", [("mda", "/bin/x", "joe")], id="no action delivers a command"),
        pytest.param(True, "|/bin/x", LATER, id="forward-only does not"),
        pytest.param(True, "error:550 no", LATER, id="nor does it refuse"),
        pytest.param(False, "error:550 no", Status(550, "", "no"), id="no action refuses"),
        pytest.param(True, "", LATER, id="forward-only without a forward"),
        pytest.param(False, "", INVALID, id="no action without a forward"),
        pytest.param(True, "joe", LATER, id="forward-only to himself"),
    ],
)
def test_rules_that_only_expand(
    is_forward_only: bool, forward: str, expected: list[tuple[str, str, str]] | Status
) -> None:
    found = expanded(snapshot_of(expand_action(is_forward_only=is_forward_only)), "joe@d.org", {"joe": forward})
    assert (found.refusal if isinstance(expected, Status) else ways(found)) == expected


# Subaddresses in both languages


@pytest.mark.parametrize(
    ("is_modern", "entries", "expected"),
    [
        pytest.param(False, {"joe+news@d.org": "alice", "joe": "bob"}, "bob", id="classic drops it"),
        pytest.param(True, {"joe+news@d.org": "alice", "joe@d.org": "bob"}, "alice", id="modern asks with it first"),
        pytest.param(True, {"joe@d.org": "bob", "joe+news": "alice"}, "bob", id="then the address"),
        pytest.param(True, {"joe+news": "alice", "joe": "bob"}, "alice", id="then the user with it"),
        pytest.param(True, {"joe": "bob", "@d.org": "alice"}, "bob", id="then the user"),
        pytest.param(True, {"@d.org": "bob", "@": "alice"}, "bob", id="then the domain"),
        pytest.param(True, {"@": "bob"}, "bob", id="then all"),
    ],
)
def test_virtual_keys(is_modern: bool, entries: dict[str, str], expected: str) -> None:
    snapshot = snapshot_of(local_action(virtual="t"), entries, is_modern=is_modern)
    assert ways(expanded(snapshot, "Joe+News@d.org")) == [maildir(expected)]


@pytest.mark.parametrize(
    ("is_modern", "entries", "expected"),
    [
        pytest.param(False, {"joe+news": "alice"}, "joe", id="classic asks without it"),
        pytest.param(True, {"joe+news": "alice", "joe": "bob"}, "alice", id="modern asks with it first"),
        pytest.param(True, {"joe": "bob"}, "bob", id="then without"),
        pytest.param(True, {}, "joe", id="the user is without it in both"),
        pytest.param(True, {"joe": "bob+x", "bob+x": "alice"}, "alice", id="and an entry may name it"),
    ],
)
def test_alias_keys(is_modern: bool, entries: dict[str, str], expected: str) -> None:
    snapshot = snapshot_of(local_action(alias="t"), entries, is_modern=is_modern)
    assert ways(expanded(snapshot, "joe+news@d.org")) == [maildir(expected)]


@pytest.mark.parametrize("is_modern", [False, True])
def test_another_delimiter(is_modern: bool) -> None:
    snapshot = snapshot_of(local_action(), is_modern=is_modern, delimiter="-")
    assert ways(expanded(snapshot, "joe-news@d.org")) == [maildir("joe")]
    assert expanded(snapshot, "joe+news@d.org").refusal == INVALID


# Relays by URL


def relay_table(urls: dict[str, str], **fields: str | bool) -> Configuration:
    action = msgspec.structs.replace(relay_action(), **fields)
    kind = "hosts" if "hosts" in fields else "domains"
    table = Table(kind, "list" if kind == "hosts" else "mapping", "static", "", urls)
    return configuration(rule(action, ANYONE, ANYWHERE), tables=(table,))


def test_a_relay_by_domain() -> None:
    urls = {"far.test": "smtps://label@[2001:db8::1]:4465", "near.test": "near.relay.test"}
    snapshot = relay_table(urls, domains="domains", auth="secrets", verify=True)
    (far,), (near,) = (expanded(snapshot, f"x@{domain}").destinations for domain in ("FAR.test", "near.test"))
    assert far.dispatcher == RemoteDispatcher(
        "[2001:db8::1]", True, 4465, "smtps", True, "secrets:label", "", "", "", ""
    )
    assert near.dispatcher == RemoteDispatcher("near.relay.test", True, 0, "opportunistic", False, "", "", "", "", "")
    assert expanded(snapshot, "x@other.test").refusal == LATER


@pytest.mark.parametrize(
    "url", ["gopher://h", "smtp://label@h", "h:0", "lmtp://h", "", "smtp://", "smtp://a b", "smtps://label@h"]
)
def test_a_bad_url_is_a_fault_of_the_table(url: str) -> None:
    assert expanded(relay_table({"far.test": url}, domains="domains"), "x@far.test").refusal == LATER


def test_the_relay_of_all_other_domains() -> None:
    snapshot = relay_table({"near.test": "near.relay.test", "*": "hub.test"}, domains="domains")
    found = [expanded(snapshot, f"x@{domain}").destinations[0].dispatcher for domain in ("near.test", "far.test")]
    assert [to.domain for to in found if isinstance(to, RemoteDispatcher)] == ["near.relay.test", "hub.test"]


@pytest.mark.parametrize("url", ["smtp+notls://h.test", "lmtp://h.test:24"])
def test_tls_that_is_demanded_is_not_given_up_for_an_entry(url: str) -> None:
    assert expanded(relay_table({"far.test": url}, domains="domains", tls="require"), "x@far.test").refusal == LATER
    assert expanded(relay_table({"far.test": url}, domains="domains"), "x@far.test").destinations


def test_relays_of_a_list_are_used_in_turn() -> None:
    snapshot = relay_table(dict.fromkeys(("smtp+tls://a.test", "lmtp://b.test:24"), ""), hosts="hosts")
    found = [expanded(snapshot, "x@far.test").destinations[0].dispatcher for _ in range(4)]
    assert {(to.domain, to.tls, to.is_lmtp, to.hosts) for to in found if isinstance(to, RemoteDispatcher)} == {
        ("a.test", "require", False, "hosts"),
        ("b.test", "none", True, "hosts"),
    }
    assert found[:2] == found[2:]


# Tables that are not in the snapshot


def elsewhere(*names: str) -> Configuration:
    snapshot = snapshot_of(local_action(alias="t"))
    tables = {
        name: Table(name, "dynamic", "sqlite", "/x", {}, is_inline=False) if name in names else table
        for name, table in snapshot.tables.items()
    }
    return msgspec.structs.replace(snapshot, tables=tables)


def test_what_is_elsewhere_is_asked_once_and_in_one_question() -> None:
    snapshot = msgspec.structs.replace(elsewhere("ours", "users", "t"), language=MODERN)
    opened = Expander(snapshot, Tables(snapshot)).open(facts(), "joe+x@d.org")
    replies: list[list[str | None]] = [[""], [None, "bob"], [None], ["1000:1000:/home/bob"]]
    asked = []
    outcome = opened.proceed()
    while not isinstance(outcome, Expansion):
        asked.append(outcome)
        opened.learn(outcome, NO_FORWARD if isinstance(outcome, ForwardQuery) else replies.pop(0))
        outcome = opened.proceed()
    assert asked == [
        TableQuery("ours", TableService.DOMAIN, "check", ["d.org"]),
        TableQuery("t", TableService.ALIAS, "lookup", ["joe+x", "joe"]),
        TableQuery("t", TableService.ALIAS, "lookup", ["bob"]),
        TableQuery("users", TableService.USERINFO, "lookup", ["bob"]),
        ForwardQuery("users", "bob"),
    ]
    assert ways(outcome) == [maildir("bob")]


def test_a_question_without_an_answer_fails_for_now() -> None:
    snapshot = elsewhere("users")
    opened = Expander(snapshot, Tables(snapshot)).open(facts(), "joe@d.org")
    assert isinstance(opened.proceed(), TableQuery)
    assert opened.fail("config is away") == Expansion((), LATER, "config is away")


# Whatever users and operators write

NAMES = [
    "joe",
    "bob",
    "alice",
    "root",
    "nobody",
    "joe@d.org",
    "bob@d.org",
    "x@far.test",
    "|/bin/x",
    "/f",
    "error:550 no",
]
LISTS = st.lists(st.sampled_from(NAMES), max_size=4).map(", ".join)
MAPS = st.dictionaries(st.sampled_from(["joe", "bob", "alice", "root", "@d.org", "joe@d.org"]), LISTS, max_size=5)


@given(MAPS, MAPS, st.sampled_from(["alias", "virtual"]), st.booleans())
def test_every_expansion_ends(entries: dict[str, str], forwards: dict[str, str], use: str, is_modern: bool) -> None:
    action = local_action(alias="t") if use == "alias" else local_action(virtual="t")
    found = expanded(snapshot_of(action, entries, is_modern=is_modern), "joe@d.org", dict(forwards))
    assert (found.refusal is None) is bool(found.destinations)
    assert len(set(found.destinations)) == len(found.destinations)
