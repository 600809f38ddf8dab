"""Recipients that wait for mda: what is pipelined behind them, what is answered, and peers that do not wait."""

import asyncio
from typing import Any

from msgspec import Struct

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply
from smtpfleet.contracts.envelope import LocalDispatcher
from smtpfleet.contracts.subjects import Subject
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.state import State
from tests.support.smtp_stage import MemoryTransport, Stage

BEGIN = b"EHLO client.example\r\nMAIL FROM:<s@example.net>\r\n"
ALICE = b"RCPT TO:<alice@example.test>\r\n"
CONTENT = b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"


class Mda:
    """Answers for forwards when it may."""

    def __init__(self, **forwards: str) -> None:
        self.forwards = forwards
        self.may_answer = asyncio.Event()
        self.is_up = True
        self.asked: list[str] = []

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        assert isinstance(payload, ForwardQuery)
        self.asked.append(payload.user)
        await self.may_answer.wait()
        if not self.is_up:
            raise BusUnavailable("nobody serves it")
        content = self.forwards.get(payload.user, "")
        return ForwardReply("present" if content else "absent", content, "")


def lines(client: MemoryTransport) -> list[str]:
    """Reply codes so far, the extensions aside."""
    return [line[:3] for line in client.written.decode().splitlines() if line[3:4] == " "]


def state_of(client: MemoryTransport) -> State:
    state: State = client.protocol.session.state
    return state


async def test_what_is_pipelined_waits_behind_and_keeps_its_order() -> None:
    mda = Mda(alice="bob, carol@example.com")
    stage = Stage(roles=mda)
    client = stage.connect("127.0.0.1")
    client.feed(BEGIN + ALICE + b"RCPT TO:<nobody@example.test>\r\n" + CONTENT + b"QUIT\r\n")
    await stage.until(lambda: mda.asked)
    assert (state_of(client), lines(client)) == (State.AWAITING_RCPT_VERDICT, ["220", "250", "250"])
    mda.may_answer.set()
    await stage.settle()
    assert lines(client) == ["220", "250", "250", "250", "550", "354", "250", "221"]
    (message,) = stage.queue.messages
    assert [envelope.dest for envelope in message.envelopes] == ["alice@example.test", "carol@example.com"]
    first = message.envelopes[0].dispatcher
    assert isinstance(first, LocalDispatcher) and first.user == "bob"
    stage.close()


async def test_the_second_message_to_a_user_waits_for_nobody() -> None:
    mda = Mda()
    mda.may_answer.set()
    stage = Stage(roles=mda)
    client = stage.connect()
    for _ in range(3):
        client.feed((b"" if client.protocol.session.mail_count else BEGIN[:21]) + BEGIN[21:] + ALICE + CONTENT)
        await stage.settle()
    assert len(stage.queue.messages) == 3
    assert mda.asked == ["alice"]
    stage.close()


async def test_without_an_answer_the_recipient_is_told_to_come_back_and_the_log_says_why() -> None:
    mda = Mda()
    mda.is_up = False
    mda.may_answer.set()
    stage = Stage(roles=mda)
    client = stage.connect()
    client.feed(BEGIN + ALICE + b"RCPT TO:<x@example.org>\r\nRSET\r\n")
    await stage.settle()
    assert lines(client) == ["220", "250", "250", "451", "550", "250"]
    assert "mda does not answer" in stage.log_text.getvalue()
    assert "RCPT TO:<alice@example.test>" in stage.log_text.getvalue()
    stage.close()


async def test_a_peer_that_leaves_while_it_waits_leaves_nothing_behind() -> None:
    mda = Mda()
    stage = Stage(roles=mda)
    client = stage.connect()
    client.feed(BEGIN + ALICE)
    await stage.until(lambda: mda.asked)
    client.abort()
    await stage.until(lambda: not stage.server.connections)
    mda.may_answer.set()
    await asyncio.sleep(0.01)
    stage.background.raise_failed()
    assert lines(client) == ["220", "250", "250"]
    stage.close()


async def test_a_half_closed_peer_still_hears_the_answer() -> None:
    mda = Mda()
    stage = Stage(roles=mda)
    client = stage.connect()
    client.feed(BEGIN + ALICE)
    await stage.until(lambda: mda.asked)
    client.feed_eof()
    assert not client.is_closed
    mda.may_answer.set()
    await stage.until(lambda: client.is_closed)
    assert lines(client) == ["220", "250", "250", "250"]
    stage.close()


async def test_drain_lets_the_answer_out_before_it_dismisses() -> None:
    mda = Mda()
    stage = Stage(roles=mda)
    client = stage.connect()
    client.feed(BEGIN + ALICE)
    await stage.until(lambda: mda.asked)
    draining = asyncio.create_task(stage.server.drain())
    await asyncio.sleep(0)
    assert not client.is_closed
    mda.may_answer.set()
    await draining
    assert lines(client) == ["220", "250", "250", "250", "421"]
    stage.close()


async def test_waiting_is_not_quiet() -> None:
    mda = Mda()
    stage = Stage(roles=mda)
    client = stage.connect()
    client.feed(BEGIN + ALICE)
    await stage.until(lambda: mda.asked)
    for _ in range(1000):
        client.protocol.tick()
    assert not client.is_closed
    mda.may_answer.set()
    await stage.settle()
    assert lines(client)[-1] == "250"
    stage.close()
