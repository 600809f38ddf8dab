"""Group commit: what concurrent requests want written to one shard is merged into one call and so into one flush.

At most one call per group is under way; what arrives meanwhile is the next batch. So a lone item waits for nobody, and the batch grows with
the load. Knows nothing of what is written; Committer and Results do. PostgreSQL and InnoDB call it group commit too.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Item, Answer]):
    """Items of one kind for one shard."""

    def __init__(
        self,
        write: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        *,
        batch_count: int,
        batch_weight: int,
        weigh: Callable[[Item], int],
    ) -> None:
        """`write` gets at most `batch_count` items of about `batch_weight` together and returns an answer for each."""
        self._write = write
        self._batch_count = batch_count
        self._batch_weight = batch_weight
        self._weigh = weigh
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._flusher: asyncio.Task[None] | None = None

    def put(self, item: Item) -> asyncio.Future[Answer]:
        """The item's answer, once it is written; an exception of `write` is everyone's in the batch."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if self._flusher is None:
            # The flusher starts in the next turn, so requests that arrived in this one share its first batch.
            self._flusher = loop.create_task(self._flush())
        return answer

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        while self._flusher is not None:
            await asyncio.wait({self._flusher})

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._take()
            try:
                answers = await self._write([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  handed to whoever waits; the next batch must go on
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
        self._flusher = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        weight = 0
        while self._waiting and len(batch) < self._batch_count and weight < self._batch_weight:
            batch.append(self._waiting.popleft())
            weight += self._weigh(batch[-1][0])
        return batch
