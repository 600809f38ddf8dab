"""A message's life in the store: commit, claim, load, result, bounce; every script on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes, policy

import msgspec
import pytest

from smtpfleet.contracts import ids, keys, wire
from smtpfleet.contracts.commands import (
    INLINE_CONTENT_LIMIT_BYTES,
    AppendContent,
    CommitVerdict,
    DropContent,
    EnvelopeState,
    LeaseRef,
    LoadEnvelopes,
    ReadContent,
    ReportOutcomes,
    Work,
)
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail.expand import Expansion
from smtpfleet.queue.committer import commit_arguments
from tests.support.queue_parts import LEASE_MS, Parts, local, make_parts, new_message, remote

pytestmark = pytest.mark.connected

S250 = Status(250, "2.0.0", "ok")
S451 = Status(451, "4.7.1", "Greylisted")
S550 = Status(550, "5.1.1", "No such user")


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
async def parts(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    made = make_parts(redis_url, shards=request.param)
    await made.store.connect()
    yield made
    await made.store.close()


async def claim(parts: Parts, agent: str = "mta", batch: int = 100) -> Work:
    for shard in range(parts.shards):
        work = await parts.claims.claim(shard, agent, batch=batch, per_relay=50, relays=[], most_relays=100)
        if work is not None:
            return work
    raise AssertionError("nothing is due")


async def is_idle(parts: Parts, agent: str = "mta") -> bool:
    try:
        await claim(parts, agent)
    except AssertionError:
        return True
    return False


def evpids(work: Work) -> list[str]:
    return [evpid for item in work.items for evpid in item.evpids]


async def load(parts: Parts, work: Work, home: str = "") -> list[Envelope]:
    reply = await parts.loader.load(LoadEnvelopes(work.shard, work.lease, evpids(work), home))
    return [envelope for message in reply.messages for envelope in message.envelopes]


async def report(parts: Parts, work: Work, kind: OutcomeKind, status: Status) -> list[str]:
    outcomes = [Outcome(evpid, kind, status, "mx.example.org") for evpid in evpids(work)]
    return await parts.results.report(ReportOutcomes(work.shard, work.lease, outcomes))


async def keys_left(parts: Parts) -> set[str]:
    return {key.decode() for key in await parts.store.call("KEYS", "*")}


async def test_a_delivered_message_leaves_only_its_token_and_counters(parts: Parts) -> None:
    message = new_message(remote(), remote())
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    work = await claim(parts)
    assert sorted(evpids(work)) == [e.evpid for e in message.envelopes]
    assert {home for item in work.items for home in item.homes} == {"q1"}
    loaded = await load(parts, work, "q1")
    assert [e.dest for e in loaded] == ["r1@example.org", "r2@example.org"]
    assert all(e.created_at_ms > 1_700_000_000_000 for e in loaded)
    assert await report(parts, work, OutcomeKind.DELIVERED, S250) == []
    tag = keys.tag(ids.shard_of(message.msgid, parts.shards))
    assert await keys_left(parts) == {f"{tag}done:{message.msgid}", f"{tag}count", f"{tag}fence"}
    summary = await parts.views.summary()
    assert (summary.messages, summary.envelopes, summary.inflight, summary.oldest_age_s) == (0, 0, 0, -1)


async def test_a_repeated_commit_is_ok_while_the_message_lives_and_after(parts: Parts) -> None:
    message = new_message(remote())
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    assert (await parts.views.summary()).messages == 1
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.DELIVERED, S250)
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    assert (await parts.views.summary()).messages == 0
    assert await is_idle(parts)


async def test_a_msgid_of_another_transaction_is_taken(parts: Parts) -> None:
    first = new_message(remote())
    second = new_message(remote(), msgid=first.msgid)
    assert await parts.committer.commit([first, second]) == [CommitVerdict.OK, CommitVerdict.TAKEN]


async def test_a_cached_message_is_loaded_without_the_store_and_a_foreign_one_with_it(
    parts: Parts, redis_url: str
) -> None:
    message = new_message(local())
    await parts.committer.commit([message])
    work = await claim(parts, "mda")
    other = make_parts(redis_url, replica="q2", shards=parts.shards)
    request = LoadEnvelopes(work.shard, work.lease, evpids(work), "q1")
    here, there = await parts.loader.load(request), await other.loader.load(request)
    await other.store.close()
    assert here.messages[0].content == there.messages[0].content == message.content
    assert here.messages[0].envelopes == there.messages[0].envelopes


async def test_a_deferral_sets_the_next_attempt_and_ends_the_home(parts: Parts) -> None:
    await parts.committer.commit([new_message(local())])
    work = await claim(parts, "mda")
    (before,) = await load(parts, work, "q1")
    assert await report(parts, work, OutcomeKind.TEMPFAIL, S451) == []
    assert await is_idle(parts, "mda")
    (view,) = (await parts.views.envelope(before.evpid)).envelopes
    assert view.state is EnvelopeState.PENDING
    assert view.due_at_ms == before.created_at_ms + 5000  # mda: 10 s * 1² / 2
    assert view.envelope is not None
    assert (view.envelope.retry, view.envelope.error_line) == (1, "451 4.7.1 Greylisted")
    tag = keys.tag(work.shard)
    await parts.store.call("ZADD", f"{tag}due:mda:alice@users", 0, before.evpid)
    again = await parts.claims.claim(work.shard, "mda", batch=1, per_relay=1, relays=["alice@users"], most_relays=1)
    assert again is not None
    assert again.items[0].homes == [""]
    (after,) = await load(parts, again, "q1")  # a worker with an old hint must not get the first attempt's copy
    assert after.retry in (0, 1)


async def test_late_results_are_refused_once_the_lease_was_reaped(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote())])
    first = await claim(parts)
    await load(parts, first)
    await asyncio.sleep(LEASE_MS / 1000 + 0.1)
    assert (await parts.claims.reap(first.shard))[0] == 1
    second = await claim(parts)
    assert second.lease > first.lease
    assert await report(parts, first, OutcomeKind.DELIVERED, S250) == evpids(first)
    assert await report(parts, second, OutcomeKind.DELIVERED, S250) == []
    assert (await parts.views.summary()).envelopes == 0


async def test_a_renewed_lease_is_not_reaped_and_a_lost_one_is_named(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote())])
    work = await claim(parts)
    ref = LeaseRef(work.shard, work.lease)
    for _ in range(3):
        await asyncio.sleep(LEASE_MS / 1000 * 0.6)
        assert await parts.claims.renew([ref]) == []
        assert (await parts.claims.reap(work.shard))[0] == 0
    await asyncio.sleep(LEASE_MS / 1000 + 0.1)
    await parts.claims.reap(work.shard)
    assert await parts.claims.renew([ref]) == [ref]


async def test_released_envelopes_are_due_at_once(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote(), remote())])
    work = await claim(parts)
    one, two = evpids(work)
    ref = LeaseRef(work.shard, work.lease)
    assert await parts.claims.release(ref, [one]) == {("mta", work.items[0].relay)}
    assert evpids(await claim(parts)) == [one]
    await parts.claims.release(ref, [])
    assert evpids(await claim(parts)) == [two]


async def test_failures_of_one_message_share_one_bounce_to_its_sender(parts: Parts) -> None:
    message = new_message(
        remote("a.test"), remote("b.test"), content=b"Subject: hello\r\nX-Mark: 1\r\n\r\nsecret body\r\n"
    )
    await parts.committer.commit([message])
    for _ in range(2):
        work = await claim(parts, batch=1)
        await load(parts, work)
        await report(parts, work, OutcomeKind.PERMFAIL, S550)
    summary = await parts.views.summary()
    assert (summary.envelopes, summary.bouncing) == (2, 2)
    await parts.bouncer._write_due(work.shard)
    summary = await parts.views.summary()
    assert (summary.messages, summary.envelopes, summary.bouncing) == (1, 1, 0)
    work = await claim(parts)
    assert ids.shard_of(ids.msgid_of(evpids(work)[0]), parts.shards) == work.shard
    reply = await parts.loader.load(LoadEnvelopes(work.shard, work.lease, evpids(work), ""))
    (envelope,) = reply.messages[0].envelopes
    assert (envelope.sender, envelope.dest, envelope.expire_s) == ("", "from@example.net", 604800)
    parsed = message_from_bytes(reply.messages[0].content, policy=policy.default)
    assert parsed.get_content_type() == "multipart/report"
    text = reply.messages[0].content.decode()
    assert "r1@example.org" in text and "r2@example.org" in text and "X-Mark: 1" in text
    assert "secret body" not in text


async def test_a_bounce_is_written_by_one_of_two_replicas(parts: Parts, redis_url: str) -> None:
    await parts.committer.commit([new_message(remote())])
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.PERMFAIL, S550)
    other = make_parts(redis_url, replica="q2", shards=parts.shards)
    await asyncio.gather(parts.bouncer._write_due(work.shard), other.bouncer._write_due(work.shard))
    await other.store.close()
    assert (await parts.views.summary()).messages == 1


async def test_senders_that_relay_as_made_different_each_hear_of_their_own(parts: Parts) -> None:
    message = new_message(remote(), remote())
    other = msgspec.structs.replace(message.envelopes[1], sender="second@example.net")
    await parts.committer.commit([msgspec.structs.replace(message, envelopes=[message.envelopes[0], other])])
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.PERMFAIL, S550)
    for _ in range(2):
        await parts.bouncer._write_due(work.shard)
    summary = await parts.views.summary()
    assert (summary.messages, summary.bouncing) == (2, 0)
    bounces = await claim(parts)
    assert sorted(e.dest for e in await load(parts, bounces)) == ["from@example.net", "second@example.net"]


async def test_a_bounce_waits_while_its_way_is_not_known(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    await parts.committer.commit([new_message(remote())])
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.PERMFAIL, S550)
    known = parts.bouncer._expand

    async def fails(envelope: Envelope) -> Expansion:
        return Expansion((), S451_LOCAL_ERROR, "table away")

    monkeypatch.setattr(parts.bouncer, "_expand", fails)
    await parts.bouncer._write_due(work.shard)
    summary = await parts.views.summary()
    assert (summary.messages, summary.bouncing) == (1, 1)
    monkeypatch.setattr(parts.bouncer, "_expand", known)
    await parts.store.call("ZADD", f"{keys.tag(work.shard)}bounces", 0, ids.msgid_of(evpids(work)[0]))
    await parts.bouncer._write_due(work.shard)
    assert (await parts.views.summary()).bouncing == 0


async def test_a_bounce_whose_way_is_never_known_is_given_up_after_seven_days(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await parts.committer.commit([new_message(remote())])
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.PERMFAIL, S550)

    async def fails(envelope: Envelope) -> Expansion:
        return Expansion((), S451_LOCAL_ERROR, "format token is empty")

    monkeypatch.setattr(parts.bouncer, "_expand", fails)
    now_ms = parts.store.now_ms
    for days, bouncing in ((6.9, 1), (7.1, 0)):
        monkeypatch.setattr(parts.store, "now_ms", lambda days=days: now_ms() + int(days * 86_400_000))
        await parts.bouncer._write_due(work.shard)
        assert (await parts.views.summary()).bouncing == bouncing
    assert (await parts.views.summary()).messages == 0


async def test_the_seven_days_begin_when_the_expiry_is_noticed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(envelope: Envelope) -> Expansion:
        return Expansion((), S451_LOCAL_ERROR, "table is down")

    monkeypatch.setattr(parts.bouncer, "_expand", fails)
    await parts.committer.commit([new_message(remote(), expire_s=60)])
    work = await claim(parts)
    now_ms = parts.store.now_ms
    # Ten days in a relay on hold; then its lease is given, and loading finds it expired.
    monkeypatch.setattr(parts.store, "now_ms", lambda: now_ms() + 10 * 86_400_000)
    await load(parts, work)
    await parts.bouncer._write_due(work.shard)
    assert (await parts.views.summary()).bouncing == 1


async def test_a_null_sender_is_never_answered(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote(), sender="")])
    work = await claim(parts)
    await load(parts, work)
    await report(parts, work, OutcomeKind.PERMFAIL, S550)
    summary = await parts.views.summary()
    assert (summary.messages, summary.bouncing) == (0, 0)


async def test_an_expired_envelope_is_bounced_instead_of_loaded(parts: Parts) -> None:
    await parts.committer.commit([new_message(remote(), expire_s=0)])
    work = await claim(parts)
    assert await load(parts, work) == []
    assert (await parts.views.summary()).bouncing == 1
    await parts.bouncer._write_due(work.shard)
    bounce = await claim(parts)
    reply = await parts.loader.load(LoadEnvelopes(bounce.shard, bounce.lease, evpids(bounce), ""))
    assert b"Envelope expired" in reply.messages[0].content
    assert b"Last-Attempt-Date" not in reply.messages[0].content  # there was none


async def test_an_unreadable_envelope_is_quarantined_and_the_others_are_delivered(parts: Parts) -> None:
    message = new_message(remote(), remote())
    await parts.committer.commit([message])
    shard = ids.shard_of(message.msgid, parts.shards)
    await parts.store.call("HSET", keys.message(message.msgid, shard), "00000001", b"\x01garbage")
    work = await claim(parts)
    assert [e.dest for e in await load(parts, work)] == ["r2@example.org"]
    await report(parts, work, OutcomeKind.DELIVERED, S250)
    summary = await parts.views.summary()
    assert (summary.envelopes, summary.quarantined, summary.inflight) == (1, 1, 0)
    (view,) = (await parts.views.message(message.msgid)).envelopes
    assert (view.state, view.envelope) == (EnvelopeState.QUARANTINED, None)


async def test_an_envelope_of_another_version_is_quarantined_not_guessed(parts: Parts) -> None:
    message = new_message(remote())
    await parts.committer.commit([message])
    shard = ids.shard_of(message.msgid, parts.shards)
    stored = wire.encode(message.envelopes[0])
    await parts.store.call("HSET", keys.message(message.msgid, shard), "00000001", b"\x02" + stored[1:])
    work = await claim(parts)
    assert await load(parts, work) == []
    assert (await parts.views.summary()).quarantined == 1


async def test_content_in_chunks_is_appended_once_committed_and_read_back(parts: Parts) -> None:
    base = new_message(remote())
    size = INLINE_CONTENT_LIMIT_BYTES + 100
    for index, data in enumerate((b"a" * INLINE_CONTENT_LIMIT_BYTES, b"b" * 100)):
        for _ in range(2):  # repeating is harmless
            assert await parts.chunks.append(AppendContent(base.msgid, base.token, index, data)) is CommitVerdict.OK
    assert await parts.chunks.append(AppendContent(base.msgid, base.token, 5, b"x")) is CommitVerdict.FAILED
    assert await parts.chunks.append(AppendContent(base.msgid, "f" * 16, 0, b"x")) is CommitVerdict.TAKEN
    message = msgspec.structs.replace(base, content=b"", size_bytes=size, chunk_count=2)
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    shard = ids.shard_of(base.msgid, parts.shards)
    assert await parts.store.call("TTL", keys.content(base.msgid, shard)) == -1
    work = await claim(parts)
    reply = await parts.loader.load(LoadEnvelopes(work.shard, work.lease, evpids(work), "q1"))
    assert (reply.messages[0].content, reply.messages[0].chunk_count) == (b"", 2)
    assert (await parts.chunks.read(ReadContent(base.msgid, 1))).data == b"b" * 100


async def test_chunks_without_a_commit_expire_or_are_dropped(parts: Parts) -> None:
    base = new_message(remote())
    await parts.chunks.append(AppendContent(base.msgid, base.token, 0, b"x"))
    shard = ids.shard_of(base.msgid, parts.shards)
    assert 0 < await parts.store.call("TTL", keys.content(base.msgid, shard)) <= keys.UNCOMMITTED_TTL_S
    await parts.chunks.drop(DropContent(base.msgid, base.token))
    assert await keys_left(parts) == set()
    lost = msgspec.structs.replace(base, content=b"", chunk_count=1)
    assert await parts.committer.commit([lost]) == [CommitVerdict.FAILED]


async def test_concurrent_commits_share_a_flush(parts: Parts) -> None:
    messages = [new_message(remote()) for _ in range(40)]
    before = await _commit_calls(parts)
    verdicts = await asyncio.gather(*(parts.committer.commit([message]) for message in messages))
    assert all(verdict == [CommitVerdict.OK] for verdict in verdicts)
    assert await _commit_calls(parts) - before <= 4 * parts.shards


async def _commit_calls(parts: Parts) -> int:
    info = await parts.store.call("INFO", "commandstats")
    stats = info if isinstance(info, dict) else {}
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_users_share_a_lease_and_relays_take_turns(parts: Parts) -> None:
    for user in ("alice", "bob", "carol"):
        await parts.committer.commit([new_message(local(user), msgid=f"{1 << 20:016x}"[:-1] + str(len(user)))])
    work = await parts.claims.claim(
        ids.shard_of(f"{1 << 20:016x}"[:-1] + "5", parts.shards),
        "mda",
        batch=100,
        per_relay=50,
        relays=[],
        most_relays=100,
    )
    assert work is not None
    assert {item.relay for item in work.items} >= {"alice@users"}


async def test_a_relay_with_a_backlog_goes_to_the_end_of_the_line(parts: Parts) -> None:
    shard = 0
    msgids = [f"{(n + 1) * parts.shards:016x}" for n in range(6)]
    big = [new_message(remote("big.test"), msgid=msgid) for msgid in msgids[:5]]
    await parts.committer.commit(big)
    await asyncio.sleep(0.01)
    await parts.committer.commit([new_message(remote("small.test"), msgid=msgids[5])])
    served = []
    for _ in range(3):
        work = await parts.claims.claim(shard, "mta", batch=2, per_relay=2, relays=[], most_relays=1)
        assert work is not None
        served.append(work.items[0].relay.split(",")[0])
    assert served == ["big.test", "small.test", "big.test"]


async def test_a_commit_script_refuses_when_memory_is_short_and_nothing_is_half_written(parts: Parts) -> None:
    message = new_message(*[remote()] * 700)
    args = commit_arguments(message, parts.form)
    assert args[5] == 700
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    total = 0
    while total < 700:
        work = await claim(parts)
        total += len(evpids(work))
        await parts.results.report(
            ReportOutcomes(work.shard, work.lease, [Outcome(e, OutcomeKind.DELIVERED, S250) for e in evpids(work)])
        )
    assert (await parts.views.summary()).messages == 0
