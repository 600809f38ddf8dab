"""Commits: merges the messages of concurrent requests into one script call and one flush.

At most one call per shard is under way; what arrives meanwhile is the next batch, so the batch grows with the load and a lone message
waits for nobody. A call that fails because the store went away is repeated with the same tokens for a few seconds: the script answers
ok for what it had done. After that the verdict is failed and the peer hears 451.
"""

import asyncio
from collections import deque

from msgspec import structs

from smtpfleet.contracts import ids, keys, wire
from smtpfleet.contracts.commands import BATCH_BYTES, COMMIT_BATCH, CommitMessage, CommitVerdict
from smtpfleet.contracts.envelope import Envelope, agent_of, relay_of
from smtpfleet.queue.announcer import Announcer
from smtpfleet.queue.cache import CachedMessage, EnvelopeCache
from smtpfleet.queue.scripts import COMMIT
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
        cache: EnvelopeCache,
        announcer: Announcer,
        log: MailLog,
        *,
        replica: str,
        shards: int,
        waitaof: bool,
    ) -> None:
        self._store = store
        self._cache = cache
        self._announcer = announcer
        self._log = log
        self._replica = replica
        self._shards = shards
        self._waitaof = waitaof
        self._queues = [_ShardQueue() for _ in range(shards)]
        self._flushers: set[asyncio.Task[None]] = set()

    async def commit(self, messages: list[CommitMessage]) -> list[CommitVerdict]:
        """One verdict per message, in order, after the flush."""
        loop = asyncio.get_running_loop()
        waiting = []
        for message in messages:
            shard = ids.shard_of(message.msgid, self._shards)
            verdict: asyncio.Future[CommitVerdict] = loop.create_future()
            waiting.append(verdict)
            queue = self._queues[shard]
            queue.waiting.append((message, verdict))
            if not queue.is_flushing:
                queue.is_flushing = True
                # The flusher starts in the next turn, so requests that arrived in this one share its first batch.
                flusher = loop.create_task(self._flush(shard, queue))
                self._flushers.add(flusher)
                flusher.add_done_callback(self._flushers.discard)
        return [await verdict for verdict in waiting]

    async def _flush(self, shard: int, queue: "_ShardQueue") -> None:
        while queue.waiting:
            batch = queue.take()
            try:
                verdicts = await self._commit_batch(shard, [message for message, _ in batch])
            except Exception as error:  # noqa: BLE001  whatever it is, the peers must hear 451 and the next batch must go on
                self._log.error("commit failed", shard=shard, error=f"{type(error).__name__}: {error}")
                verdicts = [CommitVerdict.FAILED] * len(batch)
            for (_, waiter), verdict in zip(batch, verdicts, strict=True):
                _verdicts.labels(verdict).inc()
                if not waiter.done():
                    waiter.set_result(verdict)
        queue.is_flushing = False

    async def _commit_batch(self, shard: int, messages: list[CommitMessage]) -> list[CommitVerdict]:
        killpoint.reach("queue.commit.received")
        now_ms = self._store.now_ms()
        stamped = [_stamp(message, now_ms) for message in messages]
        args: list[Value] = [self._replica, len(stamped)]
        for message in stamped:
            args += commit_arguments(message)
        _batch.observe(len(messages))
        answers = await self._run(shard, args)
        # Durable from here on. If we die now the peer hears nothing, smtp-in repeats the request and another replica says ok.
        killpoint.reach("queue.commit.flushed")
        if isinstance(answers, CommitVerdict):
            return [answers] * len(messages)
        verdicts = [CommitVerdict(answer.decode()) for answer in answers]
        done = [message for message, verdict in zip(stamped, verdicts, strict=True) if verdict is CommitVerdict.OK]
        self._remember(done, now_ms)
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
        while self._flushers:
            await asyncio.wait(list(self._flushers))


class _ShardQueue:
    """What waits for a shard's next flush."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[CommitMessage, asyncio.Future[CommitVerdict]]] = deque()
        self.is_flushing = False

    def take(self) -> list[tuple[CommitMessage, asyncio.Future[CommitVerdict]]]:
        """The next batch, within COMMIT_BATCH messages and about BATCH_BYTES."""
        batch: list[tuple[CommitMessage, asyncio.Future[CommitVerdict]]] = []
        size_bytes = 0
        while self.waiting and len(batch) < COMMIT_BATCH and size_bytes < BATCH_BYTES:
            batch.append(self.waiting.popleft())
            size_bytes += len(batch[-1][0].content)
        return batch


def _stamp(message: CommitMessage, now_ms: int) -> CommitMessage:
    """The message with its envelopes' time of creation on the store's clock."""
    envelopes = [structs.replace(envelope, created_at_ms=now_ms) for envelope in message.envelopes]
    return structs.replace(message, envelopes=envelopes)


def commit_arguments(message: CommitMessage) -> list[Value]:
    """The message as commit_message in scripts/message.lua reads it; all envelopes are due at once."""
    args: list[Value] = [
        message.msgid,
        message.token,
        message.size_bytes,
        message.chunk_count,
        message.content,
        len(message.envelopes),
    ]
    for envelope in message.envelopes:
        args += (envelope.evpid[ids.MSGID_LENGTH :], agent_relay(envelope), wire.encode(envelope))
    return args


def agent_relay(envelope: Envelope) -> str:
    """`agent:relay`, as the scripts name it."""
    return f"{agent_of(envelope.dispatcher)}:{relay_of(envelope.dispatcher)}"
