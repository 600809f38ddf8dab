"""NOTIFY, RET, ENVID and ORCPT of RFC 3461: who is told what, on a real store."""

from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from msgspec import structs

from smtpfleet.contracts.commands import LoadEnvelopes, ReportOutcomes
from smtpfleet.contracts.envelope import Dispatcher, DsnNotify, Envelope
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import Status
from smtpfleet.queue.notify import success_kind, wants_delay, wants_failure
from tests.support.queue_parts import Parts, local, make_parts, new_message, remote
from tests.unit.queue.test_life_of_a_message import claim, evpids, is_idle, load

S250 = Status(250, "2.1.5", "Taken")
S550 = Status(550, "5.1.1", "No such user")
CONTENT = b"Subject: hello\r\nX-Mark: 1\r\n\r\nsecret body\r\n"


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    made = make_parts(redis_url)
    await made.store.connect()
    yield made
    await made.store.close()


def asked_of(dispatcher: Dispatcher, notify: int, sender: str = "from@example.net") -> Envelope:
    return structs.replace(new_message(dispatcher).envelopes[0], dsn_notify=notify, sender=sender)


@pytest.mark.parametrize(
    ("notify", "failure", "delay", "success"),
    [
        pytest.param(0, True, True, "", id="nothing asked"),
        pytest.param(DsnNotify.NEVER, False, False, "", id="never"),
        pytest.param(DsnNotify.FAILURE, True, False, "", id="failure"),
        pytest.param(DsnNotify.DELAY, False, True, "", id="delay"),
        pytest.param(DsnNotify.SUCCESS, False, False, "relayed", id="success"),
        pytest.param(DsnNotify.SUCCESS | DsnNotify.FAILURE | DsnNotify.DELAY, True, True, "relayed", id="all"),
    ],
)
def test_who_wants_what(notify: int, failure: bool, delay: bool, success: str) -> None:
    envelope = asked_of(remote(), int(notify))
    assert (wants_failure(envelope), wants_delay(envelope)) == (failure, delay)
    assert success_kind(envelope, is_passed_on=False) == success
    assert success_kind(envelope, is_passed_on=True) == ""
    assert success_kind(asked_of(local(), int(notify)), is_passed_on=False) == ("delivered" if success else "")


@pytest.mark.parametrize("notify", [0, int(DsnNotify.SUCCESS | DsnNotify.FAILURE | DsnNotify.DELAY)])
def test_the_null_sender_is_never_told(notify: int) -> None:
    envelope = asked_of(remote(), notify, sender="")
    assert not wants_failure(envelope) and not wants_delay(envelope)
    assert success_kind(envelope, is_passed_on=False) == ""


async def commit_asked(parts: Parts, dispatcher: Dispatcher, **asked: object) -> None:
    message = new_message(dispatcher, content=CONTENT)
    await parts.committer.commit([structs.replace(message, envelopes=[structs.replace(message.envelopes[0], **asked)])])


async def finish(
    parts: Parts, kind: OutcomeKind, status: Status, *, agent: str = "mta", is_passed_on: bool = False
) -> int:
    work = await claim(parts, agent)
    await load(parts, work)
    outcomes = [Outcome(evpid, kind, status, "mx.b.test", is_passed_on) for evpid in evpids(work)]
    assert await parts.results.report(ReportOutcomes(work.shard, work.lease, outcomes)) == []
    return work.shard


async def read_report(parts: Parts) -> tuple[EmailMessage, str]:
    """The one message in the queue, and its part for programs."""
    work = await claim(parts)
    reply = await parts.loader.load(LoadEnvelopes(work.shard, work.lease, evpids(work), ""))
    (envelope,) = reply.messages[0].envelopes
    assert envelope.sender == "" and envelope.dsn_notify == DsnNotify.NEVER
    text = reply.messages[0].content.decode()
    parsed = message_from_bytes(reply.messages[0].content, policy=policy.default)
    assert isinstance(parsed, EmailMessage) and parsed.get_content_type() == "multipart/report"
    return parsed, text


@pytest.mark.parametrize(
    ("dispatcher", "agent", "action"),
    [
        pytest.param(local(), "mda", "delivered", id="local delivery"),
        pytest.param(remote(), "mta", "relayed", id="a peer without DSN"),
    ],
)
async def test_success_is_reported(parts: Parts, dispatcher: Dispatcher, agent: str, action: str) -> None:
    await commit_asked(
        parts,
        dispatcher,
        dsn_notify=int(DsnNotify.SUCCESS),
        dsn_ret="FULL",
        dsn_envid="QQ+2B1",
        dsn_orcpt="rfc822;Alice+2Bx@example.org",
    )
    shard = await finish(parts, OutcomeKind.DELIVERED, S250, agent=agent)
    summary = await parts.views.summary()
    assert (summary.envelopes, summary.bouncing) == (1, 1)
    await parts.bouncer._write_due(shard)
    summary = await parts.views.summary()
    assert (summary.messages, summary.envelopes, summary.bouncing) == (1, 1, 0)
    parsed, text = await read_report(parts)
    assert parsed["Subject"] == f"Delivery status notification: {action}"
    for line in (
        f"Action: {action}",
        "Status: 2.1.5",
        "Original-Envelope-Id: QQ+1",
        "Original-Recipient: rfc822;Alice+x@example.org",
        "X-Mark: 1",
    ):
        assert line in text, line
    assert "secret body" not in text  # RFC 3461 §4.3: RET is about failure


async def test_a_peer_that_was_told_reports_itself(parts: Parts) -> None:
    await commit_asked(parts, remote(), dsn_notify=int(DsnNotify.SUCCESS))
    await finish(parts, OutcomeKind.DELIVERED, S250, is_passed_on=True)
    assert (await parts.views.summary()).messages == 0


async def test_never_is_never(parts: Parts) -> None:
    await commit_asked(parts, remote(), dsn_notify=int(DsnNotify.NEVER))
    shard = await finish(parts, OutcomeKind.PERMFAIL, S550)
    await parts.bouncer._write_due(shard)
    assert (await parts.views.summary()).messages == 0
    assert await is_idle(parts)


@pytest.mark.parametrize(("ret", "is_whole"), [("FULL", True), ("HDRS", False), ("", False)])
async def test_ret_says_how_much_of_a_failed_message_comes_back(parts: Parts, ret: str, is_whole: bool) -> None:
    await commit_asked(parts, remote(), dsn_ret=ret)
    await parts.bouncer._write_due(await finish(parts, OutcomeKind.PERMFAIL, S550))
    _, text = await read_report(parts)
    assert "X-Mark: 1" in text and ("secret body" in text) is is_whole
