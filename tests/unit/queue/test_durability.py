"""What the store promises and how it says no: durability modes, a full store, a read-only one, one that went away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.commands import CommitVerdict, LoadEnvelopes, ReportOutcomes
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import Status
from smtpfleet.local.servers import RedisServer
from smtpfleet.runtime.layout import claim_layout
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import BadSettings
from smtpfleet.runtime.store import Durability, Store, StoreSettings, StoreUnavailable
from tests.support.queue_parts import Parts, make_parts, new_message, remote

pytestmark = pytest.mark.connected


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def parts(own_redis: RedisServer) -> AsyncIterator[Parts]:
    made = make_parts(own_redis.url)
    await made.store.connect()
    yield made
    await made.store.close()


async def test_a_full_store_refuses_new_mail_and_lets_deliveries_make_room(
    parts: Parts, own_redis: RedisServer
) -> None:
    held = new_message(remote(), content=b"x" * 200_000)
    assert await parts.committer.commit([held]) == [CommitVerdict.OK]
    own_redis.config_set("maxmemory", 1_000_000)
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.FULL]
    work = await parts.claims.claim(0, "mta", batch=1, per_relay=1, relays=[], most_relays=1)
    assert work is not None
    (evpid,) = work.items[0].evpids
    reply = await parts.loader.load(LoadEnvelopes(0, work.lease, [evpid], "q1"))
    assert len(reply.messages[0].content) == 200_000
    outcome = Outcome(evpid, OutcomeKind.DELIVERED, Status(250, "", "ok"))
    assert await parts.results.report(ReportOutcomes(0, work.lease, [outcome])) == []
    assert (await parts.views.summary()).messages == 0
    own_redis.config_set("maxmemory", "1gb")
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.OK]


async def test_a_read_only_store_is_a_temporary_failure(parts: Parts, own_redis: RedisServer) -> None:
    own_redis.make_read_only()
    with pytest.raises(StoreUnavailable):
        await parts.claims.take_permit("mta", "relay", "holder", 1)
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.FAILED]
    own_redis.make_writable()
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.OK]


async def test_a_store_without_enough_replicas_is_a_temporary_failure(parts: Parts, own_redis: RedisServer) -> None:
    own_redis.config_set("min-replicas-to-write", 1)
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.FAILED]
    own_redis.config_set("min-replicas-to-write", 0)
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.OK]


async def test_a_commit_waits_out_a_restart_of_the_store_and_is_written_once(
    parts: Parts, own_redis: RedisServer
) -> None:
    await parts.committer.commit([new_message(remote())])
    own_redis.kill9()
    waiting = asyncio.create_task(parts.committer.commit([new_message(remote())]))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_redis.start)
    assert await waiting == [CommitVerdict.OK]
    assert (await parts.views.summary()).messages == 2


async def test_what_was_acknowledged_survives_kill_9(own_redis: RedisServer) -> None:
    parts = make_parts(own_redis.url)
    await parts.store.connect()
    verdicts = await asyncio.gather(*(parts.committer.commit([new_message(remote())]) for _ in range(200)))
    own_redis.kill9()
    await parts.store.close()
    await asyncio.to_thread(own_redis.start)
    again = make_parts(own_redis.url)
    await again.store.connect()
    assert (await again.views.summary()).messages == sum(verdict == [CommitVerdict.OK] for verdict in verdicts) == 200
    await again.store.close()


async def test_replica_durability_counts_who_has_flushed(parts: Parts, own_redis: RedisServer, tmp_path: Path) -> None:
    parts.committer._waitaof = True
    assert await parts.committer.commit([new_message(remote())]) == [CommitVerdict.FAILED]
    second = RedisServer(tmp_path / "replica")
    second.start()
    try:
        second.command("REPLICAOF", "127.0.0.1", own_redis.port)
        async with asyncio.timeout(20):
            while "state=online" not in str(own_redis.command("INFO", "replication")):
                await asyncio.sleep(0.1)
        message = new_message(remote())
        assert await parts.committer.commit([message]) == [CommitVerdict.OK]
        assert second.command("EXISTS", f"{{s0}}:msg:{message.msgid}") == 1
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("appendonly", "appendfsync", "wanted", "complaint"),
    [
        ("yes", "always", Durability.LOCAL, ""),
        ("yes", "everysec", Durability.LOCAL, "appendfsync always"),
        ("yes", "everysec", Durability.REPLICA, "appendfsync always"),
        ("yes", "everysec", Durability.RELAXED, ""),
        ("no", "always", Durability.RELAXED, "appendonly yes"),
    ],
)
async def test_a_server_that_cannot_keep_the_promise_is_refused(
    own_redis: RedisServer, appendonly: str, appendfsync: str, wanted: Durability, complaint: str
) -> None:
    own_redis.config_set("appendonly", appendonly)
    own_redis.config_set("appendfsync", appendfsync)
    store = Store(StoreSettings(redis_url=own_redis.url), MailLog("test"))
    fault = await store.check_durability(wanted)
    assert (complaint in fault) if complaint else fault == ""
    await store.close()


async def test_the_number_of_shards_is_fixed_by_the_first(redis_url: str) -> None:
    store = Store(StoreSettings(redis_url=redis_url), MailLog("test"))
    await claim_layout(store, 4)
    await claim_layout(store, 4)
    with pytest.raises(BadSettings, match="laid out for 4"):
        await claim_layout(store, 8)
    await store.close()
