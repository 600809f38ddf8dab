"""Permits of connections on a real store: limits hold over replicas, what is lost or dead runs out, nothing is counted twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from smtpfleet.contracts import keys
from smtpfleet.contracts.callers import CallerCount, CallerVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.scheduler.callers import Callers
from tests.support.queue_parts import Parts, make_parts

pytestmark = pytest.mark.connected

ADDRESS, NEIGHBOUR, NETWORK = "192.0.2.1", "192.0.2.2", "192.0.2.0/24"
NONE = msgspec.structs.replace(DEFAULT_LIMITS, max_conn_per_address=0, max_conn_per_network=0)
HOLD_MS = 300
WINDOW_MS = 600


def limits(**values: int) -> Limits:
    changes: dict[str, Any] = values
    return msgspec.structs.replace(NONE, **changes)


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    made = make_parts(redis_url)
    await made.store.connect()
    yield made
    await made.store.close()


@pytest.fixture
def callers(parts: Parts) -> Callers:
    return Callers(parts.store, hold_ms=HOLD_MS, window_ms=WINDOW_MS)


async def ask(
    callers: Callers, replica: str, *, held: int = 0, asked: int = 0, rcpts: int = 0, address: str = ADDRESS, network_held: int = -1
) -> CallerVerdict:  # fmt: skip
    open_in_network = held if network_held < 0 else network_held
    (verdict,) = await callers.admit(replica, [CallerCount(address, NETWORK, held, open_in_network, asked, rcpts)])
    return verdict


async def test_connections_at_once_over_two_replicas(callers: Callers) -> None:
    callers.limits = limits(max_conn_per_address=5)
    assert (await ask(callers, "a", asked=3)).admitted == 3
    assert await ask(callers, "b", asked=3) == CallerVerdict(2, "connections", 1000, 0)
    assert (await ask(callers, "a", held=3, asked=1)).admitted == 0
    assert (await ask(callers, "a", held=2)).admitted == 0  # a report: one has left
    assert (await ask(callers, "b", held=2, asked=1)).admitted == 1


async def test_a_repeated_report_changes_nothing(callers: Callers) -> None:
    callers.limits = limits(max_conn_per_address=5)
    for _ in range(10):
        await ask(callers, "a", held=4)
    assert (await ask(callers, "b", asked=2)).admitted == 1


async def test_what_a_dead_replica_held_runs_out(callers: Callers) -> None:
    callers.limits = limits(max_conn_per_address=2)
    await ask(callers, "dead", held=2)
    assert (await ask(callers, "b", asked=1)).admitted == 0
    await asyncio.sleep(HOLD_MS / 1000 + 0.05)
    assert (await ask(callers, "b", asked=2)).admitted == 2


async def test_the_network_counts_all_its_addresses(callers: Callers) -> None:
    callers.limits = limits(max_conn_per_network=3)
    assert (await ask(callers, "a", asked=2)).admitted == 2
    assert (await ask(callers, "b", asked=2, address=NEIGHBOUR)).admitted == 1
    assert (await ask(callers, "a", asked=1, network_held=2, address=NEIGHBOUR)).limit == "connections"


async def test_connections_a_minute(callers: Callers) -> None:
    callers.limits = limits(max_conn_rate_per_address=3)
    assert (await ask(callers, "a", asked=2)).admitted == 2
    verdict = await ask(callers, "b", asked=2)
    assert (verdict.admitted, verdict.limit) == (1, "rate") and 0 < verdict.retry_ms <= WINDOW_MS
    await asyncio.sleep(WINDOW_MS / 1000)
    assert (await ask(callers, "b", asked=2)).admitted == 2


async def test_recipients_a_minute(callers: Callers) -> None:
    callers.limits = limits(max_rcpt_rate_per_network=100)
    assert (await ask(callers, "a", rcpts=60)).rcpts_wait_ms == 0
    assert 0 < (await ask(callers, "b", rcpts=40, address=NEIGHBOUR)).rcpts_wait_ms <= WINDOW_MS
    assert (await ask(callers, "a", asked=1)).admitted == 1  # it may connect, and is told at MAIL
    await asyncio.sleep(WINDOW_MS / 1000)
    assert (await ask(callers, "a", rcpts=1)).rcpts_wait_ms == 0


async def test_many_at_once_are_never_too_many(callers: Callers) -> None:
    callers.limits = limits(max_conn_per_address=50)
    verdicts = await asyncio.gather(*(ask(callers, f"replica {number}", asked=7) for number in range(20)))
    assert sum(verdict.admitted for verdict in verdicts) == 50


async def test_nothing_stays(callers: Callers, parts: Parts) -> None:
    callers.limits = limits(max_conn_per_address=50)
    await ask(callers, "a", asked=1)
    await ask(callers, "a", held=0)
    for name in (ADDRESS, NETWORK):
        assert 0 < await parts.store.call("PTTL", keys.caller(NETWORK, name)) <= max(HOLD_MS, WINDOW_MS)


async def test_a_restarted_store_gets_its_script_again(callers: Callers, parts: Parts) -> None:
    callers.limits = limits(max_conn_per_address=5)
    await ask(callers, "a", asked=1)
    await parts.store.call("SCRIPT", "FLUSH")
    counts = [CallerCount(address, NETWORK, 0, 0, 1, 0) for address in (ADDRESS, NEIGHBOUR)]
    assert [verdict.admitted for verdict in await callers.admit("b", counts)] == [1, 1]
