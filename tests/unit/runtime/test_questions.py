"""Asking mda for forwards and config for tables: memory and its age, one request for many who ask, and what failures become."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply, TableQuery, TableReply
from smtpfleet.contracts.configuration import Configuration, Table
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply
from smtpfleet.contracts.subjects import Subject
from smtpfleet.mail.expand import Expander, OpenExpansion
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.forwards import FRESH_S, STALE_S, Forwards
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient
from tests.unit.mail.building import (
    ANYONE,
    OURS,
    configuration,
    facts,
    list_table,
    local_action,
    rule,
)

ALICE = ForwardQuery("users", "alice")


class Roles:
    """config and mda behind a bus: what they say, and what they were asked."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.is_up = True
        self.forwards: dict[str, ForwardReply] = {}
        self.values: dict[str, str] = {}
        self.restored = SrsRestoreReply("", "", "")
        self.asked: list[Struct] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        assert isinstance(payload, subject.payload)
        self.asked.append(payload)
        await self.may_answer.wait()
        if not self.is_up:
            raise BusUnavailable("nobody serves it")
        if isinstance(payload, ForwardQuery):
            return self.forwards.get(payload.user, ForwardReply("absent", "", ""))
        if isinstance(payload, SrsRestoreQuery):
            return self.restored
        assert isinstance(payload, TableQuery)
        return TableReply("", [self.values.get(f"{payload.table}/{key}") for key in payload.keys], 0.0)

    def open_forwards(self, *, remembered_limit: int = 100) -> Forwards:
        return Forwards(self, lambda: self.now_s, remembered_limit=remembered_limit, patience_s=0)


async def test_an_answer_counts_for_two_seconds() -> None:
    roles = Roles()
    forwards = roles.open_forwards()
    assert forwards.known(ALICE) is None
    assert (await forwards.ask(ALICE)).result == "absent"
    roles.forwards["alice"] = ForwardReply("present", "bob", "")
    roles.now_s += FRESH_S - 0.01
    known = forwards.known(ALICE)
    assert known is not None and known.reply.result == "absent"
    roles.now_s += 0.02
    assert forwards.known(ALICE) is None
    assert (await forwards.ask(ALICE)).content == "bob"
    assert roles.asked == [ALICE, ALICE]


async def test_many_who_ask_at_once_are_one_request_and_one_who_gives_up_spoils_nothing() -> None:
    roles = Roles()
    forwards = roles.open_forwards()
    roles.may_answer.clear()
    first, *others = [asyncio.create_task(forwards.ask(ALICE)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    roles.may_answer.set()
    assert {(await other).result for other in others} == {"absent"}
    assert len(roles.asked) == 1


async def test_without_mda_its_last_word_counts_for_minutes_and_no_longer() -> None:
    roles = Roles()
    forwards = roles.open_forwards()
    roles.forwards["alice"] = ForwardReply("present", "bob", "")
    await forwards.ask(ALICE)
    roles.is_up = False
    roles.now_s += STALE_S - 1
    assert (await forwards.ask(ALICE)).content == "bob"
    assert (await forwards.ask(ForwardQuery("users", "erin"))).result == "temporary"
    roles.now_s += 2
    assert (await forwards.ask(ALICE)).result == "temporary"
    assert "mda does not answer" in (await forwards.ask(ALICE)).detail


async def test_a_temporary_answer_is_not_remembered_and_memory_is_bounded() -> None:
    roles = Roles()
    forwards = roles.open_forwards(remembered_limit=3)
    roles.forwards["alice"] = ForwardReply("temporary", "", "sticky")
    await forwards.ask(ALICE)
    assert forwards.known(ALICE) is None
    for number in range(10):
        await forwards.ask(ForwardQuery("users", f"u{number}"))
        assert len(forwards._known) <= 3


def snapshot_with_users_elsewhere() -> Configuration:
    users = Table("users", "dynamic", "sqlite", "/x", {}, is_inline=False)
    return configuration(rule(local_action(), ANYONE, OURS), tables=(list_table("ours", "d.org"), users))


def opened_for(rcpt: str) -> OpenExpansion:
    snapshot = snapshot_with_users_elsewhere()
    return Expander(snapshot, Tables(snapshot)).open(facts(), rcpt)


async def test_an_expansion_is_finished_with_what_config_and_mda_say() -> None:
    roles = Roles()
    roles.values = {"users/alice": "1000:1000:/home/alice", "users/bob": "1000:1000:/home/bob"}
    roles.forwards["alice"] = ForwardReply("present", "alice, bob", "")
    questions = Questions(roles.open_forwards(), TableClient(roles), SrsClient(roles))
    expansion = await questions.finish(opened_for("alice@d.org"))
    assert [to.dispatcher.user for to in expansion.destinations] == ["alice", "bob"]  # type: ignore[union-attr]
    unknown = await questions.finish(opened_for("carol@d.org"))
    assert unknown.refusal is not None and unknown.refusal.code == 550


async def test_without_config_or_mda_a_recipient_fails_for_now() -> None:
    roles = Roles()
    roles.values = {"users/alice": "1000:1000:/home/alice"}
    roles.is_up = False
    questions = Questions(roles.open_forwards(), TableClient(roles), SrsClient(roles))
    expansion = await questions.finish(opened_for("alice@d.org"))
    assert expansion.refusal is not None and expansion.refusal.code == 451
    assert "users" in expansion.detail


async def test_an_answer_that_never_comes_ends_with_the_time_limit() -> None:
    roles = Roles()
    roles.may_answer.clear()
    questions = Questions(roles.open_forwards(), TableClient(roles), SrsClient(roles), within_s=0.01)
    expansion = await questions.finish(opened_for("alice@d.org"))
    assert expansion.refusal is not None and expansion.refusal.code == 451
    roles.may_answer.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize("is_up", [True, False])
async def test_without_a_key_to_tell_by_a_bounce_to_an_srs_address_fails_for_now(is_up: bool) -> None:
    roles = Roles()
    roles.is_up = is_up
    roles.restored = SrsRestoreReply("no key", "", "")
    snapshot = msgspec.structs.replace(configuration(rule(local_action(), ANYONE, OURS)), srs_ttl_s=86400)
    opened = Expander(snapshot, Tables(snapshot)).open(facts(sender=""), "SRS0=HHHH=TT=a.test=b@d.org")
    expansion = await Questions(roles.open_forwards(), TableClient(roles), SrsClient(roles)).finish(opened)
    assert expansion.refusal is not None and expansion.refusal.line == "451 4.3.0 Temporary failure"
    assert expansion.detail == ("no key" if is_up else "srs: nobody serves it")
