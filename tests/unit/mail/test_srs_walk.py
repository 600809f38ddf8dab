"""SRS in the walk: a bounce to one of our addresses goes to who is behind it, and nothing else is let through by it."""

import msgspec
import pytest

from smtpfleet.contracts.configuration import LOCAL_HOST, Condition, Configuration
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.mail.expand import NO_FORWARD, Expander, Expansion, expand_rcpt
from smtpfleet.mail.ruleset import SessionFacts
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

SRS = "SRS0=6oA6=RA=example.org=alice@ours.test"
FORGED = SrsRestoreReply("", "", "the signature does not fit")
LOCALLY = Condition("source", LOCAL_HOST, False)
BOUNCE = facts(sender="")
SNAPSHOT = msgspec.structs.replace(
    configuration(
        rule(local_action(virtual="virtuals"), ANYONE, OURS),
        rule(relay_action(), LOCALLY, ANYWHERE),
        tables=(
            list_table("ours", "ours.test"),
            mapping_table("virtuals", {"bob@ours.test": "bob", "@ours.test": "bob", "out@ours.test": SRS}),
            mapping_table("users", {"bob": "1:1:/home/bob"}),
        ),
    ),
    srs_ttl_s=345600,
)


def expand(
    answers: dict[str, SrsRestoreReply],
    session: SessionFacts = BOUNCE,
    rcpt: str = SRS,
    snapshot: Configuration = SNAPSHOT,
) -> Expansion:
    """The expansion where config says `answers`, nobody has a `.forward`, and every answer is asked for."""
    left = dict(answers)
    opened = Expander(snapshot, Tables(snapshot)).open(session, rcpt)
    outcome = opened.proceed()
    while not isinstance(outcome, Expansion):
        if isinstance(outcome, SrsRestoreQuery):
            opened.learn(outcome, left.pop(outcome.address))
        else:
            opened.learn(outcome, NO_FORWARD)
        outcome = opened.proceed()
    assert not left, "asked for"
    return outcome


def to(sender: str) -> SrsRestoreReply:
    return SrsRestoreReply("", sender, "")


def dests(expansion: Expansion) -> list[str]:
    assert expansion.refusal is None, expansion
    return [destination.dest for destination in expansion.destinations]


def test_a_bounce_goes_to_the_sender_behind_the_address_as_mail_of_ours() -> None:
    (destination,) = expand({SRS: to("alice@example.org")}).destinations
    assert (destination.dest, destination.sender) == ("alice@example.org", "")
    assert destination.dispatcher.domain == "example.org"  # type: ignore[union-attr]


def test_a_sender_of_ours_behind_it_is_delivered_to() -> None:
    assert dests(expand({SRS: to("bob@ours.test")})) == ["bob@ours.test"]


def test_an_address_of_ours_behind_an_address_of_ours_is_led_back_too() -> None:
    outer = "SRS1=6Rzi=ours.test==6oA6=RA=example.org=alice@ours.test"
    assert dests(expand({outer: to(SRS), SRS: to("alice@example.org")}, rcpt=outer)) == ["alice@example.org"]


def test_one_that_leads_in_a_circle_ends() -> None:
    loop = {f"SRS1=HHHH=ours.test==HHHH=AA=a.b=c{n}@ours.test": to(f"SRS1=HHHH=ours.test==HHHH=AA=a.b=c{n + 1}@ours.test") for n in range(10)}  # fmt: skip
    refusal = expand(loop, rcpt=next(iter(loop))).refusal
    assert refusal is not None and refusal.code == 550


def test_an_alias_may_name_one() -> None:
    assert dests(expand({SRS: to("alice@example.org")}, rcpt="out@ours.test")) == ["alice@example.org"]


def test_what_is_not_good_is_refused_and_no_catch_all_gets_it() -> None:
    expansion = expand({SRS: FORGED})
    assert expansion.refusal is not None and expansion.refusal.line == "550 5.1.1 Invalid recipient"
    assert "the signature does not fit" in expansion.detail and SRS in expansion.detail


def test_one_of_another_domain_is_a_stranger_s_relaying() -> None:
    foreign = SRS.replace("ours.test", "foreign.test")
    expansion = expand({foreign: FORGED}, rcpt=foreign)
    assert expansion.refusal is not None and expansion.refusal.line == "550 5.7.1 Invalid recipient"


def test_whoever_may_relay_may_send_a_bounce_to_another_forwarder() -> None:
    foreign = SRS.replace("ours.test", "foreign.test")
    local = facts(peer="local", is_local=True, sender="")
    assert dests(expand({foreign: FORGED}, local, foreign)) == [foreign]


@pytest.mark.parametrize("sender", ["s@peer.test", "alice@example.org"])
def test_mail_with_a_sender_is_not_led_back(sender: str) -> None:
    assert dests(expand({}, facts(sender=sender))) == [SRS]


def test_nothing_is_asked_without_a_key_or_for_other_addresses() -> None:
    assert dests(expand({}, snapshot=msgspec.structs.replace(SNAPSHOT, srs_ttl_s=0))) == [SRS]
    assert dests(expand({}, rcpt="bob@ours.test")) == ["bob@ours.test"]
    assert dests(expand({}, rcpt="SRS0+6oA6=RA=example.org=alice@ours.test")) != []


def test_where_nobody_can_be_asked_it_fails_for_now() -> None:
    refusal = expand_rcpt(SNAPSHOT, Tables(SNAPSHOT), BOUNCE, SRS).refusal
    assert refusal is not None and refusal.code == 451
