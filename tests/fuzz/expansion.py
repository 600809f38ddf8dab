"""The expansion of a recipient under tables and `.forward` files of any content: it ends, in destinations or in a refusal.

Lines: settings (words of SETTINGS), the recipient, then `key: value` of the table, `~user: line` of his forward (again: another line). What explain
tells must be what RCPT does.
"""

from collections.abc import Sequence

import msgspec

from smtpfleet.contracts.commands import ExplainQuery, ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import LOCAL_HOST, MODERN, Condition, Configuration
from smtpfleet.mail.address import parse_mailbox
from smtpfleet.mail.expand import NO_FORWARD, NODE_LIMIT, Expander, Expansion, OpenExpansion
from smtpfleet.mail.explain import Explanation, query_fault
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import Tables
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    OURS,
    configuration,
    expand_action,
    list_table,
    local_action,
    mapping_table,
    relay_action,
    rule,
)

SETTINGS = ("virtual", "modern", "forward-only", "hosts", "no-delimiter")
WORDS: Sequence[bytes] = (
    b"\n", b": ", b"~", b"joe", b"bob", b"alice", b"root", b"joe+tag", b"@d.org", b"@", b"joe@d.org", b"x@far.test", b", ", b"|/bin/x", b"/f",
    b"error:450 x", b":include:/dev/null", b":include:/l", b"\\", b"#", b"smtp://h", b"smtp+tls://l@h:25", b"postmaster", b"\n~joe: ", b"\njoe: ",
    b"\nd.org: ", *(word.encode() for word in SETTINGS),
)  # fmt: skip
USERS = {name: f"1000:1000:/home/{name}" for name in ("joe", "bob", "alice")} | {"root": "0:0:/root"}


def check(data: bytes) -> None:
    """One recipient."""
    words, rcpt, *lines = (*data.decode("utf-8", "replace").split("\n"), "", "")
    rcpt = rcpt if rcpt.lower() == "postmaster" or parse_mailbox(rcpt) is not None else "joe@d.org"
    entries: dict[str, str] = {}
    forwards: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(": ")
        if key.startswith("~"):
            forwards[key[1:]] = forwards.get(key[1:], "") + value + "\n"
        elif key:
            entries[key] = value
    snapshot = _snapshot(set(words.split()), entries)
    expander = Expander(snapshot, Tables(snapshot))
    found = _finish(expander.open(SessionFacts("", "192.0.2.9", False, "s@peer.test", "c"), rcpt), forwards)
    assert (found.refusal is None) is bool(found.destinations)
    assert len(found.destinations) == len(set(found.destinations)) <= NODE_LIMIT
    if found.refusal is not None:
        assert found.refusal.line.isprintable() and found.refusal.line.isascii()
    query = ExplainQuery("192.0.2.9", "c", "s@peer.test", rcpt, "", "", False, "")
    assert query_fault(query) == ""
    told = Explanation(expander, query)
    retold = _finish(told.expansion, forwards)
    assert retold == found
    assert told.reply(retold)


def _finish(opened: OpenExpansion, forwards: dict[str, str]) -> Expansion:
    outcome = opened.proceed()
    while not isinstance(outcome, Expansion):
        assert isinstance(outcome, ForwardQuery), "all tables are in the snapshot"
        text = forwards.get(outcome.user)
        opened.learn(outcome, NO_FORWARD if text is None else ForwardReply("present", text, ""))
        outcome = opened.proceed()
    return outcome


def _snapshot(settings: set[str], entries: dict[str, str]) -> Configuration:
    if "hosts" in settings:
        action: object = msgspec.structs.replace(relay_action(), domains="t")
    elif "forward-only" in settings:
        action = expand_action(alias="t", is_forward_only=True)
    else:
        action = local_action(virtual="t") if "virtual" in settings else local_action(alias="t")
    plain = configuration(
        rule(action, ANYONE, OURS),  # type: ignore[arg-type]
        rule(relay_action(), Condition("source", LOCAL_HOST, False), ANYWHERE),
        tables=(list_table("ours", "d.org", "mx.example.test"), mapping_table("users", USERS), mapping_table("t", entries)),
    )  # fmt: skip
    language = MODERN if "modern" in settings else plain.language
    delimiter = "" if "no-delimiter" in settings else "+"
    return msgspec.structs.replace(plain, language=language, subaddress_delimiter=delimiter)


def seeds() -> Sequence[bytes]:
    """One of each kind."""
    return [
        b"\njoe@d.org\njoe: bob, x@far.test\n~bob: \\bob, |/bin/x",
        b"virtual\nany@d.org\n@d.org: joe\n~joe: joe@d.org",
        b"modern virtual\njoe+tag@d.org\njoe+tag: alice\n~alice: # none",
        b"modern\njoe+tag@d.org\njoe: error:450 later",
        b"forward-only\njoe@d.org\n~joe: x@d.org, bob",
        b"hosts\njoe@d.org\nd.org: smtp+tls://h:26",
        b"\npostmaster\npostmaster: root\n~root: |/bin/x",
    ]
