"""A queue in this process, behind the part of the bus that smtp-in uses: keeps what is committed, answers as it is told.

It keeps queue's promises (a repeated msgid and token is ok again, another token is taken, a skipped chunk is refused), so a test that
passes here says something about the real one; tests/path says the rest.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from smtpfleet.contracts import wire
from smtpfleet.contracts.commands import (
    AppendContent,
    AppendReply,
    CommitMessage,
    CommitMessages,
    CommitReply,
    CommitVerdict,
    Done,
    DropContent,
)
from smtpfleet.contracts.subjects import Subject
from smtpfleet.runtime.bus import BusUnavailable


class FakeQueue:
    """`messages`: what was made durable, in order. `answers`: what to say to the next requests instead of doing them."""

    def __init__(self) -> None:
        self.is_connected = True
        self.messages: list[CommitMessage] = []
        self.contents: list[bytes] = []
        self.published: list[tuple[str, Struct]] = []
        self.requests: list[Struct] = []
        self.dropped: list[DropContent] = []
        self.answers: deque[CommitVerdict | Exception] = deque()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._tokens: dict[str, str] = {}
        self._chunks: dict[str, list[bytes]] = {}

    async def request(self, subject: Subject, payload: Struct, *, to: str = "", timeout_s: float = 10.0) -> Any:
        """As runtime.bus.Bus.request; the payload takes the way over the wire."""
        if not self.is_connected:
            raise BusUnavailable(f"{subject.name}: not connected")
        payload = wire.decode(wire.encode(payload), subject.payload)
        self.requests.append(payload)
        await self.may_answer.wait()
        told = self.answers.popleft() if self.answers else CommitVerdict.OK
        if isinstance(told, Exception):
            raise told
        if isinstance(payload, CommitMessages):
            return CommitReply([told if told is not CommitVerdict.OK else self._commit(m) for m in payload.messages])
        if isinstance(payload, AppendContent):
            return AppendReply(told if told is not CommitVerdict.OK else self._append(payload))
        assert isinstance(payload, DropContent)
        self.dropped.append(payload)
        self._chunks.pop(payload.msgid, None)
        return Done()

    def publish(self, subject: Subject, payload: Struct) -> None:
        """As runtime.bus.Bus.publish."""
        self.published.append((subject.name, payload))

    def _commit(self, message: CommitMessage) -> CommitVerdict:
        if self._tokens.setdefault(message.msgid, message.token) != message.token:
            return CommitVerdict.TAKEN
        chunks = self._chunks.pop(message.msgid, [])
        if len(chunks) != message.chunk_count:
            return CommitVerdict.FAILED
        content = message.content or b"".join(chunks)
        assert len(content) == message.size_bytes
        if message.msgid not in [known.msgid for known in self.messages]:
            self.messages.append(message)
            self.contents.append(content)
        return CommitVerdict.OK

    def _append(self, chunk: AppendContent) -> CommitVerdict:
        if self._tokens.setdefault(chunk.msgid, chunk.token) != chunk.token:
            return CommitVerdict.TAKEN
        chunks = self._chunks.setdefault(chunk.msgid, [])
        if chunk.index > len(chunks):
            return CommitVerdict.FAILED
        chunks[chunk.index :] = [chunk.data]
        return CommitVerdict.OK


class Background:
    """Role.spawn for tests: keeps the tasks; `raise_failed` brings up what one of them raised."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """As runtime.role.Role.spawn."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def raise_failed(self) -> None:
        """A background task that failed would have ended the process."""
        if self._failures:
            raise self._failures[0]

    def cancel(self) -> None:
        """Ends what still runs."""
        for task in self._tasks:
            task.cancel()
