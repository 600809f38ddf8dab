"""What MAIL says of forwarded mail: rewritten senders, a transaction for each, and nothing sent where config cannot rewrite."""

from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.srs import SrsRewriteQuery, SrsRewriteReply
from smtpfleet.contracts.subjects import CONFIG_SRS_REWRITE, Subject
from smtpfleet.mail.srs import SrsFault, encode
from tests.support.fake_bus import FakeBus
from tests.support.peer import Peer, scripted_peer
from tests.unit.mta.building import CONFIGURATION, fleet, message, remote

WITH_SRS = replace(CONFIGURATION, srs_ttl_s=345600)
DAY = 20000


class Config(FakeBus):
    """Signs with the key `k`; or answers with an error."""

    error = ""

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        if subject is not CONFIG_SRS_REWRITE or not self.is_connected:
            return await super().request(subject, payload)
        assert isinstance(payload, SrsRewriteQuery)
        self.asked.append((subject.name, payload))
        if self.error:
            return SrsRewriteReply(self.error, [])
        signed = [encode(sender, domain, "k", DAY) for sender, domain in payload.senders]
        return SrsRewriteReply("", [None if isinstance(each, SrsFault) else each for each in signed])


def forwarded(*rcpts: str, sender: str = "a@sender.test", is_srs: bool = True) -> LoadedMessage:
    """A message for each rcpt, forwarded to NUMBER@rcpt.test; `=` is one that is not forwarded."""
    dests = [f"{number}@rcpt.test" for number in range(len(rcpts))]
    plain = message(1, remote(is_srs=is_srs), *dests, sender=sender)
    envelopes: list[Envelope] = [
        replace(envelope, rcpt=envelope.dest if rcpt == "=" else rcpt)
        for envelope, rcpt in zip(plain.envelopes, rcpts, strict=True)
    ]
    return replace(plain, envelopes=envelopes)


async def deliver(
    loaded: LoadedMessage, bus: Config | None = None, configuration: Any = WITH_SRS
) -> tuple[list[str], Peer, str, Config]:
    """Outcomes, the peer, the log, config."""
    bus = bus or Config()
    async with scripted_peer() as peer, fleet(mx_port=peer.port, configuration=configuration, bus=bus) as sender:
        sender.work.add(loaded)
        outcomes = await sender.outcomes(len(loaded.envelopes))
    return [f"{outcome.kind} {outcome.status.line}" for outcome in outcomes], peer, sender.log, bus


async def test_each_domain_of_recipients_has_its_own_sender_and_one_question_is_asked() -> None:
    outcomes, peer, log, bus = await deliver(forwarded("x@one.test", "y@one.test", "z@two.test", "="))
    assert outcomes == ["delivered 250 2.0.0 Ok: queued"] * 4
    one, two = (str(encode("a@sender.test", domain, "k", DAY)) for domain in ("one.test", "two.test"))
    assert [(each.sender, each.rcpts) for each in peer.messages] == [
        (one, ["0@rcpt.test", "1@rcpt.test"]),
        (two, ["2@rcpt.test"]),
        ("a@sender.test", ["3@rcpt.test"]),
    ]
    assert [asked[1] for asked in bus.asked] == [
        SrsRewriteQuery([("a@sender.test", "one.test"), ("a@sender.test", "two.test")])
    ]
    assert f"from=<{one}> to=<0@rcpt.test> rcpt=<x@one.test>" in log


@pytest.mark.parametrize(
    ("loaded", "sender"),
    [
        pytest.param(forwarded("x@one.test", sender=""), "", id="a bounce"),
        pytest.param(forwarded("="), "a@sender.test", id="relayed mail"),
        pytest.param(forwarded("x@one.test", is_srs=False), "a@sender.test", id="an action without srs"),
    ],
)
async def test_a_sender_stays_and_config_is_not_asked(loaded: LoadedMessage, sender: str) -> None:
    _, peer, _, bus = await deliver(loaded)
    assert ([each.sender for each in peer.messages], bus.asked) == ([sender], [])


async def test_with_srs_switched_off_mail_of_earlier_rules_goes_as_it_is() -> None:
    _, peer, _, bus = await deliver(forwarded("x@one.test"), configuration=CONFIGURATION)
    assert ([each.sender for each in peer.messages], bus.asked) == (["a@sender.test"], [])


@pytest.mark.parametrize("is_connected", [True, False])
async def test_what_cannot_be_rewritten_waits_and_the_rest_goes(is_connected: bool) -> None:
    bus = Config()
    bus.is_connected, bus.error = is_connected, "no key"
    outcomes, peer, log, _ = await deliver(forwarded("x@one.test", "="), bus)
    assert outcomes == ["tempfail 451 4.3.0 Could not rewrite sender", "delivered 250 2.0.0 Ok: queued"]
    assert [(each.sender, each.rcpts) for each in peer.messages] == [("a@sender.test", ["1@rcpt.test"])]
    assert "sender not rewritten" in log and ("no key" in log) == is_connected


async def test_a_message_of_which_nothing_can_be_sent_opens_no_session() -> None:
    bus = Config()
    bus.is_connected = False
    outcomes, peer, _, _ = await deliver(forwarded("x@one.test", "y@two.test"), bus)
    assert outcomes == ["tempfail 451 4.3.0 Could not rewrite sender"] * 2
    assert peer.connection_count == 0


async def test_a_sender_that_is_too_long_fails_for_good() -> None:
    loaded = forwarded("x@one.test", sender=f"{'u' * 240}@sender.test")
    outcomes, peer, _, _ = await deliver(loaded)
    assert outcomes == ["permfail 553 5.1.7 Sender too long to be rewritten"]
    assert peer.messages == []
