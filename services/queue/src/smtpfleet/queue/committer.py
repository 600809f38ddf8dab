"""Commits: merges the messages of concurrent requests into one script call and one flush.

A call that fails because the store went away is repeated with the same tokens for a few seconds: the script answers
ok for what it had done. After that the verdict is failed and the peer hears 451. So it does where mail must be encrypted and there is no key.
"""

import asyncio
from functools import partial

from msgspec import structs

from smtpfleet.contracts import ids, keys, wire
from smtpfleet.contracts.commands import BATCH_BYTES, COMMIT_BATCH, CommitMessage, CommitVerdict
from smtpfleet.contracts.envelope import Envelope, agent_of, relay_of
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.cache import CachedMessage, EnvelopeCache
from smtpfleet.queue.groupcommit import GroupCommit
from smtpfleet.queue.scripts import COMMIT
from smtpfleet.queue.stored_form import StoredForm
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Store, StoreFull, StoreUnavailable, Value

REPEAT_S = 5.0
"""How long an unreachable store is tried again before 451: a Redis restart with a small log takes one or two. Chosen."""
REPEAT_PAUSE_S = 0.2

_batch = metrics.histogram("queue_commit_batch", "Messages per flush", buckets=(1, 2, 4, 8, 16, 32, 64))
_verdicts = metrics.counter("queue_commits", "Messages by verdict", ("verdict",))


class Committer:
    """Commits of all shards."""

    def __init__(
        self,
        store: Store,
        form: StoredForm,
        cache: EnvelopeCache,
        announcer: Announcer,
        log: MailLog,
        *,
        replica: str,
        shards: int,
        waitaof: bool,
    ) -> None:
        self._store = store
        self._form = form
        self._cache = cache
        self._announcer = announcer
        self._log = log
        self._replica = replica
        self._shards = shards
        self._waitaof = waitaof
        self._groups: list[GroupCommit[CommitMessage, CommitVerdict]] = [
            GroupCommit(
                partial(self._commit_batch, shard),
                batch_count=COMMIT_BATCH,
                batch_weight=BATCH_BYTES,
                weigh=lambda message: len(message.content),
            )
            for shard in range(shards)
        ]

    async def commit(self, messages: list[CommitMessage]) -> list[CommitVerdict]:
        """One verdict per message, in order, after the flush."""
        waiting = [self._groups[ids.shard_of(message.msgid, self._shards)].put(message) for message in messages]
        return [await verdict for verdict in waiting]

    async def _commit_batch(self, shard: int, messages: list[CommitMessage]) -> list[CommitVerdict]:
        killpoint.reach("queue.commit.received")
        if not self._form.may_write:
            self._log.warning(
                "commit refused", shard=shard, messages=len(messages), error="no key for queue encryption"
            )
            _verdicts.labels(CommitVerdict.FAILED).inc(len(messages))
            return [CommitVerdict.FAILED] * len(messages)
        now_ms = self._store.now_ms()
        stamped = [_stamp(message, now_ms) for message in messages]
        args: list[Value] = [self._replica, len(stamped)]
        for message in stamped:
            args += commit_arguments(message, self._form)
        _batch.observe(len(messages))
        answers = await self._run(shard, args)
        # Durable from here on. If we die now the peer hears nothing, smtp-in repeats the request and another replica says ok.
        killpoint.reach("queue.commit.flushed")
        if isinstance(answers, CommitVerdict):
            verdicts = [answers] * len(messages)
        else:
            verdicts = [CommitVerdict(answer.decode()) for answer in answers]
        done = [message for message, verdict in zip(stamped, verdicts, strict=True) if verdict is CommitVerdict.OK]
        self._remember(done, now_ms)
        for verdict in verdicts:
            _verdicts.labels(verdict).inc()
        return verdicts

    async def _run(self, shard: int, args: list[Value]) -> list[bytes] | CommitVerdict:
        deadline = asyncio.get_running_loop().time() + (REPEAT_S if self._store.is_up else 0)
        while True:
            try:
                answers: list[bytes] = await self._store.run(COMMIT, [keys.tag(shard)], args, waitaof=self._waitaof)
                return answers
            except StoreFull:
                return CommitVerdict.FULL
            except StoreUnavailable as error:
                if asyncio.get_running_loop().time() >= deadline:
                    self._log.warning("commit refused", shard=shard, messages=args[1], error=error)
                    return CommitVerdict.FAILED
                await asyncio.sleep(REPEAT_PAUSE_S)

    def _remember(self, messages: list[CommitMessage], now_ms: int) -> None:
        for message in messages:
            envelopes = {envelope.evpid: envelope for envelope in message.envelopes}
            self._cache.put(
                CachedMessage(message.msgid, message.size_bytes, message.content, message.chunk_count or 1, envelopes)
            )
        self._announcer.queued([envelope for message in messages for envelope in message.envelopes], now_ms)

    async def drain(self) -> None:
        """Waits for what is under way."""
        for group in self._groups:
            await group.idle()


def _stamp(message: CommitMessage, now_ms: int) -> CommitMessage:
    """The message with its envelopes' time of creation on the store's clock."""
    envelopes = [structs.replace(envelope, created_at_ms=now_ms) for envelope in message.envelopes]
    return structs.replace(message, envelopes=envelopes)


def commit_arguments(message: CommitMessage, form: StoredForm) -> list[Value]:
    """The message as commit_message in scripts/message.lua reads it; all envelopes are due at once. Raises NoKey."""
    args: list[Value] = [
        message.msgid,
        message.token,
        message.size_bytes,
        message.chunk_count,
        b"" if message.chunk_count else form.pack_content(message.msgid, 0, message.content),
        len(message.envelopes),
    ]
    for envelope in message.envelopes:
        stored = form.pack_envelope(envelope.evpid, wire.encode(envelope))
        args += (envelope.evpid[ids.MSGID_LENGTH :], agent_relay(envelope), stored)
    return args


def agent_relay(envelope: Envelope) -> str:
    """`agent:relay`, as the scripts name it."""
    return f"{agent_of(envelope.dispatcher)}:{relay_of(envelope.dispatcher)}"
