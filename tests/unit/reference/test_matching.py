"""Reference 13.2, row by row: patterns, addresses, format strings, aliases. Where ours is not the row's, the entry says so and
docs/parity.md why; more of each are in tests/unit/mail."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import LOCAL_HOST, MODERN, Condition
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail.expand import S550_INVALID_RECIPIENT, Expander, Expansion
from smtpfleet.mail.formats import FormatError, expand_format
from smtpfleet.mail.tables import Tables
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    OURS,
    configuration,
    facts,
    list_table,
    local_action,
    mapping_table,
    relay_action,
    rule,
)


@pytest.mark.parametrize(
    ("host", "pattern", "is_match"),
    [
        ("mail.example.com", "*.example.com", True),
        ("a.b.example.com", "*.example.com", False),
        ("example.com", "*.example.com", False),
        ("x", "*", True),
        ("", "*", False),
        ("foo", "foo*", False),
        ("example.com", "exam*", True),
        ("aab", "*ab", False),
    ],
)
def test_hostname_match(host: str, pattern: str, is_match: bool) -> None:
    assert Tables(configuration(tables=(list_table("t", pattern),))).match_domain("t", host) is is_match


@pytest.mark.parametrize(
    ("address", "entry", "is_classic", "is_modern"),
    [
        ("u@d.org", "@d.org", True, True),
        ("u@d.org", "@*.org", True, True),
        # The classic row says no, which is marked as a bug: the manual promises that a bare user matches. 7.8 does so.
        ("u@d.org", "u", True, True),
        ("@", "@", True, True),
        ("u@d.org", "@", False, True),
        ("U@D.ORG", "u@d.org", True, True),
        ("u+t@d.org", "u@d.org", False, True),
    ],
)
def test_mailaddr(address: str, entry: str, is_classic: bool, is_modern: bool) -> None:
    classic = configuration(tables=(list_table("t", entry),))
    assert Tables(classic).match_mailaddr("t", address) is is_classic
    assert Tables(replace(classic, language=MODERN)).match_mailaddr("t", address) is is_modern


@dataclass(frozen=True)
class Fails:
    """The format cannot be expanded."""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("%{rcpt:lowercase|strip}", "user@example.org"),
        ("%{rcpt.domain[0:6]}", "Example"),
        ("%{rcpt.domain[-3:]}", "org"),
        ("%{rcpt.domain[0:-4]}", "Example"),
        # The rows say error for these two, which are marked as bugs.
        ("%{rcpt.domain[-1]}", "g"),
        ("%{rcpt.domain[0]:lowercase}", "e"),
        ("%{foo}", Fails()),
        ("100%", "100%"),
        ("%%{rcpt}", "%{rcpt}"),
    ],
)
def test_formats(text: str, result: str | Fails) -> None:
    envelope = Envelope(
        evpid="0" * 24, sender="s@peer.test", rcpt="User+Tag@Example.org", dest="User+Tag@Example.org",
        dispatcher=LocalDispatcher("maildir", "", "user", "users"), tag="", helo="c", hostname="c", peer="192.0.2.9",
        smtpname="mx", created_at_ms=0, expire_s=1,
    )  # fmt: skip
    if isinstance(result, Fails):
        with pytest.raises(FormatError):
            expand_format(text, envelope=envelope, home="/home/user", username="user")
    else:
        assert expand_format(text, envelope=envelope, home="/home/user", username="user") == result


RELAY_OUT = rule(relay_action(), Condition("source", LOCAL_HOST, False), ANYWHERE)


def expansion_of(rcpt: str, *, aliases: dict[str, str], forwards: dict[str, str] | None = None) -> Expansion:
    """For d.org, alias table and `.forward` files as given; joe and _smtpd are users."""
    users = {name: f"1000:1000:/home/{name}" for name in ("joe", "_smtpd")}
    snapshot = configuration(
        rule(local_action(alias="aliases"), ANYONE, OURS),
        RELAY_OUT,
        tables=(list_table("ours", "d.org"), mapping_table("users", users), mapping_table("aliases", aliases)),
    )
    opened = Expander(snapshot, Tables(snapshot)).open(facts(), rcpt)
    while not isinstance(outcome := opened.proceed(), Expansion):
        assert isinstance(outcome, ForwardQuery)
        text = (forwards or {}).get(outcome.user)
        opened.learn(outcome, ForwardReply("absent" if text is None else "present", text or "", ""))
    return outcome


def test_a_forward_with_a_copy_an_address_and_a_command() -> None:
    found = expansion_of(
        "joe@d.org", aliases={}, forwards={"joe": '\\joe, joe@remote.org, "|/bin/vacation joe"'}
    ).destinations
    ways = [
        (to.dispatcher.method, to.dispatcher.target, to.dispatcher.user)
        if isinstance(to.dispatcher, LocalDispatcher)
        else (to.dispatcher.domain, to.dest)
        for to in found
    ]
    assert ways == [
        ("maildir", "~/Maildir", "joe"),
        ("remote.org", "joe@remote.org"),
        ("mda", "/bin/vacation joe", "joe"),
    ]


@pytest.mark.parametrize(
    ("aliases", "rcpt", "refusal"),
    [
        pytest.param({"root": "root2", "root2": "root"}, "root@d.org", S550_INVALID_RECIPIENT, id="a loop of users"),
        pytest.param({"a": "b@d.org", "b": "a@d.org"}, "a@d.org", S550_INVALID_RECIPIENT, id="a loop of addresses"),
        pytest.param({"err": "error:550 go away"}, "err@d.org", Status(550, "", "go away"), id="error:550 go away"),
        pytest.param({"err": "error:550x"}, "err@d.org", S451_LOCAL_ERROR, id="error:550x"),
    ],
)
def test_aliases_that_refuse(aliases: dict[str, str], rcpt: str, refusal: Status) -> None:
    found = expansion_of(rcpt, aliases=aliases)
    assert (found.destinations, found.refusal) == ((), refusal)
