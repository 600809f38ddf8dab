"""Parked work requests, turns, limits: the assigner on a real store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from smtpfleet.contracts.commands import ReportOutcomes, Work, WorkQuery
from smtpfleet.contracts.envelope import domain_of_relay
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import Status
from smtpfleet.scheduler.assigner import Assigner
from tests.support.queue_parts import Parts, local, make_parts, new_message, remote

pytestmark = pytest.mark.connected


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    made = make_parts(redis_url)
    await made.store.connect()
    yield made
    await made.store.close()


@contextlib.asynccontextmanager
async def running(parts: Parts, agent: str, *, limit: int = 100) -> AsyncIterator[Assigner]:
    assigner = Assigner(agent, parts.claims)
    assigner.session_limit = lambda relay: limit
    task = asyncio.create_task(assigner.run())
    yield assigner
    assigner.close()
    await task


def query(agent: str, *, relay: str = "", batch: int = 10, wait_ms: int = 3000, permit: str = "w:1") -> WorkQuery:
    return WorkQuery(agent, "w", relay, batch, wait_ms, permit)


def count(work: Work) -> int:
    return sum(len(item.evpids) for item in work.items)


async def finish(parts: Parts, work: Work) -> None:
    outcomes = [Outcome(e, OutcomeKind.DELIVERED, Status(250, "", "ok")) for item in work.items for e in item.evpids]
    await parts.results.report(ReportOutcomes(work.shard, work.lease, outcomes))


async def test_a_request_waits_and_ends_empty(parts: Parts) -> None:
    async with running(parts, "mda") as assigner:
        started = asyncio.get_running_loop().time()
        work = await assigner.next_work(query("mda", wait_ms=150))
        assert work.lease == 0
        assert asyncio.get_running_loop().time() - started >= 0.14


async def test_a_parked_request_is_answered_on_the_wakeup(parts: Parts) -> None:
    async with running(parts, "mda") as assigner:
        waiting = asyncio.create_task(assigner.next_work(query("mda")))
        await asyncio.sleep(0.05)
        await parts.committer.commit([new_message(local())])
        started = asyncio.get_running_loop().time()
        assigner.wake("alice@users")
        assert count(await waiting) == 1
        assert asyncio.get_running_loop().time() - started < 0.5


async def test_a_lost_wakeup_costs_at_most_the_sweep(parts: Parts) -> None:
    async with running(parts, "mda") as assigner:
        waiting = asyncio.create_task(assigner.next_work(query("mda")))
        await asyncio.sleep(0.05)
        await parts.committer.commit([new_message(local())])
        async with asyncio.timeout(2):
            assert count(await waiting) == 1


async def test_a_parked_request_is_answered_when_a_due_time_comes(parts: Parts) -> None:
    await parts.committer.commit([new_message(local())])
    async with running(parts, "mda") as assigner:
        work = await assigner.next_work(query("mda"))
        (evpid,) = work.items[0].evpids
        await parts.results.report(
            ReportOutcomes(0, work.lease, [Outcome(evpid, OutcomeKind.TEMPFAIL, Status(451, "", "later"))])
        )
        assert (await assigner.next_work(query("mda", wait_ms=100))).lease == 0
        due = parts.store.now_ms() + 400
        await parts.store.call("ZADD", "{s0}:due:mda:alice@users", due, evpid)
        await parts.store.call("ZADD", "{s0}:ready:mda", due, "alice@users")
        assert count(await assigner.next_work(query("mda", wait_ms=2500))) == 1
        assert parts.store.now_ms() >= due


async def test_the_permits_of_a_relay_limit_its_sessions_across_replicas(parts: Parts) -> None:
    for _ in range(30):
        await parts.committer.commit([new_message(remote())])
    async with running(parts, "mta", limit=2) as one, running(parts, "mta", limit=2) as two:
        first = await one.next_work(query("mta", batch=5, permit="w:1"))
        second = await two.next_work(query("mta", batch=5, permit="w:2"))
        third = await two.next_work(query("mta", batch=5, permit="w:3", wait_ms=300))
        assert (count(first), count(second), third.lease) == (5, 5, 0)
        relay = first.items[0].relay
        more = await one.next_work(query("mta", relay=relay, batch=5, permit="w:1"))
        assert count(more) == 5  # a session that has its permit goes on
        await parts.claims.free_permit("mta", relay, "w:2")
        assert count(await two.next_work(query("mta", batch=5, permit="w:4"))) == 5


async def test_the_permits_of_a_dead_worker_run_out(parts: Parts) -> None:
    for _ in range(20):
        await parts.committer.commit([new_message(remote())])
    async with running(parts, "mta", limit=1) as assigner:
        work = await assigner.next_work(query("mta", batch=2, permit="dead:1"))
        relay = work.items[0].relay
        assert (await assigner.next_work(query("mta", permit="w:1", wait_ms=100))).lease == 0
        await asyncio.sleep(0.5)
        await parts.claims.postpone("mta", relay, 0)
        assert count(await assigner.next_work(query("mta", permit="w:1"))) > 0


async def test_a_relay_that_is_left_alone_gets_no_new_session_but_goes_on_with_those_it_has(parts: Parts) -> None:
    for _ in range(20):
        await parts.committer.commit([new_message(remote())])
    async with running(parts, "mta") as assigner:
        work = await assigner.next_work(query("mta", batch=2, permit="w:1"))
        relay = work.items[0].relay
        await parts.claims.leave_alone("mta", relay, 700)
        assert (await assigner.next_work(query("mta", permit="w:2", wait_ms=300))).lease == 0
        assert count(await assigner.next_work(query("mta", relay=relay, batch=2, permit="w:1"))) == 2
        started = asyncio.get_running_loop().time()
        assert count(await assigner.next_work(query("mta", batch=2, permit="w:2"))) == 2
        assert 0.2 < asyncio.get_running_loop().time() - started < 1.5
        await parts.claims.leave_alone("mta", relay, 60_000)
        waiting = asyncio.create_task(assigner.next_work(query("mta", batch=2, permit="w:3")))
        await asyncio.sleep(0.1)
        await parts.claims.end_wait("mta", relay)
        assigner.wake(relay)
        async with asyncio.timeout(1):
            assert count(await waiting) == 2


async def test_a_wait_that_is_over_before_it_begins_does_not_begin(parts: Parts) -> None:
    relay = "example.org,tls=none"
    await parts.claims.end_wait("mta", relay)
    await parts.claims.leave_alone("mta", relay, 5000)
    assert await parts.claims.take_permit("mta", relay, "w:1", 1) is None
    await parts.claims.leave_alone("mta", relay, 5000)  # this one does
    wait_ms = await parts.claims.take_permit("mta", relay, "w:2", 2)
    assert wait_ms is not None and 4000 < wait_ms <= 5000
    assert await parts.claims.take_permit("mta", relay, "w:1", 1) is None  # who has it has it


async def test_every_relay_has_its_own_limit(parts: Parts) -> None:
    for _ in range(9):
        await parts.committer.commit([new_message(remote("one.test"))])
    async with running(parts, "mta") as assigner:
        assigner.session_limit = lambda relay: 1 if domain_of_relay(relay) == "one.test" else 5
        assert count(await assigner.next_work(query("mta", batch=1, permit="w:1"))) == 1
        assert (await assigner.next_work(query("mta", permit="w:2", wait_ms=200))).lease == 0
        for number in range(3):
            await parts.committer.commit([new_message(remote("other.test"))])
            assert count(await assigner.next_work(query("mta", permit=f"w:{number + 3}"))) == 1


async def test_a_limited_relay_does_not_hold_up_the_others(parts: Parts) -> None:
    for _ in range(20):
        await parts.committer.commit([new_message(remote("full.test"))])
    async with running(parts, "mta", limit=1) as assigner:
        await assigner.next_work(query("mta", batch=2, permit="w:1"))
        await parts.committer.commit([new_message(remote("free.test"))])
        work = await assigner.next_work(query("mta", permit="w:2"))
        assert work.items[0].relay.startswith("free.test")


async def test_a_waiting_session_comes_before_a_new_one(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote())])
    async with running(parts, "mta") as assigner:
        work = await assigner.next_work(query("mta", permit="w:1"))
        relay = work.items[0].relay
        idle = asyncio.create_task(assigner.next_work(query("mta", permit="w:2")))
        session = asyncio.create_task(assigner.next_work(query("mta", relay=relay, permit="w:1")))
        await asyncio.sleep(0.1)
        await parts.committer.commit([new_message(remote())])
        assigner.wake(relay)
        assert count(await asyncio.wait_for(session, 2)) == 1
        assert not idle.done()
        idle.cancel()


async def test_few_envelopes_open_no_fourth_session(parts: Parts) -> None:
    async with running(parts, "mta") as assigner:
        for number in range(3):
            await parts.committer.commit([new_message(remote())])
            assert count(await assigner.next_work(query("mta", permit=f"w:{number}"))) == 1
        await parts.committer.commit([new_message(remote())])
        assert (await assigner.next_work(query("mta", permit="w:9", wait_ms=200))).lease == 0


async def test_closing_answers_everyone_parked(parts: Parts) -> None:
    async with running(parts, "mda") as assigner:
        waiting = [asyncio.create_task(assigner.next_work(query("mda"))) for _ in range(5)]
        await asyncio.sleep(0.05)
        assigner.close()
        assert [work.lease for work in await asyncio.gather(*waiting)] == [0] * 5
        assert (await assigner.next_work(query("mda"))).lease == 0


async def test_ten_thousand_due_envelopes_are_claimed_in_bounded_batches(parts: Parts) -> None:
    messages = [new_message(*[local(f"u{n}") for n in range(100)]) for _ in range(20)]
    await asyncio.gather(*(parts.committer.commit([message]) for message in messages))
    async with running(parts, "mda") as assigner:
        total = 0
        while total < 2000:
            work = await assigner.next_work(query("mda", batch=100))
            assert 0 < count(work) <= 100
            total += count(work)
            await finish(parts, work)
        assert (await parts.views.summary()).messages == 0
