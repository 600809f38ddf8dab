"""Sessions with a database server: at most a few, kept while they work, opened again when they break.

Owns who uses which session, not what is asked. A session that was lost while idle costs one more attempt on a new one; a server that is
away is not knocked at for every question. Used by sql.py and ldap.py, which give it their kind of session.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from smtpfleet.config.tables.backend import BackendFailed, SessionLost

SESSIONS_MAX = 4
"""Per table and replica of config. Chosen: OpenSMTPD's helpers have one; the answers are cached."""
AWAY_S = 1.0
"""After a failed opening, questions are answered with its error for this long. Chosen: mail that waits is tried minutes later."""


class Session(Protocol):
    """A connection."""

    async def close(self) -> None:
        """Ends it, whatever state it is in. Never raises."""


S = TypeVar("S", bound=Session)
T = TypeVar("T")


class SessionPool(Generic[S]):
    """The sessions of one table. `open_session` raises BackendFailed."""

    def __init__(self, open_session: Callable[[], Awaitable[S]], now_s: Callable[[], float] = time.monotonic) -> None:
        self._open_session = open_session
        self._now_s = now_s
        self._free = asyncio.Semaphore(SESSIONS_MAX)
        self._idle: list[S] = []
        self._away_until_s = 0.0
        self._away_because = ""

    async def run(self, work: Callable[[S], Awaitable[T]]) -> T:
        """What `work` returns; it is called again on a new session where a kept one turns out to be lost."""
        async with self._free:
            if self._idle:
                try:
                    return await self._run_on(self._idle.pop(), work)
                except SessionLost:
                    await self.close()  # the others are as old, and lost like this one
            return await self._run_on(await self._open(), work)

    async def _run_on(self, session: S, work: Callable[[S], Awaitable[T]]) -> T:
        is_good = False
        try:
            result = await work(session)
            is_good = True
        finally:
            # After a failure or a time limit, a late answer may still be under way on it.
            if is_good:
                self._idle.append(session)
            else:
                await session.close()
        return result

    async def _open(self) -> S:
        if self._now_s() < self._away_until_s:
            raise BackendFailed(self._away_because)
        try:
            return await self._open_session()
        except BackendFailed as error:
            self._away_until_s, self._away_because = self._now_s() + AWAY_S, str(error)
            raise

    async def close(self) -> None:
        """Ends the sessions nobody uses."""
        idle, self._idle = self._idle, []
        for session in idle:
            await session.close()
