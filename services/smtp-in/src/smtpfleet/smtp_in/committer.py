"""Hands messages and chunks to queue: merges the commits of all sessions into few requests, repeats a lost one once.

Owns the requests in flight and their deadlines; never looks into a message. A request without an answer may have been served: repeating
it with the same msgid and token is safe (commands.CommitMessage), and any queue replica may get it. Called by server; the verdict comes
back through the callback that came with the message, always, and never before `submit` has returned. Counterpart: the IMSG_QUEUE_*
exchange of smtp_session.c.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from smtpfleet.contracts.commands import (
    BATCH_BYTES,
    COMMIT_BATCH,
    AppendContent,
    AppendReply,
    CommitMessage,
    CommitMessages,
    CommitReply,
    CommitVerdict,
    DropContent,
)
from smtpfleet.contracts.subjects import QUEUE_CONTENT_APPEND, QUEUE_CONTENT_DROP, QUEUE_MESSAGE_COMMIT, Subject
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.asking import Requester, Spawn
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.gate import Gate

COMMITS_IN_FLIGHT = 8
"""Commit requests at once; a slow one must not hold up the others. Chosen."""
GATHER_S = 0.015
"""While a request is under way, the next waits this long for company, or until the first is answered: about the time of one commit
under load. A request costs the same with one message as with twenty, here, in NATS, in queue and in the store. Chosen; measured in
bench."""
ANSWER_WITHIN_S = 10.0
"""How long one attempt may take. Two of them and the pause stay far below the ten minutes a peer waits (RFC 5321 §4.5.3.2.6)."""
REPEAT_AFTER_S = 0.5
"""Pause before the one repetition, in which a killed replica's subscription goes away. Chosen."""
ENVELOPE_ESTIMATE_BYTES = 400
"""What an envelope adds to a request; measured on ordinary addresses, to keep batches below BATCH_BYTES."""

_latency = metrics.histogram("commit_seconds", "From a request to queue to its answer, commits only")
_batch = metrics.histogram("commit_batch", "Messages in one commit request", buckets=(1, 2, 4, 8, 16, 32, 64))

Resume = Callable[[CommitVerdict], None]
_NO_ANSWER = (BusUnavailable, RemoteFault, UnknownVersion, Malformed)


class Committer:
    """All sessions' way to queue."""

    def __init__(self, bus: Requester, gate: Gate, spawn: Spawn, after_batch: Callable[[], None]) -> None:
        self._bus = bus
        self._gate = gate
        self._spawn = spawn
        self._after_batch = after_batch
        self._waiting: deque[tuple[CommitMessage, Resume]] = deque()
        self._in_flight = 0
        self._flush_at: asyncio.Handle | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    async def settle(self) -> None:
        """Returns when every verdict has been given, those of peers that have left included."""
        await self._settled.wait()

    def submit(self, message: CommitMessage, resume: Resume) -> None:
        """Commits `message` with what else is ready in this turn of the loop; `resume` hears the verdict."""
        self._waiting.append((message, resume))
        self._settled.clear()
        if self._flush_at is None and self._in_flight < COMMITS_IN_FLIGHT:
            loop = asyncio.get_running_loop()
            self._flush_at = loop.call_later(GATHER_S, self._flush) if self._in_flight else loop.call_soon(self._flush)
        elif len(self._waiting) >= COMMIT_BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        while self._waiting and self._in_flight < COMMITS_IN_FLIGHT:
            self._in_flight += 1
            self._spawn(self._commit(self._next_batch()), name="commit")

    def _next_batch(self) -> list[tuple[CommitMessage, Resume]]:
        batch: list[tuple[CommitMessage, Resume]] = []
        size_bytes = 0
        while self._waiting and len(batch) < COMMIT_BATCH:
            message = self._waiting[0][0]
            size_bytes += len(message.content) + ENVELOPE_ESTIMATE_BYTES * len(message.envelopes)
            if batch and size_bytes > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _commit(self, batch: list[tuple[CommitMessage, Resume]]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            reply = await self._ask(QUEUE_MESSAGE_COMMIT, CommitMessages([message for message, _ in batch]))
        finally:
            self._in_flight -= 1
        # The messages are durable, their peers do not know yet: they send them again, the duplicate SMTP cannot avoid (RFC 1047).
        killpoint.reach("smtp_in.commit.answered")
        verdicts = reply.verdicts if isinstance(reply, CommitReply) else []
        if len(verdicts) != len(batch):
            verdicts = [CommitVerdict.FAILED] * len(batch)
        _latency.observe(clock() - began)
        _batch.observe(len(batch))
        self._note(verdicts)
        for (_, resume), verdict in zip(batch, verdicts, strict=True):
            resume(verdict)
        self._after_batch()
        self._flush()
        if not self._in_flight:
            self._settled.set()

    def append(self, chunk: AppendContent, resume: Resume) -> None:
        """Sends a chunk ahead; `resume` hears what became of it. A session has one on its way at a time."""
        self._spawn(self._append(chunk, resume), name="append")

    async def _append(self, chunk: AppendContent, resume: Resume) -> None:
        reply = await self._ask(QUEUE_CONTENT_APPEND, chunk)
        verdict = reply.verdict if isinstance(reply, AppendReply) else CommitVerdict.FAILED
        self._note([verdict])
        resume(verdict)

    def drop(self, chunks: DropContent) -> None:
        """Lets queue forget chunks; best effort, their TTL does it otherwise."""
        self._spawn(self._drop(chunks), name="drop")

    async def _drop(self, chunks: DropContent) -> None:
        try:
            await self._bus.request(QUEUE_CONTENT_DROP, chunks, timeout_s=ANSWER_WITHIN_S)
        except _NO_ANSWER:
            return

    async def _ask(self, subject: Subject, payload: Struct) -> object:
        """The answer, or None after the second attempt failed, too."""
        answer = await self._attempt(subject, payload)
        if answer is None:
            await asyncio.sleep(REPEAT_AFTER_S)
            answer = await self._attempt(subject, payload)
        return answer

    async def _attempt(self, subject: Subject, payload: Struct) -> object:
        try:
            answer: object = await self._bus.request(subject, payload, timeout_s=ANSWER_WITHIN_S)
        except _NO_ANSWER:
            self._gate.note_no_answer()  # new messages stop at MAIL while this one is tried once more
            return None
        return answer

    def _note(self, verdicts: list[CommitVerdict]) -> None:
        if CommitVerdict.OK in verdicts:
            self._gate.note_ok()
        elif CommitVerdict.FULL in verdicts:
            self._gate.note_full()
