"""What is remembered is what would be worked out anew, for every kind of rule."""

import msgspec
import pytest

from smtpfleet.contracts.configuration import (
    GETPWNAM,
    LOCAL_HOST,
    Condition,
    Configuration,
    LocalAction,
    Location,
    RelayAction,
    Rule,
    Table,
)
from smtpfleet.contracts.srs import SrsRestoreQuery
from smtpfleet.mail.expand import Expansion, expand_rcpt
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.mail.tables import Tables
from smtpfleet.smtp_in.expansions import Expansions, Unresolved
from tests.support.smtp_stage import make_configuration

WHERE = Location("smtpd.conf", 1, 1)
RELAY_AS = RelayAction("", 0, "opportunistic", False, "", "", "", "", "", "bulk@")
SENDERS = Table("bad", "list", "static", "", {"@example.org": ""})


def with_rules(*rules: Rule) -> Configuration:
    plain = make_configuration()
    return msgspec.structs.replace(plain, rules=(*rules, *plain.rules), tables={**plain.tables, "bad": SENDERS})


CONFIGURATIONS = {
    "plain": with_rules(),
    "a rule reads the sender": with_rules(
        Rule(WHERE, (Condition("sender", "bad", False),), LocalAction("maildir", "~/Junk", "", "", "users"), 60)
    ),
    "relay as": with_rules(
        Rule(WHERE, (Condition("source", LOCAL_HOST, True), Condition("tag", "in", False, "literal")), RELAY_AS, 60)
    ),
    "no such table": with_rules(Rule(WHERE, (Condition("source", "missing", False),), RELAY_AS, 60)),
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_a_remembered_expansion_is_the_one_of_the_walk(configuration: Configuration) -> None:
    tables = Tables(configuration)
    remembered = Expansions(configuration, tables)
    for _ in range(2):
        for peer, is_local in (("192.0.2.9", False), ("127.0.0.1", True), ("127.0.0.1", False), ("2001:db8::9", False)):
            source = remembered.source_class(peer, is_local=is_local)
            for sender in ("", "a@example.net", "b@example.org"):
                facts = SessionFacts(tag="in", peer=peer, is_local=is_local, sender=sender, helo="client.example")
                for rcpt in (
                    "alice@example.test",
                    "staff@example.test",
                    "x@example.com",
                    "postmaster",
                    "no@example.test",
                ):
                    assert remembered.expand(facts, source, rcpt) == expand_rcpt(configuration, tables, facts, rcpt)


def test_what_the_snapshot_does_not_decide_is_not_remembered() -> None:
    configuration = with_rules(
        Rule(
            WHERE,
            (Condition("destination", "domains", False),),
            LocalAction("maildir", "~/Maildir", "", "", GETPWNAM),
            60,
        )
    )
    remembered = Expansions(configuration, Tables(configuration))
    assert remembered.source_class("192.0.2.9", is_local=False) is None


def test_mail_with_a_sender_does_not_decide_for_a_bounce_to_an_srs_address() -> None:
    srs = "SRS0=HHHH=TT=example.org=a@example.com"
    configuration = msgspec.structs.replace(with_rules(), srs_ttl_s=86400)
    remembered = Expansions(configuration, Tables(configuration))
    source = remembered.source_class("127.0.0.1", is_local=True)
    facts = SessionFacts(tag="in", peer="127.0.0.1", is_local=True, sender="a@example.net", helo="client.example")
    assert isinstance(remembered.expand(facts, source, srs), Expansion)
    for _ in range(2):
        bounce = remembered.expand(msgspec.structs.replace(facts, sender=""), source, srs)
        assert isinstance(bounce, Unresolved) and bounce.question == SrsRestoreQuery(srs)


def test_memory_is_bounded_and_refusals_take_none() -> None:
    configuration = make_configuration()
    remembered = Expansions(configuration, Tables(configuration), remembered_limit=10)
    source = remembered.source_class("127.0.0.1", is_local=True)
    facts = SessionFacts(tag="in", peer="127.0.0.1", is_local=True, sender="a@example.net", helo="client.example")
    for number in range(100):
        assert remembered.expand(facts, source, f"r{number}@example.com").refusal is None
        assert remembered.expand(facts, source, f"r{number}@example.test").refusal is not None
        assert len(remembered._remembered) <= 10
