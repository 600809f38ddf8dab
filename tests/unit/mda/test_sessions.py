"""Which deliveries share a session, how many run, and whose turn it is. Threads are held at a gate, so nothing depends on time."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest

from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.mda.attempt import Attempt, delivered
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.sessions import GROUP_LIMIT, Batch, Sessions
from tests.support.until import until


def delivery(number: int, user: str, *, chunk_count: int = 0) -> Delivery:
    content = b"" if chunk_count else b"x"
    return Delivery(f"{number:024x}", user, "", "/", "", "", 0, b"", content, "", chunk_count, 1)


class Gate:
    """deliver_group that waits until the gate opens and records who ran."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.groups: list[list[Delivery]] = []
        self.singles: list[Delivery] = []
        self.single_open = asyncio.Event()
        self._lock = threading.Lock()

    def deliver(self, members: list[Delivery]) -> list[Attempt]:
        with self._lock:
            self.groups.append(members)
        assert self.open.wait(10)
        return [delivered(member.evpid) for member in members]

    async def deliver_large(self, large: Delivery) -> Attempt:
        self.groups.append([large])
        return delivered(large.evpid, "large")

    async def deliver_single(self, single: Delivery) -> Attempt:
        self.singles.append(single)
        await self.single_open.wait()
        return delivered(single.evpid, "single")

    def running_of(self, user: str) -> int:
        return sum(any(member.user == user for member in group) for group in self.groups)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def new_sessions(gate: Gate, *, threads: int = 8, limits: Limits = DEFAULT_LIMITS) -> Sessions:
    deliver_large: Callable[[Delivery], Awaitable[Attempt]] = gate.deliver_large
    return Sessions(threads, lambda: limits, gate.deliver, deliver_large, gate.deliver_single)


async def all_attempts(batch: Batch) -> list[Attempt]:
    attempts: list[Attempt] = []
    while not batch.is_done:
        attempts += await batch.wait(5)
    return attempts


async def test_deliveries_of_one_user_share_sessions(gate: Gate) -> None:
    sessions = new_sessions(gate)
    batch = sessions.submit([delivery(n, "alice") for n in range(GROUP_LIMIT + 3)])
    await until(lambda: len(gate.groups) == 2, lambda: gate.groups)
    assert sorted(map(len, gate.groups)) == [3, GROUP_LIMIT]
    gate.open.set()
    assert len(await all_attempts(batch)) == GROUP_LIMIT + 3
    sessions.close()


async def test_deliveries_of_many_users_share_a_session(gate: Gate) -> None:
    sessions = new_sessions(gate)
    sessions.submit([delivery(n, f"user{n}") for n in range(10)])
    await until(lambda: len(gate.groups) == 1, lambda: gate.groups)
    assert Counter(member.user for member in gate.groups[0]) == Counter(f"user{n}" for n in range(10))
    sessions.close()


@pytest.mark.parametrize(
    ("threads", "most_per_user", "runs"),
    [
        pytest.param(8, 2, 2, id="the configured limit"),
        pytest.param(3, 7, 2, id="a thread is left for the others"),
    ],
)
async def test_sessions_of_one_user_are_limited(gate: Gate, threads: int, most_per_user: int, runs: int) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, max_mda_per_user=most_per_user)
    sessions = new_sessions(gate, threads=threads, limits=limits)
    batch = sessions.submit([delivery(n, "alice") for n in range(GROUP_LIMIT * 5)])
    other = sessions.submit([delivery(1000, "bob")])
    await until(lambda: gate.running_of("bob") == 1, lambda: gate.groups)
    assert gate.running_of("alice") == runs
    gate.open.set()
    assert len(await all_attempts(batch)) == GROUP_LIMIT * 5
    assert len(await all_attempts(other)) == 1
    sessions.close()


async def test_sessions_in_all_are_limited(gate: Gate) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, max_mda_sessions=1)
    sessions = new_sessions(gate, limits=limits)
    first = sessions.submit([delivery(1, "alice")])
    second = sessions.submit([delivery(2, "bob")])
    await until(lambda: len(gate.groups) == 1, lambda: gate.groups)
    gate.open.set()
    assert [a.evpid for a in await all_attempts(first) + await all_attempts(second)] == [f"{1:024x}", f"{2:024x}"]
    sessions.close()


async def test_users_take_turns(gate: Gate) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, max_mda_sessions=1)
    sessions = new_sessions(gate, limits=limits)
    busy = sessions.submit([delivery(n, "alice") for n in range(GROUP_LIMIT * 4)])
    sessions.submit([delivery(1000, "bob")])
    gate.open.set()
    await all_attempts(busy)
    assert "bob" in {member.user for group in gate.groups[1:3] for member in group}
    sessions.close()


async def test_a_large_message_has_a_session_of_its_own(gate: Gate) -> None:
    sessions = new_sessions(gate)
    gate.open.set()
    batch = sessions.submit([delivery(1, "alice"), delivery(2, "alice", chunk_count=3), delivery(3, "alice")])
    assert {attempt.evpid: attempt.detail for attempt in await all_attempts(batch)} == {
        f"{1:024x}": "",
        f"{2:024x}": "large",
        f"{3:024x}": "",
    }
    assert sorted(map(len, gate.groups)) == [1, 1, 1]
    sessions.close()


async def test_outcomes_of_fast_users_do_not_wait_for_a_slow_one(gate: Gate) -> None:
    def deliver(members: list[Delivery]) -> list[Attempt]:
        return gate.deliver(members) if members[0].user == "slow" else [delivered(m.evpid) for m in members]

    sessions = Sessions(8, lambda: DEFAULT_LIMITS, deliver, gate.deliver_large, gate.deliver_single)
    batch = sessions.submit([delivery(n, "slow") for n in range(GROUP_LIMIT)] + [delivery(1000, "fast")])
    assert [attempt.evpid for attempt in await batch.wait(0.2)] == [f"{1000:024x}"]
    assert not batch.is_done
    gate.open.set()
    assert len(await all_attempts(batch)) == GROUP_LIMIT
    sessions.close()


async def test_the_same_envelope_twice_in_hand_ends_both(gate: Gate) -> None:
    """A lease was lost and this worker claimed the envelope again before its first delivery was begun."""
    sessions = new_sessions(gate)
    gate.open.set()
    first, second = sessions.submit([delivery(1, "alice")]), sessions.submit([delivery(1, "alice")])
    assert (len(await all_attempts(first)), len(await all_attempts(second))) == (1, 1)
    sessions.close()


async def test_a_bug_in_a_session_is_raised_to_whoever_waits() -> None:
    def deliver(members: list[Delivery]) -> list[Attempt]:
        raise ZeroDivisionError("a bug")

    sessions = Sessions(2, lambda: DEFAULT_LIMITS, deliver, Gate().deliver_large, Gate().deliver_single)
    batch = sessions.submit([delivery(1, "alice")])
    with pytest.raises(ZeroDivisionError):
        await batch.wait(5)
    sessions.close()


async def test_no_deliveries_are_done_at_once(gate: Gate) -> None:
    sessions = new_sessions(gate)
    batch = sessions.submit([])
    assert batch.is_done
    sessions.close()
