"""The worker: asks for leases while it has sessions to spare, and gives each to a connector.

One request is parked with the scheduler at a time; what it brings starts a connector, which then asks for more of its relay by itself.
A permit's holder id is drawn per connector and renewed by the heartbeat. On drain nothing more is begun: what arrives goes back, what
is in hand is finished, and the role leaves. Built by app.py. OpenSMTPD: mta.c:mta_handle_envelope, mta_drain.
"""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any

from smtpfleet.mta.connector import FIRST_BATCH, Connector, Outbound
from smtpfleet.runtime.work import Lease

PARK_MS = 5000
"""How long a request stays parked. A drain ends it early (WorkClient.leave), or waits this long where that hint is lost."""


class Worker:
    """All connectors of one process."""

    def __init__(self, outbound: Outbound, max_sessions: int) -> None:
        self._out = outbound
        self._slots = asyncio.Semaphore(max_sessions)
        self._holders = count(1)
        self._connectors: set[asyncio.Task[None]] = set()
        self._side_tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._stopped.set()  # until run() is called there is nothing to stop
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def connector_count(self) -> int:
        """Connectors at work."""
        return len(self._connectors)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something small beside the connectors: a report, the end of a session. A drain waits for it."""
        self._start(work, self._side_tasks)

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def run(self) -> None:
        """For the life of the role; raises what a connector raised, which is a bug and ends the process."""
        self._stopped.clear()
        asking = asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({asking, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            asking.result()
        finally:
            asking.cancel()
            self._stopped.set()

    async def _ask(self) -> None:
        out = self._out
        while not out.draining.is_set():
            await self._slots.acquire()
            if out.draining.is_set():
                return
            holder = f"{out.work.replica}:{next(self._holders)}"
            lease = await out.work.next_work(batch=FIRST_BATCH, wait_ms=PARK_MS, permit=holder)
            if lease is None:
                self._slots.release()
            elif out.draining.is_set():
                await self._give_back(lease, holder)
            else:
                relay = lease.items[0].relay
                out.work.hold_permit(relay, holder)
                connector = self._start(Connector(out, relay, holder, self.spawn).run(lease), self._connectors)
                connector.add_done_callback(lambda _: self._slots.release())

    async def _give_back(self, lease: Lease, holder: str) -> None:
        """The lease came after the drain began: nothing was tried."""
        relay = lease.items[0].relay
        await lease.release()
        await self._out.work.release_permits([(relay, holder)])

    async def drain(self) -> None:
        """Stops asking, lets every connector finish its transaction and give back the rest, waits for reports and QUITs."""
        self._out.draining.set()
        self._out.work.leave()
        await self._stopped.wait()
        while tasks := self._connectors | self._side_tasks:
            await asyncio.wait(tasks)
