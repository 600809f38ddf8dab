"""What explain tells: the rules in order with the reason, every step of the expansion, and the same end as smtp-in would see."""

import msgspec
import pytest

from smtpfleet.contracts.commands import ExplainQuery, ExplainReply, ForwardQuery, ForwardReply
from smtpfleet.contracts.configuration import LOCAL_HOST, Condition, Configuration, RelayAction
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.mail.expand import NO_FORWARD, Expander, expand_rcpt
from smtpfleet.mail.expansion import Expansion
from smtpfleet.mail.explain import Explanation, query_fault
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import Tables
from tests.unit.mail.building import (
    ANYONE,
    ANYWHERE,
    OURS,
    REJECT,
    configuration,
    list_table,
    local_action,
    mapping_table,
    relay_action,
    rule,
)

LOCALLY = Condition("source", LOCAL_HOST, False)
SNAPSHOT = configuration(
    rule(REJECT, Condition("sender", "bad", False), ANYWHERE),
    rule(relay_action(), Condition("tag", "out", False, "literal"), ANYWHERE),
    rule(local_action(alias="aliases"), ANYONE, OURS),
    rule(relay_action(host="smart.test"), LOCALLY, ANYWHERE),
    tables=(
        list_table("ours", "example.test"),
        list_table("bad", "@spam.test"),
        mapping_table("aliases", {"staff": "alice, carol@far.test", "gone": "error:550 5.1.6 Gone"}),
        mapping_table("users", {"alice": "1:1:/home/alice"}),
    ),
)
QUERY = ExplainQuery("192.0.2.1", "client.test", "bob@far.test", "alice@example.test", "", "", False, "")


def explain(
    query: ExplainQuery,
    snapshot: Configuration = SNAPSHOT,
    forward: ForwardReply = NO_FORWARD,
    restored: SrsRestoreReply | None = None,
) -> ExplainReply:
    explanation = Explanation(Expander(snapshot, Tables(snapshot)), query)
    opened = explanation.expansion
    outcome = opened.proceed()
    while not isinstance(outcome, Expansion):
        if isinstance(outcome, SrsRestoreQuery):
            assert restored is not None
            opened.learn(outcome, restored)
        else:
            assert isinstance(outcome, ForwardQuery)
            opened.learn(outcome, forward)
        outcome = opened.proceed()
    return explanation.reply(outcome)


def of(**changes: object) -> ExplainQuery:
    return msgspec.structs.replace(QUERY, **changes)


def test_rules_that_do_not_match_say_why() -> None:
    assert explain(QUERY).lines == [
        "address alice@example.test",
        "  smtpd.conf:1: no, mail-from <bad> does not hold for <bob@far.test>",
        "  smtpd.conf:1: no, tag out does not hold for no tag",
        "  smtpd.conf:1 matches: deliver to maildir ~/Maildir",
        "  table <aliases>, alice: no entry",
        "  user alice in table <users>: uid 1, home /home/alice",
        "  .forward of alice: absent",
        "envelope: alice@example.test via maildir ~/Maildir as user alice, from <bob@far.test>, expires after 345600 s",
    ]


def test_a_table_that_is_written_in_place_has_one_pair_of_brackets() -> None:
    tables = (list_table("ours", "example.test"), mapping_table("<dynamic:1>", {"alice": "1:1:/home/alice"}))
    action = local_action(alias="<dynamic:1>", userbase="<dynamic:1>")
    lines = explain(of(rcpt="bob@example.test"), configuration(rule(action, ANYONE, OURS), tables=tables)).lines
    assert lines[2:4] == ["  table <dynamic:1>, bob: no entry", "  user bob in table <dynamic:1>: unknown"]


def test_a_format_that_does_not_fit_is_a_refusal() -> None:
    action = msgspec.structs.replace(local_action(), target="~/%{sender.user}")
    tables = (list_table("ours", "example.test"), mapping_table("users", {"alice": "1:1:/home/alice"}))
    reply = explain(of(sender=""), configuration(rule(action, ANYONE, OURS), tables=tables))
    assert reply.refusal.startswith("451 ")
    assert "format token is empty: sender.user" in reply.lines[-1]


def test_an_expansion_goes_through_the_rules_again() -> None:
    reply = explain(of(rcpt="staff@example.test"))
    assert "address carol@far.test, from an expansion" in reply.lines
    assert "  smtpd.conf:1 matches: relay via smart.test" in reply.lines
    assert [text.partition(" via ")[0] for text in reply.destinations] == ["staff@example.test", "carol@far.test"]


@pytest.mark.parametrize(
    ("changes", "refusal", "reason"),
    [
        ({"rcpt": "x@elsewhere.test"}, "550 5.7.1 Invalid recipient", "no rule matches x@elsewhere.test"),
        ({"rcpt": "nobody@example.test"}, "550 5.1.1 Invalid recipient", "no user nobody in table users"),
        ({"rcpt": "gone@example.test"}, "550 5.1.6 Gone", "error alias"),
        ({"sender": "x@spam.test"}, "550 5.1.1 Invalid recipient", "rejected by the rule at line 1"),
    ],
)
def test_refusals(changes: dict[str, str], refusal: str, reason: str) -> None:
    reply = explain(of(**changes))
    assert (reply.refusal, reply.destinations) == (refusal, [])
    assert reply.lines[-1].startswith(f"refused: {refusal} (") and reason in reply.lines[-1]


def test_a_forward_is_followed_and_shown() -> None:
    reply = explain(QUERY, forward=ForwardReply("present", "carol@far.test\n", ""))
    assert "  .forward of alice: present: carol@far.test" in reply.lines
    assert reply.destinations[0].startswith("carol@far.test via smtp smart.test")


def test_all_that_mta_is_told_is_said() -> None:
    action = RelayAction(
        "", 0, "require", True, "", "sources", "", "ours.test", "mx.ours.test", "", helo_source="names", ca="theirs", protocols="tlsv1.3"
    )  # fmt: skip
    rule = msgspec.structs.replace(SNAPSHOT.rules[-1], action=action)
    snapshot = msgspec.structs.replace(SNAPSHOT, rules=(rule,))
    assert (
        "the MX of far.test better than mx.ours.test, tls require verify, source <sources>, helo by source <names>, "
        in (told := explain(of(rcpt="carol@far.test", peer="127.0.0.1"), snapshot).destinations[0])
    )
    assert ", pki ours.test, ca theirs, protocols tlsv1.3, from <" in told


WITH_SRS = msgspec.structs.replace(
    SNAPSHOT,
    srs_ttl_s=86400,
    rules=(
        *SNAPSHOT.rules[:3],
        rule(msgspec.structs.replace(relay_action(host="smart.test"), is_srs=True), LOCALLY, ANYWHERE),
    ),
)
SRS = "SRS0=HHHH=TT=far.test=bob@example.test"


def test_whose_sender_srs_will_rewrite() -> None:
    staff = explain(of(rcpt="staff@example.test"), WITH_SRS)
    assert [", which srs turns into an address of example.test" in text for text in staff.destinations] == [False, True]
    relayed = explain(of(rcpt="x@far.test", peer="local"), WITH_SRS)
    bounce = explain(of(rcpt="staff@example.test", sender=""), WITH_SRS)
    assert "srs" not in "".join(relayed.destinations + bounce.destinations)


def test_whom_an_srs_address_stands_for() -> None:
    back = explain(of(rcpt=SRS, sender=""), WITH_SRS, restored=SrsRestoreReply("", "bob@far.test", ""))
    assert back.lines[:3] == [
        f"  srs, {SRS}: goes back to bob@far.test",
        "address bob@far.test, from an expansion",
        "  smtpd.conf:1: no, mail-from <bad> does not hold for <>",
    ]
    assert back.destinations[0].startswith("bob@far.test via smtp smart.test")
    old = explain(of(rcpt=SRS, sender=""), WITH_SRS, restored=SrsRestoreReply("", "", "older than srs ttl"))
    assert f"  srs, {SRS}: older than srs ttl" in old.lines
    assert old.refusal == "550 5.1.1 Invalid recipient"


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.1", "local"])
@pytest.mark.parametrize("rcpt", ["alice@example.test", "staff@example.test", "x@far.test", "gone@example.test"])
@pytest.mark.parametrize(("tag", "auth"), [("", ""), ("out", ""), ("", "bob")])
def test_it_ends_as_smtp_in_would(peer: str, rcpt: str, tag: str, auth: str) -> None:
    reply = explain(of(peer=peer, rcpt=rcpt, tag=tag, auth=auth))
    is_local = peer == "local" or bool(auth)
    facts = SessionFacts(tag, peer, is_local, QUERY.sender, QUERY.helo, auth, is_socket=peer == "local")
    expansion = expand_rcpt(SNAPSHOT, Tables(SNAPSHOT), facts, rcpt)
    assert reply.refusal == (expansion.refusal.line if expansion.refusal else "")
    assert len(reply.destinations) == len(expansion.destinations)


def test_on_the_socket_an_address_without_a_domain_gets_our_name() -> None:
    query = of(peer="local", sender="root", rcpt="alice")
    assert query_fault(query) == ""
    assert explain(query).lines[0] == f"address alice@{SNAPSHOT.hostname}"
    assert any(f"<root@{SNAPSHOT.hostname}>" in line for line in explain(query).lines)
    assert explain(query) == explain(
        of(peer="local", sender=f"root@{SNAPSHOT.hostname}", rcpt=f"alice@{SNAPSHOT.hostname}")
    )
    assert query_fault(of(rcpt="alice")).startswith("rcpt: ")
    assert query_fault(of(peer="local", rcpt=";id;")).startswith("rcpt: ")


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"peer": "nowhere"}, "peer"), ({"sender": "x y"}, "sender"), ({"rcpt": ""}, "rcpt"), ({"helo": "a b"}, "helo")],
)
def test_questions_that_cannot_be_asked(changes: dict[str, str], word: str) -> None:
    assert query_fault(of(**changes)).startswith(f"{word}: ")
    assert query_fault(of(rcpt="postmaster", sender="", peer="2001:db8::1")) == ""
