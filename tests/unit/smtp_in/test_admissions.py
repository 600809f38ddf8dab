"""Permits asked of a scheduler that answers as told: what is said to it, who waits, and what happens while it is away."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from smtpfleet.contracts.callers import CALLER_BATCH, AdmitCallers, AdmitReply, CallerVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.contracts.status import Status
from smtpfleet.contracts.subjects import SCHEDULER_CALLER_ADMIT, Subject
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.admissions import AWAY_S, Admissions
from smtpfleet.smtp_in.callers import Caller, Callers
from smtpfleet.smtp_in.reply import S421_TOO_MANY_CONNECTIONS, S554_EARLY_TALKER
from smtpfleet.smtp_in.state import State
from tests.support.smtp_stage import MemoryTransport, Stage

PEER = "192.0.2.1"


class Scheduler:
    """The bus, and the scheduler behind it: admits `room` connections in all; answers once `gate` is set."""

    def __init__(self) -> None:
        self.requests: list[AdmitCallers] = []
        self.room = 10_000
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        assert subject is SCHEDULER_CALLER_ADMIT and isinstance(payload, AdmitCallers)
        self.requests.append(payload)
        await self.gate.wait()
        if self.is_away:
            raise BusUnavailable("away")
        verdicts = []
        for caller in payload.callers:
            admitted = min(caller.asked, self.room)
            self.room -= admitted
            verdicts.append(CallerVerdict(admitted, "connections" if admitted < caller.asked else "", 1000, 0))
        return AdmitReply(verdicts)


class Desk:
    """Callers and admissions of one process, and a clock that moves when told."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.now_s = 1000.0
        self.callers = Callers(lambda: self.now_s)
        self.admissions = Admissions(scheduler, self.callers, "smtp-in-1", lambda: self.now_s)
        self.answers: list[Status | None] = []

    def come(self, peer: str = PEER) -> Caller:
        caller = self.callers.admit(peer)
        assert isinstance(caller, Caller)
        self.admissions.ask(caller, self.answers.append)
        return caller


@pytest.fixture
async def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
async def desk(scheduler: Scheduler) -> Desk:
    return Desk(scheduler)


async def test_what_comes_together_is_asked_together(scheduler: Scheduler, desk: Desk) -> None:
    scheduler.room = 2
    for peer in (PEER, PEER, PEER, "192.0.2.2"):
        desk.come(peer)
    await desk.admissions.flush()
    (request,) = scheduler.requests
    assert request.replica == "smtp-in-1"
    said = [(each.address, each.network, each.address_open, each.network_open, each.asked) for each in request.callers]
    assert said == [(PEER, "192.0.2.0/24", 0, 0, 3), ("192.0.2.2", "192.0.2.0/24", 0, 0, 1)]
    assert desk.answers == [None, None, S421_TOO_MANY_CONNECTIONS, S421_TOO_MANY_CONNECTIONS]
    assert desk.callers._known[PEER].open_count == 2 and desk.callers._known["192.0.2.2"].open_count == 0


async def test_who_has_left_is_reported_and_who_stays_is_repeated(scheduler: Scheduler, desk: Desk) -> None:
    first, second = desk.come(), desk.come()
    await desk.admissions.flush()
    first.leave()
    await desk.admissions.flush()
    assert [each.address_open for each in scheduler.requests[-1].callers] == [1]
    assert list(desk.admissions._held) == [PEER]
    second.leave()
    await desk.admissions.flush()
    assert [each.address_open for each in scheduler.requests[-1].callers] == [0]
    assert not desk.admissions._held and not desk.admissions._changed


async def test_who_leaves_before_the_answer_holds_nothing(scheduler: Scheduler, desk: Desk) -> None:
    scheduler.gate.clear()
    caller = desk.come()
    asking = asyncio.create_task(desk.admissions.flush())
    await asyncio.sleep(0)
    caller.leave()
    scheduler.gate.set()
    await asking
    assert [each.address_open for each in scheduler.requests[-1].callers] == [0]
    assert not desk.admissions._held


async def test_a_scheduler_that_is_away_is_not_waited_for_twice(scheduler: Scheduler, desk: Desk) -> None:
    scheduler.is_away = True
    desk.come()
    await desk.admissions.flush()
    assert desk.answers == [None]
    caller = desk.callers.admit(PEER)
    assert isinstance(caller, Caller)
    assert not desk.admissions.ask(caller, desk.answers.append)
    scheduler.is_away = False
    desk.now_s += AWAY_S
    await desk.admissions.flush()
    assert [each.address_open for each in scheduler.requests[-1].callers] == [2]  # what it did not hear, it hears now


async def test_a_flood_is_asked_by_the_batch(scheduler: Scheduler, desk: Desk) -> None:
    for number in range(3 * CALLER_BATCH):
        desk.come(f"198.51.{number >> 8}.{number & 255}")
    await desk.admissions.flush(with_reports=False)
    assert [len(request.callers) for request in scheduler.requests] == [CALLER_BATCH] * 3
    assert len(desk.answers) == 3 * CALLER_BATCH


async def test_recipients_are_said_once(scheduler: Scheduler, desk: Desk) -> None:
    desk.callers.limits = msgspec.structs.replace(DEFAULT_LIMITS, max_rcpt_rate_per_address=100)
    caller = desk.come()
    caller.note_rcpts(7)
    await desk.admissions.flush()
    caller.note_rcpts(3)
    await desk.admissions.flush()
    await desk.admissions.flush()
    assert [each.rcpts for request in scheduler.requests for each in request.callers] == [7, 3]


async def test_without_limits_nothing_is_said(scheduler: Scheduler, desk: Desk) -> None:
    desk.callers.limits = msgspec.structs.replace(DEFAULT_LIMITS, max_conn_per_address=0, max_conn_per_network=0)
    caller = desk.callers.admit(PEER)
    assert isinstance(caller, Caller)
    assert not desk.admissions.ask(caller, desk.answers.append)
    caller.leave()
    await desk.admissions.flush()
    assert scheduler.requests == []


class Front:
    """A stage whose peers wait for permits."""

    def __init__(self, stage: Stage, desk: Desk) -> None:
        self.stage = stage
        self.desk = desk
        stage.server.callers, stage.server._admissions = desk.callers, desk.admissions

    async def settle(self, client: MemoryTransport, condition: Callable[[], object]) -> None:
        await self.desk.admissions.flush()
        await self.stage.until(condition, lambda: client.written)


@pytest.fixture
async def front(stage: Stage, desk: Desk) -> Front:
    return Front(stage, desk)


async def test_the_banner_waits_for_the_permit(front: Front) -> None:
    client = front.stage.connect(PEER)
    assert client.written == b"" and client.protocol.session.state is State.AWAITING_WELCOME
    await front.settle(client, lambda: client.written.startswith(b"220 "))
    assert front.stage.connect("127.0.0.1").written.startswith(b"220 ")  # local peers ask for none


async def test_without_a_permit_there_is_no_session(front: Front, scheduler: Scheduler) -> None:
    scheduler.room = 0
    client = front.stage.connect(PEER)
    await front.settle(client, lambda: client.is_closed)
    assert client.written == f"{S421_TOO_MANY_CONNECTIONS.line}\r\n".encode()
    await front.stage.until(lambda: not front.stage.server.connections)
    front.stage.log.flush()
    assert client.protocol.session.id not in front.stage.log_text.getvalue()
    assert front.stage.connect(PEER).written == client.written  # at once: the answer is good for a second


async def test_who_talks_while_he_waits_is_no_client(front: Front) -> None:
    client = front.stage.connect(PEER)
    client.feed(b"EHLO a.test\r\n")
    await front.settle(client, lambda: client.is_closed)
    assert client.written == f"{S554_EARLY_TALKER.line}\r\n".encode()


async def test_a_connection_lost_while_it_waits(front: Front) -> None:
    client = front.stage.connect(PEER)
    client.close()
    await front.settle(client, lambda: not front.stage.server.connections)
    assert client.written == b""
    await front.desk.admissions.flush()
    assert not front.desk.admissions._held
