"""Permits of connections: the scripts on a real store."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from smtpfleet.contracts.commands import RELAY_WAIT_MAX_MS
from smtpfleet.contracts.permits import NOT_COUNTED, ConnectionEnd, PermitWish, TakePermits, TakeReply
from smtpfleet.scheduler.permits import KEEP_BATCH, Permits
from tests.support.queue_parts import LEASE_MS, Parts, make_parts

pytestmark = pytest.mark.connected

HOST = "host:192.0.2.1"
ROUTE = "route:any|192.0.2.1"


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    made = make_parts(redis_url)
    await made.store.connect()
    yield made
    await made.store.close()


@pytest.fixture
def permits(parts: Parts) -> Permits:
    return Permits(parts.store, lease_ms=LEASE_MS)


def request(holder: str, *wishes: PermitWish, relay: str = "r1") -> TakePermits:
    return TakePermits(holder, relay, list(wishes))


def end(holder: str, *, relay: str = "r1", reconnect_delay_ms: int = 0) -> ConnectionEnd:
    return ConnectionEnd(holder, relay, ROUTE, reconnect_delay_ms)


def host(most: int, name: str = HOST) -> PermitWish:
    return PermitWish(name, most, 0)


TAKEN = TakeReply(0, "", False)


async def test_no_more_than_the_limit_and_one_more_when_one_ends(permits: Permits) -> None:
    assert await permits.take(request("a", host(2))) == TAKEN
    assert await permits.take(request("b", host(2))) == TAKEN
    refused = await permits.take(request("c", host(2)))
    assert (refused.refused, 5000 < refused.wait_ms < 6000) == (HOST, True)
    await permits.free([end("a")])
    assert await permits.take(request("c", host(2))) == TAKEN


async def test_a_hundred_at_once_get_as_many_as_the_limit_says(permits: Permits) -> None:
    answers = await asyncio.gather(*(permits.take(request(f"w:{n}", host(7))) for n in range(100)))
    assert sum(not answer.wait_ms for answer in answers) == 7


async def test_all_or_none(permits: Permits) -> None:
    domain, full = host(5, "domain:a.test"), host(1)
    assert await permits.take(request("a", full)) == TAKEN
    for n in range(10):
        assert (await permits.take(request(f"b:{n}", domain, full))).refused == HOST
    for n in range(5):
        assert await permits.take(request(f"c:{n}", domain)) == TAKEN
    assert (await permits.take(request("d", domain))).refused == domain.name


async def test_the_same_holder_asks_again_after_a_lost_answer(permits: Permits) -> None:
    wish = PermitWish(ROUTE, 1, 60_000)
    assert await permits.take(request("a", wish)) == TAKEN
    assert await permits.take(request("a", wish)) == TAKEN
    assert (await permits.take(request("b", wish))).wait_ms > 0


async def test_a_limit_of_none_lets_nobody_through(permits: Permits) -> None:
    assert (await permits.take(request("a", host(0)))).refused == HOST


async def test_permits_of_a_dead_holder_run_out_and_those_of_a_living_one_do_not(permits: Permits) -> None:
    await permits.take(request("dead", host(2)))
    await permits.take(request("alive", host(2)))
    for _ in range(4):
        await asyncio.sleep(LEASE_MS / 3000)
        await permits.keep(["alive"])
    assert await permits.take(request("next", host(2))) == TAKEN
    assert (await permits.take(request("one more", host(2)))).refused == HOST


async def test_what_ran_out_is_not_taken_again_by_the_heartbeat(permits: Permits) -> None:
    await permits.take(request("frozen", host(1)))
    await asyncio.sleep(LEASE_MS / 1000 + 0.05)
    await permits.take(request("next", host(1)))
    await permits.keep(["frozen"])
    await permits.free([end("next")])
    assert await permits.take(request("third", host(1))) == TAKEN


async def test_more_connections_are_kept_than_one_call_renews(parts: Parts) -> None:
    permits = Permits(parts.store, lease_ms=2000)
    holders = [f"w:{n}" for n in range(2 * KEEP_BATCH + 1)]
    await asyncio.gather(*(permits.take(request(holder, host(len(holders)))) for holder in holders))
    await asyncio.sleep(1.2)
    await permits.keep(holders)
    await asyncio.sleep(1.2)
    assert (await permits.take(request("one more", host(len(holders))))).refused == HOST


async def test_a_delay_spaces_connections_by_the_clock_of_the_store(permits: Permits) -> None:
    wish = PermitWish(ROUTE, NOT_COUNTED, 300)
    assert await permits.take(request("a", wish)) == TAKEN
    await permits.free([end("a")])
    early = await permits.take(request("b", wish))
    assert (early.refused, 0 < early.wait_ms <= 300) == (ROUTE, True)
    await asyncio.sleep(early.wait_ms / 1000 + 0.01)
    assert await permits.take(request("b", wish)) == TAKEN


async def test_a_route_rests_after_a_connection_ended(permits: Permits) -> None:
    wish = PermitWish(ROUTE, 5, 0, 300)
    assert await permits.take(request("a", wish)) == TAKEN
    assert await permits.take(request("b", wish)) == TAKEN
    await permits.free([end("a", reconnect_delay_ms=300)])
    early = await permits.take(request("c", wish))
    assert 0 < early.wait_ms <= 300
    await asyncio.sleep(early.wait_ms / 1000 + 0.01)
    assert await permits.take(request("c", wish)) == TAKEN


async def test_a_delay_that_was_lowered_applies_at_once_and_a_long_wait_is_cut(permits: Permits) -> None:
    await permits.take(request("a", PermitWish(ROUTE, 5, 86_400_000)))
    assert (await permits.take(request("b", PermitWish(ROUTE, 5, 86_400_000)))).wait_ms == RELAY_WAIT_MAX_MS
    await asyncio.sleep(0.02)
    assert await permits.take(request("b", PermitWish(ROUTE, 5, 10))) == TAKEN


async def test_who_was_refused_first_comes_next(permits: Permits) -> None:
    await permits.take(request("a", host(1)))
    for relay in ("r2", "r3"):
        assert (await permits.take(request("b", host(1), relay=relay))).wait_ms
    assert await permits.free([end("a")]) == {"r1", "r2"}
    # The permit is free, but kept for r2; whoever is quicker waits.
    assert (await permits.take(request("c", host(1)))).refused == HOST
    assert (await permits.take(request("c", host(1), relay="r3"))).refused == HOST
    assert await permits.take(request("d", host(1), relay="r2")) == TakeReply(0, "", True)
    assert await permits.free([end("d", relay="r2")]) == {"r2", "r3"}


async def test_a_permit_kept_for_a_relay_that_never_comes_is_free_again(permits: Permits) -> None:
    await permits.take(request("a", host(1)))
    await permits.take(request("b", host(1), relay="gone"))
    await permits.free([end("a")])
    assert (await permits.take(request("c", host(1)))).wait_ms
    await asyncio.sleep(2.05)
    assert await permits.take(request("c", host(1))) == TAKEN


async def test_the_heartbeat_tells_for_which_connections_others_wait(permits: Permits) -> None:
    await permits.take(request("a", host(1)))
    await permits.take(request("b", host(1, "host:192.0.2.2")))
    assert await permits.keep(["a", "b"]) == []
    await permits.take(request("c", host(1), relay="r2"))
    assert await permits.keep(["a", "b"]) == ["a"]


async def test_nothing_is_left_behind(permits: Permits, parts: Parts) -> None:
    await permits.take(request("a", host(1)))
    await permits.take(request("b", host(1), relay="r2"))
    await permits.free([end("a")])
    await permits.take(request("c", host(1), relay="r2"))
    await permits.free([end("c", relay="r2")])
    assert await parts.store.call("KEYS", "{connections}*") == []
