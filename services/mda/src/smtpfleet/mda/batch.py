"""Deliveries that were submitted together, and their attempts as sessions end.

Made by sessions.py and single_sessions.py, awaited by worker.py, which reports what is ready without waiting for the slowest.
"""

import asyncio
from collections.abc import Callable

from smtpfleet.mda.attempt import Attempt


class Batch:
    """Deliveries submitted together; `wait` hands out their attempts as sessions end. is_void: singles not begun are not to be any more."""

    def __init__(self, count: int, is_void: Callable[[], bool] = lambda: False) -> None:
        self.is_void = is_void
        self._left = count
        self._ready: list[Attempt] = []
        self._error: BaseException | None = None
        self._all_done = asyncio.Event()
        if count == 0:
            self._all_done.set()

    @property
    def is_done(self) -> bool:
        """Whether every attempt has been handed out."""
        return self._left == 0 and not self._ready

    def add(self, attempt: Attempt) -> None:
        """A delivery has been tried."""
        self._ready.append(attempt)
        self.drop()

    def drop(self) -> None:
        """One less to wait for."""
        self._left -= 1
        if self._left == 0:
            self._all_done.set()

    def fail(self, error: BaseException) -> None:
        """A session has a bug: whoever waits hears it."""
        self._error = error
        self._all_done.set()

    async def wait(self, wait_s: float) -> list[Attempt]:
        """All attempts not handed out yet, when the last one is made or after wait_s."""
        try:
            async with asyncio.timeout(wait_s):
                await self._all_done.wait()
        except TimeoutError:
            pass  # some home is slow; the others' outcomes need not wait for it
        if self._error is not None:
            raise self._error
        ready, self._ready = self._ready, []
        return ready
