"""The bus on a real NATS: requests, groups, direct addressing, faults, silence, restarts."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from smtpfleet.contracts import commands as c
from smtpfleet.contracts import subjects, wire
from smtpfleet.contracts.events import WorkReady
from smtpfleet.local.servers import NatsServer
from smtpfleet.runtime.bus import Bus, BusUnavailable, KvConflict
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings

pytestmark = pytest.mark.connected
MakeBus = Callable[..., Bus]


@pytest.fixture
async def make_bus(nats_server: NatsServer, nats_prefix: str) -> AsyncIterator[MakeBus]:
    made: list[Bus] = []

    def make(replica: str = "r1", role: str = "queue", url: str = "") -> Bus:
        settings = RoleSettings(replica=replica, nats_url=url or nats_server.url, nats_prefix=nats_prefix)
        made.append(Bus(role, settings, MailLog("test", stream=io.StringIO())))
        return made[-1]

    yield make
    for bus in made:
        await bus.close()


async def echo(query: c.MessageQuery) -> c.MessageView:
    return c.MessageView(True, query.msgid, 0, 0, [])


async def test_a_request_is_answered_by_one_replica_of_the_role(make_bus: MakeBus) -> None:
    served: list[str] = []

    def serving(name: str) -> Callable[[c.MessageQuery], object]:
        async def handler(query: c.MessageQuery) -> c.MessageView:
            served.append(name)
            return await echo(query)

        return handler

    asker = make_bus("asker", "admin")
    await asker.connect()
    for name in ("q1", "q2"):
        bus = make_bus(name)
        await bus.connect()
        await bus.serve(subjects.QUEUE_MESSAGE_SHOW, serving(name), direct=True)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
    for n in range(20):
        reply = await asker.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery(f"{n}"))
        assert reply.msgid == f"{n}"
    assert len(served) == 20
    served.clear()
    await asker.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x"), to="q2")
    assert served == ["q2"]


async def test_nobody_there_is_said_at_once(make_bus: MakeBus) -> None:
    bus = make_bus()
    await bus.connect()
    async with asyncio.timeout(2):
        with pytest.raises(BusUnavailable, match="nobody serves it"):
            await bus.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x"), timeout_s=30)


async def test_a_failing_handler_is_a_fault_without_its_text(make_bus: MakeBus) -> None:
    async def broken(query: c.MessageQuery) -> c.MessageView:
        raise ValueError("secret detail")

    bus = make_bus()
    await bus.connect()
    await bus.serve(subjects.QUEUE_MESSAGE_SHOW, broken)
    with pytest.raises(wire.RemoteFault) as caught:
        await bus.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x"))
    assert "secret" not in str(caught.value)


async def test_slow_handlers_do_not_serialise(make_bus: MakeBus) -> None:
    async def slow(query: c.MessageQuery) -> c.MessageView:
        await asyncio.sleep(0.2)
        return await echo(query)

    bus = make_bus()
    await bus.connect()
    await bus.serve(subjects.QUEUE_MESSAGE_SHOW, slow)
    async with asyncio.timeout(1):
        await asyncio.gather(*(bus.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x")) for _ in range(50)))


async def test_a_broadcast_reaches_every_replica(make_bus: MakeBus) -> None:
    heard: list[tuple[str, object]] = []
    buses = [make_bus(name, "scheduler") for name in ("s1", "s2")]
    for name, bus in zip(("s1", "s2"), buses, strict=True):
        await bus.connect()
        await bus.listen(subjects.SCHEDULER_WORK_READY, lambda payload, name=name: heard.append((name, payload)))  # type: ignore[misc]
    await asyncio.sleep(0.05)
    buses[0].publish(subjects.SCHEDULER_WORK_READY, WorkReady([("mta", "r")]))
    async with asyncio.timeout(2):
        while len(heard) < 2:
            await asyncio.sleep(0.01)
    assert {name for name, _ in heard} == {"s1", "s2"}


async def test_a_drained_replica_answers_what_it_has_and_takes_nothing_more(make_bus: MakeBus) -> None:
    async def slow(query: c.MessageQuery) -> c.MessageView:
        await asyncio.sleep(0.2)
        return await echo(query)

    asker, server = make_bus("asker", "admin"), make_bus("q1")
    await asker.connect()
    await server.connect()
    await server.serve(subjects.QUEUE_MESSAGE_SHOW, slow)
    await asyncio.sleep(0.05)
    asked = asyncio.create_task(asker.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x")))
    await asyncio.sleep(0.05)
    await server.stop_serving()
    assert (await asked).msgid == "x"
    with pytest.raises(BusUnavailable):
        await asker.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("y"), timeout_s=1)


async def test_kv_keeps_a_value_and_refuses_a_stale_writer(make_bus: MakeBus) -> None:
    bus = make_bus(role="config")
    await bus.connect()
    assert await bus.kv_get("configuration", "current") is None
    await bus.ensure_streams()
    await bus.ensure_streams()
    assert await bus.kv_get("configuration", "current") is None
    written = asyncio.Event()
    await bus.kv_watch("configuration", "current", written.set)
    revision = await bus.kv_put("configuration", "current", b"one", last=0)
    assert await bus.kv_get("configuration", "current") == (b"one", revision)
    async with asyncio.timeout(2):
        await written.wait()
    await bus.kv_put("configuration", "current", b"two", last=revision)
    with pytest.raises(KvConflict):
        await bus.kv_put("configuration", "current", b"three", last=revision)


async def test_a_restarted_nats_is_found_again_and_waiting_requests_end(make_bus: MakeBus, tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    try:
        bus = make_bus(url=server.url)
        await bus.connect()

        async def never(query: c.MessageQuery) -> c.MessageView:
            await asyncio.sleep(30)
            return await echo(query)

        await bus.serve(subjects.QUEUE_MESSAGE_SHOW, never)
        await bus.serve(subjects.QUEUE_ENVELOPE_SHOW, echo_envelope)
        asked = asyncio.create_task(bus.request(subjects.QUEUE_MESSAGE_SHOW, c.MessageQuery("x"), timeout_s=30))
        await asyncio.sleep(0.1)
        server.kill9()
        async with asyncio.timeout(3):
            with pytest.raises(BusUnavailable):
                await asked
        with pytest.raises(BusUnavailable):
            await bus.request(subjects.QUEUE_ENVELOPE_SHOW, c.EnvelopeQuery("x"))
        server.start()
        async with asyncio.timeout(10):
            while not bus.is_connected:
                await asyncio.sleep(0.05)
            while True:
                try:
                    reply = await bus.request(subjects.QUEUE_ENVELOPE_SHOW, c.EnvelopeQuery("y"), timeout_s=1)
                    break
                except BusUnavailable:
                    await asyncio.sleep(0.05)
        assert reply.msgid == "y"
    finally:
        server.stop()


async def echo_envelope(query: c.EnvelopeQuery) -> c.MessageView:
    return c.MessageView(True, query.evpid, 0, 0, [])
