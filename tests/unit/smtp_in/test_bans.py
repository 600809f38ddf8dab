"""The mirror of bans, and failures that scheduler counts: what is told, what holds, and what stands in while it is away."""

import asyncio
from typing import Any

import pytest
from msgspec import Struct

from smtpfleet.contracts import callers as p
from smtpfleet.contracts.callers import BanKind
from smtpfleet.contracts.commands import Done
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.contracts.subjects import Subject
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.bans import LIST_S, Bans
from smtpfleet.smtp_in.callers import Caller, Callers
from smtpfleet.smtp_in.failures import DELAY_LIMIT_S, LocalFailures
from smtpfleet.smtp_in.fleet_failures import FleetFailures
from tests.support.fake_queue import Background

PEER = "192.0.2.1"
USER_BAN = p.Ban(BanKind.AUTH_USER, "bob", 900_000)


class Scheduler:
    """Answers as told; keeps what it was told."""

    def __init__(self) -> None:
        self.is_away = False
        self.bans: list[p.Ban] = []
        self.counts = [1, 1]
        self.is_welcome = False
        self.told: list[Struct] = []
        self.meanwhile: Any = lambda: None

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        if self.is_away:
            raise BusUnavailable("away")
        self.told.append(payload)
        if isinstance(payload, p.BansQuery):
            reply = p.BansReply(list(self.bans))
            self.meanwhile()
            return reply
        if isinstance(payload, p.NoteFailures):
            return p.FailuresReply(self.counts)
        return p.WelcomeReply(self.is_welcome) if isinstance(payload, p.WelcomeQuery) else Done()


class Guard:
    """Bans and failures of one process, and a clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.scheduler = Scheduler()
        self.background = Background()
        self.bans = Bans(self.scheduler, self.clock)
        self.local = LocalFailures(self.clock)
        self.failures = FleetFailures(self.scheduler, self.bans, self.local, self.background.spawn)

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
async def guard() -> Guard:
    return Guard()


async def test_bans_are_announced_read_and_run_out(guard: Guard) -> None:
    guard.bans.on_changed(p.BansChanged([p.Ban(BanKind.AUTH_ADDRESS, PEER, 5_000)], []))
    assert guard.failures.is_address_banned(PEER) and not guard.failures.is_address_banned("192.0.2.2")
    guard.now_s += 5.1
    assert not guard.failures.is_address_banned(PEER)
    guard.scheduler.bans = [p.Ban(BanKind.AUTH_ADDRESS, PEER, 5_000)]
    assert await guard.bans.read() and guard.failures.is_address_banned(PEER)
    guard.scheduler.bans = []
    assert await guard.bans.read() and not guard.failures.is_address_banned(PEER)


async def test_a_list_that_is_older_than_an_announcement_is_not_taken(guard: Guard) -> None:
    changed = p.BansChanged([USER_BAN], [])
    guard.scheduler.meanwhile = lambda: guard.bans.on_changed(changed)
    assert not await guard.bans.read()
    assert guard.bans.holds(BanKind.AUTH_USER, "bob")


async def test_a_banned_user_may_come_from_where_he_came(guard: Guard) -> None:
    guard.bans.on_changed(p.BansChanged([USER_BAN], []))
    assert await guard.failures.is_user_banned("Bob", PEER)
    guard.scheduler.is_welcome = True
    assert not await guard.failures.is_user_banned("Bob", PEER)
    assert guard.scheduler.told[-1] == p.WelcomeQuery("bob", PEER)
    guard.scheduler.is_away = True
    assert await guard.failures.is_user_banned("Bob", PEER)
    guard.failures.note_success("Bob", PEER)
    assert not await guard.failures.is_user_banned("Bob", PEER)  # to this process he is welcome


async def test_the_delay_follows_the_failures_of_the_fleet(guard: Guard) -> None:
    assert await guard.failures.note_failure("Bob", PEER) == 1.0
    told = [p.Failure(BanKind.AUTH_ADDRESS, PEER), p.Failure(BanKind.AUTH_USER, "bob")]
    assert guard.scheduler.told == [p.NoteFailures(told)]
    guard.scheduler.counts = [9, 9]
    assert await guard.failures.note_failure("Bob", PEER) == DELAY_LIMIT_S


async def test_while_scheduler_is_away_our_own_counts_stand_in(guard: Guard) -> None:
    guard.scheduler.is_away = True
    for _ in range(DEFAULT_LIMITS.max_auth_failures_per_address):
        await guard.failures.note_failure("bob", PEER)
    assert guard.failures.is_address_banned(PEER)
    guard.scheduler.is_away = False
    assert await guard.bans.read() and not guard.failures.is_address_banned(PEER)  # its list counts again
    guard.now_s += 4 * LIST_S
    assert guard.failures.is_address_banned(PEER)


async def test_a_lifted_ban_forgets_our_own_counts(guard: Guard) -> None:
    guard.scheduler.is_away = True
    for number in range(DEFAULT_LIMITS.max_auth_failures_per_user):
        await guard.failures.note_failure("Bob", f"198.51.100.{number}")
    assert await guard.failures.is_user_banned("bob", PEER)
    guard.bans.on_changed(p.BansChanged([], [p.Failure(BanKind.AUTH_USER, "bob")]))
    assert not await guard.failures.is_user_banned("bob", PEER)


async def test_ended_sessions_are_reported_together(guard: Guard) -> None:
    callers = Callers(guard.clock)
    callers.on_failure = guard.failures.note_session
    for _ in range(3):
        caller = callers.admit(PEER)
        assert isinstance(caller, Caller)
        caller.note_failure()
    ends_at = asyncio.get_running_loop().time() + 5
    while not guard.scheduler.told:
        assert asyncio.get_running_loop().time() < ends_at
        await asyncio.sleep(0.01)
    pair = [p.Failure(BanKind.ADDRESS, PEER), p.Failure(BanKind.NETWORK, "192.0.2.0/24")]
    assert guard.scheduler.told == [p.NoteFailures(pair * 3)]
    guard.background.raise_failed()
