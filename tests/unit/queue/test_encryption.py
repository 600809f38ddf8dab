"""Queue compression and encryption on a real store: what lies there, what is read back, and what happens without the key."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec import structs

from smtpfleet.contracts import ids, keys, wire
from smtpfleet.contracts.commands import (
    CHUNK_BYTES,
    AppendContent,
    CommitMessage,
    CommitVerdict,
    EnvelopeState,
    LoadEnvelopes,
    LoadReply,
    ReadContent,
    ReportOutcomes,
    Work,
)
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import Status
from smtpfleet.queue.results import KEY_WAIT_MS
from smtpfleet.queue.stored_form import NoKey
from tests.support.queue_parts import Parts, local, make_parts, new_message, remote
from tests.unit.queue.test_life_of_a_message import claim, evpids, is_idle, load, report

pytestmark = pytest.mark.connected

S250 = Status(250, "2.0.0", "ok")
S451 = Status(451, "4.7.1", "Greylisted by the peer")
S550 = Status(550, "5.1.1", "No such user")
KEY, OTHER_KEY = "11" * 32, "22" * 32
CONTENT = b"Subject: quarterly figures\r\n\r\n" + b"The plain text of a letter.\r\n" * 30

Make = Callable[[str], Any]


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[Make]:
    """A replica with these keys, compression and encryption on."""
    opened: list[Parts] = []

    async def make_one(keys_text: str, *, encryption: bool = True) -> Parts:
        parts = make_parts(redis_url, replica=f"q{len(opened)}", keys_text=keys_text)
        parts.form.configure(compression=True, encryption=encryption)
        await parts.store.connect()
        opened.append(parts)
        return parts

    yield make_one
    for parts in opened:
        await parts.store.close()


async def commit(parts: Parts, message: CommitMessage) -> CommitMessage:
    assert await parts.committer.commit([message]) == [CommitVerdict.OK]
    return message


async def stored(parts: Parts) -> bytes:
    """Every key with everything in it."""
    found = b""
    for key in await parts.store.call("KEYS", "*"):
        kind = (await parts.store.call("TYPE", key)).decode()
        command: dict[str, tuple[str, ...]] = {
            "hash": ("HGETALL", key), "list": ("LRANGE", key, 0, -1), "string": ("GET", key),
            "zset": ("ZRANGE", key, 0, -1),
        }  # fmt: skip
        found += key + b" " + repr(await parts.store.call(*command[kind])).encode() + b"\n"
    return found


async def load_reply(parts: Parts, work: Work) -> LoadReply:
    """From the store, as a replica does that has not cached it."""
    return await parts.loader.load(LoadEnvelopes(work.shard, work.lease, evpids(work), ""))


async def make_due(parts: Parts, agent: str = "mta") -> None:
    """Whatever waits is due now."""
    for key in await parts.store.call("KEYS", f"*:due:{agent}:*"):
        relay = key.decode().split(":", 3)[3]
        for evpid in await parts.store.call("ZRANGE", key, 0, -1):
            await parts.store.call("ZADD", key, 1, evpid)
        await parts.store.call("ZADD", keys.ready(agent, 0), 1, relay)


async def test_neither_content_nor_addresses_are_in_the_store_and_both_come_back(make: Make) -> None:
    parts = await make(KEY)
    message = await commit(parts, new_message(remote(), remote(), content=CONTENT))
    everything = await stored(parts)
    assert message.msgid.encode() in everything
    for plain in (b"quarterly", b"plain text", b"from@example.net", b"r1@example.org", b"client", b"192.0.2.1"):
        assert plain not in everything
    parts.cache.drop(message.msgid)
    (loaded,) = (await load_reply(parts, await claim(parts))).messages
    assert loaded.content == CONTENT
    assert [envelope.dest for envelope in loaded.envelopes] == ["r1@example.org", "r2@example.org"]


async def test_compressed_content_takes_less_room_and_its_size_is_told_as_it_was(make: Make) -> None:
    parts = await make("", encryption=False)
    message = await commit(parts, new_message(remote(), content=CONTENT))
    (chunk,) = await parts.store.call("LRANGE", keys.content(message.msgid, 0), 0, -1)
    assert len(chunk) < len(CONTENT) / 3
    assert (await parts.views.message(message.msgid)).size_bytes == len(CONTENT)
    parts.cache.drop(message.msgid)
    (loaded,) = (await load_reply(parts, await claim(parts))).messages
    assert (loaded.content, loaded.size_bytes) == (CONTENT, len(CONTENT))


async def test_a_deferral_and_a_failure_are_encrypted_too_and_so_is_the_bounce(make: Make) -> None:
    parts = await make(KEY)
    await commit(parts, new_message(remote(), content=CONTENT))
    work = await claim(parts)
    await load(parts, work)
    assert await report(parts, work, OutcomeKind.TEMPFAIL, S451) == []
    assert b"Greylisted" not in await stored(parts)
    await make_due(parts)
    work = await claim(parts)
    (envelope,) = await load(parts, work)
    assert (envelope.retry, envelope.error_line) == (1, S451.line)
    assert await report(parts, work, OutcomeKind.PERMFAIL, S550) == []
    await parts.bouncer._write_due(0)
    everything = await stored(parts)
    assert not any(plain in everything for plain in (b"No such user", b"quarterly", b"MAILER-DAEMON", b"from@example"))
    (bounce,) = (await load_reply(parts, await claim(parts))).messages
    assert b"No such user" in bounce.content and b"quarterly figures" in bounce.content
    assert bounce.envelopes[0].dest == "from@example.net"


async def test_mail_queued_before_a_switch_is_read_after_it(make: Make) -> None:
    parts = await make(KEY, encryption=False)
    parts.form.configure(compression=False, encryption=False)
    messages = []
    for compression, encryption in ((False, False), (True, False), (True, True), (False, True), (False, False)):
        parts.form.configure(compression=compression, encryption=encryption)
        content = CONTENT + f"{compression} {encryption}\r\n".encode()
        messages.append(await commit(parts, new_message(remote(), content=content)))
        parts.cache.drop(messages[-1].msgid)
    loaded = (await load_reply(parts, await claim(parts))).messages
    assert {m.msgid: m.content for m in loaded} == {m.msgid: m.content for m in messages}


async def test_what_the_version_before_stored_is_read(make: Make) -> None:
    parts = await make(KEY)
    parts.form.configure(compression=False, encryption=False)
    message = await commit(parts, new_message(remote(), content=CONTENT))
    stamped = structs.replace(message.envelopes[0], created_at_ms=parts.store.now_ms())
    await parts.store.call("DEL", keys.content(message.msgid, 0))
    await parts.store.call("RPUSH", keys.content(message.msgid, 0), CONTENT)
    await parts.store.call("HSET", keys.message(message.msgid, 0), "00000001", wire.encode(stamped))
    parts.form.configure(compression=True, encryption=True)
    parts.cache.drop(message.msgid)
    (loaded,) = (await load_reply(parts, await claim(parts))).messages
    assert (loaded.content, loaded.envelopes) == (CONTENT, [stamped])


async def test_a_large_message_is_compressed_and_encrypted_chunk_by_chunk(make: Make) -> None:
    parts = await make(KEY)
    base = new_message(remote())
    chunks = [bytes([65 + index]) * CHUNK_BYTES for index in range(5)]
    for index, data in enumerate(chunks):
        parts.form.configure(compression=index != 3, encryption=index > 0)  # as if the configuration changed meanwhile
        for _ in range(2):
            assert await parts.chunks.append(AppendContent(base.msgid, base.token, index, data)) is CommitVerdict.OK
    await commit(parts, structs.replace(base, content=b"", size_bytes=5 * CHUNK_BYTES, chunk_count=5))
    sizes = [len(chunk) for chunk in await parts.store.call("LRANGE", keys.content(base.msgid, 0), 0, -1)]
    assert max(sizes[:3]) < 1000 and CHUNK_BYTES < sizes[3] < CHUNK_BYTES + 100 and sizes[4] < 1000
    (loaded,) = (await load_reply(parts, await claim(parts))).messages
    assert (loaded.content, loaded.chunk_count) == (b"", 5)
    read = [(await parts.chunks.read(ReadContent(base.msgid, index))).data for index in range(6)]
    assert read == [*chunks, b""]


async def test_a_small_message_in_chunks_is_joined(make: Make) -> None:
    parts = await make(KEY)
    base = new_message(remote())
    for index, data in enumerate((CONTENT, b"and more\r\n")):
        await parts.chunks.append(AppendContent(base.msgid, base.token, index, data))
    await commit(parts, structs.replace(base, content=b"", size_bytes=len(CONTENT) + 10, chunk_count=2))
    (loaded,) = (await load_reply(parts, await claim(parts))).messages
    assert loaded.content == CONTENT + b"and more\r\n"


async def test_a_tampered_envelope_is_quarantined_and_the_others_are_delivered(make: Make) -> None:
    parts = await make(KEY)
    message = await commit(parts, new_message(remote(), remote(), content=CONTENT))
    key = keys.message(message.msgid, 0)
    # the second recipient's envelope in the place of the first: well encrypted, but not there
    await parts.store.call("HSET", key, "00000001", await parts.store.call("HGET", key, "00000002"))
    work = await claim(parts)
    assert [e.dest for e in await load(parts, work)] == ["r2@example.org"]
    assert (await parts.views.summary()).quarantined == 1
    broken, whole = (await parts.views.message(message.msgid)).envelopes
    assert (broken.state, broken.envelope) == (EnvelopeState.QUARANTINED, None)
    assert "does not decrypt" in broken.reason
    assert whole.envelope is not None


async def test_tampered_content_quarantines_its_message_and_no_other(make: Make) -> None:
    parts = await make(KEY)
    broken, whole = [await commit(parts, new_message(remote(), content=CONTENT)) for _ in range(2)]
    (chunk,) = await parts.store.call("LRANGE", keys.content(broken.msgid, 0), 0, -1)
    await parts.store.call("LSET", keys.content(broken.msgid, 0), 0, chunk[:-1] + bytes([chunk[-1] ^ 1]))
    for message in (broken, whole):
        parts.cache.drop(message.msgid)
    reply = await load_reply(parts, await claim(parts))
    assert [message.msgid for message in reply.messages] == [whole.msgid]
    (view,) = (await parts.views.message(broken.msgid)).envelopes
    assert (view.state, "content does not decrypt" in view.reason) == (EnvelopeState.QUARANTINED, True)


async def test_a_tampered_chunk_of_a_large_message_is_not_handed_out_and_its_next_load_quarantines_it(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = await make(KEY)
    broken, whole = new_message(remote()), new_message(remote())
    for base in (broken, whole):
        for index in range(3):
            await parts.chunks.append(AppendContent(base.msgid, base.token, index, bytes([65 + index]) * CHUNK_BYTES))
        await commit(parts, structs.replace(base, content=b"", size_bytes=3 * CHUNK_BYTES, chunk_count=3))
    content_key = keys.content(broken.msgid, 0)
    await parts.store.call("LSET", content_key, 1, await parts.store.call("LINDEX", content_key, 2))
    work = await claim(parts)
    assert len(await load(parts, work)) == 2
    assert (await parts.chunks.read(ReadContent(broken.msgid, 0))).data == b"A" * CHUNK_BYTES
    assert (await parts.chunks.read(ReadContent(broken.msgid, 1))).data == b""
    assert "does not decrypt" in capsys.readouterr().err
    await report(parts, work, OutcomeKind.TEMPFAIL, S451)
    await make_due(parts)
    reply = await load_reply(parts, await claim(parts))
    assert [message.msgid for message in reply.messages] == [whole.msgid]
    (view,) = (await parts.views.message(broken.msgid)).envelopes
    assert view.state is EnvelopeState.QUARANTINED
    assert "content chunk 1 does not decrypt" in view.reason


async def test_without_its_key_a_message_waits_and_with_it_goes_on(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    sealer, stranger = await make(KEY), await make(OTHER_KEY)
    message = await commit(sealer, new_message(remote(), local(), content=CONTENT))
    before_ms = stranger.store.now_ms()
    for agent in ("mta", "mda"):
        work = await claim(stranger, agent)
        assert await load_reply(stranger, work) == LoadReply([], [])
        assert await is_idle(stranger, agent)
        due = await stranger.store.call("ZSCORE", keys.due(agent, work.items[0].relay, 0), evpids(work)[0])
        assert before_ms + KEY_WAIT_MS <= float(due) <= before_ms + KEY_WAIT_MS + 10_000
    summary = await stranger.views.summary()
    assert (summary.envelopes, summary.pending, summary.inflight, summary.quarantined) == (2, 2, 0, 0)
    (key_id,) = sealer.form._ring.ids
    assert f"give it to queue again queue_key={key_id} envelopes=1" in capsys.readouterr().err
    for view in (await stranger.views.message(message.msgid)).envelopes:
        assert (view.state, view.reason) == (EnvelopeState.PENDING, f"waits for queue key {key_id}")
    both = await make(f"{OTHER_KEY}\n{KEY}")
    await make_due(both)
    work = await claim(both)
    (loaded,) = (await load_reply(both, work)).messages
    assert (loaded.content, loaded.envelopes[0].retry) == (CONTENT, 0)
    # what is written now is for the first key, and the content stays with the second
    assert await report(both, work, OutcomeKind.TEMPFAIL, S451) == []
    await make_due(stranger)
    assert await load_reply(stranger, await claim(stranger)) == LoadReply([], [])
    (view, _) = (await stranger.views.message(message.msgid)).envelopes
    assert view.envelope is not None and view.envelope.error_line == S451.line


async def test_a_large_message_without_its_key_is_not_handed_out(make: Make) -> None:
    sealer, stranger = await make(KEY), await make(OTHER_KEY)
    base = new_message(remote())
    await sealer.chunks.append(AppendContent(base.msgid, base.token, 0, CONTENT))
    assert (await stranger.chunks.read(ReadContent(base.msgid, 0))).data == b""
    assert (await sealer.chunks.read(ReadContent(base.msgid, 0))).data == CONTENT


async def test_a_bounce_waits_for_the_key_of_what_failed(make: Make) -> None:
    sealer, stranger = await make(KEY), await make(OTHER_KEY)
    await commit(sealer, new_message(remote(), content=CONTENT))
    work = await claim(sealer)
    await load(sealer, work)
    await report(sealer, work, OutcomeKind.PERMFAIL, S550)
    await stranger.bouncer._write_due(0)
    summary = await stranger.views.summary()
    assert (summary.messages, summary.bouncing) == (1, 1)
    await sealer.store.call("ZADD", "{s0}:bounces", 0, ids.msgid_of(evpids(work)[0]))
    await sealer.bouncer._write_due(0)
    summary = await sealer.views.summary()
    assert (summary.messages, summary.bouncing) == (1, 0)
    (bounce,) = (await load_reply(sealer, await claim(sealer))).messages
    assert b"No such user" in bounce.content


async def test_a_result_for_an_envelope_that_cannot_be_read_here_is_not_taken_for_done(make: Make) -> None:
    sealer, stranger = await make(KEY), await make(OTHER_KEY)
    await commit(sealer, new_message(remote(), remote(), remote(), content=CONTENT))
    work = await claim(sealer)
    await load(sealer, work)
    one, two, three = evpids(work)
    outcomes = [
        Outcome(one, OutcomeKind.DELIVERED, S250, ""),
        Outcome(two, OutcomeKind.TEMPFAIL, S451, ""),
        Outcome(three, OutcomeKind.PERMFAIL, S550, ""),
    ]
    request = ReportOutcomes(work.shard, work.lease, outcomes)
    with pytest.raises(NoKey):
        await stranger.results.report(request)
    summary = await stranger.views.summary()
    assert (summary.envelopes, summary.inflight) == (2, 2)  # what was delivered is not delivered again
    assert await sealer.results.report(request) == [one]  # the worker asks again, as for a repetition
    summary = await sealer.views.summary()
    assert (summary.envelopes, summary.pending, summary.bouncing) == (2, 1, 1)


async def test_a_result_for_an_envelope_that_was_damaged_meanwhile_quarantines_it(make: Make) -> None:
    parts, other = await make(KEY), await make(KEY)
    message = await commit(parts, new_message(remote(), content=CONTENT))
    work = await claim(parts)
    await load(parts, work)
    await parts.store.call("HSET", keys.message(message.msgid, 0), "00000001", b"\0\2garbage")
    assert await report(other, work, OutcomeKind.TEMPFAIL, S451) == []
    summary = await parts.views.summary()
    assert (summary.envelopes, summary.quarantined, summary.inflight) == (1, 1, 0)


async def test_encryption_without_a_key_takes_nothing_and_stores_nothing(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = await make("")
    message = new_message(remote(), content=CONTENT)
    assert await parts.committer.commit([message]) == [CommitVerdict.FAILED]
    chunk = AppendContent(message.msgid, message.token, 0, CONTENT)
    assert await parts.chunks.append(chunk) is CommitVerdict.FAILED
    assert await stored(parts) == b""
    assert "no key for queue encryption" in capsys.readouterr().err


async def test_without_the_key_old_mail_is_delivered_and_what_must_be_written_waits(make: Make) -> None:
    parts = await make("", encryption=False)
    await commit(parts, new_message(remote(), remote(), content=CONTENT))
    expired = await commit(parts, new_message(remote(), expire_s=0, content=CONTENT))
    parts.form.configure(compression=False, encryption=True)
    before = await parts.store.call("HGETALL", keys.message(expired.msgid, 0))
    work = await claim(parts)
    assert len(await load(parts, work)) == 2
    assert (await parts.views.summary()).bouncing == 0
    assert await parts.store.call("HGETALL", keys.message(expired.msgid, 0)) == before
    one, two = [evpid for evpid in evpids(work) if ids.msgid_of(evpid) != expired.msgid]
    outcomes = [Outcome(one, OutcomeKind.DELIVERED, S250, ""), Outcome(two, OutcomeKind.TEMPFAIL, S451, "")]
    with pytest.raises(NoKey):
        await parts.results.report(ReportOutcomes(work.shard, work.lease, outcomes))
    assert (await parts.views.summary()).envelopes == 2
    assert b"Greylisted" not in await stored(parts)
    parts.form.configure(compression=False, encryption=False)
    assert await parts.results.report(ReportOutcomes(work.shard, work.lease, outcomes)) == [one]
    await make_due(parts)
    work = await claim(parts)
    assert [envelope.error_line for envelope in await load(parts, work)] == [S451.line]
    assert (await parts.views.summary()).bouncing == 1
