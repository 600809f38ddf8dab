"""Failures and bans on a real store: when a ban begins, who is told, how it ends, and what is kept."""

import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from smtpfleet.contracts import keys
from smtpfleet.contracts.callers import BANS_LIMIT, BanKind, BansChanged, Failure
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.scheduler.bans import WELCOME_LIMIT, Bans
from tests.support.queue_parts import Parts, make_parts

pytestmark = pytest.mark.connected

ADDRESS = Failure(BanKind.AUTH_ADDRESS, "192.0.2.1")
USER = Failure(BanKind.AUTH_USER, "bob")


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    made = make_parts(redis_url)
    await made.store.connect()
    yield made
    await made.store.close()


class Court:
    """Bans, and what they have announced."""

    def __init__(self, parts: Parts) -> None:
        self.announced: list[BansChanged] = []
        self.bans = Bans(parts.store, MailLog("scheduler", stream=io.StringIO()), self.announced.append)

    def allow(self, **values: int) -> None:
        changes: dict[str, Any] = values
        self.bans.limits = msgspec.structs.replace(DEFAULT_LIMITS, **changes)

    async def names(self) -> list[tuple[BanKind, str]]:
        return [(ban.kind, ban.name) for ban in await self.bans.all()]


@pytest.fixture
def court(parts: Parts) -> Court:
    return Court(parts)


async def test_counts_grow_and_lead_to_a_ban(court: Court) -> None:
    court.allow(max_auth_failures_per_address=3, max_auth_failures_per_user=20)
    assert await court.bans.note([ADDRESS, USER]) == [1, 1]
    assert await court.bans.note([ADDRESS, USER]) == [2, 2]
    assert await court.names() == [] and court.announced == []
    assert await court.bans.note([ADDRESS, USER]) == [3, 3]
    (ban,) = await court.bans.all()
    assert (ban.kind, ban.name) == (ADDRESS.kind, ADDRESS.name) and 890_000 < ban.ends_in_ms <= 900_000
    assert [(each.kind, each.name) for each in court.announced[0].begun] == [(ADDRESS.kind, ADDRESS.name)]
    assert await court.bans.note([ADDRESS]) == [1]  # after the ban one begins anew


async def test_the_same_name_twice_in_one_request(court: Court) -> None:
    court.allow(max_failures_per_address=3)
    failure = Failure(BanKind.ADDRESS, "192.0.2.1")
    assert await court.bans.note([failure, failure, failure]) == [3, 3, 3]
    assert await court.names() == [(failure.kind, failure.name)]


async def test_a_ban_ends_by_itself(court: Court, parts: Parts) -> None:
    court.allow(max_auth_failures_per_user=1, ban_s=1)
    await court.bans.note([USER])
    assert 0 < await parts.store.call("PTTL", keys.BANS.form) <= 1000
    await parts.store.call("ZADD", keys.BANS.form, 1, f"{USER.kind}|{USER.name}")
    assert await court.names() == []


async def test_a_ban_is_lifted_and_its_failures_forgotten(court: Court) -> None:
    court.allow(max_auth_failures_per_user=2)
    await court.bans.note([USER, USER])
    await court.bans.note([USER])
    assert await court.bans.lift(USER.kind, USER.name)
    assert await court.names() == []
    assert court.announced[-1] == BansChanged([], [USER])
    assert not await court.bans.lift(USER.kind, USER.name)
    assert await court.bans.note([USER]) == [1]


@pytest.mark.parametrize("limits", [{"max_auth_failures_per_user": 0}, {"ban_s": 0}], ids=["no limit", "no time"])
async def test_nobody_is_banned_where_nobody_is_to_be(court: Court, limits: dict[str, int]) -> None:
    court.allow(**limits)
    assert await court.bans.note([USER] * 50) == [50] * 50
    assert await court.names() == [] and court.announced == []


async def test_success_forgives_the_address_and_remembers_where_from(court: Court) -> None:
    court.allow(max_auth_failures_per_address=10)
    await court.bans.note([ADDRESS] * 9)
    assert not await court.bans.is_welcome("bob", ADDRESS.name)
    await court.bans.note_success("bob", ADDRESS.name)
    assert await court.bans.note([ADDRESS]) == [1]
    assert await court.bans.is_welcome("bob", ADDRESS.name)
    assert not await court.bans.is_welcome("bob", "192.0.2.2")
    assert not await court.bans.is_welcome("eve", ADDRESS.name)


async def test_what_is_kept_is_bounded(court: Court, parts: Parts) -> None:
    for number in range(WELCOME_LIMIT + 5):
        await court.bans.note_success("bob", f"192.0.2.{number}")
    assert await parts.store.call("ZCARD", keys.welcome("bob")) == WELCOME_LIMIT
    far_off = parts.store.now_ms() + 10_000_000
    many = [part for number in range(BANS_LIMIT) for part in (far_off, f"address|{number}")]
    await parts.store.call("ZADD", keys.BANS.form, *many)
    court.allow(max_failures_per_address=1, ban_s=1_000_000)
    await court.bans.note([Failure(BanKind.ADDRESS, "192.0.2.1")])
    assert await parts.store.call("ZCARD", keys.BANS.form) == BANS_LIMIT


async def test_names_with_signs_of_their_own(court: Court) -> None:
    court.allow(max_auth_failures_per_user=1)
    name = "a|b}{c\x00 \u00e9"
    await court.bans.note([Failure(BanKind.AUTH_USER, name)])
    assert await court.names() == [(BanKind.AUTH_USER, name)]
    assert await court.bans.lift(BanKind.AUTH_USER, name)
